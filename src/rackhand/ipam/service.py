"""The rules of addresses: which one a server gets, and what becomes of one that it gives back.

Releasing a server (taking its owner) leaves its addresses where they are: they are the server's until they are removed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Boolean, Table, and_, bindparam, delete, exists, not_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only

from rackhand.db import UtcDateTime, table_of, utcnow
from rackhand.errors import Conflict, Forbidden, Invalid, NotFound
from rackhand.events.service import SYSTEM, Actor, Subject, event_values, record
from rackhand.ipam import allocation, dns, free, queries, spaces
from rackhand.ipam.allocation import IPV4, IPV6, Span
from rackhand.ipam.free import FreeRow
from rackhand.ipam.model import BMC_OF, Address, AddressStatus, Network, Pool, Range
from rackhand.servers.model import Server
from rackhand.sqlite import BRIEF
from rackhand.tasks.engine import refuse_busy
from rackhand.tasks.model import ACTIVE, Task
from rackhand.users.model import User

# Of those who want the same address one gets it; the others look again, this often at most.
ATTEMPTS = 10
FAMILIES = {4: "IPv4", 6: "IPv6"}
KIND = "server"


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
class Allocated:
    """An address that a server was given."""

    id: int
    name: str
    userspace_id: int
    network_id: int
    key: bytes
    prefix_length: int
    domain: str
    is_main: bool


@dataclass(frozen=True)
class Released:
    """An address that was taken from a server, and the one that is the main one in its place."""

    id: int
    name: str
    userspace_id: int
    key: bytes
    had_name: bool
    next_main: Address | None


@dataclass(frozen=True)
class _Choice:
    """A block that was free a moment ago, the row of the index where one was read, the network where it is locked."""

    network_id: int
    block: Span
    pool_id: int | None
    row: FreeRow | None = None
    network: Network | None = None


class _Lost(Exception):
    """Somebody else was faster."""


class _IndexIsWrong(Exception):
    """The index called free what has a row; `args` is the network."""


def subject_of(address: Address | Allocated | Released, server: Server | None) -> Subject:
    """An address as the subject of an event; the owner of its server sees it."""
    return Subject("ip", address.id, address.name, server.owner_id if server else None)


# --- the server

_BRIEF = load_only(
    Server.id, Server.name, Server.domain, Server.owner_id, Server.location_id, Server.rack_id, Server.model,
    Server.last_task_id,
)  # fmt: skip
_ACTIVE_TASK = select(Task.id).where(
    Task.subject_kind == KIND, Task.subject_id == bindparam("server_id"), Task.status.in_(ACTIVE)
)
_LAST_TASK = select(Task.id).where(Task.id == Server.last_task_id)
_HELD = (
    select(Server, _ACTIVE_TASK.scalar_subquery(), _LAST_TASK.scalar_subquery())
    .where(Server.id == bindparam("server_id"))
    .options(_BRIEF)
    .with_for_update(key_share=True, of=Server)
    .execution_options(populate_existing=True, **BRIEF)
)
_HELD_OF_OWNER = _HELD.where(Server.owner_id == bindparam("owner_id"))


async def held_server(session: AsyncSession, server_id: int, *, visible_to: User) -> Server:
    """Lock a server until the commit and refuse one that a task holds; somebody else's is not found.

    Whoever changes addresses of a server locks it before it locks a network. Only what a task and an allocation need of
    the server is loaded.
    """
    asked = {"server_id": server_id, "owner_id": visible_to.id}
    query = _HELD if visible_to.is_admin else _HELD_OF_OWNER
    found = (await session.execute(query, asked)).one_or_none()
    if found is None:
        raise NotFound(f"There is no server {server_id}.")
    server: Server = found[0]
    _, active_id, last_id = found
    # PostgreSQL, where it had to wait for the lock, gives the server as it is now and the tasks as they were before:
    # then the last task is one that this statement could not see yet.
    if active_id is not None or last_id != server.last_task_id:
        await refuse_busy(session, KIND, server)
    return server


async def lock_owner(session: AsyncSession, address: Address) -> Server | None:
    """Lock what keeps others from changing an address meanwhile: its server, which is returned, else its network."""
    if address.server_id is None:
        await free.locked_network(session, address.network_id)
        return None
    server: Server = (await session.execute(_HELD, {"server_id": address.server_id})).scalar_one()
    return server


# --- giving an address

_ADDRESS = table_of(Address)


def _insert_address(insert: Callable[[Table], Any]) -> Any:
    """Insert an address that nobody has; it is the main one when that is asked for, or when there is none yet."""
    has_main = exists().where(Address.server_id == bindparam("of_server"), Address.is_main)
    may_be_main = bindparam("may_be_main", type_=Boolean())
    columns = {column.name: bindparam(column.name, type_=column.type) for column in _ADDRESS.columns}
    values = {name: value for name, value in columns.items() if name in _GIVEN}
    return (
        insert(_ADDRESS)
        .values(**values, is_main=and_(may_be_main, not_(has_main)))
        .on_conflict_do_nothing(index_elements=[_ADDRESS.c.userspace_id, _ADDRESS.c.key])
        .returning(_ADDRESS.c.id, _ADDRESS.c.is_main)
        .execution_options(**BRIEF)
    )


_GIVEN = {
    "userspace_id", "network_id", "pool_id", "server_id", "name", "key", "version", "prefix_length", "domain", "ptr",
    "note", "status", "status_info", "created_at",
}  # fmt: skip
_INSERT_ADDRESS = {
    "sqlite": _insert_address(sqlite.insert),
    "postgresql": _insert_address(postgresql.insert),
}


_NO_MAIN = (
    update(_ADDRESS)
    .where(_ADDRESS.c.server_id == bindparam("of_server"), _ADDRESS.c.is_main)
    .values(is_main=False)
)


async def allocate(
    session: AsyncSession, server: Server, *, wanted: Wanted, make_main: bool = False, viewer: User
) -> Allocated:
    """Give *server*, which is held, an address.

    Who changes a network's addresses holds its lock until the commit; the unique constraint has the last word, and who
    loses looks again. A user takes from public pools within its quota.
    """
    for attempt in range(ATTEMPTS):
        try:
            if wanted.network_id is not None and wanted.name is None:
                # No other network comes into question, so its lock is never given up for another one.
                address = await _claim(session, server, wanted, viewer, make_main=make_main)
            else:
                # A lock that was taken in vain goes with the savepoint: nobody holds one and waits for another.
                async with session.begin_nested():
                    address = await _claim(session, server, wanted, viewer, make_main=make_main)
        except _Lost:
            if attempt and wanted.name is not None:
                raise Conflict(f"{wanted.name} is not free.") from None
            continue
        except _IndexIsWrong as wrong:
            await free.repair(session, *wrong.args)
            continue
        await _check_quota(session, viewer, address)
        return address
    raise Conflict(f"Too many take addresses at this moment; server {server.id} got none. Try again.")


async def _claim(
    session: AsyncSession, server: Server, wanted: Wanted, viewer: User, *, make_main: bool
) -> Allocated:
    """Choose, lock the network, take what was chosen or what comes next in the same network; else raise `_Lost`."""
    choice = await _choose(session, server, wanted, viewer)
    network = choice.network or await free.locked_network(session, choice.network_id)
    if network is None:
        raise _Lost
    if not await _take(session, network, choice):
        choice = await _choose(session, server, wanted, viewer)
        if choice.network_id != network.id or not await _take(session, network, choice):
            raise _Lost
    return await _insert(session, server, network, choice, wanted, make_main=make_main)


async def _take(session: AsyncSession, network: Network, choice: _Choice) -> bool:
    if choice.row is None:
        return await free.take(session, network, choice.block)
    return await free.carve(session, choice.row, choice.block)


async def _insert(
    session: AsyncSession,
    server: Server,
    network: Network,
    choice: _Choice,
    wanted: Wanted,
    *,
    make_main: bool,
) -> Allocated:
    block = choice.block
    prefix_length = allocation.BITS[block.version] - (block.size.bit_length() - 1)
    is_single_ipv4 = block.version == IPV4 and block.size == 1
    if make_main:
        refuse_as_main(str(block), block.version, prefix_length)
        await session.execute(_NO_MAIN, {"of_server": server.id})
    domain = wanted.domain or server.domain
    values: dict[str, object] = {
        "userspace_id": network.userspace_id,
        "network_id": network.id,
        "pool_id": choice.pool_id,
        "server_id": server.id,
        "name": str(block),
        "key": block.first_key,
        "version": block.version,
        "prefix_length": prefix_length,
        "domain": domain,
        "ptr": "",
        "note": "",
        "status": AddressStatus.ALLOCATED,
        "status_info": {},
        "created_at": utcnow(),
    }
    statement = _INSERT_ADDRESS[session.get_bind().dialect.name]
    found = await session.execute(statement, values | {"of_server": server.id, "may_be_main": is_single_ipv4})
    row = found.one_or_none()
    if row is None:
        raise _IndexIsWrong(network.id)
    return Allocated(
        id=row.id,
        name=str(block),
        userspace_id=network.userspace_id,
        network_id=network.id,
        key=block.first_key,
        prefix_length=prefix_length,
        domain=domain,
        is_main=row.is_main,
    )


def is_single(address: Address | Allocated) -> bool:
    """Whether it is one address and no prefix."""
    return address.prefix_length == allocation.BITS[address.key[0]]


def told_of_allocation(address: Allocated, server: Server, actor: Actor) -> list[dict[str, object]]:
    """The events of an allocation."""
    subject = subject_of(address, server)
    data = {"server": server.id, "ipnet": address.network_id}
    words = f"Address {address.name} was allocated to server {server.name}."
    events = [event_values("ip.allocated", words, subject=subject, actor=actor, data=data)]
    return [*events, *_told_of_main(address, server)] if address.is_main else events


def _told_of_main(address: Address | Allocated, server: Server) -> list[dict[str, object]]:
    words = f"Address {address.name} is now the main one of its server."
    return [event_values("ip.main", words, subject=subject_of(address, server), actor=SYSTEM)]


async def _check_quota(session: AsyncSession, viewer: User, address: Allocated) -> None:
    if viewer.is_admin:
        return
    version = address.key[0]
    quota = await queries.quota_of(session, viewer.id, lock=True)
    most = quota.ipv4 if version == IPV4 else quota.ipv6
    if await queries.taken_by_owner(session, viewer.id, version) > most:
        family = FAMILIES[version]
        raise Forbidden(
            f"Your account may have {most} {family} addresses of its own choice. Ask the administrator."
        )


async def _choose(session: AsyncSession, server: Server, wanted: Wanted, viewer: User) -> _Choice:
    """Find what was asked for, by the order of api-facts 6.2."""
    if wanted.userspace_id is not None:
        await queries.userspace_by_id(session, wanted.userspace_id)
    if wanted.network_id is not None and not viewer.is_admin:
        raise Forbidden("Networks are for administrators; leave ip_net out, or name a public pool.")
    network = None
    if wanted.network_id is not None:
        network = await _network_to_take_from(session, wanted.network_id, is_locked=wanted.name is None)
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


async def _network_to_take_from(session: AsyncSession, network_id: int, *, is_locked: bool) -> Network:
    """A network; locked before it is looked into, so that what is chosen there is still free."""
    if not is_locked:
        return await queries.network_by_id(session, network_id)
    network = await free.locked_network(session, network_id)
    if network is None:
        raise NotFound(f"There is no network {network_id}.")
    return network


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
        userspace_id = wanted.userspace_id or (await spaces.public_userspace(session)).id
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
    found = await queries.lowest_free_in_network(session, network, prefix_length)
    if found is None and await free.end_quarantines_of(session, [network.id]):
        found = await queries.lowest_free_in_network(session, network, prefix_length)
    if found is None:
        raise Conflict(f"Network {network.cidr} has no free {_noun(wanted)} left.")
    return _Choice(network.id, found.block, found.pool_id, found.row, network)


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
            found = await queries.lowest_free_in_pool(
                session, pool, version, prefix_length, server.location_id
            )
            if found is not None:
                return _Choice(found.row.network_id, found.block, found.pool_id, found.row)
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


# --- taking an address


_OF_SERVER = (_ADDRESS.c.id == bindparam("address_id"), _ADDRESS.c.server_id == bindparam("of_server"))
_IN_NETWORK = _ADDRESS.c.network_id == bindparam("in_network")
_REST = (
    update(_ADDRESS)
    .where(*_OF_SERVER, _IN_NETWORK)
    .values(
        status=AddressStatus.QUARANTINED.value, server_id=None, is_main=False, domain="", ptr="",
        quarantined_until=bindparam("until", type_=UtcDateTime()),
    )
    .returning(_ADDRESS.c.id)
    .execution_options(**BRIEF)
)  # fmt: skip
_GONE = delete(_ADDRESS).where(*_OF_SERVER, _IN_NETWORK).returning(_ADDRESS.c.id).execution_options(**BRIEF)
_HAS = (
    select(
        _ADDRESS.c.network_id, _ADDRESS.c.name, _ADDRESS.c.key, _ADDRESS.c.prefix_length, _ADDRESS.c.is_main,
        _ADDRESS.c.domain, _ADDRESS.c.ptr,
    )
    .where(*_OF_SERVER)
    .execution_options(**BRIEF)
)  # fmt: skip


async def release(
    session: AsyncSession, server: Server, address_id: int, *, quarantine: timedelta
) -> Released:
    """Take an address from *server*, which is held, into quarantine or free at once."""
    while True:
        asked: dict[str, object] = {"address_id": address_id, "of_server": server.id}
        found = (await session.execute(_HAS, asked)).one_or_none()
        if found is None:
            raise NotFound(f"Server {server.id} has no address {address_id}.")
        network = await free.locked_network(session, found.network_id)
        asked["in_network"] = found.network_id
        if quarantine > timedelta(0):
            asked["until"] = utcnow() + quarantine
        done = await session.scalar(_REST if quarantine > timedelta(0) else _GONE, asked)
        if done is not None and network is not None:
            break  # else a nested network took it over before this one was locked
    if not quarantine > timedelta(0):
        await free.give_back(session, network, allocation.block_at(found.key, found.prefix_length))
    next_main = await _elect_main(session, server) if found.is_main else None
    had_name = bool(found.domain or found.ptr)
    return Released(address_id, found.name, network.userspace_id, found.key, had_name, next_main)


def told_of_release(address: Released, server: Server, actor: Actor) -> list[dict[str, object]]:
    """The events of a release."""
    words = f"Address {address.name} was removed from server {server.name}."
    subject = subject_of(address, server)
    events = [event_values("ip.removed", words, subject=subject, actor=actor, data={"server": server.id})]
    return [*events, *_told_of_main(address.next_main, server)] if address.next_main else events


async def _elect_main(session: AsyncSession, server: Server) -> Address | None:
    """Make the oldest IPv4 address of a server its main one, where it has any."""
    query = (
        select(Address)
        .where(
            Address.server_id == server.id,
            Address.version == IPV4,
            Address.prefix_length == allocation.BITS[IPV4],
        )
        .order_by(Address.id)
        .limit(1)
    )
    oldest = (await session.scalars(query)).one_or_none()
    if oldest is not None:
        oldest.is_main = True
        await session.flush()
    return oldest


async def set_main(session: AsyncSession, address: Address, *, actor: Actor) -> None:
    """Make an IPv4 address the one that the operating system is installed with; safe to repeat."""
    refuse_as_main(address.name, address.version, address.prefix_length)
    if address.is_main:
        return
    await session.execute(_NO_MAIN, {"of_server": address.server_id})
    address.is_main = True
    await session.flush()
    server = await _server_of(session, address)
    record(session, "ip.main", f"Address {address.name} is now the main one of its server.",
           subject=subject_of(address, server), actor=actor)  # fmt: skip


def refuse_as_main(name: str, version: int, prefix_length: int) -> None:
    """Raise `Invalid` for what is no single IPv4 address."""
    if version != IPV4 or prefix_length != allocation.BITS[IPV4]:
        raise Invalid(f"set_as_main_ipv4: {name} is no IPv4 address.")


async def edit_address(
    session: AsyncSession, address: Address, values: Mapping[str, Any], *, actor: Actor
) -> None:
    """Change domain, reverse name or note of an address; `dns.want_for` is for the caller to follow."""
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
    space = await spaces.userspace_or_public(session, userspace_id)
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
    if not await spaces.is_inserted(session, address):
        raise Conflict(f"{block} is not free.")
    if domain:
        await dns.want_for(session, address)
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
    if (owner := address.status_info.get(BMC_OF)) is not None and not address.status_info.get("doubtful"):
        raise Conflict(
            f"{address.name} is the address of the BMC of server {owner}. It is freed when the access to that is at"
            f" another address, or gone: DELETE server/{owner}/bmc."
        )
    record(
        session,
        "ip.freed",
        f"Address {address.name} is free.",
        subject=subject_of(address, None),
        actor=actor,
    )
    if address.domain or address.ptr:
        await dns.want(session, userspace_id=address.userspace_id, key=address.key, target="")
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
