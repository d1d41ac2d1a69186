"""The MIB of a switch: IF-MIB, BRIDGE-MIB, Q-BRIDGE-MIB and LLDP-MIB over its live state.

Three numberings of one port are kept apart, as on real switches: ifIndex, bridge port, and the position of
its bit in a PortList, which is that of the bridge port.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from rackhand.sim import ber
from rackhand.sim.ber import Oid, Value
from rackhand.sim.config import SwitchConfig
from rackhand.sim.events import Source
from rackhand.sim.mib import AnyTable, CannotSet, Column, Commit, ErrorStatus, Mib, Table
from rackhand.sim.snmp import octet_string, text, whole_number
from rackhand.sim.switch import DEFAULT_VLAN, LAST_VLAN, Neighbour, Port, Switch, Vlan
from rackhand.sim.system_mib import EXAMPLE_ENTERPRISE, SCALAR, System, system_group

MIB_2: Final[Oid] = (1, 3, 6, 1, 2, 1)
IF_TABLE: Final[Oid] = (*MIB_2, 2, 2, 1)
IF_X_TABLE: Final[Oid] = (*MIB_2, 31, 1, 1, 1)
BRIDGE: Final[Oid] = (*MIB_2, 17)
Q_BRIDGE: Final[Oid] = (*BRIDGE, 7, 1)
LLDP: Final[Oid] = (1, 0, 8802, 1, 1, 2, 1)

ETHERNET = 6  # ifType ethernetCsmacd
L3_IP_VLAN = 136  # ifType l3ipvlan
MTU = 9216
UP, DOWN, UNKNOWN = 1, 2, 4
LEARNED = 3  # dot1qTpFdbStatus
PERMANENT = 2  # dot1qVlanStatus
ACTIVE = 1  # RowStatus
MAC_ADDRESS, PORT_MAC, INTERFACE_NAME = 4, 3, 5  # LldpChassisIdSubtype; LldpPortIdSubtype, twice
LONGEST_ALIAS, LONGEST_VLAN_NAME = 64, 32  # RFC 2863; RFC 4363
MANAGEMENT_INDEX = 1  # ifIndex of the switch's own interface, which is no port


class RowStatus(IntEnum):
    """What a SET may ask of a row, RFC 2579."""

    ACTIVE = 1
    CREATE_AND_GO = 4
    CREATE_AND_WAIT = 5
    DESTROY = 6


@dataclass(frozen=True)
class _Interface:
    """A row of the interface tables: a port, or the switch's own address in VLAN 1."""

    index: int
    name: str
    mac: str
    port: Port | None


@dataclass(frozen=True)
class _Learnt:
    """A row of the forwarding tables."""

    mac: str
    port: int


def switch_mib(switch: Switch) -> Mib:
    """Return what the agent of *switch* shows."""
    system = System(
        description=f"Example Networks {switch.config.model}, software 4.2.0",
        object_id=(*EXAMPLE_ENTERPRISE, 1, 1),
        uptime=lambda: switch.uptime,
        name=switch.name,
        location=f"{switch.config.rack}, unit {switch.config.unit}",
        services=2,
    )
    return Mib(
        [system_group(system), *_interfaces(switch), *_bridge(switch), *_vlans(switch), *_lldp(switch)]
    )


# IF-MIB, RFC 2863


