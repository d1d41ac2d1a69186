"""PDUs of the virtual rack, of every kind, seen by net-snmp's tools."""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from rackhand.sim.config import (
    NO_BMC,
    OutletConfig,
    PduConfig,
    PduKind,
    RackConfig,
    RestorePolicy,
    SnmpConfig,
)
from rackhand.sim.machine import Phase, Power
from rackhand.sim.rack import RackThread, demo_rack
from tests.sim.tools import snmp, walk

ENTERPRISES = "1.3.6.1.4.1"
RPDU2 = f"{ENTERPRISES}.318.1.1.26"
RARITAN = f"{ENTERPRISES}.13742.6"
EATON = f"{ENTERPRISES}.534.6.6.7"
VERTIV = f"{ENTERPRISES}.21239.5.2"


@dataclass(frozen=True)
class Words:
    """Where a kind has state and command of the first outlet, and what it calls things."""

    object_id: str
    state: str
    on: str
    off: str
    switch_on: tuple[str, str]
    switch_off: tuple[str, str]
    reboot: tuple[str, str]
    watts: str = ""
    energy: str = ""
    energy_per_kwh: int = 1000


WORDS = {
    PduKind.APC_RPDU2: Words(
        object_id=f"{ENTERPRISES}.318.1.3.4.6",
        state=f"{RPDU2}.9.2.3.1.5.1",
        on="2",
        off="1",
        switch_on=(f"{RPDU2}.9.2.4.1.5.1", "1"),
        switch_off=(f"{RPDU2}.9.2.4.1.5.1", "2"),
        reboot=(f"{RPDU2}.9.2.4.1.5.1", "3"),
        watts=f"{RPDU2}.9.4.3.1.7.1",
        energy=f"{RPDU2}.9.4.3.1.11.1",
        energy_per_kwh=10,
    ),
    PduKind.APC_RPDU: Words(
        object_id=f"{ENTERPRISES}.318.1.3.4.5",
        state=f"{ENTERPRISES}.318.1.1.12.3.5.1.1.4.1",
        on="1",
        off="2",
        switch_on=(f"{ENTERPRISES}.318.1.1.12.3.3.1.1.4.1", "1"),
        switch_off=(f"{ENTERPRISES}.318.1.1.12.3.3.1.1.4.1", "2"),
        reboot=(f"{ENTERPRISES}.318.1.1.12.3.3.1.1.4.1", "3"),
    ),
    PduKind.RARITAN: Words(
        object_id=RARITAN,
        state=f"{RARITAN}.4.1.2.1.3.1.1",
        on="7",
        off="8",
        switch_on=(f"{RARITAN}.4.1.2.1.2.1.1", "1"),
        switch_off=(f"{RARITAN}.4.1.2.1.2.1.1", "0"),
        reboot=(f"{RARITAN}.4.1.2.1.2.1.1", "2"),
        watts=f"{RARITAN}.5.4.3.1.4.1.1.5",
        energy=f"{RARITAN}.5.4.3.1.4.1.1.8",
    ),
    PduKind.EATON: Words(
        object_id=EATON,
        state=f"{EATON}.6.6.1.2.0.1",
        on="1",
        off="0",
        switch_on=(f"{EATON}.6.6.1.4.0.1", "0"),
        switch_off=(f"{EATON}.6.6.1.3.0.1", "0"),
        reboot=(f"{EATON}.6.6.1.5.0.1", "0"),
        watts=f"{EATON}.6.5.1.3.0.1",
        energy=f"{EATON}.6.5.1.4.0.1",
    ),
    PduKind.VERTIV: Words(
        object_id=VERTIV,
        state=f"{VERTIV}.3.5.1.4.1",
        on="1",
        off="2",
        switch_on=(f"{VERTIV}.3.5.1.6.1", "2"),
        switch_off=(f"{VERTIV}.3.5.1.6.1", "4"),
        reboot=(f"{VERTIV}.3.5.1.6.1", "6"),
        watts=f"{VERTIV}.3.6.1.12.1",
        energy=f"{VERTIV}.3.6.1.15.1",
    ),
}


def one_of_each_kind() -> RackConfig:
    """Return a rack where each kind of PDU feeds one machine that has no other feed."""
    config = demo_rack(len(PduKind), time_scale=600)
    machines = tuple(dataclasses.replace(machine, feeds=("a",)) for machine in config.machines)
    pdus = tuple(
        PduConfig(
            name=f"pdu-{kind}",
            snmp=SnmpConfig("127.0.0.1", 0, "reads", "writes"),
            kind=kind,
            mac=f"02:d0:00:01:00:{number:02x}",
            rack="rack-1",
            outlets=(OutletConfig(machine.name, machine.name, "a"), OutletConfig("spare")),
            reboot_seconds=60,
        )
        for number, (kind, machine) in enumerate(zip(PduKind, machines, strict=True))
    )
    return dataclasses.replace(config, machines=machines, pdus=pdus, cables=())


