"""iPXE scripts: one that boots the ramdisk with its agent, and one that boots the disk."""

from urllib.parse import quote

from rackhand.boot.reservations import Boot

KERNEL = "vmlinuz"
RAMDISK = "initrd.img"
CONSOLES = "console=tty0 console=ttyS0,115200"
# Warnings and worse: notices show this line, and with it the nonce, to whoever looks at the serial console.
QUIET = "loglevel=5"


def boot_script(boot: Boot, base_url: str, mac: str) -> str:
    """Load kernel and ramdisk from *base_url*; what fails is tried again with a fresh script after a while.

    `initrd=` names the file for the kernel's EFI stub, which loads it by that name; it is harmless on BIOS.
    """
    files = f"{base_url}/boot/file/{boot.image}"
    line = f"initrd={RAMDISK} rackhand.url={base_url} rackhand.nonce={boot.nonce} {CONSOLES} {QUIET}"
    again = f"{base_url}/boot/ipxe?mac={quote(mac)}&platform=${{platform}}"
    return "\n".join(
        (
            "#!ipxe",
            f"echo Rackhand: server {boot.server_id}, task {boot.task_id}",
            f"kernel {files}/{KERNEL} {line} || goto again",
            f"initrd --name {RAMDISK} {files}/{RAMDISK} || goto again",
            "boot || goto again",
            ":again",
            "imgfree",
            "sleep 10",
            f"chain --replace {again} || exit 1",
            "",
        )
    )


def disk_script(platform: str) -> str:
    """Boot the disk: EFI firmware goes on with its next entry; BIOSes differ in what they make of `exit`."""
    end = "exit 1" if platform == "efi" else "sanboot --no-describe --drive 0x80 || exit 1"
    return f"#!ipxe\n{end}\n"