def _interfaces(switch: Switch) -> list[AnyTable]:
    management = _Interface(MANAGEMENT_INDEX, "Vlan1", switch.config.mac, None)
    ports = [_Interface(port.index, port.name, port.mac, port) for port in switch.ports.values()]
    all_rows: dict[Oid, _Interface] = {(row.index,): row for row in (management, *ports)}

    def rows() -> Mapping[Oid, _Interface]:
        switch.settle()
        return all_rows

    def since_start(moment: float) -> bytes:
        return ber.timeticks(max(0.0, moment - switch.started_at))

    def write_admin(row: _Interface, value: Value) -> Commit:
        up = whole_number(value, UP, DOWN) == UP
        port = row.port
        if port is None:
            raise CannotSet(ErrorStatus.INCONSISTENT_VALUE)
        return lambda: switch.set_admin_status(port, Source.SNMP, up=up)

    def write_alias(row: _Interface, value: Value) -> Commit:
        alias = text(value, LONGEST_ALIAS)
        port = row.port
        if port is None:
            raise CannotSet(ErrorStatus.INCONSISTENT_VALUE)
        return lambda: switch.set_alias(port, alias, Source.SNMP)

    def high(read: Callable[[Port], float]) -> Callable[[_Interface], bytes | None]:
        def of(row: _Interface) -> bytes | None:
            if switch.counter_bits < 64:  # noqa: PLR2004  # such switches lack the columns
                return None
            return ber.counter64(0 if row.port is None else int(read(row.port)))

        return of

    interfaces = Table(
        entry=(*MIB_2, 2),
        columns={1: Column[int](ber.integer)},
        rows=lambda: {SCALAR: len(all_rows)},
    )
    if_table = Table(
        entry=IF_TABLE,
        columns={
            1: Column[_Interface](lambda row: ber.integer(row.index)),
            2: Column(lambda row: ber.octets(row.name)),
            3: Column(lambda row: ber.integer(L3_IP_VLAN if row.port is None else ETHERNET)),
            4: Column(lambda _row: ber.integer(MTU)),
            5: Column(lambda row: ber.gauge32(_mbit(row) * 1_000_000)),
            6: Column(lambda row: ber.octets(mac_bytes(row.mac))),
            7: Column(
                lambda row: ber.integer(UP if row.port is None or row.port.admin_up else DOWN), write_admin
            ),
            8: Column(lambda row: ber.integer(UP if row.port is None or row.port.is_up else DOWN)),
            9: Column(
                lambda row: since_start(switch.started_at if row.port is None else row.port.changed_at)
            ),
            10: Column(lambda row: ber.counter32(0 if row.port is None else int(row.port.octets_in))),
            16: Column(lambda row: ber.counter32(0 if row.port is None else int(row.port.octets_out))),
        },
        rows=rows,
    )
    if_x_table = Table(
        entry=IF_X_TABLE,
        columns={
            1: Column[_Interface](lambda row: ber.octets(row.name)),
            6: Column(high(lambda port: port.octets_in)),
            10: Column(high(lambda port: port.octets_out)),
            15: Column(lambda row: ber.gauge32(_mbit(row))),
            18: Column(lambda row: ber.octets("" if row.port is None else row.port.alias), write_alias),
            19: Column(lambda _row: ber.timeticks(0)),  # counters begin when the switch does
        },
        rows=rows,
    )
    return [interfaces, if_table, if_x_table]


def _mbit(row: _Interface) -> int:
    return 0 if row.port is None else row.port.speed_mbit


# BRIDGE-MIB, RFC 4188, and the forwarding table of Q-BRIDGE-MIB, RFC 4363


def _bridge(switch: Switch) -> list[AnyTable]:
    def ports() -> Mapping[Oid, Port]:
        return {(number,): port for number, port in switch.ports.items()}

    def learnt() -> dict[tuple[int, str], _Learnt]:
        found = {}
        for port in switch.ports.values():
            end = port.far_end
            if end is not None and port.is_up and end.is_heard:
                found[port.pvid, end.mac] = _Learnt(end.mac, port.number)
        return found

    base = Table(
        entry=(*BRIDGE, 1),
        columns={
            1: Column[SwitchConfig](lambda row: ber.octets(mac_bytes(row.mac))),
            2: Column(lambda row: ber.integer(row.ports)),
            3: Column(lambda _row: ber.integer(2)),  # dot1dBaseType transparent-only
        },
        rows=lambda: {SCALAR: switch.config},
    )
    base_ports = Table(
        entry=(*BRIDGE, 1, 4, 1),
        columns={
            1: Column[Port](lambda port: ber.integer(port.number)),
            2: Column(lambda port: ber.integer(port.index)),
        },
        rows=ports,
    )
    plain = Table(
        entry=(*BRIDGE, 4, 3, 1),
        columns={
            1: Column[_Learnt](lambda row: ber.octets(mac_bytes(row.mac))),
            2: Column(lambda row: ber.integer(row.port)),
            3: Column(lambda _row: ber.integer(LEARNED)),
        },
        rows=lambda: {tuple(mac_bytes(mac)): row for (_vlan, mac), row in learnt().items()},
    )
    by_vlan = Table(
        entry=(*Q_BRIDGE, 2, 2, 1),
        columns={
            2: Column[_Learnt](lambda row: ber.integer(row.port)),
            3: Column(lambda _row: ber.integer(LEARNED)),
        },
        rows=lambda: {(vlan, *mac_bytes(mac)): row for (vlan, mac), row in learnt().items()},
    )
    return [base, base_ports, plain, by_vlan]


