"""Samples of energy: written by the sweep, read for graphs and bills, packed when they are old."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import AnySelect, id_in
from rackhand.power.energy import DAY_SECONDS, Sample, intervals_of, pack, unpack
from rackhand.power.model import EnergyArchive, EnergyDay, EnergySample, Outlet, OutletConnection

RAW_DAYS = 2  # so many whole days stay as rows: nothing arrives later, and packed days are read faster


@dataclass(frozen=True)
class Reading:
    """A sample of an outlet into which a server is plugged since *plugged_at*, and the sample before it."""

    outlet_id: int
    connection_id: int
    plugged_at: int
    before: Sample | None
    sample: Sample


async def save_readings(session: AsyncSession, readings: Sequence[Reading]) -> None:
    """Write samples and add what passed since the sample before to the day's sum of the cord."""
    if not readings:
        return
    rows = [
        {"outlet_id": each.outlet_id, "at": each.sample.at, "energy_wh": each.sample.energy_wh,
         "watts": each.sample.watts}
        for each in readings
    ]  # fmt: skip
    await session.execute(insert(EnergySample), rows)
    sums = [
        {"connection_id": each.connection_id, "day": each.sample.at // DAY_SECONDS, "energy_wh": passed.energy_wh}
        for each in readings
        if each.before is not None and each.before.at >= each.plugged_at
        for passed in intervals_of([each.before, each.sample])
    ]  # fmt: skip
    if sums:
        is_sqlite = session.get_bind().dialect.name == "sqlite"
        upsert: Any = (sqlite_insert if is_sqlite else postgresql_insert)(EnergyDay)
        upsert = upsert.on_conflict_do_update(
            index_elements=["connection_id", "day"],
            set_={"energy_wh": EnergyDay.energy_wh + upsert.excluded.energy_wh},
        )
        await session.execute(upsert, sums)


async def samples_of(session: AsyncSession, outlet_id: int, begin: int, end: int) -> list[Sample]:
    """The samples of an outlet from *begin* to *end*, both included, in order of time; archived ones as well."""
    archived = select(EnergyArchive.samples).where(
        EnergyArchive.outlet_id == outlet_id,
        EnergyArchive.day.between(begin // DAY_SECONDS, end // DAY_SECONDS),
    )
    old = [
        sample
        for packed in await session.scalars(archived.order_by(EnergyArchive.day))
        for sample in unpack(packed)
        if begin <= sample.at <= end
    ]
    query = select(EnergySample.at, EnergySample.energy_wh, EnergySample.watts).where(
        EnergySample.outlet_id == outlet_id, EnergySample.at.between(begin, end)
    )
    return old + [Sample(*row) for row in await session.execute(query.order_by(EnergySample.at))]


def _energy(*by: Any) -> AnySelect:
    return (
        select(OutletConnection.server_id, *by, func.sum(EnergyDay.energy_wh).label("energy_wh"))
        .join(EnergyDay, EnergyDay.connection_id == OutletConnection.id)
        .where(id_in(OutletConnection.server_id), EnergyDay.day >= bindparam("first_day"))
        .group_by(OutletConnection.server_id, *by)
    )


_ENERGY, _ENERGY_BY_DAY = _energy(), _energy(EnergyDay.day)


async def month_of_servers(
    session: AsyncSession, server_ids: Sequence[int], now: datetime, *, since: Mapping[int, datetime]
) -> Mapping[int, int]:
    """Energy in Wh of servers in the running month (UTC), in one statement.

    Of a server in *since* only whole days after that moment count.
    """
    if not server_ids:
        return {}
    first = datetime(now.year, now.month, 1, tzinfo=UTC)
    asked = {"ids": server_ids, "first_day": int(first.timestamp()) // DAY_SECONDS}
    sums: dict[int, int] = {}
    for row in await session.execute(_ENERGY_BY_DAY if since else _ENERGY, asked):
        begin = since.get(row.server_id)
        if begin is None or row.day * DAY_SECONDS >= begin.timestamp():
            sums[row.server_id] = sums.get(row.server_id, 0) + int(row.energy_wh)
    return sums


async def archive_old(session: AsyncSession, now: int, *, most_outlets: int = 200) -> int:
    """Pack a day that is past `RAW_DAYS`, of some outlets; return how many outlets were packed.

    Call it until it gives 0. A day is packed as a whole, so that it is never in both places.
    """
    limit = (now // DAY_SECONDS - RAW_DAYS) * DAY_SECONDS
    oldest = (
        select(EnergySample.at)
        .where(EnergySample.outlet_id == Outlet.id)
        .order_by(EnergySample.at)
        .limit(1)
        .correlate(Outlet)
        .scalar_subquery()
    )
    found = (
        select(Outlet.id, oldest.label("at")).where(oldest < limit).order_by(Outlet.id).limit(most_outlets)
    )
    days = {row.id: row.at // DAY_SECONDS for row in await session.execute(found)}
    if not days:
        return 0
    day = min(days.values())
    by_outlet: dict[int, list[Sample]] = {key: [] for key, first in days.items() if first == day}
    in_day = (
        EnergySample.at.between(day * DAY_SECONDS, (day + 1) * DAY_SECONDS - 1),
        EnergySample.outlet_id.in_(by_outlet),
    )
    query = select(EnergySample.outlet_id, EnergySample.at, EnergySample.energy_wh, EnergySample.watts)
    query = query.where(*in_day).order_by(EnergySample.outlet_id, EnergySample.at)
    for row in await session.execute(query):
        by_outlet[row.outlet_id].append(Sample(row.at, row.energy_wh, row.watts))
    await session.execute(
        insert(EnergyArchive),
        [{"outlet_id": key, "day": day, "samples": pack(kept)} for key, kept in by_outlet.items()],
    )
    await session.execute(delete(EnergySample).where(*in_day))
    return len(by_outlet)


async def forget_old(session: AsyncSession, now: int, keep_days: int) -> None:
    """Delete what is older than *keep_days* days."""
    day = now // DAY_SECONDS - keep_days
    await session.execute(delete(EnergyArchive).where(EnergyArchive.day < day))
    await session.execute(delete(EnergyDay).where(EnergyDay.day < day))
