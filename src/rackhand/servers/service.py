"""The rules of the inventory: who may be given a server, and what may be done to one."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import Busy, Conflict, Forbidden, Invalid, NotFound
from rackhand.events.service import Actor, Subject, record
from rackhand.hardware.drivers import DRIVERS, validate_settings
from rackhand.servers.bmc import PASSWORD_PURPOSE
from rackhand.servers.model import BmcAccess, Disk, Location, Nic, Rack, Server
from rackhand.tasks.engine import active_task_of
from rackhand.users.model import AccountState, User
from rackhand.vault import Vault

SUBJECT = "server"


def subject_of(server: Server) -> Subject:
    """A server as the subject of an event; its owner sees it."""
    return Subject(SUBJECT, server.id, server.name, server.owner_id)


def refuse_protected(server: Server, what: str) -> None:
    """Raise `Forbidden` when *server* is protected from *what* (api-facts 5.4)."""
    if server.is_protected:
        raise Forbidden(f"Server {server.id} is protected from {what}. Take the protection off first.")


async def add_server(
    session: AsyncSession,
    *,
    values: Mapping[str, Any],
    nics: Sequence[Mapping[str, Any]] = (),
    disks: Sequence[Mapping[str, Any]] = (),
    bmc: Mapping[str, Any] | None = None,
    vault: Vault,
    actor: Actor,
) -> Server:
    """Add a machine; names, MAC addresses, rack units and BMC addresses are unique."""
    given = dict(values)
    given["location_id"] = await _location_for(session, given.get("location_id"), given.get("rack_id"))
    server = Server(
        **given,
        nics=[Nic(**nic) for nic in nics],
        disks=[Disk(**disk) for disk in disks],
        bmc=None if bmc is None else make_bmc(vault, **bmc),
        hardware_info={},
        perform_info={},
        created_at=utcnow(),
    )
    await _check_place(session, server)
    await _save(session, server)
    record(
        session, "server.created", f"Server {server.name} was added.", subject=subject_of(server), actor=actor
    )
    return server


async def edit_server(
    session: AsyncSession,
    server: Server,
    *,
    values: Mapping[str, Any],
    nics: Sequence[Mapping[str, Any]] | None = None,
    disks: Sequence[Mapping[str, Any]] | None = None,
    actor: Actor,
) -> None:
    """Change what is given in *values*; lists replace what was there."""
    changes = {name: value for name, value in values.items() if getattr(server, name) != value}
    hard = set(changes) - {"notes", "domain", "is_protected", "barcode"}
    if (hard or nics is not None or disks is not None) and changes.get("is_protected") is not False:
        refuse_protected(server, "changes")
    if "location_id" in changes:
        await _location_for(session, changes["location_id"], None)
    for name, value in changes.items():
        setattr(server, name, value)
    if nics is not None:
        server.nics = _merge(server.nics, nics)
        changes["nics"] = [nic.mac for nic in server.nics]
    if disks is not None:
        server.disks = [Disk(**disk) for disk in disks]
        changes["disks"] = len(disks)
    if changes:
        await _check_place(session, server)
        await _save(session, server)
        words = f"Server {server.name} was changed: {', '.join(sorted(changes))}."
        record(
            session,
            "server.changed",
            words,
            subject=subject_of(server),
            actor=actor,
            data={"changed": changes},
        )


def _merge(old: Sequence[Nic], new: Sequence[Mapping[str, Any]]) -> list[Nic]:
    """Keep the rows whose MAC address stays, so that what refers to them stays too."""
    kept = {nic.mac: nic for nic in old}
    merged = []
    for given in new:
        nic = kept.get(given["mac"]) or Nic(mac=given["mac"])
        nic.name, nic.speed_mbit = given["name"], given["speed_mbit"]
        merged.append(nic)
    return merged


async def delete_server(session: AsyncSession, server: Server, *, actor: Actor) -> None:
    """Delete a machine that nobody owns and nothing works on."""
    refuse_protected(server, "deletion")
    if server.owner_id is not None:
        raise Conflict(f"Server {server.id} has an owner. Release it first: DELETE server/{server.id}/owner.")
    await refuse_busy(session, server)
    subject = subject_of(server)
    try:
        async with session.begin_nested():
            await session.delete(server)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(
            f"Server {server.id} is still in use. Release its addresses and connections first."
        ) from error
    record(session, "server.deleted", f"Server {subject.name} was deleted.", subject=subject, actor=actor)


async def refuse_busy(session: AsyncSession, server: Server) -> None:
    """Raise `Conflict` while a task holds *server*."""
    running = await active_task_of(session, SUBJECT, server.id)
    if running is not None:
        raise Busy(f"Server {server.id}", running.id, running.name, running.status)


async def give_owner(session: AsyncSession, server: Server, owner_id: int, *, actor: Actor) -> None:
    """Make *owner_id* the owner; of several that ask at once one gets it. The same owner again changes nothing."""
    owner = await session.get(User, owner_id)
    if owner is None:
        raise NotFound(f"There is no user {owner_id}.")
    if server.owner_id == owner_id:
        return
    if owner.state != AccountState.ACTIVE:
        raise Conflict(f"Account {owner.email} is blocked and cannot be given a server.")
    if server.quarantine_reason is not None:
        raise Conflict(f"Server {server.id} is quarantined: {server.quarantine_reason}")
    if server.owner_id is None:
        await refuse_busy(session, server)  # what runs was asked for by somebody else
    taken = await session.execute(
        update(Server)
        .where(Server.id == server.id, or_(Server.owner_id.is_(None), Server.owner_id == owner_id))
        .values(owner_id=owner_id)
        .execution_options(synchronize_session=False)
    )
    if not taken.rowcount:  # type: ignore[attr-defined]  # a cursor result
        raise Conflict(
            f"Server {server.id} has an owner already. Release it first: DELETE server/{server.id}/owner."
        )
    await session.refresh(server, ["owner_id"])
    words = f"Server {server.name} was given to {owner.email}."
    record(
        session,
        "server.owner_given",
        words,
        subject=subject_of(server),
        actor=actor,
        data={"owner": owner_id},
    )


async def take_owner(session: AsyncSession, server: Server, *, actor: Actor) -> None:
    """Release a server; safe to repeat. The event stays visible to the one who had it."""
    if server.owner_id is None:
        return
    refuse_protected(server, "release")
    await refuse_busy(session, server)
    subject = subject_of(server)
    former = server.owner_id
    server.owner_id = None
    server.is_suspended = False
    server.os_template = None
    await session.flush()
    record(session, "server.owner_taken", f"Server {server.name} was released.", subject=subject, actor=actor,
           data={"owner": former})  # fmt: skip


async def set_flag(session: AsyncSession, server: Server, name: str, *, value: bool, actor: Actor) -> None:
    """Set `maintenance` or `is_protected`; safe to repeat."""
    if name == "maintenance":
        refuse_protected(server, "maintenance")
    if getattr(server, name) != value:
        setattr(server, name, value)
        words = f"Server {server.name}: {name} is now {'on' if value else 'off'}."
        record(session, f"server.{name}", words, subject=subject_of(server), actor=actor, data={name: value})


async def quarantine(session: AsyncSession, server: Server, reason: str | None, *, actor: Actor) -> None:
    """Keep a server from being given away, with the reason, or let it go again with None."""
    if server.quarantine_reason == reason:
        return
    server.quarantine_reason = reason
    kind, words = (
        ("server.quarantined", f"quarantined: {reason}")
        if reason
        else ("server.unquarantined", "let out of quarantine.")
    )
    record(session, kind, f"Server {server.name} was {words}", subject=subject_of(server), actor=actor)


# --- BMC access


def make_bmc(
    vault: Vault,
    *,
    driver: str,
    host: str,
    port: int | None,
    user: str,
    password: str | None,
    settings: Mapping[str, Any],
) -> BmcAccess:
    """Check an access against its driver's table and seal the password."""
    if driver not in DRIVERS:
        raise Invalid(f"driver: expected one of {', '.join(sorted(DRIVERS))}, got {driver[:40]!r}.")
    try:
        checked = validate_settings(driver, settings)
    except ValueError as error:
        raise Invalid(f"settings: {error}") from error
    return BmcAccess(
        driver=driver,
        host=host,
        port=port or DRIVERS[driver].port,
        user=user,
        password=vault.seal(password, purpose=PASSWORD_PURPOSE) if password else "",
        settings=dict(checked),
    )


