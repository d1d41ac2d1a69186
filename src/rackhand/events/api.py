"""Routes of the history.

Users record events too, so this slice stands below them: the caller is taken from the request, where `users.auth`,
which the application puts before these routes, has left it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from rackhand.db import Database
from rackhand.errors import NotFound, Unauthenticated
from rackhand.events import queries
from rackhand.events.model import Event
from rackhand.events.stream import LOOK_BACK, QUEUE_SIZE, EventHub
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import MAX_ID, ListAnswer, ObjectId, json_response, list_response, wire_time

KEEP_ALIVE_SECONDS = 15.0
REPLAY_PAGE = 1000

router = APIRouter(prefix="/dci/v3", tags=["events"], route_class=TransactionRoute)
stream_router = APIRouter(prefix="/dci/v3", tags=["events"])


class Viewer(Protocol):
    """Who asks."""

    id: int

    @property
    def is_admin(self) -> bool:
        """Whether everything may be seen."""


async def scope_of(request: Request) -> int | None:
    """The user whose events may be seen; None means all."""
    viewer: Viewer = request.state.user
    return None if viewer.is_admin else viewer.id


Scope = Annotated[int | None, Depends(scope_of)]


@router.get("/event", response_model=ListAnswer)
async def list_events(
    scope: Scope, session: Session, params: Annotated[ListParams, Depends(list_params)]
) -> Response:
    """List what happened: `where` takes `kind`, `subject.kind`, `subject.id`, `actor.email`, `task`, `at` and more."""
    page = await queries.page(session, params, owner_id=scope)
    rows = [event_row(event) for event in page.rows]
    return list_response(rows, page.size, await queries.last_notify(session))


@stream_router.get("/event/stream", response_class=StreamingResponse)
async def stream_events(
    request: Request, scope: Scope, since: Annotated[int | None, Query(ge=0, le=MAX_ID)] = None
) -> Response:
    """Send events as they happen (server-sent events); `Last-Event-ID` or `since` replays what was missed."""
    hub: EventHub = request.app.state.services.event_hub
    last = request.headers.get("last-event-id", "")
    replay_from = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else since  # noqa: PLR2004  # 64 bit
    return StreamingResponse(
        _server_sent_events(request, hub, scope, replay_from),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


@router.get("/event/{id}", response_model=dict[str, Any])
async def get_event(id: ObjectId, scope: Scope, session: Session) -> Response:
    """Show one event."""
    event = await session.get(Event, id)
    if event is None or (scope is not None and event.owner_id != scope):
        raise NotFound(f"There is no event {id}.")
    return json_response(event_row(event))


async def _server_sent_events(
    request: Request, hub: EventHub, scope: int | None, replay_from: int | None
) -> AsyncIterator[bytes]:
    services = request.app.state.services
    async with hub.listen() as queue:
        yield b": connected\n\n"
        replayed: deque[int] = deque(maxlen=LOOK_BACK + QUEUE_SIZE)  # some of these come out of the queue too
        if replay_from is not None:
            async for event in _events_after(services.db, replay_from):
                replayed.append(event.id)
                if scope is None or event.owner_id == scope:
                    yield _encode(event)
        checked_at = monotonic()
        while not services.stopping.is_set():
            new = await _next(queue, services.stopping)
            if monotonic() - checked_at >= KEEP_ALIVE_SECONDS:
                if not await _may_stay(request):
                    return
                checked_at = monotonic()
                yield b": still here\n\n"
            if new is not None and new.id not in replayed and (scope is None or new.owner_id == scope):
                yield _encode(new)


async def _events_after(db: Database, event_id: int) -> AsyncIterator[Event]:
    while True:
        async with db.read() as session:
            found = await queries.since(session, event_id, limit=REPLAY_PAGE)
        for event in found:
            yield event
        if len(found) < REPLAY_PAGE:
            return
        event_id = found[-1].id


async def _next(queue: asyncio.Queue[Event], stopping: asyncio.Event) -> Event | None:
    """The next event, or None when the server stops or nothing comes for a while."""
    getting, ending = asyncio.create_task(queue.get()), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((getting, ending), timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return getting.result() if getting.done() else None
    finally:
        getting.cancel()
        ending.cancel()


async def _may_stay(request: Request) -> bool:
    """Whether the caller's session still lives: a stream outlasts a revoked token otherwise."""
    services = request.app.state.services
    request.state.user = None  # asks for it anew
    try:
        async with services.db.read() as session:
            await services.authenticate(request, session)
    except Unauthenticated:
        return False
    return True


def _encode(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        event.id,
        event.kind.encode(),
        msgspec.json.encode(event_row(event)),
    )


def event_row(event: Event) -> dict[str, object]:
    """One event on the wire."""
    return {
        "id": event.id,
        "at": wire_time(event.at),
        "kind": event.kind,
        "message": event.message,
        "subject": {"kind": event.subject_kind, "id": event.subject_id, "name": event.subject_name},
        "actor": {"id": event.actor_id, "email": event.actor_email},
        "address": event.address,
        "request_id": event.request_id,
        "task": event.task_id,
        "data": event.data or {},
    }
