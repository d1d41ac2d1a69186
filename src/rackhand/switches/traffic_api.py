"""Routes of traffic: graphs, volumes, percentiles and the samples that they are computed from.

Directions are those of the server: *in* is what it received, so what its switch port sent.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import AnyRow, utcnow
from rackhand.errors import Invalid, NotFound
from rackhand.events.queries import last_notify
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import MAX_ID, ListAnswer, ObjectId, json_response, list_response, wire_time
from rackhand.servers import queries as servers
from rackhand.switches import queries, samples
from rackhand.switches.model import ConnectionKind
from rackhand.switches.traffic import INTERVAL_SECONDS, Bill, Interval, Mark, Method, bill_of, intervals_of
from rackhand.users.auth import Admin, CurrentUser
from rackhand.users.model import User

router = APIRouter(prefix="/dci/v3", tags=["traffic"], route_class=TransactionRoute)

MAX_POINTS = 2000
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
PERIODS = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
    "year": timedelta(days=366),
}


class Period(StrEnum):
    """A time that ends now; `month_to_date` begins with the running month."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    MONTH_TO_DATE = "month_to_date"


class ExportFormat(StrEnum):
    """How samples are written."""

    JSON = "json"
    CSV = "csv"


Moment = Annotated[
    str,
    Query(
        description="`YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS` (UTC) or Unix time", examples=["2026-11-01 00:00:00"]
    ),
]
Points = Annotated[int, Query(ge=1, le=MAX_POINTS, description="Most points of the graph")]
ConnectionId = Annotated[int | None, Query(ge=0, le=MAX_ID, description="One connection instead of all")]


def parse_moment(text: str, name: str) -> int:
    """Unix time of a moment as a caller writes it; raises `Invalid`."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 10:  # noqa: PLR2004  # until the year 2286
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace("T", " ").removesuffix("Z"))
    except ValueError as error:
        raise Invalid(f"{name}: expected a time such as 2026-11-01 00:00:00, got {text[:40]!r}.") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if not 1970 < moment.year < LATEST.year:  # noqa: PLR2004
        raise Invalid(f"{name}: {text[:40]} is out of range.")
    return int(moment.timestamp())


def _range(period: Period, begin: str, end: str) -> tuple[int, int]:
    now = utcnow()
    last = parse_moment(end, "to") if end else int(now.timestamp())
    if begin:
        first = parse_moment(begin, "from")
    elif period is Period.MONTH_TO_DATE:
        first = int(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp())
    else:
        first = last - int(PERIODS[period].total_seconds())
    if first >= last:
        raise Invalid("from: must be before `to`.")
    if last - first > 2 * PERIODS["year"].total_seconds():
        raise Invalid("from: two years are the longest time that can be asked for at once.")
    return first, last


@router.get("/server/{id}/traffic", response_model=dict[str, Any])
async def show_traffic(
    id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    period: Period = Period.MONTH_TO_DATE,
    begin: Annotated[Moment, Query(alias="from")] = "",
    end: Annotated[Moment, Query(alias="to")] = "",
    connection: ConnectionId = None,
    points: Points = 300,
) -> Response:
    """Show volume in octets, rates in bit/s with the 95th percentile by every method, and the points of a graph."""
    rows = await _connections(session, id, viewer, connection)
    first, last = _range(period, begin, end)
    since = await _since(session, id, viewer)
    found = [
        list(intervals_of(await samples.samples_of(session, row[0].id, max(first, since(row)), last)))
        for row in rows
    ]
    bills = [
        {
            "connection_id": row.connection_id,
            "switch_name": row.switch_name,
            "port": row[0].name,
            **bill_row(bill_of([each])),
        }
        for row, each in zip(rows, found, strict=True)
    ]
    step = max(INTERVAL_SECONDS, -(-(last - first) // points))
    step = -(-step // INTERVAL_SECONDS) * INTERVAL_SECONDS
    return json_response(
        {
            "id": id,
            "from": wire_time(datetime.fromtimestamp(first, UTC)),
            "to": wire_time(datetime.fromtimestamp(last, UTC)),
            **bill_row(bill_of(found)),
            "connections": bills,
            "step_seconds": step,
            "series": list(_series(found, step)),
        }
    )


def _series(ports: Sequence[Sequence[Interval]], step: int) -> Iterator[list[object]]:
    """Points `[Unix time, in, out, mark]` in bit/s, averages over *step* seconds; null where nothing is known."""
    octets: dict[int, list[int]] = {}
    marks: dict[int, str] = {}
    for intervals in ports:
        own: dict[int, list[int]] = {}
        for each in intervals:
            slot = each.begin // step * step
            if each.mark is not Mark.OK:
                marks[slot] = each.mark
            if each.mark is not Mark.RESET:
                known = own.setdefault(slot, [0, 0, 0])
                known[0] += each.octets_out
                known[1] += each.octets_in
                known[2] += each.seconds
        for slot, (received, sent, seconds) in own.items():
            rates = octets.setdefault(slot, [0, 0])
            rates[0] += received * 8 // seconds
            rates[1] += sent * 8 // seconds
    for slot in sorted(octets.keys() | marks.keys()):
        rate_in, rate_out = octets.get(slot, (None, None))
        yield [slot, rate_in, rate_out, marks.get(slot, "")]


def bill_row(bill: Bill) -> dict[str, object]:
    """A bill in the server's directions."""
    percentile = bill.percentile_95
    return {
        "volume": {"in": bill.octets_out, "out": bill.octets_in, "sum": bill.octets_in + bill.octets_out},
        "average": {"in": bill.average_out, "out": bill.average_in},
        "percentile_95": {
            "in": percentile[Method.OUT],
            "out": percentile[Method.IN],
            "sum": percentile[Method.SUM],
            "max": percentile[Method.MAX],
        },
        "intervals": bill.intervals,
        "gaps": bill.gaps,
        "gap_seconds": bill.gap_seconds,
        "resets": bill.resets,
    }


