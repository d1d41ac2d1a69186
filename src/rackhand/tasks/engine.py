"""The durable engine: enqueue, run, wait, signal, cancel, undo, take over. The only module that knows DBOS.

One DBOS workflow runs any task. It holds no state of its own: each of its turns calls the step at the cursor of
the task's row and stores the outcome there, fenced by the turn's number. A turn that runs again after a crash, or
on a second worker, finds its outcome in the row and acts no second time.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import structlog
from dbos import DBOS, DBOSClient, DBOSConfig, SetWorkflowID
from pydantic import BaseModel, ValidationError
from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.attributes import set_committed_value

from rackhand.db import after_commit, table_of, utcnow
from rackhand.errors import Busy, Conflict, RackhandError
from rackhand.events.service import SYSTEM, Actor, event_values, record_all
from rackhand.events.service import Subject as EventSubject
from rackhand.hardware.errors import HardwareError
from rackhand.sqlite import BRIEF
from rackhand.tasks import turns
from rackhand.tasks.model import (
    ACTIVE,
    Phase,
    StepDuration,
    StepStatus,
    Task,
    TaskStatus,
    TaskStep,
    WorkerSlot,
)
from rackhand.tasks.operation import Done, Operation, StepContext, StepFailed, Subject, Tools

log = structlog.get_logger()

LEASE = timedelta(seconds=20)
HEARTBEAT_SECONDS = 5.0
STOP_SECONDS = 3.0
UNSTARTED_AFTER = timedelta(seconds=5)
MAX_RUNNING_STEPS = 64
DURATIONS_KEPT = 200
WAKE = "wake"
WORKFLOW = "run_task"
# Workflows of older versions go on in newer ones: what they need stands in the task's row.
WORKFLOW_VERSION = "1"

_INSERT_TASK = insert(table_of(Task)).returning(table_of(Task).c.id).execution_options(**BRIEF)
_INSERT_STEPS = insert(table_of(TaskStep)).execution_options(**BRIEF)


def queue_of(location_id: int | None) -> str:
    """The queue of a location: its workers alone listen to it."""
    return f"location-{location_id or 0}"


class Engine:
    """Runs tasks in this process, or, with `runs_tasks=False`, hands them to worker processes."""

    def __init__(
        self,
        tools: Tools,
        operations: Sequence[Operation[Any]],
        *,
        runs_tasks: bool = True,
        location_id: int | None = None,
    ) -> None:
        """Take the operations that may run; with *location_id* only those of that location are run here."""
        self._tools = tools
        self._db = tools.db
        self._operations: Mapping[str, Operation[Any]] = {
            operation.name: operation for operation in operations
        }
        self.runs_tasks = runs_tasks
        self._location_id = location_id
        self._host = socket.gethostname()
        self.executor_id = f"{self._host}-{os.getpid()}-{secrets.token_hex(4)}"
        self._walking: set[str] = set()
        self._turns_running = 0
        self._stopping = False
        self._slots = asyncio.Semaphore(MAX_RUNNING_STEPS)
        self._client: DBOSClient | None = None
        self._workflow: Callable[[str, int], Coroutine[Any, Any, None]] | None = None
        self._queues: set[str] = set()
        self._heartbeat: asyncio.Task[None] | None = None
        self.heartbeat_at: float = monotonic()

    # --- asking for a task

    async def enqueue(
        self,
        session: AsyncSession,
        operation: Operation[Any],
        subject: Subject,
        *,
        actor: Actor,
        params: BaseModel | None = None,
        done: Sequence[str] = (),
    ) -> Task:
        """Add a task to the transaction of *session*; it starts when that commits.

        A subject that has an active task is `Busy`; the unique index decides races. *done* are the messages of the
        first steps, when the same transaction has taken them already.
        """
        await refuse_busy(session, operation.subject_kind, subject)
        values = _values(operation, subject, actor, params)
        task = Task(
            **values,
            status=TaskStatus.QUEUED,
            position=len(done),
            steps=[TaskStep(**step) for step in _step_values(operation, done, values["created_at"])],
        )
        try:
            async with session.begin_nested():
                session.add(task)
                await session.flush()
        except IntegrityError as error:
            winner = await active_task_of(session, operation.subject_kind, subject.id)
            if winner is None:
                raise Conflict(f"{subject.name} was taken by another task this moment. Try again.") from error
            raise _busy(subject, winner) from error
        subject.last_task_id = task.id
        turns.record(
            session, task, "task.queued", f"{operation.title} of {subject.name} was requested.", actor
        )
        after_commit(session, partial(self._submit, task.uuid, 1, queue_of(task.location_id)))
        return task

    async def complete(
        self,
        session: AsyncSession,
        operation: Operation[Any],
        subject: Subject,
        *,
        actor: Actor,
        params: BaseModel | None = None,
        done: Sequence[str],
        events: Sequence[Mapping[str, object]] = (),
    ) -> int:
        """Write down a task all of whose steps the transaction of *session* has taken itself; return its number.

        The caller holds the row of the subject locked and has seen no active task of it (`refuse_busy`), so the rule is
        that of `enqueue`. It is one of the few things that are asked for hundreds of times a second: no workflow is
        started and no object made. *events* are those of the change; they get the number of the task.
        """
        values = _values(operation, subject, actor, params)
        now = values["created_at"]
        values |= {
            "status": TaskStatus.SUCCEEDED,
            "position": len(done),
            "turn": len(done) + 1,
            "outcome": turns.OVER,
        }
        task_id: int = (
            await session.execute(_INSERT_TASK, {**values, "started_at": now, "finished_at": now})
        ).scalar_one()
        steps = _step_values(operation, done, now)
        await session.execute(_INSERT_STEPS, [{**step, "task_id": task_id} for step in steps])
        what = f"{operation.title} of {subject.name}"
        about = EventSubject(operation.subject_kind, subject.id, subject.name, subject.owner_id)
        told = partial(event_values, subject=about, data={"operation": operation.name})
        await record_all(
            session,
            [
                {**event, "task_id": task_id}
                for event in (
                    told("task.queued", f"{what} was requested.", actor=actor),
                    *events,
                    told("task.succeeded", f"{what} succeeded.", actor=SYSTEM),
                )
            ],
        )
        table = table_of(type(subject))
        last = update(table).where(table.c.id == subject.id).values(last_task_id=task_id)
        await session.execute(last.execution_options(**BRIEF))
        set_committed_value(subject, "last_task_id", task_id)
        after_commit(session, partial(_tell, task_id, operation.name, subject.id))
        return task_id

    async def signal(self, session: AsyncSession, task: Task, name: str, data: object) -> None:
        """Tell a task something (the agent said hello); *data* is JSON, kept in the row, the last of a name counts."""
        task.signals = {**task.signals, name: data}
        after_commit(session, partial(self._wake, task.uuid))

    async def cancel(self, session: AsyncSession, task: Task, *, actor: Actor) -> None:
        """Ask a task to stop: its steps are undone. Safe to repeat."""
        if not task.is_active:
            raise Conflict(f"Task {task.id} is over: {task.status}.")
        if task.cancel_requested_at is None:
            task.cancel_requested_at = utcnow()
            turns.record(
                session,
                task,
                "task.cancel_requested",
                f"Task {task.id} ({task.name}) was asked to stop.",
                actor,
            )
        after_commit(session, partial(self._wake, task.uuid))

    # --- the process

    async def start(self) -> None:
        """Launch DBOS on the running loop, take over what dead processes left, and keep a lease."""
        logging.getLogger("dbos").setLevel(logging.ERROR)
        url = self._tools.settings.workflow_database
        if url.startswith("sqlite"):
            await asyncio.to_thread(_use_wal, url)
        config = DBOSConfig(
            name="rackhand",
            system_database_url=url,
            executor_id=self.executor_id,
            application_version=WORKFLOW_VERSION,
            log_level="ERROR",
            enable_otlp=False,
            notification_listener_polling_interval_sec=0.5,
            scheduler_polling_interval_sec=3600.0,
        )
        if not self.runs_tasks:
            self._client = await asyncio.to_thread(DBOSClient, system_database_url=url)
            return
        DBOS(config=config)

        @DBOS.workflow(name=WORKFLOW)
        async def run_task(task_uuid: str, first_turn: int) -> None:
            await self._walk(task_uuid, first_turn)

        self._workflow = run_task
        if self._location_id is not None:
            DBOS.listen_queues([queue_of(self._location_id)])
        await self._claim_slot()
        # In the loop's own thread: DBOS then runs what it takes from queues on this loop as well, where our locks live.
        DBOS.launch()
        await self._ensure_queue(queue_of(self._location_id))
        self._heartbeat = asyncio.create_task(self._keep_alive(), name="task engine heartbeat")

    async def stop(self) -> None:
        """Let go: turns that run get a moment to end; what is left goes on in the next process."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.gather(self._heartbeat, return_exceptions=True)
        if self.runs_tasks and self._workflow is not None:
            self._stopping = True
            until = monotonic() + STOP_SECONDS
            while self._turns_running and monotonic() < until:  # noqa: ASYNC110  # once per process
                await asyncio.sleep(0.02)
            logging.getLogger("dbos").setLevel(logging.CRITICAL)  # workflows that are cut off are no errors
            await asyncio.to_thread(DBOS.destroy, destroy_registry=True, workflow_completion_timeout_sec=0)
            # DBOS made its own threads the loop's, and has just ended them.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
            async with self._db.write() as session:
                await session.execute(delete(WorkerSlot).where(WorkerSlot.executor_id == self.executor_id))
        if self._client is not None:
            await asyncio.to_thread(self._client.destroy)

    async def _claim_slot(self) -> None:
        async with self._db.write() as session:
            session.add(
                WorkerSlot(
                    executor_id=self.executor_id,
                    host=self._host,
                    pid=os.getpid(),
                    process_started=_process_started(os.getpid()),
                    location=queue_of(self._location_id),
                    started_at=utcnow(),
                    lease_until=utcnow() + LEASE,
                )
            )

    async def _keep_alive(self) -> None:
        while True:
            try:
                async with self._db.write() as session:
                    renewed = await session.execute(
                        update(WorkerSlot)
                        .where(WorkerSlot.executor_id == self.executor_id)
                        .values(lease_until=utcnow() + LEASE)
                    )
                if not renewed.rowcount:  # type: ignore[attr-defined]  # a cursor result
                    await self._claim_slot()
                await self.take_over()
                self.heartbeat_at = monotonic()
            except Exception:
                log.exception("task engine heartbeat failed")
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def take_over(self) -> None:
        """Start what a crash left unstarted, and go on with what a dead process left."""
        async with self._db.write() as session:
            slots = (await session.scalars(select(WorkerSlot))).all()
            dead = [slot.executor_id for slot in slots if self._is_dead(slot)]
            if dead:
                await session.execute(delete(WorkerSlot).where(WorkerSlot.executor_id.in_(dead)))
            living = [slot.executor_id for slot in slots if slot.executor_id not in dead]
            query = select(Task.uuid, Task.turn, Task.location_id, Task.executor_id).where(
                Task.status.in_(ACTIVE),
                or_(
                    Task.executor_id.is_(None) & (Task.created_at < utcnow() - UNSTARTED_AFTER),
                    Task.executor_id.not_in(living),
                    # Ours, and yet nobody walks it: its workflow was lost.
                    Task.executor_id == self.executor_id,
                ),
            )
            if self._location_id is not None:
                query = query.where(Task.location_id == self._location_id)
            orphans = (await session.execute(query.order_by(Task.id))).all()
        for orphan in orphans:
            if orphan.uuid not in self._walking:
                log.warning("task taken over", task=orphan.uuid, left_by=orphan.executor_id)
                await self._resume(orphan.uuid, orphan.turn, queue_of(orphan.location_id))

    def _is_dead(self, slot: WorkerSlot) -> bool:
        if slot.executor_id == self.executor_id:
            return False
        if slot.host == self._host and _process_started(slot.pid) != slot.process_started:
            return True
        return slot.lease_until < utcnow()

    async def _submit(self, task_uuid: str, first_turn: int, queue: str) -> None:
        """Start a workflow; starting it twice is harmless, and a start that fails is repeated by `take_over`."""
        try:
            if self._client is not None:
                options: Any = {"queue_name": queue, "workflow_name": WORKFLOW, "workflow_id": task_uuid}
                options["app_version"] = WORKFLOW_VERSION
                await self._client.enqueue_async(options, task_uuid, first_turn)
            elif self._workflow is not None and self._serves(queue):
                with SetWorkflowID(task_uuid):
                    await DBOS.start_workflow_async(self._workflow, task_uuid, first_turn)
            elif self._workflow is not None:
                await self._ensure_queue(queue)
                with SetWorkflowID(task_uuid):
                    await DBOS.enqueue_workflow_async(queue, self._workflow, task_uuid, first_turn)
        except Exception as error:  # noqa: BLE001  # whatever it is, `take_over` starts the task
            log.warning("task not started yet", task=task_uuid, error=str(error))

    async def _resume(self, task_uuid: str, turn: int, queue: str) -> None:
        """Go on with a task here: its workflow, or a new one when that is gone or ended without the task."""
        try:
            status = (await DBOS.list_workflows_async(workflow_ids=[task_uuid]))[:1]
            if not status:
                await self._submit(task_uuid, turn, queue)
            elif status[0].status in {"PENDING", "ENQUEUED"}:
                await self._ensure_queue(queue)
                await DBOS.resume_workflow_async(task_uuid, queue_name=queue)
            else:
                fresh = str(uuid4())
                async with self._db.write() as session:
                    await session.execute(update(Task).where(Task.uuid == task_uuid).values(uuid=fresh))
                await self._submit(fresh, turn, queue)
        except Exception:
            log.exception("task not resumed yet", task=task_uuid)

    def _serves(self, queue: str) -> bool:
        return self._location_id is None or queue == queue_of(self._location_id)

    async def listen(self, location_ids: Sequence[int]) -> None:
        """Take tasks of these locations from other processes at once; those of others are found by `take_over`."""
        if self.runs_tasks and self._location_id is None:
            for location_id in location_ids:
                await self._ensure_queue(queue_of(location_id))

    async def _ensure_queue(self, queue: str) -> None:
        if queue not in self._queues:
            await DBOS.register_queue_async(queue, polling_interval_sec=1.0)
            self._queues.add(queue)

    async def _wake(self, task_uuid: str) -> None:
        """Have a waiting task look again; a wake-up that is lost only costs the step's `every`."""
        with contextlib.suppress(Exception):  # the workflow may not have begun or be over
            if self._client is not None:
                await self._client.send_async(task_uuid, "", WAKE)
            elif self._workflow is not None:
                await DBOS.send_async(task_uuid, "", WAKE)

    # --- one task

    async def _walk(self, task_uuid: str, first_turn: int) -> None:
        """Take turns until the task is over; what a turn answers is checkpointed, so a replay takes the same way."""
        self._walking.add(task_uuid)
        try:
            turn = first_turn
            while True:
                outcome = await DBOS.run_step_async(
                    {"name": f"turn {turn}"}, self._take_turn, task_uuid, turn
                )
                if outcome["over"]:
                    break
                if outcome["seconds"] > 0:
                    await DBOS.recv_async(WAKE, timeout_seconds=outcome["seconds"])
                turn += 1
        finally:
            self._walking.discard(task_uuid)

    async def _take_turn(self, task_uuid: str, turn: int) -> dict[str, Any]:
        while True:
            if self._stopping:
                await asyncio.Event().wait()  # the next process takes this turn
            try:
                async with self._slots, self._counted():
                    return await self._take_turn_now(task_uuid, turn)
            except OperationalError as error:
                log.warning("database unavailable, task waits", task=task_uuid, error=str(error))
                await asyncio.sleep(2.0)

    @contextlib.asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        """Count a turn that runs, so that a stop can wait for it."""
        self._turns_running += 1
        try:
            yield
        finally:
            self._turns_running -= 1

    async def _take_turn_now(self, task_uuid: str, turn: int) -> dict[str, Any]:
        async with self._db.write() as session:
            task = await _locked(session, task_uuid)
            if (stored := _outcome_of(task, turn)) is not None:
                return stored
            assert task is not None  # noqa: S101  # `_outcome_of` answers for one that is gone
            task.executor_id = self.executor_id
            operation = self._operations.get(task.name)
            call = turns.begin(session, task, operation, bound=self._bound_of(task, operation))
            if call is None or operation is None:
                return task.outcome or turns.OVER
        began = frozenset(task.memo)
        answer, memo = await self._call(operation, task, call)
        async with self._db.write() as session:
            task = await _locked(session, task_uuid)
            if (stored := _outcome_of(task, turn)) is not None:
                log.warning("turn was taken by another worker too", task=task_uuid, turn=turn)
                return stored
            assert task is not None  # noqa: S101
            task.memo = turns.merged_memo(task.memo, memo, began)
            turns.end(session, task, operation, answer)
            return task.outcome or turns.OVER

    def _bound_of(self, task: Task, operation: Operation[Any] | None) -> timedelta | None:
        if operation is None or operation.bound is None:
            return None
        try:
            return operation.bound(operation.params.model_validate(task.params), self._tools.settings)
        except ValidationError:
            return None  # the call of the step says so

    async def _call(
        self, operation: Operation[Any], task: Task, call: turns.Call
    ) -> tuple[turns.Answer, dict[str, Any]]:
        """Call the step; whatever it raises is its answer. Gives the memo as the step left it."""
        deadline = call.row.deadline_at or utcnow()
        bound = self._bound_of(task, operation)
        context = StepContext(
            tools=self._tools,
            task_id=task.id,
            task_uuid=task.uuid,
            step=call.row.name,
            attempt=call.row.attempts,
            params=None,
            deadline_at=deadline,
            signals=task.signals,
            memo=dict(task.memo),
            write_memo=partial(self._write_memo, task.id, task.turn),
            write_progress=partial(self._write_progress, call.row.id),
            task_ends_at=None if bound is None or task.started_at is None else task.started_at + bound,
        )
        try:
            context.params = operation.params.model_validate(task.params)
            async with self._db.read() as session:
                subject = await operation.load(session, task.subject_id)
            if subject is None:
                raise StepFailed(f"{task.subject_kind} {task.subject_id} is gone.")  # noqa: TRY301
            if not call.is_undo:
                return await call.step.run(context, subject), context.memo
            if call.step.undo is not None:
                await call.step.undo(context, subject)
            return Done(), context.memo
        except OperationalError:
            raise
        except Exception as error:
            if not isinstance(error, HardwareError | RackhandError | StepFailed):
                log.exception("step raised", task=task.id, step=call.row.name)
            return error, context.memo

    async def _write_memo(self, task_id: int, turn: int, memo: dict[str, Any]) -> None:
        """Store *memo* at once; raise when the turn is over, for then whoever asks must not act any more."""
        async with self._db.write() as session:
            task = await session.get(Task, task_id, with_for_update=True)
            if task is None or task.turn != turn:
                raise StepFailed(f"Turn {turn} of task {task_id} was taken by another worker.")
            task.memo = turns.merged_memo(task.memo, memo, frozenset())

    async def _write_progress(self, step_id: int, percent: int | None, message: str) -> None:
        async with self._db.write() as session:
            await session.execute(
                update(TaskStep).where(TaskStep.id == step_id).values(progress=percent, message=message)
            )


