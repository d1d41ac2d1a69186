# ruff: noqa: PLR2004  # byte values and offsets of the specification
"""Serial over LAN, the BMC's end: packets with numbers, acknowledgements and character counts.

Source: IPMI 2.0 specification, revision 1.1, chapter 15; the layout of a packet is table 15-2.
"""

import asyncio
from collections.abc import Callable

from rackhand.sim.console import SerialConsole
from rackhand.sim.rmcp import MalformedError

MAX_CHARACTERS = 200
BUFFER_BYTES = 16_384  # more than that is lost, and the next packet says so
ACCUMULATE_SECONDS = 0.005  # real, as everything here: clients measure with their own clocks
RETRY_SECONDS = 0.5
RETRIES = 7

NACK, OVERRUN, DEACTIVATING = 0x40, 0x08, 0x10


class SolPayload:
    """One active SOL payload. A packet is on the way at a time; it is sent again until it is acknowledged."""

    def __init__(self, console: SerialConsole, send: Callable[[bytes], None]) -> None:
        """*send* takes packets for the remote console."""
        self._console = console
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._has_lost = False
        self._sequence = 0
        self._on_the_way = b""  # its characters
        self._timer: asyncio.TimerHandle | None = None
        self._last_heard = 0
        console.connect(self._write)

    def receive(self, packet: bytes) -> bytes | None:
        """Take a packet of the remote console and return what acknowledges it, None when nothing has to."""
        if len(packet) < 4:
            raise MalformedError("cut short")
        number, acknowledged, count, status = packet[0] & 0x0F, packet[1] & 0x0F, packet[2], packet[3]
        if acknowledged and acknowledged == self._sequence and self._on_the_way:
            self._settle(0 if status & NACK else count)
        if not number:
            return None
        characters = packet[4:]
        if number != self._last_heard:  # else it comes again, because the acknowledgement was lost
            self._last_heard = number
            self._console.receive(characters)
        return bytes((0, number, len(characters), 0))

    def stop(self, *, tells: bool) -> None:
        """End, and say so to the remote console when it *tells*."""
        self._cancel_timer()
        self._console.disconnect()
        self._on_the_way = b""
        self._waiting.clear()
        if tells:
            self._send(bytes((0, 0, 0, DEACTIVATING)))

    def _write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > BUFFER_BYTES:
            del self._waiting[:-BUFFER_BYTES]
            self._has_lost = True
        if self._timer is None:
            self._timer = self._loop.call_later(ACCUMULATE_SECONDS, self._send_next)

    def _send_next(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        self._on_the_way = bytes(self._waiting[:MAX_CHARACTERS])
        del self._waiting[:MAX_CHARACTERS]
        self._sequence = self._sequence % 15 + 1
        self._transmit(RETRIES)

    def _transmit(self, left: int) -> None:
        status, self._has_lost = OVERRUN if self._has_lost else 0, False
        self._send(bytes((self._sequence, 0, 0, status)) + self._on_the_way)
        self._timer = self._loop.call_later(RETRY_SECONDS, self._repeat, left)

    def _repeat(self, left: int) -> None:
        if left:
            self._transmit(left - 1)
        else:
            self._settle(len(self._on_the_way))

    def _settle(self, accepted: int) -> None:
        """Go on behind the characters that were taken; the others are sent again, in a packet of their own."""
        self._cancel_timer()
        self._waiting[:0] = self._on_the_way[accepted:]
        self._on_the_way = b""
        if self._waiting:
            self._timer = self._loop.call_later(ACCUMULATE_SECONDS, self._send_next)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
