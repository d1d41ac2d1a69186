"""Installing an operating system: boot the agent, write the image, tell the system what it is, start it, hear from it.

From `write_image` on nothing brings the old content of the disks back: a task that fails later leaves the server off,
without a system, or running the new one when that was complete. Passwords and scripts are in no parameter and no
command: they are sealed (`boot.task_secrets`) and forgotten as soon as the system has them.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot import agents, first_boot, task_secrets
from rackhand.boot.model import AgentSession
from rackhand.db import utcnow
from rackhand.deploy import steps
from rackhand.deploy.addressing import main_addresses, main_mac
from rackhand.deploy.cloud_init import FirstBootWork, Identity, seed_files
from rackhand.deploy.hardware import GB
from rackhand.deploy.images import path_of
from rackhand.deploy.layout import (
    MIB,
    DiskFact,
    Impossible,
    Layout,
    PartitionWish,
    RaidLevel,
    plan_layout,
    plan_whole_disk,
)
from rackhand.deploy.os_model import ImageFormat, OsImage
from rackhand.deploy.steps import ask_agent
from rackhand.events.service import SYSTEM, record
from rackhand.http.wire import wire_time
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.servers.service import subject_of
from rackhand.settings import Settings
from rackhand.tasks.operation import Done, Operation, Step, StepContext, StepFailed, Wait

Json = Mapping[str, Any]


class ImageFacts(BaseModel):
    """The image as it was when the installation was asked for."""

    id: int
    path: str
    format: ImageFormat
    size: int
    sha256: str
    unpacked_bytes: int

    @classmethod
    def of(cls, image: OsImage) -> "ImageFacts":
        """Take them from a ready image."""
        return cls(
            id=image.id, path=path_of(image), format=ImageFormat(image.format), size=image.size_bytes,
            sha256=image.sha256, unpacked_bytes=image.unpacked_bytes,
        )  # fmt: skip

    @property
    def unpacked_mib(self) -> int:
        """The room that it needs."""
        return -(-self.unpacked_bytes // MIB)


class InstallOs(BaseModel):
    """What is installed, as the template had it when it was asked for; nothing secret."""

    template_id: int
    template_name: str
    image_id: int
    image: ImageFacts
    host_name: str
    level: RaidLevel = RaidLevel.NONE
    partitions: list[PartitionWish] = []
    lvm: bool = False
    min_disk_gb: int = 0
    boot_modes: list[str] = ["bios", "uefi"]

    def plan(self, disks: list[DiskFact]) -> Layout:
        """How the disks are used; raises `Impossible`."""
        if self.image.format is ImageFormat.RAW_ZST:
            return plan_whole_disk(disks, image_mib=self.image.unpacked_mib, min_disk_gb=self.min_disk_gb)
        return plan_layout(
            disks,
            level=self.level,
            wishes=self.partitions,
            lvm=self.lvm,
            image_mib=self.image.unpacked_mib,
            min_disk_gb=self.min_disk_gb,
        )


class Order(BaseModel):
    """What is kept sealed while the task runs: who gets into the system, and what runs at its first boot."""

    password_hash: str
    ssh_keys: list[str]
    scripts: list[str]
    user_data: str
    nonce: str


def known_disks(server: Server) -> list[DiskFact]:
    """The disks of a server as the inventory has them."""
    return [
        DiskFact(disk.serial or f"disk {disk.id}", disk.kind, disk.size_gb * GB, disk.name or str(disk.id))
        for disk in server.disks
    ]


# --- steps


async def forget_order(ctx: StepContext, _server: Server) -> None:
    """Forget passwords and scripts, and wait for no system any more. Safe to repeat."""
    async with ctx.tools.db.write() as session:
        await task_secrets.forget(session, ctx.task_id)
        await first_boot.forget(session, ctx.task_id)


async def undo_power(ctx: StepContext, server: Server) -> None:
    """Have the server as it was found while its disks are; a new system runs on, a half one is not started."""
    if ctx.memo.get("is_overwritten"):
        await steps.clear_override(ctx, server)
    else:
        await steps.undo_power(ctx, server)


async def undo_boot(ctx: StepContext, server: Server) -> None:
    """Switch the server off, unless it has started its new system, which only did not say so."""
    if steps.DISK.key not in ctx.memo:
        await steps.undo_boot(ctx, server)


async def plan_disks(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the agent tell which disks there are, and decide which of them are used, and how. Touches nothing."""
    found = await ask_agent(ctx, "inventory", words="the inventory")
    if isinstance(found, Wait):
        return found
    params = _params(ctx)
    mode = str(found.get("boot_mode"))
    if mode not in params.boot_modes:
        raise StepFailed(f"The server has started by {mode}, and {params.template_name} does not.")
    known, seen = server.hardware_info.get("system", {}).get("serial"), found["board"].get("serial")
    if known and seen and known != seen:
        raise StepFailed(f"Another machine has answered: its serial number is {seen}, not {known}.")
    disks = [
        DiskFact(disk["serial"], disk["kind"], int(disk["size_bytes"]), disk["name"])
        for disk in found["disks"]
    ]
    try:
        layout = params.plan(disks)
    except Impossible as error:
        raise StepFailed(f"The disks do not do: {error}.") from error
    nics = [nic["mac"] for nic in found["nics"] if nic["link"]]
    await ctx.remember(layout=layout.as_json(), boot_mode=mode, linked=nics)
    names = [disk.name for disk in disks if disk.serial in layout.disks]
    return Done(f"{params.level} on {', '.join(names)}" if len(names) > 1 else f"on {names[0]}")


