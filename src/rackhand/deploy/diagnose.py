"""Diagnosing a server: boot the agent, see what is in the machine and how fast it is, and leave it as it was found."""

from rackhand.boot import agents
from rackhand.deploy import bmc, findings, steps
from rackhand.deploy.service import note_failed_diagnosis, save_diagnosis
from rackhand.deploy.steps import ask_agent
from rackhand.deploy.wipe_disks import (
    BMC_DEADLINE,
    LONG,
    ClearDisks,
    quarantine_unwiped,
    wipe_bound,
    wipe_disks,
)
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.tasks.operation import Done, Operation, Step, StepContext, StepFailed, Wait


class Diagnose(ClearDisks):
    """Whether the disks are wiped and the BMC is set up on the way; of pool 0 it is given no address."""

    set_up_bmc: bool = False
    bmc_pool: int = 0


async def note_failure(ctx: StepContext, server: Server) -> None:
    """Keep a server whose diagnosis failed out of the stock, and one whose disks were not wiped even more so."""
    async with ctx.tools.db.write() as session:
        await note_failed_diagnosis(session, server.id, ctx.task_id)
    await quarantine_unwiped(ctx, server)


async def take_inventory(ctx: StepContext, _server: Server) -> Done | Wait:
    """Have the agent tell what is in the machine."""
    answer = await ask_agent(ctx, "inventory", words="the inventory")
    return answer if isinstance(answer, Wait) else Done()


async def measure_speed(ctx: StepContext, _server: Server) -> Done | Wait:
    """Have the agent measure disks, memory and links."""
    answer = await ask_agent(ctx, "speed_test", words="the speed test")
    return answer if isinstance(answer, Wait) else Done()


async def record_diagnosis(ctx: StepContext, server: Server) -> Done:
    """Write down what was found. Safe to repeat."""
    async with ctx.tools.db.write() as session:
        await steps.lock_task(session, ctx.task_id)
        inventory = await agents.last_command(session, ctx.task_id, take_inventory.__name__)
        speed = await agents.last_command(session, ctx.task_id, measure_speed.__name__)
        found = await queries.for_task(session, server.id)
        if inventory is None or speed is None or found is None:
            raise StepFailed("What the agent found is gone.")
        seen = findings.parse(findings.Inventory, inventory.result).model_dump()
        measured = findings.parse(findings.SpeedTest, speed.result).model_dump(exclude_none=True)
        if (place := bmc.place_of(ctx)) and seen["bmc"]:
            seen["bmc"] |= place
        problems = bmc.problems_of(ctx)
        await save_diagnosis(session, found, seen, measured, task_id=ctx.task_id, problems=problems)
    return Done()


DIAGNOSE = Operation(
    name="operation_diag",
    title="Diagnosis",
    subject_kind="server",
    load=queries.for_task,
    params=Diagnose,
    bound=wipe_bound,  # a diagnosis that takes longer is ended by force (api-facts 9)
    steps=(
        Step(steps.look_at_power, undo=note_failure),
        Step(steps.check_cables),
        Step(steps.reserve_boot, undo=steps.undo_reservation),
        Step(steps.switch_off, undo=steps.undo_power),
        Step(steps.join_provisioning_vlan, undo=steps.undo_vlan, deadline=BMC_DEADLINE),
        Step(steps.boot_from_network, undo=steps.undo_boot, deadline=LONG),
        Step(steps.await_agent, deadline=LONG),
        Step(take_inventory, deadline=LONG),
        Step(measure_speed, deadline=LONG),
        Step(bmc.choose_bmc_access, undo=bmc.release_bmc_address),
        Step(bmc.set_up_bmc, undo=bmc.settle_bmc, deadline=LONG),
        Step(bmc.sign_in_to_bmc, deadline=LONG),
        Step(wipe_disks, deadline=LONG),
        Step(record_diagnosis, cancellable=False),
        Step(steps.release_boot, cancellable=False),
        Step(steps.shut_down, deadline=BMC_DEADLINE, cancellable=False),
        Step(steps.leave_provisioning_vlan, deadline=BMC_DEADLINE, cancellable=False),
        Step(steps.return_to_disk, deadline=BMC_DEADLINE, cancellable=False),
    ),
)
