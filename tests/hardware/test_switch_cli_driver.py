"""The command line driver over real SSH, and what every operating system is told."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from rackhand.hardware.cli_platforms import PLATFORMS
from rackhand.hardware.connect import open_switch
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import AuthFailed, Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import AdminStatus, Endpoint, LearntMac, Neighbour, OperStatus, PortChange
from rackhand.hardware.switch_cli import lines_of, parse_speed, plain_mac, port_index, port_key
from tests.hardware.bmcs import free_port
from tests.hardware.cli_switches import (
    ENABLE_PASSWORD,
    PASSWORD,
    IosSwitch,
    JunosSwitch,
    ios_switch,
    junos_switch,
    serving_cli,
)

DOWN, UP = AdminStatus.DOWN, AdminStatus.UP


@pytest.fixture
def ios() -> Iterator[IosSwitch]:
    switch = ios_switch()
    with serving_cli(switch):
        yield switch


@pytest.fixture
def junos() -> Iterator[JunosSwitch]:
    switch = junos_switch()
    with serving_cli(switch):
        yield switch


async def test_ios_ports_are_read(doors: Doors, ios: IosSwitch) -> None:
    ios.ports["Gi1/0/2"].is_shut = True
    ios.ports["Gi1/0/2"].vlan = 20
    async with open_switch(doors, ios.endpoint) as switch:
        info = await switch.info()
        ports = await switch.ports()
        with pytest.raises(Refused, match="no port with the number 1"):
            await switch.port(1)
    assert info.name == "sw1"
    assert info.description == f"Cisco IOS, IOS XE, host key {ios.fingerprint}"
    assert [
        (port.name, port.admin_status, port.oper_status, port.access_vlan, port.speed_mbit) for port in ports
    ] == [
        ("Gi1/0/1", UP, OperStatus.UP, 1, 1000),
        ("Gi1/0/2", DOWN, OperStatus.DOWN, 20, 0),
        ("Gi1/0/3", UP, OperStatus.DOWN, 1, 0),
        ("Te1/1/1", UP, OperStatus.UP, None, 10000),
    ]
    assert ports[3].alias == "to core"


async def test_ios_does_what_the_dry_run_shows(doors: Doors, ios: IosSwitch) -> None:
    index = port_index("Gi1/0/2")
    changes = {
        PortChange(index, admin_status=DOWN): ("interface Gi1/0/2", "shutdown"),
        PortChange(index, access_vlan=20): (
            "interface Gi1/0/2",
            "switchport mode access",
            "switchport access vlan 20",
        ),
        PortChange(index, speed_mbit=100): ("interface Gi1/0/2", "speed 100"),
        PortChange(index, admin_status=UP): ("interface Gi1/0/2", "no shutdown"),
    }
    async with open_switch(doors, ios.endpoint) as switch:
        for change, inner in changes.items():
            lines = ("configure terminal", *inner, "end", "write memory")
            ios.typed.clear()
            assert await switch.commands(change) == lines
            assert not set(ios.typed) & set(lines)
            ios.typed.clear()
            assert await switch.apply(change) == lines
            assert [line for line in ios.typed if not line.startswith("show ")] == list(lines)
            if change.admin_status is DOWN:
                assert (await switch.port(index)).admin_status is DOWN
        port = await switch.port(index)
    assert (port.admin_status, port.access_vlan, port.speed_mbit) == (UP, 20, 100)
    assert ios.ports["Gi1/0/1"].vlan == 1
    assert ios.logins == 1
    assert ios.saved == 4


async def test_ios_tables_are_read(doors: Doors, ios: IosSwitch) -> None:
    async with open_switch(doors, ios.endpoint) as switch:
        assert await switch.mac_table() == [
            LearntMac("00:00:5e:00:53:01", port_index("Gi1/0/1"), 1),
            LearntMac("00:00:5e:00:53:02", port_index("Gi1/0/2"), 20),
        ]
        assert await switch.neighbours() == [
            Neighbour(port_index("Gi1/0/2"), "00:00:5e:00:53:02", "eth0", "host2.example.com")
        ]
        with pytest.raises(Unsupported, match="use SNMP for traffic"):
            await switch.counters()


async def test_vlan_that_is_not_there_is_refused_and_not_made(doors: Doors, ios: IosSwitch) -> None:
    async with open_switch(doors, ios.endpoint) as switch:
        with pytest.raises(Refused, match="has no VLAN 99"):
            await switch.apply(PortChange(port_index("Gi1/0/1"), access_vlan=99))
        with pytest.raises(Unsupported, match="no speed of 7 Mbit/s, only 0 and 10, 100"):
            await switch.apply(PortChange(port_index("Gi1/0/1"), speed_mbit=7))
    assert 99 not in ios.vlans
    assert "configure terminal" not in ios.typed


async def test_ios_line_that_is_refused_ends_the_change(doors: Doors, ios: IosSwitch) -> None:
    index = port_index("Gi1/0/1")
    ios.refuses = "^shutdown$"
    async with open_switch(doors, ios.endpoint) as switch:
        with pytest.raises(Refused, match=r"answers to `shutdown`: % Invalid input detected"):
            await switch.apply(PortChange(index, admin_status=DOWN))
        assert ios.typed[-1] == "end"
        assert ios.saved == 0
        assert (await switch.port(index)).admin_status is UP  # the session goes on


async def test_switch_that_accepts_and_ignores_is_told_by_the_reading(doors: Doors, ios: IosSwitch) -> None:
    index = port_index("Gi1/0/1")
    ios.ignores = "^shutdown$"
    async with open_switch(doors, ios.endpoint) as switch:
        await switch.apply(PortChange(index, admin_status=DOWN))
        assert (await switch.port(index)).admin_status is UP


async def test_silence_in_the_middle_is_a_timeout_and_a_cut_is_unreachable(doors: Doors) -> None:
    ios = ios_switch()
    change = PortChange(port_index("Gi1/0/1"), admin_status=DOWN)
    with serving_cli(ios, timeout_seconds="1"):
        async with open_switch(doors, ios.endpoint) as switch:
            ios.hangs = "^shutdown$"
            with pytest.raises(Timeout, match="gave no complete answer"):
                await switch.apply(change)
            ios.hangs, ios.cuts = "", "^shutdown$"
            with pytest.raises((Unreachable, Timeout)):
                await switch.apply(change)
            ios.cuts = ""
            await switch.apply(change)
            assert (await switch.port(change.index)).admin_status is DOWN
    assert ios.logins == 3


async def test_enable_is_asked_for_where_the_account_needs_it(doors: Doors) -> None:
    ios = ios_switch()
    ios.wants_enable = True
    with serving_cli(ios, enable_password=ENABLE_PASSWORD):
        async with open_switch(doors, ios.endpoint) as switch:
            await switch.apply(PortChange(port_index("Gi1/0/1"), admin_status=DOWN))
    assert ios.ports["Gi1/0/1"].is_shut


async def test_wrong_password_is_tried_once(doors: Doors, ios: IosSwitch) -> None:
    wrong = replace(ios.endpoint, password="wrong")
    for words in ("refused the account 'admin'", "not asked again"):
        with pytest.raises(AuthFailed, match=words):
            async with open_switch(doors, wrong) as switch:
                await switch.info()
    assert ios.refused_logins == 1


async def test_host_key_is_pinned(doors: Doors, ios: IosSwitch) -> None:
    for key, is_right in ((ios.fingerprint, True), ("SHA256:" + "A" * 43, False)):
        endpoint = replace(ios.endpoint, settings={**ios.endpoint.settings, "host_key": key})
        async with open_switch(doors, endpoint) as switch:
            if is_right:
                assert (await switch.info()).name == "sw1"
            else:
                with pytest.raises(Refused, match="shows the host key SHA256:"):
                    await switch.info()
    assert ios.logins == 1  # the second never saw the password
    assert ios.refused_logins == 0


async def test_nobody_there_is_unreachable(doors: Doors) -> None:
    endpoint = Endpoint("cli", "127.0.0.1", free_port(), "admin", PASSWORD)
    async with open_switch(doors, endpoint) as switch:
        with pytest.raises(Unreachable, match="does not answer: TCP connection to device failed"):
            await switch.info()


async def test_junos_ports_are_read(doors: Doors, junos: JunosSwitch) -> None:
    junos.ports["ge-0/0/1"].is_shut = True
    junos.ports["ge-0/0/1"].vlan = 20
    async with open_switch(doors, junos.endpoint) as switch:
        assert (await switch.info()).name == "admin@sw2"
        ports = await switch.ports()
    assert [(port.name, port.admin_status, port.oper_status, port.access_vlan) for port in ports] == [
        ("ge-0/0/0", UP, OperStatus.UP, 1),
        ("ge-0/0/1", DOWN, OperStatus.DOWN, 20),
        ("ge-0/0/2", UP, OperStatus.DOWN, 1),
        ("ge-0/0/9", UP, OperStatus.UP, None),
    ]
    assert (ports[0].alias, ports[0].mac, ports[0].speed_mbit) == ("rack 1", "00:00:5e:00:53:f0", 1000)


async def test_junos_commits_what_the_dry_run_shows(doors: Doors, junos: JunosSwitch) -> None:
    index = port_index("ge-0/0/1")
    async with open_switch(doors, junos.endpoint) as switch:
        lines = await switch.apply(PortChange(index, admin_status=DOWN))
        assert lines == ("configure private", "set interfaces ge-0/0/1 disable", "commit and-quit")
        assert (await switch.port(index)).admin_status is DOWN
        await switch.apply(PortChange(index, admin_status=UP))
        await switch.apply(PortChange(index, access_vlan=20))
        port = await switch.port(index)
    assert (port.admin_status, port.access_vlan) == (UP, 20)
    assert junos.ports["ge-0/0/0"].vlan == 1
    assert junos.saved == 3


@pytest.mark.parametrize("refused", ["^commit and-quit$", "vlan members"])
async def test_junos_change_that_fails_leaves_nothing(doors: Doors, junos: JunosSwitch, refused: str) -> None:
    index = port_index("ge-0/0/1")
    junos.refuses = refused
    async with open_switch(doors, junos.endpoint) as switch:
        with pytest.raises(Refused, match="check-out failed"):
            await switch.apply(PortChange(index, access_vlan=20))
        assert junos.typed[-2:] == ["rollback 0", "exit configuration-mode"]
        junos.refuses = ""
        assert (await switch.port(index)).access_vlan == 1
        await switch.apply(PortChange(index, access_vlan=20))
        assert (await switch.port(index)).access_vlan == 20


async def test_junos_tables_are_read(doors: Doors, junos: JunosSwitch) -> None:
    index = port_index("ge-0/0/1")
    async with open_switch(doors, junos.endpoint) as switch:
        assert await switch.mac_table() == [LearntMac("00:00:5e:00:53:02", index, 20)]
        assert await switch.neighbours() == [
            Neighbour(index, "00:00:5e:00:53:02", "eth0", "host2.example.com")
        ]


# What every platform is told: to switch a port off, on, into VLAN 20, to 1000 Mbit/s, to automatic.
RENDERED = {
    "cisco_ios": (
        "Gi1/0/1",
        ("configure terminal", "interface Gi1/0/1", "shutdown", "end", "write memory"),
        ("configure terminal", "interface Gi1/0/1", "no shutdown", "end", "write memory"),
        (
            *("configure terminal", "interface Gi1/0/1", "switchport mode access"),
            *("switchport access vlan 20", "end", "write memory"),
        ),
        ("configure terminal", "interface Gi1/0/1", "speed 1000", "end", "write memory"),
        ("configure terminal", "interface Gi1/0/1", "speed auto", "end", "write memory"),
    ),
    "cisco_nxos": (
        "Eth1/1",
        ("configure terminal", "interface Eth1/1", "shutdown", "end", "copy running-config startup-config"),
        (
            "configure terminal",
            "interface Eth1/1",
            "no shutdown",
            "end",
            "copy running-config startup-config",
        ),
        (
            *("configure terminal", "interface Eth1/1", "switchport", "switchport mode access"),
            *("switchport access vlan 20", "end", "copy running-config startup-config"),
        ),
        ("configure terminal", "interface Eth1/1", "speed 1000", "end", "copy running-config startup-config"),
        ("configure terminal", "interface Eth1/1", "no speed", "end", "copy running-config startup-config"),
    ),
    "arista_eos": (
        "Et1",
        ("configure terminal", "interface Et1", "shutdown", "end", "write memory"),
        ("configure terminal", "interface Et1", "no shutdown", "end", "write memory"),
        (
            *("configure terminal", "interface Et1", "switchport mode access"),
            *("switchport access vlan 20", "end", "write memory"),
        ),
        ("configure terminal", "interface Et1", "speed 1000full", "end", "write memory"),
        ("configure terminal", "interface Et1", "default speed", "end", "write memory"),
    ),
    "juniper_junos": (
        "ge-0/0/0",
        ("configure private", "set interfaces ge-0/0/0 disable", "commit and-quit"),
        ("configure private", "delete interfaces ge-0/0/0 disable", "commit and-quit"),
        (
            "configure private",
            "delete interfaces ge-0/0/0 unit 0 family ethernet-switching vlan",
            "set interfaces ge-0/0/0 unit 0 family ethernet-switching interface-mode access",
            "set interfaces ge-0/0/0 unit 0 family ethernet-switching vlan members 20",
            "commit and-quit",
        ),
        ("configure private", "set interfaces ge-0/0/0 speed 1g", "commit and-quit"),
        ("configure private", "delete interfaces ge-0/0/0 speed", "commit and-quit"),
    ),
    "mikrotik_routeros": (
        "ether2",
        ('/interface ethernet set [find name="ether2"] disabled=yes',),
        ('/interface ethernet set [find name="ether2"] disabled=no',),
        ('/interface bridge port set [find interface="ether2"] pvid=20',),
        ('/interface ethernet set [find name="ether2"] auto-negotiation=no speed=1G-baseT-full',),
        ('/interface ethernet set [find name="ether2"] auto-negotiation=yes',),
    ),
    "hp_procurve": (
        "A1",
        ("configure terminal", "interface A1", "disable", "end", "write memory"),
        ("configure terminal", "interface A1", "enable", "end", "write memory"),
        ("configure terminal", "vlan 20", "untagged A1", "end", "write memory"),
        ("configure terminal", "interface A1", "speed-duplex auto-1000", "end", "write memory"),
        ("configure terminal", "interface A1", "speed-duplex auto", "end", "write memory"),
    ),
    "aruba_aoscx": (
        "1/1/1",
        ("configure terminal", "interface 1/1/1", "shutdown", "end", "write memory"),
        ("configure terminal", "interface 1/1/1", "no shutdown", "end", "write memory"),
        ("configure terminal", "interface 1/1/1", "no routing", "vlan access 20", "end", "write memory"),
        ("configure terminal", "interface 1/1/1", "speed 1000-full", "end", "write memory"),
        ("configure terminal", "interface 1/1/1", "no speed", "end", "write memory"),
    ),
    "huawei_vrp": (
        "GigabitEthernet0/0/1",
        ("system-view", "interface GigabitEthernet0/0/1", "shutdown", "return", "save", "y"),
        ("system-view", "interface GigabitEthernet0/0/1", "undo shutdown", "return", "save", "y"),
        (
            *("system-view", "interface GigabitEthernet0/0/1", "port link-type access"),
            *("port default vlan 20", "return", "save", "y"),
        ),
        (
            *("system-view", "interface GigabitEthernet0/0/1", "undo negotiation auto"),
            *("speed 1000", "return", "save", "y"),
        ),
        ("system-view", "interface GigabitEthernet0/0/1", "negotiation auto", "return", "save", "y"),
    ),
    "dell_os10": (
        "Ethernet 1/1/1",
        ("configure terminal", "interface Ethernet 1/1/1", "shutdown", "end", "write memory"),
        ("configure terminal", "interface Ethernet 1/1/1", "no shutdown", "end", "write memory"),
        (
            *("configure terminal", "interface Ethernet 1/1/1", "switchport mode access"),
            *("switchport access vlan 20", "end", "write memory"),
        ),
        ("configure terminal", "interface Ethernet 1/1/1", "speed 1000", "end", "write memory"),
        ("configure terminal", "interface Ethernet 1/1/1", "speed auto", "end", "write memory"),
    ),
}


def test_every_platform_is_rendered_here() -> None:
    assert set(RENDERED) == set(PLATFORMS)


@pytest.mark.parametrize("name", PLATFORMS)
def test_lines_of_every_change(name: str) -> None:
    port, *wanted = RENDERED[name]
    changes = [
        PortChange(1, admin_status=DOWN),
        PortChange(1, admin_status=UP),
        PortChange(1, access_vlan=20),
        PortChange(1, speed_mbit=1000),
        PortChange(1, speed_mbit=0),
    ]
    assert isinstance(port, str)
    assert [lines_of(PLATFORMS[name], port, change) for change in changes] == wanted


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        (("GigabitEthernet1/0/1", "Gi1/0/1", "gi1/0/1"), "gi1/0/1"),
        (("GE0/0/1", "GigabitEthernet0/0/1"), "gi0/0/1"),
        (("Ethernet 1/1/1", "Eth 1/1/1", "ethernet1/1/1"), "et1/1/1"),
        (("ge-0/0/1", "ge-0/0/1.0", "ge-0/0/1.0*"), "ge-0/0/1"),
        (("Twe1/0/1", "TwentyFiveGigE1/0/1"), "twe1/0/1"),
        (("Tw1/0/1", "TwoGigabitEthernet1/0/1"), "tw1/0/1"),
        (("A1", "a1"), "a1"),
    ],
)
def test_port_has_one_key_in_all_spellings(spellings: tuple[str, ...], key: str) -> None:
    assert {port_key(name) for name in spellings} == {key}
    assert len({port_index(name) for name in spellings}) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0000.5e00.5301", True),
        ("00-00-5E-00-53-01", True),
        ("00005e-005301", True),
        ("eth0", False),
        ("", False),
    ],
)
def test_mac_in_any_spelling(text: str, *, value: bool) -> None:
    assert plain_mac(text) == ("00:00:5e:00:53:01" if value else None)


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("a-1000", 1000),
        ("10G", 10000),
        ("2.5G", 2500),
        ("100FDx", 100),
        ("1000 Mb/s", 1000),
        ("auto", 0),
        ("", 0),
    ],
)
def test_speed_in_any_spelling(text: str, speed: int) -> None:
    assert parse_speed(text) == speed
