# ruff: noqa: PLR2004  # byte values and offsets of the specification
"""RMCP+ on the wire: datagrams, cipher suites and key exchange as pure functions.

Source of every layout here: IPMI 2.0 specification, revision 1.1, chapter 13.
"""

import hmac
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

RMCP_IPMI = b"\x06\x00\xff\x07"
RMCP_ASF = b"\x06\x00\xff\x06"
ASF_IANA = b"\x00\x00\x11\xbe"
AUTH_NONE = 0x00
AUTH_RMCP_PLUS = 0x06
BLOCK = 16
CONST_1 = b"\x01" * 20
CONST_2 = b"\x02" * 20


class PayloadType(IntEnum):
    """Payload types of table 13-16 that are spoken here."""

    IPMI = 0x00
    SOL = 0x01
    OPEN_SESSION_REQUEST = 0x10
    OPEN_SESSION_RESPONSE = 0x11
    RAKP_1 = 0x12
    RAKP_2 = 0x13
    RAKP_3 = 0x14
    RAKP_4 = 0x15


class Status(IntEnum):
    """RMCP+ status codes, table 13-15."""

    OK = 0x00
    NO_RESOURCES = 0x01
    INVALID_SESSION_ID = 0x02
    INACTIVE_SESSION_ID = 0x08
    INVALID_ROLE = 0x09
    UNAUTHORIZED_ROLE = 0x0A
    UNAUTHORIZED_NAME = 0x0D
    INVALID_INTEGRITY = 0x0F
    NO_CIPHER_SUITE = 0x11
    ILLEGAL_PARAMETER = 0x12


class MalformedError(ValueError):
    """The datagram is not what the specification describes, or its integrity check fails."""


@dataclass(frozen=True)
class CipherSuite:
    """One row of table 22-20; both suites here encrypt with AES-CBC-128."""

    number: int
    authentication: int
    integrity: int
    confidentiality: int
    hash_name: str
    check_length: int

    def hmac(self, key: bytes, message: bytes) -> bytes:
        """Return the whole HMAC of *message*."""
        return hmac.digest(key, message, self.hash_name)

    def check(self, key: bytes, message: bytes) -> bytes:
        """Return the HMAC of *message*, truncated as the suite says."""
        return self.hmac(key, message)[: self.check_length]

    def record(self) -> bytes:
        """Return the suite as Get Channel Cipher Suites lists it, table 22-18."""
        return bytes(
            (0xC0, self.number, self.authentication, 0x40 | self.integrity, 0x80 | self.confidentiality)
        )


CIPHER_SUITES: Final = (
    CipherSuite(3, 0x01, 0x01, 0x01, "sha1", 12),
    CipherSuite(17, 0x03, 0x04, 0x01, "sha256", 16),
)


def find_suite(authentication: int, integrity: int, confidentiality: int) -> CipherSuite | None:
    """Return the suite of these three algorithms, None when it is not spoken here."""
    for suite in CIPHER_SUITES:
        if (suite.authentication, suite.integrity, suite.confidentiality) == (
            authentication,
            integrity,
            confidentiality,
        ):
            return suite
    return None


@dataclass(frozen=True)
class Keys:
    """Keys of a session: K1 for integrity, K2 for confidentiality."""

    suite: CipherSuite
    k1: bytes
    k2: bytes

    @classmethod
    def derive(cls, suite: CipherSuite, session_integrity_key: bytes) -> "Keys":
        """Derive both, section 13.32."""
        return cls(
            suite,
            suite.hmac(session_integrity_key, CONST_1),
            suite.hmac(session_integrity_key, CONST_2)[:BLOCK],
        )


@dataclass(frozen=True)
class Ping:
    """An ASF presence ping."""

    tag: int


@dataclass(frozen=True)
class Datagram:
    """An IPMI datagram, taken apart but not yet opened.

    *version_1* marks the wrapper of IPMI 1.5, which is allowed outside of sessions only. *signed* is what the
    integrity check covers.
    """

    payload: bytes
    payload_type: int = PayloadType.IPMI
    session_id: int = 0
    sequence: int = 0
    encrypted: bool = False
    authenticated: bool = False
    version_1: bool = False
    signed: bytes = b""
    rest: bytes = b""


