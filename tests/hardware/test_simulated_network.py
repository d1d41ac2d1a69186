"""The switch and PDU drivers against the virtual rack, with its faults: what a driver says, and what really is."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rackhand.hardware.connect import open_pdu, open_switch
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import (
    AdminStatus,
    CounterReading,
    Endpoint,
    LearntMac,
    OperStatus,
    OutletAction,
    PortChange,
    PowerState,
)
from rackhand.hardware.sweep import counters
from rackhand.sim.config import PduConfig, PduKind, SnmpConfig
from rackhand.sim.demo import demo_rack
from rackhand.sim.faults import Fault
from rackhand.sim.machine import Phase
from rackhand.sim.rack import RackThread
from rackhand.sim.wire import PortView

CONFIG = demo_rack(4, time_scale=200)
MACHINE = CONFIG.machines[0]
SWITCH = CONFIG.switches[0].name


@pytest.fixture(scope="module")
def running_rack() -> Iterator[RackThread]:
    spare = tuple(outlet for outlet in CONFIG.pdus[0].outlets if outlet.machine is None)
    one_of_each = tuple(
        replace(CONFIG.pdus[0], name=f"pdu-{kind.value}", kind=kind, outlets=spare) for kind in PduKind
    )
    with RackThread(replace(CONFIG, pdus=(*CONFIG.pdus, *one_of_each))) as rack:
        yield rack


@pytest.fixture
def rack(running_rack: RackThread) -> RackThread:
    """The rack without faults, and MACHINE off."""
    control = running_rack.control
    for switch in control.switches():
        for fault in switch.faults:
            control.switch_fault_off(switch.name, fault)
    for pdu in control.pdus():
        for fault in pdu.faults:
            control.pdu_fault_off(pdu.name, fault)
    control.reset(MACHINE.name)
    return running_rack


def access(snmp: SnmpConfig, **settings: str) -> Endpoint:
    given = {"write_community": snmp.write_community, "timeout_seconds": "0.5", "retries": "1", **settings}
    return Endpoint("snmp", snmp.host, snmp.port, password=snmp.read_community, settings=given)


def switch_access(rack: RackThread, **settings: str) -> Endpoint:
    return access(rack.config.switches[0].snmp, **settings)


def port_of(rack: RackThread, plug: str) -> PortView:
    """The truth about the port that a NIC of MACHINE is plugged into."""
    ports = rack.control.switch(SWITCH).ports
    return next(port for port in ports if (port.device, port.plug) == (MACHINE.name, plug))


def pdu_of(rack: RackThread, name: str) -> PduConfig:
    return next(pdu for pdu in rack.config.pdus if pdu.name == name)


def start(rack: RackThread, name: str) -> None:
    rack.control.press_power_button(name)
    rack.control.wait_for(name, lambda seen: seen.phase is Phase.RUNNING)


async def test_ports_are_those_of_the_switch(rack: RackThread, doors: Doors) -> None:
    truth = rack.control.switch(SWITCH)
    async with open_switch(doors, switch_access(rack)) as switch:
        assert (await switch.info()).name == SWITCH
        ports = await switch.ports()
        assert await switch.port(ports[3].index) == ports[3]
    assert [
        (port.index, port.name, port.access_vlan, port.admin_status, port.oper_status) for port in ports
    ] == [
        (
            port.index,
            port.name,
            port.vlan,
            AdminStatus.UP if port.admin_up else AdminStatus.DOWN,
            OperStatus.UP if port.link else OperStatus.DOWN,
        )
        for port in truth.ports
    ]


async def test_running_machine_is_where_it_is_plugged(rack: RackThread, doors: Doors) -> None:
    start(rack, MACHINE.name)
    port = port_of(rack, MACHINE.nics[0].name)
    async with open_switch(doors, switch_access(rack)) as switch:
        learnt = {entry.mac: entry for entry in await switch.mac_table()}
        neighbours = {neighbour.index: neighbour for neighbour in await switch.neighbours()}
    mac = MACHINE.nics[0].mac.lower()
    assert learnt[mac] == LearntMac(mac, port.index, port.vlan)
    assert neighbours[port.index].system_name == MACHINE.name


@pytest.mark.parametrize("version", ["2c", "3"])
async def test_port_goes_down_and_into_another_vlan(rack: RackThread, doors: Doors, version: str) -> None:
    snmp = rack.config.switches[0].snmp
    assert snmp.user is not None
    endpoint = switch_access(rack)
    if version == "3":
        settings = {"version": "3", "authentication": "SHA", "privacy": "AES", "timeout_seconds": "2"}
        settings["privacy_password"] = snmp.user.privacy_password
        endpoint = Endpoint("snmp", snmp.host, snmp.port, snmp.user.name, snmp.user.auth_password, settings)
    before = port_of(rack, MACHINE.nics[1].name)
    vlan = next(each.id for each in rack.control.switch(SWITCH).vlans if each.id != before.vlan)
    async with open_switch(doors, endpoint) as switch:
        await switch.apply(PortChange(before.index, admin_status=AdminStatus.DOWN))
        assert (await switch.port(before.index)).admin_status is AdminStatus.DOWN
        assert not port_of(rack, MACHINE.nics[1].name).admin_up
        await switch.apply(PortChange(before.index, admin_status=AdminStatus.UP))
        lines = await switch.commands(PortChange(before.index, access_vlan=vlan))
        assert await switch.apply(PortChange(before.index, access_vlan=vlan)) == lines
        assert (await switch.port(before.index)).access_vlan == vlan
        assert port_of(rack, MACHINE.nics[1].name).vlan == vlan
        await switch.apply(PortChange(before.index, access_vlan=before.vlan))
        assert port_of(rack, MACHINE.nics[1].name) == before
        with pytest.raises(Refused, match="has no VLAN 3999"):
            await switch.apply(PortChange(before.index, access_vlan=3999))


async def test_lie_about_a_port_is_seen_by_reading(rack: RackThread, doors: Doors) -> None:
    port = port_of(rack, MACHINE.nics[1].name)
    vlan = next(each.id for each in rack.control.switch(SWITCH).vlans if each.id != port.vlan)
    rack.control.switch_fault_on(SWITCH, Fault.IGNORE_ADMIN_STATUS)
    rack.control.switch_fault_on(SWITCH, Fault.IGNORE_VLAN)
    async with open_switch(doors, switch_access(rack)) as switch:
        await switch.apply(PortChange(port.index, admin_status=AdminStatus.DOWN))
        await switch.apply(PortChange(port.index, access_vlan=vlan))
        seen = await switch.port(port.index)
    assert (seen.admin_status, seen.access_vlan) == (AdminStatus.UP, port.vlan)


async def test_refusals_and_silence(rack: RackThread, doors: Doors) -> None:
    index = port_of(rack, MACHINE.nics[1].name).index
    change = PortChange(index, admin_status=AdminStatus.UP)
    rack.control.switch_fault_on(SWITCH, Fault.READ_ONLY)
    async with open_switch(doors, switch_access(rack)) as switch:
        with pytest.raises(
            Refused, match=r"answers (noAccess|notWritable|readOnly) to `SET IF-MIB::ifAdminStatus"
        ):
            await switch.apply(change)
        rack.control.switch_fault_off(SWITCH, Fault.READ_ONLY)
        rack.control.switch_fault_on(SWITCH, Fault.UNPLUGGED)
        with pytest.raises(Unreachable, match="no answer"):
            await switch.port(index)
        rack.control.switch_fault_off(SWITCH, Fault.UNPLUGGED)
        await switch.apply(change)
    wrong = replace(switch_access(rack), password="guess")
    async with open_switch(doors, wrong) as switch:
        with pytest.raises(Unreachable, match="a wrong community looks the same"):
            await switch.info()


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE_CHANGE, Fault.CRASH_AFTER_CHANGE])
async def test_switch_that_dies_in_a_change_is_read_after_its_restart(
    rack: RackThread, doors: Doors, fault: Fault
) -> None:
    port = port_of(rack, MACHINE.nics[1].name)
    rack.control.switch_fault_on(SWITCH, fault, times=1)
    async with open_switch(doors, switch_access(rack)) as switch:
        before = (await switch.counters()).uptime_seconds
        # It may still acknowledge the SET, as a switch does that dies of it a moment later.
        with contextlib.suppress(Timeout):
            await switch.apply(PortChange(port.index, admin_status=AdminStatus.DOWN))
        with pytest.raises(Unreachable):
            await switch.port(port.index)
        rack.control.restart_switch(SWITCH)
        seen = await switch.port(port.index)
        assert (seen.admin_status is AdminStatus.DOWN) is not port_of(rack, MACHINE.nics[1].name).admin_up
        assert (await switch.counters()).uptime_seconds < before
        await switch.apply(PortChange(port.index, admin_status=AdminStatus.UP))


async def test_counters_are_those_of_the_switch_in_either_width(rack: RackThread, doors: Doors) -> None:
    port = port_of(rack, MACHINE.nics[0].name)
    async with open_switch(doors, switch_access(rack)) as switch:
        for bits in (64, 32):
            if bits == 32:
                rack.control.switch_fault_on(SWITCH, Fault.NARROW_COUNTERS)
            low = port_of(rack, MACHINE.nics[0].name)
            reading = await switch.counters()
            high = port_of(rack, MACHINE.nics[0].name)
            found = {each.index: each for each in reading.ports}
            assert len(found) == len(rack.control.switch(SWITCH).ports)
            assert {each.bits for each in reading.ports} == {bits}
            if bits == 64:
                assert low.octets_in <= found[port.index].octets_in <= high.octets_in
                assert low.octets_out <= found[port.index].octets_out <= high.octets_out


async def test_sweep_has_an_answer_or_an_error_for_each(rack: RackThread, doors: Doors) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        dead = replace(switch_access(rack), port=silent.getsockname()[1])
        endpoints = {
            "first": switch_access(rack),
            "second": access(rack.config.switches[1].snmp),
            **{f"dead {number}": replace(dead, host=f"127.0.4.{number}") for number in range(1, 101)},
            "wrong": replace(dead, settings={"bulk_size": "0"}),
        }
        started = time.monotonic()
        found = await counters(doors, endpoints)
        taken = time.monotonic() - started
    assert isinstance(found["first"], CounterReading)
    assert isinstance(found["second"], CounterReading)
    assert isinstance(found["wrong"], Unsupported)
    assert {type(found[key]) for key in endpoints if key.startswith("dead")} == {Unreachable}
    assert set(found) == set(endpoints)
    assert taken < 20  # one after the other they would take two minutes


@pytest.mark.parametrize("kind", PduKind)
async def test_outlets_of_every_kind_are_switched(rack: RackThread, doors: Doors, kind: PduKind) -> None:
    name = f"pdu-{kind.value}"
    async with open_pdu(doors, access(pdu_of(rack, name).snmp)) as pdu:
        assert await pdu.info()
        outlets = await pdu.outlets()
        assert [(outlet.index, outlet.name, outlet.state) for outlet in outlets] == [
            (outlet.number, outlet.name, PowerState.ON) for outlet in rack.control.pdu(name).outlets
        ]
        for action, is_on in ((OutletAction.OFF, False), (OutletAction.ON, True)):
            assert await pdu.commands(1, action) == await pdu.set_outlet(1, action)
            assert (await pdu.outlet(1)).state is (PowerState.ON if is_on else PowerState.OFF)
            assert rack.control.pdu(name).outlet(1).delivers is is_on
        await pdu.set_outlet(1, OutletAction.CYCLE)
        for _ in range(200):
            if not rack.control.pdu(name).outlet(1).rebooting:
                break
            await asyncio.sleep(0.05)
        assert (await pdu.outlet(1)).state is PowerState.ON
        with pytest.raises(Refused, match="has no outlet 99"):
            await pdu.set_outlet(99, OutletAction.OFF)


async def test_outlet_takes_the_feed_and_is_measured(rack: RackThread, doors: Doors) -> None:
    name = rack.config.pdus[0].name
    outlet = next(each for each in rack.control.pdu(name).outlets if each.machine == MACHINE.name)
    async with open_pdu(doors, access(pdu_of(rack, name).snmp)) as pdu:
        low = rack.control.pdu(name).outlet(outlet.number).energy_kwh
        seen = await pdu.outlet(outlet.number)
        high = rack.control.pdu(name).outlet(outlet.number).energy_kwh
        assert seen.watts is not None
        assert abs(seen.watts - outlet.watts) <= 1
        assert seen.energy_kwh is not None
        assert low - 0.1 <= seen.energy_kwh <= high  # APC counts tenths
        await pdu.set_outlet(outlet.number, OutletAction.OFF)
        assert not rack.control.pdu(name).outlet(outlet.number).delivers
        await pdu.set_outlet(outlet.number, OutletAction.ON)


async def test_pdu_that_lies_or_refuses(rack: RackThread, doors: Doors) -> None:
    name = "pdu-eaton"
    async with open_pdu(doors, access(pdu_of(rack, name).snmp)) as pdu:
        rack.control.pdu_fault_on(name, Fault.IGNORE_OUTLET, times=1)
        await pdu.set_outlet(1, OutletAction.OFF)
        assert (await pdu.outlet(1)).state is PowerState.ON
        rack.control.pdu_fault_on(name, Fault.READ_ONLY)
        with pytest.raises(Refused, match=r"to `SET EATON-EPDU-MIB::outletControlOffCmd\.0\.1 = 0`"):
            await pdu.set_outlet(1, OutletAction.OFF)
        rack.control.pdu_fault_on(name, Fault.UNPLUGGED)
        with pytest.raises(Unreachable, match=r"The PDU at .* gives no answer"):
            await pdu.outlets()
