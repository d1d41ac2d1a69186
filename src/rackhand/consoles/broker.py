"""One session with the console of a BMC, shared by everybody who looks at it in this process."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import structlog
from sqlalchemy import select

from rackhand.consoles import leases, recording
from rackhand.consoles.recording import Recording
from rackhand.db import utcnow
from rackhand.errors import Conflict
from rackhand.hardware.errors import HardwareError
from rackhand.hardware.interfaces import Console
from rackhand.servers import queries
from rackhand.servers.bmc import open_server_bmc
from rackhand.servers.model import Server
from rackhand.tasks.model import ACTIVE, Task
from rackhand.tasks.operation import Tools

KEPT_BYTES = 256 * 1024  # what a viewer who comes later still sees
LINGER = timedelta(seconds=10)  # after the last viewer, for one who only loads the page anew
LOOK_EVERY = timedelta(seconds=5)
WRITE_PATIENCE = timedelta(seconds=3)
MAX_VIEWERS = 100

log = structlog.get_logger()
Result = TypeVar("Result")


class State(StrEnum):
    """What a console is doing."""

    CONNECTING = "connecting"
    OPEN = "open"
    ENDED = "ended"


class Reason(StrEnum):
    """Why a console has ended."""

    FAILED = "failed"  # it could not be opened
    LOST = "lost"  # the BMC ended it, or is gone
    UNWATCHED = "unwatched"
    IDLE = "idle"
    TIME = "time"
    ADMIN = "admin"
    OWNER = "owner"  # the server is somebody else's now
    TAKEN = "taken"  # by another process
    STOPPING = "stopping"


@dataclass(frozen=True)
class Ended:
    """Why a console has ended, and what is said of it."""

    reason: Reason
    message: str


class Ring:
    """The last bytes of a stream without end, by their places in it."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.end = 0
        self._limit = limit
        self._data = bytearray()

    @property
    def start(self) -> int:
        """The place of the oldest byte that is kept."""
        return self.end - len(self._data)

    @property
    def beginning(self) -> int:
        """Where somebody begins to read who has seen nothing: at a line, when something is missing before."""
        if not self.start:
            return 0
        line = self._data.find(b"\n")
        return self.start + line + 1

    def append(self, data: bytes) -> None:
        """Add *data*, and drop what is too much."""
        self._data += data
        self.end += len(data)
        if len(self._data) > self._limit:
            del self._data[: len(self._data) - self._limit]

    def after(self, position: int, most: int) -> bytes:
        """At most *most* bytes from *position* on."""
        begin = max(0, position - self.start)
        return bytes(self._data[begin : begin + most])


