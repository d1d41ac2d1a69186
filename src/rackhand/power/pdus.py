"""The rules of PDUs, outlets and cords, and writing down what was seen of outlets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from string import ascii_lowercase
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import Base, utcnow
from rackhand.errors import Busy, Conflict, Invalid, NotFound
from rackhand.events.service import Actor, Subject, record
from rackhand.hardware.drivers import PDU_DRIVERS
from rackhand.hardware.interfaces import Outlet as SeenOutlet
from rackhand.power import queries
from rackhand.power.model import Outlet, OutletConnection, Pdu
from rackhand.power.service import settle_mains
from rackhand.servers import access
from rackhand.servers.access import AccessGiven
from rackhand.servers.model import Server
from rackhand.servers.places import settle_place
from rackhand.servers.service import refuse_busy, refuse_protected, subject_of
from rackhand.tasks.engine import active_task_of
from rackhand.vault import Vault

SUBJECT = "pdu"


def pdu_subject(pdu: Pdu) -> Subject:
    """A PDU as the subject of an event; administrators see it."""
    return Subject(SUBJECT, pdu.id, pdu.name)


# --- PDUs


async def add_pdu(
    session: AsyncSession, *, values: Mapping[str, Any], given: AccessGiven, vault: Vault, actor: Actor
) -> Pdu:
    """Add a PDU; its outlets come with a discovery."""
    pdu = Pdu(**values, created_at=utcnow(), settings={}, driver="", host="", port=0, user="", generation=0)
    access.set_access(pdu, given, vault, PDU_DRIVERS)
    pdu.location_id = await settle_place(
        session, location_id=pdu.location_id, rack_id=pdu.rack_id, unit=pdu.unit
    )
    await _save(session, pdu)
    record(session, "pdu.created", f"PDU {pdu.name} was added.", subject=pdu_subject(pdu), actor=actor)
    return pdu


async def edit_pdu(
    session: AsyncSession,
    pdu: Pdu,
    *,
    values: Mapping[str, Any],
    given: AccessGiven | None,
    vault: Vault,
    actor: Actor,
) -> None:
    """Change what is given; a new access forgives a refused login."""
    for name, value in values.items():
        setattr(pdu, name, value)
    if given is not None:
        access.set_access(pdu, given, vault, PDU_DRIVERS)
    await settle_place(session, location_id=pdu.location_id, rack_id=pdu.rack_id, unit=pdu.unit)
    await _save(session, pdu)
    changed = sorted([*values, *(["access"] if given else [])])
    record(session, "pdu.changed", f"PDU {pdu.name} was changed: {', '.join(changed)}.",
           subject=pdu_subject(pdu), actor=actor)  # fmt: skip


async def delete_pdu(session: AsyncSession, pdu: Pdu, *, actor: Actor) -> None:
    """Delete a PDU into which nothing is plugged; its outlets and their samples go with it."""
    running = await active_task_of(session, SUBJECT, pdu.id)
    if running is not None:
        raise Busy(f"PDU {pdu.id}", running.id, running.name, running.status)
    subject = pdu_subject(pdu)
    try:
        async with session.begin_nested():
            await session.delete(pdu)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(
            f"Something is plugged into PDU {subject.name}. Delete the connections first."
        ) from error
    record(session, "pdu.deleted", f"PDU {subject.name} was deleted.", subject=subject, actor=actor)


_CLASHES = (
    (("pdu.name", "uq_pdu_name"), "There is a PDU of this name already."),
    (("pdu.host", "uq_pdu_host"), "There is a PDU with this address already."),
    (
        ("outlet_connection.outlet_id", "uq_outlet_connection_outlet_id"),
        "Something is plugged into this outlet already.",
    ),
)


async def _save(session: AsyncSession, row: Base) -> None:
    try:
        async with session.begin_nested():
            session.add(row)
            await session.flush()
    except IntegrityError as error:
        message = str(error.orig)
        words = next((words for marks, words in _CLASHES if any(mark in message for mark in marks)), None)
        raise Conflict(words or "That exists already.") from error


# --- outlets


async def flag_outlet(session: AsyncSession, outlet_id: int, words: str) -> None:
    """Mark an outlet of which nobody knows what it does until it is seen again."""
    await session.execute(update(Outlet).where(Outlet.id == outlet_id).values(flag=words))


async def save_outlet(session: AsyncSession, outlet: Outlet, seen: SeenOutlet, at: datetime) -> None:
    """Write down an outlet that an operation has read and found as it should be."""
    await session.execute(
        update(Outlet)
        .where(Outlet.id == outlet.id)
        .values(state=seen.state, watts=whole(seen.watts), seen_at=at, flag=None, is_missing=False)
    )
    await session.execute(update(Pdu).where(Pdu.id == outlet.pdu_id).values(error=None, error_at=None))
    if outlet.connection is not None and outlet.connection.server_id is not None:
        await settle_mains(session, [outlet.connection.server_id], at, tells=False)


async def save_discovery(session: AsyncSession, pdu_id: int, info: str, outlets: Sequence[SeenOutlet]) -> int:
    """Write down all outlets of a PDU; return how many are new. Outlets that it no longer has are marked."""
    now = utcnow()
    known = {
        outlet.number: outlet
        for outlet in await session.scalars(select(Outlet).where(Outlet.pdu_id == pdu_id))
    }
    new = 0
    for seen in outlets:
        outlet = known.pop(seen.index, None)
        if outlet is None:
            new += 1
            outlet = Outlet(pdu_id=pdu_id, number=seen.index)
            session.add(outlet)
        outlet.name, outlet.state, outlet.watts = seen.name, seen.state, whole(seen.watts)
        outlet.seen_at, outlet.is_missing = now, False
    for outlet in known.values():
        outlet.is_missing = True
    values = {"description": info[:1000], "seen_at": now, "error": None, "error_at": None}
    await session.execute(update(Pdu).where(Pdu.id == pdu_id).values(**values))
    await session.flush()
    await settle_mains(session, await _fed_servers(session, pdu_id), now, tells=True)
    return new


async def _fed_servers(session: AsyncSession, pdu_id: int) -> list[int]:
    query = (
        select(OutletConnection.server_id)
        .join(Outlet, Outlet.id == OutletConnection.outlet_id)
        .where(Outlet.pdu_id == pdu_id, OutletConnection.server_id.is_not(None))
        .distinct()
    )
    return [server_id for server_id in await session.scalars(query) if server_id is not None]


def whole(reading: float | None) -> int | None:
    """A reading as it is kept."""
    return None if reading is None else round(reading)


async def end_flag(session: AsyncSession, outlet: Outlet, *, actor: Actor) -> None:
    """Take a flag off: an operator has looked into it."""
    outlet.flag = None
    await session.flush()
    if outlet.connection is not None and outlet.connection.server_id is not None:
        await settle_mains(session, [outlet.connection.server_id], utcnow(), tells=True)
    record(session, "pdu.outlet_changed", f"The problem of {words_of(outlet)} was set aside.",
           subject=pdu_subject(outlet.pdu), actor=actor)  # fmt: skip


def words_of(outlet: Outlet) -> str:
    """An outlet as an operator reads it."""
    feed = f" (feed {outlet.connection.feed})" if outlet.connection and outlet.connection.feed else ""
    return f"{outlet.pdu.name} outlet {outlet.number}{feed}"


# --- cords


async def connect(
    session: AsyncSession,
    *,
    outlet: Outlet,
    server: Server | None,
    device_name: str = "",
    feed: str = "",
    notes: str = "",
    actor: Actor,
) -> OutletConnection:
    """Write down a cord; without *feed* a server's cord gets the next letter that is free."""
    if server is not None:
        refuse_protected(server, "changes of its connections")
        if server.location_id != outlet.pdu.location_id:
            raise Invalid(f"PDU {outlet.pdu.name} stands in another location than server {server.name}.")
        feed = feed or await _next_feed(session, server)
    connection = OutletConnection(
        outlet_id=outlet.id,
        server_id=server.id if server else None,
        device_name=device_name,
        feed=feed,
        notes=notes,
        created_at=utcnow(),
    )
    await _save(session, connection)
    if server is not None:
        await settle_mains(session, [server.id], utcnow(), tells=True)
    what = f"server {server.name}, feed {feed}" if server else device_name or "a device"
    words = f"{outlet.pdu.name} outlet {outlet.number} was connected with {what}."
    subject = subject_of(server) if server else pdu_subject(outlet.pdu)
    data = {"connection": connection.id}
    record(session, "pdu_connection.created", words, subject=subject, actor=actor, data=data)
    return connection


