"""Tables of address management.

Addresses are stored as `allocation.key_of` gives them, so both databases compare and sort them by number. Every address
belongs to the innermost network that holds it.
"""

from datetime import datetime
from enum import StrEnum
from ipaddress import ip_network
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from rackhand.db import Base, Id
from rackhand.ipam.allocation import IPAddress, IPNetwork, Span, block_at, parse_address, span_between
from rackhand.servers.access import DeviceAccess

PUBLIC = "public"
BMC_OF = "bmc_of"  # in `status_info`: the server whose BMC has the address, see `bmc_addresses`


class AddressStatus(StrEnum):
    """Where an address stands that is not free, for those have no row. These are the words on the wire too.

    The published `allocating` (api-facts 6.1) never shows: an address is the server's when the call is answered.
    """

    ALLOCATED = "allocated"
    SPECIAL = "special"
    QUARANTINED = "quarantined"


class Userspace(Base):
    """A space of addresses in which each exists once; two spaces may hold the same private network."""

    __tablename__ = "ip_userspace"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    note: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]


class Network(Base):
    """A network; `parent_id` is the smallest other one of its space that holds it."""

    __tablename__ = "ip_network"
    __table_args__ = (
        UniqueConstraint("userspace_id", "first", "prefix_length"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    userspace_id: Mapped[int] = mapped_column(ForeignKey("ip_userspace.id", ondelete="RESTRICT"))
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("ip_network.id", ondelete="RESTRICT"), index=True
    )
    cidr: Mapped[str]
    version: Mapped[int]
    prefix_length: Mapped[int]
    first: Mapped[bytes]
    last: Mapped[bytes]
    gateway: Mapped[str] = mapped_column(default="")
    vlan: Mapped[str] = mapped_column(default="")
    note: Mapped[str] = mapped_column(default="")
    location_id: Mapped[int | None] = mapped_column(
        ForeignKey("location.id", ondelete="RESTRICT"), index=True
    )
    created_at: Mapped[datetime]

    @property
    def network(self) -> IPNetwork:
        """The network as a value."""
        return ip_network(self.cidr)

    @property
    def span(self) -> Span:
        """All its addresses."""
        return span_between(self.first, self.last)

    @property
    def gateway_address(self) -> IPAddress | None:
        """The gateway as a value."""
        return parse_address(self.gateway) if self.gateway else None


class Pool(Base):
    """Ranges from which servers get addresses; a rack, else a location, may have pools of its own.

    Users may take addresses of public pools themselves, as far as their quota goes.
    """

    __tablename__ = "ip_pool"
    __table_args__ = (UniqueConstraint("userspace_id", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    userspace_id: Mapped[int] = mapped_column(ForeignKey("ip_userspace.id", ondelete="RESTRICT"))
    name: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    is_public: Mapped[bool] = mapped_column(default=False)
    location_id: Mapped[int | None] = mapped_column(
        ForeignKey("location.id", ondelete="RESTRICT"), index=True
    )
    rack_id: Mapped[int | None] = mapped_column(ForeignKey("rack.id", ondelete="RESTRICT"), index=True)
    created_at: Mapped[datetime]


class Range(Base):
    """Some addresses of a pool; those of one pool do not overlap."""

    __tablename__ = "ip_range"
    __table_args__ = (Index(None, "pool_id", "first"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    userspace_id: Mapped[int] = mapped_column(ForeignKey("ip_userspace.id", ondelete="RESTRICT"))
    pool_id: Mapped[int] = mapped_column(ForeignKey("ip_pool.id", ondelete="CASCADE"))
    name: Mapped[str]
    version: Mapped[int]
    first: Mapped[bytes]
    last: Mapped[bytes]
    created_at: Mapped[datetime]

    @property
    def span(self) -> Span:
        """Its addresses."""
        return span_between(self.first, self.last)


class Address(Base):
    """An address, or a prefix, that is not free: a server's, in quarantine after one, or kept back by the operator.

    Where `prefix_length` is less than all bits, `key` is the first address.
    """

    __tablename__ = "ip_address"
    __table_args__ = (
        # Of two who take one address at once the second cannot be inserted.
        UniqueConstraint("userspace_id", "key"),
        Index(None, "network_id", "key"),
        Index(None, "key"),  # lists by address
        Index("ix_ip_address_special", "network_id", sqlite_where=text("status = 'special'"),
              postgresql_where=text("status = 'special'")),
        Index(None, "server_id", "key"),
        Index("uq_ip_address_main", "server_id", unique=True, sqlite_where=text("is_main"),
              postgresql_where=text("is_main")),
        Index("ix_ip_address_quarantine", "network_id", "quarantined_until",
              sqlite_where=text("quarantined_until IS NOT NULL"),
              postgresql_where=text("quarantined_until IS NOT NULL")),
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    userspace_id: Mapped[int] = mapped_column(ForeignKey("ip_userspace.id", ondelete="RESTRICT"))
    network_id: Mapped[int] = mapped_column(ForeignKey("ip_network.id", ondelete="RESTRICT"))
    pool_id: Mapped[int | None] = mapped_column(ForeignKey("ip_pool.id", ondelete="SET NULL"), index=True)
    server_id: Mapped[int | None] = mapped_column(ForeignKey("server.id", ondelete="RESTRICT"))
    name: Mapped[str]
    key: Mapped[bytes]
    version: Mapped[int]
    prefix_length: Mapped[int]
    domain: Mapped[str] = mapped_column(default="")
    ptr: Mapped[str] = mapped_column(default="")
    note: Mapped[str] = mapped_column(default="")
    status: Mapped[str]
    status_info: Mapped[dict[str, Any]] = mapped_column(default=dict)
    is_main: Mapped[bool] = mapped_column(default=False)
    quarantined_until: Mapped[datetime | None]
    created_at: Mapped[datetime]

    @property
    def span(self) -> Span:
        """The addresses it stands for."""
        return block_at(self.key, self.prefix_length)


class FreeSpan(Base):
    """Addresses that can be handed out now, without gaps: what makes the next one cost the same in a full network.

    An index of what follows from `Network` and `Address`, kept in the transactions that change those, under the lock of
    the network (`free.py`). The constraint on `Address` is what forbids handing out one twice.
    """

    __tablename__ = "ip_free_span"
    __table_args__ = (
        Index(None, "userspace_id", "last"),
        Index(None, "network_id", "last"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    userspace_id: Mapped[int] = mapped_column(ForeignKey("ip_userspace.id", ondelete="CASCADE"))
    network_id: Mapped[int] = mapped_column(ForeignKey("ip_network.id", ondelete="CASCADE"))
    first: Mapped[bytes]
    last: Mapped[bytes]

    @property
    def span(self) -> Span:
        """Its addresses."""
        return span_between(self.first, self.last)


class AddressQuota(Base):
    """How many addresses a user may take itself; without a row none. It does not bind administrators, nor billing."""

    __tablename__ = "ip_quota"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    ipv4: Mapped[int] = mapped_column(default=0)
    ipv6: Mapped[int] = mapped_column(default=0)


class DnsServer(DeviceAccess, Base):
    """A name server that holds reverse zones; `error` says why it could not be asked last, since `error_at`."""

    __tablename__ = "dns_server"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    note: Mapped[str] = mapped_column(default="")
    seen_at: Mapped[datetime | None]
    error: Mapped[str | None]
    error_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class DnsZone(Base):
    """A reverse zone, and the network whose addresses stand in it; of several the smallest network counts."""

    __tablename__ = "dns_zone"
    __table_args__ = (
        UniqueConstraint("userspace_id", "first", "prefix_length"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    userspace_id: Mapped[int] = mapped_column(ForeignKey("ip_userspace.id", ondelete="RESTRICT"))
    dns_server_id: Mapped[int] = mapped_column(ForeignKey("dns_server.id", ondelete="RESTRICT"), index=True)
    name: Mapped[str]
    cidr: Mapped[str]
    version: Mapped[int]
    prefix_length: Mapped[int]
    first: Mapped[bytes]
    last: Mapped[bytes]
    ttl: Mapped[int]
    created_at: Mapped[datetime]


class PtrState(StrEnum):
    """Whether a name server says of an address what it should."""

    PENDING = "pending"
    PUBLISHED = "published"
    FAILED = "failed"


class PtrRecord(Base):
    """What a name server is to say of one address: `target`, or nothing where that is empty.

    A row that wants nothing goes when the name server was seen to say nothing. It outlives the address, whose row may
    be gone before the name server answers. `generation` counts the wishes. Who talks to the name server about it holds
    it as `holder` until `held_until`, and nobody else does meanwhile.
    """

    __tablename__ = "ptr_record"
    __table_args__ = (
        UniqueConstraint("userspace_id", "key"),
        Index("ix_ptr_record_due", "try_at", sqlite_where=text("state != 'published'"),
              postgresql_where=text("state != 'published'")),
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    userspace_id: Mapped[int] = mapped_column(ForeignKey("ip_userspace.id", ondelete="CASCADE"))
    zone_id: Mapped[int] = mapped_column(ForeignKey("dns_zone.id", ondelete="CASCADE"), index=True)
    key: Mapped[bytes]
    name: Mapped[str]
    target: Mapped[str]
    generation: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(default=PtrState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    try_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    holder: Mapped[str | None]
    held_until: Mapped[datetime | None]
    changed_at: Mapped[datetime]
