"""The SNMP switch driver against stock `snmpd` on real Linux bridges: frames stop, move and come back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from rackhand.hardware.connect import open_switch
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import AuthFailed, HardwareError, Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import (
    AdminStatus,
    Endpoint,
    LearntMac,
    Neighbour,
    OperStatus,
    PortChange,
)
from tests.hardware import bridge
from tests.hardware.bridge import BridgeLab, Relay

WHY_NOT = bridge.missing()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture(scope="module")
def running_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeLab]:
    with bridge.bridge_lab(tmp_path_factory.mktemp("bridge")) as lab:
        yield lab


@pytest.fixture
async def relay(running_lab: BridgeLab) -> AsyncIterator[Relay]:
    loop = asyncio.get_running_loop()
    _, relay = await loop.create_datagram_endpoint(
        lambda: Relay(running_lab.switch), local_addr=("127.0.0.1", 0)
    )
    yield relay
    relay.close()


@pytest.fixture
async def lab(running_lab: BridgeLab, relay: Relay, doors: Doors) -> BridgeLab:
    """The lab with all ports up and in VLAN 1, whatever the test before left."""
    await answers_again(doors, relay)
    async with open_switch(doors, bridge.endpoint(relay)) as switch:
        for number in range(1, bridge.HOSTS + 1):
            index = running_lab.index(f"port{number}")
            await switch.apply(PortChange(index, admin_status=AdminStatus.UP))
            await switch.apply(PortChange(index, access_vlan=1))
    return running_lab


async def test_switch_tells_who_it_is_and_what_ports_it_has(
    lab: BridgeLab, relay: Relay, doors: Doors
) -> None:
    async with open_switch(doors, bridge.endpoint(relay)) as switch:
        info = await switch.info()
        ports = {port.name: port for port in await switch.ports()}
        one = await switch.port(lab.index("port1"))
    assert (info.name, info.description) == ("switch1.example.com", "Linux bridge")
    assert "lo" not in ports
    assert one == ports["port1"]
    assert (one.index, one.speed_mbit, one.access_vlan) == (lab.index("port1"), 10000, 1)
    assert one.mac is not None
    assert len(one.mac) == 17
    assert one.admin_status is AdminStatus.UP
    assert ports["br1"].access_vlan is None  # it is no port of the bridge


@pytest.mark.parametrize("version", ["2c", "3"])
async def test_port_that_is_down_carries_nothing_and_comes_back(
    lab: BridgeLab, relay: Relay, doors: Doors, version: str
) -> None:
    endpoint = bridge.endpoint(relay) if version == "2c" else bridge.endpoint_v3(relay)
    index = lab.index("port2")
    assert lab.reaches(1, 2)
    async with open_switch(doors, endpoint) as switch:
        lines = await switch.commands(down := PortChange(index, admin_status=AdminStatus.DOWN))
        assert (await switch.port(index)).admin_status is AdminStatus.UP  # a dry run
        assert await switch.apply(down) == lines == (f"SET IF-MIB::ifAdminStatus.{index} = down(2)",)
        assert (await switch.port(index)).admin_status is AdminStatus.DOWN
        assert not lab.reaches(1, 2, patience=0)
        assert lab.reaches(1, 3)  # the others carry on
        await switch.apply(PortChange(index, admin_status=AdminStatus.UP))
        assert (await switch.port(index)).admin_status is AdminStatus.UP
    assert lab.reaches(1, 2)


async def test_link_follows(lab: BridgeLab, relay: Relay, doors: Doors) -> None:
    index = lab.index("port2")
    async with open_switch(doors, bridge.endpoint(relay)) as switch:
        await switch.apply(PortChange(index, admin_status=AdminStatus.DOWN))
        for _ in range(300):  # snmpd reads its table of interfaces every few seconds
            if (await switch.port(index)).oper_status is OperStatus.DOWN:
                break
            await asyncio.sleep(0.1)
        assert (await switch.port(index)).oper_status is OperStatus.DOWN


async def test_vlans_separate_and_join(lab: BridgeLab, relay: Relay, doors: Doors) -> None:
    one, two = lab.index("port1"), lab.index("port2")
    assert lab.reaches(1, 2)
    async with open_switch(doors, bridge.endpoint(relay)) as switch:
        lines = await switch.commands(move := PortChange(two, access_vlan=20))
        assert await switch.apply(move) == lines
        assert (await switch.port(two)).access_vlan == 20
        assert not lab.reaches(1, 2, patience=0)
        assert lab.reaches(1, 3)
        await switch.apply(PortChange(one, access_vlan=20))
        assert lab.reaches(1, 2)
        assert not lab.reaches(1, 3, patience=0)
        for index in (one, two):
            await switch.apply(PortChange(index, access_vlan=1))
        assert await switch.commands(PortChange(two, access_vlan=1)) == (
            "SET Q-BRIDGE-MIB::dot1qPvid.12 = 1",
        )
    assert lab.reaches(1, 2)
    assert lab.reaches(1, 3)
    # Base ports are 11 to 13: the bits of port 2 alone are changed.
    assert lines == (
        "SET Q-BRIDGE-MIB::dot1qVlanStaticEgressPorts.20 = 0x0010000000000000",
        "SET Q-BRIDGE-MIB::dot1qVlanStaticUntaggedPorts.20 = 0x0010000000000000",
        "SET Q-BRIDGE-MIB::dot1qPvid.12 = 20",
        "SET Q-BRIDGE-MIB::dot1qVlanStaticUntaggedPorts.1 = 0x0028000000000000",
        "SET Q-BRIDGE-MIB::dot1qVlanStaticEgressPorts.1 = 0x0028000000000000",
    )


async def test_addresses_are_learnt_where_they_are_plugged(
    lab: BridgeLab, relay: Relay, doors: Doors
) -> None:
    async with open_switch(doors, bridge.endpoint(relay)) as switch:
        await switch.apply(PortChange(lab.index("port3"), access_vlan=30))
        assert lab.reaches(1, 2)
        assert lab.reaches(2, 1)
        assert not lab.reaches(3, 1, patience=0)
        found = await switch.mac_table()
    learnt = {entry for entry in found if entry.mac in {lab.mac(number) for number in (1, 2, 3)}}
    assert learnt == {
        LearntMac(lab.mac(1), lab.index("port1"), 1),
        LearntMac(lab.mac(2), lab.index("port2"), 1),
        LearntMac(lab.mac(3), lab.index("port3"), 30),
    }
    assert {entry.index for entry in found} == {entry.index for entry in learnt}


async def test_neighbours_are_on_the_port_whose_name_lldp_gives(
    lab: BridgeLab, relay: Relay, doors: Doors
) -> None:
    async with open_switch(doors, bridge.endpoint(relay)) as switch:
        assert await switch.neighbours() == [
            Neighbour(lab.index("port1"), "00:00:5e:00:53:01", "eth0", "host1"),
            Neighbour(lab.index("port2"), "00:00:5e:00:53:02", "eth0", "host2"),
        ]


async def test_counters_grow_with_traffic(lab: BridgeLab, relay: Relay, doors: Doors) -> None:
    index = lab.index("port2")
    async with open_switch(doors, bridge.endpoint(relay)) as switch:
        before = await switch.counters()
        assert lab.reaches(1, 2)
        assert lab.reaches(2, 1)
        for _ in range(300):
            after = await switch.counters()
            old = next(port for port in before.ports if port.index == index)
            new = next(port for port in after.ports if port.index == index)
            if new.octets_in > old.octets_in and new.octets_out > old.octets_out:
                break
            await asyncio.sleep(0.1)
    assert new.octets_in > old.octets_in
    assert new.octets_out > old.octets_out
    assert new.bits == 64
    assert after.uptime_seconds >= before.uptime_seconds


async def test_requests_back_to_back_all_work(lab: BridgeLab, relay: Relay, doors: Doors) -> None:
    index = lab.index("port3")
    async with open_switch(doors, bridge.endpoint(relay)) as switch:
        for turn in range(12):
            vlan = (20, 30, 1)[turn % 3]
            await switch.apply(PortChange(index, access_vlan=vlan))
            assert (await switch.port(index)).access_vlan == vlan


async def test_what_cannot_be_done_is_said(lab: BridgeLab, relay: Relay, doors: Doors) -> None:
    async with open_switch(doors, bridge.endpoint(relay)) as switch:
        with pytest.raises(Refused, match="has no VLAN 99"):
            await switch.apply(PortChange(lab.index("port1"), access_vlan=99))
        with pytest.raises(Refused, match="no Ethernet port with the ifIndex 4711"):
            await switch.port(4711)
        with pytest.raises(Refused, match="no Ethernet port with the ifIndex 1"):
            await switch.apply(PortChange(1, admin_status=AdminStatus.DOWN))  # the loopback
        with pytest.raises(Refused, match="in its bridge"):
            await switch.apply(PortChange(lab.index("br1"), access_vlan=20))
        with pytest.raises(Unsupported, match="takes no port speed"):
            await switch.commands(PortChange(lab.index("port1"), speed_mbit=1000))
        assert (await switch.port(lab.index("port1"))).access_vlan == 1
    assert lab.reaches(1, 2)


async def test_community_for_reading_does_not_write(lab: BridgeLab, relay: Relay, doors: Doors) -> None:
    for community, error in (("public", Refused), ("wrong", Timeout)):
        endpoint = bridge.endpoint(relay, write_community=community, timeout_seconds="0.5")
        async with open_switch(doors, endpoint) as switch:
            with pytest.raises(error):
                await switch.apply(PortChange(lab.index("port2"), admin_status=AdminStatus.DOWN))
            assert (await switch.port(lab.index("port2"))).admin_status is AdminStatus.UP


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"password": "wrong-password"}, AuthFailed),
        ({"user": "nobody"}, AuthFailed),
        ({"settings": {"privacy_password": "wrong-password"}}, Unreachable),  # net-snmp answers nothing
        ({"settings": {"privacy": "none"}}, Refused),  # authorizationError: this user must be private
    ],
)
async def test_wrong_account_of_version_3(
    lab: BridgeLab,
    relay: Relay,
    doors: Doors,
    change: dict[str, str | dict[str, str]],
    error: type[HardwareError],
) -> None:
    right = bridge.endpoint_v3(relay, timeout_seconds="0.5")
    settings = change.get("settings", {})
    assert isinstance(settings, dict)
    wrong = replace(right, settings={**right.settings, **settings})
    wrong = replace(wrong, user=str(change.get("user", right.user)))
    wrong = replace(wrong, password=str(change.get("password", right.password)))
    with pytest.raises(error):
        async with open_switch(doors, wrong) as switch:
            await switch.info()
    if error is AuthFailed:
        with pytest.raises(AuthFailed, match="not asked again"):
            async with open_switch(doors, wrong):
                pytest.fail("the door is shut")
    async with open_switch(doors, right) as switch:
        assert (await switch.info()).name == "switch1.example.com"


@pytest.mark.parametrize(
    ("user", "settings"),
    [
        (f"{bridge.USER}256", {"authentication": "SHA", "privacy": "AES-256"}),
        ("reader", {"authentication": "SHA-512", "privacy": "none"}),
    ],
)
async def test_other_digests_and_ciphers(
    lab: BridgeLab, relay: Relay, doors: Doors, user: str, settings: dict[str, str]
) -> None:
    async with open_switch(doors, bridge.endpoint_v3(relay, user, **settings)) as switch:
        assert (await switch.info()).name == "switch1.example.com"


@pytest.mark.parametrize(
    ("endpoint_of", "keeps_engine"),
    [(bridge.endpoint, True), (bridge.endpoint_v3, True), (bridge.endpoint_v3, False)],
)
async def test_restarted_switch_is_spoken_to_again(
    lab: BridgeLab, relay: Relay, doors: Doors, endpoint_of: Callable[..., Endpoint], *, keeps_engine: bool
) -> None:
    """The first thing that it hears is a change, sent once, to a clock or an engine that is no more."""
    lab.keeps_engine = keeps_engine
    index = lab.index("port2")
    async with open_switch(doors, endpoint_of(relay, timeout_seconds="0.5")) as switch:
        await asyncio.sleep(1.5)
        before = await switch.counters()
        lab.stop_snmpd()
        with pytest.raises(Unreachable, match="no answer"):
            await switch.info()
        lab.start_snmpd()
        await answers_again(doors, relay)
    async with open_switch(doors, endpoint_of(relay, timeout_seconds="10")) as switch:
        await switch.info()
        lab.stop_snmpd()
        lab.start_snmpd()
        await answers_again(doors, relay)
        await switch.apply(PortChange(index, admin_status=AdminStatus.DOWN))
        assert (await switch.port(index)).admin_status is AdminStatus.DOWN
        assert (await switch.counters()).uptime_seconds <= before.uptime_seconds + 10


async def answers_again(doors: Doors, relay: Relay) -> None:
    other = replace(bridge.endpoint(relay, timeout_seconds="0.5"), host="localhost")  # with a door of its own
    for _ in range(50):
        with contextlib.suppress(Unreachable, Timeout):
            async with open_switch(doors, other) as switch:
                await switch.info()
                return
    raise AssertionError("snmpd does not answer")
