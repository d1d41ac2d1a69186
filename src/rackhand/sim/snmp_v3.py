"""SNMPv3 for one agent: messages signed and encrypted by the user-based security model (RFC 3412, RFC 3414).

One user, who must sign and encrypt; HMAC-SHA-1 (RFC 3414) or HMAC-SHA-2 (RFC 7860), and AES-128 (RFC 3826).
"""

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from rackhand.sim import ber
from rackhand.sim.ber import Oid, Reader
from rackhand.sim.config import AuthProtocol, SnmpUser

VERSION_3: Final = 3
USER_BASED: Final = 3  # security model
SIGNED, ENCRYPTED, REPORTABLE = 1, 2, 4  # message flags
REPORT: Final = 0xA8
LARGEST_MESSAGE: Final = 65_507
TIME_WINDOW_SECONDS: Final = 150
KEY_BYTES: Final = 2**20  # RFC 3414 section A.2: a password is repeated to this length
AES_BYTES: Final = 16
ENTERPRISE: Final = 32473  # for documentation, RFC 5612
MAC_FORMAT: Final = 3  # of an engine id, RFC 3411 section 5

# Hash, and how many bytes of the signature are sent.
DIGESTS: Final[dict[AuthProtocol, tuple[str, int]]] = {
    AuthProtocol.SHA: ("sha1", 12),
    AuthProtocol.SHA_256: ("sha256", 24),
    AuthProtocol.SHA_512: ("sha512", 48),
}


class Stat(Enum):
    """Counters of usmStats, which say in a report what is wrong with a message."""

    UNSUPPORTED_LEVEL = 1
    NOT_IN_TIME_WINDOW = 2
    UNKNOWN_USER = 3
    UNKNOWN_ENGINE = 4
    WRONG_DIGEST = 5
    DECRYPTION_ERROR = 6

    @property
    def oid(self) -> Oid:
        """The counter's object, with its instance."""
        return (1, 3, 6, 1, 6, 3, 15, 1, 1, self.value, 0)


@dataclass(frozen=True)
class _Message:
    """A message as it came; *data* is the scoped PDU, or the encrypted one when *is_encrypted*."""

    id: int
    flags: int
    engine_id: bytes
    boots: int
    time: int
    user: bytes
    signature: bytes
    salt: bytes
    data: bytes
    is_encrypted: bool


class _Bad(Exception):
    """The message is answered with a report; *signed* when its sender is known."""

    def __init__(self, stat: Stat, *, signed: bool = False) -> None:
        super().__init__(stat.name)
        self.stat = stat
        self.signed = signed


