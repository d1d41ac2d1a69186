"""SNMP messages in octets: the basic encoding rules as far as SNMP needs them, PDUs, version 2c (RFC 3416, 3417)."""

from collections.abc import Sequence
from dataclasses import dataclass

Index = tuple[int, ...]
Value = int | bytes | str  # a str is an object identifier

INTEGER, OCTETS, NULL, OBJECT_ID, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
COUNTER32, GAUGE32, TIME_TICKS, COUNTER64 = 0x41, 0x42, 0x43, 0x46
NO_SUCH_OBJECT, NO_SUCH_INSTANCE, END_OF_MIB_VIEW = 0x80, 0x81, 0x82
GET, RESPONSE, SET, GET_BULK, REPORT = 0xA0, 0xA2, 0xA3, 0xA5, 0xA8
UNSIGNED = {COUNTER32, GAUGE32, TIME_TICKS, COUNTER64}
NO_VALUE = {NULL, NO_SUCH_OBJECT, NO_SUCH_INSTANCE, END_OF_MIB_VIEW}
VERSION_2C = 1
LARGEST_ARC = 2**32 - 1
LONG_LENGTH = 0x80
UNSET = bytes((NULL, 0))


class Malformed(ValueError):
    """These octets are no message of SNMP."""


@dataclass(frozen=True)
class Pdu:
    """An answer or a report. A value that there is none of is None."""

    kind: int
    request_id: int
    error_status: int
    error_index: int
    pairs: list[tuple[Index, Value | None]]


# --- writing


def item(tag: int, content: bytes) -> bytes:
    """Return a value of type *tag* with its length."""
    length = len(content)
    if length < LONG_LENGTH:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, LONG_LENGTH | len(octets))) + octets + content


def integer(number: int, tag: int = INTEGER) -> bytes:
    """Return a number in as few octets as it needs."""
    return item(tag, number.to_bytes(number.bit_length() // 8 + 1, signed=True))


def object_id(numbers: Index) -> bytes:
    """Return an object identifier of two arcs or more."""
    content = bytearray()
    for arc in (40 * numbers[0] + numbers[1], *numbers[2:]):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(arc & 0x7F | 0x80)
        content += bytes(reversed(septets))
    return item(OBJECT_ID, bytes(content))


def pdu(kind: int, request_id: int, pairs: Sequence[tuple[Index, bytes]], *, rows: int = 0) -> bytes:
    """Return a request; *rows* is max-repetitions of a GETBULK."""
    written = b"".join(item(SEQUENCE, object_id(numbers) + value) for numbers, value in pairs)
    return item(kind, integer(request_id) + integer(0) + integer(rows) + item(SEQUENCE, written))


def message_2c(community: bytes, request: bytes) -> bytes:
    """Return a message of version 2c."""
    return item(SEQUENCE, integer(VERSION_2C) + item(OCTETS, community) + request)


# --- reading


class Reader:
    """Reads values one after the other; anything that does not fit is `Malformed`."""

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        """Read *data* from *start* to *end*."""
        self.data = data
        self.at = start
        self.end = len(data) if end is None else end

    def head(self) -> tuple[int, int, int]:
        """Step over the next value; return its type, and where its content begins and ends."""
        data, at = self.data, self.at
        if at + 2 > self.end:
            raise Malformed("cut off")
        tag, length, at = data[at], data[at + 1], at + 2
        if length & LONG_LENGTH:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size]), at + size
            if not size:
                raise Malformed("no length")
        if at + length > self.end:
            raise Malformed("cut off")
        self.at = at + length
        return tag, at, self.at

    def inside(self, tag: int) -> "Reader":
        """Return a reader of the content of the next value, which must be of type *tag*."""
        found, start, end = self.head()
        if found != tag:
            raise Malformed(f"type {found:#x} instead of {tag:#x}")
        return Reader(self.data, start, end)

    def octets(self) -> bytes:
        """Read octets."""
        reader = self.inside(OCTETS)
        return self.data[reader.at : reader.end]

    def number(self) -> int:
        """Read an INTEGER."""
        reader = self.inside(INTEGER)
        return int.from_bytes(self.data[reader.at : reader.end], signed=True)

    def object_id(self) -> Index:
        """Read an object identifier."""
        reader = self.inside(OBJECT_ID)
        return _arcs(self.data[reader.at : reader.end])

    def value(self) -> Value | None:
        """Read any value of an object; the exceptions of RFC 3416 are None."""
        tag, start, end = self.head()
        content = self.data[start:end]
        if tag == INTEGER:
            return int.from_bytes(content, signed=True)
        if tag in UNSIGNED:
            return int.from_bytes(content)  # some agents leave out the zero that makes it positive
        if tag == OBJECT_ID:
            return ".".join(map(str, _arcs(content)))
        return None if tag in NO_VALUE else content

    def pdu(self) -> Pdu:
        """Read a response or a report."""
        kind, start, end = self.head()
        if kind not in {RESPONSE, REPORT}:
            raise Malformed(f"type {kind:#x} instead of an answer")
        body = Reader(self.data, start, end)
        request_id, status, place = body.number(), body.number(), body.number()
        rows = body.inside(SEQUENCE)
        pairs = []
        while rows.at < rows.end:
            pair = rows.inside(SEQUENCE)
            pairs.append((pair.object_id(), pair.value()))
        return Pdu(kind, request_id, status, place, pairs)


def read_2c(data: bytes) -> Pdu:
    """Return the PDU of a message of version 2c."""
    message = Reader(data).inside(SEQUENCE)
    if message.number() != VERSION_2C:
        raise Malformed("another version")
    message.octets()
    return message.pdu()


def _arcs(content: bytes) -> Index:
    if not content or content[-1] & 0x80:
        raise Malformed("an object identifier without an end")
    arcs, arc = [], 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if arc > LARGEST_ARC:
            raise Malformed("an arc that is too long")
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return first, arcs[0] - 40 * first, *arcs[1:]
