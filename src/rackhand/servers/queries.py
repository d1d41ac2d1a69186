"""Reading the inventory: a fixed number of statements however many rows there are."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, selectinload

from rackhand.db import AnyRow, AnySelect, Base, id_in
from rackhand.errors import NotFound
from rackhand.events.queries import last_at
from rackhand.hardware.interfaces import PowerState
from rackhand.http import words
from rackhand.http.lists import ListParams, Page, fetch_page, has_pattern, keys_of
from rackhand.http.where import Field, FieldKind, Fields
from rackhand.servers.model import BmcAccess, Disk, Location, Nic, Rack, Server, ServerStatus
from rackhand.tasks.model import Task, TaskStatus
from rackhand.users.model import User

STATUS = case(
    (Server.quarantine_reason.is_not(None), ServerStatus.QUARANTINED.value),
    (Server.maintenance, ServerStatus.MAINTENANCE.value),
    (Server.owner_id.is_(None), ServerStatus.FREE.value),
    else_=ServerStatus.ALLOCATED.value,
)
STATE = case((Server.is_suspended, "suspended"), else_="active")

# What a billing system may take (api-facts 5.3). The MAC address is unique by constraint.
IS_AVAILABLE = and_(
    Server.owner_id.is_(None),
    Server.configuration.is_not(None),
    Server.configuration != "",
    ~Server.is_new,
    ~Server.maintenance,
    Server.quarantine_reason.is_(None),
    Server.diagnostics_error.is_(None),
    ~exists()
    .where(Task.id == Server.last_task_id, Task.status.not_in((TaskStatus.SUCCEEDED, TaskStatus.CANCELLED)))
    .correlate_except(Task),  # the list joins `task` too
)


# Read once and remembered, not once for each server; what is wanted has an index or is few.
def _of_nic(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return Server.id.in_(select(Nic.server_id).where(condition))


def _of_disk(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return Server.id.in_(select(Disk.server_id).where(condition))


FIELDS: Fields = {
    "id": Field(Server.id, FieldKind.INTEGER),
    "name": Field(Server.name, FieldKind.TEXT),
    "domain": Field(Server.domain, FieldKind.TEXT),
    "configuration": Field(Server.configuration, FieldKind.TEXT),
    "type": Field(Server.type, FieldKind.TEXT),
    "model": Field(Server.model, FieldKind.TEXT),
    "serial": Field(Server.serial, FieldKind.TEXT),
    "barcode": Field(Server.barcode, FieldKind.TEXT),
    "notes": Field(Server.notes, FieldKind.TEXT),
    "status": Field(STATUS, FieldKind.TEXT),
    "state": Field(STATE, FieldKind.TEXT),
    "owner": Field(Server.owner_id, FieldKind.INTEGER),
    "owner_email": Field(User.email, FieldKind.TEXT),
    "is_new": Field(Server.is_new, FieldKind.BOOLEAN),
    "is_available": Field(case((IS_AVAILABLE, True), else_=False), FieldKind.BOOLEAN),
    "maintenance": Field(Server.maintenance, FieldKind.BOOLEAN),
    "is_protected": Field(Server.is_protected, FieldKind.BOOLEAN),
    "location_id": Field(Server.location_id, FieldKind.INTEGER),
    "location.id": Field(Server.location_id, FieldKind.INTEGER),
    "location.name": Field(Location.name, FieldKind.TEXT),
    "rack.id": Field(Server.rack_id, FieldKind.INTEGER),
    "rack.name": Field(Rack.name, FieldKind.TEXT),
    "unit": Field(Server.unit, FieldKind.INTEGER),
    "settings.efi": Field(Server.efi, FieldKind.BOOLEAN),
    "power_status": Field(Server.power_state, FieldKind.TEXT),
    "power_status_at": Field(Server.power_state_at, FieldKind.TIME),
    "operation.id": Field(Server.last_task_id, FieldKind.INTEGER),
    "operation.status": Field(
        func.coalesce(Task.status, TaskStatus.SUCCEEDED.value),
        FieldKind.TEXT,
        words=words.OPERATION_STATUS_WHERE,
    ),
    "power_unreachable_since": Field(Server.power_error_at, FieldKind.TIME),
    "diagnostics_message": Field(Server.diagnostics_error, FieldKind.TEXT),
    "bmc_connection.refused_at": Field(BmcAccess.refused_at, FieldKind.TIME),
    "created_at": Field(Server.created_at, FieldKind.TIME),
    "mac": Field(Nic.mac, FieldKind.TEXT, through=_of_nic),
    "nics.mac": Field(Nic.mac, FieldKind.TEXT, through=_of_nic),
    "disks.serial": Field(Disk.serial, FieldKind.TEXT, through=_of_disk),
}


def visible(query: AnySelect, viewer: User) -> AnySelect:
    """Limit *query* to the servers of *viewer*; an administrator sees all."""
    return query if viewer.is_admin else query.where(Server.owner_id == viewer.id)


async def by_id(session: AsyncSession, server_id: int, *, visible_to: User) -> Server:
    """One server with its NICs, disks and BMC access; somebody else's is not found."""
    query = visible(select(Server).where(Server.id == server_id), visible_to).options(*_PARTS)
    server: Server | None = (await session.scalars(query)).one_or_none()
    if server is None:
        raise NotFound(f"There is no server {server_id}.")
    return server


