"""Reads the ports and the counters of every switch, every five minutes of the clock.

A plain loop, no workflow. One process per location holds the lease.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.hardware.errors import HardwareError
from rackhand.hardware.interfaces import CounterReading, Port
from rackhand.switches import queries
from rackhand.switches.devices import open_switch_of
from rackhand.switches.model import Switch, SwitchPort
from rackhand.switches.samples import Reading, archive_old, forget_old, save_readings
from rackhand.switches.traffic import INTERVAL_SECONDS, Sample
from rackhand.tasks.lease import LEASE, hold_lease
from rackhand.tasks.operation import Tools

log = structlog.get_logger()

AT_ONCE = 32
SWITCH_SECONDS = 60.0  # a switch that takes longer is read next time


class SwitchSweep:
    """Sweeps the switches of a location, or all."""

    def __init__(self, tools: Tools, *, holder: str, location_id: int | None = None) -> None:
        self._tools = tools
        self._holder = holder
        self._location_id = location_id

    async def run(self) -> None:
        """Sweep until cancelled: once at once, then at every five minutes of the clock."""
        next_round = 0.0
        while True:
            try:
                is_mine = await hold_lease(self._tools.db, f"switches {self._location_id or 0}", self._holder)
                if is_mine and time.time() >= next_round:
                    next_round = (time.time() // INTERVAL_SECONDS + 1) * INTERVAL_SECONDS
                    await self.sweep()
                    await self._tidy()
            except Exception:
                log.exception("switch sweep failed")
            pause = max(0.1, next_round - time.time())
            await asyncio.sleep(min(pause, LEASE.total_seconds() / 3))

    async def sweep(self) -> int:
        """Read all switches once; return how many answered."""
        async with self._tools.db.read() as session:
            switches = await queries.swept_switches(session, self._location_id)
        slots = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(self._read(switch, slots) for switch in switches))
        good = {
            switch.id: answer
            for switch, answer in zip(switches, answers, strict=True)
            if isinstance(answer, tuple)
        }
        bad = {
            switch.id: answer
            for switch, answer in zip(switches, answers, strict=True)
            if isinstance(answer, HardwareError)
        }
        async with self._tools.db.write() as session:
            await _save(session, good, bad)
        if switches:
            log.info("switches swept", switches=len(switches), unreachable=len(bad))
        return len(good)

    async def _read(
        self, switch: Switch, slots: asyncio.Semaphore
    ) -> tuple[int, CounterReading, list[Port]] | HardwareError:
        try:
            async with slots, asyncio.timeout(SWITCH_SECONDS), open_switch_of(self._tools, switch) as device:
                ports = await device.ports()
                counters = await device.counters()
                return int(time.time()), counters, ports
        except HardwareError as error:
            return error
        except TimeoutError:
            return HardwareError(
                f"Switch {switch.name} did not answer everything within {SWITCH_SECONDS:g} s."
            )

    async def _tidy(self) -> None:
        """Pack old samples, a few ports at a time."""
        now = int(time.time())
        packed = 1
        while packed:
            async with self._tools.db.write() as session:
                packed = await archive_old(session, now)
        async with self._tools.db.write() as session:
            await forget_old(session, now, self._tools.settings.traffic_retention_days)


async def _save(
    session: AsyncSession,
    good: Mapping[int, tuple[int, CounterReading, Sequence[Port]]],
    bad: Mapping[int, HardwareError],
) -> None:
    now = utcnow()
    for switch_id, error in bad.items():
        since = select(Switch.error_at).where(Switch.id == switch_id)
        known = await session.scalar(since)
        await session.execute(
            update(Switch).where(Switch.id == switch_id).values(error=str(error)[:500], error_at=known or now)
        )
    if not good:
        return
    await session.execute(
        update(Switch),
        [{"id": switch_id, "error": None, "error_at": None, "seen_at": now} for switch_id in good],
    )
    await _save_ports(session, good)
    readings = []
    for row in await queries.collecting_ports(session, list(good)):
        at, counters, _ = good[row.switch_id]
        for each in counters.ports:
            if each.index == row.if_index:
                sample = Sample(at, each.octets_in, each.octets_out, counters.uptime_seconds, each.bits)
                readings.append(Reading(row.id, sample))
    await save_readings(session, readings)


async def _save_ports(
    session: AsyncSession, good: Mapping[int, tuple[int, CounterReading, Sequence[Port]]]
) -> None:
    """Write down what has changed of the ports; a port with a flag is left to its task and its operator."""
    seen = {(switch_id, port.index): port for switch_id, (_, _, ports) in good.items() for port in ports}
    now = utcnow()
    columns = (
        SwitchPort.id, SwitchPort.switch_id, SwitchPort.if_index, SwitchPort.admin_status,
        SwitchPort.oper_status, SwitchPort.vlan, SwitchPort.speed_mbit, SwitchPort.alias,
    )  # fmt: skip
    query = select(*columns).where(SwitchPort.switch_id.in_(good), SwitchPort.flag.is_(None))
    changed = []
    for row in await session.execute(query):
        port = seen.get((row.switch_id, row.if_index))
        if port is None:
            continue
        is_same = (row.admin_status, row.oper_status, row.vlan, row.speed_mbit, row.alias) == (
            port.admin_status, port.oper_status, port.access_vlan, port.speed_mbit, port.alias,
        )  # fmt: skip
        if not is_same:
            changed.append(
                {"id": row.id, "admin_status": port.admin_status, "oper_status": port.oper_status,
                 "vlan": port.access_vlan, "speed_mbit": port.speed_mbit, "alias": port.alias, "seen_at": now}
            )  # fmt: skip
    if changed:
        await session.execute(update(SwitchPort), changed)
