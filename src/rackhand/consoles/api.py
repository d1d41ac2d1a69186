"""Routes of serial consoles."""

import asyncio
import base64
from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from rackhand.consoles import recording, service
from rackhand.consoles.broker import Broker, Consoles, State
from rackhand.consoles.model import ConsoleLease
from rackhand.consoles.schemas import (
    ConsoleAnswer,
    InputAnswer,
    InputBody,
    RecordingAnswer,
    decode_input,
    line_row,
    recording_row,
)
from rackhand.db import utcnow
from rackhand.errors import Forbidden, NotFound, Unauthenticated
from rackhand.events.queries import last_notify
from rackhand.events.service import Actor
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import IdAnswer, ListAnswer, ObjectId, list_response, wire_time
from rackhand.servers import queries
from rackhand.tasks.operation import Tools
from rackhand.users.auth import CurrentUser, client_address, request_id
from rackhand.users.model import User

HEARTBEAT_SECONDS = 15.0
PIECE_BYTES = 32 * 1024

router = APIRouter(prefix="/dci/v3", tags=["consoles"], route_class=TransactionRoute)
# What must hold no transaction while it waits for a viewer or for a BMC.
live_router = APIRouter(prefix="/dci/v3", tags=["consoles"])


async def _consoles(request: Request) -> Consoles:
    consoles: Consoles = request.app.state.services.consoles
    return consoles


async def _tools(request: Request) -> Tools:
    services = request.app.state.services
    return Tools(services.db, services.vault, services.doors, services.settings)


async def _live_user(request: Request) -> User:
    """Who asks, looked up before the route (`app` puts that before all of them)."""
    user: User = request.state.user
    return user


async def _live_actor(request: Request, user: Annotated[User, Depends(_live_user)]) -> Actor:
    return Actor(user.id, user.email, client_address(request), request_id(request))


CurrentConsoles = Annotated[Consoles, Depends(_consoles)]
CurrentTools = Annotated[Tools, Depends(_tools)]
LiveUser = Annotated[User, Depends(_live_user)]
LiveActor = Annotated[Actor, Depends(_live_actor)]


@router.get("/server/{id}/console")
async def get_console(
    id: ObjectId, session: Session, user: CurrentUser, consoles: CurrentConsoles
) -> ConsoleAnswer:
    """Show whether a server has a serial console, and whether it is open."""
    server = await queries.by_id(session, id, visible_to=user)
    broker = consoles.find(id)
    state = "closed" if broker is None else str(broker.state)
    if broker is None:
        lease = await session.get(ConsoleLease, id)
        if lease is not None and lease.holder != consoles.holder and lease.lease_until > utcnow():
            state = "other_process"
    why = service.why_not(server)
    return ConsoleAnswer(
        id=id,
        state=state,
        is_supported=not why,
        why=why,
        may_type=not service.why_not_type(server, user),
        viewers=0 if broker is None else broker.viewers,
        opened_at=None if broker is None else wire_time(broker.opened_at),
        ends_at=None if broker is None else wire_time(broker.ends_at),
    )


