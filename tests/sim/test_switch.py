"""Switches of the virtual rack, seen by net-snmp's tools."""

import socket
import time

import pytest

from rackhand.sim.config import SwitchConfig
from rackhand.sim.machine import Phase
from rackhand.sim.rack import RackThread
from tests.sim.tools import snmp, walk

IF = "1.3.6.1.2.1.2.2.1"
IF_X = "1.3.6.1.2.1.31.1.1.1"
BASE_PORT_IF_INDEX = "1.3.6.1.2.1.17.1.4.1.2"
FDB = "1.3.6.1.2.1.17.4.3.1"
Q_FDB_PORT = "1.3.6.1.2.1.17.7.1.2.2.1.2"
VLAN = "1.3.6.1.2.1.17.7.1.4.3.1"
PVID = "1.3.6.1.2.1.17.7.1.4.5.1.1"
LLDP_NAME = "1.0.8802.1.1.2.1.4.1.1.9"
UPTIME = "1.3.6.1.2.1.1.3"
GARBAGE = (
    b"",
    b"\x30",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x30\x03\x02\x01\x01",  # ends after the version
    b"\x30\x03\x02\x01\x00",  # version 1
    b"\x30\x05\x02\x01\x03\x30\x00",  # version 3 without a header
    bytes.fromhex("30160201010409726561642d73772d31a106020100020100"),  # a request without variables
)


@pytest.fixture
def switch(rack: RackThread) -> SwitchConfig:
    return rack.config.switches[0]


def start(rack: RackThread, name: str) -> None:
    rack.control.press_power_button(name)
    rack.control.wait_for(name, lambda seen: seen.phase is Phase.RUNNING)


def test_both_ways_to_walk_give_every_object_in_order(switch: SwitchConfig) -> None:
    listings = [
        [line.partition(" ")[0] for line in snmp(tool, switch.snmp, ".1").output.splitlines()]
        for tool in ("snmpwalk", "snmpbulkwalk")
    ]
    assert listings[0] == listings[1]
    oids = [
        tuple(map(int, name.strip(".").split("."))) for name in listings[0][:-1]
    ]  # the last tells of the end
    assert oids == sorted(set(oids))
    assert len(oids) > 600


def test_port_has_three_numbers(switch: SwitchConfig) -> None:
    names = walk(switch.snmp, f"{IF}.2")
    assert list(names.values()) == ["Vlan1", *(f"Ethernet1/{port}" for port in range(1, 25))]
    bridge = walk(switch.snmp, BASE_PORT_IF_INDEX)
    assert {names[index] for index in bridge.values()} == set(names.values()) - {"Vlan1"}
    assert not set(bridge) & set(bridge.values())
    assert walk(switch.snmp, f"{IF}.3") == {index: "136" if index == "1" else "6" for index in names}


def test_link_follows_mains_and_address_follows_power(rack: RackThread, switch: SwitchConfig) -> None:
    assert walk(switch.snmp, f"{IF}.8")["10101"] == "1"
    assert "1.0.0.94.0.83.0" not in walk(switch.snmp, Q_FDB_PORT)
    start(rack, "node-001")
    assert walk(switch.snmp, Q_FDB_PORT)["1.0.0.94.0.83.0"] == "1"
    assert walk(switch.snmp, f"{FDB}.2")["0.0.94.0.83.0"] == "1"
    assert walk(switch.snmp, LLDP_NAME)["0.1.1"] == "node-001"
    rack.control.pull_mains("node-001")
    assert walk(switch.snmp, f"{IF}.8")["10101"] == "2"
    assert "1.0.0.94.0.83.0" not in walk(switch.snmp, Q_FDB_PORT)


def test_port_that_is_down_has_no_link(rack: RackThread, switch: SwitchConfig) -> None:
    start(rack, "node-001")
    before = rack.control.last_event()
    assert snmp("snmpset", switch.snmp, f"{IF}.7.10101", "i", "2").status == 0
    assert (walk(switch.snmp, f"{IF}.7")["10101"], walk(switch.snmp, f"{IF}.8")["10101"]) == ("2", "2")
    assert "1.0.0.94.0.83.0" not in walk(switch.snmp, Q_FDB_PORT)
    assert "0.1.1" not in walk(switch.snmp, LLDP_NAME)
    (event,) = rack.control.log(after=before)
    assert (event.device, event.source, event.action) == ("sw-1", "snmp", "admin_status_set")
    assert event.detail == {"port": "Ethernet1/1", "status": "down"}


