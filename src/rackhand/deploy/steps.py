"""Steps that these operations share: boot a server into the agent, ask the agent, put the server back as it was.

A network boot is proven, never hoped for: it counts when the server has asked for its boot script (`boot_from_network`)
and the agent has said the nonce of that script (`await_agent`). What does not come is tried again in the ways of
`LADDER`, one after the other.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot import agents, first_boot, reservations
from rackhand.boot.ipxe import KERNEL, RAMDISK
from rackhand.boot.model import CommandState
from rackhand.boot.reservations import Image, Seen
from rackhand.db import utcnow
from rackhand.hardware.errors import Refused, Timeout, Unsupported
from rackhand.hardware.interfaces import AdminStatus, BootDevice, BootMode, PowerAction, PowerState
from rackhand.power.mains import enable_outlets, outlets_of, switch_off_outlets
from rackhand.power.operations import switch_chassis
from rackhand.power.outlets import put_outlets_back
from rackhand.power.service import save_state
from rackhand.servers.bmc import open_server_bmc
from rackhand.servers.model import Server
from rackhand.switches.changing import PortWish, compare_wiring, have_ports, put_back
from rackhand.switches.model import SwitchPort, VlanPurpose
from rackhand.switches.queries import vlan_of_purpose
from rackhand.switches.service import data_ports
from rackhand.tasks.model import Task
from rackhand.tasks.operation import Done, StepContext, StepFailed, Wait

log = structlog.get_logger()

LOOK_EVERY = timedelta(seconds=10)
RESERVED_FOR = timedelta(hours=24)
OVERRIDE_TRIES = 3
COMMAND_TRIES = 3


@dataclass(frozen=True)
class Rung:
    """A way to have a server boot from the network, or with another *device* from there."""

    words: str
    device: BootDevice = BootDevice.PXE
    says_mode: bool = False
    persistent: bool = False
    restarts_bmc: bool = False


# The mode is said from the first: IPMI has no word for "as the firmware is set", and without one it means legacy.
LADDER = (
    Rung("with an override for one boot", says_mode=True),
    Rung("with the override set again", says_mode=True),
    Rung("with the boot mode left to the BMC"),
    Rung("with an override for every boot", says_mode=True, persistent=True),
    Rung("after a restart of the BMC", says_mode=True, persistent=True, restarts_bmc=True),
)
DISK_LADDER = (
    Rung("without an override", device=BootDevice.NONE),
    Rung("with an override to the disk for one boot", device=BootDevice.DISK, says_mode=True),
    Rung(
        "with an override to the disk for every boot", device=BootDevice.DISK, says_mode=True, persistent=True
    ),
)


@dataclass(frozen=True)
class Way:
    """Rungs that lead somewhere; *key* is where the memo keeps how far a task is on them."""

    key: str
    ladder: tuple[Rung, ...]
    failure: str


NETWORK = Way("boot", LADDER, "The server could not be booted from the network.")
DISK = Way("disk_boot", DISK_LADDER, "The server was installed, and its system did not say that it runs.")


@dataclass(frozen=True)
class Sight:
    """What is seen of a boot: whether it *has_come*, else what is waited for, and for how many more seconds.

    *patience* is counted from *since*, or without one from the moment when the server was seen on.
    """

    has_come: bool
    reason: str = ""
    patience: float = 0.0
    since: datetime | None = None


async def lock_task(session: AsyncSession, task_id: int) -> Task:
    """The row of a task, locked: of two workers at the same step, the second finds what the first has written."""
    return await session.get_one(Task, task_id, with_for_update=True)


# --- what the server was like


async def look_at_power(ctx: StepContext, server: Server) -> Done:
    """Remember whether the server is on; the first look counts."""
    if "was_on" in ctx.memo:
        return Done()
    if server.bmc is None:
        await ctx.remember(was_on=False)
        return Done("there is no BMC to ask")
    at = utcnow()
    async with open_server_bmc(ctx.tools, server) as bmc:
        state = await bmc.power_state()
    if state is PowerState.UNKNOWN:
        raise Timeout("The BMC does not know whether the server is on.")
    async with ctx.tools.db.write() as session:
        await save_state(session, server.id, state, at)
    await ctx.remember(was_on=state is PowerState.ON)
    return Done()


# --- reservation


async def reserve_boot(ctx: StepContext, server: Server) -> Done:
    """Have the server boot the ramdisk from now on. Safe to repeat; undone by `release_boot`."""
    folder = ctx.tools.settings.data / "boot" / Image.RAMDISK
    missing = [name for name in (KERNEL, RAMDISK) if not (folder / name).is_file()]
    if missing:
        raise StepFailed(f"There is no ramdisk to boot: {folder / missing[0]} is missing.")
    async with ctx.tools.db.write() as session:
        await reservations.reserve(
            session,
            server,
            task_id=ctx.task_id,
            image=Image.RAMDISK,
            expires_at=ctx.task_ends_at or utcnow() + RESERVED_FOR,
        )
    return Done()


async def release_boot(ctx: StepContext, _server: Server) -> Done:
    """Have the server boot its disk from now on, and let its agent go. Safe to repeat."""
    async with ctx.tools.db.write() as session:
        await reservations.release(session, ctx.task_id)
    return Done()


async def undo_reservation(ctx: StepContext, server: Server) -> None:
    """See `release_boot`."""
    await release_boot(ctx, server)


# --- away from the customer's network, and back


async def check_cables(ctx: StepContext, server: Server) -> Done:
    """Compare the record of cables with what switches hear, while the server may still be heard. Touches nothing."""
    found = await _provisioning(ctx, server)
    return Done(found) if isinstance(found, str) else await compare_wiring(ctx, server, found[1])


async def switch_off(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the server off before its ports are moved: what ran on it is never in the provisioning network."""
    if not ctx.memo.get("is_touched"):
        await ctx.remember(is_touched=True)
    if server.bmc is None:
        return await switch_off_outlets(ctx, server)
    return await switch_chassis(ctx, server, PowerAction.OFF, PowerState.OFF)


