"""Reading networks, pools and addresses: a fixed number of statements however many rows there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from rackhand.db import Base, IdList, id_in, table_of
from rackhand.errors import NotFound
from rackhand.http.lists import ListParams, Page, fetch_page, has_pattern, keys_of
from rackhand.http.where import Field, FieldKind, Fields
from rackhand.ipam import allocation
from rackhand.ipam.allocation import Span
from rackhand.ipam.free import FreeRow
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
from rackhand.servers.model import Server
from rackhand.sqlite import BRIEF
from rackhand.users.model import User

# IP versions by the words of the API: names on addresses, Linux's address families on networks (api-facts 6.1).
FAMILY_WORDS: Mapping[str, object] = {"ipv4": 4, "ipv6": 6, "2": 4, "10": 6, "4": 4, "6": 6}


def _of_servers(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The addresses of servers that are found first: there are fewer of those."""
    return and_(Address.server_id.is_not(None), Address.server_id.in_(select(Server.id).where(condition)))


ADDRESS_FIELDS: Fields = {
    "id": Field(Address.id, FieldKind.INTEGER),
    "name": Field(Address.key, FieldKind.ADDRESS, text=Address.name),
    "ip_addr": Field(Address.key, FieldKind.ADDRESS, text=Address.name),
    "family": Field(Address.version, FieldKind.INTEGER, words=FAMILY_WORDS),
    "domain": Field(Address.domain, FieldKind.TEXT),
    "ptr": Field(Address.ptr, FieldKind.TEXT),
    "note": Field(Address.note, FieldKind.TEXT),
    "status": Field(Address.status, FieldKind.TEXT),
    "is_main": Field(Address.is_main, FieldKind.BOOLEAN),
    "userspace": Field(Address.userspace_id, FieldKind.INTEGER),
    # Rows show the CIDR as `network`; clients compare it with a number (api-facts 3.1).
    "network": Field(Address.network_id, FieldKind.INTEGER),
    "ipnet": Field(Address.network_id, FieldKind.INTEGER),
    "ipnet_name": Field(Network.cidr, FieldKind.TEXT),
    "gateway": Field(Network.gateway, FieldKind.TEXT),
    "vlan": Field(Network.vlan, FieldKind.TEXT),
    "ippool": Field(Address.pool_id, FieldKind.INTEGER),
    "server": Field(Server.name, FieldKind.TEXT),
    "server.name": Field(Server.name, FieldKind.TEXT, through=_of_servers),
    "server_id": Field(Address.server_id, FieldKind.INTEGER),
    "owner": Field(Server.owner_id, FieldKind.INTEGER),
    "created_at": Field(Address.created_at, FieldKind.TIME),
}
NETWORK_FIELDS: Fields = {
    "id": Field(Network.id, FieldKind.INTEGER),
    "name": Field(Network.cidr, FieldKind.TEXT),
    "address": Field(Network.first, FieldKind.ADDRESS),
    "family": Field(Network.version, FieldKind.INTEGER, words=FAMILY_WORDS),
    "mask": Field(Network.prefix_length, FieldKind.INTEGER),
    "gateway": Field(Network.gateway, FieldKind.TEXT),
    "userspace": Field(Network.userspace_id, FieldKind.INTEGER),
    "vlan": Field(Network.vlan, FieldKind.TEXT),
    "note": Field(Network.note, FieldKind.TEXT),
    "parent": Field(Network.parent_id, FieldKind.INTEGER),
    "location_id": Field(Network.location_id, FieldKind.INTEGER),
}
POOL_FIELDS: Fields = {
    "id": Field(Pool.id, FieldKind.INTEGER),
    "name": Field(Pool.name, FieldKind.TEXT),
    "userspace": Field(Pool.userspace_id, FieldKind.INTEGER),
    "note": Field(Pool.note, FieldKind.TEXT),
    "is_public": Field(Pool.is_public, FieldKind.BOOLEAN),
    "location_id": Field(Pool.location_id, FieldKind.INTEGER),
    "rack_id": Field(Pool.rack_id, FieldKind.INTEGER),
}
RANGE_FIELDS: Fields = {
    "id": Field(Range.id, FieldKind.INTEGER),
    "name": Field(Range.name, FieldKind.TEXT),
    "ippool": Field(Range.pool_id, FieldKind.INTEGER),
    "family": Field(Range.version, FieldKind.INTEGER, words=FAMILY_WORDS),
    "first": Field(Range.first, FieldKind.ADDRESS),
    "last": Field(Range.last, FieldKind.ADDRESS),
    "userspace": Field(Range.userspace_id, FieldKind.INTEGER),
}
USERSPACE_FIELDS: Fields = {
    "id": Field(Userspace.id, FieldKind.INTEGER),
    "name": Field(Userspace.name, FieldKind.TEXT),
    "note": Field(Userspace.note, FieldKind.TEXT),
}