def parse(data: bytes) -> Ping | Datagram:
    """Take a datagram apart."""
    if data[:4] == RMCP_ASF and len(data) >= 12 and data[4:8] == ASF_IANA and data[8] == 0x80:
        return Ping(data[9])
    if data[:4] != RMCP_IPMI or len(data) < 14:
        raise MalformedError("not RMCP")
    if data[4] == AUTH_NONE:
        sequence, session_id, length = struct.unpack_from("<IIB", data, 5)
        payload = data[14 : 14 + length]
        if len(payload) != length:
            raise MalformedError("cut short")
        return Datagram(payload, session_id=session_id, sequence=sequence, version_1=True)
    if data[4] != AUTH_RMCP_PLUS or len(data) < 16:
        raise MalformedError("unknown authentication type")
    session_id, sequence, length = struct.unpack_from("<IIH", data, 6)
    payload = data[16 : 16 + length]
    if len(payload) != length:
        raise MalformedError("cut short")
    return Datagram(
        payload,
        payload_type=data[5] & 0x3F,
        session_id=session_id,
        sequence=sequence,
        encrypted=bool(data[5] & 0x80),
        authenticated=bool(data[5] & 0x40),
        signed=data[4:],
        rest=data[16 + length :],
    )


def open_payload(datagram: Datagram, keys: Keys) -> bytes:
    """Check the integrity of a session's datagram and return its payload in clear."""
    suite = keys.suite
    if not datagram.authenticated or len(datagram.rest) < suite.check_length + 2:
        raise MalformedError("not authenticated")
    signed, code = datagram.signed[: -suite.check_length], datagram.signed[-suite.check_length :]
    if not hmac.compare_digest(suite.check(keys.k1, signed), code):
        raise MalformedError("integrity check failed")
    if not datagram.encrypted:
        return datagram.payload
    vector, secret = datagram.payload[:BLOCK], datagram.payload[BLOCK:]
    if not secret or len(secret) % BLOCK:
        raise MalformedError("not whole blocks")
    decryptor = Cipher(algorithms.AES(keys.k2), modes.CBC(vector)).decryptor()
    clear = decryptor.update(secret) + decryptor.finalize()
    padding = clear[-1]
    if padding >= BLOCK:
        raise MalformedError("bad padding")
    return clear[: -1 - padding]


def seal(
    message: bytes,
    *,
    session_id: int,
    sequence: int,
    keys: Keys,
    payload_type: PayloadType = PayloadType.IPMI,
) -> bytes:
    """Return an encrypted and authenticated datagram with an IPMI message, or another payload, in it."""
    padding = -(len(message) + 1) % BLOCK
    clear = message + bytes(range(1, padding + 1)) + bytes((padding,))
    vector = os.urandom(BLOCK)
    encryptor = Cipher(algorithms.AES(keys.k2), modes.CBC(vector)).encryptor()
    payload = vector + encryptor.update(clear) + encryptor.finalize()
    head = struct.pack("<BBIIH", AUTH_RMCP_PLUS, 0xC0 | payload_type, session_id, sequence, len(payload))
    signed = head + payload
    integrity_padding = -(len(signed) + 2) % 4
    signed += b"\xff" * integrity_padding + bytes((integrity_padding, 0x07))
    return RMCP_IPMI + signed + keys.suite.check(keys.k1, signed)


def wrap(payload: bytes, payload_type: PayloadType) -> bytes:
    """Return a datagram outside of any session, in the wrapper of IPMI 2.0."""
    return RMCP_IPMI + struct.pack("<BBIIH", AUTH_RMCP_PLUS, payload_type, 0, 0, len(payload)) + payload


def wrap_version_1(message: bytes) -> bytes:
    """Return a datagram outside of any session, in the wrapper of IPMI 1.5."""
    return RMCP_IPMI + struct.pack("<BIIB", AUTH_NONE, 0, 0, len(message)) + message


def pong(ping: Ping) -> bytes:
    """Answer a presence ping: IPMI is supported, section 13.2.4."""
    body = ASF_IANA + b"\x00\x00\x00\x00" + b"\x81\x00" + b"\x00" * 6
    return RMCP_ASF + ASF_IANA + bytes((0x40, ping.tag, 0x00, len(body))) + body


@dataclass(frozen=True)
class Request:
    """An IPMI request message, section 13.8."""

    netfn: int
    command: int
    data: bytes
    requester: int
    requester_sequence: int
    responder: int

    def answer(self, code: int, data: bytes = b"") -> bytes:
        """Return the response message with completion code *code*."""
        head = bytes((self.requester, (self.netfn | 1) << 2 | self.requester_sequence & 0x03))
        body = bytes((self.responder, self.requester_sequence & 0xFC, self.command, code)) + data
        return head + _checksum(head) + body + _checksum(body)


def parse_request(message: bytes) -> Request:
    """Take an IPMI request message apart."""
    if len(message) < 7 or _checksum(message[:2]) != message[2:3] or _checksum(message[3:-1]) != message[-1:]:
        raise MalformedError("bad IPMI message")
    return Request(
        netfn=message[1] >> 2,
        command=message[5],
        data=message[6:-1],
        requester=message[3],
        requester_sequence=message[4],
        responder=message[0],
    )


def _checksum(data: bytes) -> bytes:
    return bytes((-sum(data) & 0xFF,))
