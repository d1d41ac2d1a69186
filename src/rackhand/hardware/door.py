"""One polite door per BMC: one conversation at a time, not too fast, never a wrong password again."""

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from rackhand.hardware import drivers
from rackhand.hardware.errors import AuthFailed, Unsupported
from rackhand.hardware.interfaces import (
    Bmc,
    BmcDriver,
    BootDevice,
    BootMode,
    BootOverride,
    Endpoint,
    PowerAction,
    PowerState,
    Sensor,
)

Answer = TypeVar("Answer")

SPACING = timedelta(milliseconds=100)  # a BMC is a small computer: at most ten requests a second
IDLE = timedelta(
    minutes=5
)  # longer than a poll's interval, shorter than the 30 minutes after which BMCs log out
SLOTS = 160


@dataclass
class Door:
    """What is remembered of one BMC."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    refused: dict[bytes, str] = field(
        default_factory=dict
    )  # fingerprint of a credential: the refusal's words
    last: float = 0.0  # end of the last request, monotonic seconds
    endpoint: Endpoint | None = None
    bmc: BmcDriver | None = None
    closing: asyncio.TimerHandle | None = None


class Doors:
    """The doors of a process; every part of it that speaks to BMCs shares one instance, in one event loop."""

    def __init__(self, *, spacing: timedelta = SPACING, idle: timedelta = IDLE, slots: int = SLOTS) -> None:
        """Leave *spacing* between requests to a BMC, end sessions after *idle*, ask *slots* BMCs at once."""
        self.slots = asyncio.Semaphore(slots)
        self._spacing = spacing.total_seconds()
        self._idle = idle.total_seconds()
        self._doors: dict[tuple[str, str, int], Door] = {}
        self._key = secrets.token_bytes(32)
        self._background: set[asyncio.Task[None]] = set()

    def door(self, endpoint: Endpoint) -> Door:
        """Return the door of the BMC behind *endpoint*."""
        return self._doors.setdefault((endpoint.driver, endpoint.host, endpoint.port), Door())

    def check(self, endpoint: Endpoint) -> None:
        """Raise `AuthFailed`, without asking the BMC, when it has refused this user and password before."""
        if words := self.door(endpoint).refused.get(self._fingerprint(endpoint)):
            raise AuthFailed(f"{words} It is not asked again until the credential changes or is forgiven.")

    def remember_refusal(self, endpoint: Endpoint, error: AuthFailed) -> None:
        """Shut the door for the user and password of *endpoint*."""
        self.door(endpoint).refused.setdefault(self._fingerprint(endpoint), str(error))

    def forgive(self, endpoint: Endpoint) -> None:
        """Open the door for every credential again: somebody says that the BMC was put right."""
        self.door(endpoint).refused.clear()

    @contextlib.asynccontextmanager
    async def conversation(self, endpoint: Endpoint) -> AsyncIterator[Bmc]:
        """Wait for the door of *endpoint* and hold it for the time of the block."""
        door = self.door(endpoint)
        async with door.lock:
            self.check(endpoint)
            bmc = await self._enter(door, endpoint)
            try:
                yield PoliteBmc(self, endpoint, bmc)
            finally:
                self._leave(door)

    async def hold_if_free(self, endpoint: Endpoint) -> bool:
        """Hold the door until `let_go`, unless a conversation is under way; check as `check` does."""
        self.check(endpoint)
        lock = self.door(endpoint).lock
        return not lock.locked() and await lock.acquire()

    def let_go(self, endpoint: Endpoint) -> None:
        """Give back a door after one request that did not go through `ask`."""
        door = self.door(endpoint)
        door.last = time.monotonic()
        door.lock.release()

    async def ask(self, endpoint: Endpoint, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """Send one request through a door that the caller holds."""
        self.check(endpoint)
        door = self.door(endpoint)
        await asyncio.sleep(max(0.0, door.last + self._spacing - time.monotonic()))
        try:
            return await request()
        except AuthFailed as error:
            self.remember_refusal(endpoint, error)
            raise
        finally:
            door.last = time.monotonic()

    async def close(self) -> None:
        """Wait for the conversations and end all sessions."""
        await asyncio.gather(*(self._end_session(door) for door in self._doors.values()))
        while self._background:
            await asyncio.gather(*self._background)

    async def _enter(self, door: Door, endpoint: Endpoint) -> BmcDriver:
        """Return the driver that the last conversation left, or a new one when the endpoint has changed."""
        if door.closing is not None:
            door.closing.cancel()
            door.closing = None
        if door.bmc is not None and door.endpoint == endpoint:
            return door.bmc
        if door.bmc is not None:
            await door.bmc.close()
            door.bmc = None
        try:
            door.bmc = drivers.driver_of(endpoint.driver).bmc(endpoint, self.slots)
        except ValueError as error:
            raise Unsupported(f"The settings of the BMC at {endpoint.address} are wrong: {error}") from error
        door.endpoint = endpoint
        return door.bmc

    def _leave(self, door: Door) -> None:
        door.closing = asyncio.get_running_loop().call_later(self._idle, self._end_later, door)

    def _end_later(self, door: Door) -> None:
        task = asyncio.create_task(self._end_session(door))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _end_session(self, door: Door) -> None:
        async with door.lock:
            if door.closing is not None:
                door.closing.cancel()
                door.closing = None
            if door.bmc is not None:
                await door.bmc.close()
                door.bmc = door.endpoint = None

    def _fingerprint(self, endpoint: Endpoint) -> bytes:
        """Name a credential without keeping it; the key lives as long as this process."""
        credential = f"{endpoint.generation}\0{endpoint.user}\0{endpoint.password}"
        return hmac.digest(self._key, credential.encode(), hashlib.sha256)


class PoliteBmc:
    """A BMC behind its door."""

    def __init__(self, doors: Doors, endpoint: Endpoint, bmc: BmcDriver) -> None:
        """Send the requests for *bmc* through *doors*, where the caller holds the door of *endpoint*."""
        self._doors = doors
        self._endpoint = endpoint
        self._bmc = bmc

    async def power_state(self) -> PowerState:
        """See `Bmc`."""
        return await self._ask(self._bmc.power_state)

    async def set_power(self, action: PowerAction) -> None:
        """See `Bmc`."""
        await self._ask(lambda: self._bmc.set_power(action))

    async def boot_override(self) -> BootOverride:
        """See `Bmc`."""
        return await self._ask(self._bmc.boot_override)

    async def set_boot_device(
        self, device: BootDevice, *, mode: BootMode | None = None, persistent: bool = False
    ) -> None:
        """See `Bmc`."""
        await self._ask(lambda: self._bmc.set_boot_device(device, mode=mode, persistent=persistent))

    async def identify(self, *, on: bool) -> None:
        """See `Bmc`."""
        await self._ask(lambda: self._bmc.identify(on=on))

    async def sensors(self) -> list[Sensor]:
        """See `Bmc`."""
        return await self._ask(self._bmc.sensors)

    async def reset_bmc(self) -> None:
        """See `Bmc`."""
        await self._ask(self._bmc.reset_bmc)

    async def _ask(self, request: Callable[[], Awaitable[Answer]]) -> Answer:
        return await self._doors.ask(self._endpoint, request)