async def join_provisioning_vlan(ctx: StepContext, server: Server) -> Done:
    """Have every data port of the server up and in the provisioning VLAN of its location, seen."""
    found = await _provisioning(ctx, server)
    return Done(found) if isinstance(found, str) else await have_ports(ctx, *found)


async def leave_provisioning_vlan(ctx: StepContext, _server: Server) -> Done:
    """Have every port as it was before, seen. Safe to repeat."""
    if "before" not in ctx.memo:
        return Done("no port was changed")
    await put_back(ctx)
    return Done()


async def undo_vlan(ctx: StepContext, server: Server) -> None:
    """See `leave_provisioning_vlan`."""
    await leave_provisioning_vlan(ctx, server)


async def _provisioning(ctx: StepContext, server: Server) -> tuple[Sequence[SwitchPort], PortWish] | str:
    """The server's ports and what they are to be, or why they stay as they are."""
    async with ctx.tools.db.read() as session:
        vlan = await vlan_of_purpose(session, server.location_id, VlanPurpose.PROVISIONING)
        ports = await data_ports(session, server.id)
    if vlan is None:
        return "the location has no provisioning VLAN"
    if not ports:
        return "the server has no data connection"
    return ports, PortWish(admin_status=AdminStatus.UP, access_vlan=vlan.vid)


# --- booting


async def boot_from_network(ctx: StepContext, server: Server) -> Done | Wait:
    """Restart the server until it asks for its boot script, climbing the ladder."""
    return await climb(
        ctx, server, NETWORK, _see_network_boot(has_come=lambda seen: seen.asked_at is not None)
    )


async def await_agent(ctx: StepContext, server: Server) -> Done | Wait:
    """Wait until the agent says the nonce of the script; when it does not come, climb the ladder further."""
    return await climb(
        ctx, server, NETWORK, _see_network_boot(has_come=lambda seen: seen.hello_at is not None)
    )


def _see_network_boot(*, has_come: Callable[[Seen], bool]) -> Callable[[StepContext], Awaitable[Sight]]:
    async def look(ctx: StepContext) -> Sight:
        async with ctx.tools.db.read() as session:
            seen = await reservations.seen(session, ctx.task_id)
        settings = ctx.tools.settings
        if seen.asked_at is None:
            return Sight(has_come(seen), "the server to ask for its boot script", settings.boot_patience)
        return Sight(has_come(seen), "the agent to say hello", settings.agent_patience, seen.asked_at)

    return look


async def boot_from_disk(ctx: StepContext, server: Server) -> Done | Wait:
    """Start the server from its disk; whether its system runs shows in `await_first_boot`."""
    return await climb(ctx, server, DISK, _see_nothing)


async def _see_nothing(_ctx: StepContext) -> Sight:
    return Sight(has_come=True, reason="the server to start")


async def await_first_boot(ctx: StepContext, server: Server) -> Done | Wait:
    """Wait until the installed system says its nonce; when it does not, climb the ladder to the disk."""
    return await climb(ctx, server, DISK, _see_first_boot)


async def _see_first_boot(ctx: StepContext) -> Sight:
    async with ctx.tools.db.read() as session:
        report = await first_boot.report_of(session, ctx.task_id)
    patience = ctx.tools.settings.first_boot_patience
    return Sight(report is not None, "the installed system to say that it runs", patience)


