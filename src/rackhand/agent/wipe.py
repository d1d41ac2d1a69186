"""Erasing disks, each proven: marks are written before, and what was there is looked for afterwards.

Nothing that a disk reports is believed by itself. A disk counts as erased when it reports so *and* none of the marks,
and nothing of what was sampled before, can be read from it any more. Everything else is a failure with its reason;
there is no way of erasing less than was asked for.
"""

import hashlib
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rackhand.agent.host import Disk, DiskError, EraseMethod, EraseState, Host
from rackhand.agent.inventory import describe_disk

BLOCK = 4096
MARKS = 64
SAMPLES = 256
EDGE = 1024 * 1024  # partition tables, boot loaders and RAID superblocks are in the first and the last MiB
FAST_EDGE = 4 * EDGE
POLL_SECONDS = 2.0
STORAGE_CLASS = "01"  # mass storage controllers, PCI Code and ID Assignment Specification

Json = dict[str, Any]
Report = Callable[[int | None, str], None]

# Strongest first. What can be read back as erased stands before what only makes data unreadable.
STRENGTH = (
    EraseMethod.NVME_SANITIZE_BLOCK,
    EraseMethod.NVME_SANITIZE_CRYPTO,
    EraseMethod.NVME_FORMAT_CRYPTO,
    EraseMethod.NVME_FORMAT,
    EraseMethod.ATA_SANITIZE_BLOCK,
    EraseMethod.ATA_SANITIZE_CRYPTO,
    EraseMethod.ATA_SECURE_ERASE_ENHANCED,
    EraseMethod.SCSI_SANITIZE_BLOCK,
    EraseMethod.SCSI_SANITIZE_CRYPTO,
    EraseMethod.SCSI_SANITIZE_OVERWRITE,
    EraseMethod.ATA_SECURE_ERASE,
    EraseMethod.OVERWRITE,
    EraseMethod.DISCARD_ZERO,
)
# NIST SP 800-88 rev. 1, appendix A: what is not named there as Purge is Clear.
PURGES = {
    EraseMethod.NVME_SANITIZE_BLOCK,
    EraseMethod.NVME_SANITIZE_CRYPTO,
    EraseMethod.NVME_FORMAT_CRYPTO,
    EraseMethod.NVME_FORMAT,
    EraseMethod.ATA_SANITIZE_BLOCK,
    EraseMethod.ATA_SANITIZE_CRYPTO,
    EraseMethod.SCSI_SANITIZE_BLOCK,
    EraseMethod.SCSI_SANITIZE_CRYPTO,
    EraseMethod.SCSI_SANITIZE_OVERWRITE,
}
ZEROING = {EraseMethod.OVERWRITE, EraseMethod.DISCARD_ZERO}


def category(method: EraseMethod, kind: str) -> str:
    """`Purge` or `Clear`; the enhanced secure erase of a spinning disk is a purge, that of flash is not."""
    if method in PURGES or (method is EraseMethod.ATA_SECURE_ERASE_ENHANCED and kind == "HDD"):
        return "Purge"
    return "Clear"


def wipe_disks(host: Host, args: Mapping[str, Any], report: Report) -> Json:
    """Erase every disk, all at once; *args*: `level` is `fast` or `full`, `seconds` what one disk may take.

    Gives `disks`: each with what identifies it, `erased`, `method`, `category`, `attempts`, `marks` and `samples` that
    were looked at, `seconds`, and the `error` of one that is not erased. `fast` takes away what makes a disk bootable
    and readable at a glance, and its category is `None`: it is no erasure. `unseen` are storage controllers without a
    driver: disks behind them were not seen, and so not erased.
    """
    level, seconds = str(args["level"]), float(args["seconds"])
    if level not in {"fast", "full"}:
        raise ValueError(f"level: expected fast or full, got {level!r}")
    unseen = [
        asdict(device) for device in host.pci() if device.kind.startswith(STORAGE_CLASS) and not device.driver
    ]
    wipes = [_Wipe(host, disk, seconds) for disk in host.disks()]
    running = {wipe: wipe.fast() if level == "fast" else wipe.full() for wipe in wipes}
    while running:
        for wipe, steps in list(running.items()):
            if _advance(wipe, steps):
                del running[wipe]
        percent = sum(wipe.percent for wipe in wipes) // len(wipes)
        report(percent, ", ".join(f"{wipe.disk.name} {wipe.percent} %" for wipe in running) or "done")
        if running:
            host.pause(POLL_SECONDS)
    return {"level": level, "disks": [wipe.row for wipe in wipes], "unseen": unseen}


Steps = Generator[None, None, None]


def _advance(wipe: "_Wipe", steps: Steps) -> bool:
    """Go on with one disk until it waits; True when it is over, one way or the other."""
    try:
        next(steps)
    except StopIteration:
        wipe.end(None)
    except DiskError as error:
        wipe.end(str(error))
    else:
        return False
    return True


@dataclass(frozen=True)
class _Sample:
    """What was read at a place before: a digest, and whether it was one byte over and over."""

    offset: int
    digest: bytes
    is_uniform: bool


