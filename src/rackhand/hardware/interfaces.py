"""The devices that drivers stand for, and the values they take and give."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class PowerState(StrEnum):
    """Chassis power as a BMC or an outlet reports it."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


class PowerAction(StrEnum):
    """What can be asked of a chassis.

    Only the first three can be confirmed by reading the power state back; the operations use those.
    """

    ON = "on"
    OFF = "off"
    SOFT_OFF = "soft_off"
    RESET = "reset"
    CYCLE = "cycle"


class BootDevice(StrEnum):
    """Where the next boot comes from; `NONE` clears an override."""

    NONE = "none"
    PXE = "pxe"
    DISK = "disk"
    CDROM = "cdrom"
    SETUP = "setup"


class BootMode(StrEnum):
    """Firmware flavour that a boot override asks for."""

    LEGACY = "legacy"
    UEFI = "uefi"


@dataclass(frozen=True)
class Endpoint:
    """Where a device listens and how to sign in; the password never shows in a repr.

    `generation` counts how often an operator has set the access: a refused login counts for one of them.
    """

    driver: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    generation: int = 0

    @property
    def address(self) -> str:
        """`host:port`, for messages."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class BootOverride:
    """The boot override that a BMC reports."""

    device: BootDevice
    mode: BootMode | None = None
    persistent: bool = False


@dataclass(frozen=True)
class Sensor:
    """One reading; `value` is None when the BMC has no reading now."""

    name: str
    value: float | None
    unit: str
    status: str


class Console(Protocol):
    """The serial console of a server, open until `close`. Another session of the same BMC cannot have it meanwhile."""

    async def read(self) -> bytes:
        """Return what came out next; nothing means that it has ended, and `close` tells why."""

    async def write(self, data: bytes) -> None:
        """Type *data*."""

    async def close(self) -> str:
        """End it, and return why it had ended already, in words, or nothing. Safe to repeat."""


class Bmc(Protocol):
    """A baseboard management controller.

    Every method may raise the errors of `hardware.errors` and nothing else.
    """

    async def power_state(self) -> PowerState:
        """Return the chassis power state as the BMC reports it now."""

    async def set_power(self, action: PowerAction) -> None:
        """Ask for *action*; returning means that the BMC accepted it, not that it happened."""

    async def boot_override(self) -> BootOverride:
        """Return the boot override that is set now."""

    async def set_boot_device(
        self, device: BootDevice, *, mode: BootMode | None = None, persistent: bool = False
    ) -> None:
        """Set the device of the next boot, or of every boot when *persistent*."""

    async def identify(self, *, on: bool) -> None:
        """Switch the identification light."""

    async def sensors(self) -> list[Sensor]:
        """Return all readings."""

    async def reset_bmc(self) -> None:
        """Restart the BMC itself; the host keeps running, the BMC is gone for minutes."""

    async def console(self) -> Console:
        """Open the serial console; it outlives the conversation. Raise `Refused` while another session has it."""

    async def free_console(self) -> None:
        """End whichever session has the serial console; safe to repeat, does nothing when none has it."""


class BmcDriver(Bmc, Protocol):
    """What a driver gives: a BMC that may keep a session open until it is closed."""

    async def close(self) -> None:
        """End the session with the device; never raises for a device that is gone."""


class AdminStatus(StrEnum):
    """What a port is told to be."""

    UP = "up"
    DOWN = "down"


class OperStatus(StrEnum):
    """Whether a port has a link."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Port:
    """A switch port as the switch reports it now.

    *index* is its ifIndex, or what the driver makes of the name where a switch has no numbers; *name* its ifName
    (ifDescr where there is none), *access_vlan* the VLAN of untagged frames, None where the switch does not tell.
    """

    index: int
    name: str
    description: str
    alias: str
    mac: str | None
    speed_mbit: int
    admin_status: AdminStatus
    oper_status: OperStatus
    access_vlan: int | None