async def climb(
    ctx: StepContext, server: Server, way: Way, look: Callable[[StepContext], Awaitable[Sight]]
) -> Done | Wait:
    """Go on with the present rung, or climb to the next one.

    On a rung: off, seen; override, read back; everything of earlier boots forgotten; on, seen; then watch. How far it
    is stands in the memo before the next action, so that a crash repeats one action at most.
    """
    sight = await look(ctx)
    boot: dict[str, Any] = ctx.memo.setdefault(way.key, {"rung": 0, "stage": "bmc"})
    if server.bmc is None:
        return await _await_power(ctx, server, sight)
    if boot["stage"] == "watch" and sight.has_come:
        number = boot["rung"]
        return Done("" if not number else f"at attempt {number + 1}, {way.ladder[number].words}")
    while (stage := boot["stage"]) != "watch":
        try:
            wait = await STAGES[stage].act(ctx, server, way.ladder[boot["rung"]])
        except (Refused, Unsupported) as error:
            await _climb_on(ctx, way, boot, f"the BMC does not do it: {error}")
            continue
        if wait is not None:
            return wait
        boot |= {"stage": STAGES[stage].then, "since": utcnow().timestamp()}
        await ctx.remember(**{way.key: boot})
    return await _watch(ctx, way, boot, sight)


async def _await_power(ctx: StepContext, server: Server, sight: Sight) -> Done | Wait:
    """Boot a server without a BMC: by its outlets where it has some, else by somebody who is told what to do.

    Nothing here can choose what it boots from.
    """
    has_outlets = bool(await outlets_of(ctx, server))
    if "mains_on_at" not in ctx.memo and isinstance(answer := await enable_outlets(ctx, server), Wait):
        return answer
    if sight.has_come:
        return Done("by its outlets" if has_outlets else "by hand")
    how = (
        "its outlets are on, switch it on by hand if that is not enough"
        if has_outlets
        else "switch it off and on"
    )
    return Wait(
        f"{sight.reason}. It has no BMC access: {how}, and have it boot from the network", every=LOOK_EVERY
    )


async def _restart_bmc(ctx: StepContext, server: Server, rung: Rung) -> Wait | None:
    if not rung.restarts_bmc:
        return None
    if not ctx.memo.get("bmc_restarted"):
        await ctx.remember(bmc_restarted=True)
        async with open_server_bmc(ctx.tools, server) as bmc:
            await bmc.reset_bmc()
        return Wait("the BMC to come back", every=timedelta(seconds=5))
    return None


async def _switch_off(ctx: StepContext, server: Server, rung: Rung) -> Wait | None:
    answer = await switch_chassis(ctx, server, PowerAction.OFF, PowerState.OFF, note=f"{rung.words}: off")
    return answer if isinstance(answer, Wait) else None


async def _set_override(ctx: StepContext, server: Server, rung: Rung) -> Wait | None:
    """Set and read back. A BMC that reports something else is told again; what it did shows when the server boots."""
    mode = (BootMode.UEFI if server.efi else BootMode.LEGACY) if rung.says_mode else None
    async with ctx.tools.db.write() as session:
        await reservations.forget_boot(session, ctx.task_id)
    async with open_server_bmc(ctx.tools, server) as bmc:
        for _ in range(OVERRIDE_TRIES):
            await bmc.set_boot_device(rung.device, mode=mode, persistent=rung.persistent)
            try:
                if (await bmc.boot_override()).device is rung.device:
                    break
            except (Refused, Unsupported):
                break  # it cannot be asked
    return None


async def _switch_on(ctx: StepContext, server: Server, rung: Rung) -> Wait | None:
    answer = await switch_chassis(ctx, server, PowerAction.ON, PowerState.ON, note=f"{rung.words}: on")
    return answer if isinstance(answer, Wait) else None


@dataclass(frozen=True)
class Stage:
    """A part of a rung: what to do, and what comes then."""

    act: Callable[[StepContext, Server, Rung], Awaitable[Wait | None]]
    then: str


STAGES: Mapping[str, Stage] = {
    "bmc": Stage(_restart_bmc, "off"),
    "off": Stage(_switch_off, "override"),
    "override": Stage(_set_override, "on"),
    "on": Stage(_switch_on, "watch"),
}


async def _watch(ctx: StepContext, way: Way, boot: dict[str, Any], sight: Sight) -> Wait:
    since = boot["since"] if sight.since is None else sight.since.timestamp()
    left = sight.patience - (utcnow().timestamp() - since)
    if left <= 0 and not sight.has_come:
        await _climb_on(ctx, way, boot, f"waited in vain for {sight.reason}")
        return Wait(f"a boot {way.ladder[boot['rung']].words}", every=timedelta(0))
    return Wait(sight.reason, every=max(timedelta(0), min(timedelta(seconds=left), LOOK_EVERY)))


