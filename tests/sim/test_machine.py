"""The machine itself, moved through time by hand."""

import dataclasses
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from rackhand.sim.config import BootMode, MachineConfig, RestorePolicy
from rackhand.sim.demo import demo_rack
from rackhand.sim.events import EventLog, Source
from rackhand.sim.faults import Fault, Faults
from rackhand.sim.machine import BootDevice, BootOverride, Machine, Phase, Power, SensorKind


@dataclass(order=True)
class HandTimer:
    at: float
    number: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class HandClock:
    """A clock that stands still until it is moved."""

    scale = 1.0

    def __init__(self) -> None:
        self.time = 0.0
        self.timers: list[HandTimer] = []
        self.count = 0

    def now(self) -> float:
        return self.time

    def call_later(self, seconds: float, callback: Callable[[], None]) -> HandTimer:
        self.count += 1
        timer = HandTimer(self.time + seconds, self.count, callback)
        heapq.heappush(self.timers, timer)
        return timer

    def move(self, seconds: float) -> None:
        end = self.time + seconds
        while self.timers and self.timers[0].at <= end:
            timer = heapq.heappop(self.timers)
            self.time = timer.at
            if not timer.cancelled:
                timer.callback()
        self.time = end


@dataclass
class Bench:
    machine: Machine
    clock: HandClock
    log: EventLog

    def power(self) -> Power:
        return self.machine.power

    def booted_from(self) -> BootDevice | None:
        return self.machine.booted_from

    def actions(self) -> list[str]:
        return [event.action.value for event in self.log.after(0, limit=1000)]


def bench(**changes: object) -> Bench:
    config: MachineConfig = dataclasses.replace(demo_rack(1).machines[0], **changes)  # type: ignore[arg-type]
    clock, log = HandClock(), EventLog()
    machine = Machine(config, clock=clock, log=log, faults=Faults(config.name, log))
    machine.return_to_start()
    return Bench(machine, clock, log)


def test_power_on_goes_through_post_to_the_disk() -> None:
    on = bench(post_seconds=60, boot_mode=BootMode.LEGACY)
    on.machine.power_on(Source.IPMI)
    on.clock.move(59)
    assert (on.machine.power, on.machine.phase) == (Power.ON, Phase.POST)
    on.clock.move(2)
    assert (on.machine.phase, on.machine.booted_from) == (Phase.RUNNING, BootDevice.DISK)
    assert on.actions() == ["powered_on", "booted"]
    assert on.log.after(1, limit=1)[0].detail == {"device": "disk", "mode": "legacy"}


def test_second_power_on_changes_nothing_and_says_so() -> None:
    on = bench()
    on.machine.power_on(Source.IPMI)
    on.machine.power_on(Source.REDFISH)
    assert on.actions() == ["powered_on", "power_unchanged"]


def test_one_time_override_is_used_once() -> None:
    on = bench()
    on.machine.set_override(BootOverride(BootDevice.PXE, BootMode.UEFI), Source.IPMI)
    on.machine.power_on(Source.IPMI)
    assert on.machine.override is None
    on.clock.move(200)
    assert on.booted_from() is BootDevice.PXE
    on.machine.reset(Source.IPMI)
    on.clock.move(200)
    assert on.booted_from() is BootDevice.DISK


def test_persistent_override_stays() -> None:
    on = bench()
    on.machine.set_override(BootOverride(BootDevice.PXE, persistent=True), Source.IPMI)
    for _ in range(2):
        on.machine.power_on(Source.IPMI)
        on.clock.move(200)
        assert on.booted_from() is BootDevice.PXE
        on.machine.power_off(Source.IPMI)
    assert on.machine.override is not None


def test_override_set_during_post_waits_for_the_next_boot() -> None:
    on = bench()
    on.machine.power_on(Source.IPMI)
    on.clock.move(1)
    on.machine.set_override(BootOverride(BootDevice.PXE), Source.IPMI)
    on.clock.move(200)
    assert on.booted_from() is BootDevice.DISK
    assert on.machine.override is not None


def test_soft_off_takes_its_time_and_is_not_heard_during_post() -> None:
    on = bench(post_seconds=60, soft_off_seconds=20)
    on.machine.power_on(Source.IPMI)
    on.machine.soft_off(Source.IPMI)
    on.clock.move(61)
    assert on.machine.phase is Phase.RUNNING
    on.machine.soft_off(Source.IPMI)
    on.clock.move(19)
    assert on.power() is Power.ON
    on.clock.move(2)
    assert on.power() is Power.OFF
    assert on.actions()[-2:] == ["soft_off_requested", "powered_off"]


