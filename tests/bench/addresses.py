"""Addresses: how many are given away in a second, and what a full inventory of them costs."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from sqlalchemy import Table, select

from rackhand import logs
from rackhand.app import Services, open_services
from rackhand.db import table_of
from rackhand.events.model import Event
from rackhand.events.service import SYSTEM
from rackhand.ipam import allocation
from rackhand.ipam.model import Address, FreeSpan, Network, Userspace
from rackhand.ipam.operations import ALLOCATE_ADDRESS, request_allocation
from rackhand.ipam.service import Wanted
from rackhand.settings import Settings
from rackhand.tasks.model import Task, TaskStep
from rackhand.users.model import User
from tests.bench import inventory
from tests.bench.callers import Calls, Order, call
from tests.bench.databases import Backend
from tests.bench.figures import TURNS, Figure, Report, loop_seconds, own_cpu_seconds, p50
from tests.bench.inventory import NOW
from tests.bench.processes import Client, Served, serving

ALLOCATE = "/api/dci/v3/server/{n}/ip"
FROM_FIRST, FROM_GROUP = '{"ip_net": 1}', '{"ip_net": {group}}'
LIST = "/api/dci/v3/ip?limit=100"
NETWORKS = "/api/ip/v3/ipnet"
HTTP_OK, EXHAUSTED = 200, 409


@dataclass(frozen=True)
class Sizes:
    """How much is measured; the targets are meant for the defaults."""

    clients: int = 8
    allocations: int = 4_000
    taken: int = 60_000
    crowd: int = 256
    few: int = 1_000
    many: int = 250_000
    networks: int = 1_000
    requests: int = 150


@dataclass(frozen=True)
class Site:
    """What a database is filled with: servers, networks, and how many addresses of the first network are taken."""

    servers: int
    networks: Sequence[IPv4Network]
    taken: int = 0
    with_history: bool = False


def measure(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """All figures of addresses on one database."""
    measure_speed(report, backend, folder, sizes)
    measure_services(report, backend, folder, sizes)
    measure_crowd(report, backend, folder, sizes)
    measure_growth(report, backend, folder, sizes)
    measure_lists(report, backend, folder, sizes)
    measure_networks(report, backend, folder, sizes)


# --- how fast


def measure_speed(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """Clients that allocate over HTTP as fast as they can, each for a server of its own, all from one /16."""
    site = Site(sizes.clients, [IPv4Network("10.0.0.0/16")])
    for processes in (1, 2):
        with _served(backend, folder, f"speed-{processes}", site, processes=processes) as (served, token):
            ports = [each.port for each in served]
            order = Order(ports, token, sizes.clients, ALLOCATE, FROM_FIRST, 0)
            _expect_all(call(_times(order, 20)))
            before = _processor_time(backend, served)
            calls = call(_times(order, sizes.allocations // sizes.clients))
            spent = _processor_time(backend, served) - before
            _expect_all(calls)
        words = f"allocations per second over HTTP, {sizes.clients} connections, {processes} `serve`"
        rate = len(calls.seconds) / calls.passed
        report.add(
            Figure(backend.name, words, rate, "/s", at_least=400 if processes == 1 else None),
            Figure(backend.name, f"{words}: per second of processor time", len(calls.seconds) / spent, "/s"),
            Figure(backend.name, f"{words}: p50 of a call", p50(calls.seconds), "ms"),
            Figure(backend.name, f"a loop of {TURNS:,}, in the same minute", loop_seconds() * 1000, "ms"),
        )


def measure_services(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """The same through the functions that the routes call, in one process, without HTTP."""
    with backend.database() as url:
        settings = Settings(data=folder / f"{backend.name}-services", database_url=url)
        _fill(settings, Site(sizes.clients, [IPv4Network("10.0.0.0/16")]))
        rate, per_cpu = asyncio.run(_allocate_directly(settings, sizes))
    words = f"allocations per second by `request_allocation`, {sizes.clients} at once"
    report.add(
        Figure(backend.name, words, rate, "/s", at_least=400),
        Figure(backend.name, f"{words}: per second of processor time of the process", per_cpu, "/s"),
    )


async def _allocate_directly(settings: Settings, sizes: Sizes) -> tuple[float, float]:
    logs.configure("warning", as_json=False)
    async with open_services(settings, polls=False) as services:
        await asyncio.gather(*(_allocate(services, number, 20) for number in range(1, sizes.clients + 1)))
        busy, started = own_cpu_seconds(), time.perf_counter()
        each = sizes.allocations // sizes.clients
        await asyncio.gather(*(_allocate(services, number, each) for number in range(1, sizes.clients + 1)))
        done = each * sizes.clients
        return done / (time.perf_counter() - started), done / (own_cpu_seconds() - busy)


async def _allocate(services: Services, server_id: int, times: int) -> None:
    for _ in range(times):
        async with services.db.write() as session:
            viewer = (await session.scalars(select(User).where(User.id == 1))).one()
            await request_allocation(
                session, services.engine, server_id, wanted=Wanted(network_id=1), viewer=viewer, actor=SYSTEM
            )


def measure_crowd(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """Very many at once, from one network, and some from each of several that are too small for all."""
    times, each = 4, 16
    large = Site(sizes.crowd, [IPv4Network("10.0.0.0/16")])
    small = [IPv4Network(f"10.1.{number}.0/26") for number in range(sizes.crowd // each)]
    with _served(backend, folder, "crowd", large) as (served, token):
        order = Order([served[0].port], token, sizes.crowd, ALLOCATE, FROM_FIRST, times)
        _report_crowd(report, backend, f"{sizes.crowd} clients, one /16", call(order), served[0].port, token)
    with _served(backend, folder, "crowds", Site(sizes.crowd, small)) as (served, token):
        # Two more are asked of each network than it has.
        order = Order([served[0].port], token, sizes.crowd, ALLOCATE, FROM_GROUP, times, groups=len(small))
        words = f"{sizes.crowd} clients, {each} on each of {len(small)} networks"
        _report_crowd(report, backend, words, call(order), served[0].port, token)


def _report_crowd(report: Report, backend: Backend, words: str, calls: Calls, port: int, token: str) -> None:
    statuses = Counter(calls.statuses)
    refusals = [
        body["error"]["msg"]
        for status, body in zip(calls.statuses, calls.bodies, strict=True)
        if status == EXHAUSTED
    ]
    client = Client(port, token)
    names = Counter(row["name"] for row in json.loads(client.get("/api/dci/v3/ip"))["list"])
    client.close()
    twice = sum(number - 1 for number in names.values())
    lost = statuses[HTTP_OK] - len(names)
    odd = (
        len(calls.statuses)
        - statuses[HTTP_OK]
        - sum("has no free address" in refusal for refusal in refusals)
    )
    report.add(
        Figure(
            backend.name, f"{words}: addresses that were given twice, or lost", twice + lost, "", at_most=0
        ),
        Figure(backend.name, f"{words}: errors other than 'exhausted'", odd, "", at_most=0),
        Figure(backend.name, f"{words}: calls per second", len(calls.seconds) / calls.passed, "/s"),
    )


# --- how it grows


def measure_growth(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """Allocate from a network that is empty and from one with many addresses taken, turn by turn."""
    network = [IPv4Network("10.0.0.0/16")]
    times: dict[int, list[float]] = {0: [], sizes.taken: []}
    with contextlib.ExitStack() as stack:
        clients = {}
        for taken in times:
            site = Site(sizes.clients, network, taken, with_history=True)
            served, token = stack.enter_context(_served(backend, folder, f"growth-{taken}", site))
            clients[taken] = Client(served[0].port, token)
            for _ in range(20):
                _post(clients[taken])
        _open_anew(clients.values())
        for turn in range(2 * sizes.requests):
            for taken in list(times) if turn % 2 else list(times)[::-1]:
                times[taken].append(_post(clients[taken]))
        for client in clients.values():
            client.close()
    ratio = p50(times[sizes.taken]) / p50(times[0])
    report.add(
        Figure(backend.name, "an allocation from an empty /16: p50", p50(times[0]), "ms"),
        Figure(backend.name, f"the {sizes.taken:,}th allocation from it: p50", p50(times[sizes.taken]), "ms"),
        Figure(backend.name, "the same, ratio of the p50", ratio, "x", at_most=1.5),
    )


def _open_anew(clients: Iterable[Client]) -> None:
    """One may have waited for the database of the other longer than a server keeps connections open."""
    for client in clients:
        client.close()


def _post(client: Client) -> float:
    started = time.perf_counter()
    client.send("POST", ALLOCATE.replace("{n}", "1"), {"ip_net": 1})
    return time.perf_counter() - started


def measure_lists(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """A page of few and of many addresses, turn by turn."""
    times: dict[int, list[float]] = {sizes.few: [], sizes.many: []}
    with contextlib.ExitStack() as stack:
        clients = {}
        for taken in times:
            site = Site(1_000, [IPv4Network("10.0.0.0/12")], taken)
            served, token = stack.enter_context(_served(backend, folder, f"list-{taken}", site))
            clients[taken] = Client(served[0].port, token)
            for _ in range(10):
                answer = json.loads(clients[taken].get(LIST))
            if (len(answer["list"]), answer["size"]) != (min(100, taken), taken):
                raise RuntimeError(f"The list is wrong: {len(answer['list'])} rows of {answer['size']}.")
        _open_anew(clients.values())
        for turn in range(sizes.requests):
            for taken in list(times) if turn % 2 else list(times)[::-1]:
                times[taken].append(clients[taken].timed(LIST))
        for client in clients.values():
            client.close()
    ratio = p50(times[sizes.many]) / p50(times[sizes.few])
    report.add(
        *(
            Figure(backend.name, f"list of 100 of {taken:,} addresses: p50", p50(seconds), "ms")
            for taken, seconds in times.items()
        ),
        Figure(backend.name, "the same, ratio of the p50", ratio, "x", at_most=1.5),
    )


def measure_networks(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """All networks with their counters in one answer."""
    networks = list(IPv4Network("10.0.0.0/8").subnets(new_prefix=24))[: sizes.networks]
    with _served(backend, folder, "networks", Site(10, networks, 200)) as (served, token):
        client = Client(served[0].port, token)
        answer = json.loads(client.get(NETWORKS))
        if (answer["size"], answer["list"][0]["using_ip"]) != (sizes.networks, "200"):
            raise RuntimeError(f"The list is wrong: {answer['size']} networks, {answer['list'][0]}.")
        seconds = [client.timed(NETWORKS) for _ in range(max(5, sizes.requests // 5))]
        client.close()
    words = f"list of {sizes.networks:,} networks with counters: p50"
    report.add(Figure(backend.name, words, p50(seconds), "ms", below=100))


# --- what is measured


@contextlib.contextmanager
def _served(
    backend: Backend, folder: Path, name: str, site: Site, *, processes: int = 1
) -> Iterator[tuple[list[Served], str]]:
    """Fill a database and serve it: by a whole `rackhand serve`, the others of several by the API alone."""
    data = folder / f"{backend.name}-{name}"
    with backend.database() as url, contextlib.ExitStack() as stack:
        token = _fill(Settings(data=data, database_url=url), site)
        served = [
            stack.enter_context(serving(data, url, *(["--no-poll"] if number == 0 else ["--no-worker"])))
            for number in range(processes)
        ]
        yield served, token


def _fill(settings: Settings, site: Site) -> str:
    token = inventory.prepare(settings, site.servers)
    inventory.insert(settings, _rows(site))
    return token


def _rows(site: Site) -> Iterator[tuple[Table, Iterable[Mapping[str, object]]]]:
    """Networks with free addresses, and what allocations leave behind: the lowest addresses of the first network."""
    first = int(site.networks[0].network_address) + 1
    numbers = range(1, site.taken + 1)
    yield table_of(Userspace), [{"id": 1, "name": "public", "created_at": NOW}]
    yield table_of(Network), (
        {"id": number, "userspace_id": 1, "cidr": str(network), "version": 4, "prefix_length": network.prefixlen,
         "first": allocation.key_of(network.network_address), "last": allocation.key_of(network.broadcast_address),
         "created_at": NOW}
        for number, network in enumerate(site.networks, 1)
    )  # fmt: skip
    yield table_of(FreeSpan), (
        {"id": number, "userspace_id": 1, "network_id": number, "last": allocation.key_of(network[-2]),
         "first": allocation.key_of(network[site.taken + 1 if number == 1 else 1])}
        for number, network in enumerate(site.networks, 1)
    )  # fmt: skip
    yield table_of(Address), (
        {"id": n, "userspace_id": 1, "network_id": 1, "server_id": n % site.servers + 1, "version": 4,
         "name": str(IPv4Address(first + n - 1)), "key": allocation.key_of(IPv4Address(first + n - 1)),
         "prefix_length": 32, "status": "allocated", "is_main": n <= site.servers, "created_at": NOW}
        for n in numbers
    )  # fmt: skip
    if site.with_history:
        yield from _history(site, numbers)


def _history(site: Site, numbers: range) -> Iterator[tuple[Table, Iterable[Mapping[str, object]]]]:
    base = site.servers  # of the tasks that are there already
    yield table_of(Task), (
        {"id": base + n, "uuid": f"10000000-0000-4000-8000-{n:012d}", "name": "allocate_ip",
         "params": {"address_id": n}, "subject_kind": "server", "subject_id": n % site.servers + 1,
         "subject_name": f"srv-{n % site.servers + 1}", "status": "succeeded", "created_at": NOW,
         "started_at": NOW, "finished_at": NOW}
        for n in numbers
    )  # fmt: skip
    yield table_of(TaskStep), (
        {"task_id": base + n, "position": position, "name": step.name, "status": "done", "attempts": 1,
         "id": n * len(ALLOCATE_ADDRESS.steps) + position}
        for n in numbers
        for position, step in enumerate(ALLOCATE_ADDRESS.steps)
    )  # fmt: skip
    yield table_of(Event), (
        {"id": base + 3 * n + nth, "at": NOW, "kind": kind, "message": "An address was allocated.", "task_id": base + n,
         "subject_kind": "ip" if kind.startswith("ip") else "server", "subject_name": "", "actor_id": 1,
         "subject_id": n if kind.startswith("ip") else n % site.servers + 1}
        for n in numbers
        for nth, kind in enumerate(("task.queued", "ip.allocated", "task.succeeded"))
    )  # fmt: skip


def _times(order: Order, times: int) -> Order:
    return replace(order, times=times)


def _expect_all(calls: Calls) -> None:
    if set(calls.statuses) != {HTTP_OK}:
        refused = next(
            body for status, body in zip(calls.statuses, calls.bodies, strict=True) if status != HTTP_OK
        )
        raise RuntimeError(f"An allocation was refused: {refused}")


def _processor_time(backend: Backend, served: Sequence[Served]) -> float:
    return sum(each.cpu_seconds() for each in served) + backend.cpu_seconds()
