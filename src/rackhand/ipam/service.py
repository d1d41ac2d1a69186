"""The rules of addresses: which one a server gets, and what becomes of one that it gives back.

Releasing a server (taking its owner) leaves its addresses where they are: they are the server's until they are removed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import Busy, Conflict, Forbidden, Invalid, NotFound
from rackhand.events.service import SYSTEM, Actor, Subject, record
from rackhand.ipam import allocation, free, places, queries
from rackhand.ipam.allocation import IPV4, IPV6, Span
from rackhand.ipam.model import Address, AddressStatus, Network, Pool, Range
from rackhand.servers.model import Server
from rackhand.tasks.engine import active_task_of
from rackhand.tasks.model import ACTIVE, Task
from rackhand.users.model import User

# Of those who want the same address one gets it; the others look again, this often at most.
ATTEMPTS = 10
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


class _Lost(Exception):
    """Somebody else was faster."""


def subject_of(address: Address, server: Server | None) -> Subject:
    """An address as the subject of an event; the owner of its server sees it."""
    return Subject("ip", address.id, address.name, server.owner_id if server else None)


async def allocate(
    session: AsyncSession, server: Server, *, wanted: Wanted, viewer: User, actor: Actor
) -> Address:
    """Give *server* an address with status `allocating`.

    Who changes a network's addresses holds its lock until the commit; the unique constraint has the last word, and who
    loses looks again. A user takes from public pools within its quota.
    """
    for attempt in range(ATTEMPTS):
        choice = await _choose(session, server, wanted, viewer)
        if attempt and wanted.name is not None:
            raise Conflict(f"{choice.block} is not free.")
        try:
            # A lock that was taken in vain goes with the savepoint: nobody holds one and waits for another.
            async with session.begin_nested():
                address = await _claim(session, server, wanted, viewer, choice)
        except _Lost:
            continue
        except IntegrityError:
            await free.repair(session, choice.network_id)
            continue
        await _check_quota(session, viewer, address)
        words = f"Address {address.name} was requested for server {server.name}."
        record(session, "ip.requested", words, subject=subject_of(address, server), actor=actor,
               data={"server": server.id, "ipnet": address.network_id})  # fmt: skip
        return address
    raise Conflict(f"Too many take addresses at this moment; server {server.id} got none. Try again.")


async def _claim(
    session: AsyncSession, server: Server, wanted: Wanted, viewer: User, choice: _Choice
) -> Address:
    """Take what was chosen, or what comes next in the same network, now locked; else raise `_Lost`."""
    network = await free.locked_network(session, choice.network_id)
    if network is None:
        raise _Lost
    if not await free.take(session, network, choice.block):
        choice = await _choose(session, server, wanted, viewer)
        if choice.network_id != network.id or not await free.take(session, network, choice.block):
            raise _Lost
    address = Address(
        userspace_id=network.userspace_id,
        network_id=network.id,
        pool_id=choice.pool_id,
        server_id=server.id,
        name=str(choice.block),
        key=choice.block.first_key,
        version=choice.block.version,
        prefix_length=network.network.max_prefixlen - (choice.block.size.bit_length() - 1),
        domain=wanted.domain or server.domain,
        status=AddressStatus.ALLOCATING,
        status_info={},
        created_at=utcnow(),
    )
    session.add(address)
    await session.flush()
    return address


async def refuse_busy(session: AsyncSession, server: Server) -> None:
    """Raise `Busy` while a task holds *server*, before anything is looked for."""
    running = await active_task_of(session, "server", server.id)
    if running is not None:
        raise Busy(f"Server {server.id}", running.id, running.name, running.status)


async def _check_quota(session: AsyncSession, viewer: User, address: Address) -> None:
    if viewer.is_admin:
        return
    quota = await queries.quota_of(session, viewer.id, lock=True)
    most = quota.ipv4 if address.version == IPV4 else quota.ipv6
    if await queries.taken_by_owner(session, viewer.id, address.version) > most:
        family = FAMILIES[address.version]
        raise Forbidden(
            f"Your account may have {most} {family} addresses of its own choice. Ask the administrator."
        )


async def _choose(session: AsyncSession, server: Server, wanted: Wanted, viewer: User) -> _Choice:
    """Find what was asked for, by the order of api-facts 6.2."""
    if wanted.userspace_id is not None:
        await queries.userspace_by_id(session, wanted.userspace_id)
    if wanted.network_id is not None and not viewer.is_admin:
        raise Forbidden("Networks are for administrators; leave ip_net out, or name a public pool.")
    network = await queries.network_by_id(session, wanted.network_id) if wanted.network_id else None
    pool = await queries.pool_by_id(session, wanted.pool_id) if wanted.pool_id else None
    if pool is not None and not (pool.is_public or viewer.is_admin):
        raise NotFound(f"There is no pool {pool.id}.")
    for place in (network, pool):
        if place is not None and wanted.userspace_id not in {None, place.userspace_id}:
            kind = "Network" if isinstance(place, Network) else "Pool"
            raise Invalid(
                f"{kind} {place.id} is in user space {place.userspace_id}, not in {wanted.userspace_id}."
            )
    if wanted.name is not None:
        return await _choose_exactly(session, server, wanted, viewer, network, pool)
    if network is not None:
        return await _choose_in_network(session, server, wanted, network)
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
        userspace_id = wanted.userspace_id or (await places.public_userspace(session)).id
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
            f"ip_name: {block} is {FAMILIES[block.version]}; family asks for {FAMILIES[wanted.version or IPV4]}."
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


async def _ranges_of(session: AsyncSession, pool: Pool) -> Sequence[Range]:
    return (await session.scalars(select(Range).where(Range.pool_id == pool.id))).all()


async def _refuse_taken(
    session: AsyncSession, network: Network, block: Span, wanted: Wanted, viewer: User
) -> None:
    """Raise `Conflict` with the reason when any address of *block* cannot be handed out."""
    if wanted.ignore_quarantine and viewer.is_admin:
        await free.end_quarantine(session, network, block)
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
            await free.end_quarantine(session, network, taken.span)
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
    session: AsyncSession, server: Server, wanted: Wanted, network: Network
) -> _Choice:
    if wanted.version not in {None, network.version}:
        family = FAMILIES[wanted.version or IPV4]
        raise Invalid(
            f"ip_net: network {network.cidr} is {FAMILIES[network.version]}; family asks for {family}."
        )
    _refuse_other_location(network, server)
    prefix_length = _prefix_length(wanted, network.version)
    block = await queries.lowest_free_in_network(session, network, prefix_length)
    if block is None and await free.end_quarantines_of(session, [network.id]):
        block = await queries.lowest_free_in_network(session, network, prefix_length)
    if block is None:
        raise Conflict(f"Network {network.cidr} has no free {_noun(wanted)} left.")
    pool_id = await queries.pool_holding(session, network.userspace_id, block)
    return _Choice(network.id, block, pool_id)


async def _choose_in_pools(
    session: AsyncSession, server: Server, wanted: Wanted, viewer: User, given: Pool | None
) -> _Choice:
    if given is not None:
        version, pools = await _version_of(session, given, wanted), [given]
    else:
        version = wanted.version or IPV4
        pools = list(await queries.pools_for(session, server, version, wanted.userspace_id))
        pools = [pool for pool in pools if pool.is_public or viewer.is_admin]
    if not pools:
        raise Conflict(
            f"No pool with {FAMILIES[version]} addresses serves server {server.id}. Name one with ip_pool."
        )
    prefix_length = _prefix_length(wanted, version)
    for may_end_quarantine in (False, True):
        if may_end_quarantine and not await free.end_quarantines_of(
            session, await _networks_of(session, pools)
        ):
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


async def _version_of(session: AsyncSession, pool: Pool, wanted: Wanted) -> int:
    """The family to take from a pool: what is asked for, else IPv4 unless it has IPv6 alone."""
    versions = {row.version for row in await _ranges_of(session, pool)}
    version = wanted.version or (IPV6 if versions == {IPV6} else IPV4)
    if version not in versions:
        raise Conflict(f"Pool {pool.name} has no {FAMILIES[version]} addresses.")
    return version


async def _networks_of(session: AsyncSession, pools: Sequence[Pool]) -> list[int]:
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
            f"Network {network.cidr} is of location {network.location_id};"
            f" server {server.id} stands in location {server.location_id}."
        )


async def confirm(session: AsyncSession, address_id: int, *, task_id: int, make_main: bool) -> bool:
    """Turn `allocating` into `allocated`; False when it is so already. The first IPv4 address becomes the main one."""
    address = await locked_address(session, address_id)
    if address is None or address.status not in {AddressStatus.ALLOCATING, AddressStatus.ALLOCATED}:
        raise Conflict(f"Address {address_id} was taken away meanwhile.")
    if address.status == AddressStatus.ALLOCATED:
        return False
    address.status, address.task_id = AddressStatus.ALLOCATED, None
    await session.flush()
    server = await _server_of(session, address)
    words = f"Address {address.name} was allocated{f' to server {server.name}' if server else ''}."
    record(session, "ip.allocated", words, subject=subject_of(address, server), actor=SYSTEM, task_id=task_id)
    if make_main:
        await set_main(session, address, actor=SYSTEM)
    else:
        await _ensure_main(session, address.server_id)
    return True


async def withdraw(session: AsyncSession, address_id: int, *, task_id: int) -> None:
    """Make an address free again that never came to be used; safe to repeat."""
    address = await locked_address(session, address_id)
    if address is None or address.task_id != task_id:
        return
    server = await _server_of(session, address)
    record(session, "ip.withdrawn", f"Address {address.name} was not allocated and is free again.",
           subject=subject_of(address, server), actor=SYSTEM, task_id=task_id)  # fmt: skip
    await free.make_free(session, address)


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
        await free.make_free(session, address)
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
    if address.version != IPV4 or address.prefix_length != allocation.BITS[4]:
        raise Invalid(f"set_as_main_ipv4: {address.name} is no IPv4 address.")


async def _ensure_main(session: AsyncSession, server_id: int | None) -> None:
    """Have a server with IPv4 addresses have a main one: its oldest, where none was chosen."""
    query = (
        select(Address)
        .where(
            Address.server_id == server_id,
            Address.version == IPV4,
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
        assert task_id is not None  # noqa: S101  # by the condition
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
        await free.locked_network(session, network_id)
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


async def keep_back(
    session: AsyncSession, *, name: str, userspace_id: int | None, domain: str, note: str, actor: Actor
) -> Address:
    """Have nobody get an address, or a prefix."""
    wanted = Wanted(name=name)
    block = _block_of(wanted)
    space = await places.userspace_or_public(session, userspace_id)
    network = await queries.innermost_network(session, space.id, block)
    if network is None:
        raise NotFound(f"No network of user space {space.id} holds {block}.")
    await free.locked_network(session, network.id)
    if not await free.take(session, network, block):
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
    if not await places.is_inserted(session, address):
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
    await free.make_free(session, address)


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
