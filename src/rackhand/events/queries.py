"""Reading history."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import id_in
from rackhand.events.model import Event
from rackhand.http.lists import ListParams, Page, fetch_page
from rackhand.http.where import Field, FieldKind, Fields

FIELDS: Fields = {
    "id": Field(Event.id, FieldKind.INTEGER),
    "at": Field(Event.at, FieldKind.TIME),
    "kind": Field(Event.kind, FieldKind.TEXT),
    "message": Field(Event.message, FieldKind.TEXT),
    "subject.kind": Field(Event.subject_kind, FieldKind.TEXT),
    "subject.id": Field(Event.subject_id, FieldKind.INTEGER),
    "subject.name": Field(Event.subject_name, FieldKind.TEXT),
    "actor.id": Field(Event.actor_id, FieldKind.INTEGER),
    "actor.email": Field(Event.actor_email, FieldKind.TEXT),
    "address": Field(Event.address, FieldKind.TEXT),
    "request_id": Field(Event.request_id, FieldKind.TEXT),
    "task": Field(Event.task_id, FieldKind.INTEGER),
}


async def last_notify(session: AsyncSession) -> int:
    """The number of the newest event: it grows with every change."""
    return (await session.scalar(select(func.max(Event.id)))) or 0


async def page(session: AsyncSession, params: ListParams, *, owner_id: int | None) -> Page[Event]:
    """Events, oldest first unless asked otherwise; with *owner_id* those of one user's objects only."""
    query = _visible(select(Event), owner_id)
    return await fetch_page(session, query, params, FIELDS, tie_breaker=Event.id)


async def latest(session: AsyncSession, *, limit: int) -> Sequence[Event]:
    """The newest events, the newest first, without counting the others."""
    return (await session.scalars(select(Event).order_by(Event.id.desc()).limit(limit))).all()


async def last_at(
    session: AsyncSession, kind: str, *, subject_kind: str, subject_ids: Sequence[int]
) -> Mapping[int, datetime]:
    """When an event of *kind* happened for the last time, by subject; those to whom it never did are not named."""
    query = (
        select(Event.subject_id, func.max(Event.at).label("at"))
        .where(Event.subject_kind == subject_kind, id_in(Event.subject_id, subject_ids), Event.kind == kind)
        .group_by(Event.subject_id)
    )
    return {row.subject_id or 0: row.at for row in await session.execute(query)}


async def since(session: AsyncSession, event_id: int, *, limit: int) -> Sequence[Event]:
    """Events with higher numbers than *event_id*, in order."""
    query = select(Event).where(Event.id > event_id).order_by(Event.id).limit(limit)
    return (await session.scalars(query)).all()


def _visible(query: Select[Event], owner_id: int | None) -> Select[Event]:
    return query if owner_id is None else query.where(Event.owner_id == owner_id)
