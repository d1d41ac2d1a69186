"""Tells waiting agents that there is something to do: one query for all of them, a few times a second."""

import asyncio
import contextlib

import structlog
from sqlalchemy import select

from rackhand.boot.model import AgentCommand, CommandState
from rackhand.db import Database

log = structlog.get_logger()

LOOK_EVERY = 0.2


class CommandBoard:
    """Where agents wait. Commands are queued by steps, which may run in other processes; so the table is looked at."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    async def wait(self, task_id: int, seconds: float) -> bool:
        """Return True when a command of *task_id* is queued, False when none was in time or nobody may wait."""
        if self._is_closed:
            return False
        event = asyncio.Event()
        self._waiting.setdefault(task_id, set()).add(event)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="agent command board")
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            others = self._waiting[task_id]
            others.discard(event)
            if not others:
                del self._waiting[task_id]
        return not self._is_closed

    def send_all_away(self) -> None:
        """Let everybody go who waits, and nobody wait any more: the listener is being closed."""
        self._is_closed = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking

    async def _look(self) -> None:
        """Look while somebody waits."""
        query = select(AgentCommand.task_id).where(AgentCommand.state == CommandState.QUEUED)
        while self._waiting:
            try:
                async with self._db.read() as session:
                    queued = (await session.scalars(query)).all()
            except Exception:  # a supervisor: the next look tries again
                log.exception("agent commands could not be read")
                queued = []
            for task_id in queued:
                for event in self._waiting.get(task_id, ()):
                    event.set()
            await asyncio.sleep(LOOK_EVERY)
