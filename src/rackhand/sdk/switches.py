"""Switches and their ports."""

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
    given,
    listing,
    path_of,
    posting,
)
from rackhand.sdk.devices import DeviceChanges, DeviceValues, Named

PATH = "dci/v3/switch"


@dataclass(frozen=True)
class Switch:
    """A switch; `error` says why it was not read lately."""

    id: int
    name: str
    model: str = ""
    driver: str = ""
    host: str = ""
    location: Named | None = None
    rack: Named | None = None
    unit: int | None = None
    port_count: int = 0
    used_ports: int = 0
    seen_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True)
class Port:
    """A port: `admin_status` is what it is set to, `oper_status` what it does."""

    id: int
    name: str
    index: int = 0
    description: str = ""
    admin_status: str | None = None
    oper_status: str | None = None
    vlan: int | None = None
    speed_mbit: int | None = None
    is_uplink: bool = False
    problem: str | None = None
    server: Named | None = None
    device: str | None = None
    seen_at: datetime | None = None


def find(*, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0) -> Listing[Switch]:
    """List switches."""
    return listing(PATH, Switch, where=where, orderby=orderby, limit=limit, offset=offset)


def get(id: int) -> Call[Switch]:
    """Show a switch."""
    return getting(path_of(PATH, id), Switch)


def create(name: str, host: str, **values: Unpack[DeviceValues]) -> Call[Started]:
    """Add a switch and discover its ports: `task` is the discovery."""
    return posting(PATH, Started, {"name": name, "host": host, **values})


def edit(id: int, **changes: Unpack[DeviceChanges]) -> Call[Done]:
    """Change a switch."""
    return posting(path_of(PATH, id), Done, changes)


def delete(id: int) -> Call[Done]:
    """Delete a switch into which nothing is plugged."""
    return deleting(path_of(PATH, id), Done)


def discover(id: int) -> Call[Started]:
    """Read the ports of a switch and write them down."""
    return posting(path_of(PATH, id, "discover"), Started)


def ports(
    id: int, *, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0
) -> Listing[Port]:
    """List the ports of a switch."""
    return listing(path_of(PATH, id, "port"), Port, where=where, orderby=orderby, limit=limit, offset=offset)


def set_port(
    id: int,
    port: int,
    *,
    admin_status: Literal["up", "down"] | None = None,
    vlan: int | None = None,
    speed_mbit: int | None = None,
    dry_run: bool = False,
) -> Call[Changed]:
    """Say what a port is to be: a task that sets it on the switch and reads it back."""
    body = given(admin_status=admin_status, vlan=vlan, speed_mbit=speed_mbit)
    return posting(path_of(PATH, id, "port", port), Changed, body, dry_run=dry_run)
