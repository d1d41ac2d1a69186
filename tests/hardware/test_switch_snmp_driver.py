"""The SNMP switch driver against agents that are odd, as those of real switches are."""

from collections.abc import AsyncIterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pysnmp.proto import rfc1902

from rackhand.hardware.connect import open_switch
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import Refused, Timeout, Unsupported
from rackhand.hardware.interfaces import (
    AdminStatus,
    Counters,
    Endpoint,
    LearntMac,
    Neighbour,
    OperStatus,
    PortChange,
)
from rackhand.hardware.snmp_message import Index
from rackhand.hardware.switch_snmp import uptime_seconds, with_port
from tests.hardware.agents import Agent, Plain, answering, numbers

IF, IF_X, BRIDGE = "1.3.6.1.2.1.2.2.1", "1.3.6.1.2.1.31.1.1.1", "1.3.6.1.2.1.17"
VLAN, PVID = f"{BRIDGE}.7.1.4.3.1", f"{BRIDGE}.7.1.4.5.1.1"
LLDP = "1.0.8802.1.1.2.1"
UPTIME = "1.3.6.1.2.1.1.3.0"
# ifIndex 101 to 103 are ports, 1001 is a VLAN interface, 5 a loopback; their numbers in the bridge are 1, 2, 9.
INTERFACES = {101: (6, b"ge1"), 102: (117, b"ge2"), 103: (6, b"ge3"), 1001: (136, b"vlan1"), 5: (24, b"lo")}
BASES = {1: 101, 2: 102, 9: 103}
MAC = "0.0.94.0.83"  # 00:00:5e:00:53, in the documentation range


def plain_switch() -> dict[str, Plain]:
    """IF-MIB without ifXTable, and a bridge that knows no VLANs."""
    tree: dict[str, Plain] = {UPTIME: rfc1902.TimeTicks(12345), "1.3.6.1.2.1.1.5.0": b"sw"}
    for index, (kind, name) in INTERFACES.items():
        tree |= {
            f"{IF}.2.{index}": b"Interface " + name,
            f"{IF}.3.{index}": kind,
            f"{IF}.5.{index}": rfc1902.Gauge32(100_000_000),
            f"{IF}.6.{index}": bytes((0, 0, 94, 0, 83, index % 256)) if kind != 24 else b"",
            f"{IF}.7.{index}": 1,
            f"{IF}.8.{index}": 7 if index == 102 else 6 if index == 103 else 1,
            f"{IF}.10.{index}": rfc1902.Counter32(1000 + index),
            f"{IF}.16.{index}": rfc1902.Counter32(2000 + index),
        }
    return tree | {f"{BRIDGE}.1.4.1.2.{base}": index for base, index in BASES.items()}


def full_switch() -> dict[str, Plain]:
    tree = plain_switch()
    for index, (_, name) in INTERFACES.items():
        tree |= {
            f"{IF_X}.1.{index}": name + b"\0",
            f"{IF_X}.6.{index}": rfc1902.Counter64(2**40 + index),
            f"{IF_X}.10.{index}": rfc1902.Counter64(2**41 + index),
            f"{IF_X}.15.{index}": rfc1902.Gauge32(40_000),
            f"{IF_X}.18.{index}": b"rack 1",
        }
    tree |= {f"{PVID}.{base}": rfc1902.Gauge32(1) for base in BASES}
    # Base ports 1, 2, 9 are untagged in VLAN 1; 2 is tagged in 30; the lists of 20 and 30 are short.
    tree |= {f"{VLAN}.2.1": bytes((0xC0, 0x80)), f"{VLAN}.4.1": bytes((0xC0, 0x80))}
    tree |= {f"{VLAN}.2.20": b"", f"{VLAN}.4.20": b"", f"{VLAN}.2.30": b"\x40", f"{VLAN}.4.30": b""}
    return tree


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    async with answering(Agent(full_switch())) as agent:
        yield agent


def endpoint(agent: Agent, **settings: str) -> Endpoint:
    given = {"write_community": "private", "timeout_seconds": "0.5", "retries": "0", **settings}
    return Endpoint("snmp", "127.0.0.1", agent.port, password="public", settings=given)


async def test_ports_without_the_newer_table(doors: Doors) -> None:
    async with answering(Agent(plain_switch())) as agent, open_switch(doors, endpoint(agent)) as switch:
        ports = await switch.ports()
        assert await switch.port(102) == ports[1]
    assert [(port.index, port.name, port.speed_mbit, port.access_vlan) for port in ports] == [
        (101, "Interface ge1", 100, None),
        (102, "Interface ge2", 100, None),
        (103, "Interface ge3", 100, None),
    ]
    assert [port.oper_status for port in ports] == [OperStatus.UP, OperStatus.DOWN, OperStatus.DOWN]