async def set_bmc(
    session: AsyncSession,
    server: Server,
    *,
    given: Mapping[str, Any],
    vault: Vault,
    actor: Actor,
    task_id: int | None = None,
) -> None:
    """Set the access of a server; without a password the stored one stays. A refused login is forgiven by it."""
    refuse_protected(server, "changes of its BMC access")
    fresh = make_bmc(vault, **given)
    if server.bmc is None:
        server.bmc = fresh
    else:
        if given["password"] is None and (server.bmc.host, server.bmc.user) == (fresh.host, fresh.user):
            fresh.password = server.bmc.password
        for name in ("driver", "host", "port", "user", "password", "settings"):
            setattr(server.bmc, name, getattr(fresh, name))
        server.bmc.generation += 1
        server.bmc.refused_at = server.bmc.refusal = None
    await _save(session, server)
    words = f"BMC access of server {server.name} was set: {fresh.driver} at {fresh.host}:{fresh.port}."
    record(session, "server.bmc_changed", words, subject=subject_of(server), actor=actor, task_id=task_id)


async def remove_bmc(session: AsyncSession, server: Server, *, actor: Actor) -> None:
    """Forget how to reach the BMC; safe to repeat."""
    refuse_protected(server, "changes of its BMC access")
    if server.bmc is None:
        return
    await refuse_busy(session, server)
    server.bmc = None
    await session.flush()
    record(session, "server.bmc_removed", f"BMC access of server {server.name} was removed.",
           subject=subject_of(server), actor=actor)  # fmt: skip


