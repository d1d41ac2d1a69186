"""A switch that really switches: Linux bridges in a network namespace, stock `snmpd` in front, hosts on its ports."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from rackhand.hardware.interfaces import Endpoint

VLANS = (1, 20, 30)
HOSTS = 3  # on port1, port2, port3
COMMUNITY, WRITE_COMMUNITY = "public", "secret-write"
USER, AUTH_PASSWORD, PRIV_PASSWORD = "rackadmin", "auth-password", "priv-password"
CLONE_NEWNET = 0x40000000
AGENT = Path(__file__).with_name("bridge_agent.py")
CONF = """agentAddress udp:127.0.0.1:161
rocommunity {COMMUNITY}
rwcommunity {WRITE_COMMUNITY}
createUser {USER} SHA-256 {AUTH_PASSWORD} AES {PRIV_PASSWORD}
createUser {USER}256 SHA {AUTH_PASSWORD} AES-256 {PRIV_PASSWORD}
createUser reader SHA-512 {AUTH_PASSWORD}
rwuser {USER} authPriv
rwuser {USER}256 authPriv
rouser reader auth
sysName switch1.example.com
sysDescr Linux bridge
interface_fadeout 0
pass_persist .1.3.6.1.2.1.17 {python} -u {agent} {state} {vlans}
pass_persist .1.0.8802.1.1.2.1 {python} -u {agent} {state} {vlans}
"""


@dataclass
class BridgeLab:
    """The switch, its hosts, and the place inside the switch's namespace from where it is asked."""

    folder: Path
    name: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    keeps_engine: bool = True

    @property
    def switch(self) -> str:
        return f"{self.name}-sw"

    def host(self, number: int) -> str:
        return f"{self.name}-h{number}"

    def address(self, number: int) -> str:
        return f"198.51.100.{number}"

    def index(self, port: str) -> int:
        return int(run("ip", "netns", "exec", self.switch, "cat", f"/sys/class/net/{port}/ifindex"))

    def mac(self, number: int) -> str:
        return run("ip", "netns", "exec", self.host(number), "cat", "/sys/class/net/eth0/address").strip()

    def reaches(self, source: int, target: int, *, patience: float = 5) -> bool:
        """Tell whether a frame comes through, sending one every 0.2 s until then; 0 waits once, for a second."""
        with socket_in(self.host(source)) as sender, socket_in(self.host(target)) as listener:
            listener.bind((self.address(target), 9))
            listener.settimeout(0.2 if patience else 1)
            for _ in range(max(1, round(patience / 0.2))):
                with contextlib.suppress(TimeoutError):
                    sender.sendto(b"are you there?", (self.address(target), 9))
                    return bool(listener.recv(64))
        return False

    def start_snmpd(self) -> None:
        """Start the agent, as after a power cut when it ran before: its clock begins again."""
        environment = {**os.environ, "MIBS": "", "SNMP_PERSISTENT_DIR": str(self.folder / "kept")}
        command = ["ip", "netns", "exec", self.switch, "snmpd", "-f", "-Lf", str(self.folder / "log")]
        kept = (
            self.folder / "kept/snmpd.conf"
        )  # what the agent writes down when it ends: its engine, its boots
        configs = [self.folder / "snmpd.conf", *([kept] if self.keeps_engine and kept.exists() else [])]
        command += ["-I", "-smux", "-C", "-c", ",".join(map(str, configs))]
        null = subprocess.DEVNULL
        self.processes.append(
            subprocess.Popen(command, env=environment, stdin=null, stdout=null, stderr=null)
        )

    def stop_snmpd(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait()
        self.processes.clear()


class Relay(asyncio.DatagramProtocol):
    """A port on the loopback of this side that stands for the agent's inside the namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._back: dict[tuple[str, int], socket.socket] = {}
        self._loop = asyncio.get_running_loop()
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._front = cast("asyncio.DatagramTransport", transport)
        self.port = self._front.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr not in self._back:
            back = socket_in(self._namespace)
            back.setblocking(False)
            back.connect(("127.0.0.1", 161))
            self._back[addr] = back
            self._loop.add_reader(back.fileno(), self._answer, back, addr)
        with contextlib.suppress(ConnectionRefusedError):
            self._back[addr].send(data)

    def _answer(self, back: socket.socket, client: tuple[str, int]) -> None:
        with contextlib.suppress(ConnectionRefusedError, BlockingIOError):
            self._front.sendto(back.recv(65535), client)

    def close(self) -> None:
        for back in self._back.values():
            self._loop.remove_reader(back.fileno())
            back.close()
        self._front.close()


def endpoint(relay: Relay, **settings: str) -> Endpoint:
    """The access with version 2c."""
    given = {"write_community": WRITE_COMMUNITY, "timeout_seconds": "2", **settings}
    return Endpoint("snmp", "127.0.0.1", relay.port, password=COMMUNITY, settings=given)


def endpoint_v3(relay: Relay, user: str = USER, password: str = AUTH_PASSWORD, **settings: str) -> Endpoint:
    given = {"version": "3", "authentication": "SHA-256", "privacy": "AES", "timeout_seconds": "2"}
    given |= {"privacy_password": PRIV_PASSWORD, **settings}
    return Endpoint("snmp", "127.0.0.1", relay.port, user, password, given)


def missing() -> str:
    """Say what keeps the lab from working here; empty when nothing does."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if absent := [tool for tool in ("ip", "snmpd") if not shutil.which(tool)]:
        return f"not installed: {', '.join(absent)}"
    probe = f"rackhand-{os.getpid()}-probe"
    try:
        run("ip", "netns", "add", probe)
        run("ip", "-n", probe, "link", "add", "br1", "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"`{' '.join(error.cmd)}` does not work here: {error.stderr.strip()}"
    finally:
        delete(probe)
    return ""


@contextlib.contextmanager
def bridge_lab(folder: Path) -> Iterator[BridgeLab]:
    lab = BridgeLab(folder, f"rackhand-{os.getpid()}")
    names = [lab.switch, *(lab.host(number) for number in range(1, HOSTS + 1))]
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for vlan in VLANS:
            run("ip", "-n", lab.switch, "link", "add", f"br{vlan}", "type", "bridge", "forward_delay", "0")
            run("ip", "-n", lab.switch, "link", "set", f"br{vlan}", "up")
        for number in range(1, HOSTS + 1):
            host, port = lab.host(number), f"port{number}"
            run(
                *("ip", "link", "add", port, "netns", lab.switch, "type", "veth"),
                *("peer", "name", "eth0", "netns", host),
            )
            run("ip", "-n", lab.switch, "link", "set", port, "up")
            run("ip", "-n", host, "addr", "add", f"{lab.address(number)}/24", "dev", "eth0")
            run("ip", "-n", host, "link", "set", "eth0", "up")
        words = {**globals(), "python": sys.executable, "agent": AGENT, "state": folder / "state.json"}
        (folder / "snmpd.conf").write_text(CONF.format(**words, vlans=" ".join(map(str, VLANS))))
        lab.start_snmpd()
        yield lab
    finally:
        lab.stop_snmpd()
        for name in names:
            delete(name)


def socket_in(namespace: str) -> socket.socket:
    """Make a UDP socket that lives in a namespace; a socket stays where it was made."""
    made: list[socket.socket] = []

    def make() -> None:  # in a thread that ends: the namespace of a thread is its own
        handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        finally:
            os.close(handle)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def delete(namespace: str) -> None:
    with contextlib.suppress(subprocess.CalledProcessError):
        run("ip", "netns", "del", namespace)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
