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


class BmcDriver(Bmc, Protocol):
    """What a driver gives: a BMC that may keep a session open until it is closed."""

    async def close(self) -> None:
        """End the session with the device; never raises for a device that is gone."""
