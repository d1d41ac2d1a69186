"""The disks of a simulated machine as the agent installs on them; the next boot finds what is left there."""

import io
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final

from rackhand.agent.host import Disk, HostError
from rackhand.agent.storage import Device, Sink, Slice
from rackhand.sim.events import Action
from rackhand.sim.filesystems import (
    ARRAY,
    ARRAY_BYTES,
    FIRST_AT,
    GROUP,
    MIB,
    SIGNATURE,
    Contents,
    NoRoom,
    Space,
    Tree,
    read_boot_code,
    read_table,
    read_tree,
    whole,
    write_boot_code,
    write_table,
)
from rackhand.sim.medium import Medium

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KEPT_BYTES = 64 * 1024  # of a file; of larger ones only the size is known
MAX_FILES = 20_000
SEED_BYTES = 64 * MIB
END_BYTES = MIB  # behind the last partition, for the second table
LOADERS: Final = {"bios": "/usr/lib/grub/i386-pc/", "uefi": "/usr/lib/grub/x86_64-efi/"}
EFI_LOADER = "/EFI/BOOT/BOOTX64.EFI"
KERNEL = "vmlinuz"
MENU = "/grub/grub.cfg"


class SimulatedStorage:
    """See `Storage`. *check* raises when the machine has lost its power; *record* writes an event of the machine."""

    def __init__(
        self, media: Mapping[str, Medium], *, check: Callable[[], None], record: Callable[..., None]
    ) -> None:
        self._media = dict(media)  # by the name of the disk
        self._check = check
        self._record = record
        self._mounts: dict[str, Tree] = {}

    def release(self, disks: Sequence[Disk]) -> None:  # noqa: ARG002  # nothing else is ever mounted
        """See `Storage`."""
        self._check()
        self._mounts.clear()

    def clear(self, disk: Disk) -> None:
        """See `Storage`."""
        self._check()
        medium = self._media[disk.name]
        for part in read_table(medium) or ():
            Space(((medium, part["at"]),), part["size"]).clear()
            Space(((medium, part["at"] + ARRAY_BYTES),), part["size"]).clear()
        whole(medium).clear()
        self._record(Action.DISK_CLEARED, disk=disk.name, serial=disk.serial)

    def divide(self, disk: Disk, slices: Sequence[Slice]) -> None:
        """See `Storage`."""
        self._check()
        end = disk.size_bytes - END_BYTES
        at, table = FIRST_AT, []
        for each in slices:
            size = end - at if each.size_mib is None else each.size_mib * MIB
            if size <= 0 or at + size > end:
                raise HostError(f"{disk.name}: there is no room for the partition {each.name}.")
            table.append({"name": each.name, "role": each.role, "at": at, "size": size})
            at += size
        write_table(self._media[disk.name], table)
        self._record(Action.DISK_DIVIDED, disk=disk.name, serial=disk.serial, partitions=len(table))

    def make_array(self, name: str, level: str, members: Sequence[Device]) -> None:
        """See `Storage`."""
        self._check()
        spaces = [self._slice(member) for member in members]
        size = min(space.size for space in spaces) - ARRAY_BYTES
        superblock = {
            "uuid": str(uuid.uuid4()), "name": name, "level": level, "members": len(members), "size": size,
        }  # fmt: skip
        for slot, space in enumerate(spaces):
            space.put(0, ARRAY, {**superblock, "slot": slot})
            space.part(ARRAY_BYTES, size).clear()

    def make_group(self, on: Device) -> None:
        """See `Storage`."""
        self._check()
        space = self._space(on)
        space.put(0, GROUP, {"volumes": [], "size": space.size})

    def make_volume(self, name: str, size_mib: int | None) -> None:
        """See `Storage`."""
        self._check()
        contents = self._contents()
        for space in (*contents.slices.values(), *contents.arrays.values()):
            group = space.get(0, GROUP)
            if group is None:
                continue
            at = max((volume["at"] + volume["size"] for volume in group["volumes"]), default=MIB)
            size = space.size - at if size_mib is None else size_mib * MIB
            if size <= 0 or at + size > space.size:
                raise HostError(f"The group has no room for the volume {name}.")
            group["volumes"].append({"name": name, "at": at, "size": size})
            space.put(0, GROUP, group)
            return
        raise HostError("There is no volume group.")

    def format(self, device: Device, fs: str, label: str) -> None:
        """See `Storage`."""
        self._check()
        Tree(self._space(device), fs, str(uuid.uuid4()), label).save()

    def assemble(self, disks: Sequence[Disk]) -> None:  # noqa: ARG002  # arrays are there or not
        """See `Storage`."""
        self._check()
        problems = self._contents().problems
        if problems:
            raise HostError(f"The {problems[0]}.")

    def mount(self, device: Device, path: str) -> None:
        """See `Storage`."""
        self._check()
        if path in self._mounts:
            return
        tree = read_tree(self._space(device))
        if tree is None:
            raise HostError(f"{device.name} has no file system.")
        self._mounts[path] = tree

    def unmount(self) -> None:
        """See `Storage`."""
        self._check()
        for tree in self._mounts.values():
            _save(tree)
        self._mounts.clear()

    def unpack(self) -> Sink:
        """See `Storage`."""
        return _Unpacking(self)

    def write_disk(self, disk: Disk) -> Sink:
        """See `Storage`."""
        return _DiskWriting(self._media[disk.name], disk, self._check, self._record)

    def uuid(self, device: Device) -> str:
        """See `Storage`."""
        self._check()
        tree = read_tree(self._space(device))
        if tree is None:
            raise HostError(f"{device.name} has no file system.")
        return tree.uuid

    def array_lines(self) -> list[str]:
        """See `Storage`."""
        self._check()
        return [
            f"ARRAY /dev/md/{name} UUID={uuid}" for name, uuid in sorted(self._contents().array_uuids.items())
        ]

    def write_file(self, path: str, content: str, mode: int) -> None:  # noqa: ARG002
        """See `Storage`."""
        self._check()
        mounted = self._at(path)
        self._mounts[mounted].files[_inside(path, mounted)] = content
        _save(self._mounts[mounted])

    def has_loader(self, boot_mode: str) -> bool:
        """See `Storage`."""
        self._check()
        root = self._mounts.get("/")
        return root is not None and bool(root.names(LOADERS[boot_mode]))

    def install_bios_loader(self, disk: Disk) -> None:
        """See `Storage`."""
        self._check()
        medium = self._media[disk.name]
        roles = [part["role"] for part in read_table(medium) or ()]
        if "bios_boot" not in roles:
            raise HostError(f"{disk.name} has no partition for GRUB.")
        write_boot_code(medium, {"starts": self._boot_tree("bios").uuid})

    def install_efi_loader(self, partition: Device) -> None:
        """See `Storage`."""
        self._check()
        tree = read_tree(self._space(partition))
        if tree is None or tree.fs != "vfat":
            raise HostError(f"{partition.name} is no EFI partition.")
        tree.files[EFI_LOADER] = self._boot_tree("uefi").uuid
        _save(tree)

    def finish_boot(self) -> None:
        """See `Storage`."""
        self._check()
        boot = self._at("/boot/x")
        tree, below = self._mounts[boot], "" if boot == "/boot" else "/boot"
        tree.files[f"{below}{MENU}"] = f"root={self._mounts['/'].uuid}"
        _save(tree)
        self._record(Action.SYSTEM_CONFIGURED, root=self._mounts["/"].uuid)

    def add_seed(self, disk: Disk, files: Mapping[str, str]) -> None:
        """See `Storage`."""
        self._check()
        medium = self._media[disk.name]
        table = read_table(medium)
        if table is None:
            raise HostError(f"{disk.name} has no partition table.")
        table = [part for part in table if part["name"] != "seed"]
        at = max((part["at"] + part["size"] for part in table), default=FIRST_AT)
        seed = {"name": "seed", "role": "system", "at": at, "size": SEED_BYTES}
        code = read_boot_code(medium)
        write_table(medium, [*table, seed])
        if code is not None:
            write_boot_code(medium, code)
        tree = Tree(Space(((medium, at),), SEED_BYTES), "vfat", str(uuid.uuid4()), "CIDATA")
        tree.files = {f"/{name}": content for name, content in files.items()}
        _save(tree)
        self._record(Action.SYSTEM_CONFIGURED, disk=disk.name)

    def written(self, size: int) -> None:
        """Note that the files of an image are in place."""
        for tree in self._mounts.values():
            _save(tree)
        self._record(Action.IMAGE_WRITTEN, bytes=size)

    def add(self, path: str, content: str | int) -> None:
        """Put a file of the image, or its size, where it belongs."""
        self._check()
        mounted = self._at(path)
        files = self._mounts[mounted].files
        if len(files) < MAX_FILES:
            files[_inside(path, mounted)] = content

    def _boot_tree(self, mode: str) -> Tree:
        """The file system that GRUB loads from; raises `HostError` when the system has no GRUB or no kernel."""
        if not self.has_loader(mode):
            raise HostError(f"The system has no GRUB for {mode}.")
        boot = self._at("/boot/x")
        if not any(KERNEL in path for path in self._mounts[boot].names("/" if boot == "/boot" else "/boot/")):
            raise HostError("The system has no kernel.")
        return self._mounts[boot]

    def _at(self, path: str) -> str:
        """The mount point that *path* is below."""
        fitting = [at for at in self._mounts if path == at or path.startswith(at.rstrip("/") + "/")]
        if not fitting:
            raise HostError("The new system is not mounted.")
        return max(fitting, key=len)

    def _contents(self) -> Contents:
        return Contents(list(self._media.values()))

    def _slice(self, device: Device) -> Space:
        if device.disk is None:
            raise HostError(f"{device.name}: the disk is not named.")
        medium = self._media[device.disk.name]
        part = (read_table(medium) or [])[device.number - 1]
        return Space(((medium, part["at"]),), part["size"])

    def _space(self, device: Device) -> Space:
        if device.kind == "slice":
            return self._slice(device)
        contents = self._contents()
        found = (contents.arrays if device.kind == "array" else contents.volumes).get(device.name)
        if found is None:
            raise HostError(f"There is no {device.kind} {device.name}.")
        return found


