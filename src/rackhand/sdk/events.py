"""What happened: the history, and events as they happen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rackhand.sdk.calls import Call, Listing, getting, listing, path_of
from rackhand.sdk.rows import read_row
from rackhand.sdk.tasks import Subject

PATH = "dci/v3/event"
STREAM = "dci/v3/event/stream"


@dataclass(frozen=True)
class Actor:
    """Who did it; `system` and the like have no number."""

    id: int | None = None
    email: str | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened, to what, by whom."""

    id: int
    at: datetime
    kind: str
    message: str
    subject: Subject
    actor: Actor
    address: str | None = None
    request_id: str | None = None
    task: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def find(*, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0) -> Listing[Event]:
    """List what happened; a user sees what happened to its own."""
    return listing(PATH, Event, where=where, orderby=orderby, limit=limit, offset=offset)


def get(id: int) -> Call[Event]:
    """Show one event."""
    return getting(path_of(PATH, id), Event)


class StreamReader:
    """Reads a stream of events line by line (server-sent events); remembers the newest one, to go on after it."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        self._data = ""

    def begin(self) -> dict[str, str]:
        """Begin a stream anew; gives the headers that ask for what came after the newest event."""
        self._data = ""
        return {"accept": "text/event-stream", "last-event-id": str(self.newest)}

    def read(self, line: str) -> Event | None:
        """The event that *line* ends, if it ends one."""
        name, _, value = line.partition(":")
        if name == "data":
            self._data += value.removeprefix(" ")
        if line or not self._data:
            return None
        event, self._data = read_row(Event, json.loads(self._data)), ""
        self.newest = max(self.newest, event.id)  # a smaller number may come later than a greater one
        return event