class SecureEngine:
    """An SNMPv3 engine. Its clock runs in real time: a client's window is 150 s however fast the rack runs."""

    def __init__(self, user: SnmpUser | None, mac: str) -> None:
        self.id = (
            (ENTERPRISE | 1 << 31).to_bytes(4, "big")
            + bytes((MAC_FORMAT,))
            + bytes.fromhex(mac.replace(":", ""))
        )
        self._user = user
        self._stats = dict.fromkeys(Stat, 0)
        self._boots = 0
        self._started_at = 0.0
        self.restart()

    def restart(self) -> None:
        """Start anew. The number of starts must never fall, also not when the rack is started anew: it is a time."""
        self._boots = max(self._boots + 1, int(time.time()))
        self._started_at = time.monotonic()

    def reply(
        self, datagram: bytes, rest: Reader, respond: Callable[[Reader], bytes], *, knows_user: bool
    ) -> bytes | None:
        """Return the answer to *datagram*, of which *rest* follows the version.

        *respond* is called with a PDU that may be answered and done. Without *knows_user* no signature is right.
        """
        message = _read(rest)
        if message is None:
            return None
        try:
            scoped = self._open(message, datagram, knows_user=knows_user)
        except _Bad as bad:
            return self._report(message, bad) if message.flags & REPORTABLE else None
        context_engine, context_name = scoped.octets(), scoped.octets()
        answer = ber.sequence(ber.octets(context_engine), ber.octets(context_name), respond(scoped))
        return self._send(message, answer, SIGNED | ENCRYPTED)

    def _open(self, message: _Message, datagram: bytes, *, knows_user: bool) -> Reader:
        """Return a reader of the scoped PDU, or raise what is wrong, in the order of RFC 3414 section 3.2."""
        user = self._user
        if message.engine_id != self.id:
            raise _Bad(Stat.UNKNOWN_ENGINE)
        if user is None or message.user != user.name.encode():
            raise _Bad(Stat.UNKNOWN_USER)
        if message.flags & (SIGNED | ENCRYPTED) != SIGNED | ENCRYPTED:
            raise _Bad(Stat.UNSUPPORTED_LEVEL)
        digest, size = DIGESTS[user.auth]
        # The signature is the first thing in the message that looks like it: it is as long as a hash.
        unsigned = datagram.replace(message.signature, bytes(size), 1)
        right = hmac.digest(self._key(user.auth_password), unsigned, digest)[:size]
        if not knows_user or not hmac.compare_digest(message.signature, right):
            raise _Bad(Stat.WRONG_DIGEST)
        if message.boots != self._boots or abs(message.time - self._seconds) > TIME_WINDOW_SECONDS:
            raise _Bad(Stat.NOT_IN_TIME_WINDOW, signed=True)
        if not message.is_encrypted or len(message.salt) != AES_BYTES // 2:
            raise _Bad(Stat.DECRYPTION_ERROR)
        cipher = self._cipher(user, message.boots, message.time, message.salt).decryptor()
        try:
            return Reader(cipher.update(message.data) + cipher.finalize()).inside()
        except ber.MalformedError as error:
            raise _Bad(Stat.DECRYPTION_ERROR) from error

    def _report(self, message: _Message, bad: _Bad) -> bytes:
        self._stats[bad.stat] += 1
        count = ber.integer(self._stats[bad.stat], ber.COUNTER32)
        report = ber.sequence(
            ber.integer(_request_id(message)),
            ber.integer(0),
            ber.integer(0),
            ber.sequence(ber.sequence(ber.object_id(bad.stat.oid), count)),
            tag=REPORT,
        )
        scoped = ber.sequence(ber.octets(self.id), ber.octets(b""), report)
        return self._send(message, scoped, SIGNED if bad.signed else 0)

    def _send(self, to: _Message, scoped: bytes, flags: int) -> bytes:
        user, salt, size = self._user, b"", 0
        seconds = self._seconds
        if user is not None and flags & SIGNED:
            size = DIGESTS[user.auth][1]
        if user is not None and flags & ENCRYPTED:
            salt = os.urandom(AES_BYTES // 2)
            cipher = self._cipher(user, self._boots, seconds, salt).encryptor()
            scoped = ber.octets(cipher.update(scoped) + cipher.finalize())
        header = ber.sequence(
            ber.integer(to.id),
            ber.integer(LARGEST_MESSAGE),
            ber.octets(bytes((flags,))),
            ber.integer(USER_BASED),
        )

        def whole(signature: bytes) -> bytes:
            security = ber.sequence(
                ber.octets(self.id),
                ber.integer(self._boots),
                ber.integer(seconds),
                ber.octets(to.user),
                ber.octets(signature),
                ber.octets(salt),
            )
            return ber.sequence(ber.integer(VERSION_3), header, ber.octets(security), scoped)

        if user is None or not size:
            return whole(b"")
        digest = DIGESTS[user.auth][0]
        return whole(hmac.digest(self._key(user.auth_password), whole(bytes(size)), digest)[:size])

    @property
    def _seconds(self) -> int:
        return int(time.monotonic() - self._started_at)

    def _key(self, password: str) -> bytes:
        assert self._user is not None  # noqa: S101  # asked for by those who have one
        return _localized_key(password, DIGESTS[self._user.auth][0], self.id)

    def _cipher(self, user: SnmpUser, boots: int, seconds: int, salt: bytes) -> Cipher[CFB]:
        start = boots.to_bytes(4, "big") + seconds.to_bytes(4, "big") + salt
        return Cipher(AES(self._key(user.privacy_password)[:AES_BYTES]), CFB(start))


def _read(rest: Reader) -> _Message | None:
    header = rest.inside()
    message_id, _size, flags, model = header.integer(), header.integer(), header.octets(), header.integer()
    if model != USER_BASED or len(flags) != 1:
        return None
    security = Reader(rest.octets()).inside()
    engine_id, boots, seconds = security.octets(), security.integer(), security.integer()
    user, signature, salt = security.octets(), security.octets(), security.octets()
    if not 0 <= boots < 2**31 or not 0 <= seconds < 2**31:
        return None
    data = rest.value()
    is_encrypted = data.tag == ber.OCTETS
    content = data.content
    return _Message(
        message_id, flags[0], engine_id, boots, seconds, user, signature, salt, content, is_encrypted
    )


def _request_id(message: _Message) -> int:
    """Return the request's number when it can be read, RFC 3412 section 7.1 (3)."""
    if message.is_encrypted:
        return 0
    scoped = Reader(message.data)
    scoped.octets(), scoped.octets()
    return Reader(scoped.value().content).integer()


@lru_cache(1024)
def _localized_key(password: str, digest: str, engine_id: bytes) -> bytes:
    """Return the key of a user at one engine, RFC 3414 section 2.6."""
    secret = password.encode()
    repeated = (secret * (KEY_BYTES // len(secret) + 1))[:KEY_BYTES]
    key = hashlib.new(digest, repeated).digest()
    return hashlib.new(digest, key + engine_id + key).digest()
