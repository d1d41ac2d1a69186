"""Images of systems for machines of the virtual rack: tiny, with what firmware, boot loader and system look for."""

import io
import sys
import tarfile

from rackhand.sim.config import DiskConfig, DiskKind
from rackhand.sim.filesystems import FIRST_AT, MIB, Space, Tree, write_boot_code, write_table
from rackhand.sim.medium import Medium
from rackhand.sim.storage import EFI_LOADER, MENU

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DISK_BYTES = 16 * MIB
ROOT_UUID, EFI_UUID = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


def system_files(name: str) -> dict[str, str]:
    """The files of a system that calls itself *name*, by path from its root."""
    return {
        "etc/os-release": f'PRETTY_NAME="{name}"\nID=example\n',
        "etc/fstab": "",
        "etc/cloud/cloud.cfg": "datasource_list: [NoCloud]\n",
        "boot/vmlinuz-6.1-example": "Stands for a kernel.\n",
        "boot/initrd.img-6.1-example": "Stands for an initial ramdisk.\n",
        "usr/lib/grub/i386-pc/modinfo.sh": "Stands for GRUB.\n",
        "usr/lib/grub/x86_64-efi/modinfo.sh": "Stands for GRUB.\n",
        "usr/sbin/sshd": "Stands for an SSH server.\n",
    }


def tar_image(name: str, *, without: str = "") -> bytes:
    """A system as `tar.zst`; *without* leaves the paths out that begin so."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in system_files(name).items():
            if without and path.startswith(without):
                continue
            member = tarfile.TarInfo(f"./{path}")
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return zstd.compress(buffer.getvalue())


def disk_image(name: str) -> bytes:
    """A system as the bytes of a whole disk, which starts by BIOS and by UEFI."""
    medium = Medium(DiskConfig("image", DiskKind.SSD, DISK_BYTES, "IMAGE", "image"))
    medium.erase()
    size = (DISK_BYTES - 4 * MIB) // 2
    slices = [
        {"name": "efi", "role": "efi", "at": FIRST_AT, "size": size},
        {"name": "root", "role": "system", "at": FIRST_AT + size, "size": size},
    ]
    write_table(medium, slices)
    write_boot_code(medium, {"starts": ROOT_UUID})
    efi = Tree(Space(((medium, FIRST_AT),), size), "vfat", EFI_UUID, "EFI", {EFI_LOADER: ROOT_UUID})
    efi.save()
    files: dict[str, object] = {f"/{path}": content for path, content in system_files(name).items()}
    files[f"/boot{MENU}"] = f"root={ROOT_UUID}"
    Tree(Space(((medium, FIRST_AT + size),), size), "ext4", ROOT_UUID, "root", files).save()
    return medium.read(0, DISK_BYTES)