async def owned_since(
    session: AsyncSession, server_ids: Sequence[int], viewer: User
) -> Mapping[int, datetime]:
    """From when on *viewer* may see what servers measured: a customer sees nothing of who had them before.

    Administrators see everything, so no server is named for them.
    """
    if viewer.is_admin or not server_ids:
        return {}
    return await last_at(session, "server.owner_given", subject_kind="server", subject_ids=server_ids)


async def for_task(session: AsyncSession, server_id: int) -> Server | None:
    """The server that a task works on, as it is now."""
    return (
        await session.scalars(select(Server).where(Server.id == server_id).options(*_PARTS))
    ).one_or_none()


_PARTS = (selectinload(Server.nics), selectinload(Server.disks), selectinload(Server.bmc))

# --- full rows


@dataclass(frozen=True)
class ServerPart:
    """Keys of a server's row that a higher slice fills in, such as `ip`.

    `load` takes the ids of a page and gives the values by server id in a fixed number of statements; `defaults` are the
    values of servers that it does not name; `fields` are what `where` and `orderby` know of them.
    """

    defaults: Mapping[str, object]
    load: Callable[[AsyncSession, Sequence[int], User], Awaitable[Mapping[int, Mapping[str, object]]]]
    fields: Fields


def _spelt(column: InstrumentedAttribute[Any], name: str) -> ColumnElement[str]:
    """JSON as text: it goes to the caller as it is stored, for reading and writing it again takes longest of all."""
    return cast(column, Text).label(name)


_COLUMNS = (
    Server.id, Server.name, Server.domain, Server.configuration, Server.type, Server.model, Server.serial,
    Server.barcode, Server.notes, Server.location_id, Location.name.label("location_name"), Server.rack_id,
    Rack.name.label("rack_name"), Server.unit, Server.owner_id, User.email.label("owner_email"), Server.is_new,
    Server.maintenance, Server.is_protected, Server.is_suspended, Server.quarantine_reason,
    Server.diagnostics_error, Server.efi, _spelt(Server.hardware_info, "hardware_info"),
    _spelt(Server.perform_info, "perform_info"), _spelt(Server.os_template, "os_template"),
    Server.power_state, Server.power_state_at, Server.power_error, Server.power_error_at, Server.last_task_id,
    Server.created_at, STATUS.label("status"), Task.name.label("task_name"), Task.status.label("task_status"),
    Task.waiting_for.label("task_waiting_for"), Task.error.label("task_error"),
    Task.finished_at.label("task_finished_at"),
    BmcAccess.driver.label("bmc_driver"), BmcAccess.host.label("bmc_host"), BmcAccess.port.label("bmc_port"),
    BmcAccess.user.label("bmc_user"), BmcAccess.refused_at.label("bmc_refused_at"),
)  # fmt: skip


# One row at most each; `server.location_id` is never null.
_JOINS: Mapping[type[Base], ColumnElement[bool]] = {
    Location: Location.id == Server.location_id,
    Rack: Rack.id == Server.rack_id,
    User: User.id == Server.owner_id,
    Task: Task.id == Server.last_task_id,
    BmcAccess: BmcAccess.server_id == Server.id,
}


def _joined(*columns: Any, joins: Mapping[type[Base], ColumnElement[bool]] = _JOINS) -> AnySelect:
    query: AnySelect = select(*columns).select_from(Server)
    for model, condition in joins.items():
        query = query.outerjoin(model, condition)
    return query


