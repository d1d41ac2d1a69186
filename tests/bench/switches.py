"""Switches and traffic: one sweep over many switches, the bill of a month, and the space that a year takes."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, text, update

from rackhand.app import Services, open_services
from rackhand.cli.demo import add_switches
from rackhand.events.service import SYSTEM
from rackhand.servers import service as servers
from rackhand.settings import Settings
from rackhand.sim.config import RackConfig, SnmpConfig, SwitchConfig
from rackhand.sim.rack import demo_rack
from rackhand.switches.model import SwitchPort, TrafficArchive, TrafficSample
from rackhand.switches.samples import RAW_DAYS, intervals_of_ports
from rackhand.switches.sweep import SwitchSweep
from rackhand.switches.traffic import DAY_SECONDS, INTERVAL_SECONDS, Sample, bill_of, pack, signed
from rackhand.tasks.operation import Tools
from tests.bench.databases import Backend
from tests.bench.figures import MIB, Figure, Report, own_cpu_seconds, p50
from tests.bench.processes import racking

BEGIN = 1_760_000_100  # a moment in October 2025, on the grid of five minutes
A_DAY = DAY_SECONDS // INTERVAL_SECONDS
YEAR_PORTS = 2_000  # what the target speaks of; the space is measured with fewer and multiplied


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    switches: int = 200
    ports: int = 48
    year_ports: int = 20
    bills: int = 20


def measure(report: Report, backend: Backend, folder: Path, sizes: Sizes) -> None:
    """Measure on one database."""
    with racking(_rack(sizes)) as rack, backend.database() as url:
        settings = Settings(data=folder / f"switches-{backend.name}", database_url=url)
        asyncio.run(_measure(report, backend, settings, rack, sizes))


async def _measure(
    report: Report, backend: Backend, settings: Settings, rack: RackConfig, sizes: Sizes
) -> None:
    async with open_services(settings, runs_tasks=False, polls=False) as services:
        async with services.db.write() as session:
            await servers.add_location(session, name="ams1", notes="", actor=SYSTEM)
        await add_switches(services, rack)
        async with services.db.write() as session:
            await session.execute(
                update(SwitchPort).values(is_uplink=True)
            )  # so that all of them are collected
        tools = Tools(services.db, services.vault, services.doors, services.settings)
        sweep = SwitchSweep(tools, holder="bench")
        busy, started = own_cpu_seconds(), time.perf_counter()
        answered = await sweep.sweep()
        taken = time.perf_counter() - started
        if answered != sizes.switches:
            raise RuntimeError(f"{answered} of {sizes.switches} switches answered.")
        what = f"sweep of {sizes.switches} switches x {sizes.ports} ports, states and counters"
        report.add(
            Figure(backend.name, what, taken, "s", below=60),
            Figure(backend.name, f"{what}: processor time", own_cpu_seconds() - busy, "s"),
        )
        await _bill(report, backend, services, sizes)
        await _year(report, backend, services, sizes)


async def _bill(report: Report, backend: Backend, services: Services, sizes: Sizes) -> None:
    """The percentile of a month with two links, as the API computes it."""
    first = BEGIN // DAY_SECONDS
    async with services.db.write() as session:
        for port_id in (1, 2):
            by_day: dict[int, list[Sample]] = {}
            for sample in (_sample(number, port_id) for number in range(31 * A_DAY)):
                by_day.setdefault(sample.at // DAY_SECONDS, []).append(sample)
            packed = {day: found for day, found in by_day.items() if day < first + 31 - RAW_DAYS}
            rows = [
                _row(port_id, sample)
                for day, found in by_day.items()
                if day not in packed
                for sample in found
            ]
            await session.execute(insert(TrafficSample), rows)
            archived = [
                {"port_id": port_id, "day": day, "samples": pack(each)} for day, each in packed.items()
            ]
            await session.execute(insert(TrafficArchive), archived)
    taken = []
    for _ in range(sizes.bills):
        started = time.perf_counter()
        async with services.db.read() as session:
            found = await intervals_of_ports(session, [1, 2], BEGIN, BEGIN + 31 * DAY_SECONDS)
            bill = bill_of(found)
        taken.append(time.perf_counter() - started)
        if bill.intervals < 31 * A_DAY - 2:
            raise RuntimeError(f"The bill is made of {bill.intervals} intervals.")
    words = "bill of a server with two links, a month with all percentiles: p50"
    report.add(Figure(backend.name, words, p50(taken), "ms", below=100))


async def _year(report: Report, backend: Backend, services: Services, sizes: Sizes) -> None:
    """Space of a year: the days that stay as rows, and the packed ones."""
    before = await _size(services)
    for port_id in range(3, 3 + sizes.year_ports):
        async with services.db.write() as session:
            for day in range(RAW_DAYS):
                rows = [_row(port_id, _sample(day * A_DAY + number, port_id)) for number in range(A_DAY)]
                await session.execute(insert(TrafficSample), rows)
            packed = [
                {
                    "port_id": port_id,
                    "day": day,
                    "samples": pack([_sample(day * A_DAY + n, port_id) for n in range(A_DAY)]),
                }
                for day in range(365 - RAW_DAYS)
            ]
            await session.execute(insert(TrafficArchive), packed)
    each = (await _size(services) - before) / sizes.year_ports
    words = f"a year of {YEAR_PORTS:,} ports, reckoned from {sizes.year_ports}"
    report.add(Figure(backend.name, words, each * YEAR_PORTS / MIB / 1024, "GiB", below=10))


async def _size(services: Services) -> float:
    async with services.db.read() as session:
        if services.db.is_sqlite:
            pages = await session.scalar(text("PRAGMA page_count"))
            return float(pages * (await session.scalar(text("PRAGMA page_size"))))
        return float(await session.scalar(text("SELECT pg_database_size(current_database())")))


def _sample(number: int, seed: int = 1) -> Sample:
    """Counters that grow unevenly, as real ones do: what compresses too well would prove nothing."""
    octets = number * 1_500_000_000 + (number * 2_654_435_761 * seed) % 1_400_000_007
    at = BEGIN + number * INTERVAL_SECONDS + (number * 7919 * seed) % 3
    return Sample(at, octets, octets // 7 + (number * 40_503) % 90_001, 10_000_000 + number * 300, 64)


def _row(port_id: int, sample: Sample) -> dict[str, int]:
    return {
        "port_id": port_id,
        "at": sample.at,
        "octets_in": signed(sample.octets_in),
        "octets_out": signed(sample.octets_out),
        "uptime": sample.uptime,
        "bits": sample.bits,
    }


def _rack(sizes: Sizes) -> RackConfig:
    """Switches alone, each at an address of its own."""
    switches = tuple(
        SwitchConfig(
            name=f"sw-{number}",
            snmp=SnmpConfig(f"127.21.{number // 250}.{number % 250 + 1}", 0, "public-read", "public-write"),
            model="EN-4800",
            mac=f"02:00:5e:{number // 256:02x}:{number % 256:02x}:00",
            rack="rack-1",
            unit=1 + number % 42,
            ports=sizes.ports,
        )
        for number in range(sizes.switches)
    )
    return RackConfig(machines=(), racks=demo_rack(2).racks, switches=switches)