@pytest.fixture(scope="module")
def kinds_rack() -> Iterator[RackThread]:
    with RackThread(one_of_each_kind()) as rack:
        yield rack


@dataclass(frozen=True)
class Bench:
    """A PDU of one kind with the machine that it feeds."""

    rack: RackThread
    pdu: PduConfig
    words: Words

    @property
    def machine(self) -> str:
        return str(self.pdu.outlets[0].machine)

    def read(self, oid: str) -> str:
        return snmp("snmpget", self.pdu.snmp, oid).output.partition(" ")[2]

    def order(self, command: tuple[str, str]) -> str:
        return snmp("snmpset", self.pdu.snmp, command[0], "i", command[1]).output

    def actions(self, after: int, device: str) -> list[str]:
        return [event.action.value for event in self.rack.control.log(after=after, device=device)]


@pytest.fixture(params=list(PduKind))
def bench(kinds_rack: RackThread, request: pytest.FixtureRequest) -> Bench:
    kinds_rack.control.reset()
    kind: PduKind = request.param
    return Bench(kinds_rack, kinds_rack.config.pdu(f"pdu-{kind}"), WORDS[kind])


def test_outlet_takes_the_feed_and_gives_it_back(bench: Bench) -> None:
    bench.rack.control.press_power_button(bench.machine)
    before = bench.rack.control.last_event()
    assert bench.read(bench.words.state) == bench.words.on
    bench.order(bench.words.switch_off)
    assert bench.read(bench.words.state) == bench.words.off
    seen = bench.rack.control.machine(bench.machine)
    assert (seen.mains, seen.power, seen.bmc_answers, seen.lost_feeds) == (False, Power.OFF, False, ["a"])
    lost = bench.rack.control.wait_for_event(bench.machine, "feed_lost", after=before)
    assert (lost.source, lost.detail) == ("snmp", {"feed": "a"})
    bench.order(bench.words.switch_on)
    assert bench.read(bench.words.state) == bench.words.on
    bench.rack.control.wait_for(bench.machine, lambda machine: machine.phase is Phase.RUNNING)


def test_reboot_is_off_for_its_time(bench: Bench) -> None:
    before = bench.rack.control.last_event()
    bench.order(bench.words.reboot)
    bench.rack.control.wait_for_event(bench.pdu.name, "outlet_off", after=before)
    assert not bench.rack.control.machine(bench.machine).mains
    on = bench.rack.control.wait_for_event(bench.pdu.name, "outlet_on", after=before)
    assert on.source == "machine"
    assert bench.read(bench.words.state) == bench.words.on
    assert bench.actions(before, bench.machine) == [
        "feed_lost",
        "mains_lost",
        "feed_restored",
        "mains_restored",
    ]


def test_pdu_tells_who_it_is_and_walks_to_its_end(bench: Bench) -> None:
    everything = snmp("snmpbulkwalk", bench.pdu.snmp, ".1").output.splitlines()
    names = [line.partition(" ")[0] for line in everything[:-1]]
    assert len(set(names)) == len(names) > 15
    assert bench.read("1.3.6.1.2.1.1.2.0") == f".{bench.words.object_id}"
    assert bench.read("1.3.6.1.2.1.1.5.0") == f'"{bench.pdu.name}"'


def test_command_that_there_is_none_of_is_refused(bench: Bench) -> None:
    assert "wrongValue" in bench.order((bench.words.switch_on[0], "77"))
    assert "notWritable" in bench.order((bench.words.state, "1"))
    assert bench.read(bench.words.state) == bench.words.on


def test_power_and_energy_are_measured(bench: Bench) -> None:
    if not bench.words.watts:
        assert bench.pdu.kind is PduKind.APC_RPDU  # which measures no outlets
        return
    assert bench.read(bench.words.watts) == "9"  # standby
    bench.rack.control.press_power_button(bench.machine)
    bench.rack.control.wait_for(bench.machine, lambda machine: machine.phase is Phase.RUNNING)
    watts = int(bench.read(bench.words.watts))
    assert watts > 40
    first = int(bench.read(bench.words.energy))
    deadline = time.monotonic() + 20
    while int(bench.read(bench.words.energy)) < first + 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert int(bench.read(bench.words.energy)) >= first + 2
    bench.order(bench.words.switch_off)
    assert bench.read(bench.words.watts) == "0"
    last = bench.read(bench.words.energy)
    time.sleep(0.1)
    assert bench.read(bench.words.energy) == last


