"""Tasks on the wire."""

from collections.abc import Mapping

from rackhand.http import words
from rackhand.http.wire import wire_time
from rackhand.tasks.model import StepStatus, Task, TaskStep
from rackhand.tasks.queries import NormalDuration, StepKey

_SHOWN = {StepStatus.RUNNING, StepStatus.WAITING, StepStatus.UNDOING}


def step_row(step: TaskStep) -> dict[str, object]:
    """A step: its state, its times, its words."""
    return {
        "position": step.position,
        "name": step.name,
        "status": step.status,
        "attempts": step.attempts,
        "progress": step.progress,
        "message": step.message,
        "started_at": wire_time(step.started_at),
        "finished_at": wire_time(step.finished_at),
        "deadline_at": wire_time(step.deadline_at),
    }


def task_row(task: Task, normal: Mapping[StepKey, NormalDuration]) -> dict[str, object]:
    """A task; `id` and `consul_id` are the same number, so that either lookup works (api-facts 4).

    `result` is what it found; a step keeps that in the memo.

    A key `error` is there only when there is one: some clients look for the bare word.
    """
    row: dict[str, object] = {
        "id": task.id,
        "consul_id": task.id,
        "name": task.name,
        "status": words.TASK_STATUS[task.status],
        "state": task.status,
        "subject": {"kind": task.subject_kind, "id": task.subject_id, "name": task.subject_name},
        "owner": task.owner_id,
        "requested_by": task.requested_by,
        "created_at": wire_time(task.created_at),
        "started_at": wire_time(task.started_at),
        "finished_at": wire_time(task.finished_at),
        "cancel_requested_at": wire_time(task.cancel_requested_at),
        "waiting": _waiting(task, normal),
        "steps": [step_row(step) for step in task.steps],
        "result": task.memo.get("result"),
    }
    if task.error:
        row["error"] = {"code": 0, "msg": task.error}
        row["defer_reason"] = task.error
    return row


def _waiting(task: Task, normal: Mapping[StepKey, NormalDuration]) -> dict[str, object] | None:
    """For what an active task waits, since when, until when at most, and how long that normally takes."""
    if not task.is_active:
        return None
    current = next((step for step in task.steps if step.status in _SHOWN), None)
    usual = normal.get((task.name, current.name, task.model)) if current else None
    return {
        "for": task.waiting_for or (current.name if current else "a worker"),
        "step": current.name if current else None,
        "since": wire_time(task.waiting_since or (current.started_at if current else task.created_at)),
        "until": wire_time(current.deadline_at if current else None),
        "normally": None
        if usual is None
        else {"median_seconds": usual.median, "p95_seconds": usual.p95, "samples": usual.samples},
    }
