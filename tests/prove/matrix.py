"""The matrix: operations x points x databases, each judged by the log of the machine."""

import asyncio
import multiprocessing
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rackhand.app import open_services
from rackhand.cli.demo import add_pdus, add_switches, bmc_access
from rackhand.events.service import SYSTEM
from rackhand.servers import service
from rackhand.settings import Settings
from rackhand.sim.config import BMC_PLUG, BmcKind, MachineConfig
from rackhand.sim.demo import PROVISIONING_VLAN
from rackhand.sim.events import Source
from rackhand.sim.faults import Fault
from rackhand.sim.netboot import write_stub_ramdisk
from rackhand.sim.rack import RackThread
from rackhand.sim.switch import Port, Switch
from tests.prove import process
from tests.prove.systems import InstallCase, RescueCase, write_image

Answer = Mapping[str, Any]

JUDGED = ("powered_on", "powered_off", "reset", "soft_off_requested")
# A process that has imported everything forks the ones that are killed: they start at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.prove.process"])


class Case(Protocol):
    """An operation with its parameters, the state that it begins in, and what must be so at its end."""

    @property
    def operation(self) -> str:
        """The name of the operation."""

    @property
    def params(self) -> dict[str, object]:
        """Its parameters."""

    def arrange(self, rack: RackThread, machine: MachineConfig) -> None:
        """Bring the devices into the state that the case begins in."""

    def judge(self, rack: RackThread, machine: MachineConfig, before: int, answer: Answer) -> None:
        """Raise AssertionError unless the devices and the task are as they must be at the end."""


@dataclass(frozen=True)
class PowerCase:
    """Power: *done* is what the machine may have done at the end, once each and in order."""

    operation: str
    starts_on: bool
    done: tuple[str, ...]
    soft: bool = False

    def __str__(self) -> str:
        return f"{self.operation}{' soft' if self.soft else ''} from {'on' if self.starts_on else 'off'}"

    @property
    def params(self) -> dict[str, object]:
        """Whether the system is asked first."""
        return {"soft": True} if self.soft else {}

    def arrange(self, rack: RackThread, machine: MachineConfig) -> None:
        """Switch the machine on or off by its button."""
        control = rack.control
        if (control.machine(machine.name).power == "on") != self.starts_on:
            control.press_power_button(machine.name, hold=not self.starts_on)
        control.wait_for(machine.name, lambda view: (view.power == "on") == self.starts_on)
        if self.soft:  # an operating system that runs, and can be asked
            control.wait_for(machine.name, lambda view: view.phase == "running")

    def judge(self, rack: RackThread, machine: MachineConfig, before: int, answer: Answer) -> None:
        """Read the machine's own log."""
        assert answer["status"] == "succeeded", f"the task ended as {answer}"
        log = rack.control.log(after=before, device=machine.name)
        done = tuple(event.action.value for event in log if event.action in JUDGED)
        allowed = {self.done}
        if self.soft:  # killed between the note that it is asked and the question, the system is never asked
            allowed.add(("powered_off",))
        assert done in allowed, f"the machine did {done} instead of {self.done}"


