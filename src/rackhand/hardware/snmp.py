"""The one way to speak SNMP: read values, walk tables, set values; v2c and v3.

All of it goes through pysnmp. gufo-snmp walks fifteen times cheaper, but takes an answer with an error status for
the end of the table (0.13.0, measured): a truncated table would look whole.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Self

from pyasn1.error import PyAsn1Error
from pyasn1.type import univ
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pysnmp.carrier.asyncio.dispatch import AsyncioDispatcher
from pysnmp.error import PySnmpError
from pysnmp.hlapi.v1arch import asyncio as v2c
from pysnmp.hlapi.v3arch import asyncio as v3
from pysnmp.proto import errind, rfc1902, rfc1905

from rackhand.hardware.errors import AuthFailed, HardwareError, Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import Endpoint

Value = int | bytes | str  # a str is an object identifier
Index = tuple[int, ...]

TICK_SECONDS = 0.5  # how often a session looks for what timed out; many are open at once

# What the engine found wrong with an answer, or with the lack of one; anything else is a refusal.
INDICATION_ERRORS: tuple[tuple[type[errind.ErrorIndication], type[HardwareError]], ...] = (
    (errind.UnknownUserName, AuthFailed),
    (errind.UnknownSecurityName, AuthFailed),
    (errind.WrongDigest, AuthFailed),
    (errind.AuthenticationError, AuthFailed),
    (errind.AuthenticationFailure, AuthFailed),
    (errind.DecryptionError, AuthFailed),
    (errind.UnsupportedSecurityLevel, AuthFailed),
    (errind.NotInTimeWindow, Timeout),
)

# RFC 3416, error-status of an answer; every other one is a refusal.
STATUS_ERRORS: dict[str, type[HardwareError]] = {
    "noSuchName": Unsupported,
    "noCreation": Unsupported,
    "genErr": Timeout,  # what busy agents answer
    "resourceUnavailable": Timeout,
}

AUTHENTICATION = {
    "none": v3.USM_AUTH_NONE,
    "SHA": v3.USM_AUTH_HMAC96_SHA,
    "SHA-224": v3.USM_AUTH_HMAC128_SHA224,
    "SHA-256": v3.USM_AUTH_HMAC192_SHA256,
    "SHA-384": v3.USM_AUTH_HMAC256_SHA384,
    "SHA-512": v3.USM_AUTH_HMAC384_SHA512,
}
PRIVACY = {  # longer keys than the digest gives are made in one of two ways, neither of which is a standard
    "none": v3.USM_PRIV_NONE,
    "AES": v3.USM_PRIV_CFB128_AES,
    "AES-192": v3.USM_PRIV_CFB192_AES_BLUMENTHAL,
    "AES-256": v3.USM_PRIV_CFB256_AES_BLUMENTHAL,
    "AES-192-Cisco": v3.USM_PRIV_CFB192_AES,
    "AES-256-Cisco": v3.USM_PRIV_CFB256_AES,
}


class Syntax(Enum):
    """How the value of an object travels in a SET."""

    INTEGER = rfc1902.Integer32
    UNSIGNED = rfc1902.Unsigned32
    OCTETS = rfc1902.OctetString


@dataclass(frozen=True)
class Instance:
    """One value of a device: an object of a MIB and the row."""

    mib_object: "MibObject"
    index: Index

    def __str__(self) -> str:
        return ".".join([self.mib_object.name, *map(str, self.index)])


@dataclass(frozen=True)
class MibObject:
    """An object of a MIB: a scalar, or a column of a table."""

    name: str
    oid: str
    syntax: Syntax = Syntax.INTEGER

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
        if settings.version == "3" and not endpoint.user:
            raise ValueError("SNMP version 3 needs a user")
        if settings.version == "3" and settings.authentication != "none" and not endpoint.password:
            raise ValueError("SNMP version 3 with authentication needs a password")
        # SNMP has no refusal of these two.
        wrong = "password of the cipher" if settings.version == "3" else "community"
        self._silence = f"a wrong {wrong} looks the same"
        self._session: _Session | None = None

    async def get(self, *instances: Instance) -> list[Value | None]:
        """Return the value of each, None where the device has none."""
        found = await self._ask("get", _unset(*(_dotted(instance) for instance in instances)))
        return [_plain(value) for _, value in found]

    async def walk(self, *columns: MibObject) -> tuple[dict[Index, Value], ...]:
        """Return the values of each column by row; empty where the device has no such table."""
        found: tuple[dict[Index, Value], ...] = tuple({} for _ in columns)
        bases = [_numbers(column.oid) for column in columns]
        last = dict(enumerate(bases))  # of the columns that have not come to their end
        while last:
            asked = tuple(last)
            rows = max(1, self._settings.bulk_size // len(asked))
            answer = await self._ask("bulk", _unset(*last.values()), rows=rows)
            if not answer:
                raise Refused(f"{self.who} answers with nothing where a table was asked for.")
            for place, (oid, value) in enumerate(answer):
                column = asked[place % len(asked)]
                if column not in last:
                    continue
                base, plain = bases[column], _plain(value)
                if plain is None or oid[: len(base)] != base:
                    del last[column]
                elif oid <= last[column]:
                    raise Refused(f"{self.who} walks in circles in {columns[column].name}.")
                else:
                    found[column][oid[len(base) :]] = plain
                    last[column] = oid
        return found

    async def set(self, assignment: Assignment) -> None:
        """Send one change, once: after a `Timeout` nobody knows whether it was made, so read it back."""
        syntax = assignment.instance.mib_object.syntax.value
        await self._ask("set", [(_dotted(assignment.instance), syntax(assignment.value))], change=assignment)

    async def close(self) -> None:
        """Give back the socket; SNMP has no sessions that a device would know of."""
        if self._session is not None:
            self._session.close()
            self._session = None

    async def _ask(
        self, kind: str, pairs: Sequence[tuple[Any, Any]], *, rows: int = 0, change: Assignment | None = None
    ) -> list[tuple[Index, Any]]:
        """Send one request and return its answer's pairs; raise what the device or the engine says."""
        if self._session is None:
            self._session = await self._open()
        try:
            indication, status, place, answer = await self._session.ask(kind, pairs, rows)
        except (PySnmpError, PyAsn1Error) as error:
            raise Refused(f"{self.who} cannot be asked, or answers what is no SNMP: {error}.") from error
        if isinstance(indication, errind.RequestTimedOut):
            await self.close()  # the name may stand for another address by now
            if change is not None:
                raise Timeout(
                    f"{self.who} did not answer `{change}`: it may have been done or not; {self._silence}."
                )
            raise Unreachable(f"{self.who} gives no answer; {self._silence}.")
        if indication:
            kind_of_error = next(
                (kind for what, kind in INDICATION_ERRORS if isinstance(indication, what)), Refused
            )
            if kind_of_error is AuthFailed:
                raise AuthFailed(f"{self.who} refused the user {self._endpoint.user!r}: {indication}.")
            raise kind_of_error(f"{self.who}: {indication}.")
        if status:
            word = status.prettyPrint()
            about = str(change) if change else _text_of(pairs, int(place))
            raise STATUS_ERRORS.get(word, Refused)(f"{self.who} answers {word} to `{about}`.")
        return [(tuple(oid), value) for oid, value in answer]

    async def _open(self) -> "_Session":
        host, port = self._endpoint.host, self._endpoint.port
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise Unreachable(f"{self.who} has no address: {error.strerror or error}.") from error
        family, address = found[0][0], found[0][4]
        return await _Session.open(self._endpoint, self._settings, family, str(address[0]))


