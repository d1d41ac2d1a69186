"""Reading switches, ports, cables and VLANs: a fixed number of statements however many rows there are."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import AnyRow, AnySelect, id_in
from rackhand.errors import NotFound
from rackhand.http.lists import ListParams, Page, fetch_page
from rackhand.http.where import Field, FieldKind, Fields
from rackhand.servers.model import Location, Nic, Rack, Server
from rackhand.switches.model import Connection, Switch, SwitchPort, Vlan
from rackhand.users.model import User

PORT_COUNT = (
    select(func.count())
    .select_from(SwitchPort)
    .where(SwitchPort.switch_id == Switch.id, ~SwitchPort.is_missing)
    .correlate(Switch)
    .scalar_subquery()
)
USED_PORTS = (
    select(func.count())
    .select_from(SwitchPort)
    .join(Connection, Connection.port_id == SwitchPort.id)
    .where(SwitchPort.switch_id == Switch.id)
    .correlate(Switch)
    .scalar_subquery()
)
SWITCH_FIELDS: Fields = {
    "id": Field(Switch.id, FieldKind.INTEGER),
    "name": Field(Switch.name, FieldKind.TEXT),
    "model": Field(Switch.model, FieldKind.TEXT),
    "serial": Field(Switch.serial, FieldKind.TEXT),
    "barcode": Field(Switch.barcode, FieldKind.TEXT),
    "notes": Field(Switch.notes, FieldKind.TEXT),
    "driver": Field(Switch.driver, FieldKind.TEXT),
    "host": Field(Switch.host, FieldKind.TEXT),
    "location_id": Field(Switch.location_id, FieldKind.INTEGER),
    "rack.id": Field(Switch.rack_id, FieldKind.INTEGER),
    "rack.name": Field(Rack.name, FieldKind.TEXT),
    "unit": Field(Switch.unit, FieldKind.INTEGER),
    "port_count": Field(PORT_COUNT, FieldKind.INTEGER),
    "used_ports": Field(USED_PORTS, FieldKind.INTEGER),
    "error": Field(Switch.error, FieldKind.TEXT),
    "seen_at": Field(Switch.seen_at, FieldKind.TIME),
    # Everything here stands in a rack or waits to: there is no store room in this product yet.
    "warehouse_status": Field(Switch.rack_id, FieldKind.INTEGER),
}
PORT_FIELDS: Fields = {
    "id": Field(SwitchPort.id, FieldKind.INTEGER),
    "index": Field(SwitchPort.if_index, FieldKind.INTEGER),
    "name": Field(SwitchPort.name, FieldKind.TEXT),
    "description": Field(SwitchPort.description, FieldKind.TEXT),
    "alias": Field(SwitchPort.alias, FieldKind.TEXT),
    "admin_status": Field(SwitchPort.admin_status, FieldKind.TEXT),
    "oper_status": Field(SwitchPort.oper_status, FieldKind.TEXT),
    "vlan": Field(SwitchPort.vlan, FieldKind.INTEGER),
    "speed_mbit": Field(SwitchPort.speed_mbit, FieldKind.INTEGER),
    "is_uplink": Field(SwitchPort.is_uplink, FieldKind.BOOLEAN),
    "is_missing": Field(SwitchPort.is_missing, FieldKind.BOOLEAN),
    "problem": Field(SwitchPort.flag, FieldKind.TEXT),
    "server": Field(Server.id, FieldKind.INTEGER),
    "server.id": Field(Server.id, FieldKind.INTEGER),
    "server.name": Field(Server.name, FieldKind.TEXT),
    "connection_id": Field(Connection.id, FieldKind.INTEGER),
    "kind": Field(Connection.kind, FieldKind.TEXT),
}
VLAN_FIELDS: Fields = {
    "id": Field(Vlan.id, FieldKind.INTEGER),
    "vid": Field(Vlan.vid, FieldKind.INTEGER),
    "name": Field(Vlan.name, FieldKind.TEXT),
    "purpose": Field(Vlan.purpose, FieldKind.TEXT),
    "location_id": Field(Vlan.location_id, FieldKind.INTEGER),
    "owner": Field(Vlan.owner_id, FieldKind.INTEGER),
    "owner_email": Field(User.email, FieldKind.TEXT),
}

_SWITCHES = (
    select(
        Switch,
        Location.name.label("location_name"),
        Rack.name.label("rack_name"),
        PORT_COUNT.label("port_count"),
        USED_PORTS.label("used_ports"),
    )
    .join(Location, Location.id == Switch.location_id)
    .outerjoin(Rack, Rack.id == Switch.rack_id)
)
_PORTS = (
    select(
        SwitchPort,
        Switch.name.label("switch_name"),
        Connection.id.label("connection_id"),
        Connection.kind,
        Connection.device_name,
        Connection.notes.label("connection_notes"),
        Connection.do_not_collect_traffic,
        Connection.created_at.label("connected_at"),
        Server.id.label("server_id"),
        Server.name.label("server_name"),
        Nic.id.label("nic_id"),
        Nic.mac.label("nic_mac"),
    )
    .join(Switch, Switch.id == SwitchPort.switch_id)
    .outerjoin(Connection, Connection.port_id == SwitchPort.id)
    .outerjoin(Server, Server.id == Connection.server_id)
    .outerjoin(Nic, Nic.id == Connection.nic_id)
)
_VLANS = select(Vlan, User.email.label("owner_email")).outerjoin(User, User.id == Vlan.owner_id)


async def switch_page(session: AsyncSession, params: ListParams) -> Page[AnyRow]:
    """Switches with the number of their ports and of those that are in use."""
    return await fetch_page(session, _SWITCHES, params, SWITCH_FIELDS, tie_breaker=Switch.id)


async def switch_by_id(session: AsyncSession, switch_id: int) -> Switch:
    """One switch."""
    switch = await session.get(Switch, switch_id)
    if switch is None:
        raise NotFound(f"There is no switch {switch_id}.")
    return switch


async def switch_row_by_id(session: AsyncSession, switch_id: int) -> AnyRow:
    """One switch as `switch_page` gives it."""
    row = (await session.execute(_SWITCHES.where(Switch.id == switch_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no switch {switch_id}.")
    return row


async def port_page(session: AsyncSession, params: ListParams, *, switch_id: int) -> Page[AnyRow]:
    """Ports of a switch with what is plugged into them."""
    query = _PORTS.where(SwitchPort.switch_id == switch_id)
    return await fetch_page(session, query, params, PORT_FIELDS, tie_breaker=SwitchPort.if_index)


async def port_row_by_id(session: AsyncSession, switch_id: int, port_id: int) -> AnyRow:
    """One port as `port_page` gives it."""
    query = _PORTS.where(SwitchPort.switch_id == switch_id, SwitchPort.id == port_id)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"Switch {switch_id} has no port {port_id}.")
    return row


async def connection_rows(session: AsyncSession, server_id: int) -> Sequence[AnyRow]:
    """The connections of a server, in the order in which they were made."""
    query = _PORTS.where(Connection.server_id == server_id).order_by(Connection.id)
    return (await session.execute(query)).all()


_CONNECTIONS = (
    select(
        Connection.id, Connection.server_id, Connection.kind, Connection.do_not_collect_traffic,
        SwitchPort.id.label("port_id"), SwitchPort.name.label("port_name"), SwitchPort.description,
        SwitchPort.admin_status, SwitchPort.oper_status, SwitchPort.vlan, SwitchPort.speed_mbit,
        SwitchPort.flag, Switch.id.label("switch_id"), Switch.name.label("switch_name"),
    )
    .join(SwitchPort, SwitchPort.id == Connection.port_id)
    .join(Switch, Switch.id == SwitchPort.switch_id)
    .where(Connection.server_id.is_not(None), id_in(Connection.server_id))  # an index holds only those
    .order_by(Connection.id)
)  # fmt: skip


async def connections_of(session: AsyncSession, server_ids: Sequence[int]) -> Mapping[int, list[AnyRow]]:
    """The connections of many servers, in one statement."""
    found: dict[int, list[AnyRow]] = {}
    for row in await session.execute(_CONNECTIONS, {"ids": server_ids}):
        found.setdefault(row.server_id, []).append(row)
    return found


async def connection_by_id(session: AsyncSession, connection_id: int, *, server_id: int) -> Connection:
    """One connection of a server."""
    query = select(Connection).where(Connection.id == connection_id, Connection.server_id == server_id)
    connection = (await session.scalars(query)).one_or_none()
    if connection is None:
        raise NotFound(f"Server {server_id} has no connection {connection_id}.")
    return connection


async def port_names(session: AsyncSession, switch_id: int) -> dict[int, str]:
    """Names of the ports of a switch, by index."""
    query = select(SwitchPort.if_index, SwitchPort.name).where(SwitchPort.switch_id == switch_id)
    return {row.if_index: row.name for row in await session.execute(query)}


async def nic_macs(session: AsyncSession, nic_ids: Iterable[int | None]) -> dict[int, str]:
    """Addresses of NICs, by id."""
    ids = [nic_id for nic_id in nic_ids if nic_id is not None]
    return {row.id: row.mac for row in await session.execute(select(Nic.id, Nic.mac).where(Nic.id.in_(ids)))}


async def owners_of_macs(session: AsyncSession, macs: Iterable[str], *, besides: int) -> dict[str, str]:
    """Names of the servers, but for one, that own these addresses."""
    wanted = sorted(macs)
    found: dict[str, str] = {}
    for at in range(0, len(wanted), 10_000):
        query = select(Nic.mac, Server.name).join(Server, Server.id == Nic.server_id)
        query = query.where(Nic.mac.in_(wanted[at : at + 10_000]), Nic.server_id != besides)
        found.update({row.mac: row.name for row in await session.execute(query)})
    return found


# --- VLANs


def _visible_vlans(query: AnySelect, viewer: User) -> AnySelect:
    return query if viewer.is_admin else query.where(Vlan.owner_id == viewer.id)


async def vlan_page(session: AsyncSession, params: ListParams, *, visible_to: User) -> Page[AnyRow]:
    """VLANs; a user sees its own."""
    query = _visible_vlans(_VLANS, visible_to)
    return await fetch_page(session, query, params, VLAN_FIELDS, tie_breaker=Vlan.id)


async def vlan_row_by_id(session: AsyncSession, vlan_id: int, *, visible_to: User) -> Any:
    """One VLAN as `vlan_page` gives it."""
    row = (await session.execute(_visible_vlans(_VLANS.where(Vlan.id == vlan_id), visible_to))).one_or_none()
    if row is None:
        raise NotFound(f"There is no VLAN {vlan_id}.")
    return row


async def vlan_of_purpose(session: AsyncSession, location_id: int, purpose: str) -> Vlan | None:
    """The VLAN of a location that has this purpose, such as `provisioning`."""
    query = select(Vlan).where(Vlan.location_id == location_id, Vlan.purpose == purpose).limit(1)
    return (await session.scalars(query)).one_or_none()


async def vlan_for(
    session: AsyncSession, location_id: int, *, visible_to: User, vlan_id: int | None, vid: int | None
) -> Vlan:
    """A VLAN of a location by id or number."""
    which = (
        Vlan.id == vlan_id if vlan_id is not None else and_(Vlan.vid == vid, Vlan.location_id == location_id)
    )
    row = (await session.execute(_visible_vlans(_VLANS.where(which), visible_to))).one_or_none()
    if row is None or row[0].location_id != location_id:
        raise NotFound(
            f"There is no VLAN {vlan_id if vlan_id is not None else vid} in location {location_id}."
        )
    vlan: Vlan = row[0]
    return vlan


# --- fields of servers

SERVER_FIELDS: Fields = {
    "switch_connection.switch": Field(
        SwitchPort.switch_id,
        FieldKind.INTEGER,
        through=lambda condition: Server.id.in_(_through(condition)),
    ),
    "switch_connection.switch_name": Field(
        Switch.name, FieldKind.TEXT, through=lambda condition: Server.id.in_(_through(condition))
    ),
    "switch_connection.oper_status": Field(
        SwitchPort.oper_status, FieldKind.TEXT, through=lambda condition: Server.id.in_(_through(condition))
    ),
}


def _through(condition: Any) -> AnySelect:
    return (
        select(Connection.server_id)
        .join(SwitchPort, SwitchPort.id == Connection.port_id)
        .join(Switch, Switch.id == SwitchPort.switch_id)
        .where(Connection.server_id.is_not(None), condition)
    )


async def swept_switches(session: AsyncSession, location_id: int | None) -> Sequence[Switch]:
    """Switches that the sweep reads: those whose login was not refused."""
    query = select(Switch).where(Switch.refused_at.is_(None)).order_by(Switch.id)
    if location_id is not None:
        query = query.where(Switch.location_id == location_id)
    return (await session.scalars(query)).all()


async def collecting_ports(session: AsyncSession, switch_ids: Sequence[int]) -> Sequence[AnyRow]:
    """Ports of which traffic is collected: data connections that do not forbid it, and uplinks."""
    query = (
        select(SwitchPort.id, SwitchPort.switch_id, SwitchPort.if_index)
        .outerjoin(Connection, Connection.port_id == SwitchPort.id)
        .where(
            SwitchPort.switch_id.in_(switch_ids),
            or_(
                SwitchPort.is_uplink,
                and_(Connection.kind == "data", ~Connection.do_not_collect_traffic),
            ),
        )
    )
    return (await session.execute(query)).all()
