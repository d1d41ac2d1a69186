"""One polite door per device: one conversation at a time, not too fast, never a wrong password again."""

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

from rackhand.hardware import drivers
from rackhand.hardware.drivers import Device, Driver
from rackhand.hardware.errors import AuthFailed, Unsupported
from rackhand.hardware.interfaces import Endpoint

Answer = TypeVar("Answer")
DeviceT = TypeVar("DeviceT", bound=Device)

SPACING = timedelta(milliseconds=100)  # a BMC or a switch has a small computer: at most ten requests a second
IDLE = timedelta(
    minutes=5
)  # longer than a poll's interval, shorter than the 30 minutes after which BMCs log out
SLOTS = 160


@dataclass
class Door:
    """What is remembered of one device."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    refused: dict[bytes, str] = field(
        default_factory=dict
    )  # fingerprint of a credential: the refusal's words
    last: float = 0.0  # end of the last request, monotonic seconds
    endpoint: Endpoint | None = None
    driver: Driver[Device] | None = None  # what made the device
    device: Device | None = None
    closing: asyncio.TimerHandle | None = None


class Doors:
    """The doors of a process; every part of it that speaks to devices shares one instance, in one event loop."""

    def __init__(self, *, spacing: timedelta = SPACING, idle: timedelta = IDLE, slots: int = SLOTS) -> None:
        """Leave *spacing* between requests to a device, end sessions after *idle*, use *slots* at once."""
        self.slots = asyncio.Semaphore(slots)
        self._spacing = spacing.total_seconds()
        self._idle = idle.total_seconds()
        self._doors: dict[tuple[str, str, int], Door] = {}
        self._key = secrets.token_bytes(32)
        self._background: set[asyncio.Task[None]] = set()

    def door(self, endpoint: Endpoint) -> Door:
        """Return the door of the device behind *endpoint*."""
        return self._doors.setdefault((endpoint.driver, endpoint.host, endpoint.port), Door())

    def check(self, endpoint: Endpoint) -> None:
        """Raise `AuthFailed`, without asking the device, when it has refused this user and password before."""
        if words := self.door(endpoint).refused.get(self._fingerprint(endpoint)):
            raise AuthFailed(f"{words} It is not asked again until the credential changes or is forgiven.")

    def remember_refusal(self, endpoint: Endpoint, error: AuthFailed) -> None:
        """Shut the door for the user and password of *endpoint*."""
        self.door(endpoint).refused.setdefault(self._fingerprint(endpoint), str(error))

    def forgive(self, endpoint: Endpoint) -> None:
        """Open the door for every credential again: somebody says that the device was put right."""
        self.door(endpoint).refused.clear()

    @contextlib.asynccontextmanager
    async def conversation(
        self, endpoint: Endpoint, table: Mapping[str, Driver[DeviceT]]
    ) -> AsyncIterator[DeviceT]:
        """Wait for the door of *endpoint* and hold it for the time of the block; *table* has its driver."""
        door = self.door(endpoint)
        async with door.lock:
            self.check(endpoint)
            device = await self._enter(door, endpoint, table)
            try:
                yield cast("DeviceT", Polite(self, endpoint, device))
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

    async def _enter(self, door: Door, endpoint: Endpoint, table: Mapping[str, Driver[DeviceT]]) -> Device:
        """Return the device that the last conversation left, or a new one when the endpoint has changed."""
        if door.closing is not None:
            door.closing.cancel()
            door.closing = None
        try:
            driver = drivers.driver_of(endpoint.driver, table)
            if door.device is not None and (door.endpoint, door.driver) == (endpoint, driver):
                return door.device
            if door.device is not None:
                await door.device.close()
                door.device = None
            door.device = driver.connect(endpoint, self.slots)
        except ValueError as error:
            raise Unsupported(
                f"The settings of the access to {endpoint.address} are wrong: {error}"
            ) from error
        door.endpoint, door.driver = endpoint, driver
        return door.device

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
            if door.device is not None:
                await door.device.close()
                door.device = door.endpoint = door.driver = None

    def _fingerprint(self, endpoint: Endpoint) -> bytes:
        """Name a credential without keeping it; the key lives as long as this process."""
        credential = f"{endpoint.generation}\0{endpoint.user}\0{endpoint.password}"
        return hmac.digest(self._key, credential.encode(), hashlib.sha256)


class Polite:
    """A device behind its door, which the caller holds: each of its methods goes through `Doors.ask`."""

    def __init__(self, doors: Doors, endpoint: Endpoint, device: Device) -> None:
        """Stand for *device*, so that callers see its interface alone."""
        self._doors = doors
        self._endpoint = endpoint
        self._device = device

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._device, name)

        async def ask(*args: Any, **kwargs: Any) -> Any:
            return await self._doors.ask(self._endpoint, lambda: method(*args, **kwargs))

        return ask
