"""PDUs and their outlets."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Unpack

from rackhand.sdk.calls import (
    Call,
    Changed,
    Done,
    Listing,
    Started,
    deleting,
    getting,
    listing,
    path_of,
    posting,
)
from rackhand.sdk.devices import DeviceChanges, DeviceValues, Named

PATH = "dci/v3/pdu"


@dataclass(frozen=True)
class Pdu:
    """A PDU; `error` says why it was not read lately."""

    id: int
    name: str
    model: str = ""
    driver: str = ""
    host: str = ""
    location: Named | None = None
    rack: Named | None = None
    outlet_count: int = 0
    used_outlets: int = 0
    watts: int | None = None
    seen_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True)
class Outlet:
    """An outlet; `power_status` is on, off or unknown."""

    id: int
    name: str
    index: int = 0
    power_status: str = "unknown"
    watts: int | None = None
    energy_kwh: float | None = None
    problem: str | None = None
    server: Named | None = None
    device: str | None = None
    feed: str | None = None
    seen_at: datetime | None = None


def find(*, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0) -> Listing[Pdu]:
    """List PDUs."""
    return listing(PATH, Pdu, where=where, orderby=orderby, limit=limit, offset=offset)


def get(id: int) -> Call[Pdu]:
    """Show a PDU."""
    return getting(path_of(PATH, id), Pdu)


def create(name: str, host: str, **values: Unpack[DeviceValues]) -> Call[Started]:
    """Add a PDU and discover its outlets: `task` is the discovery."""
    return posting(PATH, Started, {"name": name, "host": host, **values})


def edit(id: int, **changes: Unpack[DeviceChanges]) -> Call[Done]:
    """Change a PDU."""
    return posting(path_of(PATH, id), Done, changes)


def delete(id: int) -> Call[Done]:
    """Delete a PDU into which nothing is plugged."""
    return deleting(path_of(PATH, id), Done)


def discover(id: int) -> Call[Started]:
    """Read the outlets of a PDU and write them down."""
    return posting(path_of(PATH, id, "discover"), Started)


def outlets(
    id: int, *, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0
) -> Listing[Outlet]:
    """List the outlets of a PDU."""
    path = path_of(PATH, id, "outlet")
    return listing(path, Outlet, where=where, orderby=orderby, limit=limit, offset=offset)


def set_outlet(
    id: int, outlet: int, action: Literal["on", "off", "cycle"], *, dry_run: bool = False
) -> Call[Changed]:
    """Switch an outlet, whatever else feeds what is plugged in: a task that reads it back."""
    return posting(path_of(PATH, id, "outlet", outlet), Changed, {"action": action}, dry_run=dry_run)
