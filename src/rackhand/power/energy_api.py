"""Routes of energy: what a server used, the points of a graph, and the samples that they are computed from."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import AnyRow, utcnow
from rackhand.errors import NotFound
from rackhand.events.queries import last_notify
from rackhand.http.periods import Moment, Period, range_of
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import MAX_ID, ListAnswer, ObjectId, json_response, list_response, wire_time
from rackhand.power import queries, samples
from rackhand.power.energy import SLOT_SECONDS, Mark, Measured, Sample, measured, power_of, usage_of
from rackhand.power.schemas import usage_row
from rackhand.servers import queries as servers
from rackhand.users.auth import CurrentUser
from rackhand.users.model import User

router = APIRouter(prefix="/dci/v3", tags=["energy"], route_class=TransactionRoute)

MAX_POINTS = 2000
COLUMNS = ("connection_id", "at", "energy_wh", "watts")


class ExportFormat(StrEnum):
    """How samples are written."""

    JSON = "json"
    CSV = "csv"


Points = Annotated[int, Query(ge=1, le=MAX_POINTS, description="Most points of the graph")]
ConnectionId = Annotated[int | None, Query(ge=0, le=MAX_ID, description="One connection instead of all")]


@router.get("/server/{id}/energy", response_model=dict[str, Any])
async def show_energy(
    id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    period: Period = Period.MONTH_TO_DATE,
    begin: Annotated[Moment, Query(alias="from")] = "",
    end: Annotated[Moment, Query(alias="to")] = "",
    connection: ConnectionId = None,
    points: Points = 300,
) -> Response:
    """Show energy, average and peak power of all outlets together and of each, and the points of a graph."""
    rows = await _connections(session, id, viewer, connection)
    first, last = range_of(period, begin, end, now=utcnow())
    seen_from = max(first, await _since(session, id, viewer))
    found = [measured(await _samples(session, row, seen_from, last)) for row in rows]
    cords = [
        {
            "connection_id": row.connection_id,
            "pdu_name": row.pdu_name,
            "port_identity": str(row[0].number),
            "feed": row.feed,
            **usage_row(usage_of([each])),
        }
        for row, each in zip(rows, found, strict=True)
    ]
    step = -(-max(SLOT_SECONDS, -(-(last - first) // points)) // SLOT_SECONDS) * SLOT_SECONDS
    return json_response(
        {
            "id": id,
            "from": wire_time(datetime.fromtimestamp(first, UTC)),
            "to": wire_time(datetime.fromtimestamp(last, UTC)),
            **usage_row(usage_of(found)),
            "connections": cords,
            "step_seconds": step,
            "series": list(_series(found, step)),
        }
    )


def _series(outlets: Sequence[Measured], step: int) -> Iterator[list[object]]:
    """Points `[Unix time, average W, energy in Wh, mark]` over *step* seconds; null where nothing is known."""
    watts: dict[int, list[int]] = {}
    for slot, power in power_of(outlets)[0].items():
        watts.setdefault(slot * SLOT_SECONDS // step * step, []).append(power)
    energy: dict[int, int] = {}
    marks: dict[int, str] = {}
    for each in (interval for outlet in outlets for interval in outlet.intervals):
        point = each.begin // step * step
        if each.mark is not Mark.RESET:
            energy[point] = energy.get(point, 0) + each.energy_wh
        if each.mark is not Mark.OK:
            marks[point] = each.mark
    for point in sorted(watts.keys() | energy.keys() | marks.keys()):
        found = watts.get(point)
        average = sum(found) // len(found) if found else None
        yield [point, average, energy.get(point), marks.get(point, "")]


@router.get("/server/{id}/energy/samples", response_model=ListAnswer)
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
    """Give the raw readings, from which anybody computes the same energy (docs/power.md)."""
    rows = await _connections(session, id, viewer, connection)
    first, last = range_of(period, begin, end, now=utcnow())
    first = max(first, await _since(session, id, viewer))
    found = [
        dict(zip(COLUMNS, (row.connection_id, sample.at, sample.energy_wh, sample.watts), strict=True))
        for row in rows
        for sample in await _samples(session, row, first, last)
    ]
    if format is ExportFormat.JSON:
        return list_response(iter(found), len(found), await last_notify(session))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    headers = {"Content-Disposition": f'attachment; filename="energy-{id}.csv"'}
    return PlainTextResponse(text.getvalue(), headers=headers, media_type="text/csv")


async def _samples(session: AsyncSession, row: AnyRow, first: int, last: int) -> list[Sample]:
    """The samples of a cord: what its outlet measured before it was plugged in is not the server's."""
    return await samples.samples_of(session, row[0].id, max(first, int(row.plugged_at.timestamp())), last)


async def _since(session: AsyncSession, server_id: int, viewer: User) -> int:
    """From when on *viewer* may see the energy of a server: a customer sees nothing of who had it before."""
    given = (await servers.owned_since(session, [server_id], viewer)).get(server_id)
    return int(given.timestamp()) if given else 0


async def _connections(
    session: AsyncSession, server_id: int, viewer: User, connection_id: int | None
) -> Sequence[AnyRow]:
    await servers.by_id(session, server_id, visible_to=viewer)
    rows = await queries.connection_rows(session, server_id)
    if connection_id is None:
        return rows
    rows = [row for row in rows if row.connection_id == connection_id]
    if not rows:
        raise NotFound(f"Server {server_id} has no PDU connection {connection_id}.")
    return rows
