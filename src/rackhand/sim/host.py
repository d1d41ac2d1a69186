"""A machine of the rack as its operating system sees it: what the agent asks, answered from the configuration.

The agent runs in a thread; everything it does to the machine happens on the rack's event loop. Disks remember what was
written to them, sparsely, for as long as the rack runs.
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rackhand.agent.download import HttpStream, Stream
from rackhand.agent.host import (
    BmcFacts,
    Board,
    Controller,
    Cpu,
    Disk,
    DiskError,
    EraseMethod,
    EraseState,
    HiddenArea,
    MemoryModule,
    Neighbour,
    Nic,
    PciDevice,
    Rescue,
    Smart,
)
from rackhand.sim.bmc import Bmc
from rackhand.sim.config import BmcKind, BootMode, DiskKind
from rackhand.sim.events import Action, DetailValue, Source
from rackhand.sim.faults import Fault, Faults
from rackhand.sim.inband import CHANNEL, SimulatedController
from rackhand.sim.machine import Machine
from rackhand.sim.medium import PAGE, Medium
from rackhand.sim.storage import SimulatedStorage

MODULE_GIB = 32
HIDDEN_BYTES = 1 << 30
KINDS: Final = {DiskKind.HDD: "HDD", DiskKind.SSD: "SSD", DiskKind.NVME: "NVMe"}
READ_MB_S: Final = {DiskKind.HDD: 210.0, DiskKind.SSD: 540.0, DiskKind.NVME: 3200.0}
ERASES: Final = {
    DiskKind.HDD: (EraseMethod.ATA_SECURE_ERASE,),
    DiskKind.SSD: (
        EraseMethod.ATA_SANITIZE_BLOCK,
        EraseMethod.ATA_SECURE_ERASE_ENHANCED,
        EraseMethod.ATA_SECURE_ERASE,
        EraseMethod.DISCARD_ZERO,
    ),
    DiskKind.NVME: (
        EraseMethod.NVME_SANITIZE_CRYPTO,
        EraseMethod.NVME_SANITIZE_BLOCK,
        EraseMethod.NVME_FORMAT,
        EraseMethod.DISCARD_ZERO,
    ),
}
# Simulated seconds; much shorter than on real disks, so that a demo does not take a day.
ERASE_SECONDS: Final = {DiskKind.HDD: 120.0, DiskKind.SSD: 20.0, DiskKind.NVME: 10.0}


class CabledStream(HttpStream):
    """A download through the cable of a machine, while it has power."""

    def __init__(self, url: str, offset: int, check: Callable[[], None]) -> None:
        check()
        super().__init__(url, offset)
        self._check = check

    def read(self, size: int) -> bytes:
        """See `Stream`."""
        self._check()
        return super().read(size)


class LostPower(BaseException):
    """The machine has lost its power or was reset: nothing of what ran on it goes on."""


@dataclass
class _Erase:
    method: EraseMethod
    until: float
    seconds: float
    is_done: bool = False


class SimulatedDisk:
    """A disk as the agent sees it; faults of the machine are felt here."""

    def __init__(self, medium: Medium, number: int, host: "SimulatedHost") -> None:
        config = medium.config
        self.name = config.name
        self.kind = KINDS[config.kind]
        self.model = config.model
        self.serial = config.serial
        self.firmware = "1.0"
        self.sector_bytes = 512
        self._medium = medium
        self._number = number
        self._host = host
        self._is_unhidden = False
        self._erase: _Erase | None = None

    @property
    def size_bytes(self) -> int:
        """What the kernel sees."""
        return self._medium.config.size_bytes - (0 if self._shows_all else HIDDEN_BYTES)

    @property
    def _shows_all(self) -> bool:
        return self._is_unhidden or not self._has(Fault.DISK_HIDDEN_AREA)

    def _has(self, fault: Fault) -> bool:
        value = self._host.faults.value(fault)
        return value is not None and value in {0, self._number}

    def smart(self) -> Smart:
        """See `Disk`."""
        self._host.check()
        is_failing = self._has(Fault.DISK_FAILING)
        return Smart(
            healthy=not is_failing, power_on_hours=9_000 + 100 * self._number, temperature=31,
            bad_sectors=2_000 if is_failing else 0, media_errors=0,
            wear_percent=None if self.kind == "HDD" else 3,
        )  # fmt: skip

    def read(self, offset: int, length: int) -> bytes:
        """See `Disk`."""
        self._host.check()
        if self._has(Fault.DISK_UNREADABLE):
            raise DiskError(f"{self.name}: reading at {offset} failed: input/output error.")
        if offset + length > self.size_bytes:
            raise DiskError(f"{self.name}: {offset} + {length} is behind the end.")
        return self._medium.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """See `Disk`."""
        self._host.check()
        if offset + len(data) > self.size_bytes:
            raise DiskError(f"{self.name}: {offset} + {len(data)} is behind the end.")
        self._medium.write(offset, data)

    def flush(self) -> None:
        """See `Disk`."""
        self._host.check()

    def hidden_areas(self) -> list[HiddenArea]:
        """See `Disk`."""
        self._host.check()
        return [] if self._shows_all else [HiddenArea("HPA", HIDDEN_BYTES)]

    def unhide(self) -> None:
        """See `Disk`."""
        self._host.check()
        self._is_unhidden = True

    def erase_methods(self) -> list[EraseMethod]:
        """See `Disk`."""
        self._host.check()
        own = () if self._has(Fault.DISK_NO_ERASE) else ERASES[self._medium.config.kind]
        return [*own, EraseMethod.OVERWRITE]

    def start_erase(self, method: EraseMethod) -> None:
        """See `Disk`."""
        self._host.check()
        if method not in self.erase_methods():
            raise DiskError(f"{self.name}: does not know {method.value}.")
        seconds = ERASE_SECONDS[self._medium.config.kind]
        self._erase = _Erase(method, self._host.now() + seconds, seconds)

    def erase_state(self) -> EraseState:
        """See `Disk`."""
        self._host.check()
        erase = self._erase
        if erase is None:
            return EraseState(is_over=True, error="Nothing was erased.")
        left = erase.until - self._host.now()
        if left > 0 or self._has(Fault.DISK_STUCK):
            done = 1 - max(left, erase.seconds / 2 if self._has(Fault.DISK_STUCK) else 0) / erase.seconds
            return EraseState(is_over=False, percent=max(0, int(100 * done)))
        if not erase.is_done:
            erase.is_done = True
            self._finish(erase)
        return EraseState(is_over=True, percent=100)

    def _finish(self, erase: _Erase) -> None:
        keeps = self._has(Fault.DISK_KEEPS)
        if not keeps:
            hidden = b"" if self._shows_all else self._medium.read(self.size_bytes, PAGE)
            self._medium.erase()
            if hidden:
                self._medium.write(self.size_bytes, hidden)
        action = Action.DISK_ERASE_IGNORED if keeps else Action.DISK_ERASED
        self._host.record(action, disk=self.name, method=erase.method.value)

    def read_speed(self, seconds: float) -> float | None:
        """See `Disk`."""
        self.read(0, PAGE)
        self._host.pause(seconds)
        return READ_MB_S[self._medium.config.kind]


@dataclass
class SimulatedHost:
    """The host of one boot; *on_loop* runs something on the rack's event loop while the machine has power.

    Without *its_bmc* the ramdisk has no driver for it.
    """

    machine: Machine
    media: tuple[Medium, ...]
    dead: threading.Event
    on_loop: Callable[[Callable[[], None]], None]
    has_link: Callable[[str], bool]
    reaches: Callable[[], bool] = lambda: True
    its_bmc: Bmc | None = None
    _boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        """The disks are found once."""
        self._disks: list[Disk] = [
            SimulatedDisk(medium, number, self) for number, medium in enumerate(self.media, 1)
        ]
        by_name = {medium.config.name: medium for medium in self.media}
        self._storage = SimulatedStorage(by_name, check=self.check, record=self.record)

    @property
    def faults(self) -> Faults:
        """The machine's faults."""
        return self.machine.faults

    def check(self) -> None:
        """Raise `LostPower` when this boot is over."""
        if self.dead.is_set():
            raise LostPower

    def record(self, action: Action, **detail: DetailValue) -> None:
        """Write an event."""
        machine = self.machine
        self.on_loop(lambda: machine.log.append(machine.config.name, Source.MACHINE, action, **detail))

    def boot_id(self) -> str:
        """See `Host`."""
        return self._boot_id

    def boot_mode(self) -> str:
        """See `Host`."""
        return "uefi" if self.machine.boot_mode is BootMode.UEFI else "bios"

    def board(self) -> Board:
        """See `Host`."""
        self.check()
        config = self.machine.config
        return Board(
            manufacturer=config.manufacturer, product=config.model, serial=config.serial, uuid=str(config.uuid),
            board_manufacturer=config.manufacturer, board_model=f"{config.model}-MB",
            board_serial=f"{config.serial}-MB",
            bios_vendor=config.manufacturer, bios_version="2.4", bios_date="2025-03-01",
        )  # fmt: skip

    def cpus(self) -> list[Cpu]:
        """See `Host`."""
        self.check()
        config = self.machine.config
        cores = config.cores // config.cpus
        return [Cpu(config.cpu, cores, 2 * cores, 2900) for _ in range(config.cpus)]

    def memory_mib(self) -> int:
        """See `Host`."""
        self.check()
        return self.machine.config.memory_gib * 1024 - 700

    def memory_modules(self) -> list[MemoryModule]:
        """See `Host`."""
        self.check()
        config = self.machine.config
        number = max(1, config.memory_gib // MODULE_GIB)
        size = config.memory_gib * 1024 // number
        return [
            MemoryModule(
                f"DIMM_{slot}", size, "DDR4", 3200, "Example Memory", "EM-DDR4", f"{config.serial}-M{slot}"
            )
            for slot in range(number)
        ]

    def nics(self) -> list[Nic]:
        """See `Host`."""
        self.check()
        nics = []
        for nic in self.machine.config.nics:
            link = self.has_link(nic.name)
            nics.append(
                Nic(nic.name, nic.mac, link, nic.speed_mbit if link else None, "example", "Example NIC")
            )
        return nics

    def pci(self) -> list[PciDevice]:
        """See `Host`."""
        self.check()
        nics = [
            PciDevice(f"0000:{number:02x}:00.0", "0200", "1af4", "1041", "example")
            for number, _ in enumerate(self.machine.config.nics, 1)
        ]
        driver = "" if self.faults.is_on(Fault.STORAGE_UNKNOWN) else "example"
        return [*nics, PciDevice("0000:80:00.0", "0107", "1af4", "1042", driver)]

    def disks(self) -> list[Disk]:
        """See `Host`."""
        self.check()
        return [] if self.faults.is_on(Fault.STORAGE_UNKNOWN) else self._disks

    def storage(self) -> SimulatedStorage:
        """See `Host`."""
        self.check()
        return self._storage

    def open_url(self, url: str, offset: int) -> Stream:
        """See `Host`."""
        return CabledStream(url, offset, self._check_cable)

    def _check_cable(self) -> None:
        self.check()
        if not self.reaches():
            raise ConnectionError("no link")

    def start_rescue(self, rescue: Rescue) -> None:
        """See `Host`."""
        self.check()
        self.record(
            Action.RESCUE_STARTED,
            ssh_keys=len(rescue.ssh_keys),
            password=bool(rescue.password_hash),
        )

    def take_addresses(self, rescue: Rescue) -> None:
        """See `Host`."""
        self.check()
        self.record(Action.ADDRESSES_TAKEN, mac=rescue.mac, addresses=" ".join(rescue.addresses))

    def bmc(self) -> BmcFacts | None:
        """See `Host`."""
        controller = self.controller()
        if controller is None:
            return None
        config, lan = self.machine.config, controller.lan(CHANNEL)
        return BmcFacts(
            address=lan.address, mac=config.bmc.mac, firmware="1.20", manufacturer=config.manufacturer,
            netmask=lan.netmask, gateway=lan.gateway, is_static=lan.is_static,
        )  # fmt: skip

    def controller(self) -> Controller | None:
        """See `Host`."""
        self.check()
        if self.its_bmc is None or self.machine.config.bmc.kind is BmcKind.NONE:
            return None
        return SimulatedController(self.its_bmc, self.on_loop, self.check)

    def neighbours(self) -> list[Neighbour]:
        """See `Host`."""
        self.check()
        return []

    def memory_speed(self, seconds: float) -> float:
        """See `Host`."""
        self.pause(seconds)
        return 12_000.0

    def reboot(self) -> None:
        """See `Host`."""
        self.on_loop(lambda: self.machine.reset(Source.MACHINE))

    def power_off(self) -> None:
        """See `Host`."""
        self.on_loop(lambda: self.machine.power_off(Source.MACHINE))

    def now(self) -> float:
        """See `Host`."""
        return self.machine.clock.now()

    def pause(self, seconds: float) -> None:
        """See `Host`."""
        if self.dead.wait(seconds / self.machine.clock.scale):
            raise LostPower
