"""What installing a system asks of a machine's disks: divide, assemble, format, mount, fill, make bootable.

As in `host`, everything here does one thing and decides nothing; `install` decides. Methods raise `HostError` when the
machine does not do what is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rackhand.agent.host import Disk


@dataclass(frozen=True)
class Slice:
    """A partition to make: its role is `bios_boot`, `efi` or `system`; *size_mib* None takes what is left."""

    name: str
    role: str
    size_mib: int | None


@dataclass(frozen=True)
class Device:
    """Something that can be formatted: partition *number* of *disk*, or an array or logical volume by its name."""

    kind: str  # slice, array, volume
    name: str
    disk: Disk | None = None
    number: int = 0


class Sink(Protocol):
    """Takes the bytes of an image as they come over the network, compressed.

    Nothing of it can be started before `make_bootable`; `close` returns when all of it is on the disks.
    """

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def close(self) -> int:
        """Take the end; gives how many bytes came out of the image."""

    def make_bootable(self) -> None:
        """Make bootable what was written, if it is a whole disk."""

    def abort(self) -> None:
        """Stop; what was written stays where it is."""


class Storage(Protocol):
    """The disks of a machine as a place for a system, which is mounted at one place while it is made."""

    def release(self, disks: Sequence[Disk]) -> None:
        """Let go of *disks*: what is mounted, swapped to or assembled of them. Safe to repeat."""

    def clear(self, disk: Disk) -> None:
        """Take away what makes *disk* one of a system, an array or a volume group: tables and signatures."""

    def divide(self, disk: Disk, slices: Sequence[Slice]) -> None:
        """Make a partition table (GPT) with *slices* in this order, numbered from 1."""

    def make_array(self, name: str, level: str, members: Sequence[Device]) -> None:
        """Make an md array (`raid0`, `raid1`, ...) that is called *name*; it is used at once."""

    def make_group(self, on: Device) -> None:
        """Make the volume group `system` on a device."""

    def make_volume(self, name: str, size_mib: int | None) -> None:
        """Make a logical volume in the group; without a size it takes what is left."""

    def format(self, device: Device, fs: str, label: str) -> None:
        """Make a file system: `ext4`, `xfs`, `vfat` or `swap`."""

    def assemble(self, disks: Sequence[Disk]) -> None:
        """Have the arrays and the volume group on *disks* usable again after a restart. Safe to repeat."""

    def mount(self, device: Device, path: str) -> None:
        """Mount at *path* of the new system; safe to repeat."""

    def unmount(self) -> None:
        """Write everything and unmount all of the new system; safe to repeat."""

    def unpack(self) -> Sink:
        """Unpack a `tar.zst` into the mounted system."""

    def write_disk(self, disk: Disk) -> Sink:
        """Write the disk image `raw.zst` over *disk*."""

    def uuid(self, device: Device) -> str:
        """Return the UUID of a file system as `mount` takes it."""

    def array_lines(self) -> list[str]:
        """Return the lines for mdadm.conf of the assembled arrays; empty without one."""

    def write_file(self, path: str, content: str, mode: int) -> None:
        """Write a file of the new system, with the folders above it; owned by root."""

    def has_loader(self, boot_mode: str) -> bool:
        """Whether the mounted system brings a boot loader for `bios` or `uefi`."""

    def install_bios_loader(self, disk: Disk) -> None:
        """Have *disk* start the mounted system by BIOS."""

    def install_efi_loader(self, partition: Device) -> None:
        """Have an EFI partition start the mounted system."""

    def finish_boot(self) -> None:
        """Have the system itself make its initial ramdisk and its boot menu for the disks that it has now."""

    def add_seed(self, disk: Disk, files: Mapping[str, str]) -> None:
        """Add a partition with *files* for cloud-init (label `CIDATA`) behind the last one of a written disk image."""