# Made once: making a statement takes longer than running it.
_ROWS = _joined(*_COLUMNS)
_SHOWN = _ROWS.where(id_in(Server.id))
_NICS = (
    select(Nic.server_id, Nic.id, Nic.mac, Nic.name, Nic.speed_mbit)
    .where(id_in(Nic.server_id))
    .order_by(Nic.id)
)
_DISKS = (
    select(Disk.server_id, Disk.id, Disk.name, Disk.kind, Disk.size_gb, Disk.model, Disk.serial)
    .where(id_in(Disk.server_id))
    .order_by(Disk.id)
)


async def page(
    session: AsyncSession, params: ListParams, *, visible_to: User, parts: Sequence[ServerPart]
) -> Page[AnyRow]:
    """Servers with what hangs on them one to one; `related` adds the rest.

    A part of the list is found first and read then: neither counting nor sorting touches what is only shown.
    """
    fields = dict(FIELDS)
    for part in parts:
        fields.update(part.fields)
    if not params.limit.strip():
        every = visible(_ROWS, visible_to)
        return await fetch_page(session, every, params, fields, tie_breaker=Server.id)
    is_search = has_pattern(params.where)
    keys, params = keys_of(Server.id, _JOINS, params, fields)
    found = await fetch_page(
        session, visible(keys, visible_to), params, fields, tie_breaker=Server.id, is_search=is_search
    )
    shown = await session.execute(visible(_SHOWN, visible_to), {"ids": found.rows})
    by_server = {row.id: row for row in shown}
    return Page([by_server[number] for number in found.rows if number in by_server], found.size)


async def row_by_id(session: AsyncSession, server_id: int, *, visible_to: User) -> AnyRow:
    """One server as `page` gives it."""
    query = visible(_ROWS.where(Server.id == server_id), visible_to)
    found = (await session.execute(query)).one_or_none()
    if found is None:
        raise NotFound(f"There is no server {server_id}.")
    return found


@dataclass(frozen=True)
class Related:
    """What hangs on the servers of a page, by server id."""

    nics: Mapping[int, list[AnyRow]]
    disks: Mapping[int, list[AnyRow]]
    parts: Sequence[tuple[ServerPart, Mapping[int, Mapping[str, object]]]]


async def related(
    session: AsyncSession, server_ids: Sequence[int], viewer: User, parts: Sequence[ServerPart]
) -> Related:
    """Load NICs, disks and the parts of higher slices of a whole page."""
    nics: dict[int, list[AnyRow]] = {}
    for nic in await session.execute(_NICS, {"ids": server_ids}):
        nics.setdefault(nic.server_id, []).append(nic)
    disks: dict[int, list[AnyRow]] = {}
    for disk in await session.execute(_DISKS, {"ids": server_ids}):
        disks.setdefault(disk.server_id, []).append(disk)
    return Related(nics, disks, [(part, await part.load(session, server_ids, viewer)) for part in parts])


