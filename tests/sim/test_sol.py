"""Serial over LAN of the IPMI face, judged by stock `ipmitool` and FreeIPMI's `ipmiconsole`; and what they never do."""

import contextlib
import dataclasses
import os
import select
import socket
import subprocess
import time
import tty
from collections.abc import Iterator
from typing import Self

import pytest

from rackhand.hardware.processes import SBIN
from rackhand.sim.config import BmcKind, MachineConfig
from rackhand.sim.rack import RackThread, demo_rack
from rackhand.sim.rmcp import PayloadType, parse
from tests.sim import tools
from tests.sim.rmcp_client import RmcpClient

IPMI_PORT = 623  # ipmiconsole asks no other


class OnTerminal:
    """A program before a terminal."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.terminal, other_end = os.openpty()
        tty.setraw(other_end)
        path = f"{os.environ.get('PATH', os.defpath)}:{SBIN}"
        self.process = subprocess.Popen(
            arguments,
            stdin=other_end,
            stdout=other_end,
            stderr=other_end,
            env={**os.environ, "PATH": path, **environment},
            start_new_session=True,
        )
        os.close(other_end)
        self.said = b""

    def type(self, text: bytes) -> None:
        os.write(self.terminal, text)

    def read_until(self, words: bytes, *, seconds: float = 10) -> bytes:
        """Everything up to *words*, which must come."""
        until = time.monotonic() + seconds
        while words not in self.said:
            left = until - time.monotonic()
            assert left > 0, f"{words!r} is not in {self.said!r}"
            if select.select([self.terminal], [], [], left)[0]:
                try:
                    self.said += os.read(self.terminal, 4096)
                except OSError as error:
                    raise AssertionError(f"ended: {self.said!r}") from error
        before, _, self.said = self.said.partition(words)
        return before + words

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.terminal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self.process.kill()
        self.process.wait()


def sol_activate(machine: MachineConfig) -> OnTerminal:
    bmc = machine.bmc
    where = ("-H", bmc.host, "-p", str(bmc.port), "-U", bmc.user, "-E", "-L", "OPERATOR", "-C", "3")
    return OnTerminal("ipmitool", "-I", "lanplus", *where, "sol", "activate", IPMI_PASSWORD=bmc.password)


def switch_on(rack: RackThread, machine: MachineConfig) -> None:
    rack.control.press_power_button(machine.name)
    rack.control.wait_for(machine.name, lambda machine: machine.phase == "running")


def log_in(terminal: OnTerminal) -> None:
    terminal.type(b"\r")
    terminal.read_until(b"login: ")
    terminal.type(b"root\r")
    terminal.read_until(b"Password: ")
    terminal.type(b"secret\r")
    assert b"secret" not in terminal.read_until(b":~# ")
    terminal.type(b"hostnam\x7fme\r")
    terminal.read_until(b"\r\nnode-")


def test_ipmitool_sees_the_life_of_the_machine_and_logs_in(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    with sol_activate(ipmi_machine) as terminal:
        terminal.read_until(b"operational")
        switch_on(rack, ipmi_machine)
        terminal.read_until(ipmi_machine.serial.encode())
        terminal.read_until(b"Booting from disk")
        log_in(terminal)
        other = sol_activate(ipmi_machine)
        with other:
            other.read_until(b"already active on another session")
        terminal.type(b"\r")
        terminal.read_until(b":~# ")
        terminal.type(b"~.")
        terminal.read_until(b"terminated")
    rack.control.wait_for_event(ipmi_machine.name, "console_closed", after=start)
    assert "Enabled                         : true" in tools.ipmitool(ipmi_machine, "sol", "info").output


def test_nothing_is_lost_when_packets_are(rack: RackThread, ipmi_machine: MachineConfig) -> None:
    switch_on(rack, ipmi_machine)
    with sol_activate(ipmi_machine) as terminal:
        terminal.read_until(b"operational")
        log_in(terminal)
        rack.control.fault_on(ipmi_machine.name, "drop_packets", value=0.2)
        for number in range(3):
            terminal.type(b"echo %d-%s-end\r" % (number, b"x" * 150))
            terminal.read_until(b"\n%d-%s-end" % (number, b"x" * 150), seconds=30)
        rack.control.fault_off(ipmi_machine.name, "drop_packets")


@pytest.fixture(scope="module")
def standard_port() -> Iterator[tuple[RackThread, MachineConfig]]:
    """A machine whose BMC is at the port of IPMI, where this process may be."""
    config = demo_rack(time_scale=600)
    machine = next(each for each in config.machines if each.bmc.kind is BmcKind.IPMI)
    machine = dataclasses.replace(
        machine, bmc=dataclasses.replace(machine.bmc, host="127.0.0.77", port=IPMI_PORT)
    )
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((machine.bmc.host, IPMI_PORT))
    except OSError:
        pytest.skip("port 623 is taken, or not for ordinary users")
    alone = dataclasses.replace(config, machines=(machine,), switches=(), pdus=(), cables=())
    with RackThread(alone) as rack:
        yield rack, machine


def ipmiconsole(machine: MachineConfig, *options: str) -> OnTerminal:
    bmc = machine.bmc
    return OnTerminal(
        *("ipmiconsole", "-h", bmc.host, "-u", bmc.user, "-p", bmc.password, "-l", "OPERATOR", *options)
    )


def test_ipmiconsole_logs_in_and_steals(standard_port: tuple[RackThread, MachineConfig]) -> None:
    rack, machine = standard_port
    switch_on(rack, machine)
    with ipmiconsole(machine) as terminal:
        terminal.read_until(b"[SOL established]")
        log_in(terminal)
        with ipmiconsole(machine, "--dont-steal") as polite:
            polite.read_until(b"SOL in use")
        with ipmiconsole(machine) as thief:
            thief.read_until(b"[SOL established]")
            thief.type(b"\r")
            thief.read_until(b"# ")
            thief.type(b"&.")
            thief.read_until(b"[closing the connection]")


def test_typing_into_a_machine_that_is_off_does_nothing(
    rack: RackThread, ipmi_machine: MachineConfig
) -> None:
    with sol_activate(ipmi_machine) as terminal:
        terminal.read_until(b"operational")
        terminal.type(b"root\r")
        switch_on(rack, ipmi_machine)
        assert b"login" not in terminal.read_until(b"Booting from")


def test_a_packet_of_somebody_else_and_a_short_one_are_not_answered(ipmi_machine: MachineConfig) -> None:
    with RmcpClient(ipmi_machine, timeout=0.3).sign_in() as client:
        assert client.keys is not None
        datagram = client.build(0x06, 0x01, b"")
        client.socket.send(datagram)
        client.socket.recv(2048)
        sol = bytearray(client.build(0x06, 0x48, b"\x01\x01\x00\x00\x00\x00"))
        client.socket.send(sol)
        answer = parse(client.socket.recv(2048))
        assert getattr(answer, "payload_type", None) == PayloadType.IPMI
        with RmcpClient(ipmi_machine, timeout=0.3).sign_in() as other:
            assert other.send(0x06, 0x48, b"\x01\x01\x00\x00\x00\x00")[0] == 0x80
            assert other.send(0x06, 0x4A, b"\x01") == (0, b"\x01\x01\x00")
            assert other.send(0x06, 0x49, b"\x01\x01\x00\x00\x00\x00") == (0, b"")
            assert other.send(0x06, 0x49, b"\x01\x01\x00\x00\x00\x00")[0] == 0x80
