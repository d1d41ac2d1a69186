"""Writing history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import table_of, utcnow
from rackhand.events.model import Event
from rackhand.sqlite import BRIEF

_INSERT = insert(table_of(Event)).execution_options(**BRIEF)


@dataclass(frozen=True)
class Actor:
    """Who caused a change, and from where; without a user it was the program itself."""

    user_id: int | None = None
    email: str | None = None
    address: str | None = None
    request_id: str | None = None


SYSTEM = Actor()


@dataclass(frozen=True)
class Subject:
    """What a change happened to; `owner_id` is the user who may see it."""

    kind: str
    id: int | None
    name: str
    owner_id: int | None = None


def event_values(
    kind: str,
    message: str,
    *,
    subject: Subject,
    actor: Actor,
    task_id: int | None = None,
    data: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """An event as `record_all` takes it; *data* must hold no secret."""
    return {
        "at": utcnow(),
        "kind": kind,
        "message": message,
        "subject_kind": subject.kind,
        "subject_id": subject.id,
        "subject_name": subject.name,
        "owner_id": subject.owner_id,
        "actor_id": actor.user_id,
        "actor_email": actor.email,
        "address": actor.address,
        "request_id": actor.request_id,
        "task_id": task_id,
        "data": dict(data) if data else None,
    }


def record(
    session: AsyncSession,
    kind: str,
    message: str,
    *,
    subject: Subject,
    actor: Actor,
    task_id: int | None = None,
    data: Mapping[str, object] | None = None,
) -> None:
    """Add an event to the transaction of the change; *data* must hold no secret."""
    values = event_values(kind, message, subject=subject, actor=actor, task_id=task_id, data=data)
    session.add(Event(**values))


async def record_all(session: AsyncSession, events: Sequence[Mapping[str, object]]) -> None:
    """Add events to the transaction of the change in one statement, for changes that come by the hundred."""
    await session.execute(_INSERT, events)


async def delete_before(session: AsyncSession, moment: datetime) -> None:
    """Forget events that are older than *moment*."""
    await session.execute(delete(Event).where(Event.at < moment))
