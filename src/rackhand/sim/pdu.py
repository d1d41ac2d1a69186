"""A PDU: outlets that can be switched, what they feed, and what is drawn from them. It knows no protocol."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from rackhand.sim.clock import Clock, Timer
from rackhand.sim.config import OutletConfig, PduConfig, SnmpConfig
from rackhand.sim.events import Action, DetailValue, Event, EventLog, Source
from rackhand.sim.faults import Fault, Faults
from rackhand.sim.machine import Machine
from rackhand.sim.mib import Commit

SECONDS_PER_HOUR = 3600


class OutletCommand(StrEnum):
    """What can be asked of an outlet."""

    ON = "on"
    OFF = "off"
    REBOOT = "reboot"


@dataclass(frozen=True)
class OutletState:
    """What survives of an outlet; *rebooting* is one that is off and about to come on."""

    is_on: bool
    is_closed: bool
    rebooting: bool
    energy_wh: float


@dataclass(frozen=True)
class PduState:
    """What survives a restart of the rack."""

    outlets: tuple[OutletState, ...]


class Outlet:
    """An outlet: *is_on* is what the PDU believes, *is_closed* where its relay really is."""

    def __init__(self, number: int, config: OutletConfig) -> None:
        self.number = number
        self.config = config
        self.machine: Machine | None = None
        self.is_on = True
        self.is_closed = True
        self.energy_wh = 0.0
        self.reboot: Timer | None = None
        self._counted_at = 0.0
        self._watts = 0.0

    @property
    def name(self) -> str:
        """Its name."""
        return self.config.name

    @property
    def feed(self) -> str:
        """The feed of its machine that is plugged in."""
        return self.config.feed or ""

    @property
    def watts(self) -> float:
        """What is drawn now: a machine draws the same from each of its feeds that deliver."""
        machine = self.machine
        if machine is None or not machine.feed_delivers(self.feed):
            return 0.0
        return machine.watts / sum(map(machine.feed_delivers, machine.config.feeds))

    def settle(self, now: float) -> None:
        """Count energy until *now* at what was drawn so far, then look what is drawn from here on."""
        self.energy_wh += self._watts * max(0.0, now - self._counted_at) / SECONDS_PER_HOUR
        self._counted_at = now
        self._watts = self.watts

    def restore(self, state: OutletState, now: float) -> None:
        """Continue from *state*."""
        self.is_on, self.is_closed, self.energy_wh = state.is_on, state.is_closed, state.energy_wh
        self._counted_at, self._watts = now, 0.0


class Pdu:
    """A power distribution unit. All seconds are simulated; every change is an event of the source that caused it."""

    def __init__(self, config: PduConfig, *, clock: Clock, log: EventLog, faults: Faults) -> None:
        self.config = config
        self.clock = clock
        self.log = log
        self.faults = faults
        self.outlets = {number: Outlet(number, outlet) for number, outlet in enumerate(config.outlets, 1)}
        self.started_at = clock.now()
        self.starts = 1

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
    def is_silent(self) -> bool:
        """Whether its agent answers nothing now; outlets stay as they are."""
        return self.faults.is_on(Fault.UNPLUGGED)

    def settle(self) -> None:
        """Bring all energy meters up to now."""
        for outlet in self.outlets.values():
            outlet.settle(self.clock.now())

    # Commands

    def carry_out(self, commits: Sequence[Commit]) -> None:
        """Do what an accepted SET asks."""
        for commit in commits:
            commit()

    def command(self, outlet: Outlet, command: OutletCommand, source: Source) -> None:
        """Switch *outlet* at once, or off and on again; a reboot that was under way is forgotten."""
        if self.faults.strikes(Fault.IGNORE_OUTLET, source=source):
            self._record(source, Action.OUTLET_IGNORED, outlet, asked=command.value)
            return
        self._forget_reboot(outlet)
        match command:
            case OutletCommand.ON | OutletCommand.OFF:
                self._switch(outlet, source, on=command is OutletCommand.ON)
            case OutletCommand.REBOOT:
                self._switch(outlet, source, on=False)
                self._come_back_later(outlet)

    def _come_back_later(self, outlet: Outlet) -> None:
        def come_back() -> None:
            outlet.reboot = None
            self._switch(outlet, Source.MACHINE, on=True)

        outlet.reboot = self.clock.call_later(self.config.reboot_seconds, come_back)

    def _forget_reboot(self, outlet: Outlet) -> None:
        if outlet.reboot is not None:
            outlet.reboot.cancel()
            outlet.reboot = None

    def _switch(self, outlet: Outlet, source: Source, *, on: bool) -> None:
        asked = "on" if on else "off"
        outlet.is_on = on
        if outlet.is_closed == on:
            self._record(source, Action.OUTLET_UNCHANGED, outlet, asked=asked)
            return
        if self.faults.value(Fault.STUCK_OUTLET) == outlet.number:
            self._record(source, Action.OUTLET_STUCK, outlet, asked=asked)
            return
        outlet.settle(self.clock.now())
        outlet.is_closed = on
        self._record(source, Action.OUTLET_ON if on else Action.OUTLET_OFF, outlet)
        if outlet.machine is not None and outlet.feed not in outlet.machine.lost_feeds:
            outlet.machine.look_at_feed(outlet.feed, source)
        outlet.settle(self.clock.now())

    # Saving

    def state(self) -> PduState:
        """Return what a later rack needs to continue with this PDU."""
        self.settle()
        return PduState(
            tuple(
                OutletState(outlet.is_on, outlet.is_closed, outlet.reboot is not None, outlet.energy_wh)
                for outlet in self.outlets.values()
            )
        )

    def restore(self, state: PduState) -> None:
        """Continue from *state* without events; machines are to be restored after this. A reboot starts again."""
        for outlet, saved in zip(self.outlets.values(), state.outlets, strict=False):
            self._forget_reboot(outlet)
            outlet.restore(saved, self.clock.now())
            if saved.rebooting:
                self._come_back_later(outlet)

    def return_to_start(self) -> None:
        """Have all outlets on and all meters at zero; machines are to be returned after this."""
        self.started_at = self.clock.now()
        self.starts += 1
        self.restore(PduState((OutletState(True, True, False, 0.0),) * len(self.outlets)))

    def stop(self) -> None:
        """Set no timer off any more: the rack is going down."""
        for outlet in self.outlets.values():
            if outlet.reboot is not None:
                outlet.reboot.cancel()

    def _record(self, source: Source, action: Action, outlet: Outlet, **detail: DetailValue) -> None:
        self.log.append(self.name, source, action, outlet=outlet.number, name=outlet.name, **detail)


class Feeds:
    """Which outlet feeds what: plugs machines in, and lets meters follow what happens to them."""

    def __init__(self, pdus: Iterable[Pdu], machines: Mapping[str, Machine], log: EventLog) -> None:
        self._outlets: dict[str, dict[str, Outlet]] = {}  # by machine and feed
        for pdu in pdus:
            for outlet in pdu.outlets.values():
                if outlet.config.machine is not None:
                    outlet.machine = machines[outlet.config.machine]
                    self._outlets.setdefault(outlet.config.machine, {})[outlet.feed] = outlet
        for name, outlets in self._outlets.items():
            machines[name].outlet_is_on = partial(_is_closed, outlets)
        log.watch(self._follow)

    def _follow(self, event: Event) -> None:
        for outlet in self._outlets.get(event.device, {}).values():
            if outlet.machine is not None:
                outlet.settle(outlet.machine.clock.now())


def _is_closed(outlets: Mapping[str, Outlet], feed: str) -> bool:
    outlet = outlets.get(feed)
    return outlet is None or outlet.is_closed
