"""The durable engine, on operations whose device is a list of what was done."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import selectinload

from rackhand import vault
from rackhand.db import Database, utcnow
from rackhand.errors import Busy, Conflict
from rackhand.events.service import SYSTEM
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import AuthFailed, Unreachable
from rackhand.servers import queries, service
from rackhand.servers.model import Server
from rackhand.settings import Settings
from rackhand.tasks.engine import Engine, forget_finished
from rackhand.tasks.model import Task, TaskStatus, WorkerSlot
from rackhand.tasks.operation import Done, Operation, Step, StepContext, StepFailed, Tools, Wait


@dataclass
class Device:
    """What was done to it, in order, and what the next calls meet."""

    done: list[str] = field(default_factory=list)
    errors: dict[str, list[Exception]] = field(default_factory=dict)
    hold: dict[str, asyncio.Event] = field(default_factory=dict)

    async def act(self, name: str) -> None:
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        self.done.append(name)
        if name in self.hold:
            await self.hold[name].wait()


def operation_on(device: Device) -> Operation[Server]:
    """Three steps; the first two can be taken back, the second waits for a signal."""

    async def reserve(_ctx: StepContext, _server: Server) -> Done:
        await device.act("reserve")
        return Done()

    async def release(_ctx: StepContext, _server: Server) -> None:
        await device.act("release")

    async def await_hello(ctx: StepContext, _server: Server) -> Done | Wait:
        if "hello" in ctx.signals:
            await device.act("hello")
            return Done(str(ctx.signals["hello"]))
        ctx.memo["looked"] = ctx.memo.get("looked", 0) + 1
        return Wait("the agent to say hello", every=timedelta(seconds=20))

    async def forget_hello(_ctx: StepContext, _server: Server) -> None:
        await device.act("forget")

    async def finish(_ctx: StepContext, _server: Server) -> Done:
        await device.act("finish")
        return Done("all well")

    return Operation(
        name="trial",
        title="Trial",
        subject_kind="server",
        load=queries.for_task,
        steps=(
            Step(reserve, undo=release, deadline=timedelta(seconds=3)),
            Step(await_hello, undo=forget_hello, deadline=timedelta(seconds=8)),
            Step(finish, deadline=timedelta(seconds=3)),
        ),
    )


@dataclass
class Bench:
    """An engine over a database with one server."""

    tools: Tools
    device: Device
    operation: Operation[Server]
    engine: Engine

    async def enqueue(self) -> Task:
        async with self.tools.db.write() as session:
            server = await queries.for_task(session, 1)
            assert server is not None
            return await self.engine.enqueue(session, self.operation, server, actor=SYSTEM)

    async def task(self, task_id: int = 1) -> Task:
        async with self.tools.db.read() as session:
            query = select(Task).where(Task.id == task_id).options(selectinload(Task.steps))
            return (await session.scalars(query)).one()

    async def signal(self, name: str, data: object) -> None:
        async with self.tools.db.write() as session:
            task = (await session.scalars(select(Task))).one()
            await self.engine.signal(session, task, name, data)

    async def cancel(self) -> None:
        async with self.tools.db.write() as session:
            task = (await session.scalars(select(Task))).one()
            await self.engine.cancel(session, task, actor=SYSTEM)

    async def until(self, holds: Callable[[Task], bool], task_id: int = 1, *, timeout: float = 15) -> Task:
        for _ in range(int(timeout / 0.05)):
            task = await self.task(task_id)
            if holds(task):
                return task
            await asyncio.sleep(0.05)
        raise AssertionError(f"{task.status} at {task.position}: {[step.status for step in task.steps]}")

    async def over(self, task_id: int = 1) -> Task:
        return await self.until(lambda task: not task.is_active, task_id)

    async def restart(self) -> None:
        """Stop as a process would that ends; begin again as the next one."""
        await self.engine.stop()
        self.engine = Engine(self.tools, [self.operation])
        await self.engine.start()


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    db = Database(settings.database)
    settings.data.mkdir(parents=True, exist_ok=True)
    await db.migrate()
    tools = Tools(db, vault.load("", settings.data), Doors(), settings)
    async with db.write() as session:
        await service.add_location(session, name="ams1", notes="", actor=SYSTEM)
        await service.add_server(
            session, values={"name": "srv-1", "model": "X1"}, vault=tools.vault, actor=SYSTEM
        )
    device = Device()
    operation = operation_on(device)
    made = Bench(tools, device, operation, Engine(tools, [operation]))
    await made.engine.start()
    yield made
    await made.engine.stop()
    await tools.doors.close()
    await db.dispose()


async def test_steps_run_in_order_and_a_wait_ends_with_its_signal(bench: Bench) -> None:
    await bench.enqueue()
    waiting = await bench.until(lambda task: task.status == TaskStatus.WAITING)
    assert waiting.waiting_for == "the agent to say hello"
    assert waiting.waiting_until is not None
    assert waiting.waiting_until > utcnow()
    await bench.signal("hello", "from 192.0.2.5")
    task = await bench.over()
    assert task.status == TaskStatus.SUCCEEDED
    assert bench.device.done == ["reserve", "hello", "finish"]
    assert [(step.name, step.status, step.message) for step in task.steps] == [
        ("reserve", "done", ""),
        ("await_hello", "done", "from 192.0.2.5"),
        ("finish", "done", "all well"),
    ]
    assert task.memo == {"looked": 1}


async def test_a_second_task_on_a_busy_subject_is_refused_with_the_running_one(bench: Bench) -> None:
    await bench.enqueue()
    with pytest.raises(Busy, match="Server 1 is busy: task 1"):
        await bench.enqueue()
    await bench.signal("hello", "")
    await bench.over()
    assert (await bench.enqueue()).id > 1


async def test_of_ten_tasks_asked_for_at_once_one_is_taken(bench: Bench) -> None:
    results = await asyncio.gather(*(bench.enqueue() for _ in range(10)), return_exceptions=True)
    assert len([result for result in results if isinstance(result, Task)]) == 1
    assert len([result for result in results if isinstance(result, Busy | Conflict)]) == 9


async def test_a_device_that_does_not_answer_is_asked_again(bench: Bench) -> None:
    bench.device.errors["reserve"] = [Unreachable("No answer from 192.0.2.1.")]
    await bench.enqueue()
    await bench.signal("hello", "")
    task = await bench.over()
    assert (task.status, task.steps[0].attempts) == (TaskStatus.SUCCEEDED, 2)


async def test_a_device_that_never_answers_fails_the_task_at_the_deadline_of_the_step(bench: Bench) -> None:
    bench.device.errors["reserve"] = [Unreachable("No answer from 192.0.2.1.")] * 100
    await bench.enqueue()
    task = await bench.over()
    assert task.status == TaskStatus.FAILED
    assert task.error is not None
    assert task.error.startswith("Gave up after ")
    assert "No answer from 192.0.2.1." in task.error
    assert (await bench.task()).steps[1].status == "skipped"
    assert bench.device.done == ["release"]


async def test_a_final_error_takes_the_finished_steps_back_in_reverse(bench: Bench) -> None:
    bench.device.errors["finish"] = [AuthFailed("The BMC refused the password.")]
    await bench.enqueue()
    await bench.signal("hello", "")
    task = await bench.over()
    assert (task.status, task.error) == (TaskStatus.FAILED, "The BMC refused the password.")
    assert bench.device.done == ["reserve", "hello", "forget", "release"]
    assert [step.status for step in task.steps] == ["undone", "undone", "failed"]


async def test_an_undo_that_fails_is_told_and_does_not_keep_the_others_from_being_undone(
    bench: Bench,
) -> None:
    bench.device.errors["finish"] = [StepFailed("broken")]
    bench.device.errors["forget"] = [StepFailed("stuck")]
    await bench.enqueue()
    await bench.signal("hello", "")
    task = await bench.over()
    assert task.error == "broken await_hello could not be taken back: stuck"
    assert bench.device.done == ["reserve", "hello", "release"]


async def test_a_bug_in_a_step_fails_the_task_without_its_details(bench: Bench) -> None:
    bench.device.errors["reserve"] = [RuntimeError("password=swordfish")]
    await bench.enqueue()
    task = await bench.over()
    assert task.error == "Internal error (RuntimeError); the log has the details."


async def test_a_wait_that_nobody_ends_fails_at_its_deadline(bench: Bench) -> None:
    await bench.enqueue()
    await bench.until(lambda task: task.status == TaskStatus.WAITING)
    task = await bench.over()
    assert task.status == TaskStatus.FAILED
    assert task.error is not None
    assert "still waiting for the agent to say hello" in task.error
    assert bench.device.done == ["reserve", "forget", "release"]


async def test_a_cancelled_task_takes_back_what_it_did(bench: Bench) -> None:
    await bench.enqueue()
    await bench.until(lambda task: task.status == TaskStatus.WAITING)
    await bench.cancel()
    task = await bench.over()
    assert (task.status, task.error) == (TaskStatus.CANCELLED, None)
    assert bench.device.done == ["reserve", "forget", "release"]
    assert [step.status for step in task.steps] == ["undone", "undone", "cancelled"]
    async with bench.tools.db.write() as session:
        row = (await session.scalars(select(Task))).one()
        with pytest.raises(Conflict, match="is over"):
            await bench.engine.cancel(session, row, actor=SYSTEM)


async def test_a_waiting_task_goes_on_in_the_next_process(bench: Bench) -> None:
    await bench.enqueue()
    await bench.until(lambda task: task.status == TaskStatus.WAITING)
    await bench.restart()
    await bench.signal("hello", "again")
    task = await bench.over()
    assert task.status == TaskStatus.SUCCEEDED
    assert bench.device.done == ["reserve", "hello", "finish"]


async def test_a_step_that_was_cut_off_is_called_again_by_the_next_process(bench: Bench) -> None:
    bench.device.hold["reserve"] = asyncio.Event()
    await bench.enqueue()
    await bench.until(lambda task: bool(bench.device.done) and task.steps[0].status == "running")
    await bench.engine.stop()
    bench.device.hold.clear()
    bench.engine = Engine(bench.tools, [bench.operation])
    await bench.engine.start()
    await bench.signal("hello", "")
    assert (await bench.over()).status == TaskStatus.SUCCEEDED
    assert bench.device.done == ["reserve", "reserve", "hello", "finish"]


async def test_a_turn_that_is_taken_twice_acts_once(bench: Bench) -> None:
    task = await bench.enqueue()
    waiting = await bench.until(lambda row: row.status == TaskStatus.WAITING)
    again = await bench.engine._take_turn(task.uuid, 1)
    assert again == waiting.outcome
    assert bench.device.done == ["reserve"]


async def test_a_task_that_was_never_started_is_found_and_run(bench: Bench) -> None:
    await bench.engine.stop()
    await bench.enqueue()  # committed, but no engine was there to start it
    async with bench.tools.db.write() as session:
        await session.execute(update(Task).values(created_at=utcnow() - timedelta(minutes=1)))
    bench.engine = Engine(bench.tools, [bench.operation])
    await bench.engine.start()
    await bench.until(lambda task: task.status == TaskStatus.WAITING)


async def test_the_tasks_of_a_dead_worker_are_taken_over(bench: Bench) -> None:
    await bench.enqueue()
    await bench.until(lambda task: task.status == TaskStatus.WAITING)
    await bench.engine.stop()
    async with bench.tools.db.write() as session:  # as if another host had died a minute ago
        session.add(
            WorkerSlot(
                executor_id="elsewhere", host="elsewhere", pid=1, process_started="", location="",
                started_at=utcnow(), lease_until=utcnow() - timedelta(seconds=1),
            )
        )  # fmt: skip
        await session.execute(update(Task).values(executor_id="elsewhere"))
    bench.engine = Engine(bench.tools, [bench.operation])
    await bench.engine.start()
    await bench.until(lambda task: task.executor_id == bench.engine.executor_id or bool(task.turn > 2))
    await bench.signal("hello", "")
    assert (await bench.over()).status == TaskStatus.SUCCEEDED
    async with bench.tools.db.read() as session:
        assert [slot.executor_id for slot in await session.scalars(select(WorkerSlot))] == [
            bench.engine.executor_id
        ]


async def test_a_step_that_this_version_does_not_know_fails_the_task_and_undoes_the_rest(
    bench: Bench,
) -> None:
    await bench.enqueue()
    await bench.until(lambda task: task.status == TaskStatus.WAITING)
    await bench.engine.stop()
    steps = tuple(step for step in bench.operation.steps if step.name != "await_hello")
    shorter: Operation[Any] = Operation(
        name="trial", title="Trial", subject_kind="server", load=queries.for_task, steps=steps
    )
    bench.engine = Engine(bench.tools, [shorter])
    await bench.engine.start()
    task = await bench.over()
    assert task.error == "This version of the program has no step 'await_hello' of 'trial'."
    assert bench.device.done == ["reserve", "release"]


async def test_finished_tasks_are_forgotten_after_their_time_but_the_last_of_a_subject(bench: Bench) -> None:
    for _ in range(2):
        await bench.enqueue()
        async with bench.tools.db.write() as session:
            task = (await session.scalars(select(Task).order_by(Task.id.desc()).limit(1))).one()
            await bench.engine.signal(session, task, "hello", "")
        await bench.over(task.id)
    first = (await bench.task(1)).uuid
    async with bench.tools.db.write() as session:
        assert await forget_finished(session, utcnow() - timedelta(days=1)) == []
        assert await forget_finished(session, utcnow() + timedelta(seconds=1)) == [first]


async def test_the_subject_names_its_last_task_and_normal_durations_are_known(bench: Bench) -> None:
    from rackhand.tasks.queries import normal_durations

    await bench.enqueue()
    await bench.signal("hello", "")
    await bench.over()
    second = await bench.enqueue()
    async with bench.tools.db.read() as session:
        server = await queries.for_task(session, 1)
        assert server is not None
        assert server.last_task_id == second.id
        task = (
            await session.scalars(select(Task).where(Task.id == second.id).options(selectinload(Task.steps)))
        ).one()
        normal = await normal_durations(session, [task])
    assert normal["trial", "reserve", "X1"].samples in {1, 2}  # the second may have come so far already
