"""Switches with a command line behind a real SSH server: one as Cisco IOS, one as Junos; both keep state."""

import copy
import hashlib
import re
import socket
import threading
import time
from abc import abstractmethod
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import paramiko

from rackhand.hardware.interfaces import Endpoint

USER, PASSWORD, ENABLE_PASSWORD = "admin", "cli-password", "enable-password"


@dataclass
class CliPort:
    """A port as the switch has it."""

    vlan: int = 1
    is_shut: bool = False
    has_cable: bool = True
    speed: str = "auto"


@dataclass
class CliSwitch:
    """What all have in common: ports, VLANs, what was typed, and faults.

    `refuses` is a pattern of lines that are refused; `ignores` of lines that are accepted and not done; `hangs` of
    lines that nothing comes after; `cuts` of lines at which the connection is cut.
    """

    ports: dict[str, CliPort]
    vlans: dict[int, str]
    typed: list[str] = field(default_factory=list)
    logins: int = 0
    refused_logins: int = 0
    saved: int = 0
    refuses: str = ""
    ignores: str = ""
    hangs: str = ""
    cuts: str = ""
    endpoint: Endpoint = field(default_factory=lambda: Endpoint("cli", "127.0.0.1", 0, USER, PASSWORD))
    host_key: paramiko.PKey = field(default_factory=paramiko.ECDSAKey.generate)

    @property
    def fingerprint(self) -> str:
        return "SHA256:" + b64encode(hashlib.sha256(self.host_key.asbytes()).digest()).decode().rstrip("=")

    @abstractmethod
    def session(self) -> "Session": ...


class Session:
    """One signed-in user; `answer` returns None when the switch hangs up."""

    def __init__(self, switch: CliSwitch) -> None:
        self.switch = switch

    @property
    @abstractmethod
    def prompt(self) -> str: ...

    @abstractmethod
    def answer(self, line: str) -> str | None: ...


class IosSession(Session):
    """User mode, privileged mode, configuration, configuration of one interface."""

    switch: "IosSwitch"

    def __init__(self, switch: "IosSwitch") -> None:
        super().__init__(switch)
        self.mode = "user" if switch.wants_enable else "privileged"
        self.port = ""
        self.asks_password = False

    @property
    def prompt(self) -> str:
        if self.asks_password:
            return "Password: "
        mode = {"user": ">", "privileged": "#", "config": "(config)#", "interface": "(config-if)#"}
        return f"sw1{mode[self.mode]}"

    def answer(self, line: str) -> str | None:
        if self.asks_password:
            self.asks_password = False
            self.mode = "privileged" if line == ENABLE_PASSWORD else self.mode
            return "% Access denied\n" if self.mode == "user" else ""
        if line.startswith(("terminal ", "!")) or not line:
            return ""
        if line == "exit" and self.mode in {"user", "privileged"}:
            return None
        shown: dict[str, Callable[[], str]] = {
            "show interfaces status": self.switch.show_status,
            "show vlan": self.switch.show_vlan,
            "show mac address-table": self.switch.show_macs,
            "show lldp neighbors detail": self.switch.show_lldp,
            "write memory": self.switch.save,
        }
        if line in shown and self.mode == "privileged":
            return shown[line]()
        if self._changes_mode(line) or (self.mode == "interface" and self._configure(line)):
            return ""
        return "              ^\n% Invalid input detected at '^' marker.\n\n"

    def _changes_mode(self, line: str) -> bool:
        if line == "enable":
            self.asks_password = self.mode == "user"
        elif line == "configure terminal" and self.mode == "privileged":
            self.mode = "config"
        elif line == "end" and self.mode in {"config", "interface"}:
            self.mode = "privileged"
        elif self.mode in {"config", "interface"} and line.removeprefix("interface ") in self.switch.ports:
            self.mode, self.port = "interface", line.removeprefix("interface ")
        else:
            return False
        return True

    def _configure(self, line: str) -> bool:
        port = self.switch.ports[self.port]
        if line in {"shutdown", "no shutdown"}:
            port.is_shut = line == "shutdown"
        elif match := re.fullmatch(r"switchport access vlan (\d+)", line):
            port.vlan = int(match[1])
            self.switch.vlans.setdefault(port.vlan, f"VLAN{port.vlan:04}")
        elif match := re.fullmatch(r"speed (auto|10|100|1000)", line):
            port.speed = match[1]
        else:
            return line == "switchport mode access"
        return True


