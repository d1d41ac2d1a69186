"""Ports that follow BMCs to other addresses: all of 127.0.0.0/8 is this machine.

The port that a BMC was started with stays open and is silent while the BMC is elsewhere. Where this machine does not
have the new address, nobody can reach the BMC any more.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import structlog

from rackhand.sim.bmc import Bmc

log = structlog.get_logger()

Serve = Callable[[socket.socket], AbstractAsyncContextManager[None]]


def bind(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    """A bound socket; raises OSError with where it could not be bound."""
    bound = socket.socket(socket.AF_INET, kind)
    try:
        if kind is socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"Cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


class MovedPort:
    """The port of one BMC while it is elsewhere than where it was started; *serve* serves a socket."""

    def __init__(self, bmc: Bmc, kind: socket.SocketKind, serve: Serve) -> None:
        self._bmc = bmc
        self._kind = kind
        self._serve = serve
        self._serving: asyncio.Task[None] | None = None
        self._ended: set[asyncio.Task[None]] = set()

    def follow(self) -> None:
        """Listen where the BMC is now; called on the rack's loop."""
        self._end()
        config = self._bmc.config
        if self._bmc.lan.address == config.bmc.host:
            return
        try:
            bound = bind(self._kind, self._bmc.lan.address, config.bmc.port)
        except OSError as error:
            log.warning("a BMC is out of reach", device=config.name, error=str(error))
            return
        self._serving = asyncio.create_task(self._run(bound))

    async def close(self) -> None:
        """Listen no longer."""
        self._end()
        await asyncio.gather(*self._ended, return_exceptions=True)

    def _end(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            self._ended.add(self._serving)
            self._serving.add_done_callback(self._ended.discard)
            self._serving = None

    async def _run(self, bound: socket.socket) -> None:
        with bound:
            async with self._serve(bound):
                await asyncio.Event().wait()
