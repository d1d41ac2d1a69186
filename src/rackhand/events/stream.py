"""Live events: one reader per process asks the database and hands new events to all listeners.

The database is the only channel, so that it works with any number of processes.
"""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager

import structlog

from rackhand.db import Database
from rackhand.events import queries
from rackhand.events.model import Event

log = structlog.get_logger()

POLL_SECONDS = 0.5
# PostgreSQL hands out numbers before commit, so a lower number can appear after a higher one: look back this far.
LOOK_BACK = 256
QUEUE_SIZE = 1024


class EventHub:
    """Fans new events out; sleeps while nobody listens."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._listening = asyncio.Event()
        self._knows_newest = asyncio.Event()

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[asyncio.Queue[Event]]:
        """Give a queue of the events that are committed from now on; a listener that is too slow loses some."""
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_SIZE)
        self._listeners.add(queue)
        self._listening.set()
        try:
            await self._knows_newest.wait()
            yield queue
        finally:
            self._listeners.discard(queue)
            if not self._listeners:
                self._listening.clear()

    async def run(self) -> None:
        """Read and fan out until cancelled; a database that fails is asked again."""
        newest, seen = 0, frozenset[int]()
        while True:
            if not self._listening.is_set():
                self._knows_newest.clear()
                await self._listening.wait()
            try:
                if self._knows_newest.is_set():
                    newest, seen = await self._fan_out(newest, seen)
                else:
                    newest, seen = await self._look()
                    self._knows_newest.set()
            except Exception:  # a supervisor: listeners are served again when the database is back
                log.exception("events cannot be read")
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self) -> tuple[int, frozenset[int]]:
        async with self._db.read() as session:
            newest = await queries.last_notify(session)
            events = await queries.since(session, newest - LOOK_BACK, limit=LOOK_BACK)
        return newest, frozenset(event.id for event in events)

    async def _fan_out(self, newest: int, seen: AbstractSet[int]) -> tuple[int, frozenset[int]]:
        async with self._db.read() as session:
            events = await queries.since(session, newest - LOOK_BACK, limit=LOOK_BACK + QUEUE_SIZE)
        for event in events:
            if event.id not in seen:
                self._hand_out(event)
        ids = frozenset(event.id for event in events)
        return max(newest, *ids, 0), ids

    def _hand_out(self, event: Event) -> None:
        for queue in self._listeners:
            if not queue.full():
                queue.put_nowait(event)
