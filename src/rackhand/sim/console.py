"""The serial port of a simulated machine: its life as lines of text, and a system that lets everybody in.

What happened is read from the rack's events, so that nothing else has to know of the console. Nothing is kept: who
connects later sees what comes then, as on iron.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from rackhand.sim.config import MachineConfig
from rackhand.sim.events import Action, Event, Source
from rackhand.sim.machine import BootDevice, Machine, Phase

MAX_LINE = 256
FIRST_PRINTABLE, DELETE = 0x20, 0x7F
BACKSPACES = {0x08, DELETE}
CTRL_C, CTRL_D = 0x03, 0x04
ENDS_OF_LINE = {0x0D, 0x0A}

# What the port says of an event; in braces the details of the event, `name` and `model` of the machine.
LINES: Final[Mapping[Action, str]] = {
    Action.POWERED_ON: "\x1b[2J\x1b[H{model} BIOS 2.1\nSerial number {serial}\nTesting memory ... ok\n",
    Action.RESET: "\x1b[2J\x1b[H{model} BIOS 2.1\nSerial number {serial}\nTesting memory ... ok\n",
    Action.BOOT_OVERRIDE_USED: "One-time boot device: {device}\n",
    Action.NETBOOT_FAILED: "iPXE: {why}\nNo more network devices.\n",
    Action.NETBOOT_ANSWERED: "iPXE: the boot server says: boot the {answer}.\n",
    Action.BOOTED: "Booting from {device} ({mode}).\n",
    Action.BOOT_FAILED: "No system can be started: {why}.\n",
    Action.SYSTEM_STARTED: "\n{system} {host_name} ttyS0\n\n{host_name} login: ",
    Action.RESCUE_STARTED: "agent: this server is in rescue.\n",
    Action.DISK_ERASED: "agent: a disk was erased.\n",
    Action.DISK_CLEARED: "agent: tables and signatures were taken from a disk.\n",
    Action.DISK_DIVIDED: "agent: a disk was divided.\n",
    Action.IMAGE_WRITTEN: "agent: the image was written.\n",
    Action.SYSTEM_CONFIGURED: "agent: the system was configured.\n",
    Action.SOFT_OFF_REQUESTED: "\nThe power button was pressed.\n",
    Action.POWERED_OFF: "\nPower off ({reason}).\n",
}
AGENT_LINES = "Linux 6.12 ramdisk\nagent: saying hello to the manager.\n"
STARTS_ANEW = {Action.POWERED_ON, Action.POWERED_OFF, Action.RESET, Action.BOOTED, Action.SYSTEM_STARTED}


class Dialogue(StrEnum):
    """What the system waits for."""

    LOGIN = "login"
    PASSWORD = "password"  # noqa: S105  # a word of the dialogue
    SHELL = "shell"


class SerialConsole:
    """The serial port of one machine, with one listener at most: the SOL session of its BMC."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._listener: Callable[[bytes], None] | None = None
        self._dialogue = Dialogue.LOGIN
        self._line = bytearray()
        self._host_name = machine.config.name

    def connect(self, listener: Callable[[bytes], None]) -> None:
        """Give *listener* everything that is sent from now on."""
        self._listener = listener

    def disconnect(self) -> None:
        """Send to nobody."""
        self._listener = None

    def tell(self, event: Event) -> None:
        """Say what has happened to the machine."""
        if event.action in STARTS_ANEW:
            self._dialogue = Dialogue.LOGIN
            self._line.clear()
        if event.action is Action.BOOTED:
            self._host_name = self._machine.config.name
        if event.action is Action.SYSTEM_STARTED:
            self._host_name = str(event.detail.get("host_name") or self._machine.config.name)
        text = LINES.get(event.action)
        if text is None or self._listener is None:
            return
        self._send(text.format_map(_Details(self._machine.config, event)))
        if event.action is Action.BOOTED and event.detail.get("device") == BootDevice.PXE:
            self._send(AGENT_LINES)

    def receive(self, data: bytes) -> None:
        """Take what somebody types; nobody listens but an installed system."""
        for byte in data:
            if self._machine.phase is not Phase.RUNNING or self._machine.booted_from is not BootDevice.DISK:
                return
            if byte in ENDS_OF_LINE:
                self._send("\n")
                line, self._line = self._line.decode(errors="replace"), bytearray()
                self._obey(line.strip())
            elif byte in BACKSPACES:
                if self._line:
                    del self._line[-1]
                    self._echo(b"\b \b")
            elif byte == CTRL_C or (byte == CTRL_D and self._dialogue is Dialogue.SHELL and not self._line):
                self._line.clear()
                if byte == CTRL_D:
                    self._dialogue = Dialogue.LOGIN
                self._send("\n" + self._prompt())
            elif byte >= FIRST_PRINTABLE and len(self._line) < MAX_LINE:
                self._line.append(byte)
                self._echo(bytes((byte,)))

    def _obey(self, line: str) -> None:
        match self._dialogue:
            case Dialogue.LOGIN:
                self._dialogue = Dialogue.PASSWORD if line else Dialogue.LOGIN
            case Dialogue.PASSWORD:  # everybody gets in: nothing here is worth a secret
                self._dialogue = Dialogue.SHELL
            case Dialogue.SHELL:
                self._run(line)
        self._send(self._prompt())

    def _run(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "":
                pass
            case "echo":
                self._send(f"{rest}\n")
            case "hostname":
                self._send(f"{self._host_name}\n")
            case "exit" | "logout":
                self._dialogue = Dialogue.LOGIN
            case "reboot":
                self._machine.reset(Source.MACHINE)
            case "poweroff":
                self._machine.power_off(Source.MACHINE)
            case _:
                self._send(f"-sh: {word}: not found\n")

    def _prompt(self) -> str:
        if self._machine.phase is not Phase.RUNNING:
            return ""
        return {
            Dialogue.LOGIN: f"\n{self._host_name} login: ",
            Dialogue.PASSWORD: "Password: ",
            Dialogue.SHELL: f"root@{self._host_name}:~# ",
        }[self._dialogue]

    def _echo(self, data: bytes) -> None:
        if self._listener is not None and self._dialogue is not Dialogue.PASSWORD:
            self._listener(data)

    def _send(self, text: str) -> None:
        if self._listener is not None and text:
            self._listener(text.replace("\n", "\r\n").encode())


class _Details(dict[str, object]):
    """The details of an event and of its machine, empty for what there is not."""

    def __init__(self, config: MachineConfig, event: Event) -> None:
        super().__init__(event.detail)
        self.update(name=config.name, model=config.model, serial=config.serial)

    def __missing__(self, key: str) -> str:
        return ""
