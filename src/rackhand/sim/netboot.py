"""Booting over the network: the firmware's iPXE, as far as our scripts need it, and the real agent in a thread.

There is no DHCP here: the rack is told where the boot server is. A machine asks it for the script of the first network
port that has a link in the provisioning VLAN, runs the script, and starts what the kernel line says.
"""

import asyncio
import http.client
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlsplit

from rackhand.agent import main as agent
from rackhand.agent.host import KernelLine
from rackhand.agent.journal import Journal
from rackhand.agent.protocol import Manager
from rackhand.sim.bmc import Bmc
from rackhand.sim.config import BootMode, NicConfig
from rackhand.sim.events import Action, Source
from rackhand.sim.host import LostPower, SimulatedHost
from rackhand.sim.machine import Machine, NoSystem
from rackhand.sim.medium import Medium
from rackhand.sim.system import DiskBoot, NotBootable, find_system

HTTP_SECONDS = 20.0
LINK_SECONDS = 10.0  # simulated: what a firmware waits for an answer before it gives a port up
MAX_COMMANDS = 200
STACK_BYTES = 512 * 1024
HEAD_BYTES = 1024


class BootNetwork:
    """The provisioning network of a rack: where its boot server is, and in which VLAN; None is any VLAN."""

    def __init__(
        self,
        url: str,
        vlan: int | None,
        *,
        vlan_of: Callable[[str, str], int | None] = lambda _machine, _nic: 1,
    ) -> None:
        """*vlan_of* tells the VLAN that a machine's port is in now, None without link."""
        self.url = url
        self.vlan = vlan
        self.vlan_of = vlan_of
        self.media: dict[str, tuple[Medium, ...]] = {}
        self.bmcs: Mapping[str, Bmc] = {}

    def attach(self, machine: Machine) -> None:
        """Have *machine* boot from this network."""
        self.return_to_start(machine)
        machine.make_netboot = partial(self._make, machine)
        machine.make_system = partial(self._make_system, machine)

    def return_to_start(self, machine: Machine) -> None:
        """Give *machine* the disks that it came with."""
        self.media[machine.config.name] = tuple(Medium(disk) for disk in machine.config.disks)

    def _make(self, machine: Machine) -> "Netboot | None":
        return Netboot(machine, self) if self.url else None

    def _make_system(self, machine: Machine) -> DiskBoot | None:
        try:
            system = find_system(self.media[machine.config.name], machine.boot_mode)
        except NotBootable as error:
            raise NoSystem(str(error)) from error
        return (
            None
            if system is None
            else DiskBoot(machine, system, is_reached=partial(self.is_outside, machine))
        )

    def is_outside(self, machine: Machine, nic: str) -> bool:
        """Whether a port has a link to elsewhere than the provisioning network, where no system has an address."""
        vlan = self.vlan_of(machine.config.name, nic)
        return vlan is not None and self.vlan != vlan

    def has_link(self, machine: Machine, nic: str) -> bool:
        """Whether a port has link."""
        return self.vlan_of(machine.config.name, nic) is not None

    def reaches(self, machine: Machine, nic: str) -> bool:
        """Whether the boot server can be reached through a port."""
        vlan = self.vlan_of(machine.config.name, nic)
        return vlan is not None and self.vlan in {None, vlan}


class BootFailed(Exception):
    """Nothing can be booted; the message says why."""


@dataclass(frozen=True)
class Kernel:
    """What a script boots."""

    line: str


@dataclass(frozen=True)
class LocalDisk:
    """A script says that the disk is to be booted."""