def test_power_off_calls_an_outstanding_cycle_off() -> None:
    on = bench(cycle_seconds=5)
    on.machine.power_on(Source.IPMI)
    on.machine.power_cycle(Source.IPMI)
    on.machine.power_off(Source.IPMI)
    on.clock.move(100)
    assert on.machine.phase is Phase.OFF


def test_power_cycle_comes_back_by_itself() -> None:
    on = bench(cycle_seconds=5)
    on.machine.power_on(Source.IPMI)
    on.machine.power_cycle(Source.IPMI)
    assert on.power() is Power.OFF
    on.clock.move(6)
    assert on.machine.phase is Phase.POST
    assert on.actions() == ["powered_on", "powered_off", "powered_on"]


def test_one_lost_feed_changes_nothing_but_two_do() -> None:
    on = bench()
    on.machine.power_on(Source.IPMI)
    on.machine.set_feed("a", Source.CONTROL, on=False)
    assert on.power() is Power.ON
    on.machine.set_feed("b", Source.CONTROL, on=False)
    assert (on.machine.power, on.machine.has_mains) == (Power.OFF, False)
    on.machine.power_on(Source.CONTROL)
    assert on.power() is Power.OFF
    assert on.actions()[-3:] == ["mains_lost", "powered_off", "power_unchanged"]


@pytest.mark.parametrize(
    ("policy", "was_on", "is_on"),
    [
        (RestorePolicy.ALWAYS_OFF, True, False),
        (RestorePolicy.PREVIOUS, True, True),
        (RestorePolicy.PREVIOUS, False, False),
        (RestorePolicy.ALWAYS_ON, False, True),
    ],
)
def test_mains_come_back_as_the_restore_policy_says(
    policy: RestorePolicy, *, was_on: bool, is_on: bool
) -> None:
    on = bench(restore_policy=policy, feeds=("a",))
    if was_on:
        on.machine.power_on(Source.IPMI)
    on.machine.set_feed("a", Source.CONTROL, on=False)
    on.machine.set_feed("a", Source.CONTROL, on=True)
    assert (on.machine.power is Power.ON) is is_on


def test_identify_light_goes_out_by_itself() -> None:
    on = bench()
    on.machine.set_identify(Source.IPMI, on=True, seconds=15)
    on.clock.move(14)
    assert on.machine.identify
    on.clock.move(2)
    assert not on.machine.identify
    on.machine.set_identify(Source.IPMI, on=True)
    on.clock.move(10_000)
    assert on.machine.identify


def test_sensors_follow_the_power_state() -> None:
    on = bench()
    off = {reading.name: reading.value for reading in on.machine.readings()}
    assert off["CPU1 Temp"] is None
    assert off["Fan1"] is None
    on.machine.power_on(Source.IPMI)
    for reading in on.machine.readings():
        assert reading.value is not None
        assert reading.value > 0
        is_fan = reading.kind is SensorKind.FAN
        assert reading.value > reading.warning if is_fan else reading.value < reading.warning


@pytest.mark.parametrize("minutes", [0.5, 5, 60])
def test_restored_machine_finishes_what_it_was_doing(minutes: float) -> None:
    first, second = bench(), bench()
    first.machine.set_override(BootOverride(BootDevice.PXE, BootMode.LEGACY), Source.IPMI)
    first.machine.power_on(Source.IPMI)
    first.clock.move(minutes * 60)
    second.machine.restore(first.machine.state())
    assert second.machine.state() == first.machine.state()
    second.clock.move(1000)
    assert second.machine.booted_from is BootDevice.PXE
    assert "powered_on" not in second.actions()


def test_stopped_machine_stays_as_it_is() -> None:
    on = bench()
    on.machine.power_on(Source.IPMI)
    on.machine.set_identify(Source.IPMI, on=True, seconds=5)
    on.machine.stop()
    on.clock.move(10_000)
    assert on.machine.phase is Phase.POST
    assert on.actions() == ["powered_on", "identify_on"]


def test_operating_system_that_ignores_the_button_stays_on() -> None:
    on = bench()
    on.machine.faults.switch_on(Fault.IGNORE_SOFT_OFF)
    on.machine.power_on(Source.IPMI)
    on.clock.move(200)
    on.machine.press_power_button(Source.CONTROL)
    on.clock.move(200)
    assert on.machine.phase is Phase.RUNNING
    on.machine.press_power_button(Source.CONTROL, hold=True)
    assert on.power() is Power.OFF
