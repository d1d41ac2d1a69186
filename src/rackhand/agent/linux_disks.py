"""Drives on real iron: NVMe, ATA and SCSI, through the kernel's block devices, nvme-cli, hdparm, sg3-utils, smartctl.

What a drive can do is asked of the drive. An exit status of 0 proves nothing: where there is a log of the operation it
is read too, and whoever erases reads the drive afterwards (`wipe`).
"""

import mmap
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from rackhand.agent.host import DiskError, EraseMethod, EraseState, HiddenArea, HostError, Smart
from rackhand.agent.tools import clean, number, read_line, run, run_json

T = TypeVar("T")

CHUNK = 4 * 1024 * 1024
IGNORED = re.compile(r"(loop|ram|zram|sr|fd|nbd|md|dm-)\d")
COLUMNS = "NAME,TYPE,SIZE,ROTA,TRAN,MODEL,SERIAL,REV,LOG-SEC,RM"
SMARTCTL_SAID_SOMETHING = tuple(
    status for status in range(256) if not status & 0b11
)  # smartctl(8), return values
SECURITY_PASSWORD = "rackhand"  # noqa: S105  # set and erased with the drive within minutes
SURE = "--yes-i-know-what-i-am-doing"


def find_disks() -> list["LinuxDisk"]:
    """The drives that the kernel has, without removable and virtual ones."""
    found = run_json("lsblk", "--json", "--bytes", "--nodeps", "--output", COLUMNS)
    return [make_disk(row) for row in found.get("blockdevices", []) if is_drive(row)]


def is_drive(row: Mapping[str, Any]) -> bool:
    """Whether a row of lsblk is a drive of the machine."""
    return (
        row.get("type") == "disk"
        and not row.get("rm")
        and not IGNORED.match(str(row["name"]))
        and int(row.get("size") or 0) > 0
    )


def make_disk(row: Mapping[str, Any]) -> "LinuxDisk":
    """The drive of a row of lsblk."""
    if str(row["name"]).startswith("nvme"):
        return NvmeDisk(row)
    return AtaDisk(row) if row.get("tran") in {"sata", "ata"} else ScsiDisk(row)


class LinuxDisk:
    """See `Disk`; what all kinds share."""

    kind_of_solid = "SSD"

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.name = str(row["name"])
        self.kind = "HDD" if row.get("rota") else self.kind_of_solid
        self.model = clean(str(row.get("model") or ""))
        self.serial = clean(str(row.get("serial") or ""))
        self.firmware = clean(str(row.get("rev") or ""))
        self.sector_bytes = int(row.get("log-sec") or 512)
        self.path = f"/dev/{self.name}"
        self._erasing: Callable[[], EraseState] = lambda: EraseState(
            is_over=True, error="Nothing was erased."
        )

    @property
    def size_bytes(self) -> int:
        """See `Disk`."""
        return 512 * (number(read_line(f"/sys/block/{self.name}/size")) or 0)  # in units of 512 bytes, always

    def smart(self) -> Smart:
        """See `Disk`."""
        return self._guard(
            lambda: parse_smart(
                run_json("smartctl", "--json", "--all", self.path, accept=SMARTCTL_SAID_SOMETHING)
            )
        )

    def read(self, offset: int, length: int) -> bytes:
        """See `Disk`."""
        with _Direct(self.path, os.O_RDONLY, self.name) as file:
            return file.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """See `Disk`."""
        with _Direct(self.path, os.O_WRONLY, self.name) as file:
            file.write(offset, data)

    def flush(self) -> None:
        """See `Disk`."""
        with _Direct(self.path, os.O_WRONLY, self.name) as file:
            file.sync()

    def read_speed(self, seconds: float) -> float | None:
        """See `Disk`."""
        begin, offset = time.monotonic(), 0
        with _Direct(self.path, os.O_RDONLY, self.name) as file:
            while (spent := time.monotonic() - begin) < seconds and offset + CHUNK <= self.size_bytes:
                file.read(offset, CHUNK)
                offset += CHUNK
        return offset / 1e6 / spent if offset and spent else None

    def hidden_areas(self) -> list[HiddenArea]:
        """See `Disk`."""
        return []

    def unhide(self) -> None:
        """See `Disk`."""
        raise DiskError(f"{self.name}: what is hidden on it cannot be made reachable.")

    def erase_methods(self) -> list[EraseMethod]:
        """See `Disk`."""
        methods = self._guard(self.own_methods)
        if number(read_line(f"/sys/block/{self.name}/queue/write_zeroes_max_bytes")):
            methods.append(EraseMethod.DISCARD_ZERO)
        return [*methods, EraseMethod.OVERWRITE]

    def own_methods(self) -> list[EraseMethod]:
        """What this kind of drive can do by itself."""
        return []

    def start_erase(self, method: EraseMethod) -> None:
        """See `Disk`."""
        if method is EraseMethod.OVERWRITE:
            self._erasing = _Overwrite(self.path, self.name, self.size_bytes).state
        elif method is EraseMethod.DISCARD_ZERO:
            self._erasing = _Program(self.name, "blkdiscard", "--force", "--zeroout", self.path).state
        else:
            self._erasing = self._guard(lambda: self.start_own(method))

    def start_own(self, method: EraseMethod) -> Callable[[], EraseState]:
        """Start an erase by the drive itself; gives what tells its state."""
        raise DiskError(f"{self.name}: does not know {method.value}.")

    def erase_state(self) -> EraseState:
        """See `Disk`."""
        return self._guard(self._erasing)

    def _guard(self, act: Callable[[], T]) -> T:
        """Whatever a program says is the drive's error."""
        try:
            return act()
        except DiskError:
            raise
        except HostError as error:
            raise DiskError(f"{self.name}: {error}") from error


