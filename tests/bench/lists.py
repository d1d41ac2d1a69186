"""Lists of servers over HTTP: how long they take, how that grows with the inventory, what an export costs."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from rackhand.settings import Settings
from tests.bench import inventory
from tests.bench.databases import Backend
from tests.bench.figures import MIB, TURNS, Figure, Report, loop_seconds, p50
from tests.bench.processes import Client, Served, serving

SERVER = "/api/dci/v3/server"
PAGE = f"{SERVER}?limit=100"


@dataclass(frozen=True)
class Sizes:
    """How many rows and requests; the targets are meant for the defaults."""

    few: int = 1_000
    many: int = 100_000
    usual: int = 10_000
    export: int = 15_000
    requests: int = 150


@dataclass(frozen=True)
class Stocked:
    """A server process on a database of `rows` servers."""

    served: Served
    client: Client
    rows: int


@contextlib.contextmanager
def _stocked(backend: Backend, folder: Path, rows: int) -> Iterator[Stocked]:
    """Fill a database and serve it; without a poller, for these BMCs do not exist."""
    data = folder / f"{backend.name}-{rows}"
    with backend.database() as url:
        token = inventory.prepare(Settings(data=data, database_url=url), rows)
        with serving(data, url, "--no-poll") as served:
            client = Client(served.port, token)
            answer = json.loads(client.get(PAGE))
            if (len(answer["list"]), answer["size"]) != (min(100, rows), rows):
                raise RuntimeError(f"The list is wrong: {len(answer['list'])} rows of {answer['size']}.")
            yield Stocked(served, client, rows)
            client.close()


def measure(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """All figures of lists on one database; of each size there is one server, up to the end."""
    with contextlib.ExitStack() as stack:
        servers: dict[int, Stocked] = {}
        for rows in (sizes.few, sizes.many):
            servers[rows] = stack.enter_context(_stocked(backend, folder, rows))
        measure_growth(report, backend, servers[sizes.few], servers[sizes.many], requests=sizes.requests)
        for rows in (sizes.usual, sizes.export):
            if rows not in servers:
                servers[rows] = stack.enter_context(_stocked(backend, folder, rows))
        measure_usual(report, backend, servers[sizes.usual], requests=sizes.requests)
        measure_export(report, backend, servers[sizes.export])


def measure_growth(report: Report, backend: Backend, few: Stocked, many: Stocked, *, requests: int) -> None:
    """Compare two inventories in one run, turn by turn: what else the machine does then hits both."""
    times: dict[int, list[float]] = {few.rows: [], many.rows: []}
    _warm_up(few, many)
    for turn in range(requests):
        for stocked in (few, many) if turn % 2 else (many, few):
            times[stocked.rows].append(stocked.client.timed(PAGE))
    for rows, seconds in times.items():
        report.add(Figure(backend.name, f"list of 100 full rows of {rows:,}: p50", p50(seconds), "ms"))
    ratio = p50(times[many.rows]) / p50(times[few.rows])
    words = f"the same, ratio of the p50 ({many.rows:,} to {few.rows:,})"
    report.add(Figure(backend.name, words, ratio, "x", at_most=1.5))


def measure_usual(report: Report, backend: Backend, stocked: Stocked, *, requests: int) -> None:
    """One client that asks again and again: by its clock, and by the processor time that this takes.

    Processor time, of the server and of the database's processes together, is what "on one core" means. What else runs
    on the machine changes it less than the clock, yet not little.
    """
    where = {"limit": 100, "where": "(owner_email EQ 'customer-101@example.com')", "orderby": "name"}
    pages = {
        "": PAGE,
        "where owner_email CP '%-1%', orderby name": _page(where | {"where": "owner_email CP '%-1%'"}),
        "where owner_email EQ one, orderby name": _page(where),
        "where owner_email IS null, orderby name": _page(where | {"where": "(owner_email IS null)"}),
        "orderby name": _page({"limit": 100, "orderby": "name"}),
        "the last page": _page({"limit": f"{stocked.rows - 100},100"}),
    }
    _warm_up(stocked)
    cpu = _processor_time(backend, stocked.served)
    before, started = cpu(), time.perf_counter()
    seconds = [stocked.client.timed(PAGE) for _ in range(2 * requests)]
    spent, passed = cpu() - before, time.perf_counter() - started
    words = f"list of 100 full rows of {stocked.rows:,}"
    report.add(
        Figure(
            backend.name,
            f"{words}: lists per second of processor time",
            len(seconds) / spent,
            "/s",
            at_least=40,
        ),
        Figure(backend.name, f"{words}: lists per second, one client", len(seconds) / passed, "/s"),
        Figure(backend.name, f"a loop of {TURNS:,}, in the same minute", loop_seconds() * 1000, "ms"),
    )
    for name, page in pages.items():
        for _ in range(3):
            stocked.client.get(page)
        some = seconds if page == PAGE else [stocked.client.timed(page) for _ in range(requests // 3)]
        report.add(Figure(backend.name, f"{words}{', ' + name if name else ''}: p50", p50(some), "ms"))


def measure_export(report: Report, backend: Backend, stocked: Stocked) -> None:
    """Everything in one answer.

    Memory is the peak during the export, against what a server holds that has answered some lists.
    """
    _warm_up(stocked)
    served = stocked.served
    served.forget_peak()
    before, started = served.memory(), time.perf_counter()
    content = stocked.client.get(SERVER)
    seconds = time.perf_counter() - started
    grown = served.memory("VmHWM") - before
    answer = json.loads(content)
    if (len(answer["list"]), answer["size"]) != (stocked.rows, stocked.rows):
        raise RuntimeError(f"The export is wrong: {len(answer['list'])} rows of {answer['size']}.")
    words = f"export of {stocked.rows:,} rows in one answer"
    report.add(
        Figure(backend.name, words, seconds, "s", below=5),
        Figure(backend.name, f"{words}: its length", len(content) / MIB, "MiB"),
        Figure(backend.name, f"{words}: growth of memory, peak", grown / MIB, "MiB", below=100),
    )


def measure_idle(report: Report, backend: Backend, folder: Path, *, settle: float) -> None:
    """Memory of a whole `rackhand serve` (API, worker, poller) that nobody has asked for anything."""
    with backend.database() as url, serving(folder / f"{backend.name}-idle", url) as served:
        time.sleep(settle)
        report.add(Figure(backend.name, "memory of an idle server", served.memory() / MIB, "MiB", below=200))


def _page(query: dict[str, object]) -> str:
    return f"{SERVER}?{urlencode(query)}"


def _warm_up(*all_stocked: Stocked) -> None:
    for stocked in all_stocked:
        stocked.client.close()  # it may have waited for another database longer than the server keeps connections open
    for _ in range(10):
        for stocked in all_stocked:
            stocked.client.get(PAGE)


def _processor_time(backend: Backend, served: Served) -> Callable[[], float]:
    return lambda: served.cpu_seconds() + backend.cpu_seconds()
