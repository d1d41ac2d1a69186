"""Listening for LLDP (IEEE 802.1AB): which switch and port a network interface is plugged into."""

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Sequence

from rackhand.agent.host import HostError, Neighbour

ETHERTYPE = 0x88CC
NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_MULTICAST = 263, 1, 0  # packet(7)
HEADER = 14
LISTEN_SECONDS = 31.0  # switches speak every 30 s by default
CHASSIS_ID, PORT_ID, SYSTEM_NAME = 1, 2, 5
MAC_SUBTYPES = {CHASSIS_ID: 4, PORT_ID: 3}


def listen(nics: Sequence[str], seconds: float = LISTEN_SECONDS) -> list[Neighbour]:
    """Listen on all *nics* at once until each has heard something, or *seconds* are over."""
    heard: dict[str, Neighbour] = {}
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for nic in nics:
            selector.register(stack.enter_context(_open(nic)), selectors.EVENT_READ, nic)
        end = time.monotonic() + seconds
        while len(heard) < len(nics) and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                frame = key.fileobj.recv(2048)  # type: ignore[union-attr]  # a socket
                found = parse(key.data, frame[HEADER:])
                if found is not None:
                    heard[key.data] = found
    return [heard[nic] for nic in nics if nic in heard]


def _open(nic: str) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        opened.bind((nic, ETHERTYPE))
        membership = struct.pack("iHH8s", socket.if_nametoindex(nic), PACKET_MR_MULTICAST, 6, NEAREST_BRIDGE)
        opened.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
    except OSError as error:
        raise HostError(f"Cannot listen on {nic}: {error}") from error
    return opened


def parse(nic: str, frame: bytes) -> Neighbour | None:
    """Read the TLVs of a frame without its Ethernet header; None when it names no chassis and port."""
    values: dict[int, str] = {}
    at = 0
    while at + 2 <= len(frame):
        (head,) = struct.unpack_from("!H", frame, at)
        kind, length = head >> 9, head & 0x1FF
        value = frame[at + 2 : at + 2 + length]
        at += 2 + length
        if kind == 0:
            break
        if kind in MAC_SUBTYPES and value:
            values.setdefault(kind, _identifier(value[0], value[1:], MAC_SUBTYPES[kind]))
        elif kind == SYSTEM_NAME:
            values.setdefault(kind, _text(value))
    if CHASSIS_ID not in values or PORT_ID not in values:
        return None
    return Neighbour(nic, values[CHASSIS_ID], values[PORT_ID], values.get(SYSTEM_NAME, ""))


def _identifier(subtype: int, value: bytes, mac_subtype: int) -> str:
    return value.hex(":") if subtype == mac_subtype else _text(value)


def _text(value: bytes) -> str:
    return "".join(letter for letter in value.decode(errors="replace") if letter.isprintable())
