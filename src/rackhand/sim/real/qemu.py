"""A QEMU process for each start of a machine's firmware: it ends with the power, with a reset, or by itself.

The model of the machine (`sim.machine`) says when one begins, what is booted first and with which firmware; what the
process says of its end, and what is read on the serial console, goes back to the model.
"""

import asyncio
import contextlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from rackhand.sim.config import BootMode, DiskConfig, DiskKind, MachineConfig
from rackhand.sim.events import Action, Source
from rackhand.sim.machine import BootDevice, Machine
from rackhand.sim.real.needs import OVMF_CODE, OVMF_VARS, QEMU, Accelerator
from rackhand.sim.real.wires import Wires

log = structlog.get_logger()

# What Linux says first; our own ramdisk is told from a system of the disk by its nonce.
COMMAND_LINE = re.compile(rb"Command line: ([^\r\n]*)[\r\n]")
OUR_RAMDISK = b"rackhand.nonce="
CONSOLE_PIECE = 4096
QMP_SECONDS = 10.0
MEMORY_MIB = 1024


@dataclass
class RealMachine:
    """What stands behind the model of a machine: files in *folder*, and a process while it is powered.

    *sockets* is a folder of its own, with a short name: 107 bytes is all that a Unix socket's may have.
    """

    machine: Machine
    folder: Path
    sockets: Path
    wires: Wires
    accelerator: Accelerator
    memory_mib: int = MEMORY_MIB
    _last: "Run | None" = field(default=None, repr=False)

    def attach(self) -> None:
        """Have the model start processes instead of simulating what a machine boots."""
        for folder in (self.folder, self.sockets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for disk in self.machine.config.disks:
            with self.disk_file(disk).open("ab") as file:
                file.truncate(max(disk.size_bytes, file.tell()))
        self.machine.make_netboot = lambda: self._run(BootDevice.PXE)
        self.machine.make_system = self._make_system
        self.machine.ask_system = self._ask_system

    def disk_file(self, disk: DiskConfig) -> Path:
        """The file that holds the bytes of a disk."""
        return self.folder / f"{disk.serial}.raw"

    @property
    def console_log(self) -> Path:
        """Everything that was ever written to the serial console."""
        return self.folder / "console.log"

    @property
    def bmc_socket(self) -> Path:
        """Where the machine's own way to its BMC leads."""
        return self.sockets / "bmc"

    def new_monitor_socket(self) -> Path:
        """Where the next process is to be asked and heard."""
        path = self.sockets / "qmp"
        path.unlink(missing_ok=True)
        return path

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return self._last.pid if self._last is not None else None

    async def close(self) -> None:
        """Wait until the last process is gone."""
        if self._last is not None:
            self._last.stop()
            await self._last.ended.wait()

    def _run(self, first: BootDevice) -> "Run":
        self._last = Run(self, first, after=self._last)
        return self._last

    def _make_system(self) -> "Run | None":
        """Start from the disk, unless a process runs that has come to it by itself."""
        if self._last is not None and not self._last.is_stopped:
            return None
        return self._run(BootDevice.DISK)

    def _ask_system(self) -> bool:
        """Press the ACPI power button; whoever runs ends by itself, or does not."""
        if self._last is not None:
            self._last.press_button()
        return True

    def argv(self, first: BootDevice, mode: BootMode, qmp: Path) -> list[str]:
        """QEMU's command line."""
        config = self.machine.config
        argv = self.wires.inside(QEMU, "-name", config.name, *self.accelerator.argv)
        argv += ["-smp", "1", "-m", str(self.memory_mib), "-uuid", str(config.uuid), *_smbios(config)]
        argv += ["-display", "none", "-vga", "none", "-nodefaults", "-no-user-config", "-no-reboot"]
        argv += ["-boot", "strict=on", "-serial", "stdio", "-qmp", f"unix:{_quoted(qmp)},server=on,wait=off"]
        argv += ["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]
        argv += ["-chardev", f"socket,id=bmc,path={_quoted(self.bmc_socket)},reconnect=1"]
        argv += ["-device", "ipmi-bmc-extern,id=bmc0,chardev=bmc", "-device", "isa-ipmi-kcs,bmc=bmc0"]
        if mode is BootMode.UEFI:
            argv += _drive("pflash", OVMF_CODE, "unit=0", "readonly=on")
            argv += _drive("pflash", self._variables(), "unit=1")
        # Told to boot the disk, the firmware boots that or nothing, as the other machines of the rack.
        is_pxe = first is BootDevice.PXE
        for number, nic in enumerate(config.nics):
            tap = self.wires.taps[config.name, nic.name]
            order = f",bootindex={number}" if is_pxe else ""
            # Without a ROM of its own a UEFI machine boots with the firmware's PXE, as most real ones do.
            rom = ",romfile=" if mode is BootMode.UEFI else ""
            argv += ["-netdev", f"tap,id=n{number},ifname={tap},script=no,downscript=no"]
            argv += ["-device", f"virtio-net-pci,netdev=n{number},mac={nic.mac}{order}{rom}"]
        for number, disk in enumerate(config.disks):
            place = number + (len(config.nics) if is_pxe else 0)
            argv += _drive("none", self.disk_file(disk), f"id=d{number}", "discard=unmap", "cache=unsafe")
            device = f"{_disk_device(disk, number)},drive=d{number},serial={disk.serial}"
            argv += ["-device", f"{device},bootindex={place}"]
        return argv

    def _variables(self) -> Path:
        """The memory of a UEFI firmware, which it keeps when it is off."""
        path = self.folder / "uefi-variables.fd"
        if not path.exists():
            shutil.copyfile(OVMF_VARS, path)
        return path


class Run:
    """One process, as `machine.NetworkBoot`. It begins when the one before it is gone."""

    def __init__(self, real: RealMachine, first: BootDevice, *, after: "Run | None") -> None:
        self.ended = asyncio.Event()
        self.is_stopped = False
        self._real = real
        self._machine = real.machine
        self._first = first
        self._after = after
        self._process: asyncio.subprocess.Process | None = None
        self._qmp: Qmp | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return self._process.pid if self._process is not None and not self.ended.is_set() else None

    def start(self) -> None:
        """See `machine.NetworkBoot`."""
        self._task = asyncio.create_task(self._live(), name=f"{self._machine.config.name} qemu")

    def stop(self) -> None:
        """See `machine.NetworkBoot`."""
        self.is_stopped = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._task is None:
            self.ended.set()

    def press_button(self) -> None:
        """Press the power button."""
        if self._qmp is not None:
            self._qmp.send("system_powerdown")

    async def _live(self) -> None:
        try:
            if self._after is not None:
                await self._after.ended.wait()
                self._after = None
            if not self.is_stopped:
                await self._run()
        except Exception:  # a supervisor: the machine must not seem to run
            log.exception("qemu could not be run", machine=self._machine.config.name)
        finally:
            self.ended.set()
            if not self.is_stopped:
                self._end_by_itself()

    async def _run(self) -> None:
        socket = self._real.new_monitor_socket()
        argv = self._real.argv(self._first, self._machine.boot_mode, socket)
        with (self._real.folder / "qemu.log").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                process_group=0,  # a Ctrl-C in the terminal is for the rack, which ends its machines itself
            )
        self._process = process
        if self.is_stopped:
            process.kill()
        reading = asyncio.create_task(self._read_console(process))
        try:
            self._qmp = await Qmp.connect(socket, process)
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await reading
            if self._qmp is not None:
                await self._qmp.close()

    def _end_by_itself(self) -> None:
        """The system has restarted the machine or switched it off, or QEMU has died, which cuts the power."""
        reason = self._qmp.reason if self._qmp is not None else ""
        if reason == "guest-reset":
            self._machine.reset(Source.MACHINE)
            return
        if reason != "guest-shutdown":
            log.error(
                "qemu ended", machine=self._machine.config.name, log=str(self._real.folder / "qemu.log")
            )
        self._machine.power_off(Source.MACHINE)

    async def _read_console(self, process: asyncio.subprocess.Process) -> None:
        """Keep what is written to the console; the first line of a kernel tells what was booted."""
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        heard = b""
        is_known = self._first is not BootDevice.PXE
        with self._real.console_log.open("ab", buffering=0) as file:
            while piece := await process.stdout.read(CONSOLE_PIECE):
                file.write(piece)
                if is_known:
                    continue
                heard = (heard + piece)[-2 * CONSOLE_PIECE :]
                if (line := COMMAND_LINE.search(heard)) is not None:
                    is_known = True
                    self._finish_netboot(is_ours=OUR_RAMDISK in line[1])

    def _finish_netboot(self, *, is_ours: bool) -> None:
        if self.is_stopped:
            return
        answer = "kernel" if is_ours else "disk"
        name = self._machine.config.name
        self._machine.log.append(name, Source.MACHINE, Action.NETBOOT_ANSWERED, answer=answer)
        self._machine.finish_netboot(self, booted=is_ours)


class Qmp:
    """QEMU's monitor: hears why QEMU ends, and presses buttons."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reason = ""
        self._reader = reader
        self._writer = writer
        self._listening = asyncio.create_task(self._listen(), name="qmp")

    @classmethod
    async def connect(cls, socket: Path, process: asyncio.subprocess.Process) -> "Qmp | None":
        """Connect as soon as QEMU listens; None when it has ended before."""
        async with asyncio.timeout(QMP_SECONDS):
            while process.returncode is None:
                with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                    reader, writer = await asyncio.open_unix_connection(socket)
                    qmp = cls(reader, writer)
                    qmp.send("qmp_capabilities")
                    return qmp
                await asyncio.sleep(0.02)
        return None

    def send(self, command: str) -> None:
        """Send a command; its answer is not waited for."""
        self._writer.write(json.dumps({"execute": command}).encode() + b"\n")

    async def close(self) -> None:
        """Hear what is left to hear, and close."""
        await self._listening
        self._writer.close()

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):
            async for line in self._reader:
                message = json.loads(line)
                if message.get("event") == "SHUTDOWN":
                    self.reason = message["data"]["reason"]


def _smbios(config: MachineConfig) -> list[str]:
    """What the firmware says of the machine."""
    vendor, model, serial = map(_quoted, (config.manufacturer, config.model, config.serial))
    return [
        *("-smbios", f"type=1,manufacturer={vendor},product={model},serial={serial},uuid={config.uuid}"),
        *("-smbios", f"type=2,manufacturer={vendor},product={model}-MB,serial={serial}-MB"),
    ]


def _drive(interface: str, path: Path, *options: str) -> list[str]:
    return ["-drive", ",".join((f"if={interface}", "format=raw", f"file={_quoted(path)}", *options))]


def _quoted(value: object) -> str:
    """A comma in a value is written twice."""
    return str(value).replace(",", ",,")


def _disk_device(disk: DiskConfig, number: int) -> str:
    match disk.kind:
        case DiskKind.NVME:
            return "nvme"
        case DiskKind.SSD:
            return f"ide-hd,bus=ide.{number},model={disk.model},rotation_rate=1"
        case DiskKind.HDD:
            return f"ide-hd,bus=ide.{number},model={disk.model},rotation_rate=7200"
