"""What switches are told on their command lines, and how their answers are read: a row per operating system.

The TextFSM templates are those of ntc-templates where these fit, else ours. Our names of the fields are `port`,
`admin`, `link`, `vlan`, `ports` and `name` of a VLAN, `speed`, `alias`, `mac`, `kind`, `chassis`, `remote_port` and
`system`.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass

CISCO_ERROR = r"(?m)^\s*(%(?! ?(Warning|Access VLAN))|Command rejected|Invalid input|ERROR:|Error:)"
NO_WORDS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Show:
    """A command that shows something; *fields* has, under our names, those of the TextFSM template."""

    command: str
    fields: Mapping[str, str]
    template: str = ""  # ours; without one that of ntc-templates for the command

    def rows(self, platform: str, output: str) -> list[dict[str, str | list[str]]]:
        """Read the answer; raise `ValueError` when it is not understood."""
        import textfsm  # half a second together with netmiko
        from ntc_templates.parse import ParsingException, parse_output

        if not output.strip():
            return []
        try:
            if self.template:
                machine = textfsm.TextFSM(io.StringIO(self.template))
                names = [name.lower() for name in machine.header]
                found = [dict(zip(names, row, strict=True)) for row in machine.ParseText(output)]
            else:
                found = parse_output(platform=platform, command=self.command, data=output)
        except (ParsingException, textfsm.Error) as error:
            raise ValueError(str(error)) from error
        return [{ours: row.get(theirs, "") for ours, theirs in self.fields.items()} for row in found]


@dataclass(frozen=True)
class Platform:
    """An operating system. The lines of a change are *enter*, those of the change, *leave*, *save*, in this order.

    `{port}`, `{vlan}` and `{speed}` are filled in. *abandon* leaves the configuration mode after a line failed.
    *ethernet* matches the names of Ethernet ports; *is_down* and *is_up* are the words, in lower case, for a port
    that is switched off and one that has a link.
    """

    title: str
    device_type: str  # netmiko's and ntc-templates' name
    ethernet: str
    enter: tuple[str, ...]
    leave: tuple[str, ...]
    save: tuple[str, ...]
    abandon: tuple[str, ...]
    up: tuple[str, ...]
    down: tuple[str, ...]
    access_vlan: tuple[str, ...]
    speed: tuple[str, ...]
    automatic: tuple[str, ...]
    speeds: Mapping[int, str]  # Mbit/s: the word
    ports: tuple[Show, ...]
    is_down: frozenset[str]
    is_up: frozenset[str]
    macs: Show
    neighbours: Show
    vlans: Show | None = None
    learned: frozenset[str] = NO_WORDS  # words of a field `kind` of the forwarding table; empty: all are
    error: str = CISCO_ERROR


def _interface(*lines: str) -> tuple[str, ...]:
    return ("interface {port}", *lines)


def _same(*speeds: int) -> Mapping[int, str]:
    return {speed: str(speed) for speed in speeds}


CISCO_FIELDS = {
    "port": "port",
    "admin": "status",
    "link": "status",
    "vlan": "vlan_id",
    "speed": "speed",
    "alias": "name",
}

# That of ntc-templates (9.3) stops at a port that is administratively down.
JUNOS_PORTS = r"""Value Required PORT (\S+)
Value ADMIN ([\w ]+)
Value LINK (\w+)
Value ALIAS (.*\S)
Value MAC ([0-9a-f]{2}(?::[0-9a-f]{2}){5})
Value SPEED (\w+)

Start
  ^Physical interface: -> Continue.Record
  ^Physical interface: ${PORT}, ${ADMIN}, Physical link is ${LINK}
  ^\s+Description: ${ALIAS}\s*$$
  ^.*\sSpeed: ${SPEED}
  ^\s+Current address: ${MAC}
  ^\s+Logical interface -> Skip

Skip
  ^Physical interface: -> Continue.Record
  ^Physical interface: ${PORT}, ${ADMIN}, Physical link is ${LINK} -> Start
