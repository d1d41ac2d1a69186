"""What really happened in the rack, in order: the log that a test compares with what the manager believes."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

import msgspec

KEPT = 100_000  # events in memory, some 50 MB; the file, when there is one, has all
TAIL_BYTES = 65_536  # enough of a log file's end to hold its last line

DetailValue = str | int | float | bool | None
Detail = Mapping[str, DetailValue]


class Source(StrEnum):
    """Who caused an event."""

    IPMI = "ipmi"
    REDFISH = "redfish"
    SNMP = "snmp"
    CONTROL = "control"
    MACHINE = "machine"


class Action(StrEnum):
    """What happened. Every word says what was done, never what was asked for, unless it says so."""

    POWERED_ON = "powered_on"
    POWERED_OFF = "powered_off"
    RESET = "reset"
    SOFT_OFF_REQUESTED = "soft_off_requested"
    NMI_SENT = "nmi_sent"
    BOOTED = "booted"
    POWER_UNCHANGED = "power_unchanged"  # accepted, and there was nothing to do
    POWER_IGNORED = "power_ignored"  # accepted, and a fault kept it from being done
    POWER_REFUSED = "power_refused"
    BOOT_OVERRIDE_SET = "boot_override_set"
    BOOT_OVERRIDE_CLEARED = "boot_override_cleared"
    BOOT_OVERRIDE_USED = "boot_override_used"  # read by the firmware at the start of POST
    BOOT_OVERRIDE_DROPPED = "boot_override_dropped"  # accepted, and a fault kept it from being set
    IDENTIFY_ON = "identify_on"
    IDENTIFY_OFF = "identify_off"
    MAINS_LOST = "mains_lost"
    MAINS_RESTORED = "mains_restored"
    FEED_LOST = "feed_lost"
    FEED_RESTORED = "feed_restored"
    LOGIN_ACCEPTED = "login_accepted"
    LOGIN_REFUSED = "login_refused"
    USER_LOCKED = "user_locked"
    SESSION_REFUSED = "session_refused"
    SESSION_CLOSED = "session_closed"
    CONSOLE_OPENED = "console_opened"
    CONSOLE_CLOSED = "console_closed"
    BMC_RESET = "bmc_reset"
    BMC_READY = "bmc_ready"
    BMC_USER_SET = "bmc_user_set"  # from inside of the machine
    BMC_MOVED = "bmc_moved"  # to another address, from inside of the machine
    BMC_SETTING_IGNORED = "bmc_setting_ignored"  # accepted, and a fault kept it from being set
    FAULT_ON = "fault_on"
    FAULT_OFF = "fault_off"
    FAULT_STRUCK = "fault_struck"
    POWER_BUTTON_PRESSED = "power_button_pressed"
    ADMIN_STATUS_SET = "admin_status_set"
    ADMIN_STATUS_IGNORED = "admin_status_ignored"  # accepted, and a fault kept it from being set
    ALIAS_SET = "alias_set"
    PVID_SET = "pvid_set"
    VLAN_CREATED = "vlan_created"
    VLAN_DELETED = "vlan_deleted"
    VLAN_RENAMED = "vlan_renamed"
    VLAN_PORTS_SET = "vlan_ports_set"
    VLAN_IGNORED = "vlan_ignored"  # PVID or VLAN: accepted, and a fault kept it from being set
    CABLES_SWAPPED = "cables_swapped"
    TRAFFIC_SET = "traffic_set"
    OUTLET_ON = "outlet_on"
    OUTLET_OFF = "outlet_off"
    OUTLET_UNCHANGED = "outlet_unchanged"  # accepted, and there was nothing to do
    OUTLET_IGNORED = "outlet_ignored"  # accepted, and a fault kept it from being done
    OUTLET_STUCK = "outlet_stuck"  # reported as done, and the relay did not move
    CRASHED = "crashed"
    RESTARTED = "restarted"
    NETBOOT_ANSWERED = "netboot_answered"  # the boot server's script was run to its end
    NETBOOT_FAILED = "netboot_failed"  # nothing came of the network; the disk is next
    DISK_CLEARED = "disk_cleared"  # tables and signatures were taken away before an installation
    DISK_DIVIDED = "disk_divided"
    IMAGE_WRITTEN = "image_written"
    SYSTEM_CONFIGURED = "system_configured"  # told what it is, and made bootable
    SYSTEM_STARTED = "system_started"  # one that was installed here
    BOOT_FAILED = "boot_failed"  # the firmware, or what it started, found no system
    RESCUE_STARTED = "rescue_started"
    ADDRESSES_TAKEN = "addresses_taken"  # by a ramdisk in rescue
    DISK_ERASED = "disk_erased"
    DISK_ERASE_IGNORED = "disk_erase_ignored"  # reported as done, and a fault kept it from being done
    RETURNED_TO_START = "returned_to_start"  # the control API's reset


@dataclass(frozen=True)
class Event:
    """One thing that happened: *seq* counts from 1 without gaps, *time* is Unix time in real seconds.

    *device* is the name of a machine (or its BMC), a switch or a PDU.
    """

    seq: int
    time: float
    device: str
    source: Source
    action: Action
    detail: Detail


class EventLog:
    """Append-only events, in memory and, when *path* is given, as one JSON object a line in that file.

    A log that continues a file of an earlier run continues its numbers too.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._watchers: list[Callable[[Event], None]] = []
        self._file: IO[bytes] | None = None
        self.last = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.last = _last_number(path)
            self._file = path.open("ab", buffering=0)

    def append(self, device: str, source: Source, action: Action, /, **detail: DetailValue) -> None:
        """Record that *action* has happened, and tell the watchers."""
        self.last += 1
        event = Event(self.last, time.time(), device, source, action, detail)
        self._events.append(event)
        if self._file is not None:
            self._file.write(msgspec.json.encode(event) + b"\n")
        for watcher in self._watchers:
            watcher(event)

    @property
    def first(self) -> int:
        """Number of the oldest event that is still in memory, or of the next one when there is none."""
        return self._events[0].seq if self._events else self.last + 1

    def watch(self, watcher: Callable[[Event], None]) -> None:
        """Call *watcher* with every later event, at once and in order."""
        self._watchers.append(watcher)

    def after(self, seq: int, *, device: str | None = None, limit: int) -> list[Event]:
        """Return at most *limit* events that follow number *seq*, oldest first."""
        if not self._events:
            return []
        newer = itertools.islice(self._events, max(0, seq + 1 - self._events[0].seq), None)
        wanted = (event for event in newer if device is None or event.device == device)
        return list(itertools.islice(wanted, limit))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _last_number(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            return msgspec.json.decode(line, type=Event).seq
        except msgspec.DecodeError:  # a line that a crash cut short
            continue
    return 0
