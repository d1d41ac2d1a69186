"""Octets of SNMP messages, judged by pysnmp's codec, and what is done with octets that are none."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.ber import decoder, encoder
from pyasn1.type.univ import Null, ObjectIdentifier
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c

from rackhand.hardware.snmp_message import (
    GAUGE32,
    GET,
    GET_BULK,
    OCTETS,
    SET,
    UNSET,
    Index,
    Malformed,
    Reader,
    integer,
    item,
    message_2c,
    object_id,
    pdu,
    read_2c,
)

arcs = st.integers(0, 2**32 - 1)
oids = st.builds(
    lambda first, second, rest: (first, second if first < 2 else second + 7, *rest),
    st.integers(0, 2),
    st.integers(0, 39),
    st.lists(arcs, max_size=20),
)
values = st.one_of(
    st.builds(rfc1902.Integer32, st.integers(-(2**31), 2**31 - 1)),
    st.builds(rfc1902.Counter32, st.integers(0, 2**32 - 1)),
    st.builds(rfc1902.Gauge32, st.integers(0, 2**32 - 1)),
    st.builds(rfc1902.TimeTicks, st.integers(0, 2**32 - 1)),
    st.builds(rfc1902.Counter64, st.integers(0, 2**64 - 1)),
    st.builds(rfc1902.OctetString, st.binary(max_size=300)),
    st.builds(rfc1902.IpAddress, st.just("192.0.2.1")),
    st.builds(ObjectIdentifier, oids),
    st.sampled_from(
        [rfc1905.NoSuchObject(""), rfc1905.NoSuchInstance(""), rfc1905.EndOfMibView(""), Null("")]
    ),
)


def plain(value: object) -> object:
    if isinstance(value, Null):
        return None
    if isinstance(value, ObjectIdentifier):
        return ".".join(map(str, value.asTuple()))
    return bytes(value) if isinstance(value, rfc1902.OctetString | rfc1902.IpAddress) else int(value)  # type: ignore[call-overload]


@given(st.lists(st.tuples(oids, values), max_size=8), st.integers(-(2**31), 2**31 - 1), st.integers(0, 18))
def test_answers_are_read_as_they_were_written(
    pairs: list[tuple[Index, object]], number: int, status: int
) -> None:
    answer = v2c.ResponsePDU()
    v2c.apiPDU.set_defaults(answer)
    v2c.apiPDU.set_request_id(answer, number)
    v2c.apiPDU.set_error_status(answer, status)
    v2c.apiPDU.set_error_index(answer, 1)
    v2c.apiPDU.set_varbinds(answer, pairs)
    message = v2c.Message()
    v2c.apiMessage.set_defaults(message)
    v2c.apiMessage.set_community(message, "public")
    v2c.apiMessage.set_pdu(message, answer)
    read = read_2c(encoder.encode(message))
    assert (read.request_id, read.error_status, read.error_index) == (number, status, 1)
    assert read.pairs == [(oid, plain(value)) for oid, value in pairs]


@given(
    st.binary(max_size=40),
    st.lists(oids, min_size=1, max_size=8),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**31 - 1),
    st.sampled_from([GET, GET_BULK]),
)
def test_questions_are_understood(
    community: bytes, asked: list[Index], number: int, rows: int, kind: int
) -> None:
    request = pdu(kind, number, [(oid, UNSET) for oid in asked], rows=rows if kind == GET_BULK else 0)
    message, rest = decoder.decode(message_2c(community, request), asn1Spec=v2c.Message())
    body = v2c.apiMessage.get_pdu(message)
    assert rest == b""
    assert bytes(v2c.apiMessage.get_community(message)) == community
    assert int(v2c.apiPDU.get_request_id(body)) == number
    assert [tuple(oid) for oid, _ in v2c.apiPDU.get_varbinds(body)] == asked
    if kind == GET_BULK:
        assert int(v2c.apiBulkPDU.get_max_repetitions(body)) == rows


@given(oids, st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=300))
def test_changes_are_understood(oid: Index, signed: int, unsigned: int, octets: bytes) -> None:
    pairs = [(oid, integer(signed)), (oid, integer(unsigned, GAUGE32)), (oid, item(OCTETS, octets))]
    message, _ = decoder.decode(message_2c(b"x", pdu(SET, 1, pairs)), asn1Spec=v2c.Message())
    read = v2c.apiPDU.get_varbinds(v2c.apiMessage.get_pdu(message))
    assert [type(value).__name__ for _, value in read] == ["Integer", "Gauge32", "OctetString"]
    assert (int(read[0][1]), int(read[1][1]), bytes(read[2][1])) == (signed, unsigned, octets)


@given(st.binary(max_size=200))
def test_octets_of_chance_are_malformed_or_read(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert read_2c(data).kind in {0xA2, 0xA8}


ANSWER = message_2c(
    b"public", pdu(0xA2, 7, [((1, 3, 6, 1), integer(5)), ((1, 3, 6, 2), item(OCTETS, b"text"))])
)


def test_answer_that_is_cut_off_is_malformed_at_every_octet() -> None:
    assert read_2c(ANSWER).pairs == [((1, 3, 6, 1), 5), ((1, 3, 6, 2), b"text")]
    for end in range(len(ANSWER)):
        with pytest.raises(Malformed):
            read_2c(ANSWER[:end])


@given(st.integers(0, len(ANSWER) - 1), st.integers(0, 255))
def test_answer_with_a_wrong_octet_is_malformed_or_read(place: int, octet: int) -> None:
    changed = bytearray(ANSWER)
    changed[place] = octet
    with contextlib.suppress(Malformed):
        assert read_2c(bytes(changed)).kind in {0xA2, 0xA8}


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("3080"),  # a length that comes at the end
        bytes.fromhex("06022b80"),  # an arc that goes on
        bytes.fromhex("0600"),
        bytes.fromhex("060a2b") + b"\xff" * 8 + b"\x01",
    ],
)
def test_lengths_and_arcs_without_an_end(data: bytes) -> None:
    with pytest.raises(Malformed):
        Reader(data).object_id()


def test_unsigned_number_without_its_leading_zero_is_not_negative() -> None:
    assert Reader(bytes.fromhex("4104ffffffff")).value() == 2**32 - 1
    assert Reader(bytes.fromhex("0204ffffffff")).value() == -1


@pytest.mark.parametrize(
    ("numbers", "octets"),
    [
        ((1, 3, 6, 1), "06032b0601"),
        ((2, 999, 3), "0603883703"),
        ((1, 3, 128, 2**32 - 1), "06082b81008fffffff7f"),
    ],
)
def test_object_identifiers(numbers: Index, octets: str) -> None:
    assert object_id(numbers) == bytes.fromhex(octets)
    assert Reader(bytes.fromhex(octets)).object_id() == numbers
