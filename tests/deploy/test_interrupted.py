"""Operations whose steps run twice at once, and whose manager goes away; the machines' log is the judge."""

import asyncio
import dataclasses
import functools
import socket
from typing import Any

import pytest
from sqlalchemy import Select, select

from rackhand import app
from rackhand.app import Services, open_services, serve_boot
from rackhand.boot.model import AgentCommand, CommandState
from rackhand.deploy.wipe_disks import CLEAR_DISKS, Clear, ClearDisks
from rackhand.events.service import SYSTEM
from rackhand.servers import queries, service
from rackhand.settings import Settings
from rackhand.sim.demo import PROVISIONING_VLAN
from rackhand.sim.rack import RackThread
from rackhand.tasks.model import Task, TaskStatus
from rackhand.tasks.operation import Done, Operation, Step, StepContext, Wait
from tests.deploy.conftest import Deploying, fill, start_anew

NVME = 4
DONE = ("powered_on", "netboot_answered", "booted", "powered_off", "disk_erased")


def doubled(operation: Operation[Any]) -> Operation[Any]:
    """The same operation, each call of a step made on two workers at the same moment."""

    def twice(step: Step) -> Any:
        @functools.wraps(step.run)
        async def run(ctx: StepContext, subject: Any) -> Done | Wait:
            other = dataclasses.replace(ctx, memo=dict(ctx.memo))
            first, _ = await asyncio.gather(step.run(ctx, subject), step.run(other, subject))
            return first

        return run

    steps = tuple(dataclasses.replace(step, run=twice(step)) for step in operation.steps)
    return dataclasses.replace(operation, steps=steps)


class TestTwice:
    @pytest.fixture
    def settings(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
        """Every product that is opened from here on runs its steps twice."""
        monkeypatch.setattr(app, "OPERATIONS", tuple(doubled(operation) for operation in app.OPERATIONS))
        return settings

    async def test_a_diagnosis_with_a_wipe_does_everything_once(self, deploying: Deploying) -> None:
        task = await deploying.finish(NVME, "operation_diag", {"clear_hdd": "full"}, timeout=90)
        assert task["status"] == "complete", task
        assert deploying.done(NVME, *DONE) == [
            "powered_on", "netboot_answered", "booted", "disk_erased", "disk_erased", "powered_off",
        ]  # fmt: skip
        assert (await deploying.api.get(f"/dci/v3/server/{NVME}/erasure"))["size"] == 1
        events = await deploying.api.get("/dci/v3/event?where=kind EQ 'server.diagnosed'")
        assert events["size"] == 1
        await deploying.settled(NVME)


class TestRestart:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """A port that the next process finds again."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return settings.model_copy(update={"boot_listen": f"127.0.0.1:{probe.getsockname()[1]}"})

    async def test_an_agent_goes_on_while_the_manager_is_away(
        self, rack: RackThread, settings: Settings
    ) -> None:
        """The wipe ends while nobody listens; the next process hears of it, and no disk is erased twice."""
        start_anew(rack)
        control, name, begin = rack.control, rack.config.machines[NVME - 1].name, rack.control.last_event()
        control.fault_on(name, "disk_stuck", value=0)
        async with open_services(settings, polls=False) as first:
            async with first.db.write() as session:
                await service.add_location(session, name="ams1", notes="", actor=SYSTEM)
            await fill(first, rack)
            async with serve_boot(first) as url:
                control.set_boot_server(str(url), vlan=PROVISIONING_VLAN)
                async with first.db.write() as session:
                    server = await queries.for_task(session, NVME)
                    assert server is not None
                    await first.engine.enqueue(
                        session, CLEAR_DISKS, server, actor=SYSTEM, params=ClearDisks(clear=Clear.FULL)
                    )
                await _until(first, select(AgentCommand.state), CommandState.RUNNING)
        control.fault_off(name, "disk_stuck")
        await asyncio.to_thread(control.wait_for_event, name, "disk_erased", after=begin)
        async with open_services(settings, polls=False) as second, serve_boot(second):
            await _until(second, select(Task.status), TaskStatus.SUCCEEDED)
        log = control.log(after=begin, device=name)
        done = [event.action.value for event in log if event.action in {"disk_erased", "powered_on"}]
        assert done == ["powered_on", "disk_erased", "disk_erased"]


async def _until(services: Services, query: Select[str], wanted: str) -> None:
    """Wait until the one row that *query* finds says *wanted*."""
    for _ in range(900):
        async with services.db.read() as session:
            found = (await session.scalars(query)).one_or_none()
        if found == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"it is {found}, not {wanted}")