# Q-BRIDGE-MIB, RFC 4363


@dataclass(frozen=True)
class _VlanTables:
    """How VLANs are written as the MIB writes them: port 1 is the highest bit of the first octet of a PortList."""

    switch: Switch

    @property
    def octets(self) -> int:
        """Size of a PortList."""
        return (len(self.switch.ports) + 7) // 8

    def bits(self, numbers: set[int]) -> bytes:
        """Return the PortList of *numbers*."""
        whole = sum(1 << (self.octets * 8 - number) for number in numbers)
        return ber.octets(whole.to_bytes(self.octets, "big"))

    def numbers(self, value: Value) -> set[int]:
        """Return the ports of a PortList, which may be shorter (RFC 4363: the rest is zero)."""
        data = octet_string(value)
        found = {
            number
            for number in range(1, len(data) * 8 + 1)
            if data[(number - 1) // 8] << (number - 1) % 8 & 0x80
        }
        if not found <= self.switch.ports.keys():
            raise CannotSet(ErrorStatus.WRONG_VALUE)
        return found

    def write_egress(self, vlan: Vlan, value: Value) -> Commit:
        """Set where frames of *vlan* leave."""
        ports = self.numbers(value)
        return lambda: self.switch.set_vlan_ports(vlan, Source.SNMP, egress=ports)

    def write_untagged(self, vlan: Vlan, value: Value) -> Commit:
        """Set where frames of *vlan* leave untagged."""
        ports = self.numbers(value)
        return lambda: self.switch.set_vlan_ports(vlan, Source.SNMP, untagged=ports)

    def write_name(self, vlan: Vlan, value: Value) -> Commit:
        """Rename *vlan*."""
        name = text(value, LONGEST_VLAN_NAME)
        return lambda: self.switch.rename_vlan(vlan, name, Source.SNMP)

    def write_status(self, vlan: Vlan, value: Value) -> Commit:
        """Delete *vlan*, unless it is the default or untagged frames of a port belong to it."""
        status = whole_number(value, RowStatus.ACTIVE, RowStatus.DESTROY)
        if status == RowStatus.ACTIVE:
            return _do_nothing
        used = any(port.pvid == vlan.id for port in self.switch.ports.values())
        if status != RowStatus.DESTROY or vlan.id == DEFAULT_VLAN or used:
            raise CannotSet(ErrorStatus.INCONSISTENT_VALUE)
        return lambda: self.switch.delete_vlan(vlan, Source.SNMP)

    def create(self, index: Oid, value: Value) -> tuple[Vlan, Commit]:
        """Make a VLAN."""
        status = whole_number(value, RowStatus.ACTIVE, RowStatus.DESTROY)
        if len(index) != 1 or not DEFAULT_VLAN <= index[0] <= LAST_VLAN:
            raise CannotSet(ErrorStatus.NO_CREATION)
        if status not in {RowStatus.CREATE_AND_GO, RowStatus.CREATE_AND_WAIT}:
            raise CannotSet(ErrorStatus.INCONSISTENT_VALUE)
        vlan = Vlan(index[0], f"VLAN{index[0]:04d}")
        return vlan, lambda: self.switch.create_vlan(vlan, Source.SNMP)

    def write_pvid(self, port: Port, value: Value) -> Commit:
        """Move *port* to a VLAN that there is."""
        vlan = whole_number(value, DEFAULT_VLAN, LAST_VLAN)
        if vlan not in self.switch.vlans:
            raise CannotSet(ErrorStatus.INCONSISTENT_VALUE)
        return lambda: self.switch.set_pvid(port, vlan, Source.SNMP)


def _do_nothing() -> None:
    pass


def _vlans(switch: Switch) -> list[AnyTable]:
    tables = _VlanTables(switch)
    base = Table(
        entry=(*Q_BRIDGE, 1),
        columns={
            1: Column[Switch](lambda _row: ber.integer(1)),  # dot1qVlanVersionNumber
            2: Column(lambda _row: ber.integer(LAST_VLAN)),
            3: Column(lambda _row: ber.gauge32(LAST_VLAN)),
            4: Column(lambda row: ber.gauge32(len(row.vlans))),
        },
        rows=lambda: {SCALAR: switch},
    )
    current = Table(
        entry=(*Q_BRIDGE, 4, 2, 1),
        columns={
            3: Column[Vlan](lambda vlan: ber.gauge32(vlan.id)),  # its forwarding table
            4: Column(lambda vlan: tables.bits(vlan.egress)),
            5: Column(lambda vlan: tables.bits(vlan.untagged)),
            6: Column(lambda _vlan: ber.integer(PERMANENT)),
            7: Column(lambda _vlan: ber.timeticks(0)),
        },
        rows=lambda: {(0, number): vlan for number, vlan in switch.vlans.items()},  # the 0 is a time filter
    )
    static = Table(
        entry=(*Q_BRIDGE, 4, 3, 1),
        columns={
            1: Column[Vlan](lambda vlan: ber.octets(vlan.name), tables.write_name),
            2: Column(lambda vlan: tables.bits(vlan.egress), tables.write_egress),
            3: Column(lambda _vlan: tables.bits(set())),
            4: Column(lambda vlan: tables.bits(vlan.untagged), tables.write_untagged),
            5: Column(lambda _vlan: ber.integer(ACTIVE), tables.write_status),
        },
        rows=lambda: {(number,): vlan for number, vlan in switch.vlans.items()},
        row_status=5,
        create=tables.create,
    )
    ports = Table(
        entry=(*Q_BRIDGE, 4, 5, 1),
        columns={1: Column[Port](lambda port: ber.gauge32(port.pvid), tables.write_pvid)},
        rows=lambda: {(number,): port for number, port in switch.ports.items()},
    )
    return [base, current, static, ports]


# LLDP-MIB of IEEE 802.1AB-2005


def _lldp(switch: Switch) -> list[AnyTable]:
    def neighbours() -> Mapping[Oid, Neighbour]:
        found: dict[Oid, Neighbour] = {}
        for port in switch.ports.values():
            end = port.far_end
            neighbour = None if end is None or not port.is_up else end.neighbour
            if neighbour is not None:
                found[0, port.number, 1] = neighbour  # time mark, port, a number of its own
        return found

    local = Table(
        entry=(*LLDP, 3),
        columns={
            1: Column[Switch](lambda _row: ber.integer(MAC_ADDRESS)),
            2: Column(lambda row: ber.octets(mac_bytes(row.config.mac))),
            3: Column(lambda row: ber.octets(row.name)),
            4: Column(lambda row: ber.octets(row.config.model)),
        },
        rows=lambda: {SCALAR: switch},
    )
    local_ports = Table(
        entry=(*LLDP, 3, 7, 1),
        columns={
            2: Column[Port](lambda _port: ber.integer(INTERFACE_NAME)),
            3: Column(lambda port: ber.octets(port.name)),
            4: Column(lambda port: ber.octets(port.alias or port.name)),
        },
        rows=lambda: {(number,): port for number, port in switch.ports.items()},
    )
    remote = Table(
        entry=(*LLDP, 4, 1, 1),
        columns={
            4: Column[Neighbour](lambda _row: ber.integer(MAC_ADDRESS)),
            5: Column(lambda row: ber.octets(mac_bytes(row.chassis_mac))),
            6: Column(lambda _row: ber.integer(PORT_MAC)),
            7: Column(lambda row: ber.octets(mac_bytes(row.port_mac))),
            8: Column(lambda _row: ber.octets("")),
            9: Column(lambda row: ber.octets(row.system_name)),
            10: Column(lambda _row: ber.octets("Debian GNU/Linux 12")),
        },
        rows=neighbours,
    )
    return [local, local_ports, remote]


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of *mac*."""
    return bytes.fromhex(mac.replace(":", ""))