class Netboot:
    """One boot of a machine over the network, in a thread, until the machine loses its power or is reset."""

    def __init__(self, machine: Machine, network: BootNetwork) -> None:
        self._machine = machine
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._dead = threading.Event()
        self._manager: Manager | None = None
        self._nic: NicConfig | None = None

    def start(self) -> None:
        """See `machine.NetworkBoot`."""
        before = threading.stack_size(STACK_BYTES)
        try:
            threading.Thread(
                target=self._run, name=f"{self._machine.config.name} netboot", daemon=True
            ).start()
        finally:
            threading.stack_size(before)

    def stop(self) -> None:
        """See `machine.NetworkBoot`; called on the rack's loop, as everything that `_on_loop` runs."""
        self._dead.set()
        if self._manager is not None:
            self._manager.close()

    def _run(self) -> None:
        try:
            line = self._load()
            if line is not None:
                self._serve(KernelLine.parse(line))
        except LostPower:
            pass
        except (BootFailed, ValueError) as error:
            self._finish(Action.NETBOOT_FAILED, booted=False, why=str(error))

    def _load(self) -> str | None:
        """Run the script of the first port that answers; the kernel's command line, None for the disk."""
        nics = [nic for nic in self._machine.config.nics if self._network.reaches(self._machine, nic.name)]
        if not nics:
            self._pause(LINK_SECONDS)
            raise BootFailed("no port has a link in the provisioning network")
        self._nic = nics[0]
        platform = "efi" if self._machine.boot_mode is BootMode.UEFI else "pcbios"
        settings = {"mac": self._nic.mac, "platform": platform, "buildarch": "x86_64"}
        url = f"{self._network.url}/boot/ipxe?mac={quote(self._nic.mac)}&arch=x86_64&platform={platform}"
        found = Ipxe(settings, self._fetch, self._pause).run(url)
        if isinstance(found, LocalDisk):
            self._finish(Action.NETBOOT_ANSWERED, booted=False, answer="disk")
            return None
        self._pause(self._machine.config.ramdisk_seconds)
        self._finish(Action.NETBOOT_ANSWERED, booted=True, answer="kernel")
        return found.line

    def _serve(self, line: KernelLine) -> None:
        host = SimulatedHost(
            machine=self._machine,
            media=self._network.media[self._machine.config.name],
            dead=self._dead,
            on_loop=self._on_loop,
            has_link=partial(self._network.has_link, self._machine),
            reaches=self._reaches,
            its_bmc=self._network.bmcs.get(self._machine.config.name),
        )
        manager = CabledManager(line.url, self._reaches)
        self._manager = manager
        host.check()  # it may have died before it could be closed
        agent.run(host, line, manager, journal=Journal(), rest=self._rest)

    def _reaches(self) -> bool:
        if self._dead.is_set():
            raise LostPower
        return self._nic is not None and self._network.reaches(self._machine, self._nic.name)

    def _fetch(self, url: str, head_only: bool) -> bytes:  # noqa: FBT001  # a callback
        if not self._reaches():
            raise BootFailed("the link is gone")
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=HTTP_SECONDS)
        try:
            headers = {"range": f"bytes=0-{HEAD_BYTES - 1}"} if head_only else {}
            connection.request(
                "GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers
            )
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise BootFailed(f"{parts.netloc} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            raise BootFailed(f"{parts.path}: HTTP {response.status}")
        return content

    def _pause(self, seconds: float) -> None:
        self._rest(seconds / self._machine.clock.scale)

    def _rest(self, seconds: float) -> None:
        if self._dead.wait(seconds):
            raise LostPower

    def _on_loop(self, step: Callable[[], None]) -> None:
        """Run *step* on the rack's loop, unless the machine has died meanwhile."""

        def run() -> None:
            if not self._dead.is_set():
                step()

        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError as error:  # the rack is closed
            raise LostPower from error

    def _finish(self, action: Action, *, booted: bool, **detail: str) -> None:
        machine = self._machine

        def finish() -> None:
            machine.log.append(machine.config.name, Source.MACHINE, action, **detail)
            machine.finish_netboot(self, booted=booted)

        self._on_loop(finish)


class CabledManager(Manager):
    """The manager as a machine reaches it: through its cable, while it has power."""

    def __init__(self, url: str, reaches: Callable[[], bool]) -> None:
        super().__init__(url)
        self._reaches = reaches

    def _send(self, verb: str, body: bytes, timeout: float) -> tuple[int, bytes, float | None]:
        if not self._reaches():
            raise ConnectionError("no link")
        try:
            return super()._send(verb, body, timeout)
        finally:
            if not self._reaches():  # what is answered now is not heard
                raise ConnectionError("no link")


class Ipxe:
    """Runs iPXE scripts: `kernel`, `initrd`, `boot`, `chain`, `sanboot`, `exit`, `goto`, `sleep`, `||`, `${names}`."""

    def __init__(
        self, settings: Mapping[str, str], fetch: Callable[[str, bool], bytes], pause: Callable[[float], None]
    ) -> None:
        self._settings = settings
        self._fetch = fetch
        self._pause = pause
        self._kernel: str | None = None
        self._left = MAX_COMMANDS

    def run(self, url: str) -> Kernel | LocalDisk:
        """Load and run the script at *url*; raise `BootFailed` when it comes to nothing."""
        lines = self._fetch(url, False).decode().splitlines()
        if not lines or lines[0].strip() != "#!ipxe":
            raise BootFailed("what was loaded is no iPXE script")
        position = 1
        while position < len(lines):
            line = re.sub(
                r"\$\{([^}]*)\}", lambda name: self._settings.get(name[1], ""), lines[position].strip()
            )
            position += 1
            if not line or line.startswith(("#", ":")):
                continue
            came = self._run_alternatives(line)
            if isinstance(came, str):
                position = lines.index(f":{came}")
            elif came is not None:
                return came
        raise BootFailed("the script ended without booting anything")

    def _run_alternatives(self, line: str) -> Kernel | LocalDisk | str | None:
        """Run `a || b || c` up to the first that works; a label to go to, an end, or None to go on."""
        self._left -= 1
        if self._left <= 0:
            raise BootFailed("the script has no end")
        *others, last = [part.strip() for part in line.split("||")]
        for command in others:
            try:
                return self._run_command(command)
            except BootFailed:
                continue
        return self._run_command(last)

    def _run_command(self, command: str) -> Kernel | LocalDisk | str | None:
        name, *arguments = command.split()
        words = [word for word in arguments if not word.startswith("--")]
        match name:
            case "kernel":
                self._fetch(words[0], True)
                self._kernel = " ".join(words[1:])
            case "initrd":
                self._fetch(words[-1], True)
            case "boot":
                if self._kernel is None:
                    raise BootFailed("there is no kernel to boot")
                return Kernel(self._kernel)
            case "chain":
                return self.run(words[0])
            case "sanboot" | "exit":
                return LocalDisk()
            case "goto":
                return words[0]
            case "sleep":
                self._pause(float(words[0]))
            case "echo" | "imgfree":
                pass
            case _:
                raise BootFailed(f"iPXE here has no command {name!r}")
        return None


def write_stub_ramdisk(data: Path) -> None:
    """Put files where the product expects kernel and ramdisk; machines of this rack only see that they are there."""
    folder = data / "boot" / "ramdisk"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vmlinuz", "initrd.img"):
        if not (folder / name).exists():
            (folder / name).write_bytes(b"Stands for a file that a machine of the virtual rack loads.\n" * 64)
