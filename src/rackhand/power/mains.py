"""The mains of a server: its outlets, switched on before its BMC can answer, and used instead of a BMC that does not.

Every feed is switched and read back. A server is off only when all its outlets are, so cutting the mains fails, and is
taken back, unless every outlet is seen off. One outlet is enough to run on, so giving the mains succeeds with one; an
outlet that did not follow is flagged and named.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rackhand.db import utcnow
from rackhand.hardware.errors import HardwareError, Retryable
from rackhand.hardware.interfaces import PowerState
from rackhand.power import queries
from rackhand.power.model import Outlet
from rackhand.power.outlets import flag, read_outlet, switch_outlet, was_touched
from rackhand.power.pdus import words_of
from rackhand.power.service import Observation, save_observations
from rackhand.servers.bmc import open_server_bmc
from rackhand.servers.model import Server
from rackhand.tasks.operation import Done, StepContext, StepFailed, Wait

PAUSE = 5.0  # seconds without mains, so that power supplies run empty and the machine really restarts
PDU_PATIENCE = 30.0
LOOK_EVERY = timedelta(seconds=3)


async def outlets_of(ctx: StepContext, server: Server) -> Sequence[Outlet]:
    """The outlets that feed a server, in the order of feeds."""
    async with ctx.tools.db.read() as session:
        return await queries.outlets_of_server(session, server.id)


def note_answer(ctx: StepContext) -> None:
    """The BMC has answered: its silence counts anew."""
    ctx.memo.pop("bmc_silent_since", None)


def is_given_up(ctx: StepContext, asked_at: datetime) -> bool:
    """Whether a BMC that did not answer at *asked_at* has been silent in this task for as long as is waited for one."""
    since: float = ctx.memo.setdefault("bmc_silent_since", asked_at.timestamp())
    return utcnow().timestamp() - since >= ctx.tools.settings.bmc_patience


async def are_seen_off(ctx: StepContext, outlets: Sequence[Outlet]) -> bool:
    """Whether every outlet is read as off now; False when a PDU cannot be asked."""
    try:
        return {await read_outlet(ctx, outlet) for outlet in outlets} == {PowerState.OFF}
    except HardwareError:
        return False


# --- steps


async def switch_off_outlets(ctx: StepContext, server: Server) -> Done:
    """Cut the mains where there is no BMC, or the step before has given it up; every outlet seen off."""
    if server.bmc is not None and not ctx.memo.get("bmc_silent"):
        return Done("not needed")
    outlets = await outlets_of(ctx, server)
    for outlet in outlets:
        await switch_outlet(ctx, outlet, PowerState.OFF)
    touched = [outlet for outlet in outlets if was_touched(ctx, outlet)]
    if not touched:
        return Done("its outlets are off already")
    await ctx.remember(mains_cut_at=utcnow().timestamp())
    return Done(f"switched off: {_list(touched)}")


async def enable_outlets(ctx: StepContext, server: Server) -> Done | Wait:
    """Give mains to a server that has none: one that is off on every feed, or was cut off by this task."""
    outlets = await outlets_of(ctx, server)
    if not outlets:
        return Done("no outlet is written down")
    if "outlets_to_enable" not in ctx.memo:
        if (left := ctx.memo.get("mains_cut_at", 0.0) + PAUSE - utcnow().timestamp()) > 0:
            return Wait("the power supplies to run empty", every=timedelta(seconds=left))
        found = await _outlets_to_enable(ctx, server, outlets)
        if isinstance(found, Done):
            return found
        await ctx.remember(outlets_to_enable=[each.id for each in found], enabling_since=utcnow().timestamp())
    wanted = [outlet for outlet in outlets if outlet.id in ctx.memo["outlets_to_enable"]]
    failed = await _enable(ctx, wanted)
    if len(failed) == len(wanted):
        raise StepFailed(" ".join(failed.values()) or "The outlets are not written down any more.")
    for outlet in wanted:
        if outlet.id in failed:
            await flag(ctx, outlet, f"Task {ctx.task_id} could not switch it on: {failed[outlet.id]}")
    await ctx.remember(mains_on_at=utcnow().timestamp())
    good = [outlet for outlet in wanted if outlet.id not in failed]
    return Done(" ".join([f"switched on: {_list(good)}", *failed.values()]))


async def _outlets_to_enable(
    ctx: StepContext, server: Server, outlets: Sequence[Outlet]
) -> Sequence[Outlet] | Done:
    if "mains_cut_at" in ctx.memo:
        before = ctx.memo["outlets_before"]
        return [outlet for outlet in outlets if before.get(str(outlet.id)) == PowerState.ON] or outlets
    try:
        states = {await read_outlet(ctx, outlet) for outlet in outlets}
    except HardwareError as error:
        if server.bmc is not None and await _bmc_answers(ctx, server):
            return Done(f"the BMC answers, so there are mains; {error}")
        raise
    return Done("an outlet is on") if PowerState.ON in states else outlets


async def _enable(ctx: StepContext, outlets: Sequence[Outlet]) -> dict[int, str]:
    """Switch outlets on; give what kept each of the others from it. Raises `Retryable` while patience lasts."""
    failed: dict[int, str] = {}
    silent: Retryable | None = None
    for outlet in outlets:
        try:
            await switch_outlet(ctx, outlet, PowerState.ON)
        except Retryable as error:
            silent = error
            failed[outlet.id] = f"{words_of(outlet)}: {error}"
        except (HardwareError, StepFailed) as error:
            failed[outlet.id] = f"{words_of(outlet)}: {error}"
    if silent is not None and utcnow().timestamp() - ctx.memo["enabling_since"] < PDU_PATIENCE:
        raise silent
    return failed


async def await_bmc(ctx: StepContext, server: Server) -> Done | Wait:
    """Wait for the BMC to answer after the mains came; one that does not is given up and said to be unknown."""
    if server.bmc is None:
        return Done("there is no BMC")
    if "mains_on_at" not in ctx.memo:
        return Done("not needed")
    try:
        async with open_server_bmc(ctx.tools, server) as bmc:
            await bmc.power_state()
    except Retryable as error:
        patience = ctx.tools.settings.bmc_start_patience
        if utcnow().timestamp() - ctx.memo["mains_on_at"] < patience:
            return Wait("the BMC to answer, now that there are mains", every=LOOK_EVERY)
        async with ctx.tools.db.write() as session:
            await save_observations(session, {server.id: Observation(utcnow(), problem=str(error))})
        ctx.memo["bmc_dead"] = True
        return Done(f"given up after {patience:g} s: {error}")
    note_answer(ctx)
    return Done()


async def _bmc_answers(ctx: StepContext, server: Server) -> bool:
    try:
        async with open_server_bmc(ctx.tools, server) as bmc:
            await bmc.power_state()
    except HardwareError:
        return False
    return True


def _list(outlets: Sequence[Outlet]) -> str:
    return ", ".join(map(words_of, outlets))