class _Wipe:
    """One disk on its way; `row` is what is told of it."""

    def __init__(self, host: Host, disk: Disk, seconds: float) -> None:
        self.disk = disk
        self.percent = 0
        self.row: Json = {
            **describe_disk(disk), "erased": False, "method": None, "category": None, "attempts": [],
            "marks": 0, "samples": 0, "hidden_areas": [], "seconds": None, "error": None,
        }  # fmt: skip
        self._host = host
        self._begin = host.now()
        self._until = self._begin + seconds

    def end(self, error: str | None) -> None:
        """Write down how it ended."""
        self.percent = 100
        self.row["erased"] = error is None
        self.row["error"] = error
        self.row["seconds"] = round(self._host.now() - self._begin, 1)

    def fast(self) -> Steps:
        """Write zeros over both ends and read them back."""
        disk = self.disk
        ends = _edges(disk.size_bytes, FAST_EDGE)
        for offset, length in ends:
            for at in range(offset, offset + length, EDGE):
                disk.write(at, bytes(min(EDGE, offset + length - at)))
            yield
        disk.flush()
        for offset, length in ends:
            if disk.read(offset, length) != bytes(length):
                raise DiskError(f"{disk.name}: the zeros that were written to it cannot be read back.")
            yield
        self.row.update(method="zeros at both ends", samples=len(ends))

    def full(self) -> Steps:
        """Make all of it reachable, mark it, erase it by the strongest way that works, and look for what was there."""
        disk = self.disk
        self._unhide()
        places = _places(disk.size_bytes, SAMPLES)
        samples = [self._sample(offset) for offset in places]
        yield
        marks = self._write_marks()
        yield
        for method in (method for method in STRENGTH if method in disk.erase_methods()):
            error = yield from self._erase(method)
            if error is None:
                break
            self.row["attempts"].append({"method": method.value, "error": error})
        else:
            raise DiskError(f"{disk.name}: no way of erasing it worked: {self._attempts()}.")
        yield
        self._look_for(marks, samples, method)
        self.row.update(
            method=method.value, category=category(method, disk.kind), marks=len(marks), samples=len(samples)
        )

    def _unhide(self) -> None:
        areas = self.disk.hidden_areas()
        if not areas:
            return
        self.row["hidden_areas"] = [{"kind": area.kind, "size_bytes": area.size_bytes} for area in areas]
        self.disk.unhide()
        if left := self.disk.hidden_areas():
            raise DiskError(
                f"{self.disk.name}: {left[0].size_bytes} bytes of it are hidden ({left[0].kind})."
            )
        self.row["size_bytes"] = self.disk.size_bytes

    def _sample(self, offset: int) -> _Sample:
        data = self.disk.read(offset, BLOCK)
        return _Sample(offset, hashlib.sha256(data).digest(), is_uniform=data == data[:1] * BLOCK)

    def _write_marks(self) -> dict[int, bytes]:
        """Write random blocks, and see that they are there: a disk that keeps nothing cannot be proven to forget."""
        marks = {offset: secrets.token_bytes(BLOCK) for offset in _places(self.disk.size_bytes, MARKS)}
        for offset, mark in marks.items():
            self.disk.write(offset, mark)
        self.disk.flush()
        for offset, mark in marks.items():
            if self.disk.read(offset, BLOCK) != mark:
                raise DiskError(f"{self.disk.name}: what is written to it at {offset} cannot be read back.")
        return marks

    def _erase(self, method: EraseMethod) -> Generator[None, None, str | None]:
        """Have the disk erase itself; gives its own words when it says that it did not.

        A disk that never comes to an end fails for good: nothing else can be asked of it meanwhile.
        """
        self.percent = 0
        try:
            self.disk.start_erase(method)
            state: EraseState = self.disk.erase_state()
        except DiskError as error:
            return str(error)
        while not state.is_over:
            if self._host.now() >= self._until:
                minutes = round((self._until - self._begin) / 60)
                raise DiskError(f"{self.disk.name}: {method.value} did not end within {minutes} minutes.")
            self.percent = min(99, state.percent or 0)
            yield
            try:
                state = self.disk.erase_state()
            except DiskError as error:
                return str(error)
        return state.error

    def _look_for(self, marks: Mapping[int, bytes], samples: Sequence[_Sample], method: EraseMethod) -> None:
        """Read where something was; raise when anything of it is still there."""
        name = self.disk.name
        kept = [offset for offset, mark in marks.items() if self.disk.read(offset, BLOCK) == mark]
        if kept:
            raise DiskError(
                f"{name}: reports that {method.value} was done, and {len(kept)} of {len(marks)} marks are still there."
            )
        for sample in samples:
            data = self.disk.read(sample.offset, BLOCK)
            if method in ZEROING and any(data):
                raise DiskError(f"{name}: {method.value} left other bytes than zeros at {sample.offset}.")
            if not sample.is_uniform and hashlib.sha256(data).digest() == sample.digest:
                raise DiskError(
                    f"{name}: reports that {method.value} was done, and what was at {sample.offset} is still there."
                )

    def _attempts(self) -> str:
        return (
            "; ".join(f"{tried['method']}: {tried['error']}" for tried in self.row["attempts"])
            or "none is known"
        )


def _edges(size: int, length: int) -> list[tuple[int, int]]:
    """Both ends of a disk; all of a small one."""
    if size <= 2 * length:
        return [(0, size)]
    return [(0, length), (size - length, length)]


def _places(size: int, number: int) -> list[int]:
    """Where to look: both ends, and random places in equal parts of the rest, so that no part is left out."""
    blocks = size // BLOCK
    ends = {0, EDGE // BLOCK, max(0, blocks - 1 - EDGE // BLOCK), blocks - 1}
    part = max(1, blocks // number)
    rest = {at + secrets.randbelow(part) for at in range(0, blocks, part)}
    return [block * BLOCK for block in sorted(ends | rest) if 0 <= block < blocks]
