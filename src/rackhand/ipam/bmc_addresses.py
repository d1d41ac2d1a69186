"""Addresses of BMCs that this program has set up: kept back from everybody else while the BMC is there.

Such an address is `special`, and its `status_info` says whose BMC it is. It is not the server's: customers do not see
it and no operating system is installed with it. It goes into quarantine when the access to the BMC is at another host,
whoever changed that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import Conflict, Invalid, NotFound
from rackhand.events.service import SYSTEM, Actor, record
from rackhand.ipam import allocation, free, queries, spaces
from rackhand.ipam.allocation import IPV4
from rackhand.ipam.model import BMC_OF, Address, AddressStatus, Network, Pool, Range
from rackhand.ipam.queries import FreeBlock
from rackhand.ipam.service import ATTEMPTS, subject_of
from rackhand.servers.model import BmcAccess, Server
from rackhand.tasks.model import ACTIVE, Task

FOR_TASK, DOUBTFUL = "task", "doubtful"
QUARANTINE = timedelta(hours=24)


@dataclass(frozen=True)
class BmcAddress:
    """An address for a BMC, and what the BMC has to know of its network; *gateway* empty without one."""

    id: int
    name: str
    netmask: str
    gateway: str


async def check_pool(session: AsyncSession, server: Server, pool_id: int) -> Pool:
    """Give the pool when the BMC of *server* can have an address of it; raise with the reason otherwise."""
    pool = await _pool(session, pool_id)
    query = select(Range.id).where(Range.pool_id == pool.id, Range.version == IPV4).limit(1)
    if await session.scalar(query) is None:
        raise Invalid(
            f"ipmi_pool: pool {pool.name} has no IPv4 addresses, and a BMC is given an IPv4 address."
        )
    if await _lowest_free(session, server, pool) is None:
        raise Conflict(f"No free IPv4 address is left in pool {pool.name} for the BMC of server {server.id}.")
    return pool


async def take_for_bmc(
    session: AsyncSession, server: Server, *, pool_id: int, task_id: int, actor: Actor
) -> BmcAddress:
    """Keep an address of a pool back for the BMC of *server*; a task gets the same one again.

    An address of this pool that the BMC has already stays. Raises as `check_pool` does.
    """
    pool = await _pool(session, pool_id)
    own = await _addresses_of(session, server.id)
    for address in own:
        if address.pool_id == pool.id and not address.status_info.get(DOUBTFUL):
            address.status_info = {**address.status_info, FOR_TASK: task_id}
            return await _described(session, address)
    for _ in range(ATTEMPTS):
        found = await _lowest_free(session, server, pool)
        if found is None:
            raise Conflict(
                f"No free IPv4 address is left in pool {pool.name} for the BMC of server {server.id}."
            )
        taken = await _take(session, server, found, task_id)
        if taken is not None:
            words = f"Address {taken.name} is for the BMC of server {server.name}."
            record(session, "ip.kept_for_bmc", words, subject=subject_of(taken, None), actor=actor,
                   task_id=task_id, data={"server": server.id})  # fmt: skip
            return await _described(session, taken)
    raise Conflict(
        f"Too many take addresses at this moment; the BMC of server {server.id} got none. Try again."
    )


async def mark_doubtful(session: AsyncSession, server_id: int, name: str) -> None:
    """Keep an address that a BMC may have taken or not until an operator frees it. Safe to repeat."""
    for address in await _addresses_of(session, server_id):
        if address.name == name:
            address.status_info = {**address.status_info, DOUBTFUL: True}
            address.note = f"May be taken by the BMC of server {server_id}; free it when that is known"


async def release_unused(
    session: AsyncSession, *, server_id: int | None = None, ended_task: int | None = None
) -> list[str]:
    """Put addresses into quarantine at which no access to their BMC is, and that no task needs; gives their names.

    *ended_task* needs none any more, active as it is.
    """
    rows = await _addresses_of(session, server_id)
    owners = {address.status_info[BMC_OF] for address in rows}
    query = select(BmcAccess.server_id, BmcAccess.host).where(BmcAccess.server_id.in_(owners))
    hosts = {row.server_id: row.host for row in await session.execute(query)}
    tasks = {address.status_info[FOR_TASK] for address in rows} - {ended_task}
    active = set(await session.scalars(select(Task.id).where(Task.id.in_(tasks), Task.status.in_(ACTIVE))))
    released = []
    for address in rows:
        info = address.status_info
        is_used = hosts.get(info[BMC_OF]) == address.name or info[FOR_TASK] in active
        if not is_used and not info.get(DOUBTFUL):
            await release_bmc_address(session, address.id)
            released.append(address.name)
    return released


async def release_bmc_address(session: AsyncSession, address_id: int) -> None:
    """Put an address of a BMC into quarantine: a BMC that was only forgotten may still have it. Safe to repeat."""
    network_id = await session.scalar(select(Address.network_id).where(Address.id == address_id))
    if network_id is None:
        return
    await free.locked_network(session, network_id)
    address = await session.get(Address, address_id, populate_existing=True)
    if address is None or BMC_OF not in address.status_info:
        return
    owner = address.status_info[BMC_OF]
    address.status, address.status_info, address.note = AddressStatus.QUARANTINED, {}, ""
    address.quarantined_until = utcnow() + QUARANTINE
    await session.flush()
    words = f"Address {address.name} is no longer that of the BMC of server {owner}."
    record(
        session, "ip.bmc_gone", words, subject=subject_of(address, None), actor=SYSTEM, data={"server": owner}
    )


async def _pool(session: AsyncSession, pool_id: int) -> Pool:
    pool = await session.get(Pool, pool_id)
    if pool is None:
        raise NotFound(f"There is no pool {pool_id}.")
    return pool


async def _addresses_of(session: AsyncSession, server_id: int | None) -> Sequence[Address]:
    """Addresses of BMCs, of one server or of all."""
    query = (
        select(Address)
        .where(Address.status == AddressStatus.SPECIAL, Address.server_id.is_(None))
        .order_by(Address.id)
        .execution_options(populate_existing=True)
    )
    rows = [address for address in await session.scalars(query) if BMC_OF in address.status_info]
    return [address for address in rows if server_id in {None, address.status_info[BMC_OF]}]


async def _lowest_free(session: AsyncSession, server: Server, pool: Pool) -> FreeBlock | None:
    bits = allocation.BITS[IPV4]
    found = await queries.lowest_free_in_pool(session, pool, IPV4, bits, server.location_id)
    if found is None:
        query = select(Network.id).where(Network.userspace_id == pool.userspace_id)
        if await free.end_quarantines_of(session, (await session.scalars(query)).all()):
            found = await queries.lowest_free_in_pool(session, pool, IPV4, bits, server.location_id)
    return found


async def _take(session: AsyncSession, server: Server, found: FreeBlock, task_id: int) -> Address | None:
    """Write it down under the lock of its network; None when somebody was faster."""
    network = await free.locked_network(session, found.row.network_id)
    if network is None or not await free.take(session, network, found.block):
        return None
    address = Address(
        userspace_id=network.userspace_id,
        network_id=network.id,
        pool_id=found.pool_id,
        name=str(found.block),
        key=found.block.first_key,
        version=IPV4,
        prefix_length=allocation.BITS[IPV4],
        note=f"BMC of server {server.name}",
        status=AddressStatus.SPECIAL,
        status_info={BMC_OF: server.id, FOR_TASK: task_id},
        created_at=utcnow(),
    )
    return address if await spaces.is_inserted(session, address) else None


async def _described(session: AsyncSession, address: Address) -> BmcAddress:
    network = await session.get_one(Network, address.network_id)
    netmask = str(network.network.netmask) if isinstance(network.network, IPv4Network) else ""
    return BmcAddress(address.id, address.name, netmask, network.gateway)
