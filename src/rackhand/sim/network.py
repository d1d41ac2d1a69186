"""The cables of a rack: which plug is in which switch port, and what follows for link, VLAN and traffic."""

import random
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rackhand.sim.bmc import Bmc
from rackhand.sim.config import BMC_PLUG, PDU_PLUG, BmcKind, CableConfig, NicConfig
from rackhand.sim.events import Action, Event, EventLog, Source
from rackhand.sim.faults import Fault
from rackhand.sim.machine import Machine, Phase, Power
from rackhand.sim.pdu import Pdu
from rackhand.sim.switch import FarEnd, Neighbour, Port, Switch, SwitchState

BMC_MBIT = 1000
PDU_MBIT = 100
IDLE_SHARES = (0.0005, 0.05)  # of the speed: how busy a NIC of the rack is by itself

Plug = tuple[str, str]


class NicEnd:
    """A machine's NIC: it has link in standby, too, and is heard while the machine is powered."""

    def __init__(self, machine: Machine, nic: NicConfig) -> None:
        self.mac = nic.mac
        self.speed_mbit = nic.speed_mbit
        self._machine = machine
        self.usual_rates = self._draw()
        self.rates = self.usual_rates

    @property
    def has_link(self) -> bool:
        """Whether there is mains power: real NICs keep link in standby."""
        return self._machine.has_mains

    @property
    def is_heard(self) -> bool:
        """Whether the machine is powered."""
        return self._machine.power is Power.ON

    @property
    def neighbour(self) -> Neighbour | None:
        """What the operating system says while it runs."""
        if self._machine.phase is not Phase.RUNNING:
            return None
        config = self._machine.config
        return Neighbour(config.nics[0].mac, self.mac, config.name)

    def traffic(self) -> tuple[float, float]:
        """Return octets sent and received in a simulated second."""
        return self.rates if self._machine.phase is Phase.RUNNING else (0.0, 0.0)

    def _draw(self) -> tuple[float, float]:
        drawn = random.Random(zlib.crc32(self.mac.encode()) + self._machine.config.seed)  # noqa: S311
        octets = self.speed_mbit * 1e6 / 8
        return round(octets * drawn.uniform(*IDLE_SHARES)), round(octets * drawn.uniform(*IDLE_SHARES))


@dataclass(frozen=True)
class BmcEnd:
    """A BMC: it has link whenever there is mains power and its cable is in."""

    bmc: Bmc
    mac: str
    speed_mbit: int = BMC_MBIT

    @property
    def has_link(self) -> bool:
        """Whether there is mains power and the cable is in."""
        return self.bmc.machine.has_mains and not self.bmc.faults.is_on(Fault.UNPLUGGED)

    @property
    def is_heard(self) -> bool:
        """Whether it has started."""
        return not self.bmc.is_silent

    @property
    def neighbour(self) -> Neighbour | None:
        """BMCs do not speak LLDP."""
        return None

    def traffic(self) -> tuple[float, float]:
        """Return none: what a BMC sends is not worth counting."""
        return 0.0, 0.0


@dataclass(frozen=True)
class PduEnd:
    """The management port of a PDU, which is always powered."""

    pdu: Pdu
    mac: str
    speed_mbit: int = PDU_MBIT

    @property
    def has_link(self) -> bool:
        """Whether its cable is in."""
        return not self.pdu.faults.is_on(Fault.UNPLUGGED)

    @property
    def is_heard(self) -> bool:
        """Whether its cable is in."""
        return self.has_link

    @property
    def neighbour(self) -> Neighbour | None:
        """PDUs do not speak LLDP."""
        return None

    def traffic(self) -> tuple[float, float]:
        """Return none: what a PDU sends is not worth counting."""
        return 0.0, 0.0


