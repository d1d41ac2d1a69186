"""SNMP version 3 as a client speaks it: messages that are signed and encrypted by a user's passwords.

User-based Security Model: RFC 3412 and 3414, AES RFC 3826, SHA-2 RFC 7860. Longer AES keys than the digest gives are
made as in draft-blumenthal-aes-usm-04 or, on Cisco's devices, as in draft-reeder-snmpv3-usm-3desede-00.
"""

import hashlib
import hmac
import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from rackhand.hardware.snmp_message import (
    OCTETS,
    REPORT,
    SEQUENCE,
    Index,
    Malformed,
    Pdu,
    Reader,
    integer,
    item,
)

VERSION_3 = 3
SECURITY_MODEL = 3
LARGEST_MESSAGE = 65507
SALT_OCTETS = 8
AUTHENTICATED, PRIVATE, REPORTABLE = 1, 2, 4
WINDOW_SECONDS = 150
LARGEST_BOOTS = 2**31 - 1
PASSWORD_OCTETS = 1_048_576

# usmStats: what an engine reports instead of an answer.
REPORTS: dict[Index, str] = {
    (1, 3, 6, 1, 6, 3, 15, 1, 1, number, 0): word
    for number, word in enumerate(
        (
            "unsupportedSecurityLevel",
            "notInTimeWindow",
            "unknownUserName",
            "unknownEngineID",
            "wrongDigest",
            "decryptionError",
        ),
        start=1,
    )
}


@dataclass(frozen=True)
class Digest:
    """An authentication protocol: its hash, and how many octets of the HMAC travel."""

    name: str
    octets: int


DIGESTS = {
    "SHA": Digest("sha1", 12),
    "SHA-224": Digest("sha224", 16),
    "SHA-256": Digest("sha256", 24),
    "SHA-384": Digest("sha384", 32),
    "SHA-512": Digest("sha512", 48),
}
Extend = Callable[[bytes, bytes, str], bytes]  # a key, the engine and the hash: a longer key


@dataclass(frozen=True)
class CipherKind:
    """A privacy protocol: the length of its key, and how a key that is too short is made longer."""

    key_octets: int
    extend: Extend


@dataclass
class Engine:
    """What is known of the device's engine; *clock* is what its clock showed at the moment *seen* of ours."""

    id: bytes = b""
    boots: int = 0
    clock: int = 0
    seen: float = field(default_factory=time.monotonic)

    def now(self) -> int:
        """Return the engine's clock now."""
        return self.clock + int(time.monotonic() - self.seen)


class User:
    """A user at one device: seals requests and opens answers. Passwords are kept as given, keys per engine."""

    def __init__(
        self,
        name: str,
        *,
        digest: Digest | None = None,
        password: bytes = b"",
        cipher: CipherKind | None = None,
        cipher_password: bytes = b"",
    ) -> None:
        """Without a *digest* nothing is signed, without a *cipher* nothing is encrypted."""
        self._name = name.encode()
        self._digest = digest
        self._password = password
        self._cipher = cipher
        self._cipher_password = cipher_password
        self._key = self._cipher_key = b""
        self._salts = itertools.count(secrets.randbits(64))
        self._knows_clock = False  # what an unsigned report says of it is a guess
        self.engine = Engine()

    def meet(self, engine: Engine) -> None:
        """Learn which engine it is, and make the keys for it: 5 ms."""
        self.engine, self._knows_clock = engine, False
        if self._digest is not None:
            self._key = localized_key(self._password, engine.id, self._digest.name)
            if self._cipher is not None:
                key = localized_key(self._cipher_password, engine.id, self._digest.name)
                while len(key) < self._cipher.key_octets:
                    key += self._cipher.extend(key, engine.id, self._digest.name)
                self._cipher_key = key[: self._cipher.key_octets]

    def seal(self, message_id: int, request: bytes) -> bytes:
        """Return a message for the engine."""
        engine = self.engine
        boots, clock = (engine.boots, engine.now()) if self._digest else (0, 0)
        flags = REPORTABLE | (AUTHENTICATED if self._digest else 0) | (PRIVATE if self._cipher else 0)
        body = item(SEQUENCE, item(OCTETS, engine.id) + item(OCTETS, b"") + request)
        salt = b""
        if self._cipher:
            salt = (next(self._salts) % 2**64).to_bytes(SALT_OCTETS)
            body = item(OCTETS, self._crypt(body, boots, clock, salt, decrypt=False))
        return _message(message_id, flags, engine.id, boots, clock, self._name, salt, body, self._sign)

    def open(self, data: bytes) -> tuple[int, Pdu]:
        """Return the message's number and its PDU; raise `Malformed` for what is not for us or not genuine.

        A report may come unsigned, for an engine cannot sign for a user that it does not know, and from another
        engine, which has come in place of ours; only a signed message sets the engine's clock.
        """
        message = _read(data)
        if message.engine.id != self.engine.id:
            if (
                message.flags & (AUTHENTICATED | PRIVATE)
                or word_of(pdu := _scoped_pdu(message.body)) != "unknownEngineID"
            ):
                raise Malformed("of another engine")
            return message.number, pdu
        if message.flags & AUTHENTICATED and self._digest:
            if message.user != self._name:
                raise Malformed("for another user")
            start, end = message.signature
            unsigned = data[:start] + bytes(end - start) + data[end:]
            if not hmac.compare_digest(self._sign(unsigned), data[start:end]):
                raise Malformed("a wrong signature")
            self._keep_time(message.engine)
        body = message.body
        if message.flags & PRIVATE:
            if not (self._cipher and message.flags & AUTHENTICATED and len(message.salt) == SALT_OCTETS):
                raise Malformed("encrypted and not signed, or without a salt")
            engine, encrypted = message.engine, body.octets()
            body = Reader(self._crypt(encrypted, engine.boots, engine.clock, message.salt, decrypt=True))
        pdu = _scoped_pdu(body)
        wanted = (AUTHENTICATED if self._digest else 0) | (PRIVATE if self._cipher else 0)
        if pdu.kind != REPORT and message.flags & wanted != wanted:
            raise Malformed("an answer with less security than was asked for")
        return message.number, pdu

    def _keep_time(self, engine: Engine) -> None:
        """Take over the engine's clock; raise `Malformed` for a message of the past (RFC 3414, 3.2, 7b)."""
        mine = self.engine
        past = (engine.boots, engine.clock) < (mine.boots, mine.now() - WINDOW_SECONDS)
        if self._knows_clock and past:
            raise Malformed("a message of the past")
        self.engine, self._knows_clock = engine, True

    def _sign(self, message: bytes) -> bytes:
        if self._digest is None:
            return b""
        return hmac.digest(self._key, message, self._digest.name)[: self._digest.octets]

    def _crypt(self, text: bytes, boots: int, clock: int, salt: bytes, *, decrypt: bool) -> bytes:
        vector = boots.to_bytes(4) + clock.to_bytes(4) + salt
        cipher = Cipher(AES(self._cipher_key), CFB(vector))
        context = cipher.decryptor() if decrypt else cipher.encryptor()
        return context.update(text) + context.finalize()


