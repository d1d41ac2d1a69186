"""Time of the rack: simulated seconds, which may run faster than real ones."""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that will happen and can be called off."""

    def cancel(self) -> None:
        """Call it off. Harmless when it has happened."""


class Clock(Protocol):
    """Where a machine reads the time and sets its timers, in simulated seconds: *scale* to a real one."""

    scale: float

    def now(self) -> float:
        """Return simulated seconds since some fixed moment."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call *callback* once, *seconds* from now."""


class ScaledClock:
    """Simulated time that runs *scale* times as fast as the running event loop's."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Return simulated seconds since the loop's own zero."""
        return self._loop.time() * self.scale

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call *callback* on the loop, *seconds* of simulated time from now."""
        return self._loop.call_later(seconds / self.scale, callback)
