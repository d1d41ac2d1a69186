"""An SNMP agent with state for tests of drivers."""

import asyncio
import bisect
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from pyasn1.codec.ber import decoder, encoder
from pyasn1.type.univ import ObjectIdentifier, OctetString
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c

from rackhand.hardware.snmp_message import Index

Plain = int | bytes | str | Any  # a str is an object identifier; anything else is a value of rfc1902 as it is
STATUS = {"noError": 0, "tooBig": 1, "genErr": 5, "noAccess": 6, "noCreation": 11, "inconsistentValue": 12}
STATUS |= {"resourceUnavailable": 13, "authorizationError": 16, "notWritable": 17}


class Agent(asyncio.DatagramProtocol):
    """Version 2c over the values of `tree`. `on_set` may refuse with the word of an error status; `log` tells SETs.

    Attributes switch faults: `silent` answers nothing; `forgetful` makes a change and answers nothing; `deaf`
    acknowledges and changes nothing; `circling` walks from the start again; `shortening` leaves most of an answer
    out; `failing` gives the status for any request that touches the prefix.
    """

    def __init__(self, tree: dict[str, Plain], *, reading: str = "public", writing: str = "private") -> None:
        self.tree = {numbers(oid): wire(value) for oid, value in tree.items()}
        self.reading, self.writing = reading.encode(), writing.encode()
        self.on_set: Callable[[Index, int | bytes], str | None] = accept
        self.on_get: Callable[[Index], Any] = lambda _oid: None  # a value instead of that of the tree
        self.silent = self.forgetful = self.deaf = self.circling = self.shortening = False
        self.failing: dict[str, str] = {}
        self.asked = 0
        self.log: list[str] = []
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = self._transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message, _ = decoder.decode(data, asn1Spec=v2c.Message())
        community, request = bytes(v2c.apiMessage.get_community(message)), v2c.apiMessage.get_pdu(message)
        self.asked += 1
        if self.silent or community not in {self.reading, self.writing}:
            return
        answer = v2c.apiPDU.get_response(request)
        kind = type(request).__name__
        pairs = [(tuple(oid), value) for oid, value in v2c.apiPDU.get_varbinds(request)]
        status = next(
            (
                word
                for prefix, word in self.failing.items()
                for oid, _ in pairs
                if oid[: len(numbers(prefix))] == numbers(prefix)
            ),
            None,
        )
        if status is None and kind == "SetRequestPDU":
            status = self._set(pairs[0], community)
            if self.forgetful:
                return
        if status is not None:
            v2c.apiPDU.set_error_status(answer, STATUS[status])
            v2c.apiPDU.set_error_index(answer, 1)
        elif kind == "GetRequestPDU":
            pairs = [
                (oid, self.on_get(oid) or self.tree.get(oid, rfc1905.NoSuchObject(""))) for oid, _ in pairs
            ]
        elif kind == "GetBulkRequestPDU":
            pairs = self._bulk([oid for oid, _ in pairs], int(v2c.apiBulkPDU.get_max_repetitions(request)))
        v2c.apiPDU.set_varbinds(answer, pairs[1:2] if self.shortening else pairs)
        v2c.apiMessage.set_pdu(message, answer)
        self._transport.sendto(encoder.encode(message), addr)

    def _set(self, pair: tuple[Index, Any], community: bytes) -> str | None:
        oid, value = pair
        if community != self.writing:
            return "noAccess"
        if oid not in self.tree:
            return "noCreation"
        plain = bytes(value) if isinstance(value, OctetString) else int(value)
        self.log.append(f"{'.'.join(map(str, oid))} = {plain!r}")
        status = self.on_set(oid, plain)
        if status is None and not self.deaf:
            self.tree[oid] = value
        return status

    def _bulk(self, oids: list[Index], rows: int) -> list[tuple[Index, Any]]:
        order, pairs = sorted(self.tree), []
        for _ in range(rows):
            for number, oid in enumerate(oids):
                place = bisect.bisect(order, oid)
                if place == len(order):
                    pairs.append((oid, rfc1905.EndOfMibView("")))
                else:
                    oids[number] = order[0 if self.circling else place]
                    pairs.append((oids[number], self.tree[oids[number]]))
        return pairs


@contextlib.asynccontextmanager
async def answering(agent: Agent) -> AsyncIterator[Agent]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: agent, local_addr=("127.0.0.1", 0))
    try:
        yield agent
    finally:
        transport.close()


def accept(_oid: Index, _value: int | bytes) -> str | None:
    return None


def numbers(oid: str) -> Index:
    return tuple(int(part) for part in oid.split("."))


def wire(value: Plain) -> Any:
    if isinstance(value, bytes):
        return rfc1902.OctetString(value)
    if isinstance(value, str):
        return ObjectIdentifier(value)
    return rfc1902.Integer32(value) if isinstance(value, int) else value