def test_counters_grow_with_simulated_time_and_stop_with_the_machine(
    rack: RackThread, switch: SwitchConfig
) -> None:
    start(rack, "node-001")
    first = int(walk(switch.snmp, f"{IF_X}.6")["10101"])
    time.sleep(0.05)
    second = int(walk(switch.snmp, f"{IF_X}.6")["10101"])
    assert second > first
    rack.control.press_power_button("node-001", hold=True)
    third = int(walk(switch.snmp, f"{IF_X}.6")["10101"])
    time.sleep(0.05)
    assert int(walk(switch.snmp, f"{IF_X}.6")["10101"]) == third > second
    assert int(walk(switch.snmp, f"{IF}.10")["10101"]) == third % 2**32


def test_vlan_is_made_filled_and_deleted(rack: RackThread, switch: SwitchConfig) -> None:
    made = snmp("snmpset", switch.snmp, f"{VLAN}.1.40", "s", "forty", f"{VLAN}.5.40", "i", "4")
    assert made.status == 0
    assert walk(switch.snmp, f"{VLAN}.1")["40"] == "forty"
    assert snmp("snmpset", switch.snmp, f"{PVID}.1", "u", "40").status == 0
    assert "inconsistentValue" in snmp("snmpset", switch.snmp, f"{VLAN}.5.40", "i", "6").output
    assert rack.rack is not None
    assert rack.rack.network.vlan_of("node-001", "eth0") is None  # it hears the VLAN and cannot answer
    for column in (2, 4):
        assert snmp("snmpset", switch.snmp, f"{VLAN}.{column}.40", "x", "800000").status == 0
    assert rack.rack.network.vlan_of("node-001", "eth0") == 40
    start(rack, "node-001")
    assert walk(switch.snmp, Q_FDB_PORT)["40.0.0.94.0.83.0"] == "1"
    assert snmp("snmpset", switch.snmp, f"{PVID}.1", "u", "1", f"{VLAN}.5.40", "i", "6").status != 0
    assert snmp("snmpset", switch.snmp, f"{PVID}.1", "u", "1").status == 0
    assert snmp("snmpset", switch.snmp, f"{VLAN}.5.40", "i", "6").status == 0
    assert "40" not in walk(switch.snmp, f"{VLAN}.1")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((f"{IF}.7.10101", "i", "3"), "wrongValue"),
        ((f"{IF}.7.10101", "s", "down"), "wrongType"),
        ((f"{IF}.7.1", "i", "2"), "inconsistentValue"),
        ((f"{IF}.7.9", "i", "2"), "noCreation"),
        ((f"{IF}.8.10101", "i", "2"), "notWritable"),
        ((f"{PVID}.1", "u", "777"), "inconsistentValue"),
        ((f"{PVID}.1", "u", "5000"), "wrongValue"),
        ((f"{VLAN}.5.1", "i", "6"), "inconsistentValue"),
        ((f"{VLAN}.5.41", "i", "6"), "inconsistentValue"),
        ((f"{VLAN}.5.5000", "i", "4"), "noCreation"),
        ((f"{VLAN}.2.1", "x", "00000001"), "wrongValue"),
        ((f"{IF_X}.18.10101", "s", "x" * 65), "wrongLength"),
        (("1.3.6.1.2.1.99.1.0", "i", "1"), "noCreation"),
        ((f"{IF_X}.18.10102", "s", "half", f"{IF}.7.10101", "i", "3"), "wrongValue"),
    ],
)
def test_set_that_does_not_fit_is_refused_and_changes_nothing(
    rack: RackThread, switch: SwitchConfig, arguments: tuple[str, ...], error: str
) -> None:
    before = rack.control.last_event()
    assert error in snmp("snmpset", switch.snmp, *arguments).output
    assert rack.control.last_event() == before


