"""Answers of switches as their command lines write them, read by the table of platforms."""

import pytest

from rackhand.hardware.cli_platforms import PLATFORMS
from rackhand.hardware.interfaces import AdminStatus, LearntMac, Neighbour, OperStatus
from rackhand.hardware.switch_cli import macs_of, neighbours_of, port_index, ports_of

UP, DOWN, NO_LINK = (
    (AdminStatus.UP, OperStatus.UP),
    (AdminStatus.DOWN, OperStatus.DOWN),
    (AdminStatus.UP, OperStatus.DOWN),
)
HOST = "00:00:5e:00:53:02"

# Per platform: its answers, its ports, and where HOST was learnt. Cisco IOS and Junos are played over SSH.
ANSWERS = {
    "cisco_nxos": {
        "show interface status": """
--------------------------------------------------------------------------------
Port          Name               Status    Vlan      Duplex  Speed   Type
--------------------------------------------------------------------------------
mgmt0         --                 connected routed    full    1000    --
Eth1/1        rack 1             connected 20        full    10G     10Gbase-SR
Eth1/2        --                 disabled  1         auto    auto    10Gbase-SR
Eth1/3        --                 notconnec trunk     auto    auto    10Gbase-SR
Po1           --                 noOperMem 1         auto    auto    --
""",
        "show mac address-table": """
Legend:
        * - primary entry, G - Gateway MAC, (R) - Routed MAC, O - Overlay MAC
        age - seconds since last seen,+ - primary entry using vPC Peer-Link,
        (T) - True, (F) - False, C - ControlPlane MAC, ~ - vsan
   VLAN     MAC Address      Type      age     Secure NTFY Ports
---------+-----------------+--------+---------+------+----+------------------
*   20     0000.5e00.5302   dynamic  0         F      F    Eth1/1
G    -     0000.5e00.53ff   static   -         F      F    sup-eth1(R)
""",
    },
    "arista_eos": {
        "show interfaces status": """
Port       Name   Status       Vlan     Duplex Speed  Type            Flags Encapsulation
Et1        rack 1 connected    20       full   10G    10GBASE-SR
Et2               disabled     1        auto   auto   1000BASE-T
Et3               notconnect   trunk    auto   auto   1000BASE-T
Ma1               connected    routed   a-full a-1G   10/100/1000
""",
        "show mac address-table": """
          Mac Address Table
------------------------------------------------------------------

Vlan    Mac Address       Type        Ports      Moves   Last Move
----    -----------       ----        -----      -----   ---------
  20    0000.5e00.5302    DYNAMIC     Et1        1       0:00:45 ago
Total Mac Addresses for this criterion: 1
""",
    },
    "mikrotik_routeros": {
        "/interface print terse without-paging": """
 0 R  name=bridge1 type=bridge mtu=auto actual-mtu=1500 mac-address=00:00:5E:00:53:F0
 1 RS comment=rack 1 name=ether1 default-name=ether1 type=ether mtu=1500 actual-mtu=1500 mac-address=00:00:5E:00:53:F1
 2 XS name=ether2 default-name=ether2 type=ether mtu=1500 actual-mtu=1500 mac-address=00:00:5E:00:53:F2
 3  S name=ether3 default-name=ether3 type=ether mtu=1500 actual-mtu=1500 mac-address=00:00:5E:00:53:F3
""",
        "/interface bridge port print terse without-paging": """
 0     interface=ether1 bridge=bridge1 priority=0x80 edge=auto pvid=20 frame-types=admit-all
 1 I   interface=ether2 bridge=bridge1 priority=0x80 edge=auto pvid=1 frame-types=admit-all
""",
        "/interface bridge host print terse without-paging": """
 0 D   mac-address=00:00:5E:00:53:02 vid=20 interface=ether1 bridge=bridge1 on-interface=ether1
 1 DL  mac-address=00:00:5E:00:53:F0 interface=bridge1 bridge=bridge1 on-interface=bridge1
""",
    },
    "hp_procurve": {
        "show interfaces brief": """
 Status and Counters - Port Status

                  | Intrusion                           MDI  Flow  Bcast
  Port  Type      | Alert     Enabled Status Mode       Mode Ctrl  Limit
  ----- --------- + --------- ------- ------ ---------- ---- ----- ------
  A1    100/1000T | No        Yes     Up     1000FDx    MDIX off   0
  A2    100/1000T | No        No      Down   1000FDx    MDI  off   0
  A3    100/1000T | No        Yes     Down   1000FDx    MDI  off   0
""",
        "show interfaces status": """
  Port  Name       Status Config-mode   Speed     Type       Tagged Untagged
  ----- ---------- ------ ------------- --------- ---------- ------ --------
  A1    rack 1     Up     Auto          1000FDx   100/1000T  No     20
  A2               Down   Auto          1000FDx   100/1000T  No     1
  A3               Down   Auto          1000FDx   100/1000T  multi  No
""",
        "show mac-address": """
 Status and Counters - Port Address Table

  MAC Address   Port  VLAN
  ------------- ----- ----
  00005e-005302 A1    20
""",
    },
    "aruba_aoscx": {
        "show interface": """
Interface 1/1/1 is up
 Admin state is up
 Link transitions: 2
 Description: rack 1
 Hardware: Ethernet, MAC Address: 00:00:5e:00:53:f1
 MTU 1500
 Type 1GbT
 Full-duplex
 qos trust none
 Speed 1000 Mb/s
 Auto-negotiation is on
 VLAN Mode: access
 Access VLAN: 20

Interface 1/1/2 is down
 Admin state is down
 Link transitions: 0
 Description:
 Hardware: Ethernet, MAC Address: 00:00:5e:00:53:f2
 MTU 1500
 Type 1GbT
 qos trust none
 Auto-negotiation is on
 VLAN Mode: access
 Access VLAN: 1

Interface 1/1/3 is down
 Admin state is up
 Link transitions: 0
 Description:
 Hardware: Ethernet, MAC Address: 00:00:5e:00:53:f3
 MTU 1500
 Type 1GbT
 qos trust none
 Auto-negotiation is on
 VLAN Mode: native-untagged
 Native VLAN: 1
""",
        "show mac-address-table": """
MAC age-time            : 300 seconds
Number of MAC addresses : 1

MAC Address          VLAN     Type                      Port
--------------------------------------------------------------
00:00:5e:00:53:02    20       dynamic                   1/1/1
""",
    },
    "huawei_vrp": {
        "display interface brief": """
PHY: Physical
*down: administratively down
^down: standby
(l): loopback
(s): spoofing
InUti/OutUti: input utility/output utility
Interface                   PHY   Protocol InUti OutUti   inErrors  outErrors
GigabitEthernet0/0/1        up    up       0.01%  0.01%          0          0
GigabitEthernet0/0/2        *down down        0%     0%          0          0
GigabitEthernet0/0/3        down  down        0%     0%          0          0
NULL0                       up    up(s)       0%     0%          0          0
Vlanif1                     up    up          --     --          0          0
""",
        "display port vlan": """
Port                    Link Type    PVID  Trunk VLAN List
-------------------------------------------------------------------------------
GigabitEthernet0/0/1    access       20    -
GigabitEthernet0/0/2    access       1     -
""",
        "display mac-address": """
-------------------------------------------------------------------------------
MAC Address    VLAN/VSI                          Learned-From        Type
-------------------------------------------------------------------------------
0000-5e00-5302 20/-                              GE0/0/1             dynamic

-------------------------------------------------------------------------------
Total items displayed = 1
""",
    },
    "dell_os10": {
        "show interface": """
Ethernet 1/1/1 is up, line protocol is up
Description: rack 1
Hardware is Eth, address is 00:00:5e:00:53:f1
    Current address is 00:00:5e:00:53:f1
Pluggable media present, SFP+ type is SFP+ 10GBASE-SR
Interface index is 17
MTU 1532 bytes
LineSpeed 10G, Auto-Negotiation off

Ethernet 1/1/2 is down, line protocol is down
Hardware is Eth, address is 00:00:5e:00:53:f2
    Current address is 00:00:5e:00:53:f2
LineSpeed 0, Auto-Negotiation on

Ethernet 1/1/3 is up, line protocol is down
Hardware is Eth, address is 00:00:5e:00:53:f3
    Current address is 00:00:5e:00:53:f3
LineSpeed 0, Auto-Negotiation on

Management 1/1/1 is up, line protocol is up
Hardware is Eth, address is 00:00:5e:00:53:f0
    Current address is 00:00:5e:00:53:f0
""",
        "show interface status": """
--------------------------------------------------------------------------------------------------
Port            Description     Status   Speed    Duplex   Mode Vlan Tagged-Vlans
--------------------------------------------------------------------------------------------------
Eth 1/1/1       rack 1          up       10G      full     A    20   -
Eth 1/1/2                       down     0        full     A    1    -
Eth 1/1/3                       down     0        full     -
--------------------------------------------------------------------------------------------------
""",
        "show mac address-table": """
VlanId   Mac Address         Type        Interface
20       00:00:5e:00:53:02   dynamic     ethernet1/1/1
1        00:00:5e:00:53:03   static      ethernet1/1/2
""",
    },
}
NAMES = {
    "cisco_nxos": "Eth1/{}",
    "arista_eos": "Et{}",
    "mikrotik_routeros": "ether{}",
    "hp_procurve": "A{}",
    "aruba_aoscx": "1/1/{}",
    "huawei_vrp": "GigabitEthernet0/0/{}",
    "dell_os10": "Ethernet 1/1/{}",
}


