"""Rescue: the ramdisk with the customer's keys on it, in the customer's network, until it is stopped or time is up.

Nothing stays armed while a server is in rescue. The ramdisk lives in memory: the reservation is gone before the ports
leave the provisioning network, and whatever restarts the machine starts its disk. The bound is kept by the ramdisk
itself, so a manager that is away, or restored from a backup, neither shortens nor prolongs it, and a server that left
rescue by a restart of its own is not restarted again. No task runs meanwhile: power and everything else works as ever.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from pydantic import BaseModel
from sqlalchemy import and_, bindparam, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot import task_secrets
from rackhand.db import UtcDateTime, id_in, utcnow
from rackhand.deploy import steps
from rackhand.deploy.addressing import main_addresses, main_mac
from rackhand.deploy.os_model import Rescue
from rackhand.deploy.steps import ask_agent
from rackhand.events.service import SYSTEM, record
from rackhand.http.wire import wire_time
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.servers.queries import ServerPart
from rackhand.servers.service import SUBJECT, subject_of
from rackhand.settings import Settings
from rackhand.tasks.model import Task
from rackhand.tasks.operation import Done, Operation, Step, StepContext, Wait
from rackhand.users.model import User

# What ends rescue by switching the server off, whatever comes of it.
ENDINGS = (
    "power_off", "power_reset", "operation_os", "operation_diag", "operation_clear_hdd", "operation_recovery_stop",
    "release",
)  # fmt: skip


class StartRescue(BaseModel):
    """For how long; who gets in is sealed."""

    hours: float


_ENDED = exists().where(
    and_(Task.subject_kind == SUBJECT, Task.subject_id == Rescue.server_id),
    Task.id > Rescue.task_id,
    Task.name.in_(ENDINGS),
    Task.started_at.is_not(None),
)
_RUNNING = select(Rescue).where(
    id_in(Rescue.server_id), Rescue.until > bindparam("now", type_=UtcDateTime()), ~_ENDED
)


async def rescue_of(session: AsyncSession, server_ids: Sequence[int]) -> dict[int, Rescue]:
    """The servers among these that are in rescue, as far as is known: a restart from inside is not seen."""
    found = await session.scalars(_RUNNING, {"ids": server_ids, "now": utcnow()})
    return {row.server_id: row for row in found}


async def _load_part(
    session: AsyncSession, server_ids: Sequence[int], _viewer: User
) -> Mapping[int, Mapping[str, object]]:
    found = await rescue_of(session, server_ids)
    return {
        server_id: {"recovery": {"since": wire_time(row.begun_at), "until": wire_time(row.until)}}
        for server_id, row in found.items()
    }


SERVER_PART = ServerPart({"recovery": None}, _load_part, {})


# --- steps


async def forget_order(ctx: StepContext, _server: Server) -> None:
    """Forget the password. Safe to repeat."""
    async with ctx.tools.db.write() as session:
        await task_secrets.forget(session, ctx.task_id)


async def start_rescue(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the ramdisk let the customer in; it takes the server's addresses when that is answered."""
    async with ctx.tools.db.read() as session:
        addresses = await main_addresses(session, server.id)
        mac = await main_mac(session, server)
    args = {
        task_secrets.SECRETS: ["password_hash", "ssh_keys"],
        "seconds": ctx.params.hours * 3600,
        "mac": mac,
        "addresses": [address.interface for address in addresses],
        "gateways": [address.gateway for address in addresses if address.gateway],
        "resolvers": ctx.tools.settings.resolvers,
    }
    answer = await ask_agent(ctx, "rescue", args, words="the start of rescue")
    return answer if isinstance(answer, Wait) else Done()


async def record_rescue(ctx: StepContext, server: Server) -> Done:
    """Write down that the server is in rescue, and leave no boot override. Safe to repeat."""
    await steps.clear_override(ctx, server)
    now = utcnow()
    async with ctx.tools.db.write() as session:
        await task_secrets.forget(session, ctx.task_id)
        row = await session.get(Rescue, server.id)
        if row is not None and row.task_id == ctx.task_id:
            return Done()
        if row is None:
            row = Rescue(server_id=server.id)
            session.add(row)
        row.task_id, row.begun_at, row.until = ctx.task_id, now, now + timedelta(hours=ctx.params.hours)
        found = await session.get_one(Server, server.id)
        words = f"Server {found.name} is in rescue, until {wire_time(row.until)} UTC at most."
        record(session, "server.rescue_started", words, subject=subject_of(found), actor=SYSTEM,
               task_id=ctx.task_id)  # fmt: skip
    return Done()


async def end_rescue(ctx: StepContext, server: Server) -> Done:
    """Write down that the server is not in rescue any more. Safe to repeat."""
    async with ctx.tools.db.write() as session:
        await session.execute(delete(Rescue).where(Rescue.server_id == server.id))
        found = await session.get_one(Server, server.id)
        record(session, "server.rescue_stopped", f"Server {found.name} left rescue.", subject=subject_of(found),
               actor=SYSTEM, task_id=ctx.task_id)  # fmt: skip
    return Done()


def bound(_params: StartRescue, settings: Settings) -> timedelta:
    """Booting takes no longer than a diagnosis may."""
    return timedelta(minutes=settings.diagnosis_minutes)


LONG = timedelta(hours=6)
BMC_DEADLINE = timedelta(minutes=5)

START_RESCUE = Operation(
    name="operation_recovery",
    title="Rescue",
    subject_kind="server",
    load=queries.for_task,
    params=StartRescue,
    bound=bound,
    steps=(
        Step(steps.look_at_power, undo=forget_order),
        Step(steps.check_cables),
        Step(steps.reserve_boot, undo=steps.undo_reservation),
        Step(steps.switch_off, undo=steps.undo_power),
        Step(steps.join_provisioning_vlan, undo=steps.undo_vlan, deadline=BMC_DEADLINE),
        Step(steps.boot_from_network, undo=steps.undo_boot, deadline=LONG),
        Step(steps.await_agent, deadline=LONG),
        Step(start_rescue, deadline=LONG),
        Step(steps.release_boot, cancellable=False),
        Step(steps.leave_provisioning_vlan, deadline=BMC_DEADLINE, cancellable=False),
        Step(record_rescue, deadline=BMC_DEADLINE, cancellable=False),
    ),
)
STOP_RESCUE = Operation(
    name="operation_recovery_stop",
    title="End of rescue",
    subject_kind="server",
    load=queries.for_task,
    steps=(
        Step(steps.look_at_power),
        Step(steps.switch_off, cancellable=False),
        Step(steps.return_to_disk, deadline=BMC_DEADLINE, cancellable=False),
        Step(end_rescue, cancellable=False),
    ),
)
