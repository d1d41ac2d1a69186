"""Reads the outlets of every PDU, every five minutes of the clock: state, power and energy.

A plain loop, no workflow. One process per location holds the lease.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import AnyRow, utcnow
from rackhand.events.service import SYSTEM, Subject, record
from rackhand.hardware.errors import HardwareError
from rackhand.hardware.interfaces import Outlet as SeenOutlet
from rackhand.hardware.interfaces import PowerState
from rackhand.power import pdus, queries
from rackhand.power.devices import open_pdu_of
from rackhand.power.energy import SLOT_SECONDS, Sample
from rackhand.power.model import Outlet, OutletConnection, Pdu
from rackhand.power.samples import Reading, archive_old, forget_old, save_readings
from rackhand.power.service import settle_mains
from rackhand.servers.model import Server
from rackhand.servers.service import SUBJECT as SERVER
from rackhand.tasks.lease import LEASE, hold_lease
from rackhand.tasks.operation import Tools

log = structlog.get_logger()

AT_ONCE = 32
AT_ONE_WRITE = 20
PDU_SECONDS = 60.0  # a PDU that takes longer is read next time
WH_PER_KWH = 1000


@dataclass(frozen=True)
class PduReading:
    """The outlets of a PDU by index, as read at *at*, Unix time."""

    at: int
    outlets: Mapping[int, SeenOutlet]


class PduSweep:
    """Sweeps the PDUs of a location, or all.

    *read_soon* is told of each server that got mains: until then nobody could say what its BMC says.
    """

    def __init__(
        self, tools: Tools, *, holder: str, read_soon: Callable[[int], None], location_id: int | None = None
    ) -> None:
        self._tools = tools
        self._holder = holder
        self._read_soon = read_soon
        self._location_id = location_id

    async def run(self) -> None:
        """Sweep until cancelled: once at once, then at every five minutes of the clock."""
        next_round = 0.0
        while True:
            try:
                is_mine = await hold_lease(self._tools.db, f"pdus {self._location_id or 0}", self._holder)
                if is_mine and time.time() >= next_round:
                    next_round = (time.time() // SLOT_SECONDS + 1) * SLOT_SECONDS
                    await self.sweep()
                    await self._tidy()
            except Exception:
                log.exception("PDU sweep failed")
            pause = max(0.1, next_round - time.time())
            await asyncio.sleep(min(pause, LEASE.total_seconds() / 3))

    async def sweep(self, *, server_ids: Sequence[int] | None = None) -> int:
        """Read all PDUs once, or those that feed the given servers; return how many answered.

        Samples are for graphs and bills: they are written in the regular rounds alone.
        """
        async with self._tools.db.read() as session:
            found = await queries.swept_pdus(session, self._location_id, server_ids)
        slots = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(self._read(pdu, slots) for pdu in found))
        good = 0
        answered = [(pdu.id, answer) for pdu, answer in zip(found, answers, strict=True)]
        for first in range(0, len(answered), AT_ONE_WRITE):
            batch = answered[first : first + AT_ONE_WRITE]
            seen = {pdu_id: answer for pdu_id, answer in batch if not isinstance(answer, HardwareError)}
            bad = {pdu_id: answer for pdu_id, answer in batch if isinstance(answer, HardwareError)}
            async with self._tools.db.write() as session:
                powered = await _save(session, seen, bad, is_round=server_ids is None)
            for server_id in powered:
                self._read_soon(server_id)
            good += len(seen)
        if found:
            log.info("PDUs swept", pdus=len(found), unreachable=len(found) - good)
        return good

    async def _read(self, pdu: Pdu, slots: asyncio.Semaphore) -> PduReading | HardwareError:
        try:
            async with slots, asyncio.timeout(PDU_SECONDS), open_pdu_of(self._tools, pdu) as device:
                outlets = await device.outlets()
                return PduReading(int(time.time()), {outlet.index: outlet for outlet in outlets})
        except HardwareError as error:
            return error
        except TimeoutError:
            return HardwareError(f"PDU {pdu.name} did not answer everything within {PDU_SECONDS:g} s.")

    async def _tidy(self) -> None:
        """Pack old samples, a few outlets at a time."""
        now = int(time.time())
        packed = 1
        while packed:
            async with self._tools.db.write() as session:
                packed = await archive_old(session, now)
        async with self._tools.db.write() as session:
            await forget_old(session, now, self._tools.settings.energy_retention_days)


async def _save(
    session: AsyncSession,
    seen: Mapping[int, PduReading],
    bad: Mapping[int, HardwareError],
    *,
    is_round: bool,
) -> list[int]:
    """Write down what was read, in a fixed number of statements; give the servers that got mains."""
    now = utcnow()
    await _save_pdus(session, seen, bad, now)
    rows, readings, fed, powered = [], [], set(), []
    for row in await session.execute(_OUTLETS.where(Outlet.pdu_id.in_([*seen, *bad]))):
        if row.server_id is not None:
            fed.add(row.server_id)
        reading = seen.get(row.pdu_id)
        if reading is None:
            continue
        outlet = reading.outlets.get(row.number)
        if outlet is None:
            rows.append(_unseen(row))
            continue
        energy = None if outlet.energy_kwh is None else round(outlet.energy_kwh * WH_PER_KWH)
        sample = Sample(reading.at, energy, pdus.whole(outlet.watts))
        samples = is_round and (row.sampled_at or 0) < sample.at
        rows.append(
            {"id": row.id, "name": outlet.name, "state": outlet.state, "watts": sample.watts, "seen_at": now,
             "energy_wh": energy if samples else row.energy_wh,
             "sampled_at": sample.at if samples else row.sampled_at, "is_missing": False}
        )  # fmt: skip
        if outlet.state != row.state:
            _record_change(session, row, outlet)
            if outlet.state is PowerState.ON and row.server_id is not None:
                powered.append(row.server_id)
        measures = energy is not None or sample.watts is not None
        if samples and measures and row.server_id is not None:
            before = None if row.sampled_at is None else Sample(row.sampled_at, row.energy_wh, None)
            plugged_at = int(row.plugged_at.timestamp())
            readings.append(Reading(row.id, row.connection_id, plugged_at, before, sample))
    if rows:
        await session.execute(update(Outlet), rows)
    await save_readings(session, readings)
    await settle_mains(session, sorted(fed), now, tells=True)
    return powered


_OUTLETS = (
    select(
        Outlet.id, Outlet.pdu_id, Outlet.number, Outlet.name, Outlet.state, Outlet.watts, Outlet.energy_wh,
        Outlet.sampled_at, Outlet.seen_at, Pdu.name.label("pdu_name"), OutletConnection.id.label("connection_id"),
        OutletConnection.feed, OutletConnection.created_at.label("plugged_at"), Server.id.label("server_id"),
        Server.name.label("server_name"), Server.owner_id,
    )
    .join(Pdu, Pdu.id == Outlet.pdu_id)
    .outerjoin(OutletConnection, OutletConnection.outlet_id == Outlet.id)
    .outerjoin(Server, Server.id == OutletConnection.server_id)
)  # fmt: skip


def _unseen(row: AnyRow) -> dict[str, object]:
    """An outlet that the PDU no longer has keeps what was seen of it last."""
    kept = ("id", "name", "state", "watts", "energy_wh", "sampled_at", "seen_at")
    return {**{name: getattr(row, name) for name in kept}, "is_missing": True}


def _record_change(session: AsyncSession, row: AnyRow, seen: SeenOutlet) -> None:
    if row.server_id is not None:
        subject = Subject(SERVER, row.server_id, row.server_name, row.owner_id)
        what = f"{row.pdu_name} outlet {row.number} (feed {row.feed} of server {row.server_name})"
    else:
        subject = Subject(pdus.SUBJECT, row.pdu_id, row.pdu_name)
        what = f"{row.pdu_name} outlet {row.number}"
    change = {"pdu": row.pdu_name, "outlet": row.number, "from": row.state, "to": seen.state.value}
    record(session, "pdu.outlet_seen", f"{what} is {seen.state}.", subject=subject, actor=SYSTEM, data=change)


async def _save_pdus(
    session: AsyncSession, seen: Mapping[int, PduReading], bad: Mapping[int, HardwareError], now: datetime
) -> None:
    """Write down which PDUs answer; while one does not, nobody knows what its outlets do."""
    failing = []
    for row in await session.execute(select(Pdu.id, Pdu.name, Pdu.error_at).where(Pdu.id.in_([*seen, *bad]))):
        subject = Subject(pdus.SUBJECT, row.id, row.name)
        error = bad.get(row.id)
        if error is not None:
            failing.append({"id": row.id, "error": str(error)[:500], "error_at": row.error_at or now})
            if row.error_at is None:
                words = f"PDU {row.name} cannot be read: {error}"
                record(session, "pdu.unreachable", words, subject=subject, actor=SYSTEM)
        elif row.error_at is not None:
            record(session, "pdu.reachable", f"PDU {row.name} answers again.", subject=subject, actor=SYSTEM)
    if failing:
        await session.execute(update(Pdu), failing)
    if seen:
        values = [{"id": pdu_id, "error": None, "error_at": None, "seen_at": now} for pdu_id in seen]
        await session.execute(update(Pdu), values)
