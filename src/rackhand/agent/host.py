"""What the agent asks of the machine it runs on: `linux` answers on real iron, the virtual rack for its own machines.

Everything here is thin: it tells what a device says and does one thing to it. What to do is decided above, in
`inventory`, `speed` and `wipe`, so that a simulated machine goes through the same decisions as a real one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rackhand.agent.download import Stream
    from rackhand.agent.storage import Storage


class HostError(Exception):
    """The machine, or a part of it, did not do what was asked; the message is a sentence for the operator."""


class DiskError(HostError):
    """A disk did not do what was asked."""


@dataclass(frozen=True)
class Board:
    """The machine as its firmware describes it (DMI types 0, 1 and 2); empty text where it says nothing."""

    manufacturer: str = ""
    product: str = ""
    serial: str = ""
    uuid: str = ""
    board_manufacturer: str = ""
    board_model: str = ""
    board_serial: str = ""
    bios_vendor: str = ""
    bios_version: str = ""
    bios_date: str = ""


@dataclass(frozen=True)
class Cpu:
    """A processor package."""

    model: str
    cores: int
    threads: int
    mhz: int | None = None


@dataclass(frozen=True)
class MemoryModule:
    """A memory module (DMI type 17); *speed_mts* as it runs now, in million transfers a second."""

    slot: str
    size_mib: int
    kind: str = ""
    speed_mts: int | None = None
    manufacturer: str = ""
    part: str = ""
    serial: str = ""


@dataclass(frozen=True)
class Nic:
    """A network interface; *speed_mbit* is that of the link, None without one."""

    name: str
    mac: str
    link: bool
    speed_mbit: int | None = None
    driver: str = ""
    model: str = ""


@dataclass(frozen=True)
class PciDevice:
    """A device on the PCI bus: where, its class, its vendor and device numbers in hexadecimal, and its driver."""

    address: str
    kind: str
    vendor: str
    device: str
    driver: str = ""


@dataclass(frozen=True)
class Neighbour:
    """What LLDP heard on an interface: the switch, and its port."""

    nic: str
    chassis_id: str
    port_id: str
    system_name: str = ""


@dataclass(frozen=True)
class BmcFacts:
    """What the BMC says inside of the machine; *is_static* None where it does not tell how it gets its address."""

    address: str = ""
    mac: str = ""
    firmware: str = ""
    manufacturer: str = ""
    netmask: str = ""
    gateway: str = ""
    is_static: bool | None = None


@dataclass(frozen=True)
class BmcLan:
    """Where a BMC is in its network; empty text where it has nothing."""

    address: str
    netmask: str
    gateway: str
    is_static: bool


@dataclass(frozen=True)
class BmcUser:
    """What a user of a BMC may do over its LAN channel."""

    name: str
    is_enabled: bool
    has_lan: bool
    is_administrator: bool


class Controller(Protocol):
    """The BMC as its own machine reaches it. Methods raise `HostError` when it does not do what is asked."""

    def lan_channel(self) -> int | None:
        """Return the number of the channel that is a LAN, None when it has none."""

    def user_names(self, channel: int) -> dict[int, str]:
        """Return the names in all user slots by number, empty text where a slot is free."""

    def user(self, channel: int, slot: int) -> BmcUser:
        """Return the user in a slot."""

    def set_user_name(self, slot: int, name: str) -> None:
        """Call the user in a slot *name*."""

    def set_user_password(self, slot: int, password: str) -> None:
        """Give the user in a slot a password of at most 16 characters, which every BMC takes."""

    def has_password(self, slot: int, password: str) -> bool | None:
        """Say whether *password* is that of the user in a slot; None where the BMC does not tell."""

    def make_administrator(self, channel: int, slot: int) -> None:
        """Enable the user in a slot and let it do everything over *channel*."""

    def has_lan_access(self, channel: int) -> bool:
        """Say whether IPMI is spoken over *channel*, now and after a restart."""

    def enable_lan_access(self, channel: int) -> None:
        """Have IPMI spoken over *channel*."""

    def lan(self, channel: int) -> BmcLan:
        """Return where the BMC is in its network."""

    def set_lan(self, channel: int, lan: BmcLan) -> None:
        """Put the BMC elsewhere; without a gateway that stays as it is."""


@dataclass(frozen=True)
class Smart:
    """What a disk says of its own health; None where it does not tell.

    *wear_percent* is how much of the rated writes is used up; *bad_sectors* counts reallocated and pending ones.
    """

    healthy: bool | None = None
    power_on_hours: int | None = None
    temperature: int | None = None
    bad_sectors: int | None = None
    media_errors: int | None = None
    wear_percent: int | None = None


class EraseMethod(Enum):
    """Ways to erase a disk; the value is the word in reports and certificates."""

    NVME_SANITIZE_CRYPTO = "nvme sanitize, crypto erase"
    NVME_SANITIZE_BLOCK = "nvme sanitize, block erase"
    NVME_FORMAT_CRYPTO = "nvme format, crypto erase"
    NVME_FORMAT = "nvme format, user data erase"
    ATA_SANITIZE_CRYPTO = "ata sanitize, crypto scramble"
    ATA_SANITIZE_BLOCK = "ata sanitize, block erase"
    ATA_SECURE_ERASE_ENHANCED = "ata secure erase, enhanced"
    ATA_SECURE_ERASE = "ata secure erase"
    SCSI_SANITIZE_CRYPTO = "scsi sanitize, crypto erase"
    SCSI_SANITIZE_BLOCK = "scsi sanitize, block erase"
    SCSI_SANITIZE_OVERWRITE = "scsi sanitize, overwrite"
    DISCARD_ZERO = "discard with zeroing"
    OVERWRITE = "overwrite with zeros"


@dataclass(frozen=True)
class EraseState:
    """How far an erase is: *percent* None where the disk does not tell; *error* says why it failed."""

    is_over: bool
    percent: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class HiddenArea:
    """A part of a disk that ordinary reads and writes do not reach; *kind* is HPA, DCO or namespace."""

    kind: str
    size_bytes: int


class Disk(Protocol):
    """A drive. Methods raise `DiskError`, and nothing else, when the drive does not do what is asked.

    *kind* is HDD, SSD or NVMe. Offsets and lengths are bytes, multiples of *sector_bytes*. What is written counts when
    `flush` returns.
    """

    name: str
    kind: str
    model: str
    serial: str
    firmware: str
    sector_bytes: int

    @property
    def size_bytes(self) -> int:
        """Return what can be read and written now."""

    def smart(self) -> Smart:
        """Return what the drive says of its health."""

    def read(self, offset: int, length: int) -> bytes:
        """Read past every cache of the operating system."""

    def write(self, offset: int, data: bytes) -> None:
        """Write *data* at *offset*."""

    def flush(self) -> None:
        """Return when everything that was written is on the medium."""

    def hidden_areas(self) -> list[HiddenArea]:
        """Return what is hidden now."""

    def unhide(self) -> None:
        """Make everything that is hidden reachable; `size_bytes` grows by it."""

    def erase_methods(self) -> list[EraseMethod]:
        """Return what the drive says it can do by itself, in no order."""

    def start_erase(self, method: EraseMethod) -> None:
        """Tell the drive to erase itself; it may return long before that is done."""

    def erase_state(self) -> EraseState:
        """Return how far the erase is that was started last."""

    def read_speed(self, seconds: float) -> float | None:
        """Read for about *seconds* and return MB/s."""


@dataclass(frozen=True)
class Rescue:
    """Who gets into the running ramdisk, and under which addresses once it leaves the provisioning network.

    *mac* is the interface of *addresses* (`192.0.2.10/24`), *gateways* theirs.
    """

    password_hash: str = field(repr=False)
    ssh_keys: Sequence[str] = ()
    mac: str = ""
    addresses: Sequence[str] = ()
    gateways: Sequence[str] = ()
    resolvers: Sequence[str] = ()


class Host(Protocol):
    """A machine. Methods raise `HostError` when it does not do what is asked. Time is the machine's own."""

    def boot_id(self) -> str:
        """Return a word that is another one after each boot."""

    def boot_mode(self) -> str:
        """Return `uefi` or `bios`."""

    def board(self) -> Board:
        """Return what the firmware says of the machine."""

    def cpus(self) -> list[Cpu]:
        """Return the processors."""

    def memory_mib(self) -> int:
        """Return the memory that the operating system can use."""

    def memory_modules(self) -> list[MemoryModule]:
        """Return the modules that are plugged in; empty when the firmware does not tell."""

    def nics(self) -> list[Nic]:
        """Return the physical network interfaces, in the kernel's order."""

    def pci(self) -> list[PciDevice]:
        """Return the devices on the PCI bus."""

    def disks(self) -> Sequence[Disk]:
        """Return the drives, without removable and virtual ones, in the kernel's order."""

    def storage(self) -> "Storage":
        """Return the drives as a place for a system, always the same one."""

    def open_url(self, url: str, offset: int) -> "Stream":
        """Ask the manager for a file from *offset* on; raises OSError or HTTPException when that breaks."""

    def start_rescue(self, rescue: Rescue) -> None:
        """Let those in by SSH whom *rescue* names."""

    def take_addresses(self, rescue: Rescue) -> None:
        """Take the addresses of *rescue*, in another network than the manager's."""

    def bmc(self) -> BmcFacts | None:
        """Return what the BMC says of itself; None when there is none, or no driver for it."""

    def controller(self) -> Controller | None:
        """Return the BMC to be set up; None when there is none, or no driver for it."""

    def neighbours(self) -> list[Neighbour]:
        """Return what LLDP has heard; it may take half a minute to hear something."""

    def memory_speed(self, seconds: float) -> float:
        """Copy memory for about *seconds* and return MB/s."""

    def reboot(self) -> None:
        """Restart at once."""

    def power_off(self) -> None:
        """Switch off at once."""

    def now(self) -> float:
        """Return seconds since some fixed moment."""

    def pause(self, seconds: float) -> None:
        """Wait for a device, for *seconds*."""


@dataclass(frozen=True)
class KernelLine:
    """What the kernel command line tells the agent: where the manager is, and the nonce of this boot."""

    url: str
    nonce: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "KernelLine":
        """Read `rackhand.url=` and `rackhand.nonce=`; raise ValueError when one is missing."""
        words: Mapping[str, str] = dict(word.partition("=")[::2] for word in text.split())
        missing = [name for name in ("rackhand.url", "rackhand.nonce") if not words.get(name)]
        if missing:
            raise ValueError(f"The kernel command line has no {missing[0]}=.")
        return cls(words["rackhand.url"].rstrip("/"), words["rackhand.nonce"])
