"""The one way to speak SNMP: read values, walk tables, set values; v2c and v3.

The messages are our own. gufo-snmp (0.13.0) takes an answer with an error status for the end of the table, so that a
truncated one looks whole; pysnmp (7.1) needs 0.1 ms of processor time for a value and 0.15 s and a megabyte for each
device that speaks version 3, in the event loop. docs/decisions/0014 has the figures.
"""

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from rackhand.hardware.errors import AuthFailed, HardwareError, Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import Endpoint
from rackhand.hardware.snmp_message import (
    GAUGE32,
    GET,
    GET_BULK,
    INTEGER,
    OCTETS,
    REPORT,
    SET,
    UNSET,
    Index,
    Malformed,
    Pdu,
    Value,
    integer,
    item,
    message_2c,
    pdu,
    read_2c,
)
from rackhand.hardware.snmp_usm import CIPHERS, DIGESTS, Engine, User, discovered, discovery, word_of

Found = TypeVar("Found")

# RFC 3416: the error-status of an answer, in the order of its numbers.
STATUS = (
    "noError", "tooBig", "noSuchName", "badValue", "readOnly", "genErr", "noAccess", "wrongType", "wrongLength",
    "wrongEncoding", "wrongValue", "noCreation", "inconsistentValue", "resourceUnavailable", "commitFailed",
    "undoFailed", "authorizationError", "notWritable", "inconsistentName",
)  # fmt: skip
STATUS_ERRORS: dict[str, type[HardwareError]] = {  # every other one is a refusal
    "noSuchName": Unsupported,
    "noCreation": Unsupported,
    "genErr": Timeout,  # what busy agents answer
    "resourceUnavailable": Timeout,
}
# Reports of version 3 (RFC 3414) which a second try with what the report taught cannot cure.
REPORT_ERRORS: dict[str, type[HardwareError]] = {
    "unsupportedSecurityLevel": AuthFailed,
    "unknownUserName": AuthFailed,
    "wrongDigest": AuthFailed,
    "decryptionError": AuthFailed,
    "notInTimeWindow": Timeout,
    "unknownEngineID": Timeout,
}
TRIES_AFTER_REPORT = 3  # a request is sent again after a report that tells the engine's clock or a new engine


class Syntax(Enum):
    """How the value of an object travels in a SET."""

    INTEGER = INTEGER
    UNSIGNED = GAUGE32
    OCTETS = OCTETS


@dataclass(frozen=True)
class Instance:
    """One value of a device: an object of a MIB and the row."""

    mib_object: "MibObject"
    index: Index

    def __str__(self) -> str:
        return ".".join([self.mib_object.name, *map(str, self.index)])

    @property
    def numbers(self) -> Index:
        """Its object identifier."""
        return *self.mib_object.numbers, *self.index


@dataclass(frozen=True)
class MibObject:
    """An object of a MIB: a scalar, or a column of a table."""

    name: str
    oid: str
    syntax: Syntax = Syntax.INTEGER

    @functools.cached_property
    def numbers(self) -> Index:
        """Its object identifier."""
        return tuple(int(part) for part in self.oid.split("."))

    def at(self, *index: int) -> Instance:
        """Name the value in row *index*; a scalar's is 0."""
        return Instance(self, index)


SYS_DESCR = MibObject("SNMPv2-MIB::sysDescr", "1.3.6.1.2.1.1.1")
SYS_OBJECT_ID = MibObject("SNMPv2-MIB::sysObjectID", "1.3.6.1.2.1.1.2")


@dataclass(frozen=True)
class Assignment:
    """A value to set; *word* is what the MIB calls it. `str()` is the line of a dry run."""

    instance: Instance
    value: int | bytes
    word: str = ""

    def __str__(self) -> str:
        if isinstance(self.value, bytes):
            shown = f"0x{self.value.hex()}"
        else:
            shown = f"{self.word}({self.value})" if self.word else str(self.value)
        return f"SET {self.instance} = {shown}"


