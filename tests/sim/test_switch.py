"""Switches of the virtual rack, seen by net-snmp's tools."""

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
