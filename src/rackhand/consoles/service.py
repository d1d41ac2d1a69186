"""Who may do what with the console of a server, and what is written down of it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.consoles import leases, recording
from rackhand.consoles.broker import Broker, Consoles, Reason
from rackhand.consoles.recording import Line, Recorded
from rackhand.db import Database
from rackhand.errors import Conflict, Forbidden, NotFound
from rackhand.events.service import Actor, Subject, record
from rackhand.hardware.drivers import DRIVERS
from rackhand.hardware.errors import HardwareError
from rackhand.servers import queries
from rackhand.servers.bmc import open_server_bmc
from rackhand.servers.model import Server, ServerStatus
from rackhand.servers.service import SUBJECT
from rackhand.tasks.operation import Tools
from rackhand.users.model import User


@dataclass(frozen=True)
class Hit:
    """A recording, and the lines that a search found in it."""

    recorded: Recorded
    lines: list[Line] | None


def why_not(server: Server) -> str:
    """Why a server (its `bmc` is loaded) has no console; empty when it has one."""
    if server.bmc is None:
        return f"Server {server.id} has no BMC access. Add one: POST server/{server.id}/bmc."
    driver = DRIVERS.get(server.bmc.driver)
    if driver is None or not driver.has_console:
        title = server.bmc.driver if driver is None else driver.title
        return f"The BMC is spoken to over {title}, which gives no serial console here. IPMI does."
    return ""


def why_not_type(server: Server, user: User) -> str:
    """Why *user*, who may see *server*, may not type; empty when typing is allowed."""
    if user.is_admin:
        return ""
    if server.owner_id != user.id:
        return "This server is not yours."
    if server.is_suspended:
        return "The server is suspended: its console can be read alone."
    if server.status is ServerStatus.QUARANTINED:
        return "The server is in quarantine: its console can be read alone."
    return ""


async def open_console(
    consoles: Consoles, db: Database, server_id: int, *, user: User, actor: Actor
) -> Broker:
    """Open the console of a server for a viewer, who is yet to join; `close_console` writes down that it has left.

    Raises `NotFound`, and `Conflict` when it has none, or another process has it.
    """
    async with db.read() as session:
        server = await queries.by_id(session, server_id, visible_to=user)
    if words := why_not(server):
        raise Conflict(words)
    broker = await consoles.open(server)
    broker.check_room()
    async with db.write() as session:
        _record(session, server, "server.console_opened", "was opened by a viewer", actor)
    return broker


async def close_console(db: Database, broker: Broker, *, name: str, actor: Actor) -> None:
    """Write down that a viewer has left."""
    async with db.write() as session:
        subject = Subject(SUBJECT, broker.server_id, name, broker.owner_id)
        words = f"The serial console of {name} was closed by a viewer."
        record(session, "server.console_closed", words, subject=subject, actor=actor)


async def console_to_type_into(
    consoles: Consoles, session: AsyncSession, server_id: int, *, user: User
) -> Broker:
    """The console that *user* may type into; raises `NotFound`, `Forbidden`, and `Conflict` while none is open here."""
    server = await queries.by_id(session, server_id, visible_to=user)
    if words := why_not_type(server, user):
        raise Forbidden(words)
    broker = consoles.find(server_id)
    if broker is None or broker.owner_id != server.owner_id:
        raise Conflict(
            f"The console of server {server_id} is not open. Look at it first: GET server/{server_id}/console/stream."
        )
    return broker


async def end_console(tools: Tools, consoles: Consoles, server_id: int, *, admin: User, actor: Actor) -> None:
    """End the console of a server in whichever process has it, or, when none has, whoever has it in the BMC.

    Safe to repeat. Raises `Conflict` when there is no console, or the BMC does not free it.
    """
    async with tools.db.read() as session:
        server = await queries.by_id(session, server_id, visible_to=admin)
    if words := why_not(server):
        raise Conflict(words)
    broker = consoles.find(server_id)
    if broker is not None:
        await broker.end(Reason.ADMIN, "An administrator ended it.")
    elif not await leases.take_away(tools.db, server_id):
        try:
            async with open_server_bmc(tools, server) as bmc:
                await bmc.free_console()
        except HardwareError as error:
            raise Conflict(f"The console is not freed. {error}") from error
    async with tools.db.write() as session:
        _record(session, server, "server.console_ended", "was ended by an administrator", actor)


async def recordings_of(data: Path, server: Server, *, user: User, words: str = "") -> list[Hit]:
    """The recordings that *user* may see, the newest first: a customer those of its own time.

    With *words* those alone where they occur.
    """

    def look() -> list[Hit]:
        folder = recording.folder_of(data, server.id)
        found = [each for each in recording.recordings(folder) if user.is_admin or each.owner_id == user.id]
        if not words:
            return [Hit(each, None) for each in found]
        hits = [Hit(each, _search(folder, each.name, words)) for each in found]
        return [hit for hit in hits if hit.lines]

    return await asyncio.to_thread(look)


async def recording_of(data: Path, server: Server, name: str, *, user: User) -> Path:
    """The file of a recording; raises `NotFound` for what is not there or was somebody else's."""

    def look() -> Path | None:
        folder = recording.folder_of(data, server.id)
        path = recording.path_of(folder, name)
        if path is None or user.is_admin:
            return path
        return (
            path
            if any(e.name == name and e.owner_id == user.id for e in recording.recordings(folder))
            else None
        )

    path = await asyncio.to_thread(look)
    if path is None:
        raise NotFound(f"Server {server.id} has no recording {name[:40]!r}.")
    return path


def _search(folder: Path, name: str, words: str) -> list[Line]:
    path = recording.path_of(folder, name)
    return [] if path is None else recording.search(path, words)


def _record(session: AsyncSession, server: Server, kind: str, done: str, actor: Actor) -> None:
    subject = Subject(SUBJECT, server.id, server.name, server.owner_id)
    record(session, kind, f"The serial console of {server.name} {done}.", subject=subject, actor=actor)