class NvmeDisk(LinuxDisk):
    """A namespace of an NVMe controller (NVM Express Base Specification 2.0)."""

    kind_of_solid = "NVMe"

    @property
    def controller(self) -> str:
        """The controller's device: `/dev/nvme0` of `nvme0n1`."""
        return "/dev/" + self.name.rpartition("n")[0]

    def hidden_areas(self) -> list[HiddenArea]:
        """What belongs to no namespace, and other namespaces (figure 275: TNVMCAP, UNVMCAP)."""
        capacity = self._guard(self._identify)
        total, unallocated = int(capacity.get("tnvmcap") or 0), int(capacity.get("unvmcap") or 0)
        other = total - unallocated - self.size_bytes
        areas = [HiddenArea("unallocated", unallocated)] if unallocated else []
        # Smaller differences are formatting: metadata and rounding.
        return [*areas, HiddenArea("namespace", other)] if total and other > total // 20 else areas

    def own_methods(self) -> list[EraseMethod]:
        """By SANICAP, FNA and OACS of the controller."""
        return nvme_methods(self._identify())

    def _identify(self) -> dict[str, Any]:
        return run_json("nvme", "id-ctrl", self.controller, "--output-format=json")

    def start_own(self, method: EraseMethod) -> Callable[[], EraseState]:
        """A sanitize goes on by itself and is followed in its log; a format ends with the command."""
        match method:
            case EraseMethod.NVME_SANITIZE_CRYPTO:
                run("nvme", "sanitize", self.controller, "--sanact=4")
                return self._sanitize_state
            case EraseMethod.NVME_SANITIZE_BLOCK:
                run("nvme", "sanitize", self.controller, "--sanact=2")
                return self._sanitize_state
            case EraseMethod.NVME_FORMAT_CRYPTO:
                return _Program(self.name, "nvme", "format", self.path, "--ses=2", "--force").state
            case EraseMethod.NVME_FORMAT:
                return _Program(self.name, "nvme", "format", self.path, "--ses=1", "--force").state
            case _:
                return super().start_own(method)

    def _sanitize_state(self) -> EraseState:
        return nvme_sanitize_state(run_json("nvme", "sanitize-log", self.controller, "--output-format=json"))


