"""A server as iron: power, firmware, lights and sensors. It knows no protocol and no BMC."""

import math
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rackhand.sim.clock import Clock, Timer
from rackhand.sim.config import BootMode, MachineConfig, RestorePolicy
from rackhand.sim.events import Action, DetailValue, EventLog, Source
from rackhand.sim.faults import Fault, Faults

STANDBY_WATTS = 9.0  # of BMC and power supplies
POWER_CHANGES_KEPT = 32  # for BMCs that report the past


class Power(StrEnum):
    """Whether the chassis is powered."""

    ON = "on"
    OFF = "off"


class Phase(StrEnum):
    """What the machine is doing."""

    OFF = "off"
    CYCLING = "cycling"  # off, and about to come on again
    POST = "post"
    NETBOOT = "netboot"  # the firmware asks the network what to boot
    RUNNING = "running"
    NO_SYSTEM = "no_system"  # powered, and nothing was found to start
    STOPPING = "stopping"  # the operating system is shutting down


# What is loaded from the network lives in memory: it ends with the power and with a reset.
ENDS_NETBOOT = {Phase.OFF, Phase.CYCLING, Phase.POST}


class BootDevice(StrEnum):
    """Where a boot comes from."""

    PXE = "pxe"
    DISK = "disk"
    CDROM = "cdrom"
    SETUP = "setup"


class SensorKind(StrEnum):
    """What a sensor measures; its unit is degrees Celsius, RPM or W."""

    TEMPERATURE = "temperature"
    FAN = "fan"
    POWER = "power"


@dataclass(frozen=True)
class BootOverride:
    """Device of the next boot, or of every boot; *mode* None leaves the firmware as it is configured."""

    device: BootDevice
    mode: BootMode | None = None
    persistent: bool = False


@dataclass(frozen=True)
class Reading:
    """One sensor; *value* is None while there is nothing to measure. The limits of fans are lower limits."""

    name: str
    kind: SensorKind
    value: float | None
    warning: float
    critical: float


@dataclass(frozen=True)
class MachineState:
    """What survives a restart of the rack."""

    phase: Phase = Phase.OFF
    was_on: bool = False
    override: BootOverride | None = None
    boot_next: tuple[BootDevice, BootMode] | None = None
    booted_from: BootDevice | None = None
    identify: bool = False
    lost_feeds: tuple[str, ...] = ()


class NoSystem(Exception):
    """Nothing can be started from the disks; the message says why."""


class NetworkBoot(Protocol):
    """One boot over the network, or from the disks, and what runs on the machine when it succeeds."""

    def start(self) -> None:
        """Begin to ask; `Machine.finish_netboot` is called with what came of it."""

    def stop(self) -> None:
        """End at once: the machine has lost its power or was reset."""


