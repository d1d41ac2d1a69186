"""What switches say of themselves on the cables of real machines (LLDP, IEEE 802.1AB)."""

import asyncio
import contextlib
import socket
import struct

import structlog

from rackhand.sim.rack import Rack
from rackhand.sim.real.wires import Plug, Wires
from rackhand.sim.switch import Port, Switch

log = structlog.get_logger()

ETHERTYPE = 0x88CC
NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
CHASSIS_ID, PORT_ID, TIME_TO_LIVE, SYSTEM_NAME = 1, 2, 3, 5
MAC_ADDRESS, INTERFACE_NAME = 4, 5  # subtypes of chassis and port
SPEAK_EVERY = 5.0  # real seconds; real switches take 30
LIVE_SECONDS = 120


async def speak(rack: Rack, wires: Wires) -> None:
    """Send frames out of every port that is up, until cancelled."""
    with contextlib.ExitStack() as stack:
        sockets: dict[Plug, socket.socket] = {}
        for plug, tap in wires.taps.items():
            opened = stack.enter_context(wires.socket(socket.AF_PACKET, socket.SOCK_RAW))
            opened.bind((tap, ETHERTYPE))
            opened.setblocking(False)
            sockets[plug] = opened
        while True:
            for plug, opened in sockets.items():
                found = rack.network.port_of(*plug)
                if found is not None and found[1].is_up:
                    with contextlib.suppress(OSError):  # the other end is off, or its queue is full
                        opened.send(frame(*found))
            await asyncio.sleep(SPEAK_EVERY)


def frame(switch: Switch, port: Port) -> bytes:
    """The frame that tells which port of which switch this is."""
    return b"".join(
        (
            NEAREST_BRIDGE + _mac(port.mac) + struct.pack("!H", ETHERTYPE),
            _tlv(CHASSIS_ID, bytes((MAC_ADDRESS,)) + _mac(switch.mac)),
            _tlv(PORT_ID, bytes((INTERFACE_NAME,)) + port.name.encode()),
            _tlv(TIME_TO_LIVE, struct.pack("!H", LIVE_SECONDS)),
            _tlv(SYSTEM_NAME, switch.name.encode()),
            _tlv(0, b""),
        )
    )


def _tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(value)) + value


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