class IosSwitch(CliSwitch):
    """Gi1/0/1 to Gi1/0/3, a trunk, a channel and a VLAN interface."""

    wants_enable = False

    def session(self) -> Session:
        return IosSession(self)

    def save(self) -> str:
        self.saved += 1
        return "Building configuration...\n[OK]\n"

    def show_status(self) -> str:
        lines = ["", "Port         Name               Status       Vlan       Duplex  Speed Type"]
        for name, port in self.ports.items():
            status = "disabled" if port.is_shut else "connected" if port.has_cable else "notconnect"
            speed = "a-1000" if port.speed == "auto" and status == "connected" else port.speed
            lines.append(
                f"{name:<12} {'':<18} {status:<12} {port.vlan:<10} a-full {speed:>6} 10/100/1000BaseTX"
            )
        lines.append("Te1/1/1      to core            connected    trunk        full    10G SFP-10GBase-SR")
        lines.append("Po1                             notconnect   unassigned   auto   auto ")
        return "\n".join(lines) + "\n"

    def show_vlan(self) -> str:
        lines = ["", "VLAN Name                             Status    Ports"]
        lines.append("---- -------------------------------- --------- -------------------------------")
        for vlan, name in self.vlans.items():
            ports = ", ".join(port for port in self.ports if self.ports[port].vlan == vlan)
            lines.append(f"{vlan:<4} {name:<32} active    {ports}".rstrip())
        lines += ["", "VLAN Type  SAID       MTU   Parent RingNo BridgeNo Stp  BrdgMode Trans1 Trans2"]
        return "\n".join(lines) + "\n"

    def show_macs(self) -> str:
        lines = ["          Mac Address Table", "-------------------------------------------", ""]
        lines += [
            "Vlan    Mac Address       Type        Ports",
            "----    -----------       --------    -----",
        ]
        lines.append(" All    0100.0ccc.cccc    STATIC      CPU")
        lines.append("   1    0000.5e00.5301    DYNAMIC     Gi1/0/1")
        lines.append("  20    0000.5e00.5302    DYNAMIC     Gi1/0/2")
        lines.append("  20    0000.5e00.5303    DYNAMIC     Po1")
        lines.append("Total Mac Addresses for this criterion: 4")
        return "\n".join(lines) + "\n"

    def show_lldp(self) -> str:
        return """------------------------------------------------
Local Intf: Gi1/0/2
Chassis id: 0000.5e00.5302
Port id: eth0
Port Description: eth0
System Name: host2.example.com

System Description:
Linux

Time remaining: 100 seconds
System Capabilities: B,R
Enabled Capabilities: R
Management Addresses:
    IP: 192.0.2.12
Auto Negotiation - supported, enabled
Vlan ID: - not advertised


Total entries displayed: 1

"""


