"""BER as SNMP uses it: values to bytes and back (RFC 3417 section 8, RFC 2578 section 7.1)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

Oid = tuple[int, ...]

INTEGER: Final = 0x02
OCTETS: Final = 0x04
NULL: Final = 0x05
OBJECT_ID: Final = 0x06
SEQUENCE: Final = 0x30
COUNTER32: Final = 0x41
GAUGE32: Final = 0x42
TIMETICKS: Final = 0x43
COUNTER64: Final = 0x46

NO_SUCH_OBJECT: Final = b"\x80\x00"
NO_SUCH_INSTANCE: Final = b"\x81\x00"
END_OF_MIB_VIEW: Final = b"\x82\x00"
EMPTY: Final = b"\x05\x00"

ARCS_PER_ROOT = 40  # X.690 8.19.4: the first two arcs share one number
LONG_FORM = 0x80
OIDS_REMEMBERED = 20_000  # some 4 MB; a walk asks for the same ones again and again


class MalformedError(ValueError):
    """The bytes are not BER, or not what was expected here."""


@dataclass(frozen=True)
class Value:
    """An element as it was read: its tag and its content."""

    tag: int
    content: bytes

    @property
    def encoded(self) -> bytes:
        """The element as bytes."""
        return element(self.tag, self.content)


def element(tag: int, content: bytes) -> bytes:
    """Return tag, length and content."""
    size = len(content)
    if size < LONG_FORM:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, LONG_FORM | len(length))) + length + content


def sequence(*parts: bytes, tag: int = SEQUENCE) -> bytes:
    """Return encoded *parts* as one constructed element."""
    return element(tag, b"".join(parts))


def integer(number: int, tag: int = INTEGER) -> bytes:
    """Return a number in as few bytes as hold it with its sign."""
    return element(tag, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def octets(data: bytes | str) -> bytes:
    """Return an octet string, text in UTF-8."""
    return element(OCTETS, data.encode() if isinstance(data, str) else data)


def counter32(number: int) -> bytes:
    """Return *number* as a counter that has wrapped at 32 bits."""
    return integer(number % 2**32, COUNTER32)


def counter64(number: int) -> bytes:
    """Return *number* as a counter that has wrapped at 64 bits."""
    return integer(number % 2**64, COUNTER64)


def gauge32(number: int) -> bytes:
    """Return *number*, or the most that fits: a gauge sticks there (RFC 2578 section 7.1.7)."""
    return integer(min(number, 2**32 - 1), GAUGE32)


def timeticks(seconds: float) -> bytes:
    """Return *seconds* in hundredths; they begin again after 497 days."""
    return integer(int(seconds * 100) % 2**32, TIMETICKS)


@lru_cache(OIDS_REMEMBERED)
def object_id(oid: Oid) -> bytes:
    """Return an object identifier of two arcs or more."""
    content = bytearray()
    for arc in (oid[0] * ARCS_PER_ROOT + oid[1], *oid[2:]):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(arc & 0x7F | 0x80)
        content += bytes(reversed(septets))
    return element(OBJECT_ID, bytes(content))


class Reader:
    """Reads elements one after another. Every method raises MalformedError where the bytes do not fit."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._data)

    @property
    def at(self) -> int:
        """How many bytes were read."""
        return self._at

    def value(self) -> Value:
        """Read the next element, whatever it is."""
        data, at = self._data, self._at
        try:
            tag, size = data[at], data[at + 1]
        except IndexError as error:
            raise MalformedError("The data ends early.") from error
        at += 2
        if size & LONG_FORM:
            length = size & 0x7F
            size = int.from_bytes(data[at : at + length], "big")
            at += length
        if at + size > len(data):
            raise MalformedError("An element is longer than the data.")
        self._at = at + size
        return Value(tag, data[at : at + size])

    def content(self, tag: int) -> bytes:
        """Read the next element, which must have this *tag*, and return its content."""
        found = self.value()
        if found.tag != tag:
            raise MalformedError(f"Tag {found.tag:#x} instead of {tag:#x}.")
        return found.content

    def integer(self) -> int:
        """Read an integer."""
        return read_integer(self.content(INTEGER))

    def octets(self) -> bytes:
        """Read an octet string."""
        return self.content(OCTETS)

    def object_id(self) -> Oid:
        """Read an object identifier."""
        return read_object_id(self.content(OBJECT_ID))

    def inside(self, tag: int = SEQUENCE) -> "Reader":
        """Return a reader of what the next element holds."""
        return Reader(self.content(tag))


def read_integer(content: bytes) -> int:
    """Return the number that *content* is."""
    if not content:
        raise MalformedError("An integer has no bytes.")
    return int.from_bytes(content, "big", signed=True)


@lru_cache(OIDS_REMEMBERED)
def read_object_id(content: bytes) -> Oid:
    """Return the object identifier that *content* is."""
    if not content or content[-1] & 0x80:
        raise MalformedError("An object identifier ends early.")
    arcs: list[int] = []
    arc = 0
    for byte in content:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    root = min(arcs[0] // ARCS_PER_ROOT, 2)
    return (root, arcs[0] - root * ARCS_PER_ROOT, *arcs[1:])