async def test_ports_with_it(doors: Doors, agent: Agent) -> None:
    async with open_switch(doors, endpoint(agent)) as switch:
        port = await switch.port(103)
    assert (port.name, port.description, port.alias) == ("ge3", "Interface ge3", "rack 1")
    assert (port.speed_mbit, port.mac, port.access_vlan) == (40_000, "00:00:5e:00:53:67", 1)
    assert (port.admin_status, port.oper_status) == (AdminStatus.UP, OperStatus.DOWN)


async def test_counters_are_as_wide_as_each_port_has_them(doors: Doors, agent: Agent) -> None:
    del agent.tree[numbers(f"{IF_X}.10.102")]
    async with open_switch(doors, endpoint(agent)) as switch:
        reading = await switch.counters()
    assert reading.uptime_seconds == 123
    assert reading.ports == (
        Counters(101, 2**40 + 101, 2**41 + 101, 64),
        Counters(102, 1102, 2102, 32),
        Counters(103, 2**40 + 103, 2**41 + 103, 64),
    )


async def test_counters_of_two_lives_are_no_reading(doors: Doors, agent: Agent) -> None:
    clocks = iter((12345, 2))
    agent.on_get = lambda oid: rfc1902.TimeTicks(next(clocks)) if oid == numbers(UPTIME) else None
    async with open_switch(doors, endpoint(agent)) as switch:
        with pytest.raises(Timeout, match="restarted while its counters were read"):
            await switch.counters()


@pytest.mark.parametrize(
    ("ticks", "engine", "seconds"),
    [
        (12345, None, 123),
        (12345, 130, 123),
        (500, 43_000_000, 42_949_677),  # the ticks began again once
        (4_294_967_200, 42_949_680, 42_949_672),  # a moment before they do, by a clock that is a little ahead
        (100, 42_949_675, 42_949_673),
        (500, 20_000_000, 5),  # only the device restarted, not its engine's count
    ],
)
def test_uptime_outlives_the_round_of_its_ticks(ticks: int, engine: int | None, seconds: int) -> None:
    assert uptime_seconds(ticks, engine) == seconds


async def test_port_moves_with_its_bits_alone(doors: Doors, agent: Agent) -> None:
    async with open_switch(doors, endpoint(agent)) as switch:
        lines = await switch.commands(PortChange(103, access_vlan=20))
        assert await switch.apply(PortChange(103, access_vlan=20)) == lines
        assert (await switch.port(103)).access_vlan == 20
        assert await switch.commands(PortChange(103, access_vlan=20)) == (
            "SET Q-BRIDGE-MIB::dot1qPvid.9 = 20",
        )
        back = await switch.apply(PortChange(103, access_vlan=1))
        # The port of the bridge with the tag in VLAN 30 keeps it.
        tagged = await switch.commands(PortChange(102, access_vlan=20))
    assert lines == (
        "SET Q-BRIDGE-MIB::dot1qVlanStaticEgressPorts.20 = 0x0080",
        "SET Q-BRIDGE-MIB::dot1qVlanStaticUntaggedPorts.20 = 0x0080",
        "SET Q-BRIDGE-MIB::dot1qPvid.9 = 20",
        "SET Q-BRIDGE-MIB::dot1qVlanStaticUntaggedPorts.1 = 0xc000",
        "SET Q-BRIDGE-MIB::dot1qVlanStaticEgressPorts.1 = 0xc000",
    )
    assert back[0] == "SET Q-BRIDGE-MIB::dot1qVlanStaticEgressPorts.1 = 0xc080"
    assert not any(".30" in line for line in tagged)
    assert len(agent.log) == 10


async def test_change_that_is_refused_half_way_stops_there(doors: Doors, agent: Agent) -> None:
    def refuse_pvid(oid: Index, _value: int | bytes) -> str | None:
        return "inconsistentValue" if oid[:-1] == numbers(PVID) else None

    agent.on_set = refuse_pvid
    async with open_switch(doors, endpoint(agent)) as switch:
        with pytest.raises(
            Refused, match=r"answers inconsistentValue to `SET Q-BRIDGE-MIB::dot1qPvid\.9 = 20`"
        ):
            await switch.apply(PortChange(103, access_vlan=20))
        # What was done is undone by asking for the old VLAN.
        agent.on_set = lambda _oid, _value: None
        lines = await switch.apply(PortChange(103, access_vlan=1))
    assert lines == (
        "SET Q-BRIDGE-MIB::dot1qPvid.9 = 1",
        "SET Q-BRIDGE-MIB::dot1qVlanStaticUntaggedPorts.20 = 0x0000",
        "SET Q-BRIDGE-MIB::dot1qVlanStaticEgressPorts.20 = 0x0000",
    )


async def test_switch_without_vlans_says_so(doors: Doors) -> None:
    async with answering(Agent(plain_switch())) as agent, open_switch(doors, endpoint(agent)) as switch:
        with pytest.raises(Unsupported, match="has no Q-BRIDGE-MIB::dot1qVlanStaticEgressPorts"):
            await switch.apply(PortChange(101, access_vlan=20))
        assert await switch.neighbours() == []
        assert await switch.mac_table() == []