def discovery(message_id: int, request: bytes) -> bytes:
    """Return the message that makes an engine report who it is (RFC 3414, section 4)."""
    body = item(SEQUENCE, item(OCTETS, b"") + item(OCTETS, b"") + request)
    return _message(message_id, REPORTABLE, b"", 0, 0, b"", b"", body, lambda _message: b"")


def discovered(data: bytes) -> tuple[int, Engine]:
    """Return the number of a report, and the engine that sent it."""
    message = _read(data)
    if message.flags & PRIVATE or not word_of(_scoped_pdu(message.body)) or not message.engine.id:
        raise Malformed("no report")
    return message.number, message.engine


def word_of(pdu: Pdu) -> str:
    """Return what a report says, "" when *pdu* is none."""
    if pdu.kind != REPORT:
        return ""
    return REPORTS.get(pdu.pairs[0][0], "an unknown report") if pdu.pairs else "an empty report"


def localized_key(password: bytes, engine: bytes, digest: str) -> bytes:
    """Return a user's key for one engine (RFC 3414, A.2)."""
    repeated = password * (PASSWORD_OCTETS // len(password) + 1)
    master = hashlib.new(digest, repeated[:PASSWORD_OCTETS]).digest()
    return hashlib.new(digest, master + engine + master).digest()


def extend_as_blumenthal(key: bytes, _engine: bytes, digest: str) -> bytes:
    """Return the hash of the key."""
    return hashlib.new(digest, key).digest()


def extend_as_cisco(key: bytes, engine: bytes, digest: str) -> bytes:
    """Return the key of the key as a password."""
    return localized_key(key, engine, digest)


CIPHERS = {
    "AES": CipherKind(16, extend_as_blumenthal),
    "AES-192": CipherKind(24, extend_as_blumenthal),
    "AES-256": CipherKind(32, extend_as_blumenthal),
    "AES-192-Cisco": CipherKind(24, extend_as_cisco),
    "AES-256-Cisco": CipherKind(32, extend_as_cisco),
}


@dataclass(frozen=True)
class _Message:
    number: int
    flags: int
    engine: Engine
    user: bytes
    signature: tuple[int, int]  # where it stands
    salt: bytes
    body: Reader


def _message(
    number: int,
    flags: int,
    engine: bytes,
    boots: int,
    clock: int,
    user: bytes,
    salt: bytes,
    body: bytes,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """Put a message together with zeros for the signature, sign it, and put the signature in their place."""
    size = len(sign(b""))
    head = (
        integer(number) + integer(LARGEST_MESSAGE) + item(OCTETS, bytes((flags,))) + integer(SECURITY_MODEL)
    )
    before = item(OCTETS, engine) + integer(boots) + integer(clock) + item(OCTETS, user)
    after = item(OCTETS, salt)
    security = item(OCTETS, item(SEQUENCE, before + item(OCTETS, bytes(size)) + after))
    message = item(SEQUENCE, integer(VERSION_3) + item(SEQUENCE, head) + security + body)
    end = len(message) - len(body) - len(after)
    return message[: end - size] + sign(message) + message[end:]


def _read(data: bytes) -> _Message:
    message = Reader(data).inside(SEQUENCE)
    if message.number() != VERSION_3:
        raise Malformed("another version")
    head = message.inside(SEQUENCE)
    number, _ = head.number(), head.number()
    flags = head.octets()
    if len(flags) != 1 or head.number() != SECURITY_MODEL:
        raise Malformed("another security model")
    security = message.inside(OCTETS).inside(SEQUENCE)
    engine = Engine(security.octets(), security.number(), security.number())
    user = security.octets()
    _, *signature = security.head()
    salt = security.octets()
    if not (0 <= engine.boots <= LARGEST_BOOTS and 0 <= engine.clock <= LARGEST_BOOTS):
        raise Malformed("no clock")
    return _Message(number, flags[0], engine, user, (signature[0], signature[1]), salt, message)


def _scoped_pdu(body: Reader) -> Pdu:
    scoped = body.inside(SEQUENCE)
    scoped.octets()
    scoped.octets()
    return scoped.pdu()