async def _tell(task_id: int, name: str, subject_id: int) -> None:
    log.info("task finished", task=task_id, name=name, status=TaskStatus.SUCCEEDED.value, subject=subject_id)


def _values(
    operation: Operation[Any], subject: Subject, actor: Actor, params: BaseModel | None
) -> dict[str, Any]:
    """A new task as a row."""
    return {
        "uuid": str(uuid4()),
        "name": operation.name,
        "params": (params or operation.params()).model_dump(mode="json"),
        "subject_kind": operation.subject_kind,
        "subject_id": subject.id,
        "subject_name": subject.name,
        "owner_id": subject.owner_id,
        "location_id": subject.location_id,
        "model": subject.model,
        "requested_by_id": actor.user_id,
        "requested_by": actor.email,
        "address": actor.address,
        "request_id": actor.request_id,
        "created_at": utcnow(),
        "memo": {},
        "signals": {},
        "phase": Phase.FORWARD,
        "turn": 1,
    }


def _step_values(operation: Operation[Any], done: Sequence[str], now: datetime) -> list[dict[str, Any]]:
    """The steps of a new task as rows, those that are done already with their messages."""
    return [
        {"position": position, "name": step.name, "status": StepStatus.PENDING, "attempts": 0, "message": "",
         "started_at": None, "finished_at": None}
        if position >= len(done)
        else {"position": position, "name": step.name, "status": StepStatus.DONE, "attempts": 1,
              "message": done[position], "started_at": now, "finished_at": now}
        for position, step in enumerate(operation.steps)
    ]  # fmt: skip