class Broker:
    """Opens the console, keeps and records what comes out, and closes it when nobody needs it any more."""

    def __init__(self, tools: Tools, server: Server, *, holder: str, is_leftover: bool) -> None:
        """*is_leftover* says that a session of ours may still be open in the BMC: its process has died."""
        self.server_id = server.id
        self.owner_id = server.owner_id
        self.ring = Ring()
        self.state = State.CONNECTING
        self.ended: Ended | None = None
        self.opened_at = utcnow()
        self.key = f"{int(self.opened_at.timestamp() * 1000):x}"  # tells this session from those before
        self.changed = asyncio.Event()
        self.viewers = 0
        self.name = server.name
        self._tools = tools
        self._holder = holder
        self._is_leftover = is_leftover
        self._console: Console | None = None
        self._recording: Recording | None = None
        self._asked: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._begun = self._traffic_at = self._unwatched_since = self._renewed_at = monotonic()
        self._task_id: int | None = None
        self._typist: int | None = None
        self._writing = asyncio.Lock()
        self.running = asyncio.create_task(self._run(), name=f"console of server {server.id}")

    @property
    def ends_at(self) -> datetime:
        """When it is closed, whatever happens in it."""
        return self.opened_at + timedelta(minutes=self._tools.settings.console_minutes)

    def check_room(self) -> None:
        """Raise `Conflict` when there are as many viewers as there may be."""
        if self.viewers >= MAX_VIEWERS:
            raise Conflict(f"{MAX_VIEWERS} viewers look at the console of server {self.server_id} already.")

    def join(self) -> None:
        """Count a viewer."""
        self.viewers += 1

    def leave(self) -> None:
        """Count a viewer less."""
        self.viewers -= 1
        self._unwatched_since = monotonic()

    async def write(self, data: bytes, *, user_id: int) -> None:
        """Type *data*; raise `Conflict` when the console is not open, or takes nothing for `WRITE_PATIENCE`."""
        if self._console is None or self.state is not State.OPEN:
            raise Conflict(f"The console of server {self.server_id} is {self.state}.")
        if self._typist != user_id and self._recording is not None:
            self._typist = user_id
            self._record(lambda made: made.remark(f"user {user_id} types"))
        self._traffic_at = monotonic()
        try:
            async with asyncio.timeout(WRITE_PATIENCE.total_seconds()), self._writing:
                await self._console.write(data)
        except TimeoutError as error:
            words = f"The console of server {self.server_id} takes no input now: its BMC does not answer."
            raise Conflict(words) from error

    async def end(self, reason: Reason, message: str) -> None:
        """Close it, and return when that is done. Safe to repeat."""
        if not self._asked.done():
            self._asked.set_result(Ended(reason, message))
        await asyncio.wait({self.running})

    async def _run(self) -> None:
        ended = Ended(Reason.STOPPING, "The product stops.")
        try:
            ended = await self._serve()
        except HardwareError as error:
            ended = Ended(Reason.FAILED, str(error))
        except Exception:  # a supervisor: viewers are told, and may open it again
            log.exception("console failed", server=self.server_id)
            ended = Ended(Reason.FAILED, "The console failed. The log of the product says why.")
        finally:
            await asyncio.shield(self._finish(ended))

    async def _finish(self, ended: Ended) -> None:
        if self._recording is not None:
            self._record(lambda made: made.remark(ended.message))
        if self._recording is not None:
            self._recording.close()
        if ended.reason is not Reason.TAKEN:
            with suppress(Exception):  # the lease ends by itself
                await leases.give_back(self._tools.db, self.server_id, self._holder)
        self.ended, self.state = ended, State.ENDED
        self._notify()
        log.info("console closed", server=self.server_id, reason=ended.reason)

    async def _serve(self) -> Ended:
        try:
            console = await self._unless_asked(self._connect())
            return self._asked.result() if console is None else await self._attend(console)
        finally:
            if self._console is not None:
                await self._console.close()

    async def _attend(self, console: Console) -> Ended:
        self.state = State.OPEN
        self._notify()
        log.info("console opened", server=self.server_id)
        reading = asyncio.create_task(self._read(console))
        either: set[asyncio.Future[Any]] = {reading, self._asked}
        try:
            while True:
                await asyncio.wait(
                    either,
                    timeout=LOOK_EVERY.total_seconds(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if self._asked.done():
                    return self._asked.result()
                if reading.done():
                    reading.result()
                    words = await console.close()
                    return Ended(Reason.LOST, f"The BMC ended the console. {words}".strip())
                ended = self._over_time() or await self._look()
                if ended is not None:
                    return ended
        finally:
            reading.cancel()

    async def _unless_asked(self, work: Awaitable[Result]) -> Result | None:
        """The result of *work*, or None when the console is to end before."""
        working = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {working, self._asked}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return None if self._asked.done() else working.result()
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait({working})

    async def _connect(self) -> Console:
        async with self._tools.db.read() as session:
            server = await queries.for_task(session, self.server_id)
        if server is None:
            raise HardwareError(f"There is no server {self.server_id}.")
        async with open_server_bmc(self._tools, server) as bmc:
            if self._is_leftover:
                await bmc.free_console()
            self._console = await bmc.console()
        settings = self._tools.settings
        folder = recording.folder_of(settings.data, self.server_id)
        self._recording = Recording(folder, server_id=self.server_id, title=self.name, owner_id=self.owner_id)
        await asyncio.to_thread(
            recording.forget,
            folder,
            days=settings.console_retention_days,
            most_bytes=settings.console_recordings_mib * 2**20,
        )
        await self._note_task()
        return self._console

    async def _read(self, console: Console) -> None:
        while data := await console.read():
            self._traffic_at = monotonic()
            self.ring.append(data)
            self._record(partial(Recording.output, data=data))
            self._notify()

    def _record(self, write: Callable[[Recording], None]) -> None:
        """A disk that is full keeps nobody from the console."""
        if self._recording is None:
            return
        try:
            write(self._recording)
        except OSError as error:
            log.warning("console is not recorded", server=self.server_id, error=str(error))
            self._recording = None

    def _over_time(self) -> Ended | None:
        settings, now = self._tools.settings, monotonic()
        if now - self._begun > settings.console_minutes * 60:
            return Ended(Reason.TIME, f"It was open for {settings.console_minutes:g} minutes.")
        if now - self._traffic_at > settings.console_idle_minutes * 60:
            words = f"Nothing came out and nothing was typed for {settings.console_idle_minutes:g} minutes."
            return Ended(Reason.IDLE, words)
        if not self.viewers and now - self._unwatched_since > LINGER.total_seconds():
            return Ended(Reason.UNWATCHED, "Nobody looks at it.")
        return None

    async def _look(self) -> Ended | None:
        """Whether the server is still the same owner's and the lease still ours; note the task that runs."""
        try:
            async with self._tools.db.read() as session:
                owner = (
                    await session.execute(select(Server.owner_id).where(Server.id == self.server_id))
                ).one_or_none()
            if owner is None or owner[0] != self.owner_id:
                return Ended(Reason.OWNER, "The server has another owner now.")
            await self._note_task()
            if monotonic() - self._renewed_at > leases.RENEW_EVERY.total_seconds():
                if not await leases.renew(self._tools.db, self.server_id, self._holder):
                    return Ended(Reason.TAKEN, "An administrator ended it, or another process took it.")
                self._renewed_at = monotonic()
        except Exception:  # a supervisor: the database is asked again
            log.exception("console cannot look", server=self.server_id)
        return None

    async def _note_task(self) -> None:
        async with self._tools.db.read() as session:
            query = (
                select(Task.id, Task.name)
                .join(Server, Server.last_task_id == Task.id)
                .where(Server.id == self.server_id, Task.status.in_(ACTIVE))
            )
            task = (await session.execute(query)).one_or_none()
        number = None if task is None else task.id
        if number != self._task_id:
            words = "no task runs" if task is None else f"task {task.id} ({task.name}) runs"
            self._record(lambda made: made.remark(words))
            self._task_id = number

    def _notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Consoles:
    """The open consoles of a process."""

    def __init__(self, tools: Tools, *, holder: str) -> None:
        """*holder* names this process in leases."""
        self.holder = holder
        self._tools = tools
        self._brokers: dict[int, Broker] = {}
        self._opening = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    def find(self, server_id: int) -> Broker | None:
        """The console of a server, when it is open or being opened here."""
        broker = self._brokers.get(server_id)
        return None if broker is None or broker.state is State.ENDED else broker

    async def open(self, server: Server) -> Broker:
        """Return the console of *server*, opened when it was not; raise `Conflict` when another process has it."""
        async with self._opening:
            broker = self.find(server.id)
            if broker is not None and broker.owner_id == server.owner_id:
                return broker
            if broker is not None:
                await broker.end(Reason.OWNER, "The server has another owner now.")
            is_leftover = await leases.take(self._tools.db, server.id, self.holder)
            broker = Broker(self._tools, server, holder=self.holder, is_leftover=is_leftover)
            self._brokers[server.id] = broker
            broker.running.add_done_callback(partial(self._forget, broker))
            return broker

    def do_later(self, work: Awaitable[None]) -> None:
        """Do *work* even though whoever wants it is gone by then."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(
            *(broker.end(Reason.STOPPING, "The product stops.") for broker in list(self._brokers.values()))
        )
        if self._background:
            await asyncio.wait(self._background)

    def _forget(self, broker: Broker, _done: "asyncio.Task[None]") -> None:
        if self._brokers.get(broker.server_id) is broker:
            del self._brokers[broker.server_id]