async def _next_feed(session: AsyncSession, server: Server) -> str:
    query = select(OutletConnection.feed).where(OutletConnection.server_id == server.id)
    used = set(await session.scalars(query))
    return next((letter for letter in ascii_lowercase if letter not in used), ascii_lowercase[-1])


async def edit_connection(
    session: AsyncSession,
    connection: OutletConnection,
    server: Server,
    *,
    values: Mapping[str, Any],
    actor: Actor,
) -> None:
    """Change the feed or the notes of a cord."""
    if "feed" in values:
        refuse_protected(server, "changes of its connections")
    for name, value in values.items():
        setattr(connection, name, value)
    await _save(session, connection)
    words = (
        f"PDU connection {connection.id} of server {server.name} was changed: {', '.join(sorted(values))}."
    )
    record(
        session, "pdu_connection.changed", words, subject=subject_of(server), actor=actor, data=dict(values)
    )


async def disconnect(
    session: AsyncSession, connection: OutletConnection, *, server: Server | None, actor: Actor
) -> None:
    """Forget a cord; the energy that it counted is forgotten with it."""
    if server is not None:
        refuse_protected(server, "changes of its connections")
        await refuse_busy(session, server)
    found = await queries.outlets_by_id(session, [connection.outlet_id])
    if not found:
        raise NotFound(f"There is no outlet {connection.outlet_id}.")
    (outlet,) = found
    subject = subject_of(server) if server else pdu_subject(outlet.pdu)
    words = f"The connection of {outlet.pdu.name} outlet {outlet.number} was deleted."
    data = {"connection": connection.id}
    await session.delete(connection)
    await session.flush()
    if server is not None:
        await settle_mains(session, [server.id], utcnow(), tells=True)
    record(session, "pdu_connection.deleted", words, subject=subject, actor=actor, data=data)