# --- addresses

_ADDRESS_COLUMNS = (
    Address.id, Address.name, Address.version, Address.prefix_length, Address.domain, Address.ptr, Address.note,
    Address.status, Address.status_info, Address.is_main, Address.userspace_id, Address.network_id, Address.pool_id,
    Address.server_id, Address.quarantined_until, Network.cidr, Network.gateway,
    Network.prefix_length.label("mask"), Network.vlan, Server.name.label("server_name"),
)  # fmt: skip


_ADDRESS_JOINS: Mapping[type[Base], ColumnElement[bool]] = {
    Network: Network.id == Address.network_id,
    Server: Server.id == Address.server_id,
}


def _addresses(viewer: User) -> Select[Any]:
    query: Select[Any] = select(*_ADDRESS_COLUMNS).select_from(Address)
    for model, condition in _ADDRESS_JOINS.items():
        query = query.outerjoin(model, condition)
    return query if viewer.is_admin else query.where(Server.owner_id == viewer.id)


async def address_page(
    session: AsyncSession, params: ListParams, *, visible_to: User, server_id: int | None = None
) -> Page[Row[Any]]:
    """Addresses that are not free; a user sees those of its own servers."""
    query = _addresses(visible_to)
    if server_id is not None:
        query = query.where(Address.server_id == server_id)
    if not params.limit.strip() or not visible_to.is_admin or server_id is not None:
        page: Page[Row[Any]] = await fetch_page(
            session, query, params, ADDRESS_FIELDS, tie_breaker=Address.id
        )
        return page
    is_search = has_pattern(params.where)
    keys, params = keys_of(Address.id, _ADDRESS_JOINS, params, ADDRESS_FIELDS)
    found = await fetch_page(
        session, keys, params, ADDRESS_FIELDS, tie_breaker=Address.id, is_search=is_search
    )
    shown = await session.execute(query.where(id_in(Address.id)), {"ids": found.rows})
    by_id = {row.id: row for row in shown}
    return Page([by_id[number] for number in found.rows if number in by_id], found.size)


async def address_row_by_id(session: AsyncSession, address_id: int, *, visible_to: User) -> Row[Any]:
    """One address as `address_page` gives it."""
    query = _addresses(visible_to).where(Address.id == address_id)
    found: Row[Any] | None = (await session.execute(query)).one_or_none()
    if found is None:
        raise NotFound(f"There is no address {address_id}.")
    return found


async def address_by_id(
    session: AsyncSession, address_id: int, *, visible_to: User, server_id: int | None = None
) -> Address:
    """One address; with *server_id* it must be that server's. Somebody else's is not found."""
    query = select(Address).outerjoin(Server, Server.id == Address.server_id).where(Address.id == address_id)
    if not visible_to.is_admin:
        query = query.where(Server.owner_id == visible_to.id)
    if server_id is not None:
        query = query.where(Address.server_id == server_id)
    address: Address | None = (await session.scalars(query)).one_or_none()
    if address is None:
        of_server = "" if server_id is None else f"Server {server_id} has no address {address_id}."
        raise NotFound(of_server or f"There is no address {address_id}.")
    return address


MOST_SHOWN = 256  # addresses in the row of a server; all of them are at `server/{id}/ip`


def _first_of_servers(server_id: ColumnElement[int]) -> Select[Any]:
    """The ids of the lowest addresses of one server, one more than are shown."""
    one = aliased(Address)
    return select(one.id).where(one.server_id == server_id).order_by(one.key).limit(MOST_SHOWN + 1)


def _addresses_of_servers_sqlite() -> Select[Any]:
    servers = func.json_each(bindparam("ids", type_=IdList())).table_valued("value")
    return (
        select(*_ADDRESS_COLUMNS)
        .select_from(servers)
        .join(Address, Address.id.in_(_first_of_servers(servers.c.value).correlate(servers)))
        .join(Network, Network.id == Address.network_id)
        .join(Server, Server.id == Address.server_id)
        .order_by(Address.is_main.desc(), Address.key)
    )