@dataclass(frozen=True)
class PortCase:
    """Ports: all data ports begin as *begins* and end as *ends*; the port itself is asked.

    With *lies* the switch takes every change and does not make it: the task must fail, and nothing be changed.
    """

    operation: str
    wish: Mapping[str, object]
    begins: tuple[str, int]
    ends: tuple[str, int]
    lies: str = ""

    def __str__(self) -> str:
        return f"{self.operation} {dict(self.wish)}{f' with {self.lies}' if self.lies else ''}"

    @property
    def params(self) -> dict[str, object]:
        """What ports are to be."""
        return dict(self.wish)

    def arrange(self, rack: RackThread, machine: MachineConfig) -> None:
        """Set the ports at the switch itself, and only then have it lie."""
        for switch, port in ports_of(rack, machine):
            switch.faults.switch_all_off()
            switch.set_vlan_ports(
                switch.vlans[self.begins[1]],
                Source.CONTROL,
                egress=set(switch.ports),
                untagged=set(switch.ports),
            )
            switch.set_pvid(port, self.begins[1], Source.CONTROL)
            switch.set_admin_status(port, Source.CONTROL, up=self.begins[0] == "up")
        if self.lies:
            switch.faults.switch_on(Fault(self.lies))

    def judge(self, rack: RackThread, machine: MachineConfig, _before: int, answer: Answer) -> None:
        """Ask the switch, and look for a flag that is left."""
        wanted = "failed" if self.lies else "succeeded"
        assert answer["status"] == wanted, f"the task ended as {answer}"
        for switch, port in ports_of(rack, machine):
            is_so = ("up" if port.admin_up else "down", switch.untagged_vlan(port))
            assert is_so == self.ends, f"{port.name} is {is_so} instead of {self.ends}"
        assert answer["flags"] == [], f"ports are flagged: {answer['flags']}"


@dataclass(frozen=True)
class DiagnosisCase:
    """A diagnosis with a full wipe, of a machine that is off and over whose agent no kill has power."""

    operation: str = "operation_diag"

    def __str__(self) -> str:
        return "operation_diag with a full wipe"

    @property
    def params(self) -> dict[str, object]:
        """With a wipe, so that it has every step there is."""
        return {"clear": "full"}

    def arrange(self, rack: RackThread, machine: MachineConfig) -> None:
        """Put the machine and its ports back to the start."""
        rack.control.reset(machine.name)
        for switch, port in ports_of(rack, machine):
            switch.faults.switch_all_off()
            switch.set_pvid(port, 1, Source.CONTROL)
            switch.set_admin_status(port, Source.CONTROL, up=True)

    def judge(self, rack: RackThread, machine: MachineConfig, before: int, answer: Answer) -> None:
        """Every disk was erased once, the machine is off as it was found, and nothing is left armed or moved."""
        assert answer["status"] == "succeeded", f"the task ended as {answer}"
        assert answer["reservations"] == 0, "a boot is still reserved"
        log = rack.control.log(after=before, device=machine.name)
        erased = [event.detail["disk"] for event in log if event.action == "disk_erased"]
        assert sorted(map(str, erased)) == [disk.name for disk in machine.disks], f"erased were {erased}"
        view = rack.control.machine(machine.name)
        assert (view.power, view.boot_override) == ("off", None), f"the machine is left as {view}"
        for switch, port in ports_of(rack, machine):
            is_so = (port.admin_up, switch.untagged_vlan(port))
            assert is_so == (True, 1), f"{port.name} is left as {is_so}"
        assert answer["flags"] == [], f"ports are flagged: {answer['flags']}"


def ports_of(rack: RackThread, machine: MachineConfig) -> list[tuple[Switch, Port]]:
    """Switch and port of each NIC of the machine, as they really are."""
    assert rack.rack is not None
    switches = rack.rack.switches
    return [
        (switches[cable.switch], switches[cable.switch].ports[cable.port])
        for cable in rack.config.cables
        if cable.device == machine.name and cable.plug != BMC_PLUG
    ]


CASES: tuple[Case, ...] = (
    PowerCase("power_on", starts_on=False, done=("powered_on",)),
    PowerCase("power_on", starts_on=True, done=()),
    PowerCase("power_off", starts_on=True, done=("powered_off",)),
    PowerCase("power_off", starts_on=True, done=("soft_off_requested", "powered_off"), soft=True),
    PowerCase("power_reset", starts_on=True, done=("powered_off", "powered_on")),
    PowerCase("power_reset", starts_on=False, done=("powered_on",)),
    PortCase("suspend", {"admin_status": "down"}, begins=("up", 1), ends=("down", 1)),
    PortCase("resume", {"admin_status": "up"}, begins=("down", 1), ends=("up", 1)),
    PortCase("set_ports", {"access_vlan": 20}, begins=("up", 1), ends=("up", 20)),
    PortCase(
        "suspend", {"admin_status": "down"}, begins=("up", 1), ends=("up", 1), lies="ignore_admin_status"
    ),
    DiagnosisCase(),
    InstallCase(),
    RescueCase(),
)


