"""Switching servers on, off and off-and-on, each confirmed by reading the state back.

A reset is off, seen, then on, seen: a reset button leaves nothing that could be seen, and after a crash nobody
could tell whether it was pressed.

The BMC is preferred (api-facts 9). A server without mains gets them first. Where there is no BMC, or it does not answer
for `bmc_patience`, the outlets are used; each step says which way it took.
"""

from datetime import timedelta

from pydantic import BaseModel, Field

from rackhand.db import utcnow
from rackhand.hardware.errors import Refused, Retryable, Unsupported
from rackhand.hardware.interfaces import Bmc, PowerAction, PowerState
from rackhand.power.mains import (
    are_seen_off,
    await_bmc,
    enable_outlets,
    is_given_up,
    note_answer,
    outlets_of,
    switch_off_outlets,
)
from rackhand.power.outlets import OUTLET_DEADLINE, OUTLET_OPERATIONS, put_outlets_back
from rackhand.power.service import save_state
from rackhand.servers import queries
from rackhand.servers.bmc import open_server_bmc
from rackhand.servers.model import Server
from rackhand.tasks.operation import Done, Operation, Step, StepContext, StepFailed, Wait

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
    note_answer(ctx)
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
    if server.bmc is None and await outlets_of(ctx, server):
        return Done("there is no BMC to ask")
    asked_at = utcnow()
    try:
        return await _ask_once(ctx, server, params)
    except Retryable as error:
        if not await outlets_of(ctx, server) or not is_given_up(ctx, asked_at):
            raise
        return Done(f"the BMC cannot ask: {error}")


async def _ask_once(ctx: StepContext, server: Server, params: PowerOff) -> Done | Wait:
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
    """Have the chassis off, by force where it is on; a BMC that does not answer is given up when there are outlets."""
    outlets = await outlets_of(ctx, server)
    if server.bmc is None and outlets:
        return Done("there is no BMC: the outlets are used")
    asked_at = utcnow()
    try:
        return await switch_chassis(ctx, server, PowerAction.OFF, PowerState.OFF)
    except Retryable:
        if not outlets:
            raise
        if await are_seen_off(ctx, outlets):
            return Done("it has no mains: its outlets are off")
        if not is_given_up(ctx, asked_at):
            raise
    ctx.memo["bmc_silent"] = True
    return Done(f"no answer of the BMC for {ctx.tools.settings.bmc_patience:g} s: the outlets are used")


async def switch_on_chassis(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the chassis on. Mains are there: a BMC that is silent all the same leaves nothing to switch."""
    if server.bmc is None and await outlets_of(ctx, server):
        return Done("there is no BMC: it has mains")
    if ctx.memo.get("bmc_dead"):
        return Done("it has mains; whether it runs is not known, for the BMC does not answer")
    asked_at = utcnow()
    try:
        return await switch_chassis(ctx, server, PowerAction.ON, PowerState.ON)
    except Retryable as error:
        if not await outlets_of(ctx, server) or not is_given_up(ctx, asked_at):
            raise
        raise StepFailed(
            f"The BMC does not answer, and the server has mains, so it may run: {error}"
            " A reset switches its outlets off and on."
        ) from error


BMC_DEADLINE = timedelta(seconds=90)

_SWITCH_OFF = (
    Step(ask_system_to_shut_down, deadline=timedelta(minutes=35)),
    Step(switch_off_chassis, deadline=BMC_DEADLINE),
    Step(switch_off_outlets, undo=put_outlets_back, deadline=OUTLET_DEADLINE),
)
_SWITCH_ON = (
    Step(enable_outlets, undo=put_outlets_back, deadline=OUTLET_DEADLINE),
    Step(await_bmc, deadline=timedelta(hours=1)),
    Step(switch_on_chassis, deadline=BMC_DEADLINE),
)
POWER_ON = Operation(
    name="power_on",
    title="Power on",
    subject_kind="server",
    load=queries.for_task,
    steps=_SWITCH_ON,
)
POWER_OFF = Operation(
    name="power_off",
    title="Power off",
    subject_kind="server",
    load=queries.for_task,
    params=PowerOff,
    steps=_SWITCH_OFF,
)
POWER_RESET = Operation(
    name="power_reset",
    title="Reset",
    subject_kind="server",
    load=queries.for_task,
    params=PowerOff,
    steps=(*_SWITCH_OFF, *_SWITCH_ON),
)
OPERATIONS = (POWER_ON, POWER_OFF, POWER_RESET, *OUTLET_OPERATIONS)
