"""The SNMP face of a device: an agent on one UDP port that answers GET, GETNEXT, GETBULK and SET.

Messages: RFC 3416 and RFC 3417. It is our own: pysnmp's engine takes 85 ms and 1 MiB for each device to start, and
keeps a file for each outside of the rack.
"""

import asyncio
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Protocol, cast

from rackhand.sim import ber
from rackhand.sim.ber import Oid, Reader, Value
from rackhand.sim.config import SnmpConfig
from rackhand.sim.events import Action, EventLog, Source
from rackhand.sim.faults import Fault, Faults
from rackhand.sim.mib import CannotSet, Commit, ErrorStatus, Mib, View
from rackhand.sim.snmp_v3 import VERSION_3, SecureEngine

VERSION_2C = 1
LARGEST_BULK = 1_400  # bytes of variables; agents avoid fragments, so a table comes in many answers
LARGEST = 65_000  # bytes of an answer that fit a datagram, headers aside
MOST_VARIABLES = 2_000  # of one request; what is more is nonsense

Address = tuple[str, int]
VarBind = tuple[Oid, bytes]


class PduType(IntEnum):
    """Tags of the PDUs, RFC 3416 section 3."""

    GET = 0xA0
    GET_NEXT = 0xA1
    RESPONSE = 0xA2
    SET = 0xA3
    GET_BULK = 0xA5


@dataclass(frozen=True)
class Pdu:
    """A request. The two numbers after the id are error status and index, or what GETBULK repeats."""

    kind: int
    request_id: int
    first: int
    second: int
    variables: tuple[tuple[Oid, Value], ...]


class Agent(Protocol):
    """What the face needs of a device."""

    faults: Faults
    log: EventLog

    @property
    def name(self) -> str:
        """Its name in the rack."""

    @property
    def mac(self) -> str:
        """Its own address."""

    @property
    def starts(self) -> int:
        """How often it has started."""

    @property
    def snmp(self) -> SnmpConfig:
        """Where it listens, and who may ask."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all is answered now."""

    def carry_out(self, commits: Sequence[Commit]) -> None:
        """Do what an accepted SET asks, as far as faults let it."""


