"""A small RMCP+ client, for what stock tools cannot be made to do: repeat themselves, vanish, fill all sessions."""

import hashlib
import hmac
import os
import socket
import struct
from types import TracebackType
from typing import Self

from rackhand.sim import rmcp
from rackhand.sim.config import MachineConfig
from rackhand.sim.rmcp import Datagram, Keys, PayloadType

CHASSIS_ON = (0x00, 0x02, b"\x01")
CHASSIS_STATUS = (0x00, 0x01, b"")
SET_ADMIN = (0x06, 0x3B, b"\x04")
CLOSE = (0x06, 0x3C, b"\x00\x00\x00\x00")


class NoSession(Exception):
    """The BMC refused a step of the handshake with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(hex(status))
        self.status = status


class RmcpClient:
    """One session with cipher suite 17, unless it is only opened."""

    def __init__(self, machine: MachineConfig, *, timeout: float = 2) -> None:
        self.machine = machine
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(timeout)
        self.socket.connect((machine.bmc.host, machine.bmc.port))
        self.suite = rmcp.CIPHER_SUITES[1]
        self.remote_id = int.from_bytes(os.urandom(4), "little")
        self.session_id = 0
        self.sequence = 0
        self.requester_sequence = 0
        self.keys: Keys | None = None

    def exchange(self, datagram: bytes) -> Datagram:
        self.socket.send(datagram)
        answer = rmcp.parse(self.socket.recv(2048))
        assert isinstance(answer, Datagram)
        return answer

    def open(self) -> bytes:
        """Do the first step and return its answer."""
        suite = self.suite
        algorithms = b"".join(
            bytes((kind, 0, 0, 8, number, 0, 0, 0))
            for kind, number in enumerate((suite.authentication, suite.integrity, suite.confidentiality))
        )
        request = struct.pack("<BBHI", 7, 0, 0, self.remote_id) + algorithms
        answer = self.exchange(rmcp.wrap(request, PayloadType.OPEN_SESSION_REQUEST)).payload
        if answer[1]:
            raise NoSession(answer[1])
        (self.session_id,) = struct.unpack_from("<I", answer, 8)
        return answer

    def sign_in(self, *, password: str | None = None, role: int = 4, repeat: bool = False) -> Self:
        """Do the whole handshake; a wrong *password* goes on to the last step, as the specification wants.

        With *repeat* each message is sent again with another tag, as FreeIPMI does, and must get the same answer.
        """
        if not self.session_id:
            self.open()
        key = (password or self.machine.bmc.password).encode()
        name = self.machine.bmc.user.encode()
        ours = os.urandom(16)
        named_role = bytes((role, len(name))) + name
        message_1 = struct.pack("<BxxxI", 8, self.session_id) + ours + bytes((role, 0, 0, len(name))) + name
        message_2 = self.step(message_1, PayloadType.RAKP_1, repeat=repeat)
        if message_2[1]:
            raise NoSession(message_2[1])
        theirs = message_2[8:24]
        proof = hmac.digest(key, theirs + struct.pack("<I", self.remote_id) + named_role, hashlib.sha256)
        message_3 = struct.pack("<BBxxI", 9, 0, self.session_id) + proof
        message_4 = self.step(message_3, PayloadType.RAKP_3, repeat=repeat)
        if message_4[1]:
            raise NoSession(message_4[1])
        self.keys = Keys.derive(self.suite, hmac.digest(key, ours + theirs + named_role, hashlib.sha256))
        self.send(*SET_ADMIN)
        return self

    def step(self, message: bytes, kind: PayloadType, *, repeat: bool) -> bytes:
        answer = self.exchange(rmcp.wrap(message, kind)).payload
        assert answer[0] == message[0]
        if repeat:
            again = self.exchange(rmcp.wrap(bytes((message[0] + 100,)) + message[1:], kind)).payload
            assert (again[0], again[1:]) == (message[0] + 100, answer[1:])
        return answer

    def build(self, netfn: int, command: int, data: bytes, *, same_request: bool = False) -> bytes:
        """Return the next datagram of the session; with *same_request* it repeats the last request."""
        assert self.keys is not None
        self.sequence += 1
        if not same_request:
            self.requester_sequence = (self.requester_sequence + 1) % 64
        head = bytes((0x20, netfn << 2))
        body = bytes((0x81, self.requester_sequence << 2, command)) + data
        message = head + bytes((-sum(head) & 0xFF,)) + body + bytes((-sum(body) & 0xFF,))
        return rmcp.seal(message, session_id=self.session_id, sequence=self.sequence, keys=self.keys)

    def send(self, netfn: int, command: int, data: bytes, *, same_request: bool = False) -> tuple[int, bytes]:
        """Send a request and return completion code and data."""
        return self.read(self.exchange(self.build(netfn, command, data, same_request=same_request)))

    def read(self, answer: Datagram) -> tuple[int, bytes]:
        assert self.keys is not None
        message = rmcp.open_payload(answer, self.keys)
        return message[6], message[7:-1]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