async def test_device_that_is_no_switch_says_so(doors: Doors) -> None:
    async with answering(Agent({UPTIME: 5})) as agent, open_switch(doors, endpoint(agent)) as switch:
        with pytest.raises(Unsupported, match="has no IF-MIB::ifType"):
            await switch.ports()


async def test_addresses_by_vlan_without_those_of_the_switch(doors: Doors, agent: Agent) -> None:
    fdb = f"{BRIDGE}.7.1.2.2.1"
    for last, (table, base, status) in enumerate([(7, 1, 3), (7, 2, 4), (7, 0, 3), (8, 9, 3), (8, 77, 3)]):
        agent.tree[numbers(f"{fdb}.2.{table}.{MAC}.{last}")] = rfc1902.Integer32(base)
        agent.tree[numbers(f"{fdb}.3.{table}.{MAC}.{last}")] = rfc1902.Integer32(status)
    by_number = [
        LearntMac("00:00:5e:00:53:00", 101, 7),
        LearntMac("00:00:5e:00:53:03", 103, 8),
    ]
    async with open_switch(doors, endpoint(agent)) as switch:
        assert await switch.mac_table() == by_number
        agent.tree[numbers(f"{BRIDGE}.7.1.4.2.1.3.0.120")] = rfc1902.Gauge32(7)  # the table of VLAN 120
        assert [entry.vlan for entry in await switch.mac_table()] == [120, 8]


async def test_addresses_of_a_bridge_without_vlans(doors: Doors) -> None:
    async with answering(Agent(plain_switch())) as agent, open_switch(doors, endpoint(agent)) as switch:
        agent.tree[numbers(f"{BRIDGE}.4.3.1.2.{MAC}.1")] = rfc1902.Integer32(9)
        assert await switch.mac_table() == [LearntMac("00:00:5e:00:53:01", 103, None)]


@pytest.mark.parametrize(
    "local",
    [
        {"2": 5, "3": b"ge2", "4": b"whatever"},  # interfaceName
        {"2": 3, "3": bytes((0, 0, 94, 0, 83, 102)), "4": b"whatever"},  # macAddress
        {"2": 7, "3": b"102", "4": b"whatever"},  # local, the ifIndex
        {"2": 7, "3": b"0x7", "4": b"Interface ge2"},  # by its description
    ],
)
async def test_port_of_a_neighbour_is_found_by_what_the_switch_calls_it(
    doors: Doors, agent: Agent, local: Mapping[str, Plain]
) -> None:
    tree = {f"{LLDP}.3.7.1.{column}.77": value for column, value in local.items()}
    tree |= lldp_neighbour(77)
    agent.tree |= Agent(tree).tree
    async with open_switch(doors, endpoint(agent)) as switch:
        assert await switch.neighbours() == [Neighbour(102, "00:00:5e:00:53:42", "eno1", "host1")]


@pytest.mark.parametrize(("number", "index"), [(2, 102), (103, 103)])
async def test_port_of_a_neighbour_without_a_name_is_that_of_the_bridge_or_the_interface(
    doors: Doors, agent: Agent, number: int, index: int
) -> None:
    tree = {f"{LLDP}.3.7.1.2.{number}": 7, f"{LLDP}.3.7.1.3.{number}": b"?", **lldp_neighbour(number)}
    agent.tree |= Agent(tree).tree
    async with open_switch(doors, endpoint(agent)) as switch:
        assert [neighbour.index for neighbour in await switch.neighbours()] == [index]


def lldp_neighbour(number: int) -> dict[str, Plain]:
    row = f"4242.{number}.1"
    return {
        f"{LLDP}.4.1.1.4.{row}": 4,
        f"{LLDP}.4.1.1.5.{row}": bytes((0, 0, 94, 0, 83, 0x42)),
        f"{LLDP}.4.1.1.6.{row}": 5,
        f"{LLDP}.4.1.1.7.{row}": b"eno1",
        f"{LLDP}.4.1.1.9.{row}": b"host1",
    }


@given(ports=st.binary(max_size=20), base=st.integers(1, 200), member=st.booleans())
def test_port_list_changes_in_one_bit(ports: bytes, base: int, *, member: bool) -> None:
    def members(octets: bytes) -> set[int]:
        return {
            8 * place + bit + 1
            for place, octet in enumerate(octets)
            for bit in range(8)
            if octet & 0x80 >> bit
        }

    after = with_port(ports, base, member=member)
    assert len(after) >= len(ports)
    assert members(after) == (members(ports) | {base} if member else members(ports) - {base})


def test_change_has_one_value() -> None:
    for values in ({}, {"access_vlan": 1, "speed_mbit": 0}):
        with pytest.raises(ValueError, match="exactly one"):
            PortChange(1, **values)  # type: ignore[arg-type]