class JunosSession(Session):
    """Operational mode, and a private candidate."""

    switch: "JunosSwitch"

    def __init__(self, switch: "JunosSwitch") -> None:
        super().__init__(switch)
        self.candidate: dict[str, CliPort] | None = None

    @property
    def prompt(self) -> str:
        return "\nadmin@sw2> " if self.candidate is None else "\n[edit]\nadmin@sw2# "

    def answer(self, line: str) -> str | None:
        if self.candidate is not None:
            return self._configure(line)
        if line == "exit":
            return None
        shown: dict[str, Callable[[], str]] = {
            "show interfaces": self.switch.show_interfaces,
            "show vlans": self.switch.show_vlans,
            "show ethernet-switching table": self.switch.show_macs,
            "show lldp neighbors": self.switch.show_lldp,
            "set cli screen-width 511": lambda: "Screen width set to 511\n",
            "set cli screen-length 0": lambda: "Screen length set to 0\n",
            "set cli complete-on-space off": lambda: "Disabling complete-on-space\n",
        }
        if line in shown:
            return shown[line]()
        if line == "configure private":
            self.candidate = copy.deepcopy(self.switch.ports)
            return "warning: uncommitted changes will be discarded on exit\nEntering configuration mode\n"
        return "" if not line else "              ^\nunknown command.\n"

    def _configure(self, line: str) -> str:
        assert self.candidate is not None
        if line == "commit and-quit":
            self.switch.ports, self.candidate = self.candidate, None
            self.switch.saved += 1
            return "commit complete\nExiting configuration mode\n"
        if line == "exit configuration-mode":
            self.candidate = None
            return "Exiting configuration mode\n"
        if line in {"rollback 0", ""}:
            self.candidate = copy.deepcopy(self.switch.ports)
            return "load complete\n"
        return "" if self._changes_candidate(line) else "              ^\nsyntax error.\n"

    def _changes_candidate(self, line: str) -> bool:
        match = re.fullmatch(r"(set|delete) interfaces (\S+) (.+)", line)
        port = (self.candidate or {}).get(match[2]) if match else None
        if not match or port is None:
            return False
        statement = match[3]
        if statement == "disable":
            port.is_shut = match[1] == "set"
        elif member := re.fullmatch(r"unit 0 family ethernet-switching vlan members (\d+)", statement):
            port.vlan = int(member[1])
        return statement == "disable" or statement.startswith("unit 0 family ethernet-switching")


class JunosSwitch(CliSwitch):
    """ge-0/0/0 and on, and logical units below them."""

    def session(self) -> Session:
        return JunosSession(self)

    def show_interfaces(self) -> str:
        text = ""
        for name, port in self.ports.items():
            admin = "Administratively down" if port.is_shut else "Enabled"
            link = "Up" if port.has_cable and not port.is_shut else "Down"
            text += f"""Physical interface: {name}, {admin}, Physical link is {link}
  Interface index: 650, SNMP ifIndex: 514
  Description: rack 1
  Link-level type: Ethernet, MTU: 1514, LAN-PHY mode, Speed: 1000mbps, Duplex: Full
  Device flags   : Present Running
  Current address: 00:00:5e:00:53:f0, Hardware address: 00:00:5e:00:53:f0

  Logical interface {name}.0 (Index 551) (SNMP ifIndex 515)
    Flags: Up SNMP-Traps 0x24024000 Encapsulation: Ethernet-Bridge
    Input packets : 0
    Output packets: 0
    Protocol eth-switch, MTU: 1514

"""
        return text + "Physical interface: vme, Enabled, Physical link is Down\n"

    def show_vlans(self) -> str:
        text = "\nRouting instance        VLAN name             Tag          Interfaces\n"
        for vlan, name in self.vlans.items():
            text += f"default-switch          {name:<22}{vlan}\n"
            for port in self.ports:
                if self.ports[port].vlan == vlan:
                    text += f"{'':<61}{port}.0*\n"
            text += f"{'':<61}ge-0/0/9.0*\n\n"  # a trunk
        return text

    def show_macs(self) -> str:
        return """
MAC flags (S - static MAC, D - dynamic MAC, L - locally learned, P - Persistent static)

Ethernet switching table : 2 entries, 2 learned
Routing instance : default-switch
   Vlan                MAC                 MAC      Age    Logical                NH        RTR
   name                address             flags           interface              Index     ID
   customers           00:00:5e:00:53:02   D             -   ge-0/0/1.0             0         0
   default             00:00:5e:00:53:f1   S             -   ge-0/0/2.0             0         0
"""

    def show_lldp(self) -> str:
        return """
Local Interface    Parent Interface    Chassis Id          Port info          System Name
ge-0/0/1           -                   00:00:5e:00:53:02   eth0               host2.example.com
"""


