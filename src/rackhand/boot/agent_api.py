"""Routes for agents: hello, the next command, progress, result, log. A token of their own, never a user's."""

import asyncio
import re
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot import agents, task_secrets
from rackhand.boot.services import BootServices, CurrentBoot
from rackhand.db import utcnow
from rackhand.errors import Unauthenticated
from rackhand.http.wire import json_response
from rackhand.tasks.model import Task

router = APIRouter(prefix="/boot/agent")
log = structlog.get_logger()

LONGEST_WAIT = 60.0
MAX_LINES = 200

Word = Annotated[str, StringConstraints(max_length=255)]
Mac = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")]
CommandId = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_BEARER = re.compile(r"Bearer ([A-Za-z0-9_-]{1,128})")


class HelloBody(BaseModel):
    """What an agent says of itself."""

    protocol: int = Field(ge=1, le=1)
    nonce: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(repr=False)
    boot_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    macs: list[Mac] = Field(max_length=64)
    serial: Word = ""
    uuid: Word = ""
    boot_mode: Word = ""


class NextBody(BaseModel):
    """How many seconds to wait for something to do."""

    wait: float = Field(0, ge=0, le=LONGEST_WAIT)


class ProgressBody(BaseModel):
    """How far a command is."""

    command: CommandId
    percent: int | None = Field(None, ge=0, le=100)
    message: Word = ""


class ResultBody(BaseModel):
    """What came of a command."""

    command: CommandId
    ok: bool
    result: dict[str, Any] | None = None
    error: Annotated[str, StringConstraints(max_length=4000)] | None = None


class LogBody(BaseModel):
    """Lines for the log."""

    lines: list[Annotated[str, StringConstraints(max_length=2000)]] = Field(max_length=MAX_LINES)


async def _token(request: Request) -> str:
    found = _BEARER.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        raise Unauthenticated("A token is missing.")
    return found[1]


Token = Annotated[str, Depends(_token)]


async def _wake(boot: BootServices, session: AsyncSession, task_id: int, signal: str) -> None:
    """Have the task look again."""
    task = await session.get(Task, task_id)
    if task is not None:
        await boot.engine.signal(session, task, signal, utcnow().isoformat())


@router.post("/hello")
async def hello(request: Request, boot: CurrentBoot, body: HelloBody) -> Response:
    """Let an agent in that knows the nonce of its boot; the token signs what it says from now on."""
    address = request.client.host if request.client else ""
    greeting = agents.Greeting(
        boot_id=body.boot_id,
        macs=tuple(body.macs),
        serial=body.serial,
        uuid=body.uuid,
        boot_mode=body.boot_mode,
        address=address,
        url=str(request.base_url).rstrip("/"),
    )
    async with boot.db.write() as session:
        reservation, token = await agents.greet(session, body.nonce, greeting)
        await _wake(boot, session, reservation.task_id, "agent")
        log.info("agent said hello", server=reservation.server_id, task=reservation.task_id, address=address)
    return json_response({"token": token})


@router.post("/next")
async def next_command(boot: CurrentBoot, token: Token, body: NextBody) -> Response:
    """Wait for a command; `{"command": null}` when there is none in time."""
    end = asyncio.get_running_loop().time() + body.wait
    while True:
        async with boot.db.write() as session:
            agent = await agents.by_token(session, token)
            agents.touch(agent)
            found = await agents.next_command(session, agent)
            if found.has_lost:
                await _wake(boot, session, agent.task_id, "command")
            command = found.command
            if command is not None:
                args = await task_secrets.fill_in(session, boot.vault, command.task_id, command.args)
        if command is not None:
            return json_response({"command": {"id": command.id, "kind": command.kind, "args": args}})
        left = end - asyncio.get_running_loop().time()
        if left <= 0 or boot.stopping.is_set() or not await boot.board.wait(agent.task_id, left):
            return json_response({"command": None})


@router.post("/progress")
async def progress(boot: CurrentBoot, token: Token, body: ProgressBody) -> Response:
    """Show progress; `wanted` false tells the agent to stop."""
    async with boot.db.write() as session:
        agent = await agents.by_token(session, token)
        agents.touch(agent)
        wanted = await agents.note_progress(
            session, agent, body.command, percent=body.percent, message=body.message
        )
    return json_response({"wanted": wanted})


@router.post("/result")
async def result(boot: CurrentBoot, token: Token, body: ResultBody) -> Response:
    """Keep an outcome; the same again is harmless."""
    async with boot.db.write() as session:
        agent = await agents.by_token(session, token)
        is_news = await agents.finish(
            session, agent, body.command, ok=body.ok, result=body.result, error=body.error
        )
        if is_news:
            await _wake(boot, session, agent.task_id, "command")
            log.info("agent finished", task=agent.task_id, command=body.command, ok=body.ok)
    return json_response({})


@router.post("/log")
async def add_log(boot: CurrentBoot, token: Token, body: LogBody) -> Response:
    """Keep lines."""
    async with boot.db.write() as session:
        agents.add_log(await agents.by_token(session, token), body.lines)
    return json_response({})