class Machine:
    """A server. All seconds are simulated; every change is an event of the source that caused it.

    Nothing here is refused: a command without effect in the present state is recorded as `power_unchanged`.
    """

    def __init__(self, config: MachineConfig, *, clock: Clock, log: EventLog, faults: Faults) -> None:
        self.config = config
        self.clock = clock
        self.log = log
        self.faults = faults
        self.phase = Phase.OFF
        self.was_on = config.starts_on
        self.override: BootOverride | None = None
        self.booted_from: BootDevice | None = None
        self.lost_feeds: set[str] = set()
        # Whether the outlet of a feed is on; a feed that is on no PDU always has power.
        self.outlet_is_on: Callable[[str], bool] = lambda _feed: True
        self.mains_since = -math.inf
        self.mains_losses = 0
        self.power_changes = deque([(-math.inf, Power.OFF)], maxlen=POWER_CHANGES_KEPT)
        # Makes a network boot; None gives none, which means that no boot server was named.
        self.make_netboot: Callable[[], NetworkBoot | None] = lambda: None
        self._netboot: NetworkBoot | None = None
        # Starts what is on the disks; None for a system that is not known. Raises NoSystem.
        self.make_system: Callable[[], NetworkBoot | None] = lambda: None
        self._system: NetworkBoot | None = None
        # Asks what runs to switch the machine off; says whether that will tell when it has done so.
        self.ask_system: Callable[[], bool] = lambda: False
        self._mains_seen = True
        self._boot_next: tuple[BootDevice, BootMode] = (BootDevice.DISK, config.boot_mode)
        self._timer: Timer | None = None
        self._identify = False
        self._identify_timer: Timer | None = None
        self._phase_offset = zlib.crc32(config.name.encode()) % 1000

    @property
    def power(self) -> Power:
        """Chassis power as it really is."""
        return Power.OFF if self.phase in {Phase.OFF, Phase.CYCLING} else Power.ON

    @property
    def has_mains(self) -> bool:
        """Whether any feed delivers."""
        return not self.faults.is_on(Fault.POWER_CUT) and any(map(self.feed_delivers, self.config.feeds))

    def feed_delivers(self, feed: str) -> bool:
        """Say whether a feed's cord is in and its outlet on."""
        return feed not in self.lost_feeds and self.outlet_is_on(feed)

    @property
    def identify(self) -> bool:
        """Whether the identification light is on."""
        return self._identify

    # Power

    def power_on(self, source: Source) -> None:
        """Power the chassis on; POST starts."""
        if self.power is Power.ON or not self.has_mains:
            self._record(source, Action.POWER_UNCHANGED, asked="on")
            return
        self._record(source, Action.POWERED_ON)
        self._start_post()

    def power_off(self, source: Source) -> None:
        """Cut chassis power at once; an outstanding power cycle is forgotten."""
        if self.power is Power.OFF:
            if self.phase is Phase.CYCLING:
                self._enter(Phase.OFF)
            self._record(source, Action.POWER_UNCHANGED, asked="off")
            return
        self._enter(Phase.OFF)
        self._record(source, Action.POWERED_OFF, reason="forced")

    def power_cycle(self, source: Source) -> None:
        """Cut chassis power and give it back after `cycle_seconds`."""
        if self.power is Power.OFF:
            self._record(source, Action.POWER_UNCHANGED, asked="cycle")
            return
        self._enter(Phase.CYCLING)
        self._record(source, Action.POWERED_OFF, reason="cycle")
        self._after(self.config.cycle_seconds, self._finish_cycle)

    def reset(self, source: Source) -> None:
        """Restart the firmware without cutting power."""
        if self.power is Power.OFF:
            self._record(source, Action.POWER_UNCHANGED, asked="reset")
            return
        self._record(source, Action.RESET)
        self._start_post()

    def soft_off(self, source: Source) -> None:
        """Ask the operating system to shut down. Nobody listens during POST."""
        if self.power is Power.OFF:
            self._record(source, Action.POWER_UNCHANGED, asked="soft_off")
            return
        self._record(source, Action.SOFT_OFF_REQUESTED)
        if self.phase is Phase.RUNNING and not self.faults.strikes(Fault.IGNORE_SOFT_OFF):
            if self.ask_system():
                return
            self._enter(Phase.STOPPING)
            self._after(self.config.soft_off_seconds, self._finish_soft_off)

    def interrupt(self, source: Source) -> None:
        """Send the diagnostic interrupt. The operating system of this rack only counts it."""
        self._record(source, Action.NMI_SENT)

    def press_power_button(self, source: Source, *, hold: bool = False) -> None:
        """Press the button on the front: on, or a soft off; held for some seconds it cuts power."""
        self._record(source, Action.POWER_BUTTON_PRESSED, hold=hold)
        if self.power is Power.OFF:
            self.power_on(source)
        elif hold:
            self.power_off(source)
        else:
            self.soft_off(source)

    # Mains

    def set_feed(self, feed: str, source: Source, *, on: bool) -> None:
        """Plug the cord of one feed in or out; KeyError when the machine has no such feed."""
        if feed not in self.config.feeds:
            raise KeyError(feed)
        delivered = self.feed_delivers(feed)
        if on:
            self.lost_feeds.discard(feed)
        else:
            self.lost_feeds.add(feed)
        if self.feed_delivers(feed) != delivered:
            self.look_at_feed(feed, source)

    def look_at_feed(self, feed: str, source: Source) -> None:
        """Act on a change of what *feed* delivers."""
        delivers = self.feed_delivers(feed)
        self._record(source, Action.FEED_RESTORED if delivers else Action.FEED_LOST, feed=feed)
        self.look_at_mains(source)

    def look_at_mains(self, source: Source) -> None:
        """Act on a change of `has_mains`: go dark, or come back as the restore policy says."""
        if self.has_mains == self._mains_seen:
            return
        self._mains_seen = self.has_mains
        if self._mains_seen:
            self.mains_since = self.clock.now()
            self._record(source, Action.MAINS_RESTORED)
            self._obey_restore_policy()
            return
        self.was_on = self.power is Power.ON or self.phase is Phase.CYCLING
        self.mains_losses += 1
        self._record(source, Action.MAINS_LOST)
        self._switch_identify(on=False)
        had_power = self.power is Power.ON
        self._enter(Phase.OFF)
        if had_power:
            self._record(source, Action.POWERED_OFF, reason="mains")

    def _obey_restore_policy(self) -> None:
        policy = self.config.restore_policy
        if policy is RestorePolicy.ALWAYS_ON or (policy is RestorePolicy.PREVIOUS and self.was_on):
            self.power_on(Source.MACHINE)

    # Boot

    def set_override(self, override: BootOverride | None, source: Source) -> None:
        """Set the boot override, or clear it with None. Firmware reads it at the start of the next POST."""
        self.override = override
        if override is None:
            self._record(source, Action.BOOT_OVERRIDE_CLEARED)
            return
        self._record(
            source,
            Action.BOOT_OVERRIDE_SET,
            device=override.device.value,
            mode=None if override.mode is None else override.mode.value,
            persistent=override.persistent,
        )

    def _start_post(self) -> None:
        self._enter(Phase.POST)
        self.booted_from = None
        first = BootDevice.PXE if self.config.network_first else BootDevice.DISK
        self._boot_next = (first, self.config.boot_mode)
        if self.override is not None:
            override = self.override
            self._boot_next = (override.device, override.mode or self.config.boot_mode)
            if not override.persistent:
                self.override = None
            self._record(
                Source.MACHINE,
                Action.BOOT_OVERRIDE_USED,
                device=override.device.value,
                persistent=override.persistent,
            )
        self._after(self.config.post_seconds, self._finish_post)

    def _finish_post(self) -> None:
        device = self._boot_next[0]
        if device is BootDevice.PXE and (netboot := self.make_netboot()) is not None:
            self._enter(Phase.NETBOOT)
            self._netboot = netboot
            netboot.start()
        else:
            self._boot(device)

    def finish_netboot(self, netboot: NetworkBoot, *, booted: bool) -> None:
        """Go on: with what *netboot* loaded, or with the disk. A boot of an earlier life is not heard."""
        if netboot is self._netboot:
            self._boot(BootDevice.PXE if booted else BootDevice.DISK)

    @property
    def boot_mode(self) -> BootMode:
        """The firmware flavour of this boot."""
        return self._boot_next[1]

    def _boot(self, device: BootDevice) -> None:
        mode = self._boot_next[1]
        system = None
        if device is BootDevice.DISK:
            try:
                system = self.make_system()
            except NoSystem as error:
                self._enter(Phase.NO_SYSTEM)
                self._record(Source.MACHINE, Action.BOOT_FAILED, mode=mode.value, why=str(error))
                return
        self.booted_from = device
        self._enter(Phase.RUNNING)
        self._record(Source.MACHINE, Action.BOOTED, device=device.value, mode=mode.value)
        if system is not None:
            self._system = system
            system.start()

    def _finish_cycle(self) -> None:
        self._enter(Phase.OFF)
        self.power_on(Source.MACHINE)

    def _finish_soft_off(self) -> None:
        self._enter(Phase.OFF)
        self._record(Source.MACHINE, Action.POWERED_OFF, reason="soft_off")

    # Lights and sensors

    def set_identify(self, source: Source, *, on: bool, seconds: float | None = None) -> None:
        """Switch the identification light, on for *seconds* or until it is switched off."""
        self._switch_identify(on=on)
        self._record(source, Action.IDENTIFY_ON if on else Action.IDENTIFY_OFF, seconds=seconds)
        if on and seconds is not None:
            self._identify_timer = self.clock.call_later(seconds, self._end_identify)

    def _switch_identify(self, *, on: bool) -> None:
        if self._identify_timer is not None:
            self._identify_timer.cancel()
            self._identify_timer = None
        self._identify = on

    def _end_identify(self) -> None:
        self._switch_identify(on=False)
        self._record(Source.MACHINE, Action.IDENTIFY_OFF, seconds=None)

    def readings(self) -> list[Reading]:
        """Return all sensors as they read now. They drift slowly and follow the power state."""
        on = self.power is Power.ON
        swing = self._swing
        inlet = 22 + self._phase_offset % 4 + swing
        rpm = 4200 + 100 * (self._phase_offset % 7) + 300 * swing
        readings = [Reading("Inlet Temp", SensorKind.TEMPERATURE, round(inlet, 1), 42, 47)]
        readings += [
            Reading(
                f"CPU{cpu} Temp",
                SensorKind.TEMPERATURE,
                round(inlet + 21 + cpu + 4 * swing, 1) if on else None,
                88,
                95,
            )
            for cpu in range(1, self.config.cpus + 1)
        ]
        readings.append(
            Reading("Exhaust Temp", SensorKind.TEMPERATURE, round(inlet + (9 if on else 1), 1), 70, 75)
        )
        readings += [
            Reading(f"Fan{fan}", SensorKind.FAN, round(rpm + 40 * fan, -2) if on else None, 900, 600)
            for fan in range(1, 2 * self.config.cpus + 3)
        ]
        readings.append(
            Reading(
                "Pwr Consumption", SensorKind.POWER, round(self.watts) if self.has_mains else None, 900, 960
            )
        )
        return readings

    @property
    def watts(self) -> float:
        """What the machine draws from all its feeds together, now."""
        if not self.has_mains:
            return 0.0
        if self.power is Power.OFF:
            return STANDBY_WATTS
        busy = {Phase.POST: 1.6, Phase.RUNNING: 1.3}.get(self.phase, 1.0)
        return self.config.idle_watts * (busy + 0.1 * self._swing)

    @property
    def _swing(self) -> float:
        """Something between -1 and 1 that drifts, with a period of about half an hour."""
        return math.sin((self.clock.now() + self._phase_offset) / 300)

    # Saving

    def state(self) -> MachineState:
        """Return what a later rack needs to continue with this machine."""
        return MachineState(
            phase=self.phase if self._netboot is None else Phase.NETBOOT,
            was_on=self.was_on,
            override=self.override,
            boot_next=self._boot_next,
            booted_from=self.booted_from,
            identify=self._identify,
            lost_feeds=tuple(sorted(self.lost_feeds)),
        )

    def restore(self, state: MachineState) -> None:
        """Continue from *state* without events: the machine did not notice that the rack was away.

        A phase that ends by itself (POST, shutting down) starts again from its beginning.
        """
        self.was_on = state.was_on
        self.override = state.override
        self._boot_next = state.boot_next or (BootDevice.DISK, self.config.boot_mode)
        self.booted_from = state.booted_from
        self._switch_identify(on=state.identify)
        for running in (self._netboot, self._system):
            if running is not None:
                running.stop()
        self._netboot = self._system = None
        self.lost_feeds = set(state.lost_feeds) & set(self.config.feeds)
        self._mains_seen = self.has_mains
        self._enter(state.phase if self.has_mains else Phase.OFF)
        self.power_changes.clear()
        self.power_changes.append((-math.inf, self.power))
        self._wait_for_end_of_phase()

    def return_to_start(self) -> None:
        """Be as configured, at once: no override, no light, all feeds, on or off as `starts_on` says."""
        self.restore(
            MachineState(
                phase=Phase.RUNNING if self.config.starts_on else Phase.OFF,
                was_on=self.config.starts_on,
                booted_from=BootDevice.DISK if self.config.starts_on else None,
            )
        )
        self.mains_since = -math.inf

    def stop(self) -> None:
        """Set no timer off any more: the rack is going down, and the machine stays as it is."""
        for timer in (self._timer, self._identify_timer):
            if timer is not None:
                timer.cancel()
        for running in (self._netboot, self._system):
            if running is not None:
                running.stop()

    def _wait_for_end_of_phase(self) -> None:
        match self.phase:
            case Phase.POST:
                self._after(self.config.post_seconds, self._finish_post)
            case Phase.NETBOOT:
                self._finish_post()
            case Phase.CYCLING:
                self._after(self.config.cycle_seconds, self._finish_cycle)
            case Phase.STOPPING:
                self._after(self.config.soft_off_seconds, self._finish_soft_off)
            case Phase.OFF | Phase.RUNNING | Phase.NO_SYSTEM:
                pass

    def _enter(self, phase: Phase) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._netboot is not None and phase in ENDS_NETBOOT:
            self._netboot.stop()
            self._netboot = None
        if self._system is not None and phase in ENDS_NETBOOT:
            self._system.stop()
            self._system = None
        before = self.power
        self.phase = phase
        if self.power is not before:
            self.power_changes.append((self.clock.now(), self.power))

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        self._timer = self.clock.call_later(seconds, step)

    def _record(self, source: Source, action: Action, **detail: DetailValue) -> None:
        self.log.append(self.config.name, source, action, **detail)
