"""Makes the image of a Debian system from packages: its files, with kernel, both boot loaders and cloud-init.

Other systems come ready made: a `tar.zst` of their files with the same parts, or the disk image that their makers
publish for clouds (see `docs/images.md`).
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rackhand.boot.debian import ARCHITECTURE, BuildFailed, archives, epoch_of

EPOCH = 1_735_689_600  # 2025-01-01; any moment does, as long as it stays
SUITE = "bookworm"
KERNEL = f"linux-image-{ARCHITECTURE}"
PACKAGES = (
    *("systemd-sysv", "udev", "initramfs-tools", "grub-pc-bin", "grub-efi-amd64-bin", "grub2-common"),
    *("cloud-init", "netplan.io", "systemd-resolved", "iproute2", "ca-certificates", "cloud-guest-utils"),
    *("openssh-server", "mdadm", "lvm2", "e2fsprogs", "xfsprogs", "dosfstools", "zstd"),
)
GRUB_DEFAULTS = (
    'GRUB_CMDLINE_LINUX_DEFAULT=""\nGRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"\nGRUB_TIMEOUT=1\n'
    'GRUB_TERMINAL="console serial"\nGRUB_SERIAL_COMMAND="serial --speed=115200"\n'
)
CLOUD_DEFAULTS = "locale: false\nsystem_info:\n  network:\n    renderers: [netplan, networkd]\n"
# What costs a first boot minutes and a test nothing but time.
SLOW_UNITS = (
    "e2scrub_reap.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "man-db.timer",
    "dpkg-db-backup.timer",
)
UNWANTED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*")
ZSTD = ("zstd", "-q", "-f", "-6", "-T2", "-o")


def build_debian_12(
    target: Path, *, lean: bool = False, kernel: str = KERNEL, more: Sequence[str] = ()
) -> None:
    """Write the `tar.zst` of Debian 12 to *target*, from the apt sources of this machine.

    *lean* leaves out documentation and masks what only runs on a machine that lives. `SOURCE_DATE_EPOCH` sets the time
    of all files. Raises `BuildFailed`.
    """
    for program in ("mmdebstrap", "zstd"):
        if shutil.which(program) is None:
            raise BuildFailed(f"{program} is not installed: apt-get install {program}")
    where = [archive for archive in archives() if archive.suite.partition("-")[0] == SUITE]
    if not where:
        raise BuildFailed(f"apt has no lists of {SUITE} here. Build the image on a machine that has.")
    command = [
        "mmdebstrap", "--quiet", "--variant=important", "--format=tar", f"--architectures={ARCHITECTURE}",
        "--aptopt=APT::Install-Recommends false", f"--include={','.join((kernel, *PACKAGES, *more))}",
        *(f"--dpkgopt=path-exclude={path}" for path in (UNWANTED if lean else ())),
        *(f"--customize-hook={hook}" for hook in _hooks(lean=lean)),
        SUITE, "-", *(archive.line for archive in where),
    ]  # fmt: skip
    epoch = epoch_of(os.environ.get("SOURCE_DATE_EPOCH"), EPOCH)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    try:
        _run_into(command, partial, {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)})
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def _hooks(*, lean: bool) -> list[str]:
    """What is done to the tree at last; mmdebstrap gives it to a shell as $1. Nothing here comes from outside."""
    hooks = [
        'rm -f "$1"/etc/ssh/ssh_host_*',
        ': > "$1"/etc/machine-id',
        'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/lib/cloud/*',
        'mkdir -p "$1"/etc/default/grub.d',
        f"printf '%s' '{GRUB_DEFAULTS}' > \"$1\"/etc/default/grub.d/50-serial.cfg",
        f"printf '%s' '{CLOUD_DEFAULTS}' > \"$1\"/etc/cloud/cloud.cfg.d/50-network.cfg",
        'chroot "$1" systemctl -q enable systemd-networkd systemd-resolved ssh',
    ]
    if lean:
        hooks.append(f'chroot "$1" systemctl -q mask {" ".join(SLOW_UNITS)}')
    return hooks


def _run_into(command: Sequence[str], target: Path, environment: dict[str, str]) -> None:
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as making:
        packing = subprocess.run([*ZSTD, str(target)], stdin=making.stdout, check=False)
        if making.stdout is not None:
            making.stdout.close()
        status = making.wait()
    if status:
        raise BuildFailed(f"mmdebstrap ended with {status}; it said why above. It may need root.")
    if packing.returncode:
        raise BuildFailed(f"zstd ended with {packing.returncode}.")
