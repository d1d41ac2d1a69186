"""What a simulated system leaves on disks: boot sectors, partition tables, arrays, volumes and file systems, as bytes.

The formats are ours, and everything is found again by reading the disks alone: what is wiped or overwritten is gone,
and a disk that is missing is missed. An array keeps a full copy on each member; its level says how many may be missing.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rackhand.sim.medium import Medium

MIB = 1 << 20
SECTOR = 512
SIGNATURE = b"\x55\xaa"
BOOT_CODE, TABLE, ARRAY, GROUP, FILES = b"GRUB", b"PART", b"MDSB", b"LVMG", b"FSYS"
HEADER = struct.Struct(">4sI")
CODE_BYTES = 440
TABLE_AT = SECTOR
FIRST_AT = MIB
ARRAY_BYTES = MIB  # what an array keeps of each member in front of the data
FEWEST: Final[Mapping[str, Any]] = {
    "raid0": lambda members: members,
    "raid1": lambda _members: 1,
    "raid5": lambda members: members - 1,
    "raid6": lambda members: members - 2,
    "raid10": lambda members: members - 1,
}

Value = dict[str, Any]


class NoRoom(Exception):
    """Something does not fit; the message says what."""


@dataclass(frozen=True)
class Space:
    """A place for data: on one disk, or the same on several."""

    places: tuple[tuple[Medium, int], ...]
    size: int

    def put(self, offset: int, magic: bytes, value: Value) -> None:
        """Write *value*."""
        body = zlib.compress(json.dumps(value).encode())
        if offset + HEADER.size + len(body) > self.size:
            raise NoRoom(f"{len(body)} bytes do not fit into {self.size}")
        for medium, base in self.places:
            medium.write(base + offset, HEADER.pack(magic, len(body)) + body)

    def get(self, offset: int, magic: bytes) -> Value | None:
        """Read what `put` wrote; None for anything else."""
        medium, base = self.places[0]
        found, length = HEADER.unpack(medium.read(base + offset, HEADER.size))
        if found != magic or length > self.size:
            return None
        try:
            value: Value = json.loads(zlib.decompress(medium.read(base + offset + HEADER.size, length)))
        except (zlib.error, ValueError):
            return None
        return value

    def part(self, offset: int, size: int) -> "Space":
        """A part of this space."""
        return Space(tuple((medium, base + offset) for medium, base in self.places), size)

    def clear(self) -> None:
        """Overwrite the beginning, where everything of a format is recognised by."""
        for medium, base in self.places:
            medium.write(base, bytes(min(SECTOR * 8, self.size)))


@dataclass
class Tree:
    """A file system: *files* by absolute path without the mount point; content as text, or a size for what is large."""

    space: Space
    fs: str
    uuid: str
    label: str
    files: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Write it."""
        value = {"fs": self.fs, "uuid": self.uuid, "label": self.label, "files": self.files}
        self.space.put(0, FILES, value)

    def text(self, path: str) -> str | None:
        """The content of a file."""
        found = self.files.get(path)
        return found if isinstance(found, str) else None

    def names(self, start: str) -> list[str]:
        """The paths that begin with *start*."""
        return sorted(path for path in self.files if path.startswith(start))


def whole(medium: Medium) -> Space:
    """A disk from its beginning to its end."""
    return Space(((medium, 0),), medium.config.size_bytes)


def write_table(medium: Medium, slices: Sequence[Value]) -> None:
    """Write a partition table and a boot sector that starts nothing yet."""
    medium.write(0, bytes(SECTOR - len(SIGNATURE)) + SIGNATURE)
    whole(medium).put(TABLE_AT, TABLE, {"slices": list(slices)})


def read_table(medium: Medium) -> list[Value] | None:
    """The partitions of a disk: `name`, `role`, `at` and `size` in bytes; None without a table."""
    table = whole(medium).get(TABLE_AT, TABLE)
    return None if table is None else list(table["slices"])


def write_boot_code(medium: Medium, value: Value) -> None:
    """Have the boot sector start something."""
    body = HEADER.pack(BOOT_CODE, 0) + json.dumps(value).encode()
    if len(body) > CODE_BYTES:
        raise NoRoom("The boot code is too long.")
    medium.write(0, body.ljust(CODE_BYTES, b"\0"))


def read_boot_code(medium: Medium) -> Value | None:
    """What the boot sector starts; None when nothing."""
    sector = medium.read(0, SECTOR)
    if sector[:4] != BOOT_CODE or sector[-2:] != SIGNATURE:
        return None
    value: Value = json.loads(sector[HEADER.size : CODE_BYTES].rstrip(b"\0"))
    return value


class Contents:
    """Everything that is found on some disks now."""

    def __init__(self, media: Sequence[Medium]) -> None:
        self.slices: dict[tuple[int, int], Space] = {}  # by disk and number, both as `media` and tables count
        self.roles: dict[tuple[int, int], str] = {}
        self.arrays: dict[str, Space] = {}
        self.array_uuids: dict[str, str] = {}
        self.volumes: dict[str, Space] = {}
        self.problems: list[str] = []
        for disk, medium in enumerate(media):
            for number, part in enumerate(read_table(medium) or (), 1):
                self.slices[disk, number] = Space(((medium, part["at"]),), part["size"])
                self.roles[disk, number] = part["role"]
        self._find_arrays()
        for name, space in list(self.arrays.items()) + [("", space) for space in self.slices.values()]:
            self._find_volumes(name, space)

    def _find_arrays(self) -> None:
        found: dict[str, list[tuple[Value, Space]]] = {}
        for key, space in list(self.slices.items()):
            superblock = space.get(0, ARRAY)
            if superblock is not None:
                found.setdefault(superblock["uuid"], []).append((superblock, space))
                del self.slices[key]
        for uuid, members in found.items():
            superblock = members[0][0]
            name, wanted = superblock["name"], FEWEST[superblock["level"]](superblock["members"])
            if len(members) < wanted:
                self.problems.append(f"array {name} has {len(members)} of {superblock['members']} members")
                continue
            places = tuple(
                (medium, base + ARRAY_BYTES) for _, space in members for medium, base in space.places
            )
            self.arrays[name] = Space(places, superblock["size"])
            self.array_uuids[name] = uuid

    def _find_volumes(self, _name: str, space: Space) -> None:
        group = space.get(0, GROUP)
        for volume in group["volumes"] if group else ():
            self.volumes[volume["name"]] = space.part(volume["at"], volume["size"])

    def spaces(self) -> Iterator[Space]:
        """All places where a file system may be."""
        yield from self.slices.values()
        yield from self.arrays.values()
        yield from self.volumes.values()

    def trees(self) -> list[Tree]:
        """All file systems."""
        return [tree for space in self.spaces() if (tree := read_tree(space)) is not None]


def read_tree(space: Space) -> Tree | None:
    """The file system in a place."""
    value = space.get(0, FILES)
    if value is None:
        return None
    return Tree(space, value["fs"], value["uuid"], value["label"], value["files"])
