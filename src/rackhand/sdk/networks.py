"""Networks that addresses are taken from."""

from dataclasses import dataclass
from typing import TypedDict, Unpack

from rackhand.sdk.calls import Call, Done, Listing, deleting, getting, listing, path_of, posting

PATH = "dci/v3/ipnet"


@dataclass(frozen=True)
class Network:
    """A network; `name` is its CIDR, and `size`, `using_ip`, `total_ip` count addresses."""

    id: int
    name: str
    family: int = 0
    mask: int | None = None
    gateway: str | None = None
    vlan: str = ""
    note: str = ""
    userspace: int | None = None
    size: int = 0
    using_ip: int = 0
    total_ip: int = 0
    parent: int | None = None
    location_id: int | None = None


class NetworkChanges(TypedDict, total=False):
    """What a network may be given besides its name."""

    gateway: str
    vlan: str
    note: str
    location_id: int | None


def find(
    *, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0
) -> Listing[Network]:
    """List networks."""
    return listing(PATH, Network, where=where, orderby=orderby, limit=limit, offset=offset)


def get(id: int) -> Call[Network]:
    """Show a network."""
    return getting(path_of(PATH, id), Network)


def create(name: str, **values: Unpack[NetworkChanges]) -> Call[Done]:
    """Add a network, such as `192.0.2.0/24`."""
    return posting(PATH, Done, {"name": name, **values})


def edit(id: int, **changes: Unpack[NetworkChanges]) -> Call[Done]:
    """Change a network."""
    return posting(path_of(PATH, id), Done, changes)


def delete(id: int) -> Call[Done]:
    """Delete a network without addresses in use."""
    return deleting(path_of(PATH, id), Done)
