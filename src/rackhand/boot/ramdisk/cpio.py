"""Archives that the kernel unpacks into its first file system: cpio in the `newc` format, the same bytes every time.

The format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = "070701"
TRAILER = "TRAILER!!!"
ALIGNMENT = 4
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """A file, directory or symbolic link of root: *mode* with its type, *content* in memory or in a file."""

    path: str
    mode: int
    content: bytes | Path = b""

    @classmethod
    def directory(cls, path: str, mode: int = 0o755) -> "Entry":
        """A directory."""
        return cls(path, stat.S_IFDIR | mode)

    @classmethod
    def link(cls, path: str, target: str) -> "Entry":
        """A symbolic link."""
        return cls(path, stat.S_IFLNK | 0o777, target.encode())

    @classmethod
    def file(cls, path: str, content: bytes | Path, mode: int = 0o644) -> "Entry":
        """A plain file."""
        return cls(path, stat.S_IFREG | mode, content)


def write(entries: Iterable[Entry], out: BinaryIO, *, epoch: int) -> None:
    """Write *entries*, sorted, all of the time *epoch*; directories that are missing are made."""
    number = 0
    for number, entry in enumerate(_complete(entries), 1):
        size = len(entry.content) if isinstance(entry.content, bytes) else entry.content.stat().st_size
        _head(out, entry.path, number=number, mode=entry.mode, size=size, epoch=epoch)
        if isinstance(entry.content, bytes):
            out.write(entry.content)
        else:
            with entry.content.open("rb") as file:
                while piece := file.read(CHUNK):
                    out.write(piece)
        out.write(_padding(size))
    _head(out, TRAILER, number=number + 1, mode=0, size=0, epoch=0)


def _complete(entries: Iterable[Entry]) -> list[Entry]:
    found = {entry.path: entry for entry in entries}
    for path in list(found):
        parents = path.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            parent = "/".join(parents[:depth])
            found.setdefault(parent, Entry.directory(parent))
    return [found[path] for path in sorted(found)]


def _head(out: BinaryIO, path: str, *, number: int, mode: int, size: int, epoch: int) -> None:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, epoch, size, 0, 0, 0, 0, len(name), 0)
    head = MAGIC + "".join(f"{field:08X}" for field in fields)
    out.write(head.encode() + name)
    out.write(_padding(len(head) + len(name)))


def _padding(size: int) -> bytes:
    return bytes(-size % ALIGNMENT)