def test_every_platform_is_read_somewhere() -> None:
    assert set(ANSWERS) | {"cisco_ios", "juniper_junos"} == set(PLATFORMS)


@pytest.mark.parametrize("name", ANSWERS)
def test_ports_and_addresses_are_read(name: str) -> None:
    platform, answers = PLATFORMS[name], ANSWERS[name]
    names = [NAMES[name].format(number) for number in (1, 2, 3)]
    ports = ports_of(
        platform, [show.rows(platform.device_type, answers[show.command]) for show in platform.ports]
    )
    assert [(port.name, (port.admin_status, port.oper_status), port.access_vlan) for port in ports] == [
        (names[0], UP, 20),
        (names[1], DOWN, 1),
        (names[2], NO_LINK, None),
    ]
    macs = platform.macs.rows(platform.device_type, answers[platform.macs.command])
    assert macs_of(platform, ports, [], macs) == [LearntMac(HOST, port_index(names[0]), 20)]


LLDP = {
    "mikrotik_routeros": """
 0 interface=ether1,bridge1 address=192.0.2.12 mac-address=00:00:5E:00:53:02 identity="host2" \
interface-name="eth0" system-caps=bridge system-caps-enabled=""
""",
    "dell_os10": """
Loc PortID          Rem Host Name      Rem Port Id         Rem Chassis Id
-----------------------------------------------------------------------
ethernet1/1/1       host2              eth0                00:00:5e:00:53:02
""",
    "hp_procurve": """
 LLDP Remote Devices Information

  LocalPort | ChassisId                 PortId PortDescr SysName
  --------- + ------------------------- ------ --------- ----------------------
  A1        | 00 00 5e 00 53 02         eth0   eth0      host2
""",
}


@pytest.mark.parametrize("name", LLDP)
def test_neighbours_are_read(name: str) -> None:
    platform = PLATFORMS[name]
    port = NAMES[name].format(1)
    ports = ports_of(
        platform, [show.rows(platform.device_type, ANSWERS[name][show.command]) for show in platform.ports]
    )
    rows = platform.neighbours.rows(platform.device_type, LLDP[name])
    assert neighbours_of(ports, rows) == [Neighbour(port_index(port), HOST, "eth0", "host2")]


def test_answer_of_another_system_is_not_taken_for_a_switch_without_ports() -> None:
    platform = PLATFORMS["dell_os10"]
    rows = [show.rows("dell_os10", "Ethernet adapter Local Area Connection\n") for show in platform.ports]
    with pytest.raises(ValueError, match="it shows no Ethernet ports; is it Dell SmartFabric OS10"):
        ports_of(platform, rows)
    with pytest.raises(ValueError, match="State Error"):
        PLATFORMS["cisco_ios"].ports[0].rows("cisco_ios", "Ethernet adapter Local Area Connection\n")