async def refuse_busy(session: AsyncSession, kind: str, subject: Subject) -> None:
    """Raise `Busy` while a task holds *subject*."""
    running = await active_task_of(session, kind, subject.id)
    if running is not None:
        raise _busy(subject, running)


async def active_task_of(session: AsyncSession, kind: str, subject_id: int) -> Task | None:
    """The task that holds the subject now."""
    query = select(Task).where(
        Task.subject_kind == kind, Task.subject_id == subject_id, Task.status.in_(ACTIVE)
    )
    return (await session.scalars(query)).one_or_none()


async def forget_finished(session: AsyncSession, before: datetime) -> list[str]:
    """Delete tasks that ended before *before*, and all but the newest durations; return the uuids.

    The last task of a subject stays: whether it failed decides what may be done with the subject.
    """
    last = select(func.max(Task.id)).group_by(Task.subject_kind, Task.subject_id)
    old = delete(Task).where(Task.finished_at < before, Task.id.not_in(last)).returning(Task.uuid)
    uuids = list((await session.scalars(old)).all())
    rank = func.row_number().over(
        partition_by=(StepDuration.operation, StepDuration.step, StepDuration.model),
        order_by=StepDuration.id.desc(),
    )
    ranked = select(StepDuration.id, rank.label("rank")).subquery()
    surplus = select(ranked.c.id).where(ranked.c.rank > DURATIONS_KEPT)
    await session.execute(delete(StepDuration).where(StepDuration.id.in_(surplus)))
    return uuids