class _Session:
    """pysnmp's objects for one device: cheap ones for version 2c, an engine for version 3."""

    def __init__(self, ask: Callable[..., Awaitable[Any]], close: Callable[[], None]) -> None:
        self.ask = ask
        self.close = close

    @classmethod
    async def open(cls, endpoint: Endpoint, settings: SnmpSettings, family: int, address: str) -> "_Session":
        """Make the objects; questions are repeated by pysnmp, changes are not."""
        arch: Any = v3 if settings.version == "3" else v2c
        target_class = arch.Udp6TransportTarget if family == socket.AF_INET6 else arch.UdpTransportTarget
        where = address, endpoint.port
        patient = await target_class.create(where, timeout=settings.timeout_seconds, retries=settings.retries)
        once = await target_class.create(where, timeout=settings.timeout_seconds, retries=0)
        if settings.version == "3":
            return cls._of_version_3(endpoint, settings, patient, once)
        return cls._of_version_2c(endpoint, settings, patient, once)

    @classmethod
    def _of_version_2c(
        cls, endpoint: Endpoint, settings: SnmpSettings, patient: Any, once: Any
    ) -> "_Session":
        dispatcher = v2c.SnmpDispatcher()
        dispatcher.transport_dispatcher.set_timer_resolution(TICK_SECONDS)
        reading = v2c.CommunityData(endpoint.password.encode())
        writing = v2c.CommunityData(
            (settings.write_community.get_secret_value() or endpoint.password).encode()
        )

        async def ask(kind: str, pairs: Sequence[tuple[Any, Any]], rows: int) -> Any:
            if kind == "get":
                return await v2c.get_cmd(dispatcher, reading, patient, *pairs)
            if kind == "bulk":
                return await v2c.bulk_cmd(dispatcher, reading, patient, 0, rows, *pairs)
            return await v2c.set_cmd(dispatcher, writing, once, *pairs)

        return cls(ask, dispatcher.close)

    @classmethod
    def _of_version_3(cls, endpoint: Endpoint, settings: SnmpSettings, patient: Any, once: Any) -> "_Session":
        engine = v3.SnmpEngine()
        engine.register_transport_dispatcher(AsyncioDispatcher(timeout=TICK_SECONDS))
        authenticated, private = settings.authentication != "none", settings.privacy != "none"
        user = v3.UsmUserData(
            endpoint.user,
            endpoint.password if authenticated else None,
            (settings.privacy_password.get_secret_value() or endpoint.password) if private else None,
            authProtocol=AUTHENTICATION[settings.authentication],
            privProtocol=PRIVACY[settings.privacy],
        )
        context = v3.ContextData()

        async def ask(kind: str, pairs: Sequence[tuple[Any, Any]], rows: int) -> Any:
            if kind == "get":
                return await v3.get_cmd(engine, user, patient, context, *pairs, lookupMib=False)
            if kind == "bulk":
                return await v3.bulk_cmd(engine, user, patient, context, 0, rows, *pairs, lookupMib=False)
            return await v3.set_cmd(engine, user, once, context, *pairs, lookupMib=False)

        return cls(ask, engine.close_dispatcher)


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


def _numbers(oid: str) -> Index:
    return tuple(int(part) for part in oid.split("."))


def _dotted(instance: Instance) -> Index:
    return *_numbers(instance.mib_object.oid), *instance.index


def _unset(*oids: Index) -> list[tuple[Index, Any]]:
    return [(oid, rfc1905.unSpecified) for oid in oids]


def _text_of(pairs: Sequence[tuple[Any, Any]], place: int) -> str:
    oid = pairs[place - 1][0] if 0 < place <= len(pairs) else pairs[0][0]
    return f"GET {'.'.join(map(str, oid))}"


def _plain(value: Any) -> Value | None:
    """Turn pysnmp's value into Python's; None for what stands for "there is none"."""
    if isinstance(value, univ.Null):  # the three exceptions of RFC 3416 are kinds of it
        return None
    if isinstance(value, univ.ObjectIdentifier):
        return ".".join(str(part) for part in value)
    if isinstance(value, univ.OctetString):
        return bytes(value)
    return int(value)
