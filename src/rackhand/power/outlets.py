"""Switching outlets, each change seen: look, ask, read back, and put back what was when the PDU lies.

A task remembers what an outlet was before it touches it. With `dry_run` the same step asks the same questions and sends
nothing: the result then lists what would be sent.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.hardware.interfaces import Outlet as SeenOutlet
from rackhand.hardware.interfaces import OutletAction, PowerState
from rackhand.hardware.interfaces import Pdu as PduDevice
from rackhand.power import pdus, queries
from rackhand.power.devices import open_pdu_of
from rackhand.power.model import Outlet, Pdu
from rackhand.power.pdus import words_of
from rackhand.servers import queries as servers
from rackhand.servers.model import Server
from rackhand.tasks.operation import Done, NoParams, Operation, Step, StepContext, StepFailed

READ_BACK_SECONDS = 10.0  # PDUs switch their relays one after the other, and report late
READ_EVERY = 0.25
WATCH_EVERY = 0.1  # a cycle may be short
CYCLE_SECONDS = 90.0  # the longest pause of a cycle that APC's PowerNet MIB lets an operator set is 60 s
LEAK_WATTS = 15  # what a meter may show of an outlet that is off
OUTLET_DEADLINE = timedelta(minutes=3)
ACTIONS = {PowerState.ON: OutletAction.ON, PowerState.OFF: OutletAction.OFF}


class OutletWish(BaseModel):
    """What an outlet is to do."""

    outlet_id: int
    action: OutletAction
    dry_run: bool = False


# --- one outlet


async def read_outlet(ctx: StepContext, outlet: Outlet) -> PowerState:
    """Ask the PDU what an outlet does now and write it down; a flag stays for whoever set it."""
    async with open_pdu_of(ctx.tools, outlet.pdu) as device:
        seen = await device.outlet(outlet.number)
    if outlet.flag is None:
        await _save(ctx, outlet, seen)
    return seen.state


async def switch_outlet(ctx: StepContext, outlet: Outlet, wanted: PowerState) -> None:
    """Have an outlet *wanted*, seen. Safe to repeat: does nothing when it is so already.

    What it was is remembered before anything is sent, for `put_outlets_back`.
    """
    async with open_pdu_of(ctx.tools, outlet.pdu) as device:
        now = await device.outlet(outlet.number)
        if not _is(now, wanted):
            await _remember(ctx, outlet, now.state, str(wanted))
            await _note_sent(ctx, outlet, await device.set_outlet(outlet.number, ACTIONS[wanted]))
            now = await _read_back(device, outlet.number, wanted)
    if not _is(now, wanted):
        raise StepFailed(
            f"{words_of(outlet)} accepted the change and did not make it: wanted {wanted},"
            f" shown is {_shown(now)}."
        )
    await _save(ctx, outlet, now)


def was_touched(ctx: StepContext, outlet: Outlet) -> bool:
    """Whether the task has sent something for an outlet."""
    return str(outlet.id) in ctx.memo.get("outlets_before", {})


async def put_outlets_back(ctx: StepContext, _subject: Server | Pdu) -> None:
    """Have every outlet that was touched as it was before. Safe to repeat."""
    before: dict[str, str] = ctx.memo.get("outlets_before", {})
    failed = []
    for outlet in await _load(ctx, [int(outlet_id) for outlet_id in before]):
        was = PowerState(before[str(outlet.id)])
        async with open_pdu_of(ctx.tools, outlet.pdu) as device:
            seen = await device.outlet(outlet.number)
            if seen.state is not was and was in ACTIONS:
                await device.set_outlet(outlet.number, ACTIONS[was])
                seen = await _read_back(device, outlet.number, was)
        if _is(seen, was) and was in ACTIONS:
            await _save(ctx, outlet, seen)
        else:
            words = f"{words_of(outlet)} was to be put back to {was} and shows {_shown(seen)}."
            await flag(ctx, outlet, words)
            failed.append(words)
    if failed:
        raise StepFailed(" ".join(failed))


async def flag(ctx: StepContext, outlet: Outlet, words: str) -> None:
    """Mark an outlet of which nobody knows what it does."""
    async with ctx.tools.db.write() as session:
        await pdus.flag_outlet(session, outlet.id, words)


def _is(seen: SeenOutlet, wanted: PowerState) -> bool:
    """Whether an outlet does what it is to do: one that is off and still delivers power has a relay that is stuck."""
    is_stuck = wanted is PowerState.OFF and (seen.watts or 0) > LEAK_WATTS
    return seen.state is wanted and not is_stuck


def _shown(seen: SeenOutlet) -> str:
    return str(seen.state) if seen.watts is None else f"{seen.state} at {seen.watts:g} W"


async def _load(ctx: StepContext, outlet_ids: Sequence[int]) -> Sequence[Outlet]:
    async with ctx.tools.db.read() as session:
        return await queries.outlets_by_id(session, outlet_ids)


async def _read_back(device: PduDevice, index: int, wanted: PowerState) -> SeenOutlet:
    until = asyncio.get_running_loop().time() + READ_BACK_SECONDS
    while True:
        seen = await device.outlet(index)
        if _is(seen, wanted) or asyncio.get_running_loop().time() >= until:
            return seen
        await asyncio.sleep(READ_EVERY)


async def _remember(ctx: StepContext, outlet: Outlet, was: PowerState, change: str) -> None:
    """Keep what the outlet was, before anything is sent; a second call finds the first value."""
    before = ctx.memo.get("outlets_before", {})
    if str(outlet.id) not in before:
        await ctx.remember(outlets_before={**before, str(outlet.id): was.value})
    await flag(ctx, outlet, f"Task {ctx.task_id} is switching it: {change}.")


async def _note_sent(ctx: StepContext, outlet: Outlet, commands: Sequence[str]) -> None:
    await _note(ctx, "sent", outlet, commands)


async def _note(ctx: StepContext, key: str, outlet: Outlet, commands: Sequence[str]) -> None:
    result = dict(ctx.memo.get("result", {}))
    row = {"pdu": outlet.pdu.name, "outlet": outlet.number, "commands": list(commands)}
    await ctx.remember(result={**result, key: [*result.get(key, []), row]})


async def _save(ctx: StepContext, outlet: Outlet, seen: SeenOutlet) -> None:
    async with ctx.tools.db.write() as session:
        await pdus.save_outlet(session, outlet, seen, utcnow())


# --- steps


async def change_outlet(ctx: StepContext, _subject: Server | Pdu) -> Done:
    """Do with one outlet what was asked for, seen."""
    wish = OutletWish.model_validate(ctx.params.model_dump())
    found = await _load(ctx, [wish.outlet_id])
    if not found:
        raise StepFailed(f"Outlet {wish.outlet_id} is gone.")
    (outlet,) = found
    if wish.dry_run:
        return await _plan(ctx, outlet, wish.action)
    if wish.action is OutletAction.CYCLE:
        return await _cycle(ctx, outlet)
    wanted = PowerState(wish.action.value)
    await switch_outlet(ctx, outlet, wanted)
    return Done("" if was_touched(ctx, outlet) else f"already {wanted}")


async def _plan(ctx: StepContext, outlet: Outlet, action: OutletAction) -> Done:
    async with open_pdu_of(ctx.tools, outlet.pdu) as device:
        now = await device.outlet(outlet.number)
        if action is OutletAction.CYCLE and now.state is PowerState.OFF:
            action = OutletAction.ON
        if action.value == now.state.value:
            return Done(f"dry run: already {now.state}")
        commands = await device.commands(outlet.number, action)
    await _note(ctx, "would_send", outlet, commands)
    return Done("dry run: nothing was sent")


async def _cycle(ctx: StepContext, outlet: Outlet) -> Done:
    """Have the PDU switch an outlet off and on; one that is off is switched on.

    The PDU does it by itself, not by two commands of ours: what is plugged in may be the switch through which it is
    reached. It is asked once, whatever happens; off and on again must be seen.
    """
    asked = ctx.memo.get("cycle_asked", False)
    async with open_pdu_of(ctx.tools, outlet.pdu) as device:
        now = await device.outlet(outlet.number)
        if not asked and now.state is PowerState.ON:
            await _remember(ctx, outlet, now.state, "off and on")
            await ctx.remember(cycle_asked=True)
            await _note_sent(ctx, outlet, await device.set_outlet(outlet.number, OutletAction.CYCLE))
            was_off, now = await _watch_cycle(device, outlet.number)
            if now.state is PowerState.ON and not was_off:
                raise StepFailed(f"{words_of(outlet)} accepted a cycle and was never seen off.")
    if now.state is PowerState.ON:
        await _save(ctx, outlet, now)
        return Done("on; whether it was off was not seen, for the task was interrupted" if asked else "")
    await switch_outlet(ctx, outlet, PowerState.ON)
    return Done("" if asked else "it was off")


async def _watch_cycle(device: PduDevice, index: int) -> tuple[bool, SeenOutlet]:
    until = asyncio.get_running_loop().time() + CYCLE_SECONDS
    unseen_until = asyncio.get_running_loop().time() + READ_BACK_SECONDS
    was_off = False
    while True:
        seen = await device.outlet(index)
        was_off = was_off or seen.state is PowerState.OFF
        now = asyncio.get_running_loop().time()
        if (was_off and seen.state is PowerState.ON) or now >= (until if was_off else unseen_until):
            return was_off, seen
        await asyncio.sleep(WATCH_EVERY)


async def read_all_outlets(ctx: StepContext, pdu: Pdu) -> Done:
    """Read all outlets of the PDU and write them down; those that are gone are marked."""
    async with open_pdu_of(ctx.tools, pdu) as device:
        info, outlets = await device.info(), await device.outlets()
    async with ctx.tools.db.write() as session:
        new = await pdus.save_discovery(session, pdu.id, info, outlets)
    return Done(f"{len(outlets)} outlets, {new or 'none'} of them new")


# --- the operations


async def load_pdu(session: AsyncSession, pdu_id: int) -> Pdu | None:
    """The PDU that a task works on."""
    return await session.get(Pdu, pdu_id)


SET_OUTLET = Operation(
    name="set_outlet",
    title="Switching of an outlet",
    subject_kind="server",
    load=servers.for_task,
    params=OutletWish,
    steps=(Step(change_outlet, undo=put_outlets_back, deadline=OUTLET_DEADLINE),),
)
SET_PDU_OUTLET = Operation(
    name="set_pdu_outlet",
    title="Switching of an outlet",
    subject_kind="pdu",
    load=load_pdu,
    params=OutletWish,
    steps=(Step(change_outlet, undo=put_outlets_back, deadline=OUTLET_DEADLINE),),
)
DISCOVER_PDU = Operation(
    name="discover_pdu",
    title="Discovery",
    subject_kind="pdu",
    load=load_pdu,
    params=NoParams,
    steps=(Step(read_all_outlets),),
)
OUTLET_OPERATIONS = (SET_OUTLET, SET_PDU_OUTLET, DISCOVER_PDU)
