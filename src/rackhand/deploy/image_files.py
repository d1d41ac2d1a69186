"""Files of images: looked through, brought into the form that machines load, and hashed. Runs in threads; no database.

A system comes as its files (`tar.zst`), which go into whatever partitions were made, or as the bytes of a whole disk
(`raw`, `qcow2`), which are kept compressed: `raw.zst`.
"""

import contextlib
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rackhand.deploy.os_model import ImageFormat

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 1 << 20
LEVEL = 6
SOURCE_FORMATS = ("tar.zst", "raw", "raw.zst", "qcow2")
KERNEL = re.compile(r"boot/vmlinuz[-.\w]*|boot/vmlinux[-.\w]*")
RELEASE = {"etc/os-release", "usr/lib/os-release"}
MAX_RELEASE = 64 * 1024
BOOT_SIGNATURE = b"\x55\xaa"  # the last bytes of the first sector of a disk that has a partition table
CONVERT_SECONDS = 4 * 3600
BLOCK = 4096

Progress = Callable[[int], None]


class BadImage(ValueError):
    """A file is no image that can be installed; the message is a sentence."""


@dataclass(frozen=True)
class Checked:
    """A file that machines can load: the room that it needs, and the name that the system gives itself."""

    path: Path
    format: ImageFormat
    size_bytes: int
    sha256: str
    unpacked_bytes: int
    system: str = ""


def hash_file(path: Path, algorithm: str = "sha256") -> bytes:
    """The digest of a file."""
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.digest()


def check(path: Path, source_format: str, scratch: Path) -> Checked:
    """Look a file through, convert it where it has to be; raises `BadImage`.

    What comes of a conversion is put into *scratch*; the caller moves or deletes it.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    if source_format == "tar.zst":
        unpacked, system = _look_through_tar(path)
        return _checked(path, ImageFormat.TAR_ZST, unpacked, system)
    if source_format == "raw.zst":
        return _checked(path, ImageFormat.RAW_ZST, _look_through_disk(path))
    raw = path
    if source_format == "qcow2":
        raw = scratch / f"{path.name}.raw"
        _convert(path, raw)
    try:
        packed = scratch / f"{path.name}.raw.zst"
        _pack(raw, packed)
    finally:
        if raw is not path:
            raw.unlink(missing_ok=True)
    return _checked(packed, ImageFormat.RAW_ZST, _look_through_disk(packed))


def _checked(path: Path, kind: ImageFormat, unpacked: int, system: str = "") -> Checked:
    return Checked(path, kind, path.stat().st_size, hash_file(path).hex(), unpacked, system)


def _look_through_tar(path: Path) -> tuple[int, str]:
    """The room that the files take in blocks, and the name of the system."""
    unpacked, system, has_kernel = 0, "", False
    with (
        _readable("tar.zst"),
        zstd.open(path, "rb") as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        for member in tar:
            name = member.name.removeprefix("./")
            if name.startswith("/") or ".." in name.split("/"):
                raise BadImage(f"The archive has a file outside of its root: {member.name[:100]!r}.")
            unpacked += BLOCK + -(-member.size // BLOCK) * BLOCK
            has_kernel = has_kernel or bool(KERNEL.fullmatch(name))
            if name in RELEASE and member.isfile() and not system:
                file = tar.extractfile(member)
                system = _pretty_name(file.read(MAX_RELEASE).decode(errors="replace") if file else "")
    if not has_kernel:
        raise BadImage("The archive has no kernel: a file boot/vmlinuz… is missing.")
    return unpacked, system


def _look_through_disk(path: Path) -> int:
    """The size of a disk that is kept compressed; it must have a boot sector."""
    size, head = 0, b""
    with _readable("raw.zst"), zstd.open(path, "rb") as stream:
        while piece := stream.read(PIECE):
            head = head or piece[:512]
            size += len(piece)
    if head[510:512] != BOOT_SIGNATURE:
        raise BadImage("The image is not that of a disk: its first sector is no boot sector.")
    return size


@contextlib.contextmanager
def _readable(words: str) -> Iterator[None]:
    try:
        yield
    except (zstd.ZstdError, tarfile.TarError, EOFError) as error:
        raise BadImage(f"The file cannot be read as {words}: {error}") from error


def _pretty_name(text: str) -> str:
    """`PRETTY_NAME` of os-release(5)."""
    found = re.search(r"^PRETTY_NAME=(?:\"([^\"\n]{1,200})\"|(\S{1,200}))$", text, re.MULTILINE)
    return (found[1] or found[2]) if found else ""


def _pack(raw: Path, packed: Path) -> None:
    with raw.open("rb") as source, zstd.open(packed, "wb", level=LEVEL) as target:
        shutil.copyfileobj(source, target, PIECE)


def _convert(source: Path, target: Path) -> None:
    """qcow2 to raw; a file that names another one as its base is refused, for it would read files of this machine."""
    program = shutil.which("qemu-img")
    if program is None:
        raise BadImage("qemu-img is not installed on this machine (Debian: qemu-utils).")
    about = _run([program, "info", "--output=json", "-f", "qcow2", str(source)])
    if '"backing-filename"' in about or '"data-file"' in about:
        raise BadImage("The image builds on another file. Send one that stands alone.")
    _run([program, "convert", "-f", "qcow2", "-O", "raw", str(source), str(target)])


def _run(arguments: list[str]) -> str:
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=CONVERT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BadImage(f"{Path(arguments[0]).name} did not end within {CONVERT_SECONDS} s.") from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise BadImage(f"{Path(arguments[0]).name}: {words[-1][:300] if words else done.returncode}")
    return done.stdout.decode(errors="replace")
