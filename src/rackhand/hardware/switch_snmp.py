"""A switch over SNMP: IF-MIB, BRIDGE-MIB, Q-BRIDGE-MIB and LLDP-MIB, as every maker implements them.

A port has two numbers: its ifIndex (`Port.index`), and its number as a port of the bridge, in which VLANs,
forwarding table and most of LLDP are written down. The two are equal on some switches only.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping

from rackhand.hardware.errors import Refused, Timeout, Unsupported
from rackhand.hardware.interfaces import (
    AdminStatus,
    CounterReading,
    Counters,
    Endpoint,
    LearntMac,
    Neighbour,
    OperStatus,
    Port,
    PortChange,
    SwitchInfo,
)
from rackhand.hardware.snmp import (
    SYS_DESCR,
    Assignment,
    MibObject,
    SnmpClient,
    SnmpSettings,
    Syntax,
    mac,
    number,
    text,
)
from rackhand.hardware.snmp_message import Index, Value

SYS_UPTIME = MibObject("SNMPv2-MIB::sysUpTime", "1.3.6.1.2.1.1.3")  # hundredths of a second
SYS_NAME = MibObject("SNMPv2-MIB::sysName", "1.3.6.1.2.1.1.5")
ENGINE_TIME = MibObject("SNMP-FRAMEWORK-MIB::snmpEngineTime", "1.3.6.1.6.3.10.2.1.3")  # seconds

IF_DESCR = MibObject("IF-MIB::ifDescr", "1.3.6.1.2.1.2.2.1.2")
IF_TYPE = MibObject("IF-MIB::ifType", "1.3.6.1.2.1.2.2.1.3")
IF_SPEED = MibObject("IF-MIB::ifSpeed", "1.3.6.1.2.1.2.2.1.5")  # bit/s
IF_PHYS_ADDRESS = MibObject("IF-MIB::ifPhysAddress", "1.3.6.1.2.1.2.2.1.6")
IF_ADMIN_STATUS = MibObject("IF-MIB::ifAdminStatus", "1.3.6.1.2.1.2.2.1.7")
IF_OPER_STATUS = MibObject("IF-MIB::ifOperStatus", "1.3.6.1.2.1.2.2.1.8")
IF_IN_OCTETS = MibObject("IF-MIB::ifInOctets", "1.3.6.1.2.1.2.2.1.10")
IF_OUT_OCTETS = MibObject("IF-MIB::ifOutOctets", "1.3.6.1.2.1.2.2.1.16")
IF_NAME = MibObject("IF-MIB::ifName", "1.3.6.1.2.1.31.1.1.1.1")
IF_HC_IN_OCTETS = MibObject("IF-MIB::ifHCInOctets", "1.3.6.1.2.1.31.1.1.1.6")
IF_HC_OUT_OCTETS = MibObject("IF-MIB::ifHCOutOctets", "1.3.6.1.2.1.31.1.1.1.10")
IF_HIGH_SPEED = MibObject("IF-MIB::ifHighSpeed", "1.3.6.1.2.1.31.1.1.1.15")  # Mbit/s
IF_ALIAS = MibObject("IF-MIB::ifAlias", "1.3.6.1.2.1.31.1.1.1.18")
PORT_COLUMNS = (
    *(IF_TYPE, IF_DESCR, IF_NAME, IF_ALIAS, IF_PHYS_ADDRESS, IF_SPEED, IF_HIGH_SPEED),
    *(IF_ADMIN_STATUS, IF_OPER_STATUS),
)

BASE_PORT_IF_INDEX = MibObject("BRIDGE-MIB::dot1dBasePortIfIndex", "1.3.6.1.2.1.17.1.4.1.2")
BRIDGE_FDB_PORT = MibObject("BRIDGE-MIB::dot1dTpFdbPort", "1.3.6.1.2.1.17.4.3.1.2")
BRIDGE_FDB_STATUS = MibObject("BRIDGE-MIB::dot1dTpFdbStatus", "1.3.6.1.2.1.17.4.3.1.3")
VLAN_FDB_PORT = MibObject("Q-BRIDGE-MIB::dot1qTpFdbPort", "1.3.6.1.2.1.17.7.1.2.2.1.2")
VLAN_FDB_STATUS = MibObject("Q-BRIDGE-MIB::dot1qTpFdbStatus", "1.3.6.1.2.1.17.7.1.2.2.1.3")
VLAN_FDB_ID = MibObject("Q-BRIDGE-MIB::dot1qVlanFdbId", "1.3.6.1.2.1.17.7.1.4.2.1.3")
VLAN_EGRESS = MibObject(
    "Q-BRIDGE-MIB::dot1qVlanStaticEgressPorts", "1.3.6.1.2.1.17.7.1.4.3.1.2", Syntax.OCTETS
)
VLAN_UNTAGGED = MibObject(
    "Q-BRIDGE-MIB::dot1qVlanStaticUntaggedPorts", "1.3.6.1.2.1.17.7.1.4.3.1.4", Syntax.OCTETS
)
PVID = MibObject("Q-BRIDGE-MIB::dot1qPvid", "1.3.6.1.2.1.17.7.1.4.5.1.1", Syntax.UNSIGNED)

LLDP_LOCAL_ID_KIND = MibObject("LLDP-MIB::lldpLocPortIdSubtype", "1.0.8802.1.1.2.1.3.7.1.2")
LLDP_LOCAL_ID = MibObject("LLDP-MIB::lldpLocPortId", "1.0.8802.1.1.2.1.3.7.1.3")
LLDP_LOCAL_DESCR = MibObject("LLDP-MIB::lldpLocPortDesc", "1.0.8802.1.1.2.1.3.7.1.4")
LLDP_CHASSIS_ID_KIND = MibObject("LLDP-MIB::lldpRemChassisIdSubtype", "1.0.8802.1.1.2.1.4.1.1.4")
LLDP_CHASSIS_ID = MibObject("LLDP-MIB::lldpRemChassisId", "1.0.8802.1.1.2.1.4.1.1.5")
LLDP_PORT_ID_KIND = MibObject("LLDP-MIB::lldpRemPortIdSubtype", "1.0.8802.1.1.2.1.4.1.1.6")
LLDP_PORT_ID = MibObject("LLDP-MIB::lldpRemPortId", "1.0.8802.1.1.2.1.4.1.1.7")
LLDP_SYSTEM_NAME = MibObject("LLDP-MIB::lldpRemSysName", "1.0.8802.1.1.2.1.4.1.1.9")
CHASSIS_ID_IS_MAC, PORT_ID_IS_MAC, PORT_ID_IS_LOCAL = 4, 3, 7

# IANAifType-MIB: ethernetCsmacd, iso88023Csmacd, fastEther, fastEtherFX, gigabitEthernet. VLANs, aggregates
# and loopbacks have types of their own.
ETHERNET_TYPES = {6, 7, 62, 69, 117}
ADMIN_STATUS = {AdminStatus.UP: 1, AdminStatus.DOWN: 2}
IS_UP, IS_DOWN = 1, 2
# ifOperStatus: without a link it is down, lowerLayerDown, or dormant; notPresent is a port without a module.
OPER_STATUS = {
    1: OperStatus.UP,
    2: OperStatus.DOWN,
    5: OperStatus.DOWN,
    6: OperStatus.DOWN,
    7: OperStatus.DOWN,
}
SPEED_IS_IN_IF_HIGH_SPEED = 2**32 - 1  # ifSpeed is full from 4.3 Gbit/s on
LEARNED = 3  # dot1dTpFdbStatus, dot1qTpFdbStatus: the others are the switch's own and static addresses
UPTIME_ROUND_SECONDS = 2**32 / 100  # sysUpTime begins again after 497 days


class SnmpSwitch:
    """A switch over SNMP; asking it leaves nothing open on it."""

    def __init__(self, endpoint: Endpoint, slots: asyncio.Semaphore) -> None:  # noqa: ARG002
        """Take where to ask; raise `ValueError` for wrong settings. A socket needs no slot."""
        self._snmp = SnmpClient(endpoint, SnmpSettings.model_validate(dict(endpoint.settings)), noun="switch")

    async def info(self) -> SwitchInfo:
        """Return sysName, sysDescr and the time since the restart."""
        name, description, uptime, engine_time = await self._snmp.get(
            SYS_NAME.at(0), SYS_DESCR.at(0), SYS_UPTIME.at(0), ENGINE_TIME.at(0)
        )
        return SwitchInfo(text(name), text(description), uptime_seconds(uptime, engine_time))

    async def ports(self) -> list[Port]:
        """Return all Ethernet ports, in the order of their ifIndexes."""
        table = await self._snmp.walk(*PORT_COLUMNS)
        if not table[0]:
            raise Unsupported(f"{self._snmp.who} has no {IF_TYPE.name}.")
        bases, pvids = await self._snmp.walk(BASE_PORT_IF_INDEX, PVID)
        vlans = {number(index): number(pvids.get(base)) or None for base, index in bases.items()}
        return [
            _port(row[0], [column.get(row) for column in table], vlans.get(row[0]))
            for row in sorted(table[0])
            if table[0][row] in ETHERNET_TYPES
        ]

    async def port(self, index: int) -> Port:
        """Return one port, read now."""
        values = await self._snmp.get(*(column.at(index) for column in PORT_COLUMNS))
        self._check_kind(index, values[0])
        base = await self._base_port(index)
        (pvid,) = await self._snmp.get(PVID.at(base)) if base is not None else (None,)
        return _port(index, values, number(pvid) or None)

    async def commands(self, change: PortChange) -> tuple[str, ...]:
        """Return a line for every SET of `apply`; reads the VLAN tables of the switch for it."""
        return tuple(str(assignment) for assignment in await self._assignments(change))

    async def apply(self, change: PortChange) -> tuple[str, ...]:
        """Send the SETs in their order and stop at the first that fails; the door keeps others away meanwhile."""
        assignments = await self._assignments(change)
        for assignment in assignments:
            await self._snmp.set(assignment)
        return tuple(str(assignment) for assignment in assignments)

    async def mac_table(self) -> list[LearntMac]:
        """Return what was learnt, by VLAN from Q-BRIDGE-MIB, else without VLANs from BRIDGE-MIB."""
        (bases,) = await self._snmp.walk(BASE_PORT_IF_INDEX)
        indexes = {base[0]: number(index) for base, index in bases.items()}
        learnt: list[tuple[Index, int | None, Value]]
        ports, status = await self._snmp.walk(VLAN_FDB_PORT, VLAN_FDB_STATUS)
        if ports:
            (tables,) = await self._snmp.walk(VLAN_FDB_ID)
            vlans = {number(table): row[-1] for row, table in tables.items()}
            # Where the current VLANs are not told, the number of a table is that of its VLAN.
            learnt = [(row[1:], vlans.get(row[0], row[0]), ports[row]) for row in _learned(ports, status)]
        else:
            ports, status = await self._snmp.walk(BRIDGE_FDB_PORT, BRIDGE_FDB_STATUS)
            learnt = [(row, None, ports[row]) for row in _learned(ports, status)]
        return [
            LearntMac(address, indexes[number(base)], vlan)
            for octets, vlan, base in learnt
            if (address := mac(octets)) and number(base) in indexes
        ]

    async def neighbours(self) -> list[Neighbour]:
        """Return lldpRemTable, with its local port numbers turned into ifIndexes."""
        chassis_kind, chassis, port_kind, port, name = await self._snmp.walk(
            LLDP_CHASSIS_ID_KIND, LLDP_CHASSIS_ID, LLDP_PORT_ID_KIND, LLDP_PORT_ID, LLDP_SYSTEM_NAME
        )
        if not port:
            return []
        indexes = await self._lldp_ports()
        return [
            Neighbour(
                indexes[row[1]],
                _lldp_id(chassis.get(row), is_mac=chassis_kind.get(row) == CHASSIS_ID_IS_MAC),
                _lldp_id(port[row], is_mac=port_kind.get(row) == PORT_ID_IS_MAC),
                text(name.get(row)),
            )
            for row in sorted(
                port, key=lambda row: row[1:]
            )  # the first is the time, the last tells neighbours apart
            if row[1] in indexes
        ]

    async def counters(self) -> CounterReading:
        """Return octets of all Ethernet ports: 64 bits wide where the port has such counters, else 32.

        Raise `Timeout` when the switch restarted while it was read.
        """
        clock = SYS_UPTIME.at(0), ENGINE_TIME.at(0)
        began = uptime_seconds(*await self._snmp.get(*clock))
        types, octets_in, octets_out = await self._snmp.walk(IF_TYPE, IF_HC_IN_OCTETS, IF_HC_OUT_OCTETS)
        rows = sorted(row for row, kind in types.items() if kind in ETHERNET_TYPES)
        old_in: Mapping[Index, Value] = {}
        old_out: Mapping[Index, Value] = {}
        if not all(row in octets_in and row in octets_out for row in rows):
            old_in, old_out = await self._snmp.walk(IF_IN_OCTETS, IF_OUT_OCTETS)
        if uptime_seconds(*await self._snmp.get(*clock)) < began:
            raise Timeout(f"{self._snmp.who} restarted while its counters were read.")
        found = []
        for row in rows:
            if row in octets_in and row in octets_out:
                found.append(Counters(row[0], number(octets_in[row]), number(octets_out[row]), 64))
            elif row in old_in and row in old_out:
                found.append(Counters(row[0], number(old_in[row]), number(old_out[row]), 32))
        return CounterReading(began, tuple(found))

    async def close(self) -> None:
        """Give back the socket."""
        await self._snmp.close()

    async def _assignments(self, change: PortChange) -> list[Assignment]:
        """Return the SETs of *change*: what `commands` shows is what `apply` sends."""
        if change.admin_status is not None:
            self._check_kind(change.index, *await self._snmp.get(IF_TYPE.at(change.index)))
            value = ADMIN_STATUS[change.admin_status]
            return [Assignment(IF_ADMIN_STATUS.at(change.index), value, change.admin_status)]
        if change.access_vlan is not None:
            return await self._vlan_assignments(change.index, change.access_vlan)
        raise Unsupported(f"{self._snmp.who} takes no port speed over SNMP; its command line may.")

    async def _vlan_assignments(self, index: int, vlan: int) -> list[Assignment]:
        """Move one port to *vlan* untagged: into the new VLAN, the PVID, out of the others.

        In this order no step leaves the port in no VLAN at all, which switches refuse. Memberships with a tag
        and all other ports stay as they are. A SET which changes nothing is left out, but for the PVID.
        """
        base = await self._base_port(index)
        if base is None:
            raise Refused(f"{self._snmp.who} has no port with the ifIndex {index} in its bridge.")
        egress, untagged = await self._snmp.walk(VLAN_EGRESS, VLAN_UNTAGGED)
        if not egress:
            raise Unsupported(f"{self._snmp.who} has no {VLAN_EGRESS.name}.")
        if (vlan,) not in egress:
            raise Refused(f"{self._snmp.who} has no VLAN {vlan}.")
        others = [row for row in sorted(untagged) if row != (vlan,) and _is_member(untagged[row], base)]
        return [
            *_membership(VLAN_EGRESS, egress, (vlan,), base, member=True),
            *_membership(VLAN_UNTAGGED, untagged, (vlan,), base, member=True),
            Assignment(PVID.at(base), vlan),
            *(
                each
                for row in others
                for each in _membership(VLAN_UNTAGGED, untagged, row, base, member=False)
            ),
            *(each for row in others for each in _membership(VLAN_EGRESS, egress, row, base, member=False)),
        ]

    def _check_kind(self, index: int, kind: Value | None) -> None:
        if kind not in ETHERNET_TYPES:
            raise Refused(f"{self._snmp.who} has no Ethernet port with the ifIndex {index}.")

    async def _base_port(self, index: int) -> int | None:
        """Return the number of a port in the bridge."""
        (bases,) = await self._snmp.walk(BASE_PORT_IF_INDEX)
        return next((row[0] for row, value in bases.items() if value == index), None)

    async def _lldp_ports(self) -> dict[int, int]:
        """Return the ifIndex of every lldpLocPortNum.

        The number is "dot1dBasePort or ifIndex" in the standard and neither on some switches, while the id and
        the description that the switch sends to its neighbours name the port: these count first.
        """
        kinds, ids, descriptions = await self._snmp.walk(LLDP_LOCAL_ID_KIND, LLDP_LOCAL_ID, LLDP_LOCAL_DESCR)
        names, interfaces, macs = await self._snmp.walk(IF_NAME, IF_DESCR, IF_PHYS_ADDRESS)
        (bases,) = await self._snmp.walk(BASE_PORT_IF_INDEX)
        named = {text(value): row[0] for table in (interfaces, names) for row, value in table.items()}
        shared = Counter(macs.values())  # ports that share an address cannot be told apart by it
        addressed = {mac(value): row[0] for row, value in macs.items() if shared[value] == 1}
        found = {}
        for row, value in ids.items():
            by_id = addressed.get(mac(value)) if kinds.get(row) == PORT_ID_IS_MAC else named.get(text(value))
            if by_id is None and kinds.get(row) == PORT_ID_IS_LOCAL and text(value).isdecimal():
                by_id = int(text(value)) if (int(text(value)),) in interfaces else None
            guesses = (by_id, named.get(text(descriptions.get(row))), bases.get(row), row[0])
            found[row[0]] = next(number(guess) for guess in guesses if guess is not None)
        return found


def uptime_seconds(uptime: Value | None, engine_time: Value | None) -> int:
    """Return sysUpTime in seconds, with the rounds added that it has made; the engine's time tells how many."""
    seconds = number(uptime) / 100
    rounds = max(0, round((number(engine_time) - seconds) / UPTIME_ROUND_SECONDS))
    return int(seconds + rounds * UPTIME_ROUND_SECONDS)