@router.get("/server/{id}/traffic/samples", response_model=ListAnswer)
async def export_samples(
    id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    period: Period = Period.MONTH_TO_DATE,
    begin: Annotated[Moment, Query(alias="from")] = "",
    end: Annotated[Moment, Query(alias="to")] = "",
    connection: ConnectionId = None,
    format: ExportFormat = ExportFormat.JSON,
) -> Response:
    """Give the raw counters, from which anybody computes the same bill (docs/traffic.md)."""
    rows = await _connections(session, id, viewer, connection)
    first, last = _range(period, begin, end)
    since = await _since(session, id, viewer)
    found = [
        {
            "connection_id": row.connection_id,
            "at": sample.at,
            "octets_in": sample.octets_out,
            "octets_out": sample.octets_in,
            "uptime": sample.uptime,
            "bits": sample.bits,
        }
        for row in rows
        for sample in await samples.samples_of(session, row[0].id, max(first, since(row)), last)
    ]
    if format is ExportFormat.JSON:
        return list_response(iter(found), len(found), await last_notify(session))
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["connection_id", "at", "octets_in", "octets_out", "uptime", "bits"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(found)
    headers = {"Content-Disposition": f'attachment; filename="traffic-{id}.csv"'}
    return PlainTextResponse(text.getvalue(), headers=headers, media_type="text/csv")


async def _since(session: AsyncSession, server_id: int, viewer: User) -> Callable[[AnyRow], int]:
    """From when on *viewer* may see the traffic of a connection, in Unix time.

    A customer sees nothing of who had the server, or the port, before.
    """
    if viewer.is_admin:
        return lambda _row: 0
    given = (await servers.owned_since(session, [server_id], viewer)).get(server_id)
    owned = int(given.timestamp()) if given else 0
    return lambda row: max(owned, int(row.connected_at.timestamp()))


async def _connections(
    session: AsyncSession, server_id: int, viewer: User, connection_id: int | None
) -> Sequence[AnyRow]:
    await servers.by_id(session, server_id, visible_to=viewer)
    rows = [
        row
        for row in await queries.connection_rows(session, server_id)
        if row.kind == ConnectionKind.DATA and not row.do_not_collect_traffic
    ]
    if connection_id is None:
        return rows
    rows = [row for row in rows if row.connection_id == connection_id]
    if not rows:
        raise NotFound(f"Server {server_id} has no connection {connection_id} whose traffic is collected.")
    return rows


@router.get("/switch/{id}/port/{port_id}/traffic", response_model=dict[str, Any])
async def show_port_traffic(
    id: ObjectId,
    port_id: ObjectId,
    session: Session,
    _admin: Admin,
    period: Period = Period.MONTH_TO_DATE,
    begin: Annotated[Moment, Query(alias="from")] = "",
    end: Annotated[Moment, Query(alias="to")] = "",
    points: Points = 300,
) -> Response:
    """Show the traffic of a port, an uplink for example; *in* is what is plugged in received."""
    await queries.port_row_by_id(session, id, port_id)
    first, last = _range(period, begin, end)
    found = await samples.intervals_of_ports(session, [port_id], first, last)
    step = -(-max(INTERVAL_SECONDS, -(-(last - first) // points)) // INTERVAL_SECONDS) * INTERVAL_SECONDS
    return json_response(
        {
            "id": port_id,
            "from": wire_time(datetime.fromtimestamp(first, UTC)),
            "to": wire_time(datetime.fromtimestamp(last, UTC)),
            **bill_row(bill_of(found)),
            "step_seconds": step,
            "series": list(_series(found, step)),
        }
    )