@dataclass(frozen=True)
class PortChange:
    """One change of one port: exactly one of the values is given; 0 of *speed_mbit* is automatic."""

    index: int
    admin_status: AdminStatus | None = None
    access_vlan: int | None = None
    speed_mbit: int | None = None

    def __post_init__(self) -> None:
        if [self.admin_status, self.access_vlan, self.speed_mbit].count(None) != 2:  # noqa: PLR2004
            raise ValueError("a change of a port has exactly one value")


@dataclass(frozen=True)
class Counters:
    """Octets through a port since the device began to count; *bits* is the width of the counters, 32 or 64."""

    index: int
    octets_in: int
    octets_out: int
    bits: int


@dataclass(frozen=True)
class CounterReading:
    """The counters of a switch. *uptime_seconds* is sysUpTime read with them: a smaller one tells of a restart."""

    uptime_seconds: int
    ports: tuple[Counters, ...]


@dataclass(frozen=True)
class LearntMac:
    """An address that a switch has learnt on a port; *mac* in lower case with colons."""

    mac: str
    index: int
    vlan: int | None


@dataclass(frozen=True)
class Neighbour:
    """What LLDP heard on a port; the ids are as sent, a MAC address in lower case with colons."""

    index: int
    chassis_id: str
    port_id: str
    system_name: str


@dataclass(frozen=True)
class SwitchInfo:
    """What a switch says of itself: sysName, sysDescr, sysUpTime; None where it does not tell the last."""

    name: str
    description: str
    uptime_seconds: int | None


class Switch(Protocol):
    """An Ethernet switch.

    Every method may raise the errors of `hardware.errors` and nothing else.
    """

    async def info(self) -> SwitchInfo:
        """Return what the switch says of itself: the test of an access."""

    async def ports(self) -> list[Port]:
        """Return all Ethernet ports, in the order in which the switch has them."""

    async def port(self, index: int) -> Port:
        """Return one port, read now; raise `Refused` when the switch has none of that index."""

    async def commands(self, change: PortChange) -> tuple[str, ...]:
        """Return what `apply` would send now, one line per request, without secrets; sends nothing that changes."""

    async def apply(self, change: PortChange) -> tuple[str, ...]:
        """Make *change*, and return what was sent; returning means accepted, not done: read the port back."""

    async def mac_table(self) -> list[LearntMac]:
        """Return the forwarding table."""

    async def neighbours(self) -> list[Neighbour]:
        """Return what LLDP heard; empty when the switch does not speak it."""

    async def counters(self) -> CounterReading:
        """Return the octet counters of all ports."""


class SwitchDriver(Switch, Protocol):
    """What a driver gives: a switch that may keep a session open until it is closed."""

    async def close(self) -> None:
        """End the session with the device; never raises for a device that is gone."""


class OutletAction(StrEnum):
    """What can be asked of an outlet."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"


@dataclass(frozen=True)
class Outlet:
    """An outlet as the PDU reports it now; readings are None where the PDU does not measure."""

    index: int
    name: str
    state: PowerState
    watts: float | None = None
    energy_kwh: float | None = None


class Pdu(Protocol):
    """A power distribution unit with outlets that can be switched.

    Every method may raise the errors of `hardware.errors` and nothing else.
    """

    async def info(self) -> str:
        """Return manufacturer and model, as the PDU says."""

    async def outlets(self) -> list[Outlet]:
        """Return all outlets, in the order of their indexes."""

    async def outlet(self, index: int) -> Outlet:
        """Return one outlet, read now; raise `Refused` when the PDU has none of that index."""

    async def commands(self, index: int, action: OutletAction) -> tuple[str, ...]:
        """Return what `set_outlet` would send, one line per request, without secrets."""

    async def set_outlet(self, index: int, action: OutletAction) -> tuple[str, ...]:
        """Ask for *action* and return what was sent; returning means accepted, not done."""


class PduDriver(Pdu, Protocol):
    """What a driver gives: a PDU that may keep a session open until it is closed."""

    async def close(self) -> None:
        """End the session with the device; never raises for a device that is gone."""