async def summary(session: AsyncSession, *, visible_to: User) -> AnyRow:
    """How many servers there are in all and of each kind that somebody asks about, in one statement."""

    def number(name: str, condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count().filter(condition).label(name)

    query = (
        select(
            func.count().label("total"),
            *(number(each.value, STATUS == each.value) for each in ServerStatus),  # noqa: SIM300  # a column
            number("suspended", Server.is_suspended.is_(True)),
            number("power_on", Server.power_state == PowerState.ON),
            number("power_off", Server.power_state == PowerState.OFF),
            number("power_unknown", Server.power_state == PowerState.UNKNOWN),
            number("unreachable", Server.power_error_at.is_not(None)),
            number("refused", BmcAccess.refused_at.is_not(None)),
            number("failed_diagnosis", Server.diagnostics_error.is_not(None)),
        )
        .select_from(Server)
        .outerjoin(BmcAccess, BmcAccess.server_id == Server.id)
    )
    return (await session.execute(visible(query, visible_to))).one()


async def capacity(session: AsyncSession) -> Sequence[AnyRow]:
    """Racks, their units and those in use by servers, and servers, by location."""
    racks = (
        select(Rack.location_id, func.count().label("racks"), func.sum(Rack.size).label("units"))
        .group_by(Rack.location_id)
        .subquery()
    )
    servers = (
        select(Server.location_id, func.count().label("servers"), func.count(Server.unit).label("used"))
        .group_by(Server.location_id)
        .subquery()
    )
    query: AnySelect = (
        select(
            Location.id,
            Location.name,
            func.coalesce(racks.c.racks, 0).label("racks"),
            func.coalesce(racks.c.units, 0).label("units"),
            func.coalesce(servers.c.servers, 0).label("servers"),
            func.coalesce(servers.c.used, 0).label("used_units"),
        )
        .outerjoin(racks, racks.c.location_id == Location.id)
        .outerjoin(servers, servers.c.location_id == Location.id)
        .order_by(Location.name)
    )
    return (await session.execute(query)).all()


async def stock(session: AsyncSession, *, visible_to: User) -> Sequence[AnyRow]:
    """Configurations that exist, with the number of servers and of available ones; a user sees its own."""
    available = func.count().filter(IS_AVAILABLE)
    query = (
        select(Server.configuration, available.label("free_server_count"), func.count().label("server_count"))
        .where(Server.configuration.is_not(None), Server.configuration != "")
        .group_by(Server.configuration)
        .order_by(Server.configuration)
    )
    if not visible_to.is_admin:
        query = query.where(Server.owner_id == visible_to.id)
    return (await session.execute(query)).all()


async def configurations(session: AsyncSession) -> Sequence[str]:
    """The configurations that exist, without counting what is available of each."""
    query = select(Server.configuration).where(Server.configuration.is_not(None), Server.configuration != "")
    found = await session.scalars(query.distinct().order_by(Server.configuration))
    return [name for name in found if name]


# --- locations and racks

LOCATION_SERVERS = (
    select(func.count())
    .select_from(Server)
    .where(Server.location_id == Location.id)
    .correlate(Location)
    .scalar_subquery()
)
LOCATION_FIELDS: Fields = {
    "id": Field(Location.id, FieldKind.INTEGER),
    "name": Field(Location.name, FieldKind.TEXT),
    "notes": Field(Location.notes, FieldKind.TEXT),
    "server_count": Field(LOCATION_SERVERS, FieldKind.INTEGER),
}
RACK_DEVICES = (
    select(func.count())
    .select_from(Server)
    .where(Server.rack_id == Rack.id)
    .correlate(Rack)
    .scalar_subquery()
)
RACK_UNITS = (
    select(func.count(Server.unit))
    .select_from(Server)
    .where(Server.rack_id == Rack.id)
    .correlate(Rack)
    .scalar_subquery()
)
RACK_FIELDS: Fields = {
    "id": Field(Rack.id, FieldKind.INTEGER),
    "name": Field(Rack.name, FieldKind.TEXT),
    "size": Field(Rack.size, FieldKind.INTEGER),
    "notes": Field(Rack.notes, FieldKind.TEXT),
    "location_id": Field(Rack.location_id, FieldKind.INTEGER),
    "device_count": Field(RACK_DEVICES, FieldKind.INTEGER),
}


async def location_page(session: AsyncSession, params: ListParams) -> Page[AnyRow]:
    """Locations with the number of servers in each."""
    query = select(Location, LOCATION_SERVERS.label("server_count"))
    return await fetch_page(session, query, params, LOCATION_FIELDS, tie_breaker=Location.id)


async def rack_page(session: AsyncSession, params: ListParams) -> Page[AnyRow]:
    """Racks with the number of devices in each."""
    query = select(Rack, RACK_DEVICES.label("device_count"), RACK_UNITS.label("used_units"))
    return await fetch_page(session, query, params, RACK_FIELDS, tie_breaker=Rack.id)


async def location_by_id(session: AsyncSession, location_id: int) -> Location:
    """One location."""
    location = await session.get(Location, location_id)
    if location is None:
        raise NotFound(f"There is no location {location_id}.")
    return location


async def rack_by_id(session: AsyncSession, rack_id: int) -> Rack:
    """One rack."""
    rack = await session.get(Rack, rack_id)
    if rack is None:
        raise NotFound(f"There is no rack {rack_id}.")
    return rack


async def devices_of(session: AsyncSession, rack: Rack) -> AsyncIterator[AnyRow]:
    """What stands in a rack, from the top."""
    query = (
        select(Server.id, Server.name, Server.unit)
        .where(Server.rack_id == rack.id)
        .order_by(Server.unit.desc())
    )
    for row in await session.execute(query):
        yield row