async def forget_workflows(uuids: Sequence[str]) -> None:
    """Delete the engine's own records of tasks that are deleted."""
    if uuids:
        await DBOS.delete_workflows_async(list(uuids))


async def _locked(session: AsyncSession, task_uuid: str) -> Task | None:
    query = select(Task).where(Task.uuid == task_uuid).options(selectinload(Task.steps)).with_for_update()
    return (await session.scalars(query)).one_or_none()


def _outcome_of(task: Task | None, turn: int) -> dict[str, Any] | None:
    """The stored answer of a turn that was taken already, here before a crash or elsewhere; None when it is to take."""
    if task is None or not task.is_active or task.turn < turn:
        # A row behind its workflow comes from a restored database: this workflow ends, `take_over` begins another.
        return turns.OVER
    return None if task.turn == turn else task.outcome or turns.AGAIN


def _busy(subject: Subject, running: Task) -> Busy:
    return Busy(f"{running.subject_kind.capitalize()} {subject.id}", running.id, running.name, running.status)


def _process_started(pid: int) -> str:
    """The kernel's start time of a process, which tells it from a later one of the same number; empty when gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]  # proc(5): state is field 3, starttime field 22


def _use_wal(url: str) -> None:
    """DBOS leaves SQLite's journal as it is; WAL lets its readers and its writer work at once."""
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
