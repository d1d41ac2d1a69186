"""The rules of address management: what a network may be, which address a server gets, what becomes of one it gives back.

Releasing a server (taking its owner) leaves its addresses where they are: they belong to the server until they are removed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import Busy, Conflict, Forbidden, Invalid, NotFound
from rackhand.events.service import SYSTEM, Actor, Subject, record
from rackhand.ipam import allocation, queries
from rackhand.ipam.allocation import IPAddress, Span
from rackhand.ipam.model import (
    PUBLIC,
    Address,
    AddressQuota,
    AddressStatus,
    FreeSpan,
    Network,
    Pool,
    Range,
    Userspace,
)
from rackhand.servers.model import Location, Rack, Server
from rackhand.tasks.engine import active_task_of
from rackhand.tasks.model import ACTIVE, Task
from rackhand.users.model import User

# Of those who want the same address one gets it; the others look again, this often at most.
ATTEMPTS = 10
QUARANTINE = timedelta(hours=24)
FAMILIES = {4: "IPv4", 6: "IPv6"}


@dataclass(frozen=True)
class Wanted:
    """What address is asked for; None leaves the choice to us."""

    name: str | None = None
    network_id: int | None = None
    pool_id: int | None = None
    userspace_id: int | None = None
    version: int | None = None
    prefix_length: int | None = None
    domain: str | None = None
    ignore_quarantine: bool = False


@dataclass(frozen=True)
class _Choice:
    """A block that was free a moment ago."""

    network_id: int
    block: Span
    pool_id: int | None


def subject_of(address: Address, server: Server | None) -> Subject:
    """An address as the subject of an event; the owner of its server sees it."""
    return Subject("ip", address.id, address.name, server.owner_id if server else None)


# --- addresses of servers


async def allocate(
    session: AsyncSession, server: Server, *, wanted: Wanted, viewer: User, actor: Actor
) -> Address:
    """Give *server* an address with status `allocating`.

    Who changes a network's addresses holds its lock until the commit; the unique constraint has the last word, and who loses
    looks again. A user takes from public pools within its quota.
    """
    for attempt in range(ATTEMPTS):
        choice = await _choose(session, server, wanted, viewer)
        if attempt and wanted.name is not None:
            raise Conflict(f"{choice.block} is not free.")
        network = await _locked_network(session, choice.network_id)
        if network is None or not await _take(session, network, choice.block):
            continue
        address = Address(
            userspace_id=network.userspace_id,
            network_id=network.id,
            pool_id=choice.pool_id,
            server_id=server.id,
            name=str(choice.block),
            key=choice.block.first_key,
            version=choice.block.version,
            prefix_length=network.network.max_prefixlen - (choice.block.size.bit_length() - 1),
            domain=server.domain if not wanted.domain else wanted.domain,
            status=AddressStatus.ALLOCATING,
            status_info={},
            created_at=utcnow(),
        )
        if not await _is_inserted(session, address):
            continue
        await _check_quota(session, viewer, address)
        words = f"Address {address.name} was requested for server {server.name}."
        record(session, "ip.requested", words, subject=subject_of(address, server), actor=actor,
               data={"server": server.id, "ipnet": network.id})  # fmt: skip
        return address
    raise Conflict(f"Too many take addresses at this moment; server {server.id} got none. Try again.")


async def refuse_busy(session: AsyncSession, server: Server) -> None:
    """Raise `Busy` while a task holds *server*, before anything is looked for."""
    running = await active_task_of(session, "server", server.id)
    if running is not None:
        raise Busy(f"Server {server.id}", running.id, running.name, running.status)


async def _check_quota(session: AsyncSession, viewer: User, address: Address) -> None:
    if viewer.is_admin:
        return
    quota = await queries.quota_of(session, viewer.id, lock=True)
    most = quota.ipv4 if address.version == 4 else quota.ipv6  # noqa: PLR2004
    if await queries.taken_by_owner(session, viewer.id, address.version) > most:
        family = FAMILIES[address.version]
        raise Forbidden(
            f"Your account may have {most} {family} addresses of its own choice. Ask the administrator."
        )


async def _choose(session: AsyncSession, server: Server, wanted: Wanted, viewer: User) -> _Choice:
    """Find what was asked for, by the order of api-facts 6.2."""
    if wanted.userspace_id is not None:
        await queries.userspace_by_id(session, wanted.userspace_id)
    network = await queries.network_by_id(session, wanted.network_id) if wanted.network_id else None
    pool = await queries.pool_by_id(session, wanted.pool_id) if wanted.pool_id else None
    for place in (network, pool):
        if place is not None and wanted.userspace_id not in {None, place.userspace_id}:
            kind = "Network" if isinstance(place, Network) else "Pool"
            raise Invalid(
                f"{kind} {place.id} is in user space {place.userspace_id}, not in {wanted.userspace_id}."
            )
    if wanted.name is not None:
        return await _choose_exactly(session, server, wanted, viewer, network, pool)
    if network is not None:
        return await _choose_in_network(session, server, wanted, viewer, network)
    return await _choose_in_pools(session, server, wanted, viewer, pool)


async def _choose_exactly(
    session: AsyncSession,
    server: Server,
    wanted: Wanted,
    viewer: User,
    within: Network | None,
    pool: Pool | None,
) -> _Choice:
    block = _block_of(wanted)
    if within is not None:
        userspace_id = within.userspace_id
        if block not in within.span:
            raise Invalid(f"ip_name: {block} is not in network {within.cidr}.")
    elif pool is not None:
        userspace_id = pool.userspace_id
    else:
        userspace_id = wanted.userspace_id or (await public_userspace(session)).id
    network = await queries.innermost_network(session, userspace_id, block)
    if network is None:
        raise NotFound(f"No network of user space {userspace_id} holds {block}.")
    _refuse_other_location(network, server)
    limits = [row.span for row in await _ranges_of(session, pool)] if pool is not None else [block]
    if not any(block in limit for limit in limits):
        raise Invalid(f"ip_name: {block} is not in pool {wanted.pool_id}.")
    found = pool.id if pool is not None else await queries.pool_holding(session, userspace_id, block)
    if not viewer.is_admin:
        found = await queries.pool_holding(session, userspace_id, block, public=True)
        if found is None:
            raise Forbidden(f"{block} is in no public pool. Ask the administrator for it.")
    await _refuse_taken(session, network, block, wanted, viewer)
    return _Choice(network.id, block, found)


def _block_of(wanted: Wanted) -> Span:
    try:
        block = allocation.parse_range(wanted.name or "")
    except ValueError as error:
        raise Invalid(f"ip_name: {error}.") from error
    bits = allocation.BITS[block.version]
    if wanted.version not in {None, block.version}:
        raise Invalid(
            f"ip_name: {block} is {FAMILIES[block.version]}; family asks for {FAMILIES[wanted.version or 4]}."
        )
    if wanted.prefix_length not in {None, bits}:
        first = block.first_address
        try:
            return allocation.span_of(allocation.parse_network(f"{first}/{wanted.prefix_length}"))
        except ValueError as error:
            raise Invalid(f"prefix: {error}.") from error
    if block.size & (block.size - 1) or block.first % block.size:
        raise Invalid(f"ip_name: {block} is neither an address nor a prefix.")
    return block


async def _ranges_of(session: AsyncSession, pool: Pool) -> Iterable[Range]:
    return (await session.scalars(select(Range).where(Range.pool_id == pool.id))).all()


async def _refuse_taken(
    session: AsyncSession, network: Network, block: Span, wanted: Wanted, viewer: User
) -> None:
    """Raise `Conflict` with the reason when any address of *block* cannot be handed out."""
    if wanted.ignore_quarantine and viewer.is_admin:
        await _end_quarantine(session, network, block)
    taken = (
        await session.scalars(
            select(Address)
            .where(Address.network_id == network.id, Address.key <= block.last_key)
            .order_by(Address.key.desc())
            .limit(1)
        )
    ).one_or_none()
    if taken is not None and taken.span.overlaps(block):
        if taken.quarantined_until is not None and taken.quarantined_until <= utcnow():
            await _end_quarantine(session, network, taken.span)
            return
        whom = f" by server {taken.server_id}" if viewer.is_admin and taken.server_id else ""
        until = f" until {taken.quarantined_until:%Y-%m-%d %H:%M:%S} UTC" if taken.quarantined_until else ""
        raise Conflict(f"{block} is taken{whom}: {taken.name} is {taken.status}{until}.")
    gateway = network.gateway_address
    if gateway is not None and allocation.span_at(gateway) in block:
        raise Conflict(f"{gateway} is the gateway of network {network.cidr}.")
    for address in allocation.service_addresses(network.network):
        if allocation.span_at(address) in block:
            raise Conflict(f"{address} is the network or broadcast address of {network.cidr}.")


async def _choose_in_network(
    session: AsyncSession, server: Server, wanted: Wanted, viewer: User, network: Network
) -> _Choice:
    if wanted.version not in {None, network.version}:
        family = FAMILIES[wanted.version or 4]
        raise Invalid(
            f"ip_net: network {network.cidr} is {FAMILIES[network.version]}; family asks for {family}."
        )
    if not viewer.is_admin:
        raise Forbidden("Networks are for administrators; leave ip_net out, or name a public pool.")
    _refuse_other_location(network, server)
    prefix_length = _prefix_length(wanted, network.version)
    block = await queries.lowest_free_in_network(session, network, prefix_length)
    if block is None and await _end_quarantines(session, [network.id]):
        block = await queries.lowest_free_in_network(session, network, prefix_length)
    if block is None:
        raise Conflict(f"Network {network.cidr} has no free {_noun(wanted)} left.")
    pool_id = await queries.pool_holding(session, network.userspace_id, block)
    return _Choice(network.id, block, pool_id)


async def _choose_in_pools(
    session: AsyncSession, server: Server, wanted: Wanted, viewer: User, given: Pool | None
) -> _Choice:
    version = wanted.version
    if given is not None:
        versions = {row.version for row in await _ranges_of(session, given)}
        version = version or (6 if versions == {6} else 4)
        if version not in versions:
            raise Conflict(f"Pool {given.name} has no {FAMILIES[version]} addresses.")
        pools = [given]
    else:
        version = version or 4
        pools = list(await queries.pools_for(session, server, version, wanted.userspace_id))
    if not viewer.is_admin:
        pools = [pool for pool in pools if pool.is_public]
        if given is not None and not pools:
            raise Forbidden(f"Pool {given.id} is not public.")
    if not pools:
        raise Conflict(
            f"No pool with {FAMILIES[version]} addresses serves server {server.id}. Name one with ip_pool."
        )
    prefix_length = _prefix_length(wanted, version)
    for may_end_quarantine in (False, True):
        if may_end_quarantine and not await _end_quarantines(session, await _networks_of(session, pools)):
            break
        for pool in pools:
            block = await queries.lowest_free_in_pool(
                session, pool, version, prefix_length, server.location_id
            )
            if block is not None:
                network = await queries.innermost_network(session, pool.userspace_id, block)
                if network is not None:
                    return _Choice(network.id, block, pool.id)
    names = ", ".join(pool.name for pool in pools)
    raise Conflict(f"No free {FAMILIES[version]} {_noun(wanted)} is left in pool {names}.")


async def _networks_of(session: AsyncSession, pools: Iterable[Pool]) -> list[int]:
    spaces = {pool.userspace_id for pool in pools}
    return list((await session.scalars(select(Network.id).where(Network.userspace_id.in_(spaces)))).all())


def _noun(wanted: Wanted) -> str:
    return "address" if wanted.prefix_length is None else f"/{wanted.prefix_length}"


def _prefix_length(wanted: Wanted, version: int) -> int:
    bits = allocation.BITS[version]
    if wanted.prefix_length is not None and wanted.prefix_length > bits:
        raise Invalid(f"prefix: {FAMILIES[version]} has /{bits} at most, got /{wanted.prefix_length}.")
    return bits if wanted.prefix_length is None else wanted.prefix_length


def _refuse_other_location(network: Network, server: Server) -> None:
    if network.location_id not in {None, server.location_id}:
        raise Conflict(
            f"Network {network.cidr} is of location {network.location_id}, server {server.id} stands in {server.location_id}."
        )


async def confirm(session: AsyncSession, address_id: int, *, task_id: int, make_main: bool) -> bool:
    """Turn `allocating` into `allocated`; False when that is done already. The first IPv4 address becomes the main one."""
    address = await locked_address(session, address_id)
    if address is None or address.status not in {AddressStatus.ALLOCATING, AddressStatus.ALLOCATED}:
        raise Conflict(f"Address {address_id} was taken away meanwhile.")
    if address.status == AddressStatus.ALLOCATED:
        return False
    address.status, address.task_id = AddressStatus.ALLOCATED, None
    await session.flush()
    server = await _server_of(session, address)
    if make_main:
        await set_main(session, address, actor=SYSTEM)
    else:
        await _ensure_main(session, address.server_id)
    words = f"Address {address.name} was allocated{f' to server {server.name}' if server else ''}."
    record(session, "ip.allocated", words, subject=subject_of(address, server), actor=SYSTEM, task_id=task_id)
    return True


async def withdraw(session: AsyncSession, address_id: int, *, task_id: int) -> None:
    """Make an address free again that never came to be used; safe to repeat."""
    address = await locked_address(session, address_id)
    if address is None or address.task_id != task_id:
        return
    server = await _server_of(session, address)
    record(session, "ip.withdrawn", f"Address {address.name} was not allocated and is free again.",
           subject=subject_of(address, server), actor=SYSTEM, task_id=task_id)  # fmt: skip
    await _make_free(session, address)


async def begin_release(session: AsyncSession, address: Address, server: Server, *, actor: Actor) -> None:
    """Mark an address of a server as being removed; `release` removes it."""
    if address.status == AddressStatus.REMOVING:
        raise Conflict(f"Address {address.name} is being removed already.")
    address.status = AddressStatus.REMOVING
    await session.flush()
    words = f"Removal of address {address.name} from server {server.name} was requested."
    record(session, "ip.removal_requested", words, subject=subject_of(address, server), actor=actor)


async def keep(session: AsyncSession, address_id: int, *, task_id: int) -> None:
    """Turn `removing` back into `allocated`; safe to repeat."""
    address = await locked_address(session, address_id)
    if address is not None and address.task_id == task_id and address.status == AddressStatus.REMOVING:
        address.status, address.task_id = AddressStatus.ALLOCATED, None
        server = await _server_of(session, address)
        record(session, "ip.kept", f"Address {address.name} was not removed.", subject=subject_of(address, server),
               actor=SYSTEM, task_id=task_id)  # fmt: skip


async def release(session: AsyncSession, address_id: int, *, task_id: int, quarantine: timedelta) -> bool:
    """Take an address from its server, into quarantine or free at once; False when that is done already."""
    address = await locked_address(session, address_id)
    if address is None or address.server_id is None or address.task_id != task_id:
        return False
    server_id, server = address.server_id, await _server_of(session, address)
    words = f"Address {address.name} was removed{f' from server {server.name}' if server else ''}."
    record(session, "ip.removed", words, subject=subject_of(address, server), actor=SYSTEM, task_id=task_id,
           data={"server": server_id})  # fmt: skip
    if quarantine > timedelta(0):
        address.status, address.task_id = AddressStatus.QUARANTINED, None
        address.server_id, address.is_main, address.domain, address.ptr = None, False, "", ""
        address.quarantined_until = utcnow() + quarantine
        await session.flush()
    else:
        await _make_free(session, address)
    await _ensure_main(session, server_id)
    return True


async def set_main(session: AsyncSession, address: Address, *, actor: Actor) -> None:
    """Make an IPv4 address the one that the operating system is installed with; safe to repeat."""
    refuse_as_main(address)
    if address.is_main:
        return
    await session.execute(update(Address).where(Address.server_id == address.server_id).values(is_main=False))
    address.is_main = True
    await session.flush()
    server = await _server_of(session, address)
    record(session, "ip.main", f"Address {address.name} is now the main one of its server.",
           subject=subject_of(address, server), actor=actor)  # fmt: skip


def refuse_as_main(address: Address) -> None:
    """Raise `Invalid` for what is no single IPv4 address."""
    if address.version != 4 or address.prefix_length != allocation.BITS[4]:  # noqa: PLR2004
        raise Invalid(f"set_as_main_ipv4: {address.name} is no IPv4 address.")


async def _ensure_main(session: AsyncSession, server_id: int | None) -> None:
    """Have a server with IPv4 addresses have a main one: its oldest, where none was chosen."""
    query = (
        select(Address)
        .where(
            Address.server_id == server_id,
            Address.version == 4,  # noqa: PLR2004
            Address.prefix_length == allocation.BITS[4],
            Address.status == AddressStatus.ALLOCATED,
        )
        .order_by(Address.is_main.desc(), Address.id)
        .limit(1)
    )
    oldest = (await session.scalars(query)).one_or_none()
    if oldest is not None:
        await set_main(session, oldest, actor=SYSTEM)


async def edit_address(
    session: AsyncSession, address: Address, values: Mapping[str, Any], *, actor: Actor
) -> None:
    """Change domain, reverse name or note of an address."""
    changes = {name: value for name, value in values.items() if getattr(address, name) != value}
    if not changes:
        return
    for name, value in changes.items():
        setattr(address, name, value)
    server = await _server_of(session, address)
    words = f"Address {address.name} was changed: {', '.join(sorted(changes))}."
    record(
        session,
        "ip.changed",
        words,
        subject=subject_of(address, server),
        actor=actor,
        data={"changed": changes},
    )


async def settle(session: AsyncSession, server_id: int | None = None) -> None:
    """Finish what tasks left that ended before their first step, such as those aborted while queued; safe to repeat."""
    query = (
        select(Address.id, Address.status, Address.task_id)
        .outerjoin(Task, Task.id == Address.task_id)
        .where(Address.task_id.is_not(None), Task.status.is_(None) | Task.status.not_in(ACTIVE))
        .order_by(Address.network_id, Address.id)
    )
    if server_id is not None:
        query = query.where(Address.server_id == server_id)
    for address_id, status, task_id in (await session.execute(query)).all():
        if status == AddressStatus.ALLOCATING:
            await withdraw(session, address_id, task_id=task_id)
        else:
            await keep(session, address_id, task_id=task_id)


async def locked_address(session: AsyncSession, address_id: int) -> Address | None:
    """Read an address under the lock of its network, in the order in which allocations take the two."""
    while True:
        network_id = await session.scalar(select(Address.network_id).where(Address.id == address_id))
        if network_id is None:
            return None
        await _locked_network(session, network_id)
        query = (
            select(Address)
            .where(Address.id == address_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        address = (await session.scalars(query)).one_or_none()
        if address is None or address.network_id == network_id:
            return address


async def _server_of(session: AsyncSession, address: Address) -> Server | None:
    return await session.get(Server, address.server_id) if address.server_id is not None else None


async def _is_inserted(session: AsyncSession, row: Address | Network | Pool | Range | Userspace) -> bool:
    try:
        async with session.begin_nested():
            session.add(row)
            await session.flush()
    except IntegrityError:
        return False
    return True


# --- addresses that the operator keeps back


async def keep_back(
    session: AsyncSession, *, name: str, userspace_id: int | None, domain: str, note: str, actor: Actor
) -> Address:
    """Have nobody get an address, or a prefix."""
    wanted = Wanted(name=name)
    block = _block_of(wanted)
    space = await _userspace(session, userspace_id)
    network = await queries.innermost_network(session, space.id, block)
    if network is None:
        raise NotFound(f"No network of user space {space.id} holds {block}.")
    await _locked_network(session, network.id)
    if not await _take(session, network, block):
        raise Conflict(f"{block} is not free.")
    address = Address(
        userspace_id=space.id,
        network_id=network.id,
        name=str(block),
        key=block.first_key,
        version=block.version,
        prefix_length=network.network.max_prefixlen - (block.size.bit_length() - 1),
        domain=domain,
        note=note,
        status=AddressStatus.SPECIAL,
        status_info={},
        created_at=utcnow(),
    )
    if not await _is_inserted(session, address):
        raise Conflict(f"{block} is not free.")
    record(session, "ip.kept_back", f"Address {address.name} is handed out to nobody.",
           subject=subject_of(address, None), actor=actor)  # fmt: skip
    return address


async def free_address(session: AsyncSession, address_id: int, *, actor: Actor) -> None:
    """Make a special or quarantined address free; one of a server is removed from that server instead."""
    address = await locked_address(session, address_id)
    if address is None:
        raise NotFound(f"There is no address {address_id}.")
    if address.server_id is not None:
        raise Conflict(
            f"{address.name} is an address of server {address.server_id}."
            f" Remove it there: DELETE server/{address.server_id}/ip/{address.id}."
        )
    record(
        session,
        "ip.freed",
        f"Address {address.name} is free.",
        subject=subject_of(address, None),
        actor=actor,
    )
    await _make_free(session, address)


# --- the index of free addresses; callers hold the lock of the network


async def _locked_network(session: AsyncSession, network_id: int) -> Network | None:
    query = select(Network).where(Network.id == network_id).with_for_update(key_share=True)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def _take(session: AsyncSession, network: Network, block: Span) -> bool:
    """Take *block* out of what is free; False when a part of it is not."""
    query = (
        select(FreeSpan)
        .where(FreeSpan.network_id == network.id, FreeSpan.last >= block.last_key)
        .order_by(FreeSpan.last)
        .limit(1)
        .execution_options(populate_existing=True)
    )
    free = (await session.scalars(query)).one_or_none()
    if free is None or block not in free.span:
        return False
    pieces = allocation.split(free.span, block)
    if not pieces:
        await session.delete(free)
    else:
        free.first, free.last = pieces[-1].first_key, pieces[-1].last_key
        for piece in pieces[:-1]:
            session.add(_free_row(network, piece))
    await session.flush()
    return True


async def _make_free(session: AsyncSession, address: Address) -> None:
    """Delete an address and give back what of it can be handed out, joined with its free neighbours."""
    network = await session.get_one(Network, address.network_id)
    span = address.span
    await session.delete(address)
    await session.flush()
    for block in allocation.subtract([span], _unusable(network)):
        await _give_back(session, network, block)


def _unusable(network: Network) -> list[Span]:
    kept = [allocation.span_at(address) for address in allocation.service_addresses(network.network)]
    gateway = network.gateway_address
    return kept if gateway is None else [*kept, allocation.span_at(gateway)]


async def _give_back(session: AsyncSession, network: Network, block: Span) -> None:
    if block not in network.span:
        return
    near = select(FreeSpan).where(FreeSpan.network_id == network.id, FreeSpan.last >= _key_before(block))
    rows = (
        await session.scalars(near.order_by(FreeSpan.last).limit(2).execution_options(populate_existing=True))
    ).all()
    first, last = block.first, block.last
    for row in rows:
        span = row.span
        if span.last == block.first - 1:
            first = span.first
        elif span.first == block.last + 1:
            last = span.last
        elif span.overlaps(block):
            raise Conflict(f"{block} is free already.")
        else:
            continue
        await session.delete(row)
    session.add(_free_row(network, Span(block.version, first, last)))
    await session.flush()


def _key_before(block: Span) -> bytes:
    before = Span(block.version, max(block.first - 1, 0), block.first)
    return before.first_key


def _free_row(network: Network, span: Span) -> FreeSpan:
    return FreeSpan(
        userspace_id=network.userspace_id, network_id=network.id, first=span.first_key, last=span.last_key
    )


async def _rebuild_free(session: AsyncSession, network: Network) -> None:
    """Work out anew what is free in a network after it or its nested networks changed."""
    await session.execute(delete(FreeSpan).where(FreeSpan.network_id == network.id))
    nested = (await session.scalars(select(Network).where(Network.parent_id == network.id))).all()
    taken = (await session.scalars(select(Address).where(Address.network_id == network.id))).all()
    usable = allocation.usable(network.network, network.gateway_address, [child.span for child in nested])
    rows = [
        {
            "userspace_id": network.userspace_id,
            "network_id": network.id,
            "first": span.first_key,
            "last": span.last_key,
        }
        for span in allocation.subtract(usable, [address.span for address in taken])
    ]
    if rows:
        await session.execute(insert(FreeSpan), rows)


async def _end_quarantine(session: AsyncSession, network: Network, within: Span) -> None:
    """Free the quarantined addresses in *within*."""
    await _locked_network(session, network.id)
    query = select(Address).where(
        Address.network_id == network.id,
        Address.status == AddressStatus.QUARANTINED,
        Address.key >= within.first_key,
        Address.key <= within.last_key,
    )
    for address in (await session.scalars(query)).all():
        await _make_free(session, address)


async def _end_quarantines(session: AsyncSession, network_ids: Iterable[int]) -> bool:
    """Free what of some networks is past its quarantine; False when there was none."""
    past = (Address.quarantined_until.is_not(None), Address.quarantined_until <= utcnow())
    found = set((await session.scalars(select(Address.network_id).where(*past).distinct())).all())
    ended = False
    for network_id in sorted(found.intersection(network_ids)):
        await _locked_network(session, network_id)
        query = (
            select(Address)
            .where(Address.network_id == network_id, *past)
            .execution_options(populate_existing=True)
        )
        for address in (await session.scalars(query)).all():
            await _make_free(session, address)
            ended = True
    return ended


async def end_past_quarantines(session: AsyncSession) -> None:
    """Free all that is past its quarantine; what is needed sooner is freed when it is needed."""
    await _end_quarantines(session, (await session.scalars(select(Network.id))).all())


# --- networks


async def add_network(
    session: AsyncSession,
    *,
    name: str,
    gateway: str | None,
    vlan: str,
    note: str,
    userspace_id: int | None,
    location_id: int | None,
    actor: Actor,
) -> Network:
    """Add a network; it takes over the addresses and the networks that lie in it. One that exists is `Conflict`.

    Two networks are nested or apart, so nothing else can overlap.
    """
    try:
        value = allocation.parse_network(name)
    except ValueError as error:
        raise Invalid(f"name: {error}.") from error
    span = allocation.span_of(value)
    space = await _locked_userspace(session, userspace_id)
    await _check_place(session, location_id, None)
    parent = await queries.innermost_network(session, space.id, span)
    if parent is not None:
        await _locked_network(session, parent.id)
        if parent.span == span:
            raise Conflict(
                f"Network {value} is there already, in user space {space.id}: network {parent.id}."
            )
    network = Network(
        userspace_id=space.id,
        parent_id=parent.id if parent else None,
        cidr=str(value),
        version=value.version,
        prefix_length=value.prefixlen,
        first=span.first_key,
        last=span.last_key,
        gateway=str(_gateway(gateway, value)) if gateway else "",
        vlan=vlan,
        note=note,
        location_id=location_id,
        created_at=utcnow(),
    )
    if not await _is_inserted(session, network):
        raise Conflict(f"Network {value} is there already, in user space {space.id}.")
    inside = (Network.first >= span.first_key, Network.last <= span.last_key, Network.id != network.id)
    same_parent = Network.parent_id.is_(None) if parent is None else Network.parent_id == parent.id
    await session.execute(
        update(Network)
        .where(Network.userspace_id == space.id, same_parent, *inside)
        .values(parent_id=network.id)
    )
    if parent is not None:
        await _refuse_cut_addresses(session, parent, network)
        await session.execute(
            update(Address)
            .where(
                Address.network_id == parent.id, Address.key >= span.first_key, Address.key <= span.last_key
            )
            .values(network_id=network.id)
        )
        await _rebuild_free(session, parent)
    await _rebuild_free(session, network)
    record(session, "ipnet.created", f"Network {network.cidr} was added.",
           subject=Subject("ipnet", network.id, network.cidr), actor=actor)  # fmt: skip
    return network


async def _refuse_cut_addresses(session: AsyncSession, parent: Network, network: Network) -> None:
    """Refuse a nested network whose edge or gateway is in use, or that cuts a prefix of a server in two."""
    span = network.span
    for edge in [
        *_unusable(network),
        Span(span.version, span.first, span.first),
        Span(span.version, span.last, span.last),
    ]:
        query = (
            select(Address)
            .where(Address.network_id == parent.id, Address.key <= edge.last_key)
            .order_by(Address.key.desc())
            .limit(1)
        )
        near = (await session.scalars(query)).one_or_none()
        if near is None or not near.span.overlaps(edge):
            continue
        if edge in _unusable(network) or near.span not in span:
            raise Conflict(f"Network {network.cidr} does not fit: address {near.name} is {near.status}.")


def _gateway(text: str, network: allocation.IPNetwork) -> IPAddress:
    """Read a gateway: a host of the network, or a link-local address of IPv6."""
    try:
        gateway = allocation.parse_address(text)
    except ValueError as error:
        raise Invalid(f"gateway: {error}.") from error
    is_outside = gateway not in network and not (
        network.version == gateway.version == 6 and gateway.is_link_local
    )  # noqa: PLR2004
    if is_outside:
        raise Invalid(f"gateway: {gateway} is not in network {network}.")
    if network.version == 4 and gateway in allocation.service_addresses(network):  # noqa: PLR2004
        raise Invalid(f"gateway: {gateway} is the network or broadcast address of {network}.")
    return gateway


async def edit_network(
    session: AsyncSession, network: Network, values: Mapping[str, Any], *, actor: Actor
) -> None:
    """Change gateway, VLAN, note or location."""
    changes = {name: value for name, value in values.items() if getattr(network, name) != value}
    await _check_place(session, changes.get("location_id"), None)
    if "gateway" in changes:
        await _locked_network(session, network.id)
        text = (changes["gateway"] or "").strip()
        gateway = _gateway(text, network.network) if text else None
        changes["gateway"] = str(gateway) if gateway else ""
        if gateway is not None and gateway in network.network and str(gateway) != network.gateway:
            block = allocation.span_at(gateway)
            if not await _take(session, network, block) and gateway not in allocation.service_addresses(
                network.network
            ):
                raise Conflict(f"gateway: {gateway} is taken or lies in a nested network.")
    for name, value in changes.items():
        setattr(network, name, value)
    await session.flush()
    if "gateway" in changes:
        await _rebuild_free(session, network)
    if changes:
        words = f"Network {network.cidr} was changed: {', '.join(sorted(changes))}."
        record(session, "ipnet.changed", words, subject=Subject("ipnet", network.id, network.cidr), actor=actor,
               data={"changed": changes})  # fmt: skip


async def delete_network(session: AsyncSession, network_id: int, *, actor: Actor) -> None:
    """Delete a network without addresses of servers; what was nested in it moves to the network around it."""
    network = await queries.network_by_id(session, network_id)
    await _locked_userspace(session, network.userspace_id)
    if network.parent_id is not None:
        await _locked_network(session, network.parent_id)
    if await _locked_network(session, network_id) is None:
        raise NotFound(f"There is no network {network_id}.")
    query = select(Address.name, Address.server_id).where(
        Address.network_id == network_id, Address.server_id.is_not(None)
    )
    used = (await session.execute(query.limit(1))).one_or_none()
    if used is not None:
        raise Conflict(
            f"Network {network.cidr} is in use: {used.name} is an address of server {used.server_id}."
        )
    parent = await session.get(Network, network.parent_id) if network.parent_id is not None else None
    await session.execute(
        update(Network).where(Network.parent_id == network_id).values(parent_id=network.parent_id)
    )
    rest = update(Address).where(Address.network_id == network_id).values(network_id=network.parent_id)
    await session.execute(rest if parent else delete(Address).where(Address.network_id == network_id))
    await session.execute(delete(FreeSpan).where(FreeSpan.network_id == network_id))
    await session.delete(network)
    await session.flush()
    if parent is not None:
        await _rebuild_free(session, parent)
    record(session, "ipnet.deleted", f"Network {network.cidr} was deleted.",
           subject=Subject("ipnet", network_id, network.cidr), actor=actor)  # fmt: skip


# --- pools and ranges


async def add_pool(
    session: AsyncSession,
    *,
    name: str,
    note: str,
    is_public: bool,
    userspace_id: int | None,
    location_id: int | None,
    rack_id: int | None,
    actor: Actor,
) -> Pool:
    """Add a pool without ranges."""
    space = await _userspace(session, userspace_id)
    await _check_place(session, location_id, rack_id)
    pool = Pool(
        userspace_id=space.id,
        name=name,
        note=note,
        is_public=is_public,
        location_id=location_id,
        rack_id=rack_id,
        created_at=utcnow(),
    )
    if not await _is_inserted(session, pool):
        raise Conflict(f"There is a pool {name} already.")
    record(
        session,
        "ippool.created",
        f"Pool {name} was added.",
        subject=Subject("ippool", pool.id, name),
        actor=actor,
    )
    return pool


async def edit_pool(session: AsyncSession, pool: Pool, values: Mapping[str, Any], *, actor: Actor) -> None:
    """Change a pool."""
    changes = {name: value for name, value in values.items() if getattr(pool, name) != value}
    await _check_place(session, changes.get("location_id"), changes.get("rack_id"))
    pool_id = pool.id
    try:
        async with session.begin_nested():
            for name, value in changes.items():
                setattr(pool, name, value)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(f"There is a pool {changes.get('name')} already.") from error
    if changes:
        words = f"Pool {pool.name} was changed: {', '.join(sorted(changes))}."
        record(session, "ippool.changed", words, subject=Subject("ippool", pool_id, pool.name), actor=actor,
               data={"changed": changes})  # fmt: skip


async def delete_pool(session: AsyncSession, pool: Pool, *, actor: Actor) -> None:
    """Delete a pool and its ranges, unless servers have addresses of it."""
    await _refuse_used(session, pool, None)
    await session.execute(delete(Range).where(Range.pool_id == pool.id))
    await session.delete(pool)
    await session.flush()
    record(session, "ippool.deleted", f"Pool {pool.name} was deleted.", subject=Subject("ippool", pool.id, pool.name),
           actor=actor)  # fmt: skip


async def add_range(session: AsyncSession, pool: Pool, name: str, *, actor: Actor) -> Range:
    """Add addresses to a pool; it may hold no address twice."""
    try:
        span = allocation.parse_range(name)
    except ValueError as error:
        raise Invalid(f"name: {error}.") from error
    lock = select(Pool).where(Pool.id == pool.id).with_for_update(key_share=True)
    await session.execute(lock)
    overlapping = select(Range.name).where(
        Range.pool_id == pool.id, Range.first <= span.last_key, Range.last >= span.first_key
    )
    other = await session.scalar(overlapping.limit(1))
    if other is not None:
        raise Conflict(f"Range {span} overlaps range {other} of pool {pool.name}.")
    row = Range(
        userspace_id=pool.userspace_id,
        pool_id=pool.id,
        name=name.strip(),
        version=span.version,
        first=span.first_key,
        last=span.last_key,
        created_at=utcnow(),
    )
    session.add(row)
    await session.flush()
    record(session, "ippool.range_added", f"Range {row.name} was added to pool {pool.name}.",
           subject=Subject("ippool", pool.id, pool.name), actor=actor, data={"range": row.id})  # fmt: skip
    return row


async def delete_range(session: AsyncSession, row: Range, *, actor: Actor) -> None:
    """Take addresses out of a pool, unless servers have some of them."""
    pool = await queries.pool_by_id(session, row.pool_id)
    await _refuse_used(session, pool, row)
    await session.delete(row)
    await session.flush()
    record(session, "ippool.range_deleted", f"Range {row.name} was taken out of pool {pool.name}.",
           subject=Subject("ippool", pool.id, pool.name), actor=actor)  # fmt: skip


async def _refuse_used(session: AsyncSession, pool: Pool, row: Range | None) -> None:
    query = select(Address.name, Address.server_id).where(
        Address.pool_id == pool.id, Address.server_id.is_not(None)
    )
    if row is not None:
        query = query.where(Address.key >= row.first, Address.key <= row.last)
    used = (await session.execute(query.limit(1))).one_or_none()
    if used is not None:
        what = f"Pool {pool.name}" if row is None else f"Range {row.name}"
        raise Conflict(f"{what} is in use: {used.name} is an address of server {used.server_id}.")


async def _check_place(session: AsyncSession, location_id: int | None, rack_id: int | None) -> None:
    if location_id is not None and await session.get(Location, location_id) is None:
        raise NotFound(f"There is no location {location_id}.")
    if rack_id is not None and await session.get(Rack, rack_id) is None:
        raise NotFound(f"There is no rack {rack_id}.")


# --- user spaces and quotas


async def public_userspace(session: AsyncSession) -> Userspace:
    """The user space that holds what names no other; made when it is first needed."""
    query = select(Userspace).where(Userspace.name == PUBLIC)
    found = (await session.scalars(query)).one_or_none()
    if found is None:
        space = Userspace(name=PUBLIC, note="", created_at=utcnow())
        found = space if await _is_inserted(session, space) else (await session.scalars(query)).one()
    return found


async def add_userspace(session: AsyncSession, *, name: str, note: str, actor: Actor) -> Userspace:
    """Add a user space."""
    await public_userspace(session)  # the first number is the public one's
    space = Userspace(name=name, note=note, created_at=utcnow())
    if not await _is_inserted(session, space):
        raise Conflict(f"There is a user space {name} already.")
    record(session, "userspace.created", f"User space {name} was added.", subject=Subject("userspace", space.id, name),
           actor=actor)  # fmt: skip
    return space


async def delete_userspace(session: AsyncSession, space: Userspace, *, actor: Actor) -> None:
    """Delete an empty user space."""
    space_id, name = space.id, space.name
    try:
        async with session.begin_nested():
            await session.delete(space)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(f"User space {name} is not empty. Delete its networks and pools first.") from error
    record(session, "userspace.deleted", f"User space {name} was deleted.", subject=Subject("userspace", space_id, name),
           actor=actor)  # fmt: skip


async def set_quota(session: AsyncSession, user_id: int, values: Mapping[str, int], *, actor: Actor) -> None:
    """Set how many addresses a user may take itself."""
    user = await session.get(User, user_id)
    if user is None:
        raise NotFound(f"There is no user {user_id}.")
    quota = await queries.quota_of(session, user_id, lock=True)
    for name, value in values.items():
        setattr(quota, name, value)
    session.add(quota)
    await session.flush()
    words = f"{user.email} may take {quota.ipv4} IPv4 and {quota.ipv6} IPv6 addresses."
    record(session, "user.ip_quota", words, subject=Subject("user", user.id, user.email, user.id), actor=actor,
           data=dict(values))  # fmt: skip


async def _userspace(session: AsyncSession, userspace_id: int | None) -> Userspace:
    if userspace_id is None:
        return await public_userspace(session)
    return await queries.userspace_by_id(session, userspace_id)


async def _locked_userspace(session: AsyncSession, userspace_id: int | None) -> Userspace:
    """A user space in which nobody else changes networks meanwhile; allocations go on."""
    space = await _userspace(session, userspace_id)
    await session.execute(
        select(Userspace.id).where(Userspace.id == space.id).with_for_update(key_share=True)
    )
    return space
