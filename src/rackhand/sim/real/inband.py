"""A BMC from inside of its machine: QEMU's KCS interface leads to the same model that the network asks.

QEMU speaks to a BMC outside of it (`ipmi-bmc-extern`) in a framing of its own: a message ends with 0xA0, a command for
the connection with 0xA1, and bytes that mean one of these are escaped. Described in QEMU's `ipmi_bmc_extern.c` and in
OpenIPMI's `ipmi_sim`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from rackhand.sim import ipmi_commands
from rackhand.sim.bmc import Bmc
from rackhand.sim.config import Privilege
from rackhand.sim.ipmi_commands import Call, Memory, SessionRights

MESSAGE_END, COMMAND_END, ESCAPE = 0xA0, 0xA1, 0xAA
ESCAPE_BIT = 0x10
SPECIAL = {MESSAGE_END, COMMAND_END, ESCAPE}
SHORTEST = 4  # sequence number, function and LUN, command, checksum
RESPONSE = 1  # on top of the network function of the request


@contextlib.asynccontextmanager
async def inband_face(bmc: Bmc, socket: Path) -> AsyncIterator[None]:
    """Answer on a Unix socket, to which QEMU connects, until the block ends."""
    face = _Face(bmc)
    server = await asyncio.start_unix_server(face.serve, socket)
    try:
        yield
    finally:
        server.close()
        face.close()


class _Face:
    """Whoever is inside of the machine may do everything: there are no sessions on a bus."""

    def __init__(self, bmc: Bmc) -> None:
        self._bmc = bmc
        self._memory = Memory()
        self._writers: set[asyncio.StreamWriter] = set()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        frame, is_escaped = bytearray(), False
        try:
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(1024):
                    for byte in piece:
                        if byte == ESCAPE:
                            is_escaped = True
                        elif byte in {MESSAGE_END, COMMAND_END}:
                            if byte == MESSAGE_END and (answer := self._answer(bytes(frame))) is not None:
                                writer.write(answer)
                            frame.clear()
                        else:
                            frame.append(byte & ~ESCAPE_BIT if is_escaped else byte)
                            is_escaped = False
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, frame: bytes) -> bytes | None:
        """Do a command; a BMC that is silent, or a message that is broken, gets no answer."""
        if self._bmc.is_silent or len(frame) < SHORTEST or sum(frame) & 0xFF:
            return None
        sequence, function, number = frame[:3]
        rights = SessionRights(user="", limit=Privilege.ADMIN, privilege=Privilege.ADMIN)
        call = Call(self._bmc, self._memory, rights, frame[3:-1])
        code, data = ipmi_commands.run(call, function >> 2, number)
        return _frame(bytes((sequence, function | RESPONSE << 2, number, code)) + data)


def _frame(message: bytes) -> bytes:
    message += bytes((-sum(message) & 0xFF,))
    framed = bytearray()
    for byte in message:
        framed += bytes((ESCAPE, byte | ESCAPE_BIT)) if byte in SPECIAL else bytes((byte,))
    return bytes(framed) + bytes((MESSAGE_END,))
