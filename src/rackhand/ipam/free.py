"""The index of free addresses, and the lock of a network under which it and the addresses of that network change.

Every function here is called with the lock of the network held, or takes it. Rows of the index are read and written as
rows: this is the part of an allocation that hundreds a second go through.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import table_of, utcnow
from rackhand.errors import Conflict
from rackhand.ipam import allocation
from rackhand.ipam.allocation import Span
from rackhand.ipam.model import Address, AddressStatus, FreeSpan, Network
from rackhand.sqlite import BRIEF

log = structlog.get_logger()

_FREE = table_of(FreeSpan)
_ADDRESS = table_of(Address)
_AS_READ = (
    _FREE.c.id == bindparam("free_id"),
    _FREE.c.first == bindparam("read_first"),
    _FREE.c.last == bindparam("read_last"),
)
_SHRINK = (
    update(_FREE)
    .where(*_AS_READ)
    .values(first=bindparam("new_first"), last=bindparam("new_last"))
    .returning(_FREE.c.id)
    .execution_options(**BRIEF)
)
_DROP = delete(_FREE).where(*_AS_READ).returning(_FREE.c.id).execution_options(**BRIEF)
_ADD = insert(_FREE).execution_options(**BRIEF)
_LOCKED_NETWORK = (
    select(Network)
    .where(Network.id == bindparam("network_id"))
    .with_for_update(key_share=True)
    .execution_options(populate_existing=True, **BRIEF)
)
_NEXT = (
    select(_FREE.c.id, _FREE.c.userspace_id, _FREE.c.network_id, _FREE.c.first, _FREE.c.last)
    .where(_FREE.c.network_id == bindparam("network_id"), _FREE.c.last >= bindparam("key"))
    .order_by(_FREE.c.last)
    .execution_options(**BRIEF)
)
_HOLDING, _NEAR = _NEXT.limit(1), _NEXT.limit(2)


@dataclass(frozen=True, slots=True)
class FreeRow:
    """A row of the index as it was read."""

    id: int
    userspace_id: int
    network_id: int
    first: bytes
    last: bytes

    @property
    def span(self) -> Span:
        """Its addresses."""
        return allocation.span_between(self.first, self.last)

    @property
    def as_read(self) -> dict[str, object]:
        """What the row must still say when it is changed."""
        return {"free_id": self.id, "read_first": self.first, "read_last": self.last}


async def locked_network(session: AsyncSession, network_id: int) -> Network | None:
    """Read a network and lock it until the commit against other changes of its addresses."""
    return (await session.scalars(_LOCKED_NETWORK, {"network_id": network_id})).one_or_none()


async def take(session: AsyncSession, network: Network, block: Span) -> bool:
    """Take *block* out of what is free; False when a part of it is not."""
    found = (await session.execute(_HOLDING, {"network_id": network.id, "key": block.last_key})).one_or_none()
    return (
        found is not None and block in FreeRow(*found).span and await carve(session, FreeRow(*found), block)
    )


async def carve(session: AsyncSession, row: FreeRow, block: Span) -> bool:
    """Take *block* out of a row that holds it; False when the row is not as it was read."""
    pieces = allocation.split(row.span, block)
    if not pieces:
        return (await session.execute(_DROP, row.as_read)).scalar() is not None
    ends = {"new_first": pieces[-1].first_key, "new_last": pieces[-1].last_key}
    if (await session.execute(_SHRINK, row.as_read | ends)).scalar() is None:
        return False
    for piece in pieces[:-1]:
        await _add(session, row.userspace_id, row.network_id, piece)
    return True


async def make_free(session: AsyncSession, address: Address) -> None:
    """Delete an address and give back what of it can be handed out."""
    network = await session.get_one(Network, address.network_id)
    await session.execute(delete(_ADDRESS).where(_ADDRESS.c.id == address.id))
    session.expunge(address)
    await give_back(session, network, address.span)


async def give_back(session: AsyncSession, network: Network, span: Span) -> None:
    """Make free what of *span* can be handed out, joined with its free neighbours; no address has it any more."""
    for block in allocation.subtract([span], unusable(network)):
        await _join(session, network, block)


def unusable(network: Network) -> list[Span]:
    """What of a network is never handed out."""
    kept = [allocation.span_at(address) for address in allocation.service_addresses(network.network)]
    gateway = network.gateway_address
    return kept if gateway is None else [*kept, allocation.span_at(gateway)]


async def _join(session: AsyncSession, network: Network, block: Span) -> None:
    if block not in network.span:
        return
    near = await session.execute(_NEAR, {"network_id": network.id, "key": _key_before(block)})
    before = after = None
    for row in (FreeRow(*found) for found in near.all()):
        if row.span.last == block.first - 1:
            before = row
        elif row.span.first == block.last + 1:
            after = row
        elif row.span.overlaps(block):
            raise Conflict(f"{block} is free already.")
    kept = before or after
    if kept is None:
        await _add(session, network.userspace_id, network.id, block)
        return
    if before is not None and after is not None:
        await session.execute(_DROP, after.as_read)
    ends = {
        "new_first": before.first if before else block.first_key,
        "new_last": after.last if after else block.last_key,
    }
    await session.execute(_SHRINK, kept.as_read | ends)


def _key_before(block: Span) -> bytes:
    before = Span(block.version, max(block.first - 1, 0), block.first)
    return before.first_key


async def _add(session: AsyncSession, userspace_id: int, network_id: int, span: Span) -> None:
    row = {
        "userspace_id": userspace_id,
        "network_id": network_id,
        "first": span.first_key,
        "last": span.last_key,
    }
    await session.execute(_ADD, row)


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
        await session.execute(insert(_FREE), rows)


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
