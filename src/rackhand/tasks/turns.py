"""One turn of a task: which step its row calls next, and what the answer makes of the row.

Nothing here waits or talks to a device; every function works on a task that is locked by the caller's transaction.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import RackhandError
from rackhand.events import service as events
from rackhand.events.service import SYSTEM, Actor
from rackhand.hardware.errors import HardwareError, Retryable
from rackhand.tasks.model import Phase, StepDuration, StepStatus, Task, TaskStatus, TaskStep
from rackhand.tasks.operation import Done, Operation, Step, StepFailed, Wait

log = structlog.get_logger()

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
OVER = {"over": True, "seconds": 0.0}
AGAIN = {"over": False, "seconds": 0.0}

Answer = Done | Wait | Exception


@dataclass(frozen=True)
class Call:
    """The step to call, forward or to take it back."""

    step: Step
    row: TaskStep
    is_undo: bool


def begin(
    session: AsyncSession, task: Task, operation: Operation[Any] | None, *, bound: timedelta | None = None
) -> Call | None:
    """Move to the step at the cursor and write down that it is called; None when the turn is over without a call.

    A task that has gone forward for *bound* in all fails here, whatever step it is at.
    """
    now = utcnow()
    task.started_at = task.started_at or now
    task.status = TaskStatus.RUNNING
    if task.phase == Phase.FORWARD and task.cancel_requested_at is not None and _may_stop(task, operation):
        _turn_back(task, StepStatus.CANCELLED)
    if task.phase == Phase.UNDO:
        return _begin_undo(session, task, operation, now)
    if task.position >= len(task.steps):
        _finish(session, task, operation)
        return None
    row = task.steps[task.position]
    step = operation.step(row.name) if operation else None
    until = None if bound is None else task.started_at + bound
    if bound is not None and until is not None and now >= until:
        minutes = f"{bound.total_seconds() / 60:g} minutes"
        waited = f", while waiting for {task.waiting_for}" if task.waiting_for else ""
        _fail(session, task, operation, row, f"Ended by force after {minutes} at {row.name}{waited}.")
        task.turn += 1
        return None
    if step is None:
        _fail(
            session,
            task,
            operation,
            row,
            f"This version of the program has no step {row.name!r} of {task.name!r}.",
        )
        task.turn += 1
        return None
    if row.deadline_at is None:
        row.started_at, row.deadline_at = now, now + step.deadline
        if until is not None:
            row.deadline_at = min(row.deadline_at, until)
    row.status, row.attempts = StepStatus.RUNNING, row.attempts + 1
    return Call(step, row, is_undo=False)


def _begin_undo(
    session: AsyncSession, task: Task, operation: Operation[Any] | None, now: datetime
) -> Call | None:
    while task.position >= 0:
        row = task.steps[task.position]
        step = operation.step(row.name) if operation else None
        if step is not None and step.undo is not None:
            if row.status != StepStatus.UNDOING:
                row.status, row.attempts, row.deadline_at = StepStatus.UNDOING, 0, now + step.undo_deadline
            row.attempts += 1
            return Call(step, row, is_undo=True)
        task.position -= 1
    _finish(session, task, operation)
    return None


def _may_stop(task: Task, operation: Operation[Any] | None) -> bool:
    if task.position >= len(task.steps):
        return False
    row = task.steps[task.position]
    step = operation.step(row.name) if operation else None
    return step is None or step.cancellable or row.started_at is None


def end(session: AsyncSession, task: Task, operation: Operation[Any] | None, answer: Answer) -> None:
    """Write down what the call answered; `task.outcome` is what the turn answers to the engine."""
    row = task.steps[task.position]
    if task.phase == Phase.UNDO:
        _end_undo(session, task, operation, row, answer)
    elif isinstance(answer, Done):
        _end_step(session, task, operation, row, answer)
    elif isinstance(answer, Wait):
        if _is_past(row):
            _fail(
                session, task, operation, row, f"Gave up by {_clock(row)}, still waiting for {answer.reason}."
            )
        else:
            _wait(task, row, StepStatus.WAITING, answer.reason, answer.every.total_seconds())
    elif isinstance(answer, Retryable):
        if _is_past(row):
            words = f"Gave up after {row.attempts} attempts by {_clock(row)}: {answer}"
            _fail(session, task, operation, row, words)
        else:
            row.message = str(answer)
            _wait(task, row, StepStatus.WAITING, f"another attempt: {answer}", _retry_seconds(row))
    else:
        _fail(session, task, operation, row, _words(answer))
    task.turn += 1


def _end_step(
    session: AsyncSession, task: Task, operation: Operation[Any] | None, row: TaskStep, answer: Done
) -> None:
    now = utcnow()
    row.status, row.message, row.finished_at, row.progress = StepStatus.DONE, answer.message, now, None
    if row.started_at is not None:
        seconds = (now - row.started_at).total_seconds()
        log.info(
            "step finished", task=task.id, step=row.name, subject=task.subject_id, seconds=round(seconds, 3)
        )
        if not answer.message:  # one that found nothing to do says nothing of how long it takes
            session.add(StepDuration(operation=task.name, step=row.name, model=task.model, seconds=seconds))
    _go_on(task)
    task.position += 1
    if task.position >= len(task.steps):
        _finish(session, task, operation, is_turn=False)


def _fail(
    session: AsyncSession, task: Task, operation: Operation[Any] | None, row: TaskStep, words: str
) -> None:
    log.warning("step failed", task=task.id, step=row.name, subject=task.subject_id, error=words)
    task.error = words
    _turn_back(task, StepStatus.SKIPPED)
    row.status, row.message, row.finished_at = StepStatus.FAILED, words, utcnow()
    task.position = row.position  # it may have acted before it failed
    _go_on(task)
    if not _has_undo(task, operation):
        _finish(session, task, operation, is_turn=False)


def _end_undo(
    session: AsyncSession, task: Task, operation: Operation[Any] | None, row: TaskStep, answer: Answer
) -> None:
    if isinstance(answer, Retryable) and not _is_past(row):
        _wait(task, row, StepStatus.UNDOING, f"taking back {row.name}: {answer}", _retry_seconds(row))
        return
    if isinstance(answer, Exception):
        words = f"{row.name} could not be taken back: {_words(answer)}"
        task.error = f"{task.error or 'Cancelled.'} {words}"
        row.status, row.message = StepStatus.UNDO_FAILED, words
        log.error("undo failed", task=task.id, step=row.name, subject=task.subject_id, error=words)
    else:
        row.status = StepStatus.UNDONE
    row.finished_at = utcnow()
    _go_on(task)
    task.position -= 1
    if not _has_undo(task, operation):
        _finish(session, task, operation, is_turn=False)


def _turn_back(task: Task, rest: StepStatus) -> None:
    """Set the cursor to the last step that was begun; the others will not run any more."""
    task.phase = Phase.UNDO
    for row in task.steps[task.position :]:
        if row.started_at is None:
            row.status = rest
        elif row.status in {StepStatus.RUNNING, StepStatus.WAITING}:
            row.status, row.finished_at = StepStatus.CANCELLED, utcnow()
    begun = task.position < len(task.steps) and task.steps[task.position].started_at is not None
    if not begun:
        task.position -= 1


def _has_undo(task: Task, operation: Operation[Any] | None) -> bool:
    begun = task.steps[: task.position + 1]
    return operation is not None and any((step := operation.step(row.name)) and step.undo for row in begun)


def _finish(
    session: AsyncSession, task: Task, operation: Operation[Any] | None, *, is_turn: bool = True
) -> None:
    if task.phase == Phase.FORWARD:
        task.status = TaskStatus.SUCCEEDED
    else:
        task.status = TaskStatus.FAILED if task.error else TaskStatus.CANCELLED
    task.finished_at = utcnow()
    task.waiting_for = task.waiting_since = task.waiting_until = None
    task.outcome = OVER
    if is_turn:
        task.turn += 1
    title = operation.title if operation else task.name
    endings = {
        TaskStatus.SUCCEEDED: "succeeded.",
        TaskStatus.FAILED: f"failed: {task.error}",
        TaskStatus.CANCELLED: "was cancelled.",
    }
    words = f"{title} of {task.subject_name} {endings[TaskStatus(task.status)]}"
    record(session, task, f"task.{task.status}", words, SYSTEM)
    log.info("task finished", task=task.id, name=task.name, status=task.status, subject=task.subject_id)


def _go_on(task: Task) -> None:
    task.waiting_for = task.waiting_since = task.waiting_until = None
    task.outcome = AGAIN


def _wait(task: Task, row: TaskStep, status: StepStatus, reason: str, seconds: float) -> None:
    now = utcnow()
    if task.waiting_for != reason:
        task.waiting_for, task.waiting_since = reason, now
    task.waiting_until = row.deadline_at
    task.status, row.status = TaskStatus.WAITING, status
    left = (row.deadline_at - now).total_seconds() if row.deadline_at else seconds
    # The last call comes at the deadline, not before it.
    task.outcome = {"over": False, "seconds": max(0.01, min(seconds, left + 0.01))}


def _retry_seconds(row: TaskStep) -> float:
    return RETRY_SECONDS[min(row.attempts, len(RETRY_SECONDS)) - 1]


def _is_past(row: TaskStep) -> bool:
    return row.deadline_at is not None and utcnow() >= row.deadline_at


def _clock(row: TaskStep) -> str:
    return f"{row.deadline_at:%H:%M:%S} UTC" if row.deadline_at else "now"


def _words(error: Answer) -> str:
    if isinstance(error, RackhandError):
        return error.message
    if isinstance(error, HardwareError | StepFailed):
        return str(error)
    return f"Internal error ({type(error).__name__}); the log has the details."


def merged_memo(stored: dict[str, Any], left: dict[str, Any], began: frozenset[str]) -> dict[str, Any]:
    """Lay the memo that a call *left* over what is *stored*, without the keys that it *began* with and took out.

    Two workers may be at the same step: what one has noted before it acted must not be lost when the other, who found
    nothing left to do, ends the turn.
    """
    kept = {key: value for key, value in stored.items() if key in left or key not in began}
    return _laid_over(kept, left)


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        known = both.get(key)
        both[key] = _laid_over(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return both


def record(session: AsyncSession, task: Task, kind: str, message: str, actor: Actor) -> None:
    """Add an event about *task* to its subject's history."""
    subject = events.Subject(task.subject_kind, task.subject_id, task.subject_name, task.owner_id)
    events.record(
        session, kind, message, subject=subject, actor=actor, task_id=task.id, data={"operation": task.name}
    )
