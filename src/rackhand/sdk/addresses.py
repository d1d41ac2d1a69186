"""Addresses: those of a server, and all that are not free."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

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
from rackhand.sdk.rows import Key

PATH = "dci/v3/ip"
SERVER_PATH = "dci/v3/server"


@dataclass(frozen=True)
class Address:
    """An address, or a prefix of `prefix` bits; `status` is allocating, allocated, removing and others."""

    id: int
    name: str
    family: str = ""
    domain: str = ""
    gateway: str | None = None
    network: str | None = None
    mask: int | None = None
    prefix: int | None = None
    status: str = ""
    is_main: bool = False
    server: str = ""
    server_id: int | None = None
    network_id: Annotated[int | None, Key("ipnet")] = None
    pool_id: Annotated[int | None, Key("ippool")] = None
    ptr: str | None = None
    note: str = ""
    quarantined_until: datetime | None = None


def find(
    *, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0
) -> Listing[Address]:
    """List addresses that are not free; a user sees those of its own servers."""
    return listing(PATH, Address, where=where, orderby=orderby, limit=limit, offset=offset)


def of_server(
    server: int, *, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0
) -> Listing[Address]:
    """List the addresses of a server."""
    path = path_of(SERVER_PATH, server, "ip")
    return listing(path, Address, where=where, orderby=orderby, limit=limit, offset=offset)


def get(id: int) -> Call[Address]:
    """Show an address."""
    return getting(path_of(PATH, id), Address)


def add(
    server: int,
    *,
    name: str | None = None,
    network: int | None = None,
    pool: int | None = None,
    family: Literal["ipv4", "ipv6"] | None = None,
    prefix: int | None = None,
    domain: str | None = None,
    make_main: bool = False,
) -> Call[Started]:
    """Give a server *name*, else the next address of *network*, of *pool*, or of the pools that serve it.

    *prefix* asks for a whole prefix of that length. `id` of the answer is the address.
    """
    body = given(
        ip_name=name,
        ip_net=network,
        ip_pool=pool,
        family=family,
        prefix=prefix,
        domain=domain,
        set_as_main_ipv4=make_main,
    )
    return posting(path_of(SERVER_PATH, server, "ip"), Started, body)


def remove(server: int, address: int, *, quarantine_hours: int | None = None) -> Call[Started]:
    """Remove an address from a server; nobody else gets it for 24 hours, or *quarantine_hours*."""
    body = given(quarantine_hours=quarantine_hours)
    return deleting(path_of(SERVER_PATH, server, "ip", address), Started, body)


def make_main(server: int, address: int) -> Call[Changed]:
    """Make an address the one that an installation uses."""
    return posting(path_of(SERVER_PATH, server, "ip", address), Changed, {"set_as_main_ipv4": True})


def edit(id: int, *, domain: str | None = None, note: str | None = None) -> Call[Changed]:
    """Change the domain of an address; administrators may change its note as well."""
    return posting(path_of(PATH, id), Changed, given(domain=domain, note=note))


def set_ptr(id: int, domain: str) -> Call[Changed]:
    """Set the reverse name; when it is empty, the domain is the reverse name."""
    return posting(path_of(PATH, id, "ptr"), Changed, {"domain": domain})


def keep_back(name: str, *, domain: str | None = None, note: str | None = None) -> Call[Done]:
    """Keep an address, or a prefix, from being handed out."""
    return posting(PATH, Done, given(name=name, domain=domain, note=note))


def free(id: int) -> Call[Done]:
    """Make free an address that was kept back or is in quarantine."""
    return deleting(path_of(PATH, id), Done)
