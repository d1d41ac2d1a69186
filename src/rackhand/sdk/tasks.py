"""Tasks: what goes on after a call has been answered."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from rackhand.sdk.calls import Call, Listing, Started, getting, listing, path_of, posting
from rackhand.sdk.rows import Key

PATH = "dci/v3/task"
OVER = ("done", "skipped")


@dataclass(frozen=True)
class Step:
    """A step of a task: pending, running, waiting, done, failed, cancelled, skipped, undoing, undone, undo_failed."""

    position: int
    name: str
    status: str
    attempts: int = 0
    progress: float | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None


@dataclass(frozen=True)
class Subject:
    """What a task works on."""

    kind: str
    id: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Duration:
    """How long a step took before: half of the runs and 95 % of the runs were done by then."""

    median_seconds: float
    p95_seconds: float
    samples: int = 0


@dataclass(frozen=True)
class Waiting:
    """For what an active task waits, since when, until when at most, and how long that normally takes."""

    reason: Annotated[str | None, Key("for")] = None
    step: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    normally: Duration | None = None


@dataclass(frozen=True)
class _Error:
    msg: str = ""


@dataclass(frozen=True)
class Task:
    """One run of an operation; `state` is queued, running, waiting, succeeded, failed or cancelled."""

    id: int
    name: str
    status: str
    state: str
    subject: Subject
    requested_by: str | None = None
    owner: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    waiting: Waiting | None = None
    steps: tuple[Step, ...] = ()
    result: Any = None
    problem: Annotated[_Error | None, Key("error")] = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or not, and whatever had to be undone is undone."""
        return self.finished_at is not None

    @property
    def succeeded(self) -> bool:
        """Whether it has ended well."""
        return self.is_over and self.state == "succeeded"

    @property
    def error(self) -> str:
        """The server's words for what went wrong; empty when nothing did."""
        return self.problem.msg if self.problem else ""

    @property
    def failed_step(self) -> Step | None:
        """The step that failed or was stopped."""
        return next((step for step in self.steps if step.status in {"failed", "cancelled"}), None)

    @property
    def current_step(self) -> Step | None:
        """The step at which it is."""
        name = self.waiting.step if self.waiting else None
        return next((step for step in self.steps if step.name == name), None)

    @property
    def done_share(self) -> float:
        """The part of the steps that is done, from 0 to 1, with what is known of the one at work."""
        if self.succeeded or not self.steps:
            return float(self.succeeded)
        done = sum(
            1.0 if step.status in OVER else min(1.0, (step.progress or 0.0) / 100) for step in self.steps
        )
        return done / len(self.steps)


def find(*, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0) -> Listing[Task]:
    """List tasks; a user sees those of its own servers."""
    return listing(PATH, Task, where=where, orderby=orderby, limit=limit, offset=offset)


def get(id: int) -> Call[Task]:
    """Show a task with its steps."""
    return getting(path_of(PATH, id), Task)


def cancel(id: int) -> Call[Started]:
    """Ask a task to stop; the answer comes before it did, so wait for its end."""
    return posting(path_of(PATH, id, "abort"), Started)
