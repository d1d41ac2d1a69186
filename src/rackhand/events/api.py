"""Routes of the history.

Users record events too, so this slice stands below them: the caller is taken from the request, where `users.auth`, which
the application puts before these routes, has left it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from rackhand.errors import NotFound
from rackhand.events import queries
from rackhand.events.model import Event
from rackhand.events.stream import EventHub
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import MAX_ID, ListAnswer, ObjectId, json_response, list_response, wire_time

KEEP_ALIVE_SECONDS = 15.0

router = APIRouter(prefix="/dci/v3", tags=["events"], route_class=TransactionRoute)
stream_router = APIRouter(prefix="/dci/v3", tags=["events"])


class Viewer(Protocol):
    """Who asks."""

    id: int

    @property
    def is_admin(self) -> bool:
        """Whether everything may be seen."""


def scope_of(request: Request) -> int | None:
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
    async with hub.listen() as queue:
        yield b": connected\n\n"
        sent = 0
        if replay_from is not None:
            async with request.app.state.services.db.read() as session:
                for event in await queries.since(session, replay_from, limit=10_000):
                    sent = event.id
                    if scope is None or event.owner_id == scope:
                        yield _encode(event)
        while not request.app.state.services.stopping.is_set():
            try:
                event = await asyncio.wait_for(queue.get(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if event.id > sent and (scope is None or event.owner_id == scope):
                yield _encode(event)


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