class Network:
    """All cables and switches of a rack."""

    def __init__(
        self,
        cables: Iterable[CableConfig],
        switches: Mapping[str, Switch],
        bmcs: Mapping[str, Bmc],
        pdus: Mapping[str, Pdu],
        log: EventLog,
    ) -> None:
        self.switches = switches
        self.nics: dict[Plug, NicEnd] = {}
        self._log = log
        self._cables = {(cable.switch, cable.port): (cable.device, cable.plug) for cable in cables}
        self._ends: dict[Plug, FarEnd] = {}
        self._ports: dict[Plug, tuple[Switch, Port]] = {}
        self._plugs: dict[str, list[Plug]] = {}  # by device
        for name, bmc in bmcs.items():
            if bmc.config.bmc.kind is not BmcKind.NONE:
                self._add_end((name, BMC_PLUG), BmcEnd(bmc, bmc.config.bmc.mac))
            for nic in bmc.config.nics:
                end = NicEnd(bmc.machine, nic)
                self.nics[name, nic.name] = end
                self._add_end((name, nic.name), end)
        for name, pdu in pdus.items():
            self._add_end((name, PDU_PLUG), PduEnd(pdu, pdu.config.mac))
        self._plug_in()
        log.watch(self._follow)

    def port_of(self, device: str, plug: str) -> tuple[Switch, Port] | None:
        """Return where a plug really is, None when it is in no switch."""
        return self._ports.get((device, plug))

    def plug_in(self, switch: Switch, port: Port) -> Plug | None:
        """Return device and plug that are really in *port*."""
        return self._cables.get((switch.name, port.number))

    def vlan_of(self, machine: str, nic: str) -> int | None:
        """Return the VLAN that untagged frames of a NIC travel in now, None without a link or a way back.

        A port whose PVID is a VLAN that does not leave it untagged hears, and cannot answer.
        """
        found = self.port_of(machine, nic)
        if found is None or not found[1].is_up:
            return None
        return found[0].untagged_vlan(found[1])

    def swap_cables(self, switch: Switch, one: Port, other: Port, source: Source) -> None:
        """Plug what is in *one* into *other*, and the reverse."""
        self._swap(switch, one, other)
        switch.swaps.append((one.number, other.number))
        self._log.append(switch.name, source, Action.CABLES_SWAPPED, port=one.name, other=other.name)

    def put_back_cables(self, switch: Switch) -> None:
        """Undo all swaps of *switch*."""
        for one, other in reversed(switch.swaps):
            self._swap(switch, switch.ports[one], switch.ports[other])
        switch.swaps.clear()

    def restore(self, switch: Switch, state: SwitchState) -> None:
        """Put a switch and the cables in it back to what they were when the rack was last stopped."""
        self.put_back_cables(switch)
        switch.restore(state)
        for one, other in state.swaps:
            if one in switch.ports and other in switch.ports:
                self._swap(switch, switch.ports[one], switch.ports[other])
                switch.swaps.append((one, other))

    def set_traffic(self, machine: str, nic: str, *, sends: float, receives: float, source: Source) -> None:
        """Let a NIC send and receive so many octets in a simulated second while its machine runs."""
        self.nics[machine, nic].rates = (sends, receives)
        self._log.append(machine, source, Action.TRAFFIC_SET, nic=nic, sends=sends, receives=receives)

    def return_to_start(self) -> None:
        """Put cables back, switches as configured, traffic as usual."""
        for end in self.nics.values():
            end.rates = end.usual_rates
        for switch in self.switches.values():
            self.put_back_cables(switch)
            switch.return_to_start()

    def _add_end(self, plug: Plug, end: FarEnd) -> None:
        self._ends[plug] = end
        self._plugs.setdefault(plug[0], []).append(plug)

    def _plug_in(self) -> None:
        for (switch, number), plug in self._cables.items():
            self._connect(self.switches[switch], self.switches[switch].ports[number], plug)

    def _connect(self, switch: Switch, port: Port, plug: Plug | None) -> None:
        port.settle(switch.clock.now())
        port.far_end = None if plug is None else self._ends[plug]
        if plug is not None:
            self._ports[plug] = switch, port
        port.settle(switch.clock.now())

    def _swap(self, switch: Switch, one: Port, other: Port) -> None:
        plugs = [self._cables.pop((switch.name, port.number), None) for port in (one, other)]
        for port, plug in zip((other, one), plugs, strict=True):
            if plug is not None:
                self._cables[switch.name, port.number] = plug
            self._connect(switch, port, plug)

    def _follow(self, event: Event) -> None:
        """Count what was sent before something happened to a device at the old rates, the rest at the new."""
        if event.device in self.switches:
            self.switches[event.device].settle()
            return
        for plug in self._plugs.get(event.device, ()):
            if plug in self._ports:
                switch, port = self._ports[plug]
                port.settle(switch.clock.now())