def nvme_methods(controller: Mapping[str, Any]) -> list[EraseMethod]:
    """What `nvme id-ctrl` says that the controller can do."""
    sanicap, fna, oacs = (int(controller.get(name) or 0) for name in ("sanicap", "fna", "oacs"))
    methods = []
    if sanicap & 0b01:
        methods.append(EraseMethod.NVME_SANITIZE_CRYPTO)
    if sanicap & 0b10:
        methods.append(EraseMethod.NVME_SANITIZE_BLOCK)
    if oacs & 0b10:  # Format NVM is supported
        if fna & 0b100:
            methods.append(EraseMethod.NVME_FORMAT_CRYPTO)
        methods.append(EraseMethod.NVME_FORMAT)
    return methods


def nvme_sanitize_state(log: Mapping[str, Any]) -> EraseState:
    """Read `nvme sanitize-log`: SSTAT says what became of the last sanitize, SPROG is in parts of 65536.

    nvme-cli has written the state as a number, and as a text that begins with it in parentheses.
    """
    found = next((value for value in log.values() if isinstance(value, dict) and "sstat" in value), log)
    sstat = found.get("sstat")
    values = list(sstat.values()) if isinstance(sstat, dict) else [sstat]
    texts = [value for value in values if isinstance(value, str)]
    state = re.match(r"\((\d)\)", texts[0]) if texts else None
    status = int(state[1]) if state else int(values[-1] or 0) & 0b111
    if status == 2:  # noqa: PLR2004  # in progress
        return EraseState(is_over=False, percent=100 * int(found.get("sprog") or 0) // 65536)
    if status in {1, 4}:
        return EraseState(is_over=True, percent=100)
    words = "the sanitize failed" if status == 3 else "there was no sanitize"  # noqa: PLR2004
    return EraseState(is_over=True, error=f"The log of the drive says that {words}.")


class AtaDisk(LinuxDisk):
    """A SATA drive (ATA ACS-4), through hdparm."""

    def hidden_areas(self) -> list[HiddenArea]:
        """The host protected area, and what the device configuration overlay hides."""
        return self._guard(
            lambda: ata_hidden_areas(
                run("hdparm", "-N", self.path), run("hdparm", "--dco-identify", self.path, accept=range(256))
            )
        )

    def unhide(self) -> None:
        """End the host protected area for good; a configuration overlay is refused: undoing it may end the drive."""
        areas = self.hidden_areas()
        if any(area.kind == "DCO" for area in areas):
            raise DiskError(f"{self.name}: a device configuration overlay hides a part of it.")
        native = self._guard(lambda: ata_native_sectors(run("hdparm", "-N", self.path)))
        if areas and native is not None:
            self._guard(lambda: run("hdparm", SURE, "-N", f"p{native}", self.path))
            Path(f"/sys/block/{self.name}/device/rescan").write_text("1")
        if self.hidden_areas():
            raise DiskError(f"{self.name}: its host protected area could not be ended.")

    def own_methods(self) -> list[EraseMethod]:
        """By IDENTIFY DEVICE; a drive that is frozen takes no security command until its power is cut."""
        return ata_methods(run("hdparm", "-I", self.path))

    def start_own(self, method: EraseMethod) -> Callable[[], EraseState]:
        """A sanitize goes on by itself; a secure erase ends with the command."""
        match method:
            case EraseMethod.ATA_SANITIZE_CRYPTO:
                run("hdparm", SURE, "--sanitize-crypto-scramble", self.path)
                return self._sanitize_state
            case EraseMethod.ATA_SANITIZE_BLOCK:
                run("hdparm", SURE, "--sanitize-block-erase", self.path)
                return self._sanitize_state
            case EraseMethod.ATA_SECURE_ERASE_ENHANCED:
                return self._secure_erase("--security-erase-enhanced")
            case EraseMethod.ATA_SECURE_ERASE:
                return self._secure_erase("--security-erase")
            case _:
                return super().start_own(method)

    def _secure_erase(self, option: str) -> Callable[[], EraseState]:
        run("hdparm", "--user-master", "u", "--security-set-pass", SECURITY_PASSWORD, self.path)
        return _Program(self.name, "hdparm", "--user-master", "u", option, SECURITY_PASSWORD, self.path).state

    def _sanitize_state(self) -> EraseState:
        return ata_sanitize_state(run("hdparm", "--sanitize-status", self.path))


def ata_methods(identify: str) -> list[EraseMethod]:
    """Read `hdparm -I`."""
    methods = []
    enabled = {line.partition("*")[2].strip() for line in identify.splitlines() if "*" in line}
    if "SANITIZE feature set" in enabled:
        if "CRYPTO_SCRAMBLE_EXT command" in enabled:
            methods.append(EraseMethod.ATA_SANITIZE_CRYPTO)
        if "BLOCK_ERASE_EXT command" in enabled:
            methods.append(EraseMethod.ATA_SANITIZE_BLOCK)
    security = identify.partition("Security:")[2]
    words = [re.sub(r"\s+", " ", line.strip()) for line in security.splitlines()]
    if "supported" in words and "not frozen" in words and "not locked" in words:
        if "supported: enhanced erase" in words:
            methods.append(EraseMethod.ATA_SECURE_ERASE_ENHANCED)
        methods.append(EraseMethod.ATA_SECURE_ERASE)
    return methods


def ata_native_sectors(text: str) -> int | None:
    """The native maximum of `hdparm -N`: ` max sectors   = 1000/2000, HPA is enabled`."""
    found = re.search(r"max sectors\s*=\s*(\d+)/(\d+)", text)
    return int(found[2]) if found else None


def ata_hidden_areas(max_sectors: str, overlay: str) -> list[HiddenArea]:
    """Compare what is shown with the native maximum (HPA) and that with the real one (DCO)."""
    found = re.search(r"max sectors\s*=\s*(\d+)/(\d+)", max_sectors)
    if found is None:
        return []
    shown, native = int(found[1]), int(found[2])
    areas = [HiddenArea("HPA", 512 * (native - shown))] if native > shown else []
    real = re.search(r"Real max sectors:\s*(\d+)", overlay)
    if real is not None and int(real[1]) > native:
        areas.append(HiddenArea("DCO", 512 * (int(real[1]) - native)))
    return areas


def ata_sanitize_state(text: str) -> EraseState:
    """Read `hdparm --sanitize-status`."""
    progress = re.search(r"Progress:\s*0x[0-9a-f]+\s*\((\d+)%\)", text, re.IGNORECASE)
    if "In Process" in text:
        return EraseState(is_over=False, percent=int(progress[1]) if progress else None)
    if "Completed Without Error" in text:
        return EraseState(is_over=True, percent=100)
    return EraseState(
        is_over=True, error="The drive does not say that the sanitize was completed without error."
    )


class ScsiDisk(LinuxDisk):
    """A SAS drive, or whatever else looks like SCSI or like nothing in particular, through sg3-utils."""

    SANITIZES: Mapping[EraseMethod, tuple[str, tuple[str, ...]]] = {
        EraseMethod.SCSI_SANITIZE_CRYPTO: ("0x48,0x3", ("--crypto",)),
        EraseMethod.SCSI_SANITIZE_BLOCK: ("0x48,0x2", ("--block",)),
        EraseMethod.SCSI_SANITIZE_OVERWRITE: ("0x48,0x1", ("--overwrite", "--zero")),
    }

    def own_methods(self) -> list[EraseMethod]:
        """By REPORT SUPPORTED OPERATION CODES (SPC-4, 6.35); a drive that does not know even that can do nothing."""
        return [
            method
            for method, (code, _) in self.SANITIZES.items()
            if scsi_supports(run("sg_opcodes", f"--opcode={code}", self.path, accept=range(256)))
        ]

    def start_own(self, method: EraseMethod) -> Callable[[], EraseState]:
        """Wait for the drive in the program."""
        if method not in self.SANITIZES:
            return super().start_own(method)
        options = self.SANITIZES[method][1]
        return _Program(self.name, "sg_sanitize", *options, "--quick", "--wait", self.path).state


def scsi_supports(text: str) -> bool:
    """Read `sg_opcodes --opcode=`."""
    return "ommand supported" in text and "not supported" not in text


def parse_smart(data: Mapping[str, Any]) -> Smart:
    """Read `smartctl --json --all` of any kind of drive."""
    attributes = {
        row.get("id"): (row.get("raw") or {}).get("value")
        for row in (data.get("ata_smart_attributes") or {}).get("table", [])
    }
    bad = [int(attributes[key] or 0) for key in (5, 197) if attributes.get(key) is not None]
    defects = data.get("scsi_grown_defect_list")
    nvme = data.get("nvme_smart_health_information_log") or {}
    return Smart(
        healthy=(data.get("smart_status") or {}).get("passed"),
        power_on_hours=(data.get("power_on_time") or {}).get("hours"),
        temperature=(data.get("temperature") or {}).get("current"),
        bad_sectors=sum(bad) if bad else defects,
        media_errors=nvme.get("media_errors"),
        wear_percent=nvme.get("percentage_used"),
    )


class _Direct:
    """A block device past the page cache; what is read was read from the drive."""

    def __init__(self, path: str, flags: int, name: str) -> None:
        self._name = name
        try:
            self._file = os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            raise DiskError(f"{name}: {error.strerror}") from error
        self._buffer = mmap.mmap(-1, CHUNK)  # O_DIRECT wants aligned memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._buffer.close()
        os.close(self._file)

    def read(self, offset: int, length: int) -> bytes:
        """Read, in pieces."""
        pieces = []
        for at, size in _pieces(offset, length):
            with memoryview(self._buffer)[:size] as view:
                done = self._try(lambda: os.preadv(self._file, [view], at), f"reading at {at}")  # noqa: B023
                if done != size:
                    raise DiskError(f"{self._name}: reading at {at} gave {done} of {size} bytes.")
                pieces.append(bytes(view))
        return b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        """Write, in pieces."""
        for at, size in _pieces(offset, len(data)):
            self._buffer[:size] = data[at - offset :][:size]
            with memoryview(self._buffer)[:size] as view:
                done = self._try(lambda: os.pwritev(self._file, [view], at), f"writing at {at}")  # noqa: B023
            if done != size:
                raise DiskError(f"{self._name}: writing at {at} took {done} of {size} bytes.")

    def sync(self) -> None:
        """Have the drive write out its cache."""
        self._try(lambda: os.fsync(self._file), "flushing")

    def _try(self, act: Callable[[], T], what: str) -> T:
        try:
            return act()
        except OSError as error:
            raise DiskError(f"{self._name}: {what} failed: {error.strerror}") from error


def _pieces(offset: int, length: int) -> list[tuple[int, int]]:
    return [(at, min(CHUNK, offset + length - at)) for at in range(offset, offset + length, CHUNK)]


class _Program:
    """An erase that lasts as long as a program runs."""

    def __init__(self, name: str, *argv: str) -> None:
        self._name = name
        self._argv = argv
        try:
            self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except OSError as error:
            raise DiskError(f"{name}: {argv[0]}: {error}") from error

    def state(self) -> EraseState:
        """The program's exit status, when there is one."""
        status = self._process.poll()
        if status is None:
            return EraseState(is_over=False)
        words = self._process.stderr.read().decode(errors="replace").strip() if self._process.stderr else ""
        error = f"{self._argv[0]} ended with {status}: {words[-300:]}" if status else None
        return EraseState(is_over=True, percent=None if status else 100, error=error)


class _Overwrite:
    """Zeros over everything, in a thread."""

    def __init__(self, path: str, name: str, size: int) -> None:
        self._path, self._name, self._size = path, name, size
        self._done = 0
        self._error: str | None = None
        self._thread = threading.Thread(target=self._write, name=f"overwrite {name}", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        try:
            with _Direct(self._path, os.O_WRONLY, self._name) as file:
                for at, size in ((at, min(CHUNK, self._size - at)) for at in range(0, self._size, CHUNK)):
                    file.write(at, bytes(size))
                    self._done = at + size
                file.sync()
        except DiskError as error:
            self._error = str(error)

    def state(self) -> EraseState:
        """How much is written."""
        percent = 100 * self._done // self._size
        return EraseState(is_over=not self._thread.is_alive(), percent=percent, error=self._error)
