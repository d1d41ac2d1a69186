"""What can be wrong with a device: one table, and what is switched on for one device."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rackhand.sim.events import Action, EventLog, Source


class DeviceKind(StrEnum):
    """What stands in a rack. The faults of a machine are those of its BMC, too."""

    MACHINE = "machine"
    SWITCH = "switch"
    PDU = "pdu"


class Fault(StrEnum):
    """Names of the faults."""

    DROP_OVERRIDE = "drop_override"
    STALE_POWER = "stale_power"
    SESSION_SLOTS = "session_slots"
    LOCK_OUT = "lock_out"
    SLOW = "slow"
    UNPLUGGED = "unplugged"
    BMC_RESET_TIME = "bmc_reset_time"
    IGNORE_POWER = "ignore_power"
    IGNORE_SOFT_OFF = "ignore_soft_off"
    REFUSE_POWER = "refuse_power"
    BUSY_WHILE_POST = "busy_while_post"
    GARBAGE = "garbage"
    POWER_CUT = "power_cut"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105  # the name of a fault
    DROP_PACKETS = "drop_packets"
    DISK_KEEPS = "disk_keeps"
    DISK_STUCK = "disk_stuck"
    DISK_UNREADABLE = "disk_unreadable"
    DISK_NO_ERASE = "disk_no_erase"
    DISK_HIDDEN_AREA = "disk_hidden_area"
    DISK_FAILING = "disk_failing"
    STORAGE_UNKNOWN = "storage_unknown"
    BMC_KEEPS_SETTINGS = "bmc_keeps_settings"
    BMC_USERS_FULL = "bmc_users_full"
    READ_ONLY = "read_only"
    IGNORE_ADMIN_STATUS = "ignore_admin_status"
    IGNORE_VLAN = "ignore_vlan"
    CRASH_BEFORE_CHANGE = "crash_before_change"
    CRASH_AFTER_CHANGE = "crash_after_change"
    NARROW_COUNTERS = "narrow_counters"
    IGNORE_OUTLET = "ignore_outlet"
    STUCK_OUTLET = "stuck_outlet"


@dataclass(frozen=True)
class FaultKind:
    """What a fault does, to which devices, and what its value means: *default* in *unit*, from *low* to *high*.

    A fault without a unit is on or off and takes no value. A fault that *strikes* at single events can be
    limited to the next few of them; the others are states.
    """

    doc: str
    unit: str = ""
    default: float = 1.0
    low: float = 1.0
    high: float = 1.0
    strikes: bool = True
    devices: frozenset[DeviceKind] = frozenset({DeviceKind.MACHINE})


EVERY: Final = frozenset(DeviceKind)
SNMP: Final = frozenset({DeviceKind.SWITCH, DeviceKind.PDU})
SWITCH: Final = frozenset({DeviceKind.SWITCH})
PDU: Final = frozenset({DeviceKind.PDU})


def _of_disk(doc: str) -> FaultKind:
    """A fault of one disk of a machine, or of all."""
    return FaultKind(doc, unit="number of the disk, 0 for all", default=0, low=0, high=256, strikes=False)


FAULTS: Final[dict[Fault, FaultKind]] = {
    Fault.DROP_OVERRIDE: FaultKind("The BMC accepts a boot override and does not set it."),
    Fault.STALE_POWER: FaultKind(
        "The BMC reports the power state of some time ago.",
        unit="simulated seconds behind",
        default=30,
        low=0,
        high=1e9,
        strikes=False,
    ),
    Fault.SESSION_SLOTS: FaultKind(
        "So many sessions fit at once; a client that vanishes keeps its slot until the session times out.",
        unit="sessions",
        default=1,
        low=0,
        high=64,
        strikes=False,
    ),
    Fault.LOCK_OUT: FaultKind(
        "After so many bad logins in a row the account is locked for five minutes, whatever the password.",
        unit="bad logins",
        default=3,
        low=1,
        high=100,
        strikes=False,
    ),
    Fault.SLOW: FaultKind(
        "Every answer of the BMC, switch or PDU comes late.",
        unit="real seconds",
        default=2,
        low=0,
        high=600,
        devices=EVERY,
    ),
    Fault.UNPLUGGED: FaultKind(
        "The cable of the BMC, or of the switch's or PDU's management port, is out: nothing is answered, the rest "
        "runs on.",
        strikes=False,
        devices=EVERY,
    ),
    Fault.BMC_RESET_TIME: FaultKind(
        "A reset of the BMC takes this long; 0 draws a time between 90 and 240 s for each reset.",
        unit="simulated seconds",
        default=0,
        low=0,
        high=86_400,
        strikes=False,
    ),
    Fault.IGNORE_POWER: FaultKind("The BMC accepts a power command and does nothing."),
    Fault.IGNORE_SOFT_OFF: FaultKind("The operating system ignores the request to shut down."),
    Fault.REFUSE_POWER: FaultKind("The BMC refuses every power command."),
    Fault.BUSY_WHILE_POST: FaultKind(
        "The BMC answers 'busy' to everything that writes while the machine is in POST."
    ),
    Fault.GARBAGE: FaultKind("The BMC answers with nonsense."),
    Fault.POWER_CUT: FaultKind(
        "No mains power on any feed: the machine is off, the BMC silent.", strikes=False
    ),
    Fault.WRONG_PASSWORD: FaultKind(
        "The password or community is not the one that we were told.", strikes=False, devices=EVERY
    ),
    Fault.DROP_PACKETS: FaultKind(
        "Some requests, and some answers to requests that were done, are lost on the way.",
        unit="share",
        default=0.3,
        low=0,
        high=1,
        devices=EVERY,
    ),
    Fault.DISK_KEEPS: _of_disk("The disk reports that it was erased and keeps its bytes."),
    Fault.DISK_STUCK: _of_disk("An erase of the disk never finishes."),
    Fault.DISK_UNREADABLE: _of_disk("Reading the disk fails."),
    Fault.DISK_NO_ERASE: _of_disk("The disk cannot erase itself, it can only be written to."),
    Fault.DISK_HIDDEN_AREA: _of_disk("The end of the disk is hidden."),
    Fault.DISK_FAILING: _of_disk("The disk reports by SMART that it is failing."),
    Fault.STORAGE_UNKNOWN: FaultKind(
        "The ramdisk has no driver for the controller of the disks: none is seen.", strikes=False
    ),
    Fault.BMC_KEEPS_SETTINGS: FaultKind(
        "The BMC accepts users and an address from inside of the machine and keeps what it had."
    ),
    Fault.BMC_USERS_FULL: FaultKind(
        "From inside of the machine, every user slot of the BMC is somebody's.", strikes=False
    ),
    Fault.READ_ONLY: FaultKind("Every SET is refused, whatever the community.", devices=SNMP),
    Fault.IGNORE_ADMIN_STATUS: FaultKind(
        "The switch accepts a change of ifAdminStatus and does not make it.", devices=SWITCH
    ),
    Fault.IGNORE_VLAN: FaultKind(
        "The switch accepts a change of a PVID or VLAN and does not make it.", devices=SWITCH
    ),
    Fault.CRASH_BEFORE_CHANGE: FaultKind(
        "The switch accepts a SET, does not do it, and is silent until it is restarted.", devices=SWITCH
    ),
    Fault.CRASH_AFTER_CHANGE: FaultKind(
        "The switch accepts a SET, does it, and is silent until it is restarted.", devices=SWITCH
    ),
    Fault.NARROW_COUNTERS: FaultKind(
        "The switch has no 64-bit counters; those of 32 bits wrap.", strikes=False, devices=SWITCH
    ),
    Fault.IGNORE_OUTLET: FaultKind("The PDU accepts an outlet command and does nothing.", devices=PDU),
    Fault.STUCK_OUTLET: FaultKind(
        "The relay of one outlet does not move any more; the PDU reports what it was told to do.",
        unit="number of the outlet",
        default=1,
        low=1,
        high=1000,
        strikes=False,
        devices=PDU,
    ),
}


class BadFault(ValueError):  # a caller's mistake, answered with its message
    """A value or a number of times that the fault does not take; the message is a sentence."""


@dataclass
class _Active:
    value: float
    times: int | None


class Faults:
    """The faults that are switched on for one device."""

    def __init__(self, device: str, log: EventLog, kind: DeviceKind = DeviceKind.MACHINE) -> None:
        self._device = device
        self._kind = kind
        self._log = log
        self._active: dict[Fault, _Active] = {}

    def switch_on(self, fault: Fault, *, value: float | None = None, times: int | None = None) -> None:
        """Switch *fault* on, for good or until it has struck *times* times; replaces an earlier setting."""
        kind = FAULTS[fault]
        if self._kind not in kind.devices:
            raise BadFault(f"A {self._kind} has no fault {fault}.")
        if value is not None and not kind.unit:
            raise BadFault(f"Fault {fault} takes no value.")
        if value is not None and not kind.low <= value <= kind.high:
            raise BadFault(f"Fault {fault} takes {kind.low:g} to {kind.high:g} {kind.unit}.")
        if times is not None and not kind.strikes:
            raise BadFault(f"Fault {fault} is a state and cannot be limited to a number of times.")
        if times is not None and times < 1:
            raise BadFault("times must be 1 or more.")
        active = _Active(kind.default if value is None else value, times)
        self._active[fault] = active
        self._log.append(
            self._device, Source.CONTROL, Action.FAULT_ON, fault=fault.value, value=active.value, times=times
        )

    def switch_off(self, fault: Fault) -> None:
        """Switch *fault* off. Nothing happens when it is off."""
        if self._active.pop(fault, None) is not None:
            self._log.append(self._device, Source.CONTROL, Action.FAULT_OFF, fault=fault.value)

    def switch_all_off(self) -> None:
        """Switch everything off."""
        for fault in list(self._active):
            self.switch_off(fault)

    def is_on(self, fault: Fault) -> bool:
        """Say whether *fault* is on, without letting it strike."""
        return fault in self._active

    def value(self, fault: Fault) -> float | None:
        """Return the value of *fault*, None when it is off, without letting it strike."""
        active = self._active.get(fault)
        return None if active is None else active.value

    def strikes(self, fault: Fault, *, source: Source = Source.MACHINE) -> bool:
        """Say whether *fault* strikes now; when it does, count and record it."""
        active = self._active.get(fault)
        if active is None:
            return False
        if active.times is not None:
            active.times -= 1
            if not active.times:
                del self._active[fault]
        self._log.append(self._device, source, Action.FAULT_STRUCK, fault=fault.value)
        return True

    def all_on(self) -> dict[Fault, tuple[float, int | None]]:
        """Return value and remaining times of what is on."""
        return {fault: (active.value, active.times) for fault, active in self._active.items()}
