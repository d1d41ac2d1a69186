"""Reading tasks, their steps, and how long steps normally take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from rackhand.db import AnySelect
from rackhand.errors import NotFound
from rackhand.http import words
from rackhand.http.lists import ListParams, Page, fetch_page
from rackhand.http.where import Field, FieldKind, Fields
from rackhand.tasks.model import ACTIVE_SQL, StepDuration, Task
from rackhand.users.model import User

SAMPLES = 200

FIELDS: Fields = {
    "id": Field(Task.id, FieldKind.INTEGER),
    "consul_id": Field(Task.id, FieldKind.INTEGER),
    "name": Field(Task.name, FieldKind.TEXT),
    "status": Field(Task.status, FieldKind.TEXT, words=words.TASK_STATUS_WHERE),
    "subject.kind": Field(Task.subject_kind, FieldKind.TEXT),
    "subject.id": Field(Task.subject_id, FieldKind.INTEGER),
    "subject.name": Field(Task.subject_name, FieldKind.TEXT),
    "server": Field(Task.subject_id, FieldKind.INTEGER),
    "owner": Field(Task.owner_id, FieldKind.INTEGER),
    "location_id": Field(Task.location_id, FieldKind.INTEGER),
    "requested_by": Field(Task.requested_by, FieldKind.TEXT),
    "created_at": Field(Task.created_at, FieldKind.TIME),
    "started_at": Field(Task.started_at, FieldKind.TIME),
    "finished_at": Field(Task.finished_at, FieldKind.TIME),
    "error": Field(Task.error, FieldKind.TEXT),
}

StepKey = tuple[str, str, str]  # operation, step, model of server


@dataclass(frozen=True)
class NormalDuration:
    """How long a step took before, in seconds: half of the runs and 95 % of the runs were done by then."""

    median: float
    p95: float
    samples: int


def _visible(query: AnySelect, viewer: User) -> AnySelect:
    return query if viewer.is_admin else query.where(Task.owner_id == viewer.id)


async def page(session: AsyncSession, params: ListParams, *, visible_to: User) -> Page[Task]:
    """Tasks with their steps; a user sees those of its own servers."""
    query = _visible(select(Task), visible_to).options(selectinload(Task.steps))
    return await fetch_page(session, query, params, FIELDS, tie_breaker=Task.id)


async def active(session: AsyncSession, *, visible_to: User, limit: int) -> Sequence[Task]:
    """Tasks that are not over, the newest first, with their steps, however many others there are.

    The condition is spelt as the index has it: SQLite uses a partial index for no bound value.
    """
    query = _visible(select(Task).where(text(f"task.{ACTIVE_SQL}")), visible_to)
    query = query.options(selectinload(Task.steps)).order_by(Task.id.desc()).limit(limit)
    return (await session.scalars(query)).all()


async def by_id(session: AsyncSession, task_id: int, *, visible_to: User) -> Task:
    """One task with its steps."""
    query = _visible(select(Task).where(Task.id == task_id), visible_to).options(selectinload(Task.steps))
    task: Task | None = (await session.scalars(query)).one_or_none()
    if task is None:
        raise NotFound(f"There is no task {task_id}.")
    return task


async def normal_durations(session: AsyncSession, tasks: Iterable[Task]) -> dict[StepKey, NormalDuration]:
    """How long the steps of active *tasks* took before on the same model of server, in one query."""
    keys = {(task.name, step.name, task.model) for task in tasks if task.is_active for step in task.steps}
    if not keys:
        return {}
    key = (StepDuration.operation, StepDuration.step, StepDuration.model)
    rank = func.row_number().over(partition_by=key, order_by=StepDuration.id.desc()).label("rank")
    recent = select(*key, StepDuration.seconds, rank).where(tuple_(*key).in_(keys)).subquery()
    found: dict[StepKey, list[float]] = {}
    for row in await session.execute(select(recent).where(recent.c.rank <= SAMPLES)):
        found.setdefault((row.operation, row.step, row.model), []).append(row.seconds)
    return {step_key: _normal(seconds) for step_key, seconds in found.items()}


def _normal(seconds: list[float]) -> NormalDuration:
    p95 = quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    return NormalDuration(round(median(seconds), 3), round(p95, 3), len(seconds))
