"""What machines were doing when the rack stopped, in one JSON file, so that the next rack goes on with it."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import structlog

from rackhand.sim.machine import Machine, MachineState

SAVE_AFTER_SECONDS = 0.2  # real; changes within this time are saved together

log = structlog.get_logger()


class StateFile:
    """Saves the state of *machines* shortly after it changes. A crash loses what is younger than that."""

    def __init__(self, path: Path, machines: Iterable[Machine]) -> None:
        self._path = path
        self._machines = list(machines)
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
        states = {machine.config.name: machine.state() for machine in self._machines}
        beside = self._path.with_name(self._path.name + ".new")
        beside.write_bytes(msgspec.json.encode(states))
        beside.replace(self._path)

    def close(self) -> None:
        """Save for the last time."""
        self.save()
        self._is_closed = True

    def load(self) -> Mapping[str, MachineState]:
        """Return the saved states by name, none when there is no file. An unreadable file is put aside."""
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return {}
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, MachineState])
        except msgspec.DecodeError as error:
            aside = self._path.with_name(self._path.name + ".bad")
            self._path.replace(aside)
            log.warning(
                "rack state is unreadable", file=str(self._path), kept_as=str(aside), error=str(error)
            )
            return {}