def _addresses_of_servers_postgresql() -> Select[Any]:
    servers = func.unnest(bindparam("ids", type_=IdList())).table_valued("value").render_derived()
    first = _first_of_servers(servers.c.value).correlate(servers).lateral("first")
    return (
        select(*_ADDRESS_COLUMNS)
        .select_from(servers)
        .join(first, true())
        .join(Address, Address.id == first.c.id)
        .join(Network, Network.id == Address.network_id)
        .join(Server, Server.id == Address.server_id)
        .order_by(Address.is_main.desc(), Address.key)
    )


_ADDRESSES_OF_SERVERS = {
    "sqlite": _addresses_of_servers_sqlite(),
    "postgresql": _addresses_of_servers_postgresql(),
}
_MAIN_ADDRESSES = (
    select(*_ADDRESS_COLUMNS)
    .join(Network, Network.id == Address.network_id)
    .join(Server, Server.id == Address.server_id)
    .where(Address.is_main)
)


async def addresses_of(session: AsyncSession, server_ids: Sequence[int]) -> Mapping[int, list[Row[Any]]]:
    """Addresses by server, the main one first, of each `MOST_SHOWN + 1` at most, in one or two statements.

    The time that it takes does not grow with the addresses of a server beyond that.
    """
    dialect = session.get_bind().dialect.name
    found: dict[int, list[Row[Any]]] = {}
    for row in await session.execute(_ADDRESSES_OF_SERVERS[dialect], {"ids": server_ids}):
        found.setdefault(row.server_id, []).append(row)
    without_main = [
        server_id for server_id, rows in found.items() if len(rows) > MOST_SHOWN and not rows[0].is_main
    ]
    if without_main:
        of_them = id_in(Address.server_id, without_main)
        for row in await session.execute(_MAIN_ADDRESSES.where(of_them)):
            found[row.server_id] = [row, *found[row.server_id][:MOST_SHOWN]]
    return found


