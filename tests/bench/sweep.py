"""One sweep over many BMCs, some of them dead: silent, not refusing, which is the slow way to be dead."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from rackhand.hardware.door import Doors
from rackhand.hardware.errors import HardwareError
from rackhand.hardware.interfaces import Endpoint, PowerState
from rackhand.hardware.sweep import power_states
from rackhand.sim.config import BmcKind, RackConfig
from rackhand.sim.rack import demo_rack
from tests.bench.figures import Figure, Report, own_cpu_seconds
from tests.bench.processes import racking

REDFISH_EVERY = 5  # of so many BMCs one speaks Redfish
DEAD_EVERY = 5
PASSWORD = "one for all"


def measure(report: Report, *, bmcs: int, settings: Mapping[str, str] = MappingProxyType({})) -> None:
    """Sweep with new doors, as a process does that has just started, and once more with sessions that are open.

    *settings* are the driver settings of all BMCs.
    """
    with racking(_rack(bmcs)) as rack, _silent(bmcs // DEAD_EVERY) as dead:
        living = [
            _endpoint(machine.bmc.kind, machine.bmc.host, machine.bmc.port) for machine in rack.machines
        ]
        endpoints = {
            number: replace(endpoint, settings={**endpoint.settings, **settings})
            for number, endpoint in enumerate(living + dead)
        }
        first, again, busy = asyncio.run(_sweep_twice(endpoints, len(living)))
    words = f"sweep of {len(endpoints)} BMCs, {len(dead)} dead"
    report.add(
        Figure("", f"{words} (IPMI 4 : Redfish 1), first", first, "s", below=20),
        Figure("", f"{words}, again", again, "s", below=20),
        Figure("", f"{words}: processor time of the manager and its programs in both", busy, "s"),
    )


async def _sweep_twice(endpoints: dict[int, Endpoint], living: int) -> tuple[float, float, float]:
    doors, taken, before = Doors(), [], own_cpu_seconds()
    for _ in range(2):
        started = time.perf_counter()
        found = await power_states(doors, endpoints)
        taken.append(time.perf_counter() - started)
        wrong = [
            f"{endpoints[number].driver} {endpoints[number].address}: {found[number]!r}"
            for number in endpoints
            if (
                found[number] is PowerState.OFF
                if number < living
                else isinstance(found[number], HardwareError)
            )
            is False
        ]
        if wrong:
            raise RuntimeError(f"{len(wrong)} of {len(endpoints)} answers are wrong, such as {wrong[:3]}.")
    busy = own_cpu_seconds() - before
    await doors.close()
    return taken[0], taken[1], busy


def _endpoint(kind: BmcKind, host: str, port: int) -> Endpoint:
    settings = {"verify_tls": "false"} if kind is BmcKind.REDFISH else {}
    return Endpoint(kind.value, host, port, "admin", PASSWORD, settings)


def _address(number: int) -> str:
    return f"127.20.{number // 250}.{number % 250 + 1}"


def _kind(number: int) -> BmcKind:
    return BmcKind.REDFISH if number % REDFISH_EVERY == 0 else BmcKind.IPMI


def _rack(bmcs: int) -> RackConfig:
    """The living ones, each at an address of its own, as in a management network."""
    config = demo_rack(bmcs - bmcs // DEAD_EVERY, password=PASSWORD, tls=True)
    machines = tuple(
        replace(machine, bmc=replace(machine.bmc, kind=_kind(number), host=_address(number)))
        for number, machine in enumerate(config.machines)
    )
    return replace(config, machines=machines)


@contextlib.contextmanager
def _silent(count: int) -> Iterator[list[Endpoint]]:
    """BMCs that take everything and answer nothing."""
    endpoints = []
    with contextlib.ExitStack() as stack:
        for number in range(count):
            host = _address(10_000 + number)
            kind = socket.SOCK_STREAM if _kind(number) is BmcKind.REDFISH else socket.SOCK_DGRAM
            bound = stack.enter_context(socket.socket(socket.AF_INET, kind))
            bound.bind((host, 0))
            if kind is socket.SOCK_STREAM:
                bound.listen()
            endpoints.append(_endpoint(_kind(number), host, bound.getsockname()[1]))
        yield endpoints
