"""Taking a server back: its owner is off at once, then its disks are wiped with proof and its ports leave the customer.

While this runs the server is not in stock, and when it fails the server is quarantined with the reason: what was rented
is never given on unwiped by accident. Without a BMC nothing can be booted and so nothing be wiped: the history says so.
"""

from datetime import timedelta

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.deploy import steps
from rackhand.deploy.diagnose import measure_speed, record_diagnosis, take_inventory
from rackhand.deploy.wipe_disks import (
    BMC_DEADLINE,
    LONG,
    Clear,
    ClearDisks,
    begin_wipe,
    quarantine_unwiped,
    wipe_bound,
    wipe_disks,
)
from rackhand.events.model import Event
from rackhand.events.service import SYSTEM, Subject, record
from rackhand.hardware.interfaces import AdminStatus, PowerState
from rackhand.ipam import service as addressing
from rackhand.ipam.model import Address
from rackhand.ipam.operations import DEFAULT_QUARANTINE_HOURS
from rackhand.servers import queries
from rackhand.servers.model import Location, Server
from rackhand.servers.service import SUBJECT
from rackhand.switches.changing import PortWish, have_ports
from rackhand.switches.model import Vlan, VlanPurpose
from rackhand.switches.queries import vlan_of_purpose
from rackhand.switches.service import data_ports
from rackhand.tasks.operation import Done, Operation, Step, StepContext

QUARANTINE = timedelta(hours=DEFAULT_QUARANTINE_HOURS)
# What puts something on the disks; installing and rescue end with the server on.
_STARTS = ("power_on", "power_reset", "operation_os", "operation_recovery")


async def wanted_clearing(session: AsyncSession, server: Server) -> Clear:
    """How a server must be cleared before somebody else gets it.

    By its location's policy, but not at all when it cannot be booted, or when it was never on since it was given away:
    a customer who never switched it on has left nothing.
    """
    location = await session.get_one(Location, server.location_id)
    policy = Clear(location.clear_on_release)
    if policy is Clear.NONE or server.bmc is None or not server.nics:
        return Clear.NONE
    return policy if await _was_used(session, server) else Clear.NONE


async def _was_used(session: AsyncSession, server: Server) -> bool:
    """Whether the server may have run since it was given to its owner; True when nobody can tell."""
    if server.power_state != PowerState.OFF:
        return True
    of_server = and_(Event.subject_kind == SUBJECT, Event.subject_id == server.id)
    given = await session.scalar(
        select(func.max(Event.id)).where(of_server, Event.kind == "server.owner_given")
    )
    if given is None:
        return True
    started = or_(
        and_(Event.kind == "server.power_seen", Event.data["to"].as_string() == PowerState.ON),
        and_(Event.kind == "task.queued", Event.data["operation"].as_string().in_(_STARTS)),
    )
    query = select(Event.id).where(of_server, Event.id > given, started).limit(1)
    return await session.scalar(query) is not None


async def park_ports(ctx: StepContext, server: Server) -> Done:
    """Have the server's ports up and out of the customer's VLAN, seen. Safe to repeat.

    Into the location's parking VLAN; where there is none, back to where they were, unless that VLAN is a customer's:
    then they stay in the provisioning VLAN, in which nothing is answered that was not reserved.
    """
    async with ctx.tools.db.read() as session:
        parking = await vlan_of_purpose(session, server.location_id, VlanPurpose.PARKING)
        owned = set(
            await session.scalars(
                select(Vlan.vid).where(Vlan.location_id == server.location_id, Vlan.owner_id.is_not(None))
            )
        )
        ports = await data_ports(session, server.id)
    for port in ports:
        before = ctx.memo.get("before", {}).get(str(port.id), {}).get("access_vlan")
        home = parking.vid if parking else None if before in owned else before
        wish = PortWish(admin_status=AdminStatus.UP, access_vlan=home)
        await have_ports(ctx, [port], wish)
    return Done("" if ports else "the server has no data connection")


async def release_addresses(ctx: StepContext, server: Server) -> Done:
    """Take the customer's addresses from the server, into quarantine. Safe to repeat."""
    async with ctx.tools.db.write() as session:
        held = await session.get_one(Server, server.id, with_for_update=True)
        addresses = (await session.scalars(select(Address).where(Address.server_id == server.id))).all()
        for address in addresses:
            taken = await addressing.release(session, held, address.id, quarantine=QUARANTINE)
            words = f"Address {taken.name} was taken from {server.name}, which was released."
            subject = Subject("ip", address.id, taken.name)
            record(session, "ip.removed", words, subject=subject, actor=SYSTEM, task_id=ctx.task_id)
    return Done(f"{len(addresses)} addresses" if addresses else "it had none")


async def forget_override(ctx: StepContext, server: Server) -> Done:
    """Leave no boot override behind, and the server off. Safe to repeat."""
    await steps.clear_override(ctx, server)
    return Done()


RELEASE = Operation(
    name="release",
    title="Release",
    subject_kind="server",
    load=queries.for_task,
    params=ClearDisks,
    bound=wipe_bound,
    steps=(
        Step(begin_wipe, undo=quarantine_unwiped),
        Step(steps.look_at_power),
        Step(steps.check_cables),
        Step(steps.reserve_boot, undo=steps.undo_reservation),
        Step(steps.switch_off),  # a server that nobody rents is not switched on again
        Step(steps.join_provisioning_vlan, undo=steps.undo_vlan, deadline=BMC_DEADLINE),
        Step(steps.boot_from_network, undo=steps.undo_boot, deadline=LONG),
        Step(steps.await_agent, deadline=LONG),
        Step(take_inventory, deadline=LONG),
        Step(measure_speed, deadline=LONG),
        Step(wipe_disks, deadline=LONG),
        Step(record_diagnosis, cancellable=False),
        Step(steps.release_boot, cancellable=False),
        Step(steps.shut_down, deadline=BMC_DEADLINE, cancellable=False),
        Step(park_ports, deadline=BMC_DEADLINE, cancellable=False),
        Step(release_addresses, cancellable=False),
        Step(forget_override, deadline=BMC_DEADLINE, cancellable=False),
    ),
)