def with_port(ports: bytes, base: int, *, member: bool) -> bytes:
    """Return a PortList with one port in or out: the highest bit of the first octet is port 1 (RFC 4363)."""
    place, bit = (base - 1) // 8, 0x80 >> (base - 1) % 8
    octets = bytearray(ports.ljust(place + 1, b"\0"))
    octets[place] = octets[place] | bit if member else octets[place] & ~bit
    return bytes(octets)


def _is_member(ports: Value, base: int) -> bool:
    return isinstance(ports, bytes) and with_port(ports, base, member=True) == ports


def _membership(
    column: MibObject, table: Mapping[Index, Value], row: Index, base: int, *, member: bool
) -> Iterator[Assignment]:
    """Give the SET that puts a port into a PortList or takes it out, if it takes one."""
    before = table.get(row, b"")
    if isinstance(before, bytes) and _is_member(before, base) is not member:
        yield Assignment(column.at(*row), with_port(before, base, member=member))


def _learned(ports: Mapping[Index, Value], status: Mapping[Index, Value]) -> list[Index]:
    """Return the rows of a forwarding table that were learnt; an agent without the status tells no other."""
    return [row for row in sorted(ports) if status.get(row, LEARNED) == LEARNED]


def _lldp_id(value: Value | None, *, is_mac: bool) -> str:
    return (mac(value) if is_mac else None) or text(value)


def _port(index: int, values: list[Value | None], access_vlan: int | None) -> Port:
    _, descr, name, alias, address, speed, high_speed, admin_status, oper_status = values
    description = text(descr)
    return Port(
        index=index,
        name=text(name) or description,
        description=description,
        alias=text(alias),
        mac=mac(address),
        speed_mbit=number(high_speed) if high_speed is not None else number(speed) // 1_000_000,
        admin_status=AdminStatus.UP if admin_status == IS_UP else AdminStatus.DOWN,
        oper_status=OPER_STATUS.get(number(oper_status), OperStatus.UNKNOWN),
        access_vlan=access_vlan,
    )