def test_read_community_may_not_write_and_a_wrong_one_hears_nothing(
    rack: RackThread, switch: SwitchConfig
) -> None:
    refused = snmp("snmpset", switch.snmp, f"{IF}.7.10101", "i", "2", community=switch.snmp.read_community)
    assert "noAccess" in refused.output
    assert (
        "Timeout"
        in snmp("snmpget", switch.snmp, f"{UPTIME}.0", community="nobody", options=("-t", "0.2")).output
    )
    assert walk(switch.snmp, f"{IF}.7")["10101"] == "1"


def test_what_a_person_at_the_rack_sees(rack: RackThread) -> None:
    switch = rack.control.switch("sw-1")
    assert [view.name for view in rack.control.switches()] == ["sw-1", "sw-2"]
    first = switch.port(1)
    assert (first.name, first.index, first.device, first.plug) == ("Ethernet1/1", 10101, "node-001", "eth0")
    assert (first.link, first.admin_up, first.pvid, first.vlan) == (True, True, 1, 1)
    assert (switch.port(13).plug, switch.port(13).vlan) == ("bmc", 30)
    assert (switch.port(24).device, switch.port(24).link) == (None, False)
    assert [port.device for port in switch.ports if port.plug == "mgmt"] == ["pdu-1a", "pdu-1b"]


@pytest.mark.parametrize(
    ("fault", "action"), [("ignore_admin_status", "admin_status_ignored"), ("read_only", "fault_struck")]
)
def test_admin_status_that_is_not_taken(
    rack: RackThread, switch: SwitchConfig, fault: str, action: str
) -> None:
    before = rack.control.last_event()
    rack.control.switch_fault_on("sw-1", fault, times=1)
    done = snmp("snmpset", switch.snmp, f"{IF}.7.10101", "i", "2")
    assert (done.status == 0) == (fault == "ignore_admin_status")
    assert walk(switch.snmp, f"{IF}.7")["10101"] == "1"
    assert rack.control.switch("sw-1").port(1).link
    assert rack.control.wait_for_event("sw-1", action, after=before)
    assert snmp("snmpset", switch.snmp, f"{IF}.7.10101", "i", "2").status == 0
    assert not rack.control.switch("sw-1").port(1).link


def test_vlan_that_is_accepted_and_not_set(rack: RackThread, switch: SwitchConfig) -> None:
    rack.control.switch_fault_on("sw-1", "ignore_vlan")
    assert snmp("snmpset", switch.snmp, f"{PVID}.1", "u", "10").status == 0
    assert snmp("snmpset", switch.snmp, f"{VLAN}.2.10", "x", "800000").status == 0
    assert snmp("snmpset", switch.snmp, f"{VLAN}.5.40", "i", "4").status == 0
    assert walk(switch.snmp, PVID)["1"] == "1"
    assert "40" not in walk(switch.snmp, f"{VLAN}.1")
    seen = rack.control.switch("sw-1")
    assert (seen.port(1).pvid, seen.vlans[0].egress) == (1, [])


def test_vlan_that_was_not_made_is_not_named(rack: RackThread, switch: SwitchConfig) -> None:
    before = rack.control.last_event()
    rack.control.switch_fault_on("sw-1", "ignore_vlan", times=1)
    assert snmp("snmpset", switch.snmp, f"{VLAN}.1.40", "s", "forty", f"{VLAN}.5.40", "i", "4").status == 0
    assert "40" not in walk(switch.snmp, f"{VLAN}.1")
    assert [event.action for event in rack.control.log(after=before)] == [
        "fault_on",
        "fault_struck",
        "vlan_ignored",
    ]


@pytest.mark.parametrize("fault", ["crash_before_change", "crash_after_change"])
def test_switch_that_dies_of_a_change_is_silent_until_it_is_restarted(
    rack: RackThread, switch: SwitchConfig, fault: str
) -> None:
    is_up = fault == "crash_before_change"
    rack.control.switch_fault_on("sw-1", fault, times=1)
    assert snmp("snmpset", switch.snmp, f"{IF}.7.10101", "i", "2").status == 0
    assert "Timeout" in snmp("snmpget", switch.snmp, f"{UPTIME}.0", options=("-t", "0.2")).output
    seen = rack.control.switch("sw-1")
    assert (seen.crashed, seen.answers, seen.port(1).link) == (True, False, is_up)
    rack.control.restart_switch("sw-1")
    assert walk(switch.snmp, f"{IF}.7")["10101"] == ("1" if is_up else "2")