class Door(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    """Lets one account in."""

    def __init__(self, switch: CliSwitch) -> None:
        self.switch = switch

    def check_auth_password(self, username: str, password: str) -> int:
        if (username, password) == (USER, PASSWORD):
            self.switch.logins += 1
            return int(paramiko.AUTH_SUCCESSFUL)
        self.switch.refused_logins += 1
        return int(paramiko.AUTH_FAILED)

    def get_allowed_auths(self, _username: str) -> str:
        return "password"

    def check_channel_request(self, _kind: str, _number: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_pty_request(self, *_args: object) -> bool:
        return True

    def check_channel_shell_request(self, _channel: paramiko.Channel) -> bool:
        return True


def ios_switch() -> IosSwitch:
    ports = {f"Gi1/0/{number}": CliPort() for number in (1, 2, 3)}
    ports["Gi1/0/3"].has_cable = False
    return IosSwitch(ports, {1: "default", 20: "customers"})


def junos_switch() -> JunosSwitch:
    ports = {f"ge-0/0/{number}": CliPort() for number in (0, 1, 2, 9)}
    ports["ge-0/0/2"].has_cable = False
    return JunosSwitch(ports, {1: "default", 20: "customers"})


@contextmanager
def serving_cli(switch: CliSwitch, **settings: str) -> Iterator[CliSwitch]:
    """Listen on the loopback until the block ends, and end every session with it."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    platform = "cisco_ios" if isinstance(switch, IosSwitch) else "juniper_junos"
    given = {"platform": platform, "timeout_seconds": "5", **settings}
    switch.endpoint = replace(switch.endpoint, port=port, settings=given)
    transports: list[paramiko.Transport] = []
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transports.append(transport)
            thread = threading.Thread(target=converse, args=(switch, transport))
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield switch
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for transport in transports:
            transport.close()
        for thread in threads:
            thread.join()


def converse(switch: CliSwitch, transport: paramiko.Transport) -> None:
    """Play one connection: echo what is typed, answer each line, show the prompt."""
    transport.add_server_key(switch.host_key)
    with suppress(paramiko.SSHException, EOFError, OSError):
        transport.start_server(server=Door(switch))
        channel = None
        while channel is None:
            if not transport.is_active():
                return
            channel = transport.accept(0.1)
        session, typed = switch.session(), ""
        channel.sendall(session.prompt)
        while data := channel.recv(1024):
            for character in data.decode().replace("\r\n", "\n").replace("\r", "\n"):
                if character != "\n":
                    typed += character
                    continue
                line, typed = typed.strip(), ""
                hidden = isinstance(session, IosSession) and session.asks_password
                channel.sendall("\r\n" if hidden else f"{line}\r\n")
                if not say(switch, session, channel, line):
                    return
    transport.close()


def say(switch: CliSwitch, session: Session, channel: paramiko.Channel, line: str) -> bool:
    switch.typed += [line] if line else []
    if switch.hangs and re.search(switch.hangs, line):
        while channel.recv(1024):
            time.sleep(0.01)
        return False
    if switch.cuts and re.search(switch.cuts, line):
        channel.get_transport().close()
        return False
    if switch.refuses and re.search(switch.refuses, line):
        answer: str | None = "              ^\n% Invalid input detected at '^' marker.\n\n"
        if isinstance(switch, JunosSwitch):
            answer = "error: configuration check-out failed\n"
    elif switch.ignores and re.search(switch.ignores, line):
        answer = ""
    else:
        answer = session.answer(line)
    if answer is None:
        return False
    channel.sendall((answer + session.prompt).replace("\n", "\r\n"))
    return True