@router.get("/server/{id}/console/log", response_model=ListAnswer)
async def list_recordings(
    request: Request,
    id: ObjectId,
    session: Session,
    user: CurrentUser,
    search: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """List what this process has recorded of a console, the newest first; `search` finds lines in it."""
    server = await queries.by_id(session, id, visible_to=user)
    data = request.app.state.services.settings.data
    found = await service.recordings_of(data, server, user=user, words=search.strip())
    rows = [recording_row(hit.recorded, hit.lines) for hit in found]
    return list_response(rows, len(rows), await last_notify(session))


@router.get("/server/{id}/console/log/{name}")
async def get_recording(
    request: Request, id: ObjectId, name: str, session: Session, user: CurrentUser
) -> RecordingAnswer:
    """Show a recording as lines of text."""
    server = await queries.by_id(session, id, visible_to=user)
    path = await service.recording_of(request.app.state.services.settings.data, server, name, user=user)
    lines = await asyncio.to_thread(lambda: [line_row(line) for line in recording.lines(path)])
    return RecordingAnswer(id=id, name=name, lines=lines)


@router.get("/server/{id}/console/log/{name}/cast", response_class=FileResponse)
async def download_recording(
    request: Request, id: ObjectId, name: str, session: Session, user: CurrentUser
) -> Response:
    """Give a recording as it was written, an asciicast of version 2."""
    server = await queries.by_id(session, id, visible_to=user)
    path = await service.recording_of(request.app.state.services.settings.data, server, name, user=user)
    return FileResponse(path, media_type="application/x-asciicast", headers={"cache-control": "no-store"})


@live_router.get("/server/{id}/console/stream", response_class=StreamingResponse)
async def stream_console(
    request: Request,
    id: ObjectId,
    user: LiveUser,
    actor: LiveActor,
    tools: CurrentTools,
    consoles: CurrentConsoles,
) -> Response:
    """Open the console, or join it, and send what comes out (server-sent events).

    `state` tells how it is, `output` holds bytes in base64 after what came last, `reset` says that the screen begins
    anew, `end` that the console has ended, and why; nothing follows that. `Last-Event-ID` continues after a broken
    connection.
    """
    broker = await service.open_console(consoles, tools.db, id, user=user, actor=actor)
    return StreamingResponse(
        _server_sent_events(request, broker, consoles, tools, actor),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


@live_router.post("/server/{id}/console/input")
async def type_into_console(
    id: ObjectId, user: LiveUser, tools: CurrentTools, consoles: CurrentConsoles, body: InputBody
) -> InputAnswer:
    """Type into a console that is open. Customers type into their own servers, unless those are suspended."""
    async with tools.db.read() as session:
        server = await queries.by_id(session, id, visible_to=user)
        data = decode_input(body.data)
        broker = await service.console_to_type_into(consoles, session, server.id, user=user)
    await broker.write(data, user_id=user.id)
    return InputAnswer(id=id, size=len(data))


@live_router.delete("/server/{id}/console")
async def end_console(
    id: ObjectId, user: LiveUser, actor: LiveActor, tools: CurrentTools, consoles: CurrentConsoles
) -> IdAnswer:
    """End a console for all its viewers, or, when none is open here, free it in the BMC. For administrators."""
    if not user.is_admin:
        raise Forbidden("Your role does not allow this function.")
    await service.end_console(tools, consoles, id, admin=user, actor=actor)
    return IdAnswer(id=id)


async def _server_sent_events(
    request: Request, broker: Broker, consoles: Consoles, tools: Tools, actor: Actor
) -> AsyncIterator[bytes]:
    stopping: asyncio.Event = request.app.state.services.stopping
    stopped = asyncio.create_task(stopping.wait())
    broker.join()
    try:
        async for message in _messages(request, broker, stopped):
            yield message
    finally:
        stopped.cancel()
        broker.leave()
        consoles.do_later(service.close_console(tools.db, broker, name=broker.name, actor=actor))


async def _messages(request: Request, broker: Broker, stopped: asyncio.Task[bool]) -> AsyncIterator[bytes]:
    position = _resumed(broker, request.headers.get("last-event-id", ""))
    if position is None:
        position = broker.ring.beginning
        yield _message("reset", {})
    told: State | None = None
    checked_at = monotonic()
    while not stopped.done():
        changed = broker.changed
        if told is not broker.state and broker.state is not State.ENDED:
            told = broker.state
            shown = {"state": told, "ends_at": wire_time(broker.ends_at), "viewers": broker.viewers}
            yield _message("state", shown)
        elif position < broker.ring.end:
            is_missing = position < broker.ring.start
            position = max(position, broker.ring.start)
            piece = broker.ring.after(position, PIECE_BYTES)
            position += len(piece)
            if is_missing:  # this viewer is slower than the console
                yield _message("reset", {})
            yield b"id: %s.%d\nevent: output\ndata: %s\n\n" % (
                broker.key.encode(), position, base64.b64encode(piece),
            )  # fmt: skip
        elif broker.ended is not None:
            yield _message("end", {"reason": broker.ended.reason, "message": broker.ended.message})
            return
        else:
            await _wait(changed, stopped)
            if monotonic() - checked_at >= HEARTBEAT_SECONDS:
                checked_at = monotonic()
                if not await _may_stay(request, broker):
                    return
                yield b": still here\n\n"


async def _wait(changed: asyncio.Event, stopped: asyncio.Task[bool]) -> None:
    waiting = asyncio.create_task(changed.wait())
    try:
        await asyncio.wait((waiting, stopped), timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _resumed(broker: Broker, last: str) -> int | None:
    """Where a viewer goes on who has seen a part of this session, None for anybody else."""
    key, _, number = last.partition(".")
    if key != broker.key or not (number.isascii() and number.isdigit() and len(number) < 19):  # noqa: PLR2004  # 64 bit
        return None
    position = int(number)
    return position if broker.ring.start <= position <= broker.ring.end else None


async def _may_stay(request: Request, broker: Broker) -> bool:
    """Whether the caller's session still lives, and the server is still to be seen by it."""
    services = request.app.state.services
    request.state.user = None  # asks for it anew
    try:
        async with services.db.read() as session:
            user = await services.authenticate(request, session)
            await queries.by_id(session, broker.server_id, visible_to=user)
    except (Unauthenticated, NotFound):
        return False
    return True


def _message(kind: str, data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(data))
