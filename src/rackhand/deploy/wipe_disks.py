"""Wiping the disks of a server, proven by what can be read from them afterwards.

A wipe has no undo. What can be taken back is the boot, the ports and the power; what is left of the data stays on the
server, and that is why it is quarantined unless the wipe was proven.
"""

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

import rackhand
from rackhand.boot import agents
from rackhand.db import utcnow
from rackhand.deploy import certificates, findings, steps
from rackhand.deploy.model import Erasure
from rackhand.deploy.steps import ask_agent
from rackhand.events.service import SYSTEM, record
from rackhand.http.wire import wire_time
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.servers.service import quarantine, subject_of
from rackhand.settings import Settings
from rackhand.tasks.model import Task
from rackhand.tasks.operation import Done, Operation, Step, StepContext, StepFailed, Wait

FAST_SECONDS = 1800.0
MAX_REASON = 1000


class Clear(StrEnum):
    """How disks are cleared; `fast` is no erasure: it only takes away what makes them bootable."""

    NONE = "none"
    FAST = "fast"
    FULL = "full"


class ClearDisks(BaseModel):
    """How the disks are to be cleared."""

    clear: Clear = Clear.NONE


# --- steps


async def begin_wipe(_ctx: StepContext, _server: Server) -> Done:
    """Do nothing yet; from here on a task that ends without a proven wipe quarantines the server."""
    return Done("nothing is touched yet")


async def quarantine_unwiped(ctx: StepContext, server: Server) -> None:
    """Quarantine a server whose wipe was asked for and not proven. Safe to repeat.

    Not when somebody's own server was never touched: a wipe that its owner called off leaves it as it was.
    """
    if ctx.params.clear == Clear.NONE or ctx.memo.get("is_wiped"):
        return
    async with ctx.tools.db.write() as session:
        found = await session.get(Server, server.id)
        if found is None or (found.owner_id is not None and not ctx.memo.get("is_wipe_begun")):
            return
        error = await session.scalar(select(Task.error).where(Task.id == ctx.task_id))
        reason = f"The wipe of task {ctx.task_id} was not proven: {error or 'it was cancelled.'}"
        if found.quarantine_reason is None:
            await quarantine(session, found, reason[:MAX_REASON], actor=SYSTEM)


