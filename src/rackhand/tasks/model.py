"""Tables of tasks: one row per run, one per step of it, one per worker process."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rackhand.db import Base, Id


class TaskStatus(StrEnum):
    """`queued -> running <-> waiting -> succeeded | failed | cancelled`; waiting holds no worker."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """State of one step; an undone step was taken back after a later one failed."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UNDOING = "undoing"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"


class Phase(StrEnum):
    """Direction in which a task walks its list of steps."""

    FORWARD = "forward"
    UNDO = "undo"


ACTIVE = (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.WAITING)
ACTIVE_SQL = "status IN ('queued', 'running', 'waiting')"


class Task(Base):
    """One run of an operation on a subject.

    `position` and `phase` are the cursor, `turn` counts the durable turns of the engine and fences off a worker that
    was believed dead: only the holder of the current turn writes. `outcome` is the answer of the turn before.
    """

    __tablename__ = "task"
    __table_args__ = (
        # The one lock of a server: a second operation on the same subject cannot be inserted.
        Index(
            "uq_task_active_subject",
            "subject_kind",
            "subject_id",
            unique=True,
            sqlite_where=text(ACTIVE_SQL),
            postgresql_where=text(ACTIVE_SQL),
        ),
        Index("ix_task_active", "status", sqlite_where=text(ACTIVE_SQL), postgresql_where=text(ACTIVE_SQL)),
        Index(None, "subject_kind", "subject_id", "id"),
        Index(None, "owner_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    uuid: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    params: Mapped[dict[str, Any]]
    subject_kind: Mapped[str]
    subject_id: Mapped[int] = mapped_column(Id)
    subject_name: Mapped[str]
    owner_id: Mapped[int | None] = mapped_column(Id)
    location_id: Mapped[int | None] = mapped_column(Id)
    model: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(default=TaskStatus.QUEUED)
    phase: Mapped[str] = mapped_column(default=Phase.FORWARD)
    position: Mapped[int] = mapped_column(default=0)
    turn: Mapped[int] = mapped_column(default=1)
    outcome: Mapped[dict[str, Any] | None]
    executor_id: Mapped[str | None]
    waiting_for: Mapped[str | None]
    waiting_since: Mapped[datetime | None]
    waiting_until: Mapped[datetime | None]
    requested_by_id: Mapped[int | None] = mapped_column(Id)
    requested_by: Mapped[str | None]
    address: Mapped[str | None]
    request_id: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    cancel_requested_at: Mapped[datetime | None]
    error: Mapped[str | None]
    memo: Mapped[dict[str, Any]] = mapped_column(default=dict)
    signals: Mapped[dict[str, Any]] = mapped_column(default=dict)

    steps: Mapped[list["TaskStep"]] = relationship(order_by="TaskStep.position", lazy="raise")

    @property
    def is_active(self) -> bool:
        """Whether the task still holds its subject."""
        return self.status in ACTIVE


class TaskStep(Base):
    """One step of a task: its times and its words."""

    __tablename__ = "task_step"
    __table_args__ = (
        Index("uq_task_step_position", "task_id", "position", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"))
    position: Mapped[int]
    name: Mapped[str]
    status: Mapped[str] = mapped_column(default=StepStatus.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    message: Mapped[str] = mapped_column(default="")
    progress: Mapped[int | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]


class StepDuration(Base):
    """How long a step took once on a model of server: what "normally" is computed from; outlives the task."""

    __tablename__ = "step_duration"
    __table_args__ = (
        Index(None, "operation", "step", "model", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    operation: Mapped[str]
    step: Mapped[str]
    model: Mapped[str]
    seconds: Mapped[float]


class WorkerSlot(Base):
    """A process that runs tasks; past `lease_until`, or when its process is gone, others take its tasks over."""

    __tablename__ = "worker_slot"

    executor_id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    process_started: Mapped[str]
    location: Mapped[str]
    started_at: Mapped[datetime]
    lease_until: Mapped[datetime]
