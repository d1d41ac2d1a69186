"""Pages of the console over a full inventory: how long the server takes to make each."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from sqlalchemy import Table, select

from rackhand.db import Database, table_of
from rackhand.events.model import Event
from rackhand.ipam import allocation
from rackhand.ipam.model import Address, FreeSpan, Network, Userspace
from rackhand.settings import Settings
from rackhand.tasks.model import Task
from rackhand.users import tokens
from rackhand.users.auth import SESSION_COOKIE
from rackhand.users.model import User
from tests.bench import inventory
from tests.bench.databases import Backend
from tests.bench.figures import Figure, Report, p50
from tests.bench.inventory import NOW
from tests.bench.processes import Client, serving

NETWORK = IPv4Network("10.0.0.0/12")
EVENTS_OF_A_TASK = 3
PAGES = {
    "the overview": "/",
    "servers": "/servers",
    "servers, the last page": "/servers?page=200",
    "servers, free text that few have": "/servers?q=srv-7777",
    "servers, free text that nothing has": "/servers?q=nowhere",
    "servers, something is wrong": "/servers?status=broken",
    "servers, can be rented now": "/servers?status=available",
    "servers, an address": "/servers?q=10.0.3",
    "one server": "/servers/77",
    "search, a serial number": "/search?q=S000007",
    "search, a domain": "/search?q=srv-7777.example.com",
    "tasks": "/tasks",
    "tasks, failed": "/tasks?status=failed",
    "tasks, free text": "/tasks?q=srv-7777",
    "addresses": "/addresses",
    "addresses, free text": "/addresses?q=srv-7777",
    "one network": "/networks/1",
    "events": "/events",
    "events, free text that few have": "/events?q=srv-7777",
    "events, free text that nothing has": "/events?q=nowhere",
    "racks": "/racks",
}


@dataclass(frozen=True)
class Sizes:
    """How many rows and requests; the targets are meant for the defaults."""

    servers: int = 10_000
    addresses: int = 250_000
    tasks: int = 100_000
    requests: int = 20


class Visitor(Client):
    """A browser that is signed in."""

    def __init__(self, port: int, session: str) -> None:
        super().__init__(port, "")
        self._headers = {"cookie": f"{SESSION_COOKIE}={session}", "accept": "text/html"}


def measure(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """Open every page some times: by the clock, and by the processor time of the server and its database.

    The target is meant for processor time, which what else runs on the machine changes less.
    """
    data = folder / f"{backend.name}-pages"
    with backend.database() as url:
        settings = Settings(data=data, database_url=url)
        inventory.prepare(settings, sizes.servers)
        inventory.insert(settings, _rows(sizes))
        session = asyncio.run(_sign_in(settings))
        with serving(data, url, "--no-poll") as served:
            visitor = Visitor(served.port, session)
            for name, path in PAGES.items():
                visitor.get(path)
                visitor.get(path)
                before = served.cpu_seconds() + backend.cpu_seconds()
                seconds = [visitor.timed(path) for _ in range(sizes.requests)]
                spent = served.cpu_seconds() + backend.cpu_seconds() - before
                words = f"page: {name}"
                report.add(
                    Figure(
                        backend.name,
                        f"{words}: processor time",
                        spent / sizes.requests * 1000,
                        "ms",
                        below=100,
                    ),
                    Figure(backend.name, f"{words}: p50", p50(seconds), "ms"),
                )
            visitor.close()


async def _sign_in(settings: Settings) -> str:
    db = Database(settings.database)
    async with db.write() as session:
        user = (await session.scalars(select(User).where(User.email == inventory.ADMIN))).one()
        issued = await tokens.open_session(session, user, address="")
    await db.dispose()
    return issued.token


def _rows(sizes: Sizes) -> Iterator[tuple[Table, Iterable[Mapping[str, object]]]]:
    """A network with addresses, named as their servers are, and what many finished tasks leave behind."""
    first = int(NETWORK.network_address) + 1
    yield table_of(Userspace), [{"id": 1, "name": "public", "created_at": NOW}]
    yield table_of(Network), [
        {"id": 1, "userspace_id": 1, "cidr": str(NETWORK), "version": 4, "prefix_length": NETWORK.prefixlen,
         "first": allocation.key_of(NETWORK.network_address), "last": allocation.key_of(NETWORK.broadcast_address),
         "created_at": NOW}
    ]  # fmt: skip
    yield table_of(FreeSpan), [
        {"id": 1, "userspace_id": 1, "network_id": 1, "first": allocation.key_of(NETWORK[sizes.addresses + 1]),
         "last": allocation.key_of(NETWORK[-2])}
    ]  # fmt: skip
    yield table_of(Address), (
        {"id": n, "userspace_id": 1, "network_id": 1, "server_id": n % sizes.servers + 1, "version": 4,
         "name": str(IPv4Address(first + n - 1)), "key": allocation.key_of(IPv4Address(first + n - 1)),
         "domain": f"srv-{n % sizes.servers + 1}.example.com", "ptr": f"host-{n}.example.com",
         "prefix_length": 32, "status": "allocated", "is_main": n <= sizes.servers, "created_at": NOW}
        for n in range(1, sizes.addresses + 1)
    )  # fmt: skip
    numbers = range(sizes.servers + 1, sizes.servers + sizes.tasks + 1)
    yield table_of(Task), (
        {"id": n, "uuid": f"10000000-0000-4000-8000-{n:012d}", "name": "power_off", "params": {},
         "subject_kind": "server", "subject_id": n % sizes.servers + 1, "subject_name": f"srv-{n % sizes.servers + 1}",
         "status": "failed" if n % 50 == 0 else "succeeded", "created_at": NOW, "started_at": NOW, "finished_at": NOW}
        for n in numbers
    )  # fmt: skip
    yield table_of(Event), (
        {"id": EVENTS_OF_A_TASK * n + nth, "at": NOW, "kind": f"task.{word}", "task_id": n, "actor_id": 1,
         "message": f"Power off of srv-{n % sizes.servers + 1} was {word}.", "actor_email": inventory.ADMIN,
         "subject_kind": "server", "subject_id": n % sizes.servers + 1, "subject_name": f"srv-{n % sizes.servers + 1}"}
        for n in numbers
        for nth, word in enumerate(("requested", "started", "finished"))
    )  # fmt: skip