class SnmpSettings(BaseModel):
    """How SNMP is spoken. Version 2c: the password of the access is the community for reading.

    Version 3: user and password of the access are the user and the password of authentication.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal["2c", "3"] = Field(
        "2c",
        description="SNMP version; with 2c the password is the community for reading, and everybody on the"
        " network can read along.",
    )
    write_community: SecretStr = Field(
        SecretStr(""),
        description="Version 2c: community for changes; empty: the one for reading.",
    )
    authentication: Literal["none", "SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512"] = Field(
        "SHA", description="Version 3: digest of the authentication; its password is that of the access."
    )
    privacy: Literal["none", "AES", "AES-192", "AES-256", "AES-192-Cisco", "AES-256-Cisco"] = Field(
        "none", description="Version 3: cipher; `-Cisco` for devices that make the long keys as Cisco does."
    )
    privacy_password: SecretStr = Field(
        SecretStr(""), description="Version 3: password of the cipher; empty: that of the access."
    )
    timeout_seconds: float = Field(
        2.0, ge=0.5, le=60, description="Seconds until an unanswered request counts as lost."
    )
    retries: int = Field(
        2, ge=0, le=10, description="How often a lost question is repeated; changes never are."
    )
    bulk_size: int = Field(
        40,
        ge=1,
        le=400,
        description="Values asked for at once; fewer for devices that choke on long answers.",
    )

    @model_validator(mode="after")
    def _cipher_needs_digest(self) -> Self:
        if self.privacy != "none" and self.authentication == "none":
            raise ValueError("privacy needs an authentication")
        return self


class SnmpClient:
    """A device that speaks SNMP; one request at a time."""

    def __init__(self, endpoint: Endpoint, settings: SnmpSettings, *, noun: str) -> None:
        """Take where to ask; *noun* is what messages call the device.

        Raise `ValueError` when v3 lacks user or password.
        """
        self.who = f"The {noun} at {endpoint.address}"
        self._endpoint = endpoint
        self._settings = settings
        self._requests = itertools.count(secrets.randbelow(2**30))
        self._speech: _Speech = (
            _Version3(endpoint, settings) if settings.version == "3" else _Version2c(endpoint, settings)
        )
        self._wire: _Wire | None = None

    async def get(self, *instances: Instance) -> list[Value | None]:
        """Return the value of each, None where the device has none."""
        asked = [instance.numbers for instance in instances]
        answer = await self._ask(GET, [(numbers, UNSET) for numbers in asked])
        if [numbers for numbers, _ in answer] != asked:
            raise Refused(
                f"{self.who} answers with something else than {instances[0]} and what else was asked for."
            )
        return [value for _, value in answer]

    async def walk(self, *columns: MibObject) -> tuple[dict[Index, Value], ...]:
        """Return the values of each column by row; empty where the device has no such table."""
        found: tuple[dict[Index, Value], ...] = tuple({} for _ in columns)
        bases = [column.numbers for column in columns]
        last = dict(enumerate(bases))  # of the columns that have not come to their end
        while last:
            asked = tuple(last)
            rows = max(1, self._settings.bulk_size // len(asked))
            answer = await self._ask(GET_BULK, [(numbers, UNSET) for numbers in last.values()], rows=rows)
            if not answer:
                raise Refused(f"{self.who} answers with nothing where a table was asked for.")
            for place, (numbers, value) in enumerate(answer):
                column = asked[place % len(asked)]
                if column not in last:
                    continue
                base = bases[column]
                if value is None or numbers[: len(base)] != base:
                    del last[column]
                elif numbers <= last[column]:
                    raise Refused(f"{self.who} walks in circles in {columns[column].name}.")
                else:
                    found[column][numbers[len(base) :]] = value
                    last[column] = numbers
        return found

    async def set(self, assignment: Assignment) -> None:
        """Send one change, once: after a `Timeout` nobody knows whether it was made, so read it back."""
        value = assignment.value
        tag = assignment.instance.mib_object.syntax.value
        written = item(tag, value) if isinstance(value, bytes) else integer(value, tag)
        await self._ask(SET, [(assignment.instance.numbers, written)], change=assignment)

    async def close(self) -> None:
        """Give back the socket; SNMP has no sessions that a device would know of."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def _ask(
        self,
        kind: int,
        pairs: Sequence[tuple[Index, bytes]],
        *,
        rows: int = 0,
        change: Assignment | None = None,
    ) -> list[tuple[Index, Value | None]]:
        """Send one request and return the pairs of its answer; raise what the device says, or its silence."""
        if self._wire is None:
            self._wire = await self._open()
        number = next(self._requests) % 2**31
        sender = _Sender(
            self._wire, self._settings.timeout_seconds, 1 if change else self._settings.retries + 1
        )
        answer = await self._speech.ask(
            sender, number, pdu(kind, number, pairs, rows=rows), is_change=bool(change)
        )
        if answer is None:
            await self.close()  # the name may stand for another address by now
            silence = f"a wrong {self._speech.silent_secret} looks the same"
            if change is not None:
                raise Timeout(
                    f"{self.who} did not answer `{change}`: it may have been done or not; {silence}."
                )
            raise Unreachable(f"{self.who} gives no answer; {silence}.")
        if word := word_of(answer):
            error = REPORT_ERRORS.get(word, Refused)
            if error is AuthFailed:
                raise AuthFailed(f"{self.who} refused the user {self._endpoint.user!r}: {word}.")
            raise error(f"{self.who} reports {word}.")
        if answer.error_status:
            known = answer.error_status < len(STATUS)
            word = STATUS[answer.error_status] if known else f"error {answer.error_status}"
            place = answer.error_index - 1 if 0 < answer.error_index <= len(pairs) else 0
            about = str(change) if change else f"GET {'.'.join(map(str, pairs[place][0]))}"
            raise STATUS_ERRORS.get(word, Refused)(f"{self.who} answers {word} to `{about}`.")
        return answer.pairs

    async def _open(self) -> "_Wire":
        where = self._endpoint.host, self._endpoint.port
        try:
            _, wire = await asyncio.get_running_loop().create_datagram_endpoint(_Wire, remote_addr=where)
        except OSError as error:
            raise Unreachable(f"{self.who} cannot be reached: {error.strerror or error}.") from error
        return wire


