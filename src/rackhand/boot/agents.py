"""Agents, and what steps ask of them: who may say hello, which command comes next, and what came of it.

A command is done once by one boot of a machine. When the machine is restarted in the middle, the command is lost, and
the step that asked for it decides whether to ask again.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot import reservations
from rackhand.boot.model import AgentCommand, AgentSession, BootReservation, CommandState
from rackhand.db import utcnow
from rackhand.errors import Forbidden, NotFound, Unauthenticated
from rackhand.servers.model import Nic
from rackhand.tasks.model import ACTIVE, Phase, StepStatus, Task, TaskStep

TOKEN_BYTES = 24
TOUCH_AFTER = timedelta(seconds=10)
LOG_TAIL = 16 * 1024
OPEN = (CommandState.QUEUED, CommandState.RUNNING)
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Greeting:
    """What an agent says of itself; *macs* in lower case with colons, *url* is how it reached this manager."""

    boot_id: str
    macs: tuple[str, ...]
    serial: str
    uuid: str
    boot_mode: str
    address: str
    url: str = ""


async def greet(session: AsyncSession, nonce: str, greeting: Greeting) -> tuple[BootReservation, str]:
    """Let an agent in; gives the reservation and a fresh token.

    A nonce belongs to the first boot that says it: that boot may say it again, another may not. Raises `Forbidden`
    for a nonce that is not the one of the last script, and for a machine that has none of the server's MAC addresses.
    """
    reservation = await reservations.by_nonce(session, nonce)
    if reservation is None:
        raise Forbidden("This nonce is not known, or not any more.")
    if reservation.boot_id not in {None, greeting.boot_id}:
        raise Forbidden("This nonce was used by another boot.")
    known = await session.scalars(select(Nic.mac).where(Nic.server_id == reservation.server_id))
    if not set(known) & set(greeting.macs):
        raise Forbidden("This machine has none of the MAC addresses of the server.")
    now = utcnow()
    reservation.boot_id, reservation.hello_at = greeting.boot_id, now
    await reservations.end_sessions(session, reservation.task_id)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session.add(
        AgentSession(
            server_id=reservation.server_id,
            task_id=reservation.task_id,
            token_hash=reservations.hash_secret(token),
            boot_id=greeting.boot_id,
            identity={
                "macs": list(greeting.macs),
                "serial": _storable(greeting.serial),
                "uuid": _storable(greeting.uuid),
                "boot_mode": _storable(greeting.boot_mode),
                "url": greeting.url,
            },
            address=greeting.address,
            log_tail="",
            created_at=now,
            last_seen_at=now,
        )
    )
    return reservation, token


async def by_token(session: AsyncSession, token: str) -> AgentSession:
    """The agent whose *token* it is, while its task is active; raise `Unauthenticated` otherwise."""
    query = (
        select(AgentSession)
        .join(Task, Task.id == AgentSession.task_id)
        .where(
            AgentSession.token_hash == reservations.hash_secret(token),
            AgentSession.ended_at.is_(None),
            Task.status.in_(ACTIVE),
        )
    )
    agent = (await session.scalars(query)).one_or_none()
    if agent is None or not reservations.is_secret(token, agent.token_hash):
        raise Unauthenticated("This token is not known, or not any more.")
    return agent


def touch(agent: AgentSession) -> None:
    """Note a sign of life."""
    if utcnow() - agent.last_seen_at >= TOUCH_AFTER:
        agent.last_seen_at = utcnow()


@dataclass(frozen=True)
class Next:
    """What an agent is to do, and whether a command was lost, which its step has to hear of."""

    command: AgentCommand | None
    has_lost: bool


async def next_command(session: AsyncSession, agent: AgentSession) -> Next:
    """Take the next command of an agent: the one it has already, else the oldest that is queued.

    One that an earlier boot was given and never finished is lost. A task that is being taken back asks for nothing.
    """
    query = (
        select(AgentCommand)
        .where(AgentCommand.task_id == agent.task_id, AgentCommand.state.in_(OPEN))
        .order_by(AgentCommand.created_at, AgentCommand.id)
        .with_for_update()
    )
    has_lost = False
    for command in (await session.scalars(query)).all():
        if command.state == CommandState.RUNNING and not await _is_of_this_boot(session, command, agent):
            command.state, command.finished_at = CommandState.LOST, utcnow()
            command.error, has_lost = "The machine was restarted in the middle of it.", True
        elif await _goes_forward(session, agent.task_id):
            command.started_at = command.started_at or utcnow()
            command.state, command.session_id = CommandState.RUNNING, agent.id
            return Next(command, has_lost)
    return Next(None, has_lost)


async def _is_of_this_boot(session: AsyncSession, command: AgentCommand, agent: AgentSession) -> bool:
    query = select(AgentSession.boot_id).where(AgentSession.id == command.session_id)
    return await session.scalar(query) == agent.boot_id


async def _goes_forward(session: AsyncSession, task_id: int) -> bool:
    phase = await session.scalar(select(Task.phase).where(Task.id == task_id))
    return phase == Phase.FORWARD


async def note_progress(
    session: AsyncSession, agent: AgentSession, command_id: str, *, percent: int | None, message: str
) -> bool:
    """Show how far a command is on its step; says whether it is still wanted."""
    command = await _command_of(session, agent, command_id)
    if command.state != CommandState.RUNNING:
        return False
    await session.execute(
        update(TaskStep)
        .where(
            TaskStep.task_id == agent.task_id,
            TaskStep.name == command.step,
            TaskStep.status.in_((StepStatus.RUNNING, StepStatus.WAITING)),
        )
        .values(progress=percent, message=message)
    )
    return await _goes_forward(session, agent.task_id)


async def finish(
    session: AsyncSession,
    agent: AgentSession,
    command_id: str,
    *,
    ok: bool,
    result: Mapping[str, Any] | None,
    error: str | None,
) -> bool:
    """Keep what came of a command; says whether it is news. The first outcome counts."""
    command = await _command_of(session, agent, command_id)
    if command.state not in OPEN:
        return False
    command.state = CommandState.DONE if ok else CommandState.FAILED
    command.result = None if result is None else _storable(dict(result))
    command.error, command.finished_at = _storable(error), utcnow()
    return True


def _storable(value: Any) -> Any:
    """Take out what no database keeps: U+0000 and halves of surrogate pairs, which firmware likes to say."""
    if isinstance(value, str):
        return UNSTORABLE.sub("", value)
    if isinstance(value, list):
        return [_storable(each) for each in value]
    if isinstance(value, dict):
        return {UNSTORABLE.sub("", key): _storable(each) for key, each in value.items()}
    return value


def add_log(agent: AgentSession, lines: Sequence[str]) -> None:
    """Keep the last words of an agent."""
    agent.log_tail = (agent.log_tail + "".join(f"{_storable(line)}\n" for line in lines))[-LOG_TAIL:]


async def _command_of(session: AsyncSession, agent: AgentSession, command_id: str) -> AgentCommand:
    query = select(AgentCommand).where(AgentCommand.id == command_id, AgentCommand.task_id == agent.task_id)
    command = (await session.scalars(query.with_for_update())).one_or_none()
    if command is None:
        raise NotFound(f"There is no command {command_id}.")
    return command


# --- what steps need


async def last_command(session: AsyncSession, task_id: int, step: str) -> AgentCommand | None:
    """The newest command of a step."""
    query = (
        select(AgentCommand)
        .where(AgentCommand.task_id == task_id, AgentCommand.step == step)
        .order_by(AgentCommand.attempt.desc())
        .limit(1)
    )
    return (await session.scalars(query)).one_or_none()


async def ask(
    session: AsyncSession, task_id: int, step: str, kind: str, args: Mapping[str, Any], *, attempt: int
) -> None:
    """Queue a command for the agent of a task. Safe to repeat: the same attempt is the same command."""
    try:
        async with session.begin_nested():
            session.add(
                AgentCommand(
                    id=f"{task_id}.{step}.{attempt}",
                    task_id=task_id,
                    step=step,
                    attempt=attempt,
                    kind=kind,
                    args=dict(args),
                    created_at=utcnow(),
                )
            )
            await session.flush()
    except IntegrityError:
        return


async def session_of(session: AsyncSession, task_id: int) -> AgentSession | None:
    """The agent that works for a task now."""
    query = (
        select(AgentSession)
        .where(AgentSession.task_id == task_id, AgentSession.ended_at.is_(None))
        .order_by(AgentSession.id.desc())
        .limit(1)
    )
    return (await session.scalars(query)).one_or_none()


async def last_seen(session: AsyncSession, task_id: int) -> datetime | None:
    """When the agent of a task gave a sign of life last."""
    agent = await session_of(session, task_id)
    return None if agent is None else agent.last_seen_at