def test_machine_with_two_feeds_lives_on_either_of_them(rack: RackThread) -> None:
    one, other = rack.config.pdu("pdu-1a"), rack.config.pdu("pdu-1b")
    assert one.outlets[0].machine == other.outlets[0].machine == "node-001"
    rack.control.press_power_button("node-001")
    rack.control.wait_for("node-001", lambda machine: machine.phase is Phase.RUNNING)
    command = f"{RPDU2}.9.2.4.1.5.1"
    watts = f"{RPDU2}.9.4.3.1.7"
    half = int(walk(one.snmp, watts)["1"])
    snmp("snmpset", one.snmp, command, "i", "2")
    seen = rack.control.machine("node-001")
    assert (seen.power, seen.lost_feeds) == (Power.ON, ["a"])
    assert walk(one.snmp, watts)["1"] == "0"
    assert int(walk(other.snmp, watts)["1"]) > half * 1.5
    snmp("snmpset", other.snmp, command, "i", "2")
    assert rack.control.machine("node-001").power is Power.OFF
    rack.control.pull_mains("node-001", feed="a")
    snmp("snmpset", one.snmp, command, "i", "1")
    assert not rack.control.machine("node-001").mains  # its cord is out
    assert rack.control.restore_mains("node-001", feed="a").mains


def test_ignored_command_is_accepted_and_not_done(bench: Bench) -> None:
    before = bench.rack.control.last_event()
    bench.rack.control.pdu_fault_on(bench.pdu.name, "ignore_outlet", times=1)
    bench.order(bench.words.switch_off)
    assert bench.read(bench.words.state) == bench.words.on
    assert bench.rack.control.machine(bench.machine).mains
    assert "outlet_ignored" in bench.actions(before, bench.pdu.name)
    bench.order(bench.words.switch_off)
    assert not bench.rack.control.machine(bench.machine).mains


def test_stuck_outlet_is_reported_as_switched(bench: Bench) -> None:
    bench.rack.control.pdu_fault_on(bench.pdu.name, "stuck_outlet", value=1)
    bench.order(bench.words.switch_off)
    assert bench.read(bench.words.state) == bench.words.off
    assert bench.rack.control.machine(bench.machine).mains
    outlet = bench.rack.control.pdu(bench.pdu.name).outlet(1)
    assert (outlet.on, outlet.delivers, outlet.watts) == (False, True, 9)
    if bench.words.watts:
        assert bench.read(bench.words.watts) == "9"


def test_command_ends_a_reboot_that_is_under_way(bench: Bench) -> None:
    bench.order(bench.words.reboot)
    bench.order(bench.words.switch_off)
    outlet = bench.rack.control.pdu(bench.pdu.name).outlet(1)
    assert (outlet.on, outlet.rebooting) == (False, False)


def test_machine_without_a_bmc_is_switched_by_its_outlet() -> None:
    config = one_of_each_kind()
    first = dataclasses.replace(config.machines[0], bmc=NO_BMC, restore_policy=RestorePolicy.ALWAYS_ON)
    config = dataclasses.replace(config, machines=(first, *config.machines[1:]))
    with RackThread(config) as rack:
        bench = Bench(rack, rack.config.pdus[0], WORDS[PduKind.APC_RPDU2])
        assert (rack.control.machine(first.name).bmc_answers, rack.control.machine(first.name).bmc.url) == (
            False,
            "",
        )
        bench.order(bench.words.switch_off)
        bench.order(bench.words.switch_on)
        rack.control.wait_for(first.name, lambda machine: machine.phase is Phase.RUNNING)
        bench.order(bench.words.switch_off)
        assert rack.control.machine(first.name).power is Power.OFF


def test_faults_of_the_wire(rack: RackThread) -> None:
    pdu = rack.config.pdu("pdu-1a").snmp
    command = f"{RPDU2}.9.2.4.1.5.1"
    rack.control.pdu_fault_on("pdu-1a", "unplugged")
    assert "Timeout" in snmp("snmpset", pdu, command, "i", "2", options=("-t", "0.2")).output
    assert not next(port for port in rack.control.switch("sw-1").ports if port.device == "pdu-1a").link
    rack.control.pdu_fault_off("pdu-1a", "unplugged")
    rack.control.pdu_fault_on("pdu-1a", "read_only")
    assert "notWritable" in snmp("snmpset", pdu, command, "i", "2").output
    assert rack.control.pdu("pdu-1a").outlet(1).delivers
    rack.control.pdu_fault_off("pdu-1a", "read_only")
    rack.control.pdu_fault_on("pdu-1a", "slow", value=0.15)
    started = time.monotonic()
    assert snmp("snmpset", pdu, command, "i", "2").status == 0
    assert time.monotonic() - started > 0.14
    assert not rack.control.pdu("pdu-1a").outlet(1).delivers