class SnmpFace(asyncio.DatagramProtocol):
    """Answers the datagrams of one port from the device's live state."""

    def __init__(self, agent: Agent, mib: Mib) -> None:
        self.agent = agent
        self.mib = mib
        self._engine = SecureEngine(agent.snmp.user, agent.mac)
        self._starts = agent.starts
        self._random = random.Random(zlib.crc32(agent.name.encode()))  # noqa: S311
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        # asyncio's own transport is a DatagramTransport by behaviour, not by class (Python 3.11).
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Answer at once, late or not at all, as the faults say."""
        if self.agent.is_silent or self._loses_packet():
            return
        seconds = self.agent.faults.value(Fault.SLOW)
        if seconds and self.agent.faults.strikes(Fault.SLOW):
            asyncio.get_running_loop().call_later(seconds, self._answer, data, addr)
        else:
            self._answer(data, addr)

    def _answer(self, data: bytes, address: Address) -> None:
        if self.agent.is_silent or self._transport is None or self._transport.is_closing():
            return
        try:
            answer = self._reply(data)
        except ber.MalformedError:
            return
        if answer is not None and not self._loses_packet():
            self._transport.sendto(answer, address)

    def _loses_packet(self) -> bool:
        share = self.agent.faults.value(Fault.DROP_PACKETS)
        return (
            share is not None
            and self._random.random() < share
            and self.agent.faults.strikes(Fault.DROP_PACKETS)
        )

    def _reply(self, datagram: bytes) -> bytes | None:
        message = Reader(datagram).inside()
        version = message.integer()
        if version == VERSION_3:
            return self._reply_securely(datagram, message)
        if version != VERSION_2C:
            return None
        community = message.octets()
        may_write = self._may_write(community)
        if may_write is None:  # RFC 3584 section 5.2.1: counted and dropped; no answer tells of it
            self.agent.log.append(self.agent.name, Source.SNMP, Action.LOGIN_REFUSED, why="community")
            return None
        response = self._respond(message, may_write=may_write)
        return ber.sequence(ber.integer(VERSION_2C), ber.octets(community), response)

    def _reply_securely(self, datagram: bytes, message: Reader) -> bytes | None:
        if self._starts != self.agent.starts:
            self._starts = self.agent.starts
            self._engine.restart()
        knows_user = not self.agent.faults.is_on(Fault.WRONG_PASSWORD)
        respond = partial(self._respond, may_write=True)
        return self._engine.reply(datagram, message, respond, knows_user=knows_user)

    def _respond(self, message: Reader, *, may_write: bool) -> bytes:
        return respond(self.agent, View(self.mib), _read_pdu(message), may_write=may_write)

    def _may_write(self, community: bytes) -> bool | None:
        if self.agent.faults.is_on(Fault.WRONG_PASSWORD):
            return None
        snmp = self.agent.snmp
        if community == snmp.write_community.encode():
            return True
        return False if community == snmp.read_community.encode() else None


def respond(agent: Agent, view: View, pdu: Pdu, *, may_write: bool) -> bytes:
    """Return the encoded response to *pdu*, and do what it asks."""
    status, index, variables = ErrorStatus.NO_ERROR, 0, [(oid, value.encoded) for oid, value in pdu.variables]
    match pdu.kind:
        case PduType.GET:
            variables = [(oid, view.get(oid)) for oid, _ in pdu.variables]
        case PduType.GET_NEXT:
            variables = [next(_and_end(view, oid)) for oid, _ in pdu.variables]
        case PduType.GET_BULK:
            variables = list(_bulk(view, pdu))
        case PduType.SET:
            status, index = _set(agent, view, pdu, may_write=may_write)
        case _:
            raise ber.MalformedError(f"PDU type {pdu.kind:#x} is not a request.")
    encoded = b"".join(ber.sequence(ber.object_id(oid), value) for oid, value in variables)
    if len(encoded) > LARGEST:
        status, index, encoded = ErrorStatus.TOO_BIG, 0, b""
    return ber.sequence(
        ber.integer(pdu.request_id),
        ber.integer(status),
        ber.integer(index),
        ber.element(ber.SEQUENCE, encoded),
        tag=PduType.RESPONSE,
    )


def _read_pdu(message: Reader) -> Pdu:
    whole = message.value()
    body = Reader(whole.content)
    request_id, first, second = body.integer(), body.integer(), body.integer()
    variables = []
    bindings = body.inside()
    while not bindings.is_done:
        binding = bindings.inside()
        variables.append((binding.object_id(), binding.value()))
    if len(variables) > MOST_VARIABLES:
        raise ber.MalformedError("There are too many variables.")
    return Pdu(whole.tag, request_id, first, second, tuple(variables))


def _and_end(view: View, oid: Oid) -> Iterator[VarBind]:
    """Yield what follows *oid*, and then for ever that there is nothing more."""
    for last, value in view.following(oid):
        yield last, value
        oid = last
    while True:
        yield oid, ber.END_OF_MIB_VIEW


def _bulk(view: View, pdu: Pdu) -> Iterator[VarBind]:
    """Yield the variables of a GETBULK, RFC 3416 section 4.2.3, as many as fit."""
    plain = max(0, min(pdu.first, len(pdu.variables)))
    walks = [_and_end(view, oid) for oid, _ in pdu.variables]
    room = LARGEST_BULK
    for walk in walks[:plain]:
        yield next(walk)
    for _ in range(pdu.second if walks[plain:] else 0):
        found = [next(walk) for walk in walks[plain:]]
        for variable in found:
            room -= len(variable[0]) + len(variable[1]) + 6
            if room < 0:
                return
            yield variable
        if all(value == ber.END_OF_MIB_VIEW for _, value in found):
            return


def _set(agent: Agent, view: View, pdu: Pdu, *, may_write: bool) -> tuple[ErrorStatus, int]:
    """Set all variables, or none (RFC 3416 section 4.2.5). Rows are made first, whatever their place."""
    commits: list[Commit] = []
    order = sorted(enumerate(pdu.variables, 1), key=lambda item: not view.makes_row(item[1][0]))
    for number, (oid, value) in order:
        if not may_write:
            return ErrorStatus.NO_ACCESS, number
        if agent.faults.strikes(Fault.READ_ONLY, source=Source.SNMP):
            return ErrorStatus.NOT_WRITABLE, number
        try:
            commits.append(view.prepare(oid, value))
        except CannotSet as error:
            return error.status, number
    agent.carry_out(commits)
    return ErrorStatus.NO_ERROR, 0


def whole_number(value: Value, low: int, high: int) -> int:
    """Return the integer that a SET brings, or raise CannotSet; RFC 3416 section 4.2.5 (2) and (6)."""
    if value.tag not in {ber.INTEGER, ber.GAUGE32}:
        raise CannotSet(ErrorStatus.WRONG_TYPE)
    number = ber.read_integer(value.content)
    if not low <= number <= high:
        raise CannotSet(ErrorStatus.WRONG_VALUE)
    return number


def text(value: Value, most: int) -> str:
    """Return the text that a SET brings, or raise CannotSet."""
    data = octet_string(value)
    if len(data) > most:
        raise CannotSet(ErrorStatus.WRONG_LENGTH)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CannotSet(ErrorStatus.WRONG_VALUE) from error


def octet_string(value: Value) -> bytes:
    """Return the octets that a SET brings, or raise CannotSet."""
    if value.tag != ber.OCTETS:
        raise CannotSet(ErrorStatus.WRONG_TYPE)
    return value.content
