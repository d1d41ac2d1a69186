"""The rules of what addresses come from: networks, pools and their ranges, user spaces."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import Conflict, Invalid, NotFound
from rackhand.events.service import Actor, Subject, record
from rackhand.ipam import allocation, dns, free, queries, spaces
from rackhand.ipam.allocation import IPV4, IPV6, IPAddress, Span
from rackhand.ipam.model import BMC_OF, Address, AddressStatus, FreeSpan, Network, Pool, Range, Userspace
from rackhand.servers.model import Location, Rack


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
    space = await spaces.locked_userspace(session, userspace_id)
    await _check_place(session, location_id, None)
    parent = await queries.innermost_network(session, space.id, span)
    if parent is not None:
        await free.locked_network(session, parent.id)
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
    if not await spaces.is_inserted(session, network):
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
        await free.rebuild_free(session, parent)
    await free.rebuild_free(session, network)
    record(session, "ipnet.created", f"Network {network.cidr} was added.",
           subject=Subject("ipnet", network.id, network.cidr), actor=actor)  # fmt: skip
    return network


async def _refuse_cut_addresses(session: AsyncSession, parent: Network, network: Network) -> None:
    """Refuse a nested network whose edge or gateway is in use, or that cuts a prefix of a server in two."""
    span = network.span
    for edge in [
        *free.unusable(network),
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
        if edge in free.unusable(network) or near.span not in span:
            raise Conflict(f"Network {network.cidr} does not fit: address {near.name} is {near.status}.")


def _gateway(text: str, network: allocation.IPNetwork) -> IPAddress:
    """Read a gateway: a host of the network, or a link-local address of IPv6."""
    try:
        gateway = allocation.parse_address(text)
    except ValueError as error:
        raise Invalid(f"gateway: {error}.") from error
    is_outside = gateway not in network and not (
        network.version == gateway.version == IPV6 and gateway.is_link_local
    )
    if is_outside:
        raise Invalid(f"gateway: {gateway} is not in network {network}.")
    if network.version == IPV4 and gateway in allocation.service_addresses(network):
        raise Invalid(f"gateway: {gateway} is the network or broadcast address of {network}.")
    return gateway


async def edit_network(
    session: AsyncSession, network: Network, values: Mapping[str, Any], *, actor: Actor
) -> None:
    """Change gateway, VLAN, note or location."""
    changes = {name: value for name, value in values.items() if getattr(network, name) != value}
    await _check_place(session, changes.get("location_id"), None)
    if "gateway" in changes:
        await free.locked_network(session, network.id)
        text = (changes["gateway"] or "").strip()
        gateway = _gateway(text, network.network) if text else None
        changes["gateway"] = str(gateway) if gateway else ""
        if gateway is not None and gateway in network.network and str(gateway) != network.gateway:
            block = allocation.span_at(gateway)
            if not await free.take(session, network, block) and gateway not in allocation.service_addresses(
                network.network
            ):
                raise Conflict(f"gateway: {gateway} is taken or lies in a nested network.")
    for name, value in changes.items():
        setattr(network, name, value)
    await session.flush()
    if "gateway" in changes:
        await free.rebuild_free(session, network)
    if changes:
        words = f"Network {network.cidr} was changed: {', '.join(sorted(changes))}."
        record(session, "ipnet.changed", words, subject=Subject("ipnet", network.id, network.cidr), actor=actor,
               data={"changed": changes})  # fmt: skip


async def delete_network(session: AsyncSession, network_id: int, *, actor: Actor) -> None:
    """Delete a network without addresses of servers; what was nested in it moves to the network around it."""
    userspace_id = (await queries.network_by_id(session, network_id)).userspace_id
    await spaces.locked_userspace(session, userspace_id)
    # Only now does nobody else nest networks: the parent read before may be another one.
    parent_id = await session.scalar(select(Network.parent_id).where(Network.id == network_id))
    parent = await free.locked_network(session, parent_id) if parent_id is not None else None
    network = await free.locked_network(session, network_id)
    if network is None:
        raise NotFound(f"There is no network {network_id}.")
    query = select(Address.name, Address.server_id).where(
        Address.network_id == network_id, Address.server_id.is_not(None)
    )
    used = (await session.execute(query.limit(1))).one_or_none()
    if used is not None:
        raise Conflict(
            f"Network {network.cidr} is in use: {used.name} is an address of server {used.server_id}."
        )
    if parent is None:
        await _refuse_with_bmc(session, network)
    await session.execute(update(Network).where(Network.parent_id == network_id).values(parent_id=parent_id))
    if parent is None:
        await dns.want_none(session, network.userspace_id, network.span)
    rest = update(Address).where(Address.network_id == network_id).values(network_id=parent_id)
    await session.execute(rest if parent else delete(Address).where(Address.network_id == network_id))
    await session.execute(delete(FreeSpan).where(FreeSpan.network_id == network_id))
    await session.delete(network)
    await session.flush()
    if parent is not None:
        await free.rebuild_free(session, parent)
    record(session, "ipnet.deleted", f"Network {network.cidr} was deleted.",
           subject=Subject("ipnet", network_id, network.cidr), actor=actor)  # fmt: skip


async def _refuse_with_bmc(session: AsyncSession, network: Network) -> None:
    """Raise `Conflict` when the BMC of a server has an address in *network*."""
    query = select(Address.name, Address.status_info).where(
        Address.network_id == network.id, Address.status == AddressStatus.SPECIAL
    )
    for name, info in await session.execute(query):
        if (owner := info.get(BMC_OF)) is not None:
            raise Conflict(
                f"Network {network.cidr} is in use: {name} is the address of the BMC of server {owner}."
            )


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
    space = await spaces.userspace_or_public(session, userspace_id)
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
    if not await spaces.is_inserted(session, pool):
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


async def add_userspace(session: AsyncSession, *, name: str, note: str, actor: Actor) -> Userspace:
    """Add a user space."""
    await spaces.public_userspace(session)  # the first number is the public one's
    space = Userspace(name=name, note=note, created_at=utcnow())
    if not await spaces.is_inserted(session, space):
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
    record(session, "userspace.deleted", f"User space {name} was deleted.",
           subject=Subject("userspace", space_id, name), actor=actor)  # fmt: skip
