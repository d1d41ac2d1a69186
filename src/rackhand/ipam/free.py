"""The index of free addresses, and the lock of a network under which it and the addresses of that network change.

Every function here is called with the lock of the network held, or takes it.
"""

from collections.abc import Iterable

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import Conflict
from rackhand.ipam import allocation
from rackhand.ipam.allocation import Span
from rackhand.ipam.model import Address, AddressStatus, FreeSpan, Network

log = structlog.get_logger()


async def locked_network(session: AsyncSession, network_id: int) -> Network | None:
    """Read a network and lock it until the commit against other changes of its addresses."""
    query = select(Network).where(Network.id == network_id).with_for_update(key_share=True)
    return (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()


async def take(session: AsyncSession, network: Network, block: Span) -> bool:
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


async def make_free(session: AsyncSession, address: Address) -> None:
    """Delete an address and give back what of it can be handed out, joined with its free neighbours."""
    network = await session.get_one(Network, address.network_id)
    span = address.span
    await session.delete(address)
    await session.flush()
    for block in allocation.subtract([span], unusable(network)):
        await _give_back(session, network, block)


def unusable(network: Network) -> list[Span]:
    """What of a network is never handed out."""
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


async def rebuild_free(session: AsyncSession, network: Network) -> None:
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


async def repair(session: AsyncSession, network_id: int) -> None:
    """Work out anew what is free in a network whose index called free what has a row."""
    network = await locked_network(session, network_id)
    if network is not None:
        log.warning("index of free addresses repaired", ipnet=network_id)
        await rebuild_free(session, network)


async def end_quarantine(session: AsyncSession, network: Network, within: Span) -> None:
    """Free the quarantined addresses in *within*."""
    await locked_network(session, network.id)
    query = select(Address).where(
        Address.network_id == network.id,
        Address.status == AddressStatus.QUARANTINED,
        Address.key >= within.first_key,
        Address.key <= within.last_key,
    )
    for address in (await session.scalars(query)).all():
        await make_free(session, address)


async def end_quarantines_of(session: AsyncSession, network_ids: Iterable[int]) -> bool:
    """Free what of some networks is past its quarantine; False when there was none."""
    past = (Address.quarantined_until.is_not(None), Address.quarantined_until <= utcnow())
    found = set((await session.scalars(select(Address.network_id).where(*past).distinct())).all())
    ended = False
    for network_id in sorted(found.intersection(network_ids)):
        await locked_network(session, network_id)
        query = (
            select(Address)
            .where(Address.network_id == network_id, *past)
            .execution_options(populate_existing=True)
        )
        for address in (await session.scalars(query)).all():
            await make_free(session, address)
            ended = True
    return ended


async def end_past_quarantines(session: AsyncSession) -> None:
    """Free all that is past its quarantine; what is needed sooner is freed when it is needed."""
    await end_quarantines_of(session, (await session.scalars(select(Network.id))).all())
