"""What operations on whole servers need of a server, and writing down what a diagnosis found."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.deploy.hardware import GB, changes_between, complaints, configuration_of, hardware_info
from rackhand.deploy.model import Erasure
from rackhand.errors import Conflict
from rackhand.events.service import SYSTEM, record
from rackhand.http.wire import wire_time
from rackhand.power.queries import outlets_of_server
from rackhand.servers.model import Disk, Nic, Server
from rackhand.servers.service import subject_of
from rackhand.tasks.model import Task
from rackhand.tasks.operation import StepFailed

Json = Mapping[str, Any]


def refuse_unbootable(server: Server) -> None:
    """Refuse what no network boot can be tried on."""
    if server.bmc is None:
        raise Conflict(f"Server {server.id} has no BMC access. Add one: POST server/{server.id}/bmc.")
    _refuse_unknown(server)


async def refuse_unbootable_by_hand(session: AsyncSession, server: Server) -> None:
    """Refuse what cannot be booted to have its BMC set up, be it by outlets or by somebody who stands before it.

    Without a BMC and outlets nobody can see that a customer's system is off before the ports are moved.
    """
    if server.bmc is None and server.owner_id is not None and not await outlets_of_server(session, server.id):
        raise Conflict(
            f"Server {server.id} has an owner, no BMC access and no outlet, so it cannot be seen to be off."
            f" Add an access: POST server/{server.id}/bmc."
        )
    _refuse_unknown(server)


def _refuse_unknown(server: Server) -> None:
    if not server.nics:
        raise Conflict(
            f"Server {server.id} has no network interface, so nobody would know it when it boots."
            f" Add one: POST server/{server.id}/nic."
        )


async def erasures_of(session: AsyncSession, server_id: int) -> Sequence[Erasure]:
    """The wipes of a server, the newest first."""
    query = select(Erasure).where(Erasure.server_id == server_id).order_by(Erasure.id.desc())
    return (await session.scalars(query)).all()


async def save_diagnosis(
    session: AsyncSession,
    server: Server,
    inventory: Json,
    speed: Json,
    *,
    task_id: int,
    problems: Sequence[str] = (),
) -> str:
    """Make the server's row, its NICs and its disks say what was found; gives the configuration. Safe to repeat.

    What is missing since the last diagnosis, disks that report a failure, and *problems* become the server's
    diagnostics error, which keeps it out of the stock. A network interface that is missing keeps its row, because
    cables hang on it. Raises `StepFailed` when nothing useful was found, or a MAC address belongs to another server.
    """
    configuration = configuration_of(inventory)
    if not configuration:
        raise StepFailed("The inventory names no processor.")
    if server.hardware_info.get("task") == task_id:
        return configuration
    await _refuse_foreign_macs(session, server, inventory)
    found = hardware_info(inventory)
    changes = changes_between(server.hardware_info, found)
    complained = [*complaints(found, changes), *problems]
    server.hardware_info = {
        **found,
        "changes": [change.as_json() for change in changes],
        "diagnosed_at": wire_time(utcnow()),
        "task": task_id,
    }
    server.perform_info = {**speed, "measured_at": wire_time(utcnow())}
    server.configuration = configuration
    server.diagnostics_error = "; ".join(complained) or None
    server.efi = found["boot_mode"] == "uefi"
    system = found["system"]
    server.serial = system["serial"] or server.serial
    server.model = " ".join(filter(None, (system["manufacturer"], system["model"]))) or server.model
    _merge_nics(server, found["nics"])
    _merge_disks(server, found["disks"])
    await session.flush()
    words = f"Server {server.name} was diagnosed: {configuration}."
    if changes:
        words += f" Changed: {'; '.join(map(str, changes))}."
    data: dict[str, object] = {"configuration": configuration, "changes": len(changes)}
    record(
        session,
        "server.diagnosed",
        words,
        subject=subject_of(server),
        actor=SYSTEM,
        task_id=task_id,
        data=data,
    )
    return configuration


async def note_failed_diagnosis(session: AsyncSession, server_id: int, task_id: int) -> None:
    """Write down that the diagnosis of a task failed; a cancelled one says nothing. Safe to repeat."""
    error = await session.scalar(select(Task.error).where(Task.id == task_id))
    server = await session.get(Server, server_id)
    if error and server is not None and server.hardware_info.get("task") != task_id:
        server.diagnostics_error = f"The diagnosis of task {task_id} failed: {error}"


async def _refuse_foreign_macs(session: AsyncSession, server: Server, inventory: Json) -> None:
    macs = [nic["mac"] for nic in inventory.get("nics") or []]
    query = (
        select(Nic.mac, Server.id, Server.name)
        .join(Server, Server.id == Nic.server_id)
        .where(Nic.mac.in_(macs), Nic.server_id != server.id)
    )
    for mac, other, name in await session.execute(query):
        raise StepFailed(
            f"MAC address {mac} was found in this machine and belongs to server {other} ({name})."
        )


def _merge_nics(server: Server, found: list[Json]) -> None:
    known = {nic.mac: nic for nic in server.nics}
    for given in found:
        nic = known.get(given["mac"])
        if nic is None:
            nic = Nic(mac=given["mac"])
            server.nics.append(nic)
        nic.name = given.get("name") or nic.name or ""
        nic.speed_mbit = given.get("speed_mbit") or nic.speed_mbit


def _merge_disks(server: Server, found: list[Json]) -> None:
    """Rows keep their number while a drive keeps its serial number."""
    known = {disk.serial: disk for disk in server.disks if disk.serial}
    server.disks = [_disk(known.get(given.get("serial", "")) or Disk(), given) for given in found]


def _disk(disk: Disk, given: Json) -> Disk:
    disk.name, disk.kind, disk.model = given["name"], given["kind"], given["model"]
    disk.serial, disk.size_gb = given["serial"], int(given["size_bytes"]) // GB
    return disk
