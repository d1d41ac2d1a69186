"""Switching servers on, off and off-and-on, each confirmed by reading the state back.

A reset is off, seen, then on, seen: a reset button leaves nothing that could be seen, and after a crash nobody
could tell whether it was pressed.
"""

from datetime import timedelta

from pydantic import BaseModel, Field

from rackhand.db import utcnow
from rackhand.hardware.errors import Refused, Unsupported
from rackhand.hardware.interfaces import Bmc, PowerAction, PowerState
from rackhand.power.service import save_state
from rackhand.servers import queries
from rackhand.servers.bmc import open_server_bmc
from rackhand.servers.model import Server
from rackhand.tasks.operation import Done, Operation, Step, StepContext, Wait

LOOK_EVERY = timedelta(seconds=1)
# A BMC that took a command and shows nothing for so long is asked again; the command does nothing where it worked.
ASK_AGAIN_AFTER = 15.0
SOFT_OFF_SECONDS = 60


class PowerOff(BaseModel):
    """How to switch off: at once, or by asking the operating system and waiting `hard_after` seconds at most."""

    soft: bool = False
    hard_after: int = Field(SOFT_OFF_SECONDS, ge=1, le=1800)


async def _look(ctx: StepContext, server: Server, bmc: Bmc) -> PowerState:
    at = utcnow()
    state = await bmc.power_state()
    async with ctx.tools.db.write() as session:
        await save_state(session, server.id, state, at)
    return state


async def switch_chassis(
    ctx: StepContext, server: Server, action: PowerAction, wanted: PowerState, *, note: str = ""
) -> Done | Wait:
    """Ask once and look until it is so. Safe to repeat: does nothing when it is so already.

    *note* names this switching in the task's memo, for a step that switches more than once.
    """
    asked_key = f"{note or ctx.step}.asked_at"
    asked_at = ctx.memo.get(asked_key)
    async with open_server_bmc(ctx.tools, server) as bmc:
        if await _look(ctx, server, bmc) is wanted:
            return Done("" if asked_at else f"already {wanted}")
        now = utcnow().timestamp()
        if asked_at is None or now - asked_at >= ASK_AGAIN_AFTER:
            await bmc.set_power(action)
            ctx.memo[asked_key] = now
    return Wait(f"the chassis to be {wanted}", every=LOOK_EVERY)


async def ask_system_to_shut_down(ctx: StepContext, server: Server) -> Done | Wait:
    """Ask the operating system once to shut down and give it time; never asks twice, not even after a crash."""
    params = PowerOff.model_validate(ctx.params.model_dump())
    if not params.soft:
        return Done("not asked for")
    asked_at = ctx.memo.get("soft_off_at")
    async with open_server_bmc(ctx.tools, server) as bmc:
        if await _look(ctx, server, bmc) is PowerState.OFF:
            return Done("" if asked_at else "already off")
        if asked_at is None:
            await ctx.remember(soft_off_at=utcnow().timestamp())
            try:
                await bmc.set_power(PowerAction.SOFT_OFF)
            except (Refused, Unsupported) as error:
                return Done(f"the BMC cannot ask: {error}")
        elif utcnow().timestamp() - asked_at >= params.hard_after:
            return Done(f"still on after {params.hard_after} s")
    return Wait("the operating system to shut down", every=LOOK_EVERY)


async def switch_off_chassis(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the chassis off, by force where it is on."""
    return await switch_chassis(ctx, server, PowerAction.OFF, PowerState.OFF)


async def switch_on_chassis(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the chassis on."""
    return await switch_chassis(ctx, server, PowerAction.ON, PowerState.ON)


BMC_DEADLINE = timedelta(seconds=90)

POWER_ON = Operation(
    name="power_on",
    title="Power on",
    subject_kind="server",
    load=queries.for_task,
    steps=(Step(switch_on_chassis, deadline=BMC_DEADLINE),),
)
POWER_OFF = Operation(
    name="power_off",
    title="Power off",
    subject_kind="server",
    load=queries.for_task,
    params=PowerOff,
    steps=(
        Step(ask_system_to_shut_down, deadline=timedelta(minutes=35)),
        Step(switch_off_chassis, deadline=BMC_DEADLINE),
    ),
)
POWER_RESET = Operation(
    name="power_reset",
    title="Reset",
    subject_kind="server",
    load=queries.for_task,
    params=PowerOff,
    steps=(
        Step(ask_system_to_shut_down, deadline=timedelta(minutes=35)),
        Step(switch_off_chassis, deadline=BMC_DEADLINE),
        Step(switch_on_chassis, deadline=BMC_DEADLINE),
    ),
)
OPERATIONS = (POWER_ON, POWER_OFF, POWER_RESET)
