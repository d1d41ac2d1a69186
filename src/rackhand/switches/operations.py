"""The operations on ports: cutting a server off and letting it in, VLAN and speed, and discovering a switch."""

from datetime import timedelta

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.hardware.interfaces import AdminStatus
from rackhand.servers import queries as servers
from rackhand.servers.model import Server
from rackhand.switches import service
from rackhand.switches.changing import PortWish, compare_wiring, have_ports, put_back
from rackhand.switches.devices import open_switch_of
from rackhand.switches.model import Switch
from rackhand.tasks.operation import Done, Operation, Step, StepContext

PORT_DEADLINE = timedelta(minutes=3)


def _wish(ctx: StepContext) -> PortWish:
    return PortWish.model_validate(ctx.params.model_dump())


# --- steps on a server


async def check_wiring(ctx: StepContext, server: Server) -> Done:
    """Compare the record of cables with what the switches have learnt; touches nothing."""
    return await compare_wiring(ctx, server, _wish(ctx))


async def change_ports(ctx: StepContext, server: Server) -> Done:
    """Have every data port of the server as wished, seen."""
    wish = _wish(ctx)
    async with ctx.tools.db.read() as session:
        ports = await service.data_ports(session, server.id, wish.connection_ids)
    return await have_ports(ctx, ports, wish)


async def put_ports_back(ctx: StepContext, _subject: Server | Switch) -> None:
    """Have every port that was touched as it was before. Safe to repeat."""
    await put_back(ctx)


async def note_suspension(ctx: StepContext, server: Server) -> Done:
    """Write down that the server is suspended or not. Safe to repeat."""
    wish = _wish(ctx)
    if wish.dry_run:
        return Done("not written down: a dry run")
    async with ctx.tools.db.write() as session:
        await service.set_suspended(session, server.id, is_suspended=wish.admin_status is AdminStatus.DOWN)
    return Done()


# --- steps on a switch


async def change_switch_ports(ctx: StepContext, _switch: Switch) -> Done:
    """Have the ports of the task as wished, seen."""
    wish = _wish(ctx)
    async with ctx.tools.db.read() as session:
        ports = await service.ports_by_id(session, wish.port_ids)
    return await have_ports(ctx, ports, wish)


class Discover(BaseModel):
    """Whether NICs that are heard on exactly one free port are to be connected with it."""

    connect: bool = False


async def read_ports(ctx: StepContext, switch: Switch) -> Done:
    """Read all ports of the switch and write them down; ports that are gone are marked."""
    async with open_switch_of(ctx.tools, switch) as device:
        info, ports = await device.info(), await device.ports()
    async with ctx.tools.db.write() as session:
        count = await service.save_discovery(session, switch.id, info, ports)
    return Done(f"{len(ports)} ports, {count} of them new" if count else f"{len(ports)} ports, none new")


async def learn_wiring(ctx: StepContext, switch: Switch) -> Done:
    """Look which NICs of the inventory are heard on which port; connect them where that is asked for."""
    async with open_switch_of(ctx.tools, switch) as device:
        macs, neighbours = await device.mac_table(), await device.neighbours()
    async with ctx.tools.db.write() as session:
        found = await service.learn_wiring(
            session, switch.id, macs, neighbours, connects=ctx.params.connect, task_id=ctx.task_id
        )
    ctx.memo["result"] = {"wiring": found}
    return Done(f"{len(found)} network interfaces heard")


# --- the operations


async def load_switch(session: AsyncSession, switch_id: int) -> Switch | None:
    """The switch that a task works on."""
    return await session.get(Switch, switch_id)


_SERVER_STEPS = (
    Step(check_wiring),
    Step(change_ports, undo=put_ports_back, deadline=PORT_DEADLINE),
)
SUSPEND = Operation(
    name="suspend",
    title="Suspension",
    subject_kind="server",
    load=servers.for_task,
    params=PortWish,
    steps=(*_SERVER_STEPS, Step(note_suspension, cancellable=False)),
)
RESUME = Operation(
    name="resume",
    title="Resumption",
    subject_kind="server",
    load=servers.for_task,
    params=PortWish,
    steps=(*_SERVER_STEPS, Step(note_suspension, cancellable=False)),
)
SET_PORTS = Operation(
    name="set_ports",
    title="Change of ports",
    subject_kind="server",
    load=servers.for_task,
    params=PortWish,
    steps=_SERVER_STEPS,
)
SET_SWITCH_PORTS = Operation(
    name="set_switch_ports",
    title="Change of ports",
    subject_kind="switch",
    load=load_switch,
    params=PortWish,
    steps=(Step(change_switch_ports, undo=put_ports_back, deadline=PORT_DEADLINE),),
)
DISCOVER = Operation(
    name="discover",
    title="Discovery",
    subject_kind="switch",
    load=load_switch,
    params=Discover,
    steps=(Step(read_ports), Step(learn_wiring)),
)
OPERATIONS = (SUSPEND, RESUME, SET_PORTS, SET_SWITCH_PORTS, DISCOVER)