# --- locations and racks


async def add_location(
    session: AsyncSession, *, name: str, notes: str, clear_on_release: str = "full", actor: Actor
) -> Location:
    """Add a location."""
    location = Location(name=name, notes=notes, clear_on_release=clear_on_release, created_at=utcnow())
    await _save(session, location)
    record(session, "location.created", f"Location {name} was added.", subject=Subject("location", location.id, name),
           actor=actor)  # fmt: skip
    return location


async def add_rack(
    session: AsyncSession, *, name: str, size: int, notes: str, location_id: int | None, actor: Actor
) -> Rack:
    """Add a rack."""
    place = await _location_for(session, location_id, None)
    rack = Rack(name=name, size=size, notes=notes, location_id=place, created_at=utcnow())
    await _save(session, rack)
    record(
        session,
        "rack.created",
        f"Rack {name} was added.",
        subject=Subject("rack", rack.id, name),
        actor=actor,
    )
    return rack


async def edit_row(
    session: AsyncSession, row: Location | Rack, values: Mapping[str, Any], *, actor: Actor
) -> None:
    """Change a location or a rack."""
    if isinstance(row, Rack) and "size" in values:
        highest = await session.scalar(select(func.max(Server.unit)).where(Server.rack_id == row.id)) or 0
        if values["size"] < highest:
            raise Conflict(
                f"Rack {row.name} has a server in unit {highest}; {values['size']} units are too few."
            )
    for name, value in values.items():
        setattr(row, name, value)
    await _save(session, row)
    kind = row.__tablename__
    record(session, f"{kind}.changed", f"{kind.capitalize()} {row.name} was changed.",
           subject=Subject(kind, row.id, row.name), actor=actor, data=dict(values))  # fmt: skip


async def delete_row(session: AsyncSession, row: Location | Rack, *, actor: Actor) -> None:
    """Delete a location or a rack in which nothing is left."""
    kind, row_id, name = row.__tablename__, row.id, row.name
    try:
        async with session.begin_nested():
            await session.delete(row)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(
            f"{kind.capitalize()} {name} is not empty. Move or delete what is in it first."
        ) from error
    record(session, f"{kind}.deleted", f"{kind.capitalize()} {name} was deleted.", subject=Subject(kind, row_id, name),
           actor=actor)  # fmt: skip


async def _location_for(session: AsyncSession, location_id: int | None, rack_id: int | None) -> int:
    """The given location, the rack's, or the only one there is."""
    if location_id is None and rack_id is not None:
        rack = await session.get(Rack, rack_id)
        if rack is not None:
            return rack.location_id
    if location_id is not None:
        if await session.get(Location, location_id) is None:
            raise NotFound(f"There is no location {location_id}.")
        return location_id
    ids = (await session.scalars(select(Location.id).order_by(Location.id).limit(2))).all()
    if len(ids) != 1:
        raise Invalid(
            "location_id: say which one, there is more than one." if ids else "Add a location first."
        )
    return ids[0]


async def _check_place(session: AsyncSession, server: Server) -> None:
    if server.rack_id is None:
        if server.unit is not None:
            raise Invalid("unit: say the rack as well.")
        return
    with session.no_autoflush:  # what clashes is caught where it is saved
        rack = await session.get(Rack, server.rack_id)
    if rack is None:
        raise NotFound(f"There is no rack {server.rack_id}.")
    if rack.location_id != server.location_id:
        raise Invalid(f"rack_id: rack {rack.name} stands in location {rack.location_id}.")
    if server.unit is not None and server.unit > rack.size:
        raise Invalid(f"unit: rack {rack.name} has {rack.size} units, got {server.unit}.")


async def _save(session: AsyncSession, row: Server | Location | Rack) -> None:
    try:
        async with session.begin_nested():
            session.add(row)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(_clash(str(error.orig))) from error


# What a broken constraint means; SQLite names the columns, PostgreSQL the constraint.
_CLASHES = (
    (("nic.mac", "uq_nic_mac"), "One of the MAC addresses belongs to another server."),
    (("server.name", "uq_server_name"), "There is a server of this name already."),
    (("server.rack_id", "uq_server_rack_unit"), "This unit of the rack is taken."),
    (("bmc_access.host", "uq_bmc_access_host"), "The BMC address belongs to another server."),
    (("location.name", "uq_location_name"), "There is a location of this name already."),
    (("rack.location_id", "uq_rack_location_id"), "There is a rack of this name in the location already."),
)


def _clash(message: str) -> str:
    return next(
        (words for marks, words in _CLASHES if any(mark in message for mark in marks)), "That exists already."
    )
