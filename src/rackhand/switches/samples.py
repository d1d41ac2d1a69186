"""Samples of counters: written by the sweep, read for graphs and bills, packed when they are old."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import AnySelect, id_in
from rackhand.switches.model import Connection, ConnectionKind, TrafficArchive, TrafficDay, TrafficSample
from rackhand.switches.traffic import (
    DAY_SECONDS,
    Interval,
    Sample,
    intervals_of,
    pack,
    signed,
    unpack,
    unsigned,
)

RAW_DAYS = (
    2  # so many whole days stay as rows; nothing arrives later, and packed days are read ten times faster
)


@dataclass(frozen=True)
class Reading:
    """A sample of a port."""

    port_id: int
    sample: Sample


async def save_readings(session: AsyncSession, readings: Sequence[Reading]) -> None:
    """Write samples and add what passed since the sample before to the day's sum; one that is there already stays."""
    if not readings:
        return
    before = await last_samples(session, [each.port_id for each in readings])
    fresh = [
        each for each in readings if each.port_id not in before or before[each.port_id].at < each.sample.at
    ]
    if not fresh:
        return
    rows = [
        {"port_id": each.port_id, "at": each.sample.at, "octets_in": signed(each.sample.octets_in),
         "octets_out": signed(each.sample.octets_out), "uptime": each.sample.uptime, "bits": each.sample.bits}
        for each in fresh
    ]  # fmt: skip
    await session.execute(insert(TrafficSample), rows)
    sums = []
    for each in fresh:
        previous = before.get(each.port_id)
        if previous is not None:
            (passed,) = intervals_of([previous, each.sample])
            sums.append({"port_id": each.port_id, "day": each.sample.at // DAY_SECONDS,
                         "octets_in": passed.octets_in, "octets_out": passed.octets_out})  # fmt: skip
    if sums:
        is_sqlite = session.get_bind().dialect.name == "sqlite"
        upsert: Any = (sqlite_insert if is_sqlite else postgresql_insert)(TrafficDay)
        upsert = upsert.on_conflict_do_update(
            index_elements=["port_id", "day"],
            set_={
                "octets_in": TrafficDay.octets_in + upsert.excluded.octets_in,
                "octets_out": TrafficDay.octets_out + upsert.excluded.octets_out,
            },
        )
        await session.execute(upsert, sums)


async def last_samples(session: AsyncSession, port_ids: Sequence[int]) -> dict[int, Sample]:
    """The newest sample of each port."""
    newest = (
        select(TrafficSample.port_id, func.max(TrafficSample.at).label("at"))
        .where(id_in(TrafficSample.port_id, port_ids))
        .group_by(TrafficSample.port_id)
        .subquery()
    )
    query = select(TrafficSample.__table__).join(
        newest, (TrafficSample.port_id == newest.c.port_id) & (TrafficSample.at == newest.c.at)
    )
    return {row.port_id: _sample(row) for row in await session.execute(query)}


