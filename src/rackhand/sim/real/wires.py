"""The cables of real machines: a network namespace with a bridge for each VLAN, and a tap device for each NIC.

The namespace stands for the switches. Which bridge a tap is in follows from the models of the switches; kernels
without VLAN filtering have no other way. This computer has a leg in the provisioning VLAN, and one in that of the
servers that are installed.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from rackhand.sim.events import Event
from rackhand.sim.rack import Rack

log = structlog.get_logger()

Plug = tuple[str, str]  # machine and NIC

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # linux/sched.h


@dataclass(frozen=True)
class Leg:
    """An interface of this computer in a VLAN of the rack: *name* without the rack's prefix, its addresses."""

    name: str
    vlan: int
    addresses: tuple[str, ...]


@dataclass
class Wires:
    """The namespace *name* with its devices."""

    name: str
    legs: tuple[Leg, ...]
    taps: Mapping[Plug, str]
    _vlans: set[int] = field(default_factory=set)
    _places: dict[Plug, int | None] = field(default_factory=dict)

    def leg(self, leg: Leg) -> str:
        """The name of a leg's interface."""
        return f"{self.name}-{leg.name}"

    def inside(self, *command: str) -> list[str]:
        """A command line that runs a command in the namespace, and ends it when this process dies."""
        return ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.name, *command]

    def socket(self, family: int, kind: int) -> socket.socket:
        """Make a socket that lives in the namespace; a socket stays where it was made."""
        made: list[socket.socket] = []

        def make() -> None:  # in a thread that ends: the namespace of a thread is its own
            handle = os.open(NAMESPACES / self.name, os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                made.append(socket.socket(family, kind))
            finally:
                os.close(handle)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def set_up(self) -> None:
        """Make everything; no NIC is in any VLAN."""
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        for leg in self.legs:
            self._move_all(self._bridge(leg.vlan))
            peer = f"leg-{leg.name}"
            mine = self.leg(leg)
            _ip("link", "add", mine, "type", "veth", "peer", "name", peer, "netns", self.name)
            _ip("-n", self.name, "link", "set", peer, "master", f"br{leg.vlan}", "up")
            _ip("link", "set", mine, "up")
            for address in leg.addresses:
                # Without `nodad` an IPv6 address cannot be listened on for the first seconds.
                _ip("address", "add", address, "dev", mine, *(["nodad"] if ":" in address else []))
        self._move_all([f"tuntap add {tap} mode tap" for tap in self.taps.values()])

    def tear_down(self) -> None:
        """Delete everything, as far as it is there."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.name)
        for leg in self.legs:  # they vanish with their other ends, a little later
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("link", "del", self.leg(leg))

    def move(self, places: Mapping[Plug, int | None]) -> None:
        """Put NICs into VLANs; None is into none."""
        commands = []
        for plug, vlan in places.items():
            if self._places.get(plug) == vlan:
                continue
            tap = self.taps[plug]
            if vlan is None:
                commands.append(f"link set {tap} nomaster down")
            else:
                commands += [*self._bridge(vlan), f"link set {tap} master br{vlan} up"]
        if commands:
            self._move_all(commands)
        self._places.update(places)

    def _bridge(self, vlan: int) -> list[str]:
        if vlan in self._vlans:
            return []
        self._vlans.add(vlan)
        return [f"link add br{vlan} type bridge forward_delay 0", f"link set br{vlan} up"]

    def _move_all(self, commands: Iterable[str]) -> None:
        lines = "".join(f"{command}\n" for command in commands)
        if lines:
            _run(["ip", "-n", self.name, "-batch", "-"], text=lines)


@contextlib.asynccontextmanager
async def connected(rack: Rack, wires: Wires) -> AsyncIterator[None]:
    """Have the wires follow the switches of *rack* until the block ends."""
    changed = asyncio.Event()
    changed.set()

    def note(event: Event) -> None:
        if event.device in rack.switches:
            changed.set()

    async def follow() -> None:
        while True:
            await changed.wait()
            changed.clear()
            places = {plug: rack.network.vlan_of(*plug) for plug in wires.taps}
            try:
                wires.move(places)
            except subprocess.CalledProcessError as error:
                log.error("a port could not be moved", error=error.stderr)  # noqa: TRY400  # its words say all

    wires.move({plug: rack.network.vlan_of(*plug) for plug in wires.taps})
    rack.log.watch(note)
    following = asyncio.create_task(follow(), name="wires")
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _run(command: list[str], text: str = "") -> None:
    subprocess.run(command, input=text, check=True, capture_output=True, text=True)