class _Wire(asyncio.DatagramProtocol):
    """A UDP socket to one device."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._take: Callable[[bytes], None] = lambda _data: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002
        self._take(data)

    def error_received(self, exc: Exception) -> None:
        """Take a closed port for silence: an agent that restarts has none for a moment."""

    async def exchange(self, data: bytes, read: Callable[[bytes], Found], seconds: float) -> Found | None:
        """Send, and return what *read* makes of the first answer that it does not find `Malformed`."""
        if self._transport is None:
            raise AssertionError
        answered: asyncio.Future[Found] = asyncio.get_running_loop().create_future()

        def take(data: bytes) -> None:
            with contextlib.suppress(Malformed):  # late, forged or broken: the right one may follow
                found = read(data)
                if not answered.done():
                    answered.set_result(found)

        self._take = take
        self._transport.sendto(data)
        try:
            async with asyncio.timeout(seconds):
                return await answered
        except TimeoutError:
            return None
        finally:
            self._take = lambda _data: None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass(frozen=True)
class _Sender:
    """How one request is sent: *tries* times, each with its own patience."""

    wire: _Wire
    seconds: float
    tries: int

    async def send(self, make: Callable[[], bytes], read: Callable[[bytes], Found]) -> Found | None:
        """Return the answer, or None after silence."""
        for _ in range(self.tries):
            answer = await self.wire.exchange(make(), read, self.seconds)
            if answer is not None:
                return answer
        return None


class _Speech(Protocol):
    """A version of SNMP."""

    silent_secret: str  # the secret that is refused with silence

    async def ask(self, sender: _Sender, number: int, request: bytes, *, is_change: bool) -> Pdu | None:
        """Return the answer to the request with this number, or a report; None after silence."""


class _Version2c:
    silent_secret = "community"  # noqa: S105

    def __init__(self, endpoint: Endpoint, settings: SnmpSettings) -> None:
        self._reading = endpoint.password.encode()
        self._writing = settings.write_community.get_secret_value().encode() or self._reading

    async def ask(self, sender: _Sender, number: int, request: bytes, *, is_change: bool) -> Pdu | None:
        message = message_2c(self._writing if is_change else self._reading, request)

        def read(data: bytes) -> Pdu:
            answer = read_2c(data)
            if answer.request_id != number:
                raise Malformed("late")
            return answer

        return await sender.send(lambda: message, read)


class _Version3:
    silent_secret = "password of the cipher"  # noqa: S105

    def __init__(self, endpoint: Endpoint, settings: SnmpSettings) -> None:
        if not endpoint.user:
            raise ValueError("SNMP version 3 needs a user")
        if settings.authentication != "none" and not endpoint.password:
            raise ValueError("SNMP version 3 with authentication needs a password")
        password = endpoint.password.encode()
        self._user = User(
            endpoint.user,
            digest=DIGESTS.get(settings.authentication),
            password=password,
            cipher=CIPHERS.get(settings.privacy),
            cipher_password=settings.privacy_password.get_secret_value().encode() or password,
        )
        self._numbers = itertools.count(secrets.randbelow(2**30))
        self._tries = settings.retries + 1

    async def ask(self, sender: _Sender, number: int, request: bytes, *, is_change: bool) -> Pdu | None:  # noqa: ARG002
        """Meet the engine if it is new, and send again what it did not take because of its clock or its id."""
        answer: Pdu | None = None
        for _ in range(TRIES_AFTER_REPORT):
            if not self._user.engine.id and not await self._meet(sender):
                return None
            answer = await self._send(sender, number, request)
            word = word_of(answer) if answer else ""
            if answer is None or word == "unknownEngineID":
                self._user.engine = Engine()  # another device may stand there
            if word not in {"unknownEngineID", "notInTimeWindow"}:
                break
        return answer

    async def _send(self, sender: _Sender, number: int, request: bytes) -> Pdu | None:
        sent: set[int] = set()

        def make() -> bytes:
            sent.add(message := next(self._numbers) % 2**31)
            return self._user.seal(message, request)

        def read(data: bytes) -> Pdu:
            message, answer = self._user.open(data)
            if message not in sent or (answer.kind != REPORT and answer.request_id != number):
                raise Malformed("late")
            return answer

        return await sender.send(make, read)

    async def _meet(self, sender: _Sender) -> bool:
        message = next(self._numbers) % 2**31

        def read(data: bytes) -> Engine:
            number, engine = discovered(data)
            if number != message:
                raise Malformed("late")
            return engine

        patient = dataclasses.replace(
            sender, tries=self._tries
        )  # the question may be repeated before a change
        engine = await patient.send(lambda: discovery(message, pdu(GET, message, [])), read)
        if engine is not None:
            await asyncio.to_thread(self._user.meet, engine)  # hashing a megabyte lets others run
        return engine is not None


def number(value: Value | None) -> int:
    """Return an integer as it is and anything else as 0."""
    return value if isinstance(value, int) else 0


def text(value: Value | None) -> str:
    """Return octets as text without the zero bytes that some agents add; anything else is empty."""
    return value.decode(errors="replace").strip("\0 ") if isinstance(value, bytes) else ""


def mac(value: Value | Index | None) -> str | None:
    """Return six octets as an address in lower case with colons, anything else as None."""
    octets = value if isinstance(value, bytes | tuple) else b""
    return ":".join(f"{octet:02x}" for octet in octets) if len(octets) == 6 else None  # noqa: PLR2004