async def wipe_disks(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the agent wipe every disk, and judge what it says. Safe to repeat; has no undo."""
    level = Clear(ctx.params.clear)
    if level is Clear.NONE:
        return Done("not asked for")
    if not ctx.memo.get("is_wipe_begun"):
        await ctx.remember(is_wipe_begun=True)
    full = ctx.tools.settings.wipe_hours * 3600
    seconds = full if level is Clear.FULL else FAST_SECONDS
    answer = await ask_agent(ctx, "wipe", {"level": level, "seconds": seconds}, words="the wipe of the disks")
    if isinstance(answer, Wait):
        return answer
    wipe = findings.parse(findings.Wipe, answer)
    faults = _faults(server, wipe)
    async with ctx.tools.db.write() as session:
        await _save(session, ctx, server.id, level, wipe, is_proven=not faults)
    if faults:
        raise StepFailed("; ".join(faults) + ".")
    await ctx.remember(is_wiped=True)
    return Done()


def _faults(server: Server, wipe: findings.Wipe) -> list[str]:
    """Why a wipe proves nothing: a disk was not erased, or is known and was not there, or cannot be seen."""
    faults = [
        f"Disk {disk.name} (serial {disk.serial}) is not erased: {disk.error}".rstrip(".")
        for disk in wipe.disks
        if not disk.erased
    ]
    seen = {disk.serial for disk in wipe.disks}
    faults += [
        f"Disk {disk.name} (serial {disk.serial}) was not found, so it is not erased"
        for disk in server.disks
        if disk.serial and disk.serial not in seen
    ]
    faults += [
        f"Storage controller {device.address} ({device.vendor}:{device.device}) has no driver, so what hangs on it"
        " is not erased"
        for device in wipe.unseen
    ]
    if not wipe.disks and not faults:
        faults.append("No disk was found, so none is erased")
    return faults


async def _save(
    session: AsyncSession,
    ctx: StepContext,
    server_id: int,
    level: Clear,
    wipe: findings.Wipe,
    *,
    is_proven: bool,
) -> None:
    """Keep what was done, once per task; sign it when it proves something."""
    task = await steps.lock_task(session, ctx.task_id)
    known = await session.scalar(select(Erasure.id).where(Erasure.task_id == ctx.task_id))
    server = await session.get(Server, server_id)
    if known is not None or server is None:
        return
    agent = await agents.session_of(session, ctx.task_id)
    disks = [disk.model_dump() for disk in wipe.disks]
    document = {
        "product": f"rackhand {rackhand.__version__}",
        "kind": "certificate of erasure",
        "server": {"id": server.id, "name": server.name, "model": server.model, "serial": server.serial},
        "machine": agent.identity if agent else {},
        "task": task.id,
        "requested_by": task.requested_by,
        "level": level,
        "started_at": wire_time(task.started_at),
        "finished_at": wire_time(utcnow()),
        "disks": disks,
    }
    key_id = signature = None
    if is_proven:
        server.os_template = None
    if is_proven and level is Clear.FULL:
        key_id, signature = await certificates.sign(session, ctx.tools.vault, document)
    session.add(
        Erasure(
            server_id=server.id,
            task_id=ctx.task_id,
            level=level,
            is_proven=is_proven,
            document=document,
            key_id=key_id,
            signature=signature,
            created_at=utcnow(),
        )
    )
    words = "was proven" if is_proven else "was not proven"
    record(
        session,
        "server.wiped" if is_proven else "server.wipe_failed",
        f"The {level} wipe of {len(disks)} disks of {server.name} {words}.",
        subject=subject_of(server),
        actor=SYSTEM,
        task_id=ctx.task_id,
    )


# --- the operations

LONG = timedelta(days=30)  # the operation's bound comes first
BMC_DEADLINE = timedelta(minutes=5)


def wipe_bound(params: ClearDisks, settings: Settings) -> timedelta:
    """What booting may take, and what a full wipe may take."""
    base = timedelta(minutes=settings.diagnosis_minutes)
    return base + timedelta(hours=settings.wipe_hours) if params.clear is Clear.FULL else base


CLEAR_DISKS = Operation(
    name="operation_clear_hdd",
    title="Wipe",
    subject_kind="server",
    load=queries.for_task,
    params=ClearDisks,
    bound=wipe_bound,
    steps=(
        Step(begin_wipe, undo=quarantine_unwiped),
        Step(steps.look_at_power),
        Step(steps.check_cables),
        Step(steps.reserve_boot, undo=steps.undo_reservation),
        Step(steps.switch_off, undo=steps.undo_power),
        Step(steps.join_provisioning_vlan, undo=steps.undo_vlan, deadline=BMC_DEADLINE),
        Step(steps.boot_from_network, undo=steps.undo_boot, deadline=LONG),
        Step(steps.await_agent, deadline=LONG),
        Step(wipe_disks, deadline=LONG),
        Step(steps.release_boot, cancellable=False),
        Step(steps.shut_down, deadline=BMC_DEADLINE, cancellable=False),
        Step(steps.leave_provisioning_vlan, deadline=BMC_DEADLINE, cancellable=False),
        Step(steps.return_to_disk, deadline=BMC_DEADLINE, cancellable=False),
    ),
)


async def touch_nothing(_ctx: StepContext, _server: Server) -> Done:
    """Do what `clear_hdd: none` asks for; the published example sends it (api-facts 5.4)."""
    return Done("no disk was to be cleared")


CLEAR_NOTHING = Operation(
    name="operation_clear_hdd_none",
    title="Wipe of nothing",
    subject_kind="server",
    load=queries.for_task,
    steps=(Step(touch_nothing),),
)