def test_restart_counts_from_zero(rack: RackThread, switch: SwitchConfig) -> None:
    rack.control.set_traffic("node-001", "eth0", sends=1e6, receives=2e6)
    start(rack, "node-001")
    time.sleep(0.05)
    before = rack.control.restart_switch("sw-1")
    assert before.uptime < 60
    rack.control.press_power_button("node-001", hold=True)
    port = rack.control.switch("sw-1").port(1)
    elapsed = rack.control.switch("sw-1").uptime
    assert 0 < port.octets_in <= elapsed * 1e6
    assert abs(port.octets_out - 2 * port.octets_in) <= 2


def test_narrow_counters_wrap(rack: RackThread, switch: SwitchConfig) -> None:
    rack.control.switch_fault_on("sw-1", "narrow_counters")
    rack.control.set_traffic("node-001", "eth0", sends=1e9, receives=0)
    start(rack, "node-001")
    rack.control.restart_switch("sw-1")
    deadline = time.monotonic() + 20
    while rack.control.switch("sw-1").port(1).octets_in < 2**32 and time.monotonic() < deadline:
        time.sleep(0.02)
    rack.control.press_power_button("node-001", hold=True)
    octets = rack.control.switch("sw-1").port(1).octets_in
    assert octets >= 2**32
    assert walk(switch.snmp, f"{IF}.10")["10101"] == str(octets % 2**32)
    assert "No Such" in snmp("snmpget", switch.snmp, f"{IF_X}.6.10101").output
    assert rack.control.switch_fault_off("sw-1", "narrow_counters").counter_bits == 64
    assert walk(switch.snmp, f"{IF_X}.6")["10101"] == str(octets)


def test_swapped_cables_are_seen_where_they_are(rack: RackThread, switch: SwitchConfig) -> None:
    start(rack, "node-001")
    seen = rack.control.swap_cables("sw-1", 1, 24)
    assert (seen.port(1).device, seen.port(24).device, seen.port(24).plug) == (None, "node-001", "eth0")
    assert walk(switch.snmp, Q_FDB_PORT)["1.0.0.94.0.83.0"] == "24"
    assert walk(switch.snmp, LLDP_NAME)["0.24.1"] == "node-001"
    assert walk(switch.snmp, f"{IF}.8")["10101"] == "2"
    rack.control.reset()
    assert rack.control.switch("sw-1").port(1).device == "node-001"


def test_unplugged_switch_is_silent_and_a_slow_one_late(rack: RackThread, switch: SwitchConfig) -> None:
    rack.control.switch_fault_on("sw-1", "unplugged")
    assert "Timeout" in snmp("snmpget", switch.snmp, f"{UPTIME}.0", options=("-t", "0.2")).output
    rack.control.switch_fault_off("sw-1", "unplugged")
    rack.control.switch_fault_on("sw-1", "slow", value=0.15)
    started = time.monotonic()
    assert snmp("snmpget", switch.snmp, f"{UPTIME}.0").status == 0
    assert time.monotonic() - started > 0.14
    rack.control.switch_fault_off("sw-1", "slow")
    rack.control.switch_fault_on("sw-1", "wrong_password")
    assert "Timeout" in snmp("snmpget", switch.snmp, f"{UPTIME}.0", options=("-t", "0.2")).output
    rack.control.switch_fault_off("sw-1", "wrong_password")
    rack.control.switch_fault_on("sw-1", "drop_packets", value=1)
    assert "Timeout" in snmp("snmpget", switch.snmp, f"{UPTIME}.0", options=("-t", "0.2")).output


def test_garbage_is_not_answered(switch: SwitchConfig) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect((switch.snmp.host, switch.snmp.port))
        for datagram in GARBAGE:
            client.send(datagram)
            with pytest.raises(TimeoutError):
                client.recv(1500)
    assert snmp("snmpget", switch.snmp, f"{UPTIME}.0").status == 0
