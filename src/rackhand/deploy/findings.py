"""What agents may say of machines: everything that comes from one is parsed here before it is believed or stored.

A machine in the provisioning network is not ours: it may run anything, and say anything.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rackhand.tasks.operation import StepFailed

Json = Mapping[str, Any]

Word = Annotated[str, StringConstraints(max_length=255)]
Words = Annotated[str, StringConstraints(max_length=2000)]
Mac = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")]
Count = Annotated[int, Field(ge=0, le=10**9)]
Bytes = Annotated[int, Field(ge=0, le=10**18)]


class _Said(BaseModel):
    """Unknown keys are left out: a newer agent may say more."""

    model_config = ConfigDict(extra="ignore")


class Board(_Said):
    """See `rackhand.agent.host.Board`, and so for the others."""

    manufacturer: Word = ""
    product: Word = ""
    serial: Word = ""
    uuid: Word = ""
    board_manufacturer: Word = ""
    board_model: Word = ""
    board_serial: Word = ""
    bios_vendor: Word = ""
    bios_version: Word = ""
    bios_date: Word = ""


class Cpu(_Said):
    """A processor."""

    model: Word
    cores: Count = 1
    threads: Count = 1
    mhz: Count | None = None


class MemoryModule(_Said):
    """A memory module."""

    slot: Word = ""
    size_mib: Count
    kind: Word = ""
    speed_mts: Count | None = None
    manufacturer: Word = ""
    part: Word = ""
    serial: Word = ""


class Nic(_Said):
    """A network interface."""

    name: Word
    mac: Mac
    link: bool = False
    speed_mbit: Count | None = None
    driver: Word = ""
    model: Word = ""


class Smart(_Said):
    """The health of a disk."""

    healthy: bool | None = None
    power_on_hours: Count | None = None
    temperature: int | None = None
    bad_sectors: Count | None = None
    media_errors: Count | None = None
    wear_percent: Count | None = None


class HiddenArea(_Said):
    """What is hidden on a disk."""

    kind: Word
    size_bytes: Bytes


class Disk(_Said):
    """A drive."""

    name: Word
    kind: Word
    model: Word = ""
    serial: Word = ""
    firmware: Word = ""
    size_bytes: Bytes
    sector_bytes: Count = 512
    smart: Smart | None = None
    hidden_areas: list[HiddenArea] = Field(default_factory=list, max_length=64)


class PciDevice(_Said):
    """A device on the PCI bus; without a `driver` what hangs on it cannot be seen."""

    address: Word
    kind: Word = ""
    vendor: Word = ""
    device: Word = ""
    driver: Word = ""


class Bmc(_Said):
    """What the BMC says."""

    address: Word = ""
    mac: Word = ""
    firmware: Word = ""
    manufacturer: Word = ""
    netmask: Word = ""
    gateway: Word = ""
    is_static: bool | None = None


class BmcPlace(_Said):
    """Where a BMC is in its network."""

    address: Word = ""
    netmask: Word = ""
    gateway: Word = ""
    is_static: bool = False


class BmcSetUp(_Said):
    """What a BMC was set up to; `problem` says why it is not at the address that was asked for."""

    channel: Count
    slot: Count
    user: Word
    lan: BmcPlace
    problem: Words = ""


class Neighbour(_Said):
    """What LLDP heard."""

    nic: Word
    chassis_id: Word
    port_id: Word
    system_name: Word = ""


class Inventory(_Said):
    """What is in a machine."""

    board: Board = Board()
    boot_mode: Word = ""
    cpus: list[Cpu] = Field(default_factory=list, max_length=64)
    memory_mib: Count = 0
    memory_modules: list[MemoryModule] = Field(default_factory=list, max_length=512)
    nics: list[Nic] = Field(default_factory=list, max_length=256)
    disks: list[Disk] = Field(default_factory=list, max_length=1024)
    pci: list[PciDevice] = Field(default_factory=list, max_length=2048)
    bmc: Bmc | None = None
    neighbours: list[Neighbour] = Field(default_factory=list, max_length=256)
    problems: list[Words] = Field(default_factory=list, max_length=1000)


class DiskSpeed(_Said):
    """How fast a disk was read, or why it was not."""

    name: Word
    serial: Word = ""
    read_mb_s: float | None = Field(None, ge=0, allow_inf_nan=False)
    error: Words | None = None


class LinkSpeed(_Said):
    """The link of a network interface."""

    name: Word
    mac: Mac
    link: bool = False
    speed_mbit: Count | None = None


class SpeedTest(_Said):
    """How fast a machine is."""

    memory_mb_s: float = Field(ge=0, allow_inf_nan=False)
    disks: list[DiskSpeed] = Field(default_factory=list, max_length=1024)
    nics: list[LinkSpeed] = Field(default_factory=list, max_length=256)


class Attempt(_Said):
    """A way of erasing that did not work."""

    method: Word
    error: Words


class WipedDisk(_Said):
    """What was done to a disk, and what was seen then."""

    name: Word
    kind: Word
    model: Word = ""
    serial: Word = ""
    firmware: Word = ""
    size_bytes: Bytes
    erased: bool
    method: Word | None = None
    category: Word | None = None
    attempts: list[Attempt] = Field(default_factory=list, max_length=64)
    marks: Count = 0
    samples: Count = 0
    hidden_areas: list[HiddenArea] = Field(default_factory=list, max_length=64)
    seconds: float | None = Field(None, allow_inf_nan=False)
    error: Words | None = None


class Wipe(_Said):
    """What a wipe did; `unseen` are controllers behind which there may be disks that nobody has seen."""

    disks: list[WipedDisk] = Field(default_factory=list, max_length=1024)
    unseen: list[PciDevice] = Field(default_factory=list, max_length=64)


Finding = TypeVar("Finding", bound=_Said)


def parse(kind: type[Finding], said: Json | None) -> Finding:
    """Read what an agent said; raise `StepFailed` with the first thing that is wrong with it."""
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise StepFailed(f"What the agent said cannot be used: {where}: {problem['msg']}.") from error
