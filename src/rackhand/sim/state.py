"""What devices were doing when the rack stopped, in one JSON file, so that the next rack goes on with it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

SAVE_AFTER_SECONDS = 0.2  # real; changes within this time are saved together

log = structlog.get_logger()


State = TypeVar("State")


class Kept(Protocol):
    """A device whose state is kept."""

    def state(self) -> object:
        """Return what is to be saved."""

    def reader(self, saved: msgspec.Raw) -> Callable[[], None]:
        """Read what was saved, or raise DecodeError, and return what continues from it."""


@dataclass(frozen=True)
class Keeper(Generic[State]):
    """How the state of one device, of type *kind*, is taken and put back."""

    kind: type[State]
    take: Callable[[], State]
    put_back: Callable[[State], None]

    def state(self) -> object:
        """Return what is to be saved."""
        return self.take()

    def reader(self, saved: msgspec.Raw) -> Callable[[], None]:
        """Read what was saved, or raise DecodeError, and return what continues from it."""
        return partial(self.put_back, msgspec.json.decode(saved, type=self.kind))


class StateFile:
    """Saves the state of *devices*, by name, shortly after it changes. A crash loses what is younger than that."""

    def __init__(self, path: Path, devices: Mapping[str, Kept]) -> None:
        self._path = path
        self._devices = devices
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def save_soon(self) -> None:
        """Remember that something has changed."""
        if self._timer is None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(SAVE_AFTER_SECONDS, self.save)

    def save(self) -> None:
        """Save now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        states = {name: device.state() for name, device in self._devices.items()}
        beside = self._path.with_name(self._path.name + ".new")
        beside.write_bytes(msgspec.json.encode(states))
        beside.replace(self._path)

    def close(self) -> None:
        """Save for the last time."""
        self.save()
        self._is_closed = True

    def load(self) -> None:
        """Put all devices back to their saved states, in their order. An unreadable file is put aside."""
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=dict[str, msgspec.Raw])
            steps = [device.reader(saved[name]) for name, device in self._devices.items() if name in saved]
        except msgspec.DecodeError as error:
            aside = self._path.with_name(self._path.name + ".bad")
            self._path.replace(aside)
            log.warning(
                "rack state is unreadable", file=str(self._path), kept_as=str(aside), error=str(error)
            )
            return
        for step in steps:
            step()