async def _climb_on(ctx: StepContext, way: Way, boot: dict[str, Any], why: str) -> None:
    number = boot["rung"]
    tried = [*boot.get("tried", []), f"{way.ladder[number].words}: {why}"]
    log.warning("boot failed", task=ctx.task_id, way=way.key, attempt=number + 1, why=why)
    if number + 1 >= len(way.ladder):
        raise StepFailed(f"{way.failure} " + "; ".join(tried) + ".")
    boot |= {"rung": number + 1, "stage": "bmc", "tried": tried}
    await ctx.remember(**{way.key: boot})


async def shut_down(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the server off: the ramdisk has nothing to lose. Nothing to do where it was never booted."""
    if "boot" not in ctx.memo:
        return Done("it was not booted")
    if server.bmc is None:
        return await switch_off_outlets(ctx, server)
    return await switch_chassis(ctx, server, PowerAction.OFF, PowerState.OFF, note="shut_down")


async def undo_boot(ctx: StepContext, server: Server) -> None:
    """See `shut_down`."""
    _until_done(await shut_down(ctx, server))


# --- back to where it was


async def return_to_disk(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the server as it was found, off or started from its disk, and no boot override left."""
    if not ctx.memo.get("is_touched"):
        return Done("it was not switched off")
    if server.bmc is None:
        return Done("there is no BMC: it stays as it is")
    await clear_override(ctx, server)
    if not ctx.memo.get("was_on"):
        return Done("left off, as it was found")
    return await switch_chassis(ctx, server, PowerAction.ON, PowerState.ON, note="return_to_disk")


async def clear_override(ctx: StepContext, server: Server) -> None:
    """Leave no boot override behind; once per task."""
    if ctx.memo.get("is_override_cleared"):
        return
    async with open_server_bmc(ctx.tools, server) as bmc:
        try:
            await bmc.set_boot_device(BootDevice.NONE)
        except (Refused, Unsupported) as error:
            log.warning("boot override not cleared", task=ctx.task_id, error=str(error))
    await ctx.remember(is_override_cleared=True)


async def undo_power(ctx: StepContext, server: Server) -> None:
    """See `return_to_disk`; a server without a BMC has its outlets as they were."""
    if server.bmc is None:
        await put_outlets_back(ctx, server)
    _until_done(await return_to_disk(ctx, server))


def _until_done(answer: Done | Wait) -> None:
    """An undo cannot wait; the engine repeats it while it raises what may pass."""
    if isinstance(answer, Wait):
        raise Timeout(f"Waiting for {answer.reason}.")


# --- asking the agent


async def ask_agent(
    ctx: StepContext, kind: str, args: Mapping[str, Any] | None = None, *, words: str
) -> dict[str, Any] | Wait:
    """Have the agent do one command for this step, and give what came of it, or a `Wait` for it. Safe to repeat.

    A command that was lost because the machine was restarted is asked for again. Raises `StepFailed` with the agent's
    words when it failed, and when the agent has been silent for too long.
    """
    async with ctx.tools.db.write() as session:
        command = await agents.last_command(session, ctx.task_id, ctx.step)
        is_lost = command is not None and command.state == CommandState.LOST
        if command is None or (is_lost and command.attempt < COMMAND_TRIES):
            attempt = 1 if command is None else command.attempt + 1
            await agents.ask(session, ctx.task_id, ctx.step, kind, args or {}, attempt=attempt)
            return Wait(words, every=LOOK_EVERY)
        last_seen = await agents.last_seen(session, ctx.task_id)
    if command.state == CommandState.DONE:
        return command.result or {}
    if command.state in {CommandState.FAILED, CommandState.LOST}:
        raise StepFailed(f"The agent did not manage {words}: {command.error}")
    return _listen(ctx, words, last_seen)


def _listen(ctx: StepContext, words: str, last_seen: datetime | None) -> Wait:
    """Wait on, unless the agent has been silent for too long.

    Its silence is counted from when this program first noticed it, for it may have been away itself.
    """
    patience = timedelta(seconds=ctx.tools.settings.agent_patience)
    now = utcnow()
    if last_seen is not None and now - last_seen < patience / 3:
        ctx.memo.pop("silent_from", None)
        return Wait(words, every=min(LOOK_EVERY, patience / 3))
    silent_from = datetime.fromtimestamp(ctx.memo.setdefault("silent_from", now.timestamp()), tz=now.tzinfo)
    if now - silent_from >= patience * 2 / 3:
        raise StepFailed(f"The agent fell silent during {words}; last heard {last_seen:%H:%M:%S} UTC.")
    return Wait(f"{words}, from an agent that is silent", every=min(LOOK_EVERY, patience / 3))
