"""Reverse names: which name server is to say what of which address.

Only wishes are written here, in the transaction of the change; `dns_sync` has the name servers follow. A name server
that is gone stops nobody from getting an address.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import table_of, utcnow
from rackhand.dns import names
from rackhand.dns.drivers import COMMANDS, DNS_DRIVERS
from rackhand.dns.interfaces import PtrChange
from rackhand.errors import Conflict, Invalid, NotFound
from rackhand.events.service import Actor, Subject, record
from rackhand.ipam import allocation, spaces
from rackhand.ipam.allocation import Span
from rackhand.ipam.model import Address, DnsServer, DnsZone, PtrRecord, PtrState
from rackhand.servers import access
from rackhand.servers.access import AccessGiven
from rackhand.sqlite import BRIEF
from rackhand.vault import Vault

# A task tells the name server at once; the sweep looks after what no task did.
TASK_GRACE = timedelta(seconds=30)

_ZONE_FOR = (
    select(DnsZone)
    .where(
        DnsZone.userspace_id == bindparam("userspace_id"),
        DnsZone.first <= bindparam("key"),
        DnsZone.last >= bindparam("key"),
    )
    .order_by(DnsZone.prefix_length.desc())
    .limit(1)
    .execution_options(**BRIEF)
)


# --- what is wanted


async def want(
    session: AsyncSession, *, userspace_id: int, key: bytes, target: str, by_task: bool = False
) -> int | None:
    """Want the reverse name of an address to be *target*, or none when that is empty.

    Returns the number of what a name server is to be told, None when there is nothing to tell: no zone holds the
    address, or it is so already. A target that is no host name is shown on the address, and none is wanted. The caller
    holds the lock of the address's network, or of its server. With *by_task* a task comes first, else the sweep acts.
    """
    zone = (await session.scalars(_ZONE_FOR, {"userspace_id": userspace_id, "key": key})).one_or_none()
    query = select(PtrRecord).where(PtrRecord.userspace_id == userspace_id, PtrRecord.key == key)
    found = (await session.scalars(query.with_for_update())).one_or_none()
    if zone is None:
        if found is not None:
            await session.delete(found)
        return None
    try:
        target = names.host_name(target) if target else ""
    except ValueError as error:
        await show(session, userspace_id, key, {"status": "failed", "name": target, "error": f"{error}."})
        target = ""
    now = utcnow()
    if found is None:
        if not target:
            return None
        found = PtrRecord(
            userspace_id=userspace_id,
            zone_id=zone.id,
            key=key,
            name=str(allocation.address_of(key)),
            target=target,
            generation=0,
        )
        session.add(found)
    elif (found.target, found.zone_id, found.state) == (target, zone.id, PtrState.PUBLISHED):
        return None
    elif found.state == PtrState.FAILED and target:
        await show(session, userspace_id, key, None)
    found.zone_id, found.target, found.generation = zone.id, target, found.generation + 1
    found.state, found.attempts, found.error = PtrState.PENDING, 0, None
    found.changed_at, found.try_at = now, now + TASK_GRACE if by_task else now
    await session.flush()
    return found.id


async def want_for(session: AsyncSession, address: Address, *, by_task: bool = False) -> int | None:
    """Want the reverse name that an address has: its own, else its domain. Prefixes have none."""
    if address.prefix_length < allocation.BITS[address.version]:
        return None
    target = address.ptr or address.domain
    return await want(
        session, userspace_id=address.userspace_id, key=address.key, target=target, by_task=by_task
    )


async def leave_to_sweep(session: AsyncSession, record_id: int) -> None:
    """Have the sweep act at once, because no task does."""
    await session.execute(update(PtrRecord).where(PtrRecord.id == record_id).values(try_at=utcnow()))


async def want_none(session: AsyncSession, userspace_id: int, span: Span) -> None:
    """Want no reverse name of any address of *span*, because its addresses are gone."""
    await session.execute(
        update(PtrRecord)
        .where(PtrRecord.userspace_id == userspace_id, _within(PtrRecord.key, span))
        .values(target="", **_again())
    )


async def show(
    session: AsyncSession, userspace_id: int, key: bytes, info: Mapping[str, object] | None
) -> None:
    """Show on an address how its reverse name fares; None says that all is well."""
    table = table_of(Address)
    await session.execute(
        update(table)
        .where(table.c.userspace_id == userspace_id, table.c.key == key)
        .values(status_info={"ptr": dict(info)} if info else {})
    )


def _within(column: Any, span: Span) -> Any:
    return and_(column >= span.first_key, column <= span.last_key)


def _again() -> dict[str, Any]:
    """Values of a wish that is to be followed anew."""
    return {
        "generation": PtrRecord.generation + 1,
        "state": PtrState.PENDING.value,
        "attempts": 0,
        "error": None,
        "try_at": utcnow(),
        "changed_at": utcnow(),
    }


async def change_of(session: AsyncSession, record_id: int) -> tuple[DnsServer, PtrChange] | None:
    """What a name server is to be told of one address, as it is wanted now."""
    query = (
        select(PtrRecord, DnsZone, DnsServer)
        .join(DnsZone, DnsZone.id == PtrRecord.zone_id)
        .join(DnsServer, DnsServer.id == DnsZone.dns_server_id)
        .where(PtrRecord.id == record_id)
    )
    found = (await session.execute(query)).one_or_none()
    if found is None:
        return None
    wish, zone, server = found
    name = names.record_name(zone.name, allocation.address_of(wish.key))
    return server, PtrChange(zone.name, name, wish.target or None, zone.ttl)


async def describe(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, object]:
    """What name servers will be sent because *rows* were written, unless they say so already: for a dry run."""
    ids = [row["row"]["id"] for row in rows if row["table"] == "ptr_record" and row["change"] != "delete"]
    found = [each for record_id in ids if (each := await change_of(session, record_id))]
    commands = [
        {"dns_server": server.id, "name": server.name, "commands": COMMANDS[server.driver](change)}
        for server, change in found
    ]
    return {"commands": commands}


# --- name servers


def server_subject(server: DnsServer) -> Subject:
    """A name server as the subject of an event; administrators see it."""
    return Subject("dns_server", server.id, server.name)


async def server_by_id(session: AsyncSession, server_id: int) -> DnsServer:
    """One name server."""
    server = await session.get(DnsServer, server_id)
    if server is None:
        raise NotFound(f"There is no DNS server {server_id}.")
    return server


async def add_server(
    session: AsyncSession, *, name: str, note: str, given: AccessGiven, vault: Vault, actor: Actor
) -> DnsServer:
    """Add a name server; it is asked when a zone needs it."""
    server = DnsServer(
        name=name,
        note=note,
        created_at=utcnow(),
        settings={},
        driver="",
        host="",
        port=0,
        user="",
        generation=0,
    )
    access.set_access(server, given, vault, DNS_DRIVERS)
    if not await spaces.is_inserted(session, server):
        raise Conflict(f"There is a DNS server {name} already.")
    record(session, "dns_server.created", f"DNS server {name} was added.", subject=server_subject(server),
           actor=actor)  # fmt: skip
    return server


async def edit_server(
    session: AsyncSession,
    server: DnsServer,
    *,
    values: Mapping[str, Any],
    given: AccessGiven | None,
    vault: Vault,
    actor: Actor,
) -> None:
    """Change a name server; what failed on it is tried again at once."""
    try:
        async with session.begin_nested():
            for name, value in values.items():
                setattr(server, name, value)
            if given is not None:
                access.set_access(server, given, vault, DNS_DRIVERS)
                server.error = server.error_at = None
            await session.flush()
    except IntegrityError as error:
        raise Conflict(f"There is a DNS server {values.get('name')} already.") from error
    zones = select(DnsZone.id).where(DnsZone.dns_server_id == server.id)
    is_failed = (PtrRecord.zone_id.in_(zones), PtrRecord.state == PtrState.FAILED)
    await session.execute(update(PtrRecord).where(*is_failed).values(try_at=utcnow()))
    changed = sorted([*values, *(["access"] if given else [])])
    record(session, "dns_server.changed", f"DNS server {server.name} was changed: {', '.join(changed)}.",
           subject=server_subject(server), actor=actor)  # fmt: skip


async def delete_server(session: AsyncSession, server: DnsServer, *, actor: Actor) -> None:
    """Delete a name server without zones."""
    subject = server_subject(server)
    try:
        async with session.begin_nested():
            await session.delete(server)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(f"DNS server {subject.name} has zones. Delete them first.") from error
    record(
        session, "dns_server.deleted", f"DNS server {subject.name} was deleted.", subject=subject, actor=actor
    )


# --- zones


def zone_subject(zone: DnsZone) -> Subject:
    """A zone as the subject of an event; administrators see it."""
    return Subject("dns_zone", zone.id, zone.name)


async def zone_by_id(session: AsyncSession, zone_id: int) -> DnsZone:
    """One zone."""
    zone = await session.get(DnsZone, zone_id)
    if zone is None:
        raise NotFound(f"There is no DNS zone {zone_id}.")
    return zone


async def add_zone(
    session: AsyncSession,
    *,
    name: str,
    network: str | None,
    dns_server_id: int,
    userspace_id: int | None,
    ttl: int,
    actor: Actor,
) -> DnsZone:
    """Add a zone, which must be there on its server; the names of addresses in it are published."""
    try:
        spelt = names.zone_name(name)
        given = allocation.parse_network(network) if network else None
        covered = names.covered_network(spelt, given)
    except ValueError as error:
        raise Invalid(f"name: {error}.") from error
    await server_by_id(session, dns_server_id)
    space = await spaces.locked_userspace(session, userspace_id)
    span = allocation.span_of(covered)
    zone = DnsZone(
        userspace_id=space.id,
        dns_server_id=dns_server_id,
        name=spelt,
        cidr=str(covered),
        version=covered.version,
        prefix_length=covered.prefixlen,
        first=span.first_key,
        last=span.last_key,
        ttl=ttl,
        created_at=utcnow(),
    )
    if not await spaces.is_inserted(session, zone):
        raise Conflict(f"There is a zone for {covered} in user space {space.id} already.")
    await _take_over(session, zone)
    record(session, "dns_zone.created", f"DNS zone {spelt} was added, for {covered}.", subject=zone_subject(zone),
           actor=actor)  # fmt: skip
    return zone


async def edit_zone(session: AsyncSession, zone: DnsZone, values: Mapping[str, Any], *, actor: Actor) -> None:
    """Change the server or the TTL of a zone; its names are published anew."""
    changes = {name: value for name, value in values.items() if getattr(zone, name) != value}
    if "dns_server_id" in changes:
        await server_by_id(session, changes["dns_server_id"])
    for name, value in changes.items():
        setattr(zone, name, value)
    await session.flush()
    if changes:
        await publish_zone(session, zone)
        words = f"DNS zone {zone.name} was changed: {', '.join(sorted(changes))}."
        record(session, "dns_zone.changed", words, subject=zone_subject(zone), actor=actor)


async def publish_zone(session: AsyncSession, zone: DnsZone) -> int:
    """Have the sweep compare every name of a zone with its server; returns how many."""
    again = update(PtrRecord).where(PtrRecord.zone_id == zone.id).values(**_again()).returning(PtrRecord.id)
    return len((await session.scalars(again)).all())


async def delete_zone(session: AsyncSession, zone: DnsZone, *, actor: Actor) -> None:
    """Forget a zone; its server is left as it is. A larger zone takes over what it holds too."""
    subject, span, space_id = (
        zone_subject(zone),
        allocation.span_between(zone.first, zone.last),
        zone.userspace_id,
    )
    await spaces.locked_userspace(session, space_id)
    await session.execute(delete(PtrRecord).where(PtrRecord.zone_id == zone.id))
    await session.delete(zone)
    await session.flush()
    outer = (
        await session.scalars(_ZONE_FOR, {"userspace_id": space_id, "key": span.first_key})
    ).one_or_none()
    if outer is not None:
        await _take_over(session, outer)
    record(session, "dns_zone.deleted", f"DNS zone {subject.name} was deleted.", subject=subject, actor=actor)


async def _take_over(session: AsyncSession, zone: DnsZone) -> None:
    """Put the names of all addresses into *zone* that no smaller zone holds."""
    span = allocation.span_between(zone.first, zone.last)
    in_zone = DnsZone.userspace_id == zone.userspace_id
    larger = select(DnsZone.id).where(in_zone, DnsZone.prefix_length < zone.prefix_length)
    await session.execute(
        update(PtrRecord)
        .where(
            PtrRecord.userspace_id == zone.userspace_id,
            _within(PtrRecord.key, span),
            PtrRecord.zone_id.in_(larger),
        )
        .values(zone_id=zone.id, **_again())
    )
    smaller = [
        allocation.span_between(first, last)
        for first, last in await session.execute(
            select(DnsZone.first, DnsZone.last).where(
                in_zone, _within(DnsZone.first, span), DnsZone.prefix_length > zone.prefix_length
            )
        )
    ]
    nameless = (
        select(Address.key, Address.ptr, Address.domain)
        .outerjoin(
            PtrRecord, and_(PtrRecord.userspace_id == Address.userspace_id, PtrRecord.key == Address.key)
        )
        .where(
            Address.userspace_id == zone.userspace_id,
            _within(Address.key, span),
            Address.prefix_length == allocation.BITS[zone.version],
            func.length(Address.ptr) + func.length(Address.domain) > 0,
            PtrRecord.id.is_(None),
        )
    )
    now, rows = utcnow(), []
    for key, ptr, domain in await session.execute(nameless):
        address = allocation.address_of(key)
        if any(allocation.span_at(address) in each for each in smaller):
            continue
        try:
            target = names.host_name(ptr or domain)
        except ValueError:
            continue
        rows.append(
            {"userspace_id": zone.userspace_id, "zone_id": zone.id, "key": key, "name": str(address),
             "target": target, "generation": 1, "state": PtrState.PENDING, "attempts": 0, "try_at": now,
             "changed_at": now}
        )  # fmt: skip
    if rows:
        await session.execute(insert(table_of(PtrRecord)), rows)
