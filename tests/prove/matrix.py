"""The matrix: operations x points x databases, each judged by the log of the machine."""

import asyncio
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rackhand.app import open_services
from rackhand.cli.demo import bmc_access
from rackhand.events.service import SYSTEM
from rackhand.servers import service
from rackhand.settings import Settings
from rackhand.sim.config import MachineConfig
from rackhand.sim.rack import RackThread
from tests.prove import process

JUDGED = ("powered_on", "powered_off", "reset", "soft_off_requested")
# A process that has imported everything forks the ones that are killed: they start at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.prove.process"])


@dataclass(frozen=True)
class Case:
    """An operation, the state it begins in, and what the machine may have done at its end, once each and in order."""

    operation: str
    starts_on: bool
    done: tuple[str, ...]
    soft: bool = False

    def __str__(self) -> str:
        return f"{self.operation}{' soft' if self.soft else ''} from {'on' if self.starts_on else 'off'}"


CASES = (
    Case("power_on", starts_on=False, done=("powered_on",)),
    Case("power_on", starts_on=True, done=()),
    Case("power_off", starts_on=True, done=("powered_off",)),
    Case("power_off", starts_on=True, done=("soft_off_requested", "powered_off"), soft=True),
    Case("power_reset", starts_on=True, done=("powered_off", "powered_on")),
    Case("power_reset", starts_on=False, done=("powered_on",)),
)


@dataclass
class Bench:
    """One database with the machines of a rack."""

    rack: RackThread
    data: Path
    database_url: str

    def prepare(self) -> None:
        """Fill the database."""
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        settings = Settings(data=self.data, database_url=self.database_url)
        async with open_services(settings, runs_tasks=False) as services, services.db.write() as session:
            await service.add_location(session, name="ams1", notes="", actor=SYSTEM)
            for machine in self.rack.config.machines:
                values = {"name": machine.name, "is_new": False}
                bmc = bmc_access(machine)
                await service.add_server(session, values=values, bmc=bmc, vault=services.vault, actor=SYSTEM)

    def points_of(self, case: Case, machine: MachineConfig) -> list[str]:
        """Run a case undisturbed; return the points that it passes."""
        self._set_power(case, machine)
        before = self.rack.control.last_event()
        answer = self._process(case, machine, kill_at=None)
        self._judge(case, machine, before, answer)
        points: list[str] = answer["points"]  # type: ignore[assignment]
        return points

    def prove(self, case: Case, machine: MachineConfig, point: str) -> str | None:
        """Kill the process at *point* and start it again; return what is wrong, or None."""
        self._set_power(case, machine)
        before = self.rack.control.last_event()
        killed = self._process(case, machine, kill_at=point)
        if killed:
            return f"the point was not reached; the task ended as {killed['status']}"
        answer = self._process(None, machine, kill_at=None)
        try:
            self._judge(case, machine, before, answer)
        except AssertionError as wrong:
            return str(wrong)
        return None

    def _set_power(self, case: Case, machine: MachineConfig) -> None:
        control = self.rack.control
        if (control.machine(machine.name).power == "on") != case.starts_on:
            control.press_power_button(machine.name, hold=not case.starts_on)
        control.wait_for(machine.name, lambda view: (view.power == "on") == case.starts_on)
        if case.soft:  # an operating system that runs, and can be asked
            control.wait_for(machine.name, lambda view: view.phase == "running")

    def _process(
        self, case: Case | None, machine: MachineConfig, *, kill_at: str | None
    ) -> dict[str, object]:
        order: dict[str, object] = {
            "data": str(self.data),
            "database_url": self.database_url,
            "kill_at": kill_at,
        }
        if case is not None:
            number = [each.name for each in self.rack.config.machines].index(machine.name) + 1
            order |= {"operation": case.operation, "soft": case.soft, "server": number}
        receiver, sender = PROCESSES.Pipe(duplex=False)
        child = PROCESSES.Process(target=process.main, args=(order, sender))
        child.start()
        sender.close()
        child.join(120)
        if child.exitcode == -signal.SIGKILL and kill_at is not None:
            return {}
        if child.exitcode != 0:
            child.kill()
            raise RuntimeError(f"{order}: the process ended with {child.exitcode}")
        answer: dict[str, object] = receiver.recv()
        return answer

    def _judge(self, case: Case, machine: MachineConfig, before: int, answer: dict[str, object]) -> None:
        assert answer["status"] == "succeeded", f"the task ended as {answer}"
        log = self.rack.control.log(after=before, machine=machine.name)
        done = tuple(event.action.value for event in log if event.action in JUDGED)
        allowed = {case.done}
        if case.soft:  # killed between the note that it is asked and the question, the system is never asked
            allowed.add(("powered_off",))
        assert done in allowed, f"the machine did {done} instead of {case.done}"


def run_matrix(bench: Bench, cases: tuple[Case, ...]) -> Iterator[tuple[str, str | None]]:
    """Prove all cases on both kinds of BMC in turn; gives each combination with what is wrong."""
    bench.prepare()
    for number, case in enumerate(cases):
        machine = bench.rack.config.machines[number % 2]
        for point in bench.points_of(case, machine):
            yield f"{case}, {machine.bmc.kind.value}, killed at {point}", bench.prove(case, machine, point)