"""
JUNOS_MACS = r"""Value VLAN (\S+)
Value MAC ([0-9a-f]{2}(?::[0-9a-f]{2}){5})
Value FLAGS ([A-Z,]+)
Value PORT (\S+)

Start
  ^\s*${VLAN}\s+${MAC}\s+${FLAGS}\s+\S+\s+${PORT}(\s|$$) -> Record
"""
ROUTEROS_BRIDGE_PORTS = r"""Value PORT (\S+)
Value VLAN (\d+)

Start
  ^\s*\d+.*\sinterface=${PORT}\s.*pvid=${VLAN}(\s|$$) -> Record
"""
OS10_PORTS = r"""Value Required PORT ([Ee]thernet ?[\d/:]+)
Value ADMIN (\w+)
Value LINK (\w+)
Value ALIAS (.*\S)
Value MAC ([0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5})
Value SPEED (\S+)

Start
  ^\S+ ?[\d/:]* is \w+, line protocol is -> Continue.Record
  ^${PORT} is ${ADMIN}, line protocol is ${LINK}
  ^Description: ${ALIAS}\s*$$
  ^\s*Current address is ${MAC}
  ^LineSpeed ${SPEED}
"""
OS10_PORT_VLANS = r"""Value PORT (Eth [\d/:]+)
Value MODE (A|T|-)
Value VLAN (\d+)

Start
  ^${PORT}\s+.*\s${MODE}\s+${VLAN}(\s|$$) -> Record
"""
OS10_MACS = r"""Value VLAN (\d+)
Value MAC ([0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5})
Value KIND (\w+)
Value PORT (\S+)

Start
  ^\s*${VLAN}\s+${MAC}\s+${KIND}\s+${PORT}\s*$$ -> Record
"""
OS10_NEIGHBOURS = r"""Value PORT (ethernet[\d/:]+)
Value SYSTEM (\S+|Not Advertised)
Value REMOTE_PORT (\S+)
Value CHASSIS (\S+)

Start
  ^${PORT}\s+${SYSTEM}\s+${REMOTE_PORT}\s+${CHASSIS}\s*$$ -> Record
"""
OS10_VLANS = r"""Value VLAN (\d+)

Start
  ^[\s\*@MRPV]*${VLAN}\s+(Active|Inactive) -> Record
