"""A switch: ports, VLANs and counters. It knows no protocol; what a cable leads to it asks the far end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rackhand.sim.clock import Clock
from rackhand.sim.config import SnmpConfig, SwitchConfig
from rackhand.sim.events import Action, DetailValue, EventLog, Source
from rackhand.sim.faults import Fault, Faults
from rackhand.sim.mib import Commit

DEFAULT_VLAN = 1
LAST_VLAN = 4094
FIRST_IF_INDEX = 10_101  # of port 1: far from its number in the bridge, as on real switches


@dataclass(frozen=True)
class Neighbour:
    """What a device says of itself in LLDP: its own address, that of the plug, its name."""

    chassis_mac: str
    port_mac: str
    system_name: str


class FarEnd(Protocol):
    """What is at the other end of a cable."""

    @property
    def mac(self) -> str:
        """Address of its plug."""

    @property
    def speed_mbit(self) -> int:
        """The most that it does."""

    @property
    def has_link(self) -> bool:
        """Whether its plug is alive."""

    @property
    def is_heard(self) -> bool:
        """Whether it sends anything, so that its address is learnt."""

    @property
    def neighbour(self) -> Neighbour | None:
        """What it says in LLDP, None when it does not speak that now."""

    def traffic(self) -> tuple[float, float]:
        """Return octets that it sends and receives in a simulated second, now."""


@dataclass
class Vlan:
    """A VLAN: the ports that its frames leave by, and those of them that they leave untagged."""

    id: int
    name: str
    egress: set[int] = field(default_factory=set)
    untagged: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class PortState:
    """What survives of a port; octets are in simulated bytes since the switch started to count."""

    admin_up: bool
    pvid: int
    alias: str
    octets_in: float
    octets_out: float


@dataclass(frozen=True)
class SwitchState:
    """What survives a restart of the rack: *swaps* are pairs of ports whose cables were swapped, in order."""

    ports: tuple[PortState, ...]
    vlans: tuple[Vlan, ...]
    uptime: float
    is_crashed: bool = False
    swaps: tuple[tuple[int, int], ...] = ()


class Port:
    """A port, called by the *number* on its label. All octets are as the switch counts: in is what it receives."""

    def __init__(self, number: int, config: SwitchConfig) -> None:
        self.number = number
        self.index = FIRST_IF_INDEX - 1 + number
        self.name = f"Ethernet1/{number}"
        self.mac = following_mac(config.mac, number)
        self.far_end: FarEnd | None = None
        self.admin_up = True
        self.pvid = DEFAULT_VLAN
        self.alias = ""
        self.octets_in = 0.0
        self.octets_out = 0.0
        self.changed_at = -math.inf  # when the link last came or went
        self.counted_at = 0.0
        self.rates = (0.0, 0.0)
        self.was_up = False
        self._speed_mbit = config.speed_mbit

    @property
    def is_up(self) -> bool:
        """Whether the port has a link."""
        return self.admin_up and self.far_end is not None and self.far_end.has_link

    @property
    def speed_mbit(self) -> int:
        """Speed of the link, or of the port when there is none."""
        if self.far_end is None:
            return self._speed_mbit
        return min(self._speed_mbit, self.far_end.speed_mbit)

    def settle(self, now: float) -> None:
        """Count until *now* at the rates so far, then look what they are from here on."""
        seconds = max(0.0, now - self.counted_at)
        self.octets_in += self.rates[0] * seconds
        self.octets_out += self.rates[1] * seconds
        self.counted_at = now
        is_up = self.is_up
        if is_up != self.was_up:
            self.was_up = is_up
            self.changed_at = now
        self.rates = self.far_end.traffic() if is_up and self.far_end is not None else (0.0, 0.0)


class Switch:
    """An Ethernet switch. All seconds are simulated; every change is an event of the source that caused it."""

    def __init__(self, config: SwitchConfig, *, clock: Clock, log: EventLog, faults: Faults) -> None:
        self.config = config
        self.clock = clock
        self.log = log
        self.faults = faults
        self.ports = {number: Port(number, config) for number in range(1, config.ports + 1)}
        self.vlans: dict[int, Vlan] = {}
        self.started_at = clock.now()
        self.starts = 1
        self.is_crashed = False
        self.swaps: list[tuple[int, int]] = []
        self.configure()

    @property
    def name(self) -> str:
        """Its name in the rack."""
        return self.config.name

    @property
    def mac(self) -> str:
        """Its own address."""
        return self.config.mac

    @property
    def snmp(self) -> SnmpConfig:
        """Where its agent listens."""
        return self.config.snmp

    @property
    def uptime(self) -> float:
        """Seconds since it started."""
        return self.clock.now() - self.started_at

    @property
    def counter_bits(self) -> int:
        """Width of the widest counters that it has."""
        return 32 if self.faults.is_on(Fault.NARROW_COUNTERS) else self.config.counter_bits

    @property
    def is_silent(self) -> bool:
        """Whether its agent answers nothing now; frames are switched all the same."""
        return self.is_crashed or self.faults.is_on(Fault.UNPLUGGED)

    def configure(self) -> None:
        """Set ports and VLANs as the configuration says."""
        self.vlans = {vlan.id: Vlan(vlan.id, vlan.name) for vlan in self.config.vlans}
        self.vlans.setdefault(DEFAULT_VLAN, Vlan(DEFAULT_VLAN, "default"))
        vlan_of = {number: vlan.id for vlan in self.config.vlans for number in vlan.ports}
        for port in self.ports.values():
            port.admin_up, port.alias = True, ""
            port.pvid = vlan_of.get(port.number, DEFAULT_VLAN)
            self.vlans[port.pvid].egress.add(port.number)
            self.vlans[port.pvid].untagged.add(port.number)

    def settle(self) -> None:
        """Bring all counters up to now."""
        now = self.clock.now()
        for port in self.ports.values():
            port.settle(now)

    def untagged_vlan(self, port: Port) -> int | None:
        """Return the VLAN that untagged frames travel in, both ways, through *port* as it is set, or None."""
        vlan = self.vlans.get(port.pvid)
        return None if vlan is None or port.number not in vlan.egress & vlan.untagged else vlan.id

    # Commands

    def carry_out(self, commits: Sequence[Commit]) -> None:
        """Do what an accepted SET asks, unless the switch crashes before."""
        dies_before = self.faults.strikes(Fault.CRASH_BEFORE_CHANGE, source=Source.SNMP)
        if not dies_before:
            for commit in commits:
                commit()
        if dies_before or self.faults.strikes(Fault.CRASH_AFTER_CHANGE, source=Source.SNMP):
            self.is_crashed = True
            self._record(Source.SNMP, Action.CRASHED)

    def set_admin_status(self, port: Port, source: Source, *, up: bool) -> None:
        """Enable or disable *port*."""
        status = "up" if up else "down"
        if self.faults.strikes(Fault.IGNORE_ADMIN_STATUS, source=source):
            self._record(source, Action.ADMIN_STATUS_IGNORED, port=port.name, status=status)
            return
        port.admin_up = up
        self._record(source, Action.ADMIN_STATUS_SET, port=port.name, status=status)

    def set_alias(self, port: Port, alias: str, source: Source) -> None:
        """Describe *port*."""
        port.alias = alias
        self._record(source, Action.ALIAS_SET, port=port.name, alias=alias)

    def set_pvid(self, port: Port, vlan: int, source: Source) -> None:
        """Put untagged frames that arrive at *port* into *vlan*; the way out is a matter of the VLAN's ports."""
        if not self._ignores_vlan(source, port=port.name, vlan=vlan):
            port.pvid = vlan
            self._record(source, Action.PVID_SET, port=port.name, vlan=vlan)

    def create_vlan(self, vlan: Vlan, source: Source) -> None:
        """Add *vlan*."""
        if not self._ignores_vlan(source, vlan=vlan.id):
            self.vlans[vlan.id] = vlan
            self._record(source, Action.VLAN_CREATED, vlan=vlan.id)

    def delete_vlan(self, vlan: Vlan, source: Source) -> None:
        """Remove *vlan*."""
        if not self._ignores_vlan(source, vlan=vlan.id):
            self.vlans.pop(vlan.id, None)
            self._record(source, Action.VLAN_DELETED, vlan=vlan.id)

    def rename_vlan(self, vlan: Vlan, name: str, source: Source) -> None:
        """Name *vlan*."""
        if self._has(vlan) and not self._ignores_vlan(source, vlan=vlan.id):
            vlan.name = name
            self._record(source, Action.VLAN_RENAMED, vlan=vlan.id, name=name)

    def set_vlan_ports(
        self, vlan: Vlan, source: Source, *, egress: set[int] | None = None, untagged: set[int] | None = None
    ) -> None:
        """Set the ports by which frames of *vlan* leave, or those of them where they have no tag."""
        if not self._has(vlan) or self._ignores_vlan(source, vlan=vlan.id):
            return
        if egress is not None:
            vlan.egress = egress
        if untagged is not None:
            vlan.untagged = untagged
        self._record(
            source,
            Action.VLAN_PORTS_SET,
            vlan=vlan.id,
            egress=_listed(vlan.egress),
            untagged=_listed(vlan.untagged),
        )

    def restart(self, source: Source) -> None:
        """Start anew: settings stay, counters and uptime begin at zero, a crash is over."""
        self.is_crashed = False
        self._begin_to_count()
        self._record(source, Action.RESTARTED)

    def _begin_to_count(self) -> None:
        self.started_at = self.clock.now()
        self.starts += 1
        self.settle()
        for port in self.ports.values():
            port.octets_in = port.octets_out = 0.0
            port.changed_at = -math.inf

    def _has(self, vlan: Vlan) -> bool:
        """Say whether *vlan* is one of the switch's: one that a fault kept from being made is not."""
        return self.vlans.get(vlan.id) is vlan

    def _ignores_vlan(self, source: Source, **detail: DetailValue) -> bool:
        if not self.faults.strikes(Fault.IGNORE_VLAN, source=source):
            return False
        self._record(source, Action.VLAN_IGNORED, **detail)
        return True

    # Saving

    def state(self) -> SwitchState:
        """Return what a later rack needs to continue with this switch."""
        self.settle()
        return SwitchState(
            ports=tuple(
                PortState(port.admin_up, port.pvid, port.alias, port.octets_in, port.octets_out)
                for port in self.ports.values()
            ),
            vlans=tuple(self.vlans.values()),
            uptime=self.uptime,
            is_crashed=self.is_crashed,
            swaps=tuple(self.swaps),
        )

    def restore(self, state: SwitchState) -> None:
        """Continue from *state* without events. Cables are the network's to swap."""
        self.is_crashed = state.is_crashed
        self.started_at = self.clock.now() - state.uptime
        self.vlans = {vlan.id: vlan for vlan in state.vlans}
        for port, saved in zip(self.ports.values(), state.ports, strict=False):
            port.admin_up, port.pvid, port.alias = saved.admin_up, saved.pvid, saved.alias
            port.octets_in, port.octets_out = saved.octets_in, saved.octets_out
            port.counted_at, port.rates = self.clock.now(), (0.0, 0.0)
        self.settle()

    def return_to_start(self) -> None:
        """Be as configured, at once, and count from zero."""
        self.is_crashed = False
        self.configure()
        self._begin_to_count()

    def _record(self, source: Source, action: Action, **detail: DetailValue) -> None:
        self.log.append(self.name, source, action, **detail)


def following_mac(mac: str, number: int) -> str:
    """Return the MAC address *number* after *mac*."""
    following = int(mac.replace(":", ""), 16) + number
    return following.to_bytes(6, "big").hex(":")


def _listed(ports: set[int]) -> str:
    return ",".join(map(str, sorted(ports)))