def of_server(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Make a condition on an address, or its network, one on the server that has it."""
    return exists().where(Address.server_id == Server.id, Address.network_id == Network.id, condition)


# What `where` of a list of servers knows of addresses.
SERVER_FIELDS: Fields = {
    "ip.id": Field(Address.id, FieldKind.INTEGER, through=of_server),
    "ip.name": Field(Address.key, FieldKind.ADDRESS, text=Address.name, through=of_server),
    "ip.family": Field(Address.version, FieldKind.INTEGER, words=FAMILY_WORDS, through=of_server),
    "ip.domain": Field(Address.domain, FieldKind.TEXT, through=of_server),
    "ip.status": Field(Address.status, FieldKind.TEXT, through=of_server),
    "ip.is_main": Field(Address.is_main, FieldKind.BOOLEAN, through=of_server),
    "ip.ipnet": Field(Address.network_id, FieldKind.INTEGER, through=of_server),
    "ip.ippool": Field(Address.pool_id, FieldKind.INTEGER, through=of_server),
    "ip.network": Field(Network.cidr, FieldKind.TEXT, through=of_server),
    "ip.gateway": Field(Network.gateway, FieldKind.TEXT, through=of_server),
}


async def taken_by_owner(session: AsyncSession, owner_id: int, version: int) -> int:
    """How many addresses of a family the servers of an account have."""
    query = (
        select(func.count())
        .select_from(Address)
        .join(Server, Server.id == Address.server_id)
        .where(Server.owner_id == owner_id, Address.version == version)
    )
    return (await session.scalar(query)) or 0


async def quota_of(session: AsyncSession, user_id: int, *, lock: bool = False) -> AddressQuota:
    """The quota of a user; of nothing when none was given."""
    query = select(AddressQuota).where(AddressQuota.user_id == user_id)
    found = (await session.scalars(query.with_for_update() if lock else query)).one_or_none()
    return found or AddressQuota(user_id=user_id, ipv4=0, ipv6=0)


# --- networks


@dataclass(frozen=True)
class Counters:
    """Numbers of addresses; they exceed 64 bits for IPv6."""

    total: int = 0
    used: int = 0


async def network_page(session: AsyncSession, params: ListParams) -> Page[Network]:
    """Networks; `network_counters` adds what is used of each."""
    query = select(Network).order_by(Network.userspace_id, Network.first, Network.prefix_length)
    return await fetch_page(session, query, params, NETWORK_FIELDS, tie_breaker=Network.id)


async def network_counters(session: AsyncSession, networks: Sequence[Network]) -> Mapping[int, Counters]:
    """What can be handed out of each network and what is, in three statements; nested networks count for themselves.

    What is used is what is not free, so that a full network costs no more than an empty one.
    """
    ids = [network.id for network in networks]
    unfree, special = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)
    free = select(FreeSpan.network_id, FreeSpan.first, FreeSpan.last)
    for network_id, first, last in await session.execute(free.where(id_in(FreeSpan.network_id, ids))):
        unfree[network_id] -= allocation.span_between(first, last).size
    kept = select(Address.network_id, Address.version, Address.prefix_length).where(
        Address.status == AddressStatus.SPECIAL, id_in(Address.network_id, ids)
    )
    for network_id, version, prefix_length in await session.execute(kept):
        special[network_id] += 1 << (allocation.BITS[version] - prefix_length)
    nested: dict[int, list[Span]] = {}
    children = select(Network.parent_id, Network.first, Network.last).where(id_in(Network.parent_id, ids))
    for parent_id, first, last in await session.execute(children):
        nested.setdefault(parent_id or 0, []).append(allocation.span_between(first, last))
    counters = {}
    for network in networks:
        usable = allocation.usable(network.network, network.gateway_address, nested.get(network.id, ()))
        total = allocation.count(usable) - special[network.id]
        counters[network.id] = Counters(total, total + unfree[network.id])
    return counters


async def free_spans_of(session: AsyncSession, network: Network) -> list[Span]:
    """What a network itself can hand out now, in order."""
    query = select(FreeSpan.first, FreeSpan.last).where(FreeSpan.network_id == network.id)
    found = await session.execute(query.order_by(FreeSpan.last))
    return [allocation.span_between(first, last) for first, last in found]


async def network_by_id(session: AsyncSession, network_id: int) -> Network:
    """One network."""
    network = await session.get(Network, network_id)
    if network is None:
        raise NotFound(f"There is no network {network_id}.")
    return network


async def innermost_network(session: AsyncSession, userspace_id: int, span: Span) -> Network | None:
    """The smallest network that holds all of *span*."""
    query = (
        select(Network)
        .where(
            Network.userspace_id == userspace_id,
            Network.first <= span.first_key,
            Network.last >= span.last_key,
        )
        .order_by(Network.prefix_length.desc())
        .limit(1)
    )
    return (await session.scalars(query)).one_or_none()


# --- pools and ranges


async def pool_page(session: AsyncSession, params: ListParams) -> Page[Pool]:
    """Pools; `pool_counters` adds what is used of each."""
    return await fetch_page(session, select(Pool).order_by(Pool.id), params, POOL_FIELDS, tie_breaker=Pool.id)


async def pool_counters(session: AsyncSession, pools: Sequence[Pool]) -> Mapping[int, Mapping[int, Counters]]:
    """What can be handed out of each pool and what is, by IP version, in three statements."""
    ids = [pool.id for pool in pools]
    total: dict[tuple[int, int], int] = {}
    used: dict[tuple[int, int], int] = {}
    for row in (await session.scalars(select(Range).where(id_in(Range.pool_id, ids)))).all():
        at = (row.pool_id, row.version)
        total[at] = total.get(at, 0) + row.span.size
    unusable: dict[tuple[int, int], set[int]] = {}
    overlapping = (
        select(Range, Network).join(Network, _overlap(Range, Network)).where(id_in(Range.pool_id, ids))
    )
    for row, network in (await session.execute(overlapping)).all():
        kept = allocation.service_addresses(network.network)
        for address in (*kept, network.gateway_address) if network.gateway else kept:
            if address is not None and allocation.span_at(address) in row.span:
                unusable.setdefault((row.pool_id, row.version), set()).add(int(address))
    is_special = case((Address.status == AddressStatus.SPECIAL, 1), else_=0)
    holding = (
        select(Range.pool_id, Address.version, Address.prefix_length, is_special, func.count())
        .join(
            Address,
            and_(
                Address.userspace_id == Range.userspace_id,
                Address.key >= Range.first,
                Address.key <= Range.last,
            ),
        )
        .where(id_in(Range.pool_id, ids))
        .group_by(Range.pool_id, Address.version, Address.prefix_length, is_special)
    )
    for pool_id, version, prefix_length, kept_back, rows in await session.execute(holding):
        number = rows << (allocation.BITS[version] - prefix_length)
        if kept_back:
            total[pool_id, version] -= number
        else:
            used[pool_id, version] = used.get((pool_id, version), 0) + number
    for at, numbers in unusable.items():
        total[at] -= len(numbers)
    return {
        pool_id: {
            version: Counters(total.get((pool_id, version), 0), used.get((pool_id, version), 0))
            for version in allocation.BITS
        }
        for pool_id in ids
    }


def _overlap(left: type[Range], right: type[Network]) -> ColumnElement[bool]:
    return and_(
        left.userspace_id == right.userspace_id,
        left.first <= right.last,
        left.last >= right.first,
        left.version == right.version,
    )


async def pool_by_id(session: AsyncSession, pool_id: int) -> Pool:
    """One pool."""
    pool = await session.get(Pool, pool_id)
    if pool is None:
        raise NotFound(f"There is no pool {pool_id}.")
    return pool


async def range_page(session: AsyncSession, params: ListParams, *, pool_id: int | None = None) -> Page[Range]:
    """Ranges of pools."""
    query = select(Range).order_by(Range.pool_id, Range.first)
    if pool_id is not None:
        query = query.where(Range.pool_id == pool_id)
    return await fetch_page(session, query, params, RANGE_FIELDS, tie_breaker=Range.id)


async def range_by_id(session: AsyncSession, range_id: int) -> Range:
    """One range."""
    found = await session.get(Range, range_id)
    if found is None:
        raise NotFound(f"There is no range {range_id}.")
    return found


def _pools() -> Select[Pool]:
    # NULL equals nothing, so a server without a rack gets no pool of a rack.
    of_rack = Pool.rack_id == bindparam("rack_id")
    of_location = and_(Pool.rack_id.is_(None), Pool.location_id == bindparam("location_id"))
    of_nobody = and_(
        Pool.rack_id.is_(None),
        Pool.location_id.is_(None),
        or_(Pool.is_public, func.lower(Pool.name).contains(PUBLIC)),
    )
    has_family = exists().where(Range.pool_id == Pool.id, Range.version == bindparam("version"))
    order = case((of_rack, 0), (of_location, 1), else_=2)
    return select(Pool).where(or_(of_rack, of_location, of_nobody), has_family).order_by(order, Pool.id)


_POOLS = _pools()


async def pools_for(
    session: AsyncSession, server: Server, version: int, userspace_id: int | None
) -> Sequence[Pool]:
    """Pools that serve *server*, in the documented order: its rack's, its location's, public ones (api-facts 6.2)."""
    asked = {"rack_id": server.rack_id, "location_id": server.location_id, "version": version}
    query = _POOLS if userspace_id is None else _POOLS.where(Pool.userspace_id == userspace_id)
    return (await session.scalars(query, asked)).all()


_POOL_HOLDING = (
    select(Range.pool_id)
    .join(Pool, Pool.id == Range.pool_id)
    .where(
        Range.userspace_id == bindparam("userspace_id"),
        Range.first <= bindparam("first"),
        Range.last >= bindparam("last"),
    )
    .order_by(Range.pool_id)
    .limit(1)
)
_PUBLIC_POOL_HOLDING = _POOL_HOLDING.where(Pool.is_public)


async def pool_holding(
    session: AsyncSession, userspace_id: int, span: Span, *, public: bool = False
) -> int | None:
    """The first pool whose ranges hold all of *span*."""
    query = _PUBLIC_POOL_HOLDING if public else _POOL_HOLDING
    asked = {"userspace_id": userspace_id, "first": span.first_key, "last": span.last_key}
    return await session.scalar(query, asked)


# --- free addresses


@dataclass(frozen=True, slots=True)
class FreeBlock:
    """A block that can be handed out, the row of the index that it was found in, and the first pool that holds it."""

    block: Span
    row: FreeRow
    pool_id: int | None


_FREE = table_of(FreeSpan)
_RANGE = table_of(Range)
_NETWORK = table_of(Network)
_FREE_COLUMNS = (_FREE.c.id, _FREE.c.userspace_id, _FREE.c.network_id, _FREE.c.first, _FREE.c.last)
_FREE_OF_NETWORK = (
    select(*_FREE_COLUMNS).where(_FREE.c.network_id == bindparam("network_id")).order_by(_FREE.c.last)
)
_LOWEST_OF_NETWORK = (
    _FREE_OF_NETWORK.limit(1)
    .add_columns(
        select(_RANGE.c.pool_id)
        .where(
            _RANGE.c.userspace_id == _FREE.c.userspace_id,
            _RANGE.c.first <= _FREE.c.first,
            _RANGE.c.last >= _FREE.c.first,
        )
        .order_by(_RANGE.c.pool_id)
        .limit(1)
        .correlate(_FREE)
        .scalar_subquery()
    )
    .execution_options(**BRIEF)
)


async def lowest_free_in_network(
    session: AsyncSession, network: Network, prefix_length: int
) -> FreeBlock | None:
    """The lowest free block of a network itself; nested networks hand out their own."""
    asked = {"network_id": network.id}
    if prefix_length == allocation.BITS[network.version]:
        row = (await session.execute(_LOWEST_OF_NETWORK, asked)).one_or_none()
        if row is None:
            return None
        *free_row, pool_id = row
        found = FreeRow(*free_row)
        return FreeBlock(allocation.span_at(found.span.first_address), found, pool_id)
    rows = [FreeRow(*row) for row in (await session.execute(_FREE_OF_NETWORK, asked)).all()]
    block = allocation.lowest_block([row.span for row in rows], prefix_length)
    if block is None:
        return None
    pool_id = await pool_holding(session, network.userspace_id, block)
    return FreeBlock(block, _row_of(rows, block), pool_id)


def _row_of(rows: Sequence[FreeRow], block: Span) -> FreeRow:
    return next(row for row in rows if block in row.span)


def _serves() -> ColumnElement[bool]:
    return or_(_NETWORK.c.location_id.is_(None), _NETWORK.c.location_id == bindparam("location_id"))


def _lowest_of_ranges() -> Select[Any]:
    next_free = _FREE.alias()
    first = (
        select(next_free.c.id)
        .join(_NETWORK, _NETWORK.c.id == next_free.c.network_id)
        .where(
            next_free.c.userspace_id == _RANGE.c.userspace_id, next_free.c.last >= _RANGE.c.first, _serves()
        )
        .order_by(next_free.c.last)
        .limit(1)
        .correlate(_RANGE)
        .scalar_subquery()
    )
    return (
        select(*_FREE_COLUMNS, _RANGE.c.first.label("range_first"))
        .select_from(_RANGE.join(_FREE, _FREE.c.id == first))
        .where(
            _RANGE.c.pool_id == bindparam("pool_id"),
            _RANGE.c.version == bindparam("version"),
            _FREE.c.first <= _RANGE.c.last,
        )
        .order_by(_RANGE.c.first)
        .limit(1)
    )


_LOWEST_OF_RANGES = _lowest_of_ranges()
_FREE_OF_SPACE = (
    select(*_FREE_COLUMNS)
    .select_from(_FREE.join(_NETWORK, _NETWORK.c.id == _FREE.c.network_id))
    .where(
        _FREE.c.userspace_id == bindparam("userspace_id"),
        _serves(),
        _FREE.c.last >= bindparam("first"),
        _FREE.c.first <= bindparam("last"),
    )
)


async def lowest_free_in_pool(
    session: AsyncSession, pool: Pool, version: int, prefix_length: int, location_id: int
) -> FreeBlock | None:
    """The lowest free block in the ranges of a pool; networks of other locations than *location_id* are left out."""
    if prefix_length < allocation.BITS[version]:
        ranges = select(Range).where(Range.pool_id == pool.id, Range.version == version)
        limits = [row.span for row in await session.scalars(ranges)]
        if not limits:
            return None
        ends = {
            "first": min(limits).first_key,
            "last": max(limits, key=lambda span: span.last).last_key,
        }
        found = await session.execute(
            _FREE_OF_SPACE, {"userspace_id": pool.userspace_id, "location_id": location_id, **ends}
        )
        rows = [FreeRow(*row) for row in found.all()]
        block = allocation.lowest_block([row.span for row in rows], prefix_length, limits)
        return None if block is None else FreeBlock(block, _row_of(rows, block), pool.id)
    asked = {"pool_id": pool.id, "version": version, "location_id": location_id}
    row = (await session.execute(_LOWEST_OF_RANGES, asked)).one_or_none()
    if row is None:
        return None
    *free_row, first = row
    free = FreeRow(*free_row)
    block = allocation.span_at(allocation.address_of(max(free.first, first)))
    return FreeBlock(block, free, pool.id)


# --- user spaces


async def userspace_page(session: AsyncSession, params: ListParams) -> Page[Userspace]:
    """User spaces."""
    return await fetch_page(session, select(Userspace), params, USERSPACE_FIELDS, tie_breaker=Userspace.id)


async def userspace_by_id(session: AsyncSession, userspace_id: int) -> Userspace:
    """One user space."""
    found = await session.get(Userspace, userspace_id)
    if found is None:
        raise NotFound(f"There is no user space {userspace_id}.")
    return found
