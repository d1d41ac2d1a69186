"""Pools: from which addresses servers get theirs."""

from dataclasses import dataclass
from typing import TypedDict, Unpack

from rackhand.sdk.calls import Call, Done, Listing, deleting, getting, listing, path_of, posting

PATH = "dci/v3/ippool"


@dataclass(frozen=True)
class Pool:
    """A pool; with a rack or a location it serves the servers there."""

    id: int
    name: str
    note: str = ""
    is_public: bool = False
    userspace: int | None = None
    using_ip: int = 0
    total_ip: int = 0
    using_ipv4: int = 0
    total_ipv4: int = 0
    using_ipv6: int = 0
    total_ipv6: int = 0
    location_id: int | None = None
    rack_id: int | None = None


@dataclass(frozen=True)
class Range:
    """Addresses of a pool."""

    id: int
    name: str
    first: str = ""
    last: str = ""
    size: int = 0


class PoolValues(TypedDict, total=False):
    """What a pool may be given besides its name."""

    note: str
    is_public: bool
    location_id: int | None
    rack_id: int | None


class PoolChanges(PoolValues, total=False):
    """What to change of a pool."""

    name: str


def find(*, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0) -> Listing[Pool]:
    """List pools."""
    return listing(PATH, Pool, where=where, orderby=orderby, limit=limit, offset=offset)


def get(id: int) -> Call[Pool]:
    """Show a pool."""
    return getting(path_of(PATH, id), Pool)


def create(name: str, **values: Unpack[PoolValues]) -> Call[Done]:
    """Add a pool."""
    return posting(PATH, Done, {"name": name, **values})


def edit(id: int, **changes: Unpack[PoolChanges]) -> Call[Done]:
    """Change a pool."""
    return posting(path_of(PATH, id), Done, changes)


def delete(id: int) -> Call[Done]:
    """Delete a pool."""
    return deleting(path_of(PATH, id), Done)


def ranges(id: int) -> Listing[Range]:
    """List the ranges of a pool."""
    return listing(path_of(PATH, id, "range"), Range, where="", orderby="", limit=None, offset=0)


def add_range(id: int, name: str) -> Call[Done]:
    """Add addresses to a pool: `192.0.2.10-192.0.2.99`, a network, or one address."""
    return posting(path_of(PATH, id, "range"), Done, {"name": name})


def delete_range(range_id: int) -> Call[Done]:
    """Take a range out of its pool."""
    return deleting(path_of("dci/v3/range", range_id), Done)