async def write_image(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the agent divide the disks and write the image; from here on the old content is gone. Has no undo."""
    image = _params(ctx).image
    async with ctx.tools.db.read() as session:
        base = await _base_url(ctx, session)
    if not ctx.memo.get("is_overwritten"):
        async with ctx.tools.db.write() as session:
            found = await queries.for_task(session, server.id)
            if found is not None:
                found.os_template = None
        await ctx.remember(is_overwritten=True)
    args = {
        "layout": ctx.memo["layout"],
        "image": {
            "url": f"{base}{image.path}",
            "size": image.size,
            "sha256": image.sha256,
            "format": image.format,
        },
    }
    answer = await ask_agent(ctx, "write_image", args, words="the writing of the image")
    return answer if isinstance(answer, Wait) else Done()


async def configure_system(ctx: StepContext, server: Server) -> Done | Wait:
    """Have the agent tell the system its name, addresses, keys and work, and make it bootable."""
    async with ctx.tools.db.write() as session:
        kept = await task_secrets.read(session, ctx.tools.vault, ctx.task_id)
        if "seed" not in kept:
            seed = await _seed(ctx, session, server, kept)
            await task_secrets.keep(session, ctx.tools.vault, ctx.task_id, {"seed": seed})
    args = {"layout": ctx.memo["layout"], "boot_mode": ctx.memo["boot_mode"], task_secrets.SECRETS: ["seed"]}
    answer = await ask_agent(ctx, "configure_system", args, words="the configuration of the system")
    return answer if isinstance(answer, Wait) else Done()


async def record_system(ctx: StepContext, server: Server) -> Done:
    """Write down what is installed, and forget what only the installation needed. Safe to repeat."""
    params = _params(ctx)
    async with ctx.tools.db.write() as session:
        await task_secrets.forget(session, ctx.task_id)
        found = await queries.for_task(session, server.id)
        if found is None or (found.os_template or {}).get("task") == ctx.task_id:
            return Done()
        found.os_template = {
            "id": params.template_id,
            "name": params.template_name,
            "hdd_raid": params.level,
            "host_name": params.host_name,
            "installed_at": wire_time(utcnow()),
            "started_at": None,
            "task": ctx.task_id,
        }
        record(
            session,
            "server.os_installed",
            f"{params.template_name} was installed on server {found.name}.",
            subject=subject_of(found),
            actor=SYSTEM,
            task_id=ctx.task_id,
            data={"template": params.template_id, "hdd_raid": params.level},
        )
    return Done()


async def record_first_boot(ctx: StepContext, server: Server) -> Done:
    """Write down that the system runs, and its SSH host keys, and leave no boot override. Safe to repeat."""
    await steps.clear_override(ctx, server)
    async with ctx.tools.db.write() as session:
        report = await first_boot.report_of(session, ctx.task_id)
        found = await queries.for_task(session, server.id)
        if found is not None and found.os_template is not None and report is not None:
            found.os_template = {**found.os_template, "started_at": wire_time(report.at)}
        keys = _host_keys(report.values) if report is not None else {}
        await first_boot.forget(session, ctx.task_id)
    if keys:
        await ctx.remember(result={**(ctx.memo.get("result") or {}), "ssh_host_keys": keys})
    return Done()


# --- what they need


def _params(ctx: StepContext) -> InstallOs:
    return InstallOs.model_validate(ctx.params.model_dump())


async def _base_url(ctx: StepContext, session: AsyncSession) -> str:
    """How the machine reaches this manager."""
    agent: AgentSession | None = await agents.session_of(session, ctx.task_id)
    known = "" if agent is None else agent.identity.get("url", "")
    base: str = ctx.tools.settings.boot_url.rstrip("/") or known
    if not base:
        raise StepFailed("It is not known how the machine reaches this manager. Set RACKHAND_BOOT_URL.")
    return base


async def _seed(ctx: StepContext, session: AsyncSession, server: Server, kept: Json) -> dict[str, str]:
    params, settings = _params(ctx), ctx.tools.settings
    if "nonce" not in kept:
        raise StepFailed("What this installation was given is gone.")
    order = Order.model_validate(kept)
    base = settings.first_boot_url.rstrip("/") or await _base_url(ctx, session)
    work = FirstBootWork(order.scripts, order.user_data, f"{base}/boot/first_boot/{order.nonce}")
    identity = Identity(f"rackhand-{ctx.task_uuid}", params.host_name, order.password_hash, order.ssh_keys)
    return seed_files(
        identity,
        work,
        mac=await main_mac(session, server, linked=ctx.memo.get("linked", ())),
        addresses=await main_addresses(session, server.id),
        resolvers=settings.resolvers,
    )


def _host_keys(values: Mapping[str, Any]) -> dict[str, str]:
    names = {"pub_key_ed25519": "ed25519", "pub_key_rsa": "rsa", "pub_key_ecdsa": "ecdsa"}
    return {
        short: str(values[name]) for name, short in names.items() if str(values.get(name, "N/A")) != "N/A"
    }


def bound(_params: InstallOs, settings: Settings) -> timedelta:
    """An installation that takes longer is ended by force."""
    return timedelta(hours=settings.install_hours)


LONG = timedelta(hours=24)
BMC_DEADLINE = timedelta(minutes=5)

INSTALL_OS = Operation(
    name="operation_os",
    title="Installation",
    subject_kind="server",
    load=queries.for_task,
    params=InstallOs,
    bound=bound,
    steps=(
        Step(steps.look_at_power, undo=forget_order),
        Step(steps.check_cables),
        Step(steps.reserve_boot, undo=steps.undo_reservation),
        Step(steps.switch_off, undo=undo_power),
        Step(steps.join_provisioning_vlan, undo=steps.undo_vlan, deadline=BMC_DEADLINE),
        Step(steps.boot_from_network, undo=undo_boot, deadline=LONG),
        Step(steps.await_agent, deadline=LONG),
        Step(plan_disks, deadline=LONG),
        Step(write_image, deadline=LONG),
        Step(configure_system, deadline=LONG),
        Step(record_system, cancellable=False),
        Step(steps.release_boot, cancellable=False),
        Step(steps.shut_down, deadline=BMC_DEADLINE, cancellable=False),
        Step(steps.leave_provisioning_vlan, deadline=BMC_DEADLINE, cancellable=False),
        Step(steps.boot_from_disk, deadline=BMC_DEADLINE, cancellable=False),
        Step(steps.await_first_boot, deadline=LONG),
        Step(record_first_boot, deadline=BMC_DEADLINE, cancellable=False),
    ),
)
