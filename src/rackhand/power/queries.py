"""Reading PDUs, outlets and cords: a fixed number of statements however many rows there are."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from rackhand.db import AnyRow, AnySelect, id_in
from rackhand.errors import NotFound
from rackhand.hardware.interfaces import PowerState
from rackhand.http.lists import ListParams, Page, fetch_page
from rackhand.http.where import Field, FieldKind, Fields
from rackhand.power.model import Outlet, OutletConnection, Pdu
from rackhand.servers.model import Location, Rack, Server

# What is known of an outlet now: nothing while its PDU cannot be read or a change of it was not seen.
STATE = case(
    (
        or_(Outlet.flag.is_not(None), Outlet.is_missing, Pdu.error.is_not(None)),
        PowerState.UNKNOWN.value,
    ),
    else_=Outlet.state,
)
OUTLET_COUNT = (
    select(func.count())
    .select_from(Outlet)
    .where(Outlet.pdu_id == Pdu.id, ~Outlet.is_missing)
    .correlate(Pdu)
    .scalar_subquery()
)
USED_OUTLETS = (
    select(func.count())
    .select_from(Outlet)
    .join(OutletConnection, OutletConnection.outlet_id == Outlet.id)
    .where(Outlet.pdu_id == Pdu.id)
    .correlate(Pdu)
    .scalar_subquery()
)
WATTS = (
    select(func.sum(Outlet.watts))
    .where(Outlet.pdu_id == Pdu.id, ~Outlet.is_missing)
    .correlate(Pdu)
    .scalar_subquery()
)
PDU_FIELDS: Fields = {
    "id": Field(Pdu.id, FieldKind.INTEGER),
    "name": Field(Pdu.name, FieldKind.TEXT),
    "model": Field(Pdu.model, FieldKind.TEXT),
    "serial": Field(Pdu.serial, FieldKind.TEXT),
    "barcode": Field(Pdu.barcode, FieldKind.TEXT),
    "notes": Field(Pdu.notes, FieldKind.TEXT),
    "driver": Field(Pdu.driver, FieldKind.TEXT),
    "host": Field(Pdu.host, FieldKind.TEXT),
    "location_id": Field(Pdu.location_id, FieldKind.INTEGER),
    "rack.id": Field(Pdu.rack_id, FieldKind.INTEGER),
    "rack.name": Field(Rack.name, FieldKind.TEXT),
    "unit": Field(Pdu.unit, FieldKind.INTEGER),
    "outlet_count": Field(OUTLET_COUNT, FieldKind.INTEGER),
    "used_outlets": Field(USED_OUTLETS, FieldKind.INTEGER),
    "watts": Field(WATTS, FieldKind.INTEGER),
    "error": Field(Pdu.error, FieldKind.TEXT),
    "seen_at": Field(Pdu.seen_at, FieldKind.TIME),
    # Everything here stands in a rack or waits to: there is no store room in this product yet.
    "warehouse_status": Field(Pdu.rack_id, FieldKind.INTEGER),
}
OUTLET_FIELDS: Fields = {
    "id": Field(Outlet.id, FieldKind.INTEGER),
    "index": Field(Outlet.number, FieldKind.INTEGER),
    "name": Field(Outlet.name, FieldKind.TEXT),
    "power_status": Field(STATE, FieldKind.TEXT),
    "watts": Field(Outlet.watts, FieldKind.INTEGER),
    "is_missing": Field(Outlet.is_missing, FieldKind.BOOLEAN),
    "problem": Field(Outlet.flag, FieldKind.TEXT),
    "server": Field(Server.id, FieldKind.INTEGER),
    "server.id": Field(Server.id, FieldKind.INTEGER),
    "server.name": Field(Server.name, FieldKind.TEXT),
    "feed": Field(OutletConnection.feed, FieldKind.TEXT),
    "connection_id": Field(OutletConnection.id, FieldKind.INTEGER),
}

_PDUS = (
    select(
        Pdu,
        Location.name.label("location_name"),
        Rack.name.label("rack_name"),
        OUTLET_COUNT.label("outlet_count"),
        USED_OUTLETS.label("used_outlets"),
        WATTS.label("watts"),
    )
    .join(Location, Location.id == Pdu.location_id)
    .outerjoin(Rack, Rack.id == Pdu.rack_id)
)
_OUTLETS = (
    select(
        Outlet,
        STATE.label("state"),
        Pdu.name.label("pdu_name"),
        OutletConnection.id.label("connection_id"),
        OutletConnection.feed,
        OutletConnection.device_name,
        OutletConnection.notes.label("connection_notes"),
        OutletConnection.created_at.label("plugged_at"),
        Server.id.label("server_id"),
        Server.name.label("server_name"),
    )
    .join(Pdu, Pdu.id == Outlet.pdu_id)
    .outerjoin(OutletConnection, OutletConnection.outlet_id == Outlet.id)
    .outerjoin(Server, Server.id == OutletConnection.server_id)
)


async def pdu_page(session: AsyncSession, params: ListParams) -> Page[AnyRow]:
    """PDUs with the number of their outlets and of those that are in use, and their power."""
    return await fetch_page(session, _PDUS, params, PDU_FIELDS, tie_breaker=Pdu.id)


async def pdu_by_id(session: AsyncSession, pdu_id: int) -> Pdu:
    """One PDU."""
    pdu = await session.get(Pdu, pdu_id)
    if pdu is None:
        raise NotFound(f"There is no PDU {pdu_id}.")
    return pdu


async def pdu_row_by_id(session: AsyncSession, pdu_id: int) -> AnyRow:
    """One PDU as `pdu_page` gives it."""
    row = (await session.execute(_PDUS.where(Pdu.id == pdu_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no PDU {pdu_id}.")
    return row


async def outlet_page(session: AsyncSession, params: ListParams, *, pdu_id: int) -> Page[AnyRow]:
    """Outlets of a PDU with what is plugged into them."""
    query = _OUTLETS.where(Outlet.pdu_id == pdu_id)
    return await fetch_page(session, query, params, OUTLET_FIELDS, tie_breaker=Outlet.number)


async def outlet_row_by_id(session: AsyncSession, pdu_id: int, outlet_id: int) -> AnyRow:
    """One outlet as `outlet_page` gives it."""
    query = _OUTLETS.where(Outlet.pdu_id == pdu_id, Outlet.id == outlet_id)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"PDU {pdu_id} has no outlet {outlet_id}.")
    return row


async def outlets_by_id(session: AsyncSession, outlet_ids: Sequence[int]) -> Sequence[Outlet]:
    """Outlets with their PDU and connection, in the order of PDUs and indexes."""
    query = select(Outlet).where(Outlet.id.in_(outlet_ids)).order_by(Outlet.pdu_id, Outlet.number)
    query = query.options(selectinload(Outlet.pdu), selectinload(Outlet.connection))
    return (await session.scalars(query)).all()


async def outlets_of_server(session: AsyncSession, server_id: int) -> Sequence[Outlet]:
    """The outlets that feed a server, with their PDU and connection, in the order of feeds."""
    query = (
        select(Outlet)
        .join(OutletConnection, OutletConnection.outlet_id == Outlet.id)
        .where(OutletConnection.server_id == server_id)
        .options(selectinload(Outlet.pdu), selectinload(Outlet.connection))
        .order_by(OutletConnection.feed, OutletConnection.id)
    )
    return (await session.scalars(query)).all()


async def connection_rows(session: AsyncSession, server_id: int) -> Sequence[AnyRow]:
    """The cords of a server, in the order of feeds."""
    query = _OUTLETS.where(OutletConnection.server_id == server_id)
    return (await session.execute(query.order_by(OutletConnection.feed, OutletConnection.id))).all()


_CORDS = (
    select(
        OutletConnection.id, OutletConnection.server_id, OutletConnection.feed, Outlet.id.label("outlet_id"),
        Outlet.number, Outlet.name.label("outlet_name"), STATE.label("state"), Outlet.watts, Outlet.energy_wh,
        Outlet.flag, Pdu.id.label("pdu_id"), Pdu.name.label("pdu_name"),
    )
    .join(Outlet, Outlet.id == OutletConnection.outlet_id)
    .join(Pdu, Pdu.id == Outlet.pdu_id)
    .where(id_in(OutletConnection.server_id))
    .order_by(OutletConnection.feed, OutletConnection.id)
)  # fmt: skip


async def connections_of(session: AsyncSession, server_ids: Sequence[int]) -> Mapping[int, list[AnyRow]]:
    """The cords of many servers, in one statement."""
    found: dict[int, list[AnyRow]] = {}
    for row in await session.execute(_CORDS, {"ids": server_ids}):
        found.setdefault(row.server_id, []).append(row)
    return found


async def connection_by_id(session: AsyncSession, connection_id: int, *, server_id: int) -> OutletConnection:
    """One cord of a server."""
    query = select(OutletConnection).where(
        OutletConnection.id == connection_id, OutletConnection.server_id == server_id
    )
    connection = (await session.scalars(query)).one_or_none()
    if connection is None:
        raise NotFound(f"Server {server_id} has no PDU connection {connection_id}.")
    return connection


async def mains_of(session: AsyncSession, server_ids: Sequence[int]) -> Mapping[int, PowerState]:
    """Whether servers have mains, by what is known of their outlets; servers without outlets are not named.

    Off is only what is off on every feed; on is what is on on any of them.
    """
    query = (
        select(OutletConnection.server_id, STATE.label("state"))
        .join(Outlet, Outlet.id == OutletConnection.outlet_id)
        .join(Pdu, Pdu.id == Outlet.pdu_id)
        .where(id_in(OutletConnection.server_id, server_ids))
    )
    states: dict[int, set[str]] = {}
    for row in await session.execute(query):
        states.setdefault(row.server_id, set()).add(row.state)
    return {server_id: _mains(seen) for server_id, seen in states.items()}


def _mains(seen: set[str]) -> PowerState:
    if PowerState.ON in seen:
        return PowerState.ON
    return PowerState.OFF if seen == {PowerState.OFF} else PowerState.UNKNOWN


async def swept_pdus(
    session: AsyncSession, location_id: int | None, server_ids: Sequence[int] | None
) -> Sequence[Pdu]:
    """PDUs that the sweep reads: those whose login was not refused; all, or those that feed some servers."""
    query = select(Pdu).where(Pdu.refused_at.is_(None)).order_by(Pdu.id)
    if location_id is not None:
        query = query.where(Pdu.location_id == location_id)
    if server_ids is not None:
        feeding = (
            select(Outlet.pdu_id)
            .join(OutletConnection, OutletConnection.outlet_id == Outlet.id)
            .where(OutletConnection.server_id.in_(server_ids))
        )
        query = query.where(Pdu.id.in_(feeding))
    return (await session.scalars(query)).all()


# --- fields of servers


def _through(condition: Any) -> Any:
    plugged: AnySelect = (
        select(OutletConnection.server_id)
        .join(Outlet, Outlet.id == OutletConnection.outlet_id)
        .join(Pdu, Pdu.id == Outlet.pdu_id)
        .where(OutletConnection.server_id.is_not(None), condition)
    )
    return Server.id.in_(plugged)


SERVER_FIELDS: Fields = {
    "pdu_connection.pdu_id": Field(Outlet.pdu_id, FieldKind.INTEGER, through=_through),
    "pdu_connection.pdu_name": Field(Pdu.name, FieldKind.TEXT, through=_through),
    "pdu_connection.power_status": Field(STATE, FieldKind.TEXT, through=_through),
}