@dataclass
class Bench:
    """One database with the machines of a rack."""

    rack: RackThread
    data: Path
    database_url: str
    boot_listen: str = field(default_factory=lambda: f"127.0.0.1:{_free_port()}")

    def prepare(self) -> None:
        """Fill the database, and tell the machines where they will boot from."""
        asyncio.run(self._fill())
        write_stub_ramdisk(self.data)
        write_image(self.data)
        self.rack.control.set_boot_server(f"http://{self.boot_listen}", vlan=PROVISIONING_VLAN)

    async def _fill(self) -> None:
        settings = Settings(data=self.data, database_url=self.database_url)
        async with open_services(settings, runs_tasks=False) as services:
            async with services.db.write() as session:
                await service.add_location(session, name="ams1", notes="", actor=SYSTEM)
                for machine in self.rack.config.machines:
                    values = {"name": machine.name, "is_new": False}
                    nics = [{"mac": nic.mac, "name": nic.name, "speed_mbit": None} for nic in machine.nics]
                    bmc = None if machine.bmc.kind is BmcKind.NONE else bmc_access(machine)
                    await service.add_server(
                        session, values=values, nics=nics, bmc=bmc, vault=services.vault, actor=SYSTEM
                    )
            await add_switches(services, self.rack.config)
            await add_pdus(services, self.rack.config)

    def points_of(self, case: Case, machine: MachineConfig) -> list[str]:
        """Run a case undisturbed; return the points that it passes."""
        case.arrange(self.rack, machine)
        before = self.rack.control.last_event()
        answer = self._process(case, machine, kill_at=None)
        case.judge(self.rack, machine, before, answer)
        points: list[str] = answer["points"]
        return points

    def prove(self, case: Case, machine: MachineConfig, point: str) -> str | None:
        """Kill the process at *point* and start it again; return what is wrong, or None."""
        case.arrange(self.rack, machine)
        before = self.rack.control.last_event()
        killed = self._process(case, machine, kill_at=point)
        if killed:
            return f"the point was not reached; the task ended as {killed['status']}"
        answer = self._process(None, machine, kill_at=None)
        try:
            case.judge(self.rack, machine, before, answer)
        except AssertionError as wrong:
            return str(wrong)
        return None

    def _process(self, case: Case | None, machine: MachineConfig, *, kill_at: str | None) -> Answer:
        order: dict[str, object] = {
            "data": str(self.data),
            "database_url": self.database_url,
            "boot_listen": self.boot_listen,
            "kill_at": kill_at,
        }
        if case is not None:
            number = [each.name for each in self.rack.config.machines].index(machine.name) + 1
            order |= {"operation": case.operation, "params": case.params, "server": number}
            order["secrets"] = getattr(case, "secrets", None)
        receiver, sender = PROCESSES.Pipe(duplex=False)
        child = PROCESSES.Process(target=process.main, args=(order, sender))
        child.start()
        sender.close()
        child.join(240)
        if child.exitcode == -signal.SIGKILL and kill_at is not None:
            return {}
        if child.exitcode != 0:
            child.kill()
            raise RuntimeError(f"{order}: the process ended with {child.exitcode}")
        answer: Answer = receiver.recv()
        return answer


def _free_port() -> int:
    """A port that the process after a killed one listens on, too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_matrix(bench: Bench, cases: tuple[Case, ...]) -> Iterator[tuple[str, str | None]]:
    """Prove all cases on both kinds of BMC in turn; gives each combination with what is wrong."""
    bench.prepare()
    for number, case in enumerate(cases):
        machine = bench.rack.config.machines[number % 2]
        for point in bench.points_of(case, machine):
            yield f"{case}, {machine.bmc.kind.value}, killed at {point}", bench.prove(case, machine, point)
