"""Firmware as far as DHCP and TFTP go: asks for an address under any MAC address, and fetches a file."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.hardware.bridge import delete, run, socket_in

SERVER, NETWORK = "203.0.113.1", "203.0.113.0/24"
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
MAGIC = bytes((99, 130, 83, 99))
BROADCAST_FLAG = 0x8000
SO_BINDTODEVICE = 25
BIOS, UEFI = 0, 7


@dataclass
class Answer:
    """What a server says (RFC 2131)."""

    kind: int
    address: str
    next_server: str
    file: str
    options: dict[int, bytes] = field(default_factory=dict)

    @property
    def boot_file(self) -> str:
        return self.options.get(67, b"").rstrip(b"\0").decode() or self.file


class Firmware:
    """A network card at the far end of a cable whose near end is `interface`."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def ask(
        self, mac: str, *, kind: int = DISCOVER, architecture: int = BIOS, is_ipxe: bool = False,
        relay: str = "", patience: float = 1.0, more: bytes = b"",
    ) -> Answer | None:  # fmt: skip
        """Ask once and wait; None when nobody answers."""
        options = bytes((53, 1, kind, 93, 2, 0, architecture, 55, 6, 1, 3, 6, 43, 66, 67))
        vendor = f"PXEClient:Arch:{architecture:05}:UNDI:003016".encode()
        options += bytes((60, len(vendor))) + vendor + more
        if is_ipxe:
            options += bytes((77, 4)) + b"iPXE" + bytes((175, 3, 1, 1, 1))
        head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x5EED, 0, BROADCAST_FLAG)
        head += bytes(12) + socket.inet_aton(relay or "0") + bytes.fromhex(mac.replace(":", "")) + bytes(10)
        packet = head + bytes(192) + MAGIC + options + b"\xff"
        with socket_in(self._namespace) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            wire.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"eth0")
            is_relayed = bool(relay)
            wire.bind((relay, 67) if is_relayed else ("", 68))
            wire.settimeout(patience)
            wire.sendto(packet, (SERVER if is_relayed else "255.255.255.255", 67))
            try:
                return _read(wire.recv(2048))
            except TimeoutError:
                return None

    def fetch(self, name: str) -> bytes:
        """Read a file by TFTP (RFC 1350)."""
        content = b""
        with socket_in(self._namespace) as wire:
            wire.settimeout(5)
            wire.sendto(b"\0\1" + name.encode() + b"\0octet\0", (SERVER, 69))
            while True:
                block, sender = wire.recvfrom(1024)
                if block[:2] != b"\0\3":
                    raise OSError(block[4:].decode(errors="replace"))
                content += block[4:]
                wire.sendto(b"\0\4" + block[2:4], sender)
                if len(block) < 516:
                    return content


def _read(packet: bytes) -> Answer:
    options: dict[int, bytes] = {}
    at = 240
    while at < len(packet) and packet[at] != 255:
        if packet[at] == 0:
            at += 1
            continue
        length = packet[at + 1]
        options[packet[at]] = packet[at + 2 : at + 2 + length]
        at += 2 + length
    return Answer(
        kind=options[53][0],
        address=socket.inet_ntoa(packet[16:20]),
        next_server=socket.inet_ntoa(packet[20:24]),
        file=packet[108:236].rstrip(b"\0").decode(),
        options=options,
    )


@dataclass(frozen=True)
class Cable:
    """A cable: *interface* is the end on this side."""

    interface: str
    firmware: Firmware


def missing() -> str:
    """Say what keeps such a cable from being laid here; empty when nothing does."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if absent := [tool for tool in ("ip", "dnsmasq", "setpriv") if not shutil.which(tool)]:
        return f"not installed: {', '.join(absent)}"
    try:
        with cable():
            return ""
    except subprocess.CalledProcessError as error:
        return f"`{' '.join(error.cmd)}` does not work here: {error.stderr.strip()}"


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """Lay a cable from this side, which has the server's address, to a machine without any."""
    name = f"rhd{os.getpid()}"
    try:
        run("ip", "netns", "add", name)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "address", "add", f"{SERVER}/24", "dev", name)
        run("ip", "link", "set", name, "up")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")
        yield Cable(name, Firmware(name))
    finally:
        delete(name)
        with contextlib.suppress(subprocess.CalledProcessError):
            run("ip", "link", "del", name)
