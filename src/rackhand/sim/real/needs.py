"""What a rack of real machines needs of the computer that it runs on, and how fast its guests run there."""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

QEMU = "qemu-system-x86_64"
OVMF = Path("/usr/share/OVMF")
OVMF_CODE, OVMF_VARS = OVMF / "OVMF_CODE_4M.fd", OVMF / "OVMF_VARS_4M.fd"
NETWORK_ROM = Path("/usr/lib/ipxe/qemu/pxe-virtio.rom")
PROGRAMS = {"ip": "iproute2", QEMU: "qemu-system-x86"}
FILES = {OVMF_CODE: "ovmf", NETWORK_ROM: "ipxe-qemu"}
# What SeaBIOS writes to its debug port when it has come to its end.
DEBUG_PORT, LAST_WORDS = "0x402", b"No bootable device"
FAST_ENOUGH = 2.0  # seconds; emulation takes a quarter of one


def missing() -> str:
    """Say in a sentence what keeps real machines from running here; empty when nothing does."""
    if os.geteuid() != 0:
        return "Bridges and network namespaces need root."
    packages = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    packages |= {package for file, package in FILES.items() if not file.exists()}
    if packages:
        return f"Debian packages are missing: apt-get install {' '.join(sorted(packages))}"
    return ""


@dataclass(frozen=True)
class Accelerator:
    """How QEMU runs a guest's instructions; *machine* are options of the machine type that it needs."""

    name: str
    cpu: str
    machine: str

    @property
    def words(self) -> str:
        """What to expect, for whoever waits."""
        if self == KVM:
            return "on KVM: a machine boots in less than a minute"
        return "emulated, for KVM does not work here: a machine takes a minute or two to boot"

    @property
    def argv(self) -> list[str]:
        """Arguments for QEMU."""
        return ["-machine", self.machine, "-accel", self.name, "-cpu", self.cpu]


KVM = Accelerator("kvm", "host", "q35")
EMULATION = Accelerator("tcg,thread=multi,tb-size=256", "max", "q35")


async def find_accelerator() -> Accelerator:
    """Return KVM where a guest really runs on it, emulation otherwise.

    That /dev/kvm can be opened proves nothing: there are hosts where QEMU aborts on it, and hosts where KVM itself
    emulates every instruction of a kernel, far slower than QEMU does. So firmware is run to its end, and timed.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return EMULATION
    seconds = await run_firmware(KVM)
    return KVM if seconds is not None and seconds < FAST_ENOUGH else EMULATION


async def run_firmware(accelerator: Accelerator, patience: float = FAST_ENOUGH) -> float | None:
    """Run a BIOS without disks until it gives up; the seconds that it took, None when it did not come to that."""
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "words"
        argv = [*accelerator.argv, "-m", "128", "-display", "none", "-vga", "none", "-net", "none"]
        argv += ["-serial", "none", "-monitor", "none", "-chardev", f"file,id=words,path={words}"]
        argv += ["-device", f"isa-debugcon,iobase={DEBUG_PORT},chardev=words"]
        null = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(QEMU, *argv, stdin=null, stdout=null, stderr=null)
        begin = time.monotonic()
        try:
            while process.returncode is None and time.monotonic() - begin < patience:
                if words.exists() and LAST_WORDS in words.read_bytes():
                    return time.monotonic() - begin
                await asyncio.sleep(0.02)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return None
