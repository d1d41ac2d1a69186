"""A place for a system on real iron: sgdisk, mdadm, lvm2, mkfs, tar, and the new system's own GRUB."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from rackhand.agent.host import Disk, HostError
from rackhand.agent.storage import Device, Sink, Slice
from rackhand.agent.tools import run, run_json

TARGET = Path("/mnt/system")
GROUP = "system"
MIB = 1 << 20
LONG = 900.0
SEED_NAME = "seed"
SEED_MIB = 64
TYPES = {"bios_boot": "EF02", "efi": "EF00", "system": "8300"}  # sgdisk(8)
# What GRUB of Debian 12 and older systems cannot read, and mke2fs would switch on.
EXT4_WITHOUT = "^metadata_csum_seed,^orphan_file"
FORMATS: Mapping[str, Sequence[str]] = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-O", EXT4_WITHOUT, "-E", "lazy_itable_init=1", "-L"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-L"),
    "vfat": ("mkfs.vfat", "-F", "32", "-n"),
    "swap": ("mkswap", "-q", "-L"),
}
LOADERS = {"bios": "i386-pc", "uefi": "x86_64-efi"}
ANY_STATUS = range(256)  # of programs that fail when there is nothing to do
BOUND = ("dev", "proc", "sys")


class LinuxStorage:
    """See `Storage`."""

    def release(self, disks: Sequence[Disk]) -> None:  # noqa: ARG002  # in a ramdisk nothing else is in use
        """See `Storage`."""
        run("swapoff", "--all", accept=ANY_STATUS)
        run("umount", "--recursive", str(TARGET), accept=ANY_STATUS)
        run("vgchange", "--activate", "n", accept=ANY_STATUS)
        run("mdadm", "--stop", "--scan", accept=ANY_STATUS)

    def clear(self, disk: Disk) -> None:
        """See `Storage`."""
        for part in _partitions(disk):
            run("mdadm", "--zero-superblock", "--force", part, accept=ANY_STATUS)
            run("wipefs", "--all", "--force", part)
        path = _path(disk)
        run("mdadm", "--zero-superblock", "--force", path, accept=ANY_STATUS)
        run("wipefs", "--all", "--force", path)
        run("sgdisk", "--zap-all", path, accept=(0, 2))  # 2: there was no table that could be read
        _settle(disk)

    def divide(self, disk: Disk, slices: Sequence[Slice]) -> None:
        """See `Storage`."""
        arguments = ["--clear"]
        for number, each in enumerate(slices, 1):
            end = "0" if each.size_mib is None else f"+{each.size_mib}M"
            arguments += [f"--new={number}:0:{end}", f"--typecode={number}:{TYPES[each.role]}"]
            arguments += [f"--change-name={number}:{each.name}"]
        run("sgdisk", *arguments, _path(disk))
        _settle(disk)
        run("mdadm", "--stop", "--scan", accept=ANY_STATUS)  # udev assembles what it finds in new partitions
        for part in _partitions(disk):
            run("mdadm", "--zero-superblock", "--force", part, accept=ANY_STATUS)
            run("wipefs", "--all", "--force", part)

    def make_array(self, name: str, level: str, members: Sequence[Device]) -> None:
        """See `Storage`."""
        paths = [_device(member) for member in members]
        bitmap = () if level == "raid0" else ("--bitmap=internal",)
        run(
            "mdadm", "--create", f"/dev/md/{name}", "--run", f"--level={level}", f"--raid-devices={len(paths)}",
            "--metadata=1.2", "--homehost=any", f"--name={name}", *bitmap, *paths, seconds=LONG,
        )  # fmt: skip
        run("udevadm", "settle")

    def make_group(self, on: Device) -> None:
        """See `Storage`."""
        run("pvcreate", "--yes", "-ff", _device(on))
        run("vgcreate", "--yes", GROUP, _device(on))

    def make_volume(self, name: str, size_mib: int | None) -> None:
        """See `Storage`."""
        size = ("--extents", "100%FREE") if size_mib is None else ("--size", f"{size_mib}m")
        run("lvcreate", "--yes", "--wipesignatures", "y", "--name", name, *size, GROUP)
        run("udevadm", "settle")

    def format(self, device: Device, fs: str, label: str) -> None:
        """See `Storage`."""
        run(*FORMATS[fs], label, _device(device), seconds=LONG)

    def assemble(self, disks: Sequence[Disk]) -> None:  # noqa: ARG002  # all that is there
        """See `Storage`."""
        run("mdadm", "--assemble", "--scan", "--run", accept=ANY_STATUS)
        run("vgchange", "--activate", "y", accept=ANY_STATUS)
        run("udevadm", "settle")

    def mount(self, device: Device, path: str) -> None:
        """See `Storage`."""
        at = TARGET / path.lstrip("/")
        at.mkdir(parents=True, exist_ok=True)
        if not at.is_mount():
            run("mount", _device(device), str(at))

    def unmount(self) -> None:
        """See `Storage`."""
        run("sync", seconds=LONG)
        if TARGET.is_mount():
            run("umount", "--recursive", str(TARGET), seconds=LONG)
        run("vgchange", "--activate", "n", accept=ANY_STATUS)
        run("mdadm", "--stop", "--scan", accept=ANY_STATUS)

    def unpack(self) -> Sink:
        """See `Storage`."""
        return _Unpacking(TARGET)

    def write_disk(self, disk: Disk) -> Sink:
        """See `Storage`."""
        return _DiskWriting(disk)

    def uuid(self, device: Device) -> str:
        """See `Storage`."""
        return run("blkid", "--probe", "--match-tag", "UUID", "--output", "value", _device(device)).strip()

    def array_lines(self) -> list[str]:
        """See `Storage`."""
        return [line for line in run("mdadm", "--detail", "--scan").splitlines() if line.startswith("ARRAY ")]

    def write_file(self, path: str, content: str, mode: int) -> None:
        """See `Storage`."""
        _write(TARGET, path, content, mode)

    def has_loader(self, boot_mode: str) -> bool:
        """See `Storage`."""
        return (TARGET / "usr/lib/grub" / LOADERS[boot_mode]).is_dir()

    def install_bios_loader(self, disk: Disk) -> None:
        """See `Storage`."""
        with _bound():
            _in_system(_first_of("grub-install", "grub2-install"), "--target=i386-pc", _path(disk))

    def install_efi_loader(self, partition: Device) -> None:
        """See `Storage`.

        As the loader for removable disks, which firmware starts without an entry in its own memory: a board that was
        changed, or forgot its entries, still starts the system.
        """
        at = TARGET / "boot/efi"
        at.mkdir(parents=True, exist_ok=True)
        run("mount", _device(partition), str(at))
        try:
            with _bound():
                _in_system(
                    _first_of("grub-install", "grub2-install"), "--target=x86_64-efi",
                    "--efi-directory=/boot/efi", "--removable", "--no-nvram",
                )  # fmt: skip
        finally:
            run("umount", str(at))

    def finish_boot(self) -> None:
        """See `Storage`."""
        with _bound():
            if self.array_lines() or Path(f"/dev/{GROUP}").is_dir():
                if _has("update-initramfs"):
                    _in_system("update-initramfs", "-u", "-k", "all")
                elif _has("dracut"):
                    _in_system("dracut", "--regenerate-all", "--force")
            if _has("update-grub"):
                _in_system("update-grub")
            else:
                folder = "/boot/grub2" if (TARGET / "boot/grub2").is_dir() else "/boot/grub"
                _in_system(_first_of("grub-mkconfig", "grub2-mkconfig"), "-o", f"{folder}/grub.cfg")

    def add_seed(self, disk: Disk, files: Mapping[str, str]) -> None:
        """See `Storage`."""
        path = _path(disk)
        if (part := _named(disk, SEED_NAME)) is None:
            run("sgdisk", "--move-second-header", f"--new=0:-{SEED_MIB}M:0", "--typecode=0:8300",
                f"--change-name=0:{SEED_NAME}", path)  # fmt: skip
            _settle(disk)
            part = _named(disk, SEED_NAME)
        if part is None:
            raise HostError(f"{disk.name}: the partition for the settings was not made.")
        run("mkfs.vfat", "-n", "CIDATA", part)
        TARGET.mkdir(parents=True, exist_ok=True)
        run("mount", part, str(TARGET))
        try:
            for name, content in files.items():
                _write(TARGET, f"/{name}", content, 0o600)
        finally:
            run("umount", str(TARGET))


def _path(disk: Disk) -> str:
    return f"/dev/{disk.name}"


def _device(device: Device) -> str:
    if device.kind == "array":
        return f"/dev/md/{device.name}"
    if device.kind == "volume":
        return f"/dev/{GROUP}/{device.name}"
    if device.disk is None:
        raise HostError(f"{device.name}: the disk is not named.")
    separator = "p" if device.disk.name[-1].isdigit() else ""
    return f"{_path(device.disk)}{separator}{device.number}"


def _partitions(disk: Disk) -> list[str]:
    return [row["path"] for row in _rows(disk) if row.get("type") == "part"]


def _named(disk: Disk, label: str) -> str | None:
    return next((str(row["path"]) for row in _rows(disk) if row.get("partlabel") == label), None)


def _rows(disk: Disk) -> Iterator[dict[str, str]]:
    found = run_json("lsblk", "--json", "--paths", "--output", "PATH,TYPE,PARTLABEL", _path(disk))
    level = list(found.get("blockdevices", []))
    while level:
        row = level.pop(0)
        yield row
        level += row.get("children", [])


def _settle(disk: Disk) -> None:
    run("blockdev", "--rereadpt", _path(disk), accept=ANY_STATUS)
    run("udevadm", "settle")


def _write(root: Path, path: str, content: str, mode: int) -> None:
    """Write below *root*, following the links of the new system as it will see them itself."""
    parts = path.strip("/").split("/")
    folder = root
    for part in parts[:-1]:
        folder /= part
        for _ in range(8):
            if not folder.is_symlink():
                break
            link = os.readlink(folder)  # noqa: PTH115  # `Path.readlink` gives the same
            folder = root / link.lstrip("/") if link.startswith("/") else folder.parent / link
        folder.mkdir(parents=True, exist_ok=True)
    file = folder / parts[-1]
    try:
        file.unlink(missing_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as target:  # noqa: PTH123
            target.write(content)
        file.chmod(mode)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}.") from error


# --- the new system's own programs


@contextlib.contextmanager
def _bound() -> Iterator[None]:
    """Have the devices of this machine in the new system."""
    bound = []
    try:
        for name in BOUND:
            (TARGET / name).mkdir(exist_ok=True)
            run("mount", "--rbind", "--make-rslave", f"/{name}", str(TARGET / name))
            bound.append(name)
        yield
    finally:
        for name in reversed(bound):
            run("umount", "--recursive", "--lazy", str(TARGET / name))


def _in_system(*argv: str) -> None:
    run("chroot", str(TARGET), *argv, seconds=LONG)


def _has(program: str) -> bool:
    return any((TARGET / folder / program).exists() for folder in ("usr/sbin", "usr/bin", "sbin"))


def _first_of(*programs: str) -> str:
    found = next((program for program in programs if _has(program)), None)
    if found is None:
        raise HostError(f"The system has no {programs[0]}, so it cannot be made bootable.")
    return found


# --- images


class _Process:
    """A program that takes an image; what it says when it fails is the error."""

    def __init__(
        self, *argv: str, stdin: int | IO[bytes] = subprocess.PIPE, stdout: int = subprocess.PIPE
    ) -> None:
        self.name = argv[0]
        try:
            self.process = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
        except OSError as error:
            raise HostError(f"{argv[0]}: {error}") from error

    def end(self) -> None:
        """Wait for its end; raise `HostError` when it failed."""
        words = self.process.stderr.read() if self.process.stderr else b""
        if self.process.wait():
            raise HostError(f"{self.name}: {words.decode(errors='replace').strip()[-300:]}")

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


class _Unpacking:
    """See `Sink`: a `tar.zst`."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._zstd = _Process("zstd", "-dc")
        assert self._zstd.process.stdout is not None  # noqa: S101  # asked for
        self._tar = _Process(
            "tar", "-x", "-p", "-C", str(target), "--numeric-owner", "--xattrs", "--xattrs-include=*",
            stdin=self._zstd.process.stdout, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self._zstd.process.stdout.close()

    def write(self, data: bytes) -> None:
        """See `Sink`."""
        assert self._zstd.process.stdin is not None  # noqa: S101  # asked for
        try:
            self._zstd.process.stdin.write(data)
        except BrokenPipeError:
            self.close()

    def close(self) -> int:
        """See `Sink`."""
        with contextlib.suppress(BrokenPipeError):
            if self._zstd.process.stdin is not None:
                self._zstd.process.stdin.close()
        self._tar.end()
        self._zstd.end()
        found = os.statvfs(self._target)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def make_bootable(self) -> None:
        """See `Sink`."""

    def abort(self) -> None:
        """See `Sink`."""
        self._zstd.kill()
        self._tar.kill()


class _DiskWriting:
    """See `Sink`: a `raw.zst`, whose first MiB is written last."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._begin = bytearray()
        self._size = 0
        self._error: OSError | None = None
        self._zstd = _Process("zstd", "-dc")
        self._writing = threading.Thread(target=self._copy, name="disk image", daemon=True)
        self._writing.start()

    def _copy(self) -> None:
        stdout = self._zstd.process.stdout
        try:
            with open(_path(self._disk), "r+b", buffering=0) as device:  # noqa: PTH123
                while stdout is not None and (piece := stdout.read(MIB)):
                    held = max(0, min(len(piece), MIB - self._size))
                    self._begin += piece[:held]
                    os.pwrite(device.fileno(), piece[held:], self._size + held)
                    self._size += len(piece)
                os.fsync(device.fileno())
        except OSError as error:
            self._error = error
            self._zstd.process.kill()

    def write(self, data: bytes) -> None:
        """See `Sink`."""
        assert self._zstd.process.stdin is not None  # noqa: S101  # asked for
        try:
            self._zstd.process.stdin.write(data)
        except BrokenPipeError:
            self.close()

    def close(self) -> int:
        """See `Sink`."""
        with contextlib.suppress(BrokenPipeError):
            if self._zstd.process.stdin is not None:
                self._zstd.process.stdin.close()
        self._writing.join()
        if self._error is not None:
            raise HostError(f"{self._disk.name}: {self._error.strerror}.")
        self._zstd.end()
        return self._size

    def make_bootable(self) -> None:
        """See `Sink`."""
        with open(_path(self._disk), "r+b", buffering=0) as device:  # noqa: PTH123
            os.pwrite(device.fileno(), bytes(self._begin), 0)
            os.fsync(device.fileno())
        _settle(self._disk)

    def abort(self) -> None:
        """See `Sink`."""
        self._zstd.kill()
        self._writing.join()