async def samples_of(session: AsyncSession, port_id: int, begin: int, end: int) -> list[Sample]:
    """The samples of a port from *begin* to *end*, both included, in order of time; archived ones as well.

    The last sample before *begin* is not there: a time that is billed begins with the first sample in it.
    """
    archived = select(TrafficArchive.samples).where(
        TrafficArchive.port_id == port_id,
        TrafficArchive.day.between(begin // DAY_SECONDS, end // DAY_SECONDS),
    )
    old = [
        sample
        for packed in await session.scalars(archived.order_by(TrafficArchive.day))
        for sample in unpack(packed)
        if begin <= sample.at <= end
    ]
    table = TrafficSample.__table__
    query = select(table.c.at, table.c.octets_in, table.c.octets_out, table.c.uptime, table.c.bits).where(
        table.c.port_id == port_id, table.c.at.between(begin, end)
    )
    recent = [_sample(row) for row in await session.execute(query.order_by(table.c.at))]
    return old + recent


async def intervals_of_ports(
    session: AsyncSession, port_ids: Iterable[int], begin: int, end: int
) -> list[list[Interval]]:
    """The intervals of some ports between *begin* and *end*."""
    return [list(intervals_of(await samples_of(session, port_id, begin, end))) for port_id in port_ids]


def _octets(*by: Any) -> AnySelect:
    return (
        select(
            Connection.server_id, *by, func.sum(TrafficDay.octets_out).label("received"),
            func.sum(TrafficDay.octets_in).label("sent"),
        )
        .join(TrafficDay, TrafficDay.port_id == Connection.port_id)
        .where(
            id_in(Connection.server_id),
            Connection.kind == ConnectionKind.DATA,
            ~Connection.do_not_collect_traffic,
            TrafficDay.day >= bindparam("first_day"),
        )
        .group_by(Connection.server_id, *by)
    )  # fmt: skip


_OCTETS, _OCTETS_BY_DAY = _octets(), _octets(TrafficDay.day)


async def month_of_servers(
    session: AsyncSession, server_ids: Sequence[int], now: datetime, *, since: Mapping[int, datetime]
) -> Mapping[int, tuple[int, int]]:
    """Octets that servers received and sent in the running month (UTC), in one statement.

    Of a server in *since* only whole days after that moment count.
    """
    if not server_ids:
        return {}
    first = datetime(now.year, now.month, 1, tzinfo=UTC)
    asked = {"ids": server_ids, "first_day": int(first.timestamp()) // DAY_SECONDS}
    sums: dict[int, tuple[int, int]] = {}
    for row in await session.execute(_OCTETS_BY_DAY if since else _OCTETS, asked):
        begin = since.get(row.server_id)
        if begin is None or row.day * DAY_SECONDS >= begin.timestamp():
            received, sent = sums.get(row.server_id, (0, 0))
            sums[row.server_id] = (received + int(row.received), sent + int(row.sent))
    return sums


async def archive_old(session: AsyncSession, now: int, *, most_ports: int = 200) -> int:
    """Pack the oldest day that is past `RAW_DAYS`, of some ports; return how many ports were packed.

    Call it until it gives 0. A day is packed as a whole, so that it is never in both places.
    """
    limit = (now // DAY_SECONDS - RAW_DAYS) * DAY_SECONDS
    oldest = await session.scalar(select(func.min(TrafficSample.at)).where(TrafficSample.at < limit))
    if oldest is None:
        return 0
    day = oldest // DAY_SECONDS
    begin, end = day * DAY_SECONDS, (day + 1) * DAY_SECONDS - 1
    in_day = TrafficSample.at.between(begin, end)
    ports = (
        await session.scalars(select(TrafficSample.port_id).where(in_day).distinct().limit(most_ports))
    ).all()
    by_port: dict[int, list[Sample]] = {port_id: [] for port_id in ports}
    query = select(TrafficSample.__table__).where(in_day, TrafficSample.port_id.in_(ports))
    for row in await session.execute(query.order_by(TrafficSample.port_id, TrafficSample.at)):
        by_port[row.port_id].append(_sample(row))
    await session.execute(
        insert(TrafficArchive),
        [{"port_id": port_id, "day": day, "samples": pack(found)} for port_id, found in by_port.items()],
    )
    await session.execute(delete(TrafficSample).where(in_day, TrafficSample.port_id.in_(ports)))
    return len(ports)


async def forget_old(session: AsyncSession, now: int, keep_days: int) -> None:
    """Delete what is older than *keep_days* days."""
    day = now // DAY_SECONDS - keep_days
    await session.execute(delete(TrafficArchive).where(TrafficArchive.day < day))
    await session.execute(delete(TrafficDay).where(TrafficDay.day < day))


def _sample(row: Any) -> Sample:
    return Sample(row.at, unsigned(row.octets_in), unsigned(row.octets_out), row.uptime, row.bits)
