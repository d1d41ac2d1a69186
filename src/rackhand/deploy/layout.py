"""Where a system goes: which disks of a machine are used, how they are divided, and what lies on what.

Arithmetic on values; nothing here reads or writes a database or a disk. The plan travels to the agent as JSON, which
does it to the letter (`rackhand.agent.install`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

GB = 10**9
MIB = 1 << 20
GIB_MIB = 1024
BIOS_BOOT_MIB = 1
EFI_MIB = 512
BOOT_MIB = 1024
SEED_MIB = 64
MIN_ROOT_MIB = 1024
ALIGNMENT_MIB = 2  # in front of the first partition and behind the last one, for the tables
MD_MIB = 130  # what mdadm keeps of each member for itself, at most
ALIKE = 0.01  # drives of one size differ by less
MAX_PARTITIONS = 16
MOUNT = re.compile(r"swap|/|(/[a-z0-9][a-z0-9._-]{0,30}){1,6}")
OWN_NAMES = ("bios", "efi", "system")  # of partitions that no wish is behind
FASTEST_FIRST = ("NVMe", "SSD", "HDD")


class RaidLevel(StrEnum):
    """Software RAID; the value is the word in messages."""

    NONE = "none"
    RAID0 = "raid0"
    RAID1 = "raid1"
    RAID5 = "raid5"
    RAID6 = "raid6"
    RAID10 = "raid10"


@dataclass(frozen=True)
class RaidRule:
    """How many equal disks a level takes, and how many of them hold data that is not there twice."""

    least: int
    words: str
    most: int | None = None
    is_even: bool = False
    data: Callable[[int], int] = lambda members: members

    def members(self, available: int) -> int:
        """How many of *available* equal disks are used; 0 when they are too few."""
        number = available if self.most is None else min(available, self.most)
        if self.is_even:
            number -= number % 2
        return number if number >= self.least else 0


RULES: Mapping[RaidLevel, RaidRule] = {
    RaidLevel.NONE: RaidRule(1, "one disk", most=1),
    RaidLevel.RAID0: RaidRule(2, "two equal disks or more"),
    RaidLevel.RAID1: RaidRule(2, "two equal disks", most=2, data=lambda _members: 1),
    RaidLevel.RAID5: RaidRule(3, "three equal disks or more", data=lambda members: members - 1),
    RaidLevel.RAID6: RaidRule(4, "four equal disks or more", data=lambda members: members - 2),
    RaidLevel.RAID10: RaidRule(
        4, "four equal disks or more, in pairs", is_even=True, data=lambda members: members // 2
    ),
}


class FileSystem(StrEnum):
    """What a partition is formatted with."""

    EXT4 = "ext4"
    XFS = "xfs"
    SWAP = "swap"


class PartitionWish(BaseModel):
    """A partition that a template or a customer asks for; without a size it takes what is left."""

    mount: Annotated[str, StringConstraints(max_length=200)]
    fs: FileSystem = FileSystem.EXT4
    size_mib: int | None = Field(None, ge=16, le=1 << 30)

    @model_validator(mode="after")
    def check_mount(self) -> Self:
        """Refuse what no partition can be mounted at."""
        if not MOUNT.fullmatch(self.mount) or ".." in self.mount:
            raise ValueError(f"mount: expected a path such as /var/lib or swap, got {self.mount[:60]!r}")
        if self.mount in {
            "/boot/efi",
            "/etc",
            "/dev",
            "/proc",
            "/sys",
            "/run",
            "/bin",
            "/sbin",
            "/lib",
            "/usr",
        }:
            raise ValueError(f"mount: {self.mount} cannot be a partition of its own")
        if (self.mount == "swap") != (self.fs is FileSystem.SWAP):
            raise ValueError("mount and fs: swap goes with swap alone")
        return self


DEFAULT_PARTITIONS = (PartitionWish(mount="/"),)


class Impossible(ValueError):
    """The disks do not do for what is asked; the message is a sentence without a full stop."""


@dataclass(frozen=True)
class DiskFact:
    """A disk as the inventory or an agent knows it."""

    serial: str
    kind: str
    size_bytes: int
    name: str = ""

    @property
    def size_mib(self) -> int:
        """What is there to divide."""
        return self.size_bytes // MIB


def check_partitions(wishes: Sequence[PartitionWish]) -> None:
    """Raise `Impossible` for wishes that contradict each other, on whatever disk."""
    if len(wishes) > MAX_PARTITIONS:
        raise Impossible(f"partitions: at most {MAX_PARTITIONS}, got {len(wishes)}")
    mounts = [wish.mount for wish in wishes]
    if mounts.count("/") != 1:
        raise Impossible("partitions: exactly one must be mounted at /")
    for mount in mounts:
        if mounts.count(mount) > 1:
            raise Impossible(f"partitions: {mount} is named more than once")
    names = [*OWN_NAMES, *map(_name_of, mounts)]
    for mount in mounts:
        if names.count(_name_of(mount)) > 1:
            raise Impossible(f"partitions: {mount} is too much like the name of another one")
    rest = [wish.mount for wish in wishes if wish.size_mib is None]
    if len(rest) > 1:
        raise Impossible(f"partitions: only one can take what is left, not {' and '.join(rest)}")


def choose_disks(disks: Sequence[DiskFact], level: RaidLevel) -> list[DiskFact]:
    """Choose the disks that a system goes on; raises `Impossible`.

    Equal disks are those of one kind and size. Of several groups that do, the fastest kind counts, then the smaller
    disks, which leaves the large ones for data. A mirror takes two disks, other levels all of their group.
    """
    rule = RULES[level]
    found: list[list[DiskFact]] = []
    for group in groups_of(disks):
        members = rule.members(len(group))
        if members:
            found.append(group[:members])
    if not found:
        have = "; ".join(
            f"{len(group)} {group[0].kind} of {group[0].size_bytes // GB} GB" for group in groups_of(disks)
        )
        raise Impossible(f"{level} needs {rule.words}; there are: {have or 'none'}")
    return min(found, key=lambda group: (_speed(group[0].kind), group[0].size_bytes // GB, group[0].name))


def groups_of(disks: Sequence[DiskFact]) -> list[list[DiskFact]]:
    """Disks that can stand for each other, each group in the order of names."""
    groups: list[list[DiskFact]] = []
    for disk in sorted(disks, key=lambda disk: (disk.kind, disk.size_bytes, disk.name)):
        first = groups[-1][0] if groups else None
        if (
            first is not None
            and first.kind == disk.kind
            and disk.size_bytes <= first.size_bytes * (1 + ALIKE)
        ):
            groups[-1].append(disk)
        else:
            groups.append([disk])
    return [sorted(group, key=lambda disk: disk.name) for group in groups]


def _speed(kind: str) -> int:
    return FASTEST_FIRST.index(kind) if kind in FASTEST_FIRST else len(FASTEST_FIRST)


# --- the plan, as it travels


class Slice(BaseModel):
    """A partition that every disk of the plan gets; without a size it takes what is left."""

    name: str
    role: str  # bios_boot, efi, system
    size_mib: int | None = None


class Array(BaseModel):
    """An md array of one slice of all disks."""

    name: str
    slice: str
    level: RaidLevel


class Volume(BaseModel):
    """A logical volume in the group `system`; without a size it takes what is left."""

    name: str
    size_mib: int | None = None


class Mount(BaseModel):
    """A file system: what it lies on (`slice:`, `array:` or `volume:` and a name), and where it is mounted."""

    on: str
    fs: FileSystem
    mount: str


class Layout(BaseModel):
    """All that is done to disks: partitions (GPT), arrays, the volume group, file systems, in this order.

    *disks* are serial numbers. A *whole_disk* layout divides nothing: the image is the disk, and the seed partition for
    cloud-init is put behind its last partition.
    """

    disks: list[str]
    slices: list[Slice] = []
    arrays: list[Array] = []
    group_on: str | None = None
    volumes: list[Volume] = []
    mounts: list[Mount] = []
    whole_disk: bool = False

    def as_json(self) -> dict[str, Any]:
        """As the agent gets it."""
        return self.model_dump(mode="json")


def plan_layout(
    disks: Sequence[DiskFact],
    *,
    level: RaidLevel = RaidLevel.NONE,
    wishes: Sequence[PartitionWish] = DEFAULT_PARTITIONS,
    lvm: bool = False,
    image_mib: int = 0,
    min_disk_gb: int = 0,
) -> Layout:
    """Plan a system of *image_mib* unpacked on *disks*; raises `Impossible`.

    Every disk gets room for BIOS and for EFI firmware to start from, so that it boots when another one is gone. What
    GRUB loads lies on a mirror over all members when the system's own level is not one that it reads when degraded.
    """
    check_partitions(wishes)
    members = choose_disks(disks, level)
    size_mib = min(disk.size_mib for disk in members) - ALIGNMENT_MIB
    if min(disk.size_bytes for disk in members) < min_disk_gb * GB:
        raise Impossible(
            f"the disk is too small: {members[0].size_bytes // GB} GB, needed are {min_disk_gb} GB"
        )
    slices = [
        Slice(name="bios", role="bios_boot", size_mib=BIOS_BOOT_MIB),
        Slice(name="efi", role="efi", size_mib=EFI_MIB),
    ]
    wanted = list(wishes)
    if (lvm or level not in {RaidLevel.NONE, RaidLevel.RAID1}) and "/boot" not in {
        wish.mount for wish in wanted
    }:
        wanted.insert(0, PartitionWish(mount="/boot", size_mib=BOOT_MIB))
    if not any(wish.size_mib is None for wish in wanted):
        wanted = [
            wish if wish.mount != "/" else wish.model_copy(update={"size_mib": None}) for wish in wanted
        ]
    plain = [wish for wish in wanted if not lvm or wish.mount == "/boot"]
    in_group = [wish for wish in wanted if lvm and wish.mount != "/boot"]
    builder = _Builder(level, len(members), size_mib - BIOS_BOOT_MIB - EFI_MIB)
    for wish in sorted(plain, key=lambda wish: wish.size_mib is None):  # what takes the rest comes last
        builder.add(wish)
    if in_group:
        builder.add_group(in_group)
    builder.check(image_mib)
    return Layout(
        disks=[disk.serial for disk in members],
        slices=[*slices, *builder.slices],
        arrays=builder.arrays,
        group_on=builder.group_on,
        volumes=builder.volumes,
        mounts=sorted(builder.mounts, key=lambda mount: (mount.mount == "swap", mount.mount)),
    )


def plan_whole_disk(disks: Sequence[DiskFact], *, image_mib: int, min_disk_gb: int = 0) -> Layout:
    """Plan the image of a whole disk; raises `Impossible`."""
    disk = choose_disks(disks, RaidLevel.NONE)[0]
    if disk.size_bytes < min_disk_gb * GB or disk.size_mib < image_mib + SEED_MIB + ALIGNMENT_MIB:
        needed = max(min_disk_gb, -(-(image_mib + SEED_MIB + ALIGNMENT_MIB) * MIB // GB))
        raise Impossible(f"the disk is too small: {disk.size_bytes // GB} GB, needed are {needed} GB")
    return Layout(disks=[disk.serial], whole_disk=True)


class _Builder:
    """Adds what lies behind the partitions that firmware starts from."""

    def __init__(self, level: RaidLevel, members: int, left_mib: int) -> None:
        self._level = level
        self._members = members
        self._left_mib = left_mib  # of each member
        self.slices: list[Slice] = []
        self.arrays: list[Array] = []
        self.group_on: str | None = None
        self.volumes: list[Volume] = []
        self.mounts: list[Mount] = []
        self._root_mib = 0

    def add(self, wish: PartitionWish) -> None:
        name = _name_of(wish.mount)
        level = self._level_for(wish.mount)
        on = self._add_slice(name, wish.size_mib, level)
        self.mounts.append(Mount(on=on, fs=wish.fs, mount=wish.mount))
        if wish.mount == "/":
            self._root_mib = self._capacity(wish.size_mib, level)
        self._take(wish.size_mib, level)

    def add_group(self, wishes: Sequence[PartitionWish]) -> None:
        self.group_on = self._add_slice("system", None, self._level)
        left = self._capacity(None, self._level)
        for wish in sorted(wishes, key=lambda wish: wish.size_mib is None):
            name = _name_of(wish.mount)
            self.volumes.append(Volume(name=name, size_mib=wish.size_mib))
            self.mounts.append(Mount(on=f"volume:{name}", fs=wish.fs, mount=wish.mount))
            left -= wish.size_mib or 0
            if left < 0:
                raise Impossible(f"the partitions need {-left} MiB more than there are")
            if wish.mount == "/":
                self._root_mib = left if wish.size_mib is None else wish.size_mib

    def check(self, image_mib: int) -> None:
        """Raise `Impossible` when the system does not fit."""
        if self._left_mib < 0:
            raise Impossible(f"the partitions need {-self._left_mib} MiB more than each disk has")
        needed = max(MIN_ROOT_MIB, image_mib * 5 // 4)  # file systems keep something, and a system grows
        if self._root_mib < needed:
            raise Impossible(f"the system needs {needed} MiB at /, and there are {max(self._root_mib, 0)}")

    def _level_for(self, mount: str) -> RaidLevel:
        if mount == "/boot" and self._level is not RaidLevel.NONE:
            return RaidLevel.RAID1
        return self._level

    def _add_slice(self, name: str, size_mib: int | None, level: RaidLevel) -> str:
        member = None if size_mib is None else self._member_mib(size_mib, level)
        self.slices.append(Slice(name=name, role="system", size_mib=member))
        if level is RaidLevel.NONE:
            return f"slice:{name}"
        self.arrays.append(Array(name=name, slice=name, level=level))
        return f"array:{name}"

    def _member_mib(self, size_mib: int, level: RaidLevel) -> int:
        """How much of each member an array of *size_mib* takes."""
        if level is RaidLevel.NONE:
            return size_mib
        return -(-size_mib // RULES[level].data(self._members)) + MD_MIB

    def _take(self, size_mib: int | None, level: RaidLevel) -> None:
        self._left_mib -= 0 if size_mib is None else self._member_mib(size_mib, level)

    def _capacity(self, size_mib: int | None, level: RaidLevel) -> int:
        if size_mib is not None:
            return size_mib
        if level is RaidLevel.NONE:
            return self._left_mib
        return (self._left_mib - MD_MIB) * RULES[level].data(self._members)


def _name_of(mount: str) -> str:
    return "root" if mount == "/" else mount.strip("/").replace("/", "-").replace(".", "-")[:24]