"""

PLATFORMS: Mapping[str, Platform] = {
    "cisco_ios": Platform(
        title="Cisco IOS, IOS XE",
        device_type="cisco_ios",
        ethernet=r"^(Fa|Gi|Te|Tw|Fi|Fo|Hu|Ap|Et)\D*\d",
        enter=("configure terminal",),
        leave=("end",),
        save=("write memory",),
        abandon=("end",),
        up=_interface("no shutdown"),
        down=_interface("shutdown"),
        access_vlan=_interface("switchport mode access", "switchport access vlan {vlan}"),
        speed=_interface("speed {speed}"),
        automatic=_interface("speed auto"),
        speeds=_same(10, 100, 1000, 2500, 5000, 10000),
        ports=(Show("show interfaces status", CISCO_FIELDS),),
        is_down=frozenset({"disabled"}),
        is_up=frozenset({"connected"}),
        macs=Show(
            "show mac address-table",
            {"mac": "destination_address", "vlan": "vlan_id", "port": "destination_port", "kind": "type"},
        ),
        learned=frozenset({"dynamic"}),
        neighbours=Show(
            "show lldp neighbors detail",
            {
                "port": "local_interface",
                "chassis": "chassis_id",
                "remote_port": "neighbor_port_id",
                "system": "neighbor_name",
            },
        ),
        vlans=Show("show vlan", {"vlan": "vlan_id"}),
    ),
    "cisco_nxos": Platform(
        title="Cisco NX-OS",
        device_type="cisco_nxos",
        ethernet=r"^Eth\D*\d",
        enter=("configure terminal",),
        leave=("end",),
        save=("copy running-config startup-config",),
        abandon=("end",),
        up=_interface("no shutdown"),
        down=_interface("shutdown"),
        access_vlan=_interface("switchport", "switchport mode access", "switchport access vlan {vlan}"),
        speed=_interface("speed {speed}"),
        automatic=_interface("no speed"),
        speeds=_same(100, 1000, 10000, 25000, 40000, 50000, 100000),
        ports=(Show("show interface status", CISCO_FIELDS),),
        is_down=frozenset({"disabled"}),
        is_up=frozenset({"connected"}),
        macs=Show(
            "show mac address-table",
            {"mac": "mac_address", "vlan": "vlan_id", "port": "ports", "kind": "type"},
        ),
        learned=frozenset({"dynamic"}),
        neighbours=Show(
            "show lldp neighbors detail",
            {
                "port": "local_interface",
                "chassis": "chassis_id",
                "remote_port": "neighbor_interface",
                "system": "neighbor_name",
            },
        ),
        vlans=Show("show vlan", {"vlan": "vlan_id"}),
    ),
    "arista_eos": Platform(
        title="Arista EOS",
        device_type="arista_eos",
        ethernet=r"^Et\D*\d",
        enter=("configure terminal",),
        leave=("end",),
        save=("write memory",),
        abandon=("end",),
        up=_interface("no shutdown"),
        down=_interface("shutdown"),
        access_vlan=_interface("switchport mode access", "switchport access vlan {vlan}"),
        speed=_interface("speed {speed}"),
        automatic=_interface("default speed"),
        speeds={100: "100full", 1000: "1000full", 10000: "10000full", 25000: "25gfull", 40000: "40gfull"}
        | {100000: "100gfull"},
        ports=(Show("show interfaces status", CISCO_FIELDS),),
        is_down=frozenset({"disabled"}),
        is_up=frozenset({"connected"}),
        macs=Show(
            "show mac address-table",
            {"mac": "mac_address", "vlan": "vlan_id", "port": "destination_port", "kind": "type"},
        ),
        learned=frozenset({"dynamic"}),
        neighbours=Show(
            "show lldp neighbors detail",
            {
                "port": "local_interface",
                "chassis": "chassis_id",
                "remote_port": "neighbor_interface",
                "system": "neighbor_name",
            },
        ),
        vlans=Show("show vlan", {"vlan": "vlan_id"}),
    ),
    "juniper_junos": Platform(
        title="Juniper Junos (ELS)",
        device_type="juniper_junos",
        ethernet=r"^(ge|xe|et|mge|fe)-[\d/:]+$",
        enter=("configure private",),  # a candidate of our own: nobody else's unfinished work is committed
        leave=("commit and-quit",),
        save=(),
        abandon=("rollback 0", "exit configuration-mode"),
        up=("delete interfaces {port} disable",),
        down=("set interfaces {port} disable",),
        access_vlan=(
            "delete interfaces {port} unit 0 family ethernet-switching vlan",
            "set interfaces {port} unit 0 family ethernet-switching interface-mode access",
            "set interfaces {port} unit 0 family ethernet-switching vlan members {vlan}",
        ),
        speed=("set interfaces {port} speed {speed}",),
        automatic=("delete interfaces {port} speed",),
        speeds={10: "10m", 100: "100m", 1000: "1g", 10000: "10g", 25000: "25g", 40000: "40g", 100000: "100g"},
        ports=(
            Show(
                "show interfaces",
                {name: name for name in ("port", "admin", "link", "alias", "mac", "speed")},
                template=JUNOS_PORTS,
            ),
            Show("show vlans", {"vlan": "tag", "ports": "interfaces"}),
        ),
        is_down=frozenset({"administratively down", "disabled"}),
        is_up=frozenset({"up"}),
        macs=Show(
            "show ethernet-switching table",
            {"mac": "mac", "vlan": "vlan", "port": "port", "kind": "flags"},
            template=JUNOS_MACS,
        ),
        learned=frozenset({"d"}),
        neighbours=Show(
            "show lldp neighbors",
            {
                "port": "local_interface",
                "chassis": "chassis_id",
                "remote_port": "neighbor_interface",
                "system": "neighbor_name",
            },
        ),
        vlans=Show("show vlans", {"vlan": "tag", "name": "vlan_name"}),
        error=r"(?m)^\s*(error:|syntax error|unknown command|invalid |missing |\^$)",
    ),
    "mikrotik_routeros": Platform(
        title="MikroTik RouterOS 7",
        device_type="mikrotik_routeros",
        ethernet=r"",  # names are free; the kind says what is one
        enter=(),
        leave=(),
        save=(),  # what is set is saved
        abandon=(),
        up=('/interface ethernet set [find name="{port}"] disabled=no',),
        down=('/interface ethernet set [find name="{port}"] disabled=yes',),
        access_vlan=('/interface bridge port set [find interface="{port}"] pvid={vlan}',),
        speed=('/interface ethernet set [find name="{port}"] auto-negotiation=no speed={speed}',),
        automatic=('/interface ethernet set [find name="{port}"] auto-negotiation=yes',),
        speeds={10: "10M-baseT-full", 100: "100M-baseT-full", 1000: "1G-baseT-full"}
        | {2500: "2.5G-baseT", 5000: "5G-baseT", 10000: "10G-baseT"},
        ports=(
            Show(
                "/interface print terse without-paging",
                {
                    "port": "name",
                    "admin": "status",
                    "link": "status",
                    "alias": "comment",
                    "mac": "mac_address",
                    "kind": "type",
                },
            ),
            Show(
                "/interface bridge port print terse without-paging",
                {"port": "port", "vlan": "vlan"},
                template=ROUTEROS_BRIDGE_PORTS,
            ),
        ),
        is_down=frozenset({"x"}),
        is_up=frozenset({"r"}),
        macs=Show(
            "/interface bridge host print terse without-paging",
            {"mac": "mac_address", "vlan": "vlan_id", "port": "interface", "kind": "local"},
        ),
        learned=frozenset({""}),  # not local
        neighbours=Show(
            "/ip neighbor print detail",
            {
                "port": "interface",
                "chassis": "mac_address",
                "remote_port": "interface_name",
                "system": "identity",
            },
        ),
        error=r"(?m)^\s*(expected |syntax error|bad command|failure:|input does not match|invalid |no such item)",
    ),
    "hp_procurve": Platform(
        title="HPE ProCurve, ArubaOS-Switch",
        device_type="hp_procurve",
        ethernet=r"^[A-Z]?\d",
        enter=("configure terminal",),
        leave=("end",),
        save=("write memory",),
        abandon=("end",),
        up=_interface("enable"),
        down=_interface("disable"),
        access_vlan=("vlan {vlan}", "untagged {port}"),
        speed=_interface("speed-duplex auto-{speed}"),
        automatic=_interface("speed-duplex auto"),
        speeds=_same(10, 100, 1000),
        ports=(
            Show(
                "show interfaces brief",
                {"port": "port", "admin": "enabled", "link": "status", "speed": "mode"},
            ),
            Show("show interfaces status", {"port": "port", "alias": "name", "vlan": "vlan_untagged"}),
        ),
        is_down=frozenset({"no"}),
        is_up=frozenset({"up"}),
        macs=Show("show mac-address", {"mac": "mac_address", "vlan": "vlan_id", "port": "port"}),
        neighbours=Show(
            "show lldp info remote-device",
            {
                "port": "local_interface",
                "chassis": "chassis_id",
                "remote_port": "neighbor_interface",
                "system": "neighbor_name",
            },
        ),
        vlans=Show("show vlans", {"vlan": "vlan_id"}),
        error=r"(?m)^\s*(Invalid input|Incomplete input|Ambiguous input|Error|.*not found)",
    ),
    "aruba_aoscx": Platform(
        title="HPE Aruba AOS-CX",
        device_type="aruba_aoscx",
        ethernet=r"^\d+/\d+/\d",
        enter=("configure terminal",),
        leave=("end",),
        save=("write memory",),
        abandon=("end",),
        up=_interface("no shutdown"),
        down=_interface("shutdown"),
        access_vlan=_interface("no routing", "vlan access {vlan}"),
        speed=_interface("speed {speed}"),
        automatic=_interface("no speed"),
        speeds={100: "100-full", 1000: "1000-full", 10000: "10g", 25000: "25g", 40000: "40g", 100000: "100g"},
        ports=(
            Show(
                "show interface",
                {
                    "port": "interface",
                    "admin": "link_admin",
                    "link": "link_status",
                    "vlan": "vlan_access",
                    "speed": "speed",
                    "alias": "interface_desc",
                    "mac": "mac_address",
                },
            ),
        ),
        is_down=frozenset({"down"}),
        is_up=frozenset({"up"}),
        macs=Show(
            "show mac-address-table",
            {"mac": "mac_address", "vlan": "vlan_id", "port": "port", "kind": "type"},
        ),
        learned=frozenset({"dynamic"}),
        neighbours=Show(
            "show lldp neighbor-info detail",
            {
                "port": "local_interface",
                "chassis": "chassis_id",
                "remote_port": "neighbor_port_id",
                "system": "neighbor_name",
            },
        ),
        vlans=Show("show vlan", {"vlan": "vlan_id"}),
    ),
    "huawei_vrp": Platform(
        title="Huawei VRP",
        device_type="huawei_vrp",
        ethernet=r"^(\d*GE|XGE|MultiGE|Gigabit|XGigabit|Ethernet|Eth)\D*\d",
        enter=("system-view",),
        leave=("return",),
        save=("save", "y"),
        abandon=("return",),
        up=_interface("undo shutdown"),
        down=_interface("shutdown"),
        access_vlan=_interface("port link-type access", "port default vlan {vlan}"),
        speed=_interface("undo negotiation auto", "speed {speed}"),
        automatic=_interface("negotiation auto"),
        speeds=_same(10, 100, 1000),
        ports=(
            Show("display interface brief", {"port": "interface", "admin": "phy", "link": "phy"}),
            Show("display port vlan", {"port": "interface", "vlan": "vlan_id"}),
        ),
        is_down=frozenset({"*down"}),
        is_up=frozenset({"up"}),
        macs=Show(
            "display mac-address",
            {"mac": "destination_address", "vlan": "vlan_id", "port": "destination_port", "kind": "type"},
        ),
        learned=frozenset({"dynamic"}),
        neighbours=Show(
            "display lldp neighbor",
            {
                "port": "local_interface",
                "chassis": "chassis_id",
                "remote_port": "neighbor_port_id",
                "system": "neighbor_name",
            },
        ),
        vlans=Show("display vlan", {"vlan": "vlan_id"}),
        error=r"(?m)^\s*(Error:|\^$|Unrecognized command|Wrong parameter|Incomplete command)",
    ),
    "dell_os10": Platform(
        title="Dell SmartFabric OS10",
        device_type="dell_os10",
        ethernet=r"^Ethernet",
        enter=("configure terminal",),
        leave=("end",),
        save=("write memory",),
        abandon=("end",),
        up=_interface("no shutdown"),
        down=_interface("shutdown"),
        access_vlan=_interface("switchport mode access", "switchport access vlan {vlan}"),
        speed=_interface("speed {speed}"),
        automatic=_interface("speed auto"),
        speeds=_same(100, 1000, 10000, 25000, 40000, 100000),
        ports=(
            Show(
                "show interface",
                {
                    "port": "port",
                    "admin": "admin",
                    "link": "link",
                    "alias": "alias",
                    "mac": "mac",
                    "speed": "speed",
                },
                template=OS10_PORTS,
            ),
            Show("show interface status", {"port": "port", "vlan": "vlan"}, template=OS10_PORT_VLANS),
        ),
        is_down=frozenset({"down"}),
        is_up=frozenset({"up"}),
        macs=Show(
            "show mac address-table",
            {"mac": "mac", "vlan": "vlan", "port": "port", "kind": "kind"},
            template=OS10_MACS,
        ),
        learned=frozenset({"dynamic"}),
        neighbours=Show(
            "show lldp neighbors",
            {"port": "port", "chassis": "chassis", "remote_port": "remote_port", "system": "system"},
            template=OS10_NEIGHBOURS,
        ),
        vlans=Show("show vlan", {"vlan": "vlan"}, template=OS10_VLANS),
    ),
}