def _inside(path: str, mounted: str) -> str:
    return path if mounted == "/" else path.removeprefix(mounted)


def _save(tree: Tree) -> None:
    try:
        tree.save()
    except NoRoom as error:
        raise HostError(f"The file system {tree.label} is full: {error}.") from error


class _Stream:
    """Decompresses piece by piece; what is no zstd, or ends too early, is an error of the host."""

    def __init__(self) -> None:
        self._decompressor = zstd.ZstdDecompressor()

    def feed(self, data: bytes) -> bytes:
        try:
            return b"" if self._decompressor.eof else self._decompressor.decompress(data)
        except zstd.ZstdError as error:
            raise HostError(f"The image cannot be decompressed: {error}.") from error

    def end(self) -> None:
        if not self._decompressor.eof:
            raise HostError("The image ends too early.")


class _Unpacking:
    """See `Sink`: a `tar.zst`."""

    def __init__(self, storage: SimulatedStorage) -> None:
        self._storage = storage
        self._stream = _Stream()
        self._tar: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close` or `abort`

    def write(self, data: bytes) -> None:
        """See `Sink`."""
        self._tar.write(self._stream.feed(data))

    def close(self) -> int:
        """See `Sink`."""
        self._stream.end()
        size = self._tar.tell()
        self._tar.seek(0)
        try:
            with self._tar, tarfile.open(fileobj=self._tar, mode="r:") as tar:
                for member in tar:
                    if member.isfile():
                        self._add(tar, member)
        except tarfile.TarError as error:
            raise HostError(f"The image cannot be unpacked: {error}.") from error
        self._storage.written(size)
        return size

    def _add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = "/" + member.name.removeprefix("./").lstrip("/")
        file = tar.extractfile(member) if member.size <= KEPT_BYTES else None
        self._storage.add(path, file.read().decode(errors="replace") if file else member.size)

    def make_bootable(self) -> None:
        """See `Sink`."""

    def abort(self) -> None:
        """See `Sink`."""
        self._tar.close()


class _DiskWriting:
    """See `Sink`: a `raw.zst`, whose beginning is written last."""

    def __init__(
        self, medium: Medium, disk: Disk, check: Callable[[], None], record: Callable[..., None]
    ) -> None:
        self._medium = medium
        self._disk = disk
        self._check = check
        self._record = record
        self._stream = _Stream()
        self._begin = io.BytesIO()
        self._size = 0

    def write(self, data: bytes) -> None:
        """See `Sink`."""
        self._check()
        out = self._stream.feed(data)
        if self._size + len(out) > self._disk.size_bytes:
            raise HostError(f"The image is larger than {self._disk.name}.")
        held = max(0, min(len(out), MIB - self._size))
        self._begin.write(out[:held])
        if out[held:]:
            self._medium.write(self._size + held, out[held:])
        self._size += len(out)

    def close(self) -> int:
        """See `Sink`."""
        self._stream.end()
        return self._size

    def make_bootable(self) -> None:
        """See `Sink`."""
        self._check()
        begin = self._begin.getvalue()
        if begin[510:512] != SIGNATURE:
            raise HostError("The image does not begin with a boot sector.")
        self._medium.write(0, begin)
        self._record(Action.IMAGE_WRITTEN, bytes=self._size, disk=self._disk.name)

    def abort(self) -> None:
        """See `Sink`."""
