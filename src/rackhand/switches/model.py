"""Tables of switches: what an operator wrote down, and what was seen last."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rackhand.db import Base, Id
from rackhand.hardware.interfaces import AdminStatus, OperStatus
from rackhand.servers.access import DeviceAccess
from rackhand.tasks.operation import Subject


class ConnectionKind(StrEnum):
    """What is at the other end of a cable."""

    DATA = "data"
    BMC = "bmc"
    DEVICE = "device"  # a PDU, another switch, a router


class VlanPurpose(StrEnum):
    """What a VLAN is for; a location has at most one for each purpose but `customer` and `other`."""

    CUSTOMER = "customer"
    PROVISIONING = "provisioning"
    PARKING = "parking"  # where ports of servers without an owner rest
    OTHER = "other"


class Switch(Subject, DeviceAccess, Base):
    """A switch. `owner_id` is always null: it belongs to the operator, so its tasks are an administrator's."""

    __tablename__ = "switch"
    __table_args__ = (UniqueConstraint("host", "port"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    model: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(default="")
    serial: Mapped[str] = mapped_column(default="")
    barcode: Mapped[str] = mapped_column(default="")
    notes: Mapped[str] = mapped_column(default="")
    location_id: Mapped[int] = mapped_column(ForeignKey("location.id", ondelete="RESTRICT"), index=True)
    rack_id: Mapped[int | None] = mapped_column(ForeignKey("rack.id", ondelete="RESTRICT"), index=True)
    unit: Mapped[int | None]
    owner_id: Mapped[int | None] = mapped_column(Id)
    last_task_id: Mapped[int | None] = mapped_column(Id)
    seen_at: Mapped[datetime | None]
    error: Mapped[str | None]
    error_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    ports: Mapped[list["SwitchPort"]] = relationship(
        back_populates="switch",
        order_by="SwitchPort.if_index",
        lazy="raise",
        cascade="all, delete-orphan",
        passive_deletes=True,
    )


class SwitchPort(Base):
    """A port as it was seen at `seen_at`.

    `flag` is set before a change and cleared when the change was seen: as long as it stands, nobody knows what the port
    does. `is_missing` marks a port that the switch no longer has.
    """

    __tablename__ = "switch_port"
    __table_args__ = (
        UniqueConstraint("switch_id", "if_index"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    switch_id: Mapped[int] = mapped_column(ForeignKey("switch.id", ondelete="CASCADE"))
    if_index: Mapped[int] = mapped_column(Id)
    name: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(default="")
    alias: Mapped[str] = mapped_column(default="")
    mac: Mapped[str | None]
    speed_mbit: Mapped[int] = mapped_column(default=0)
    admin_status: Mapped[str] = mapped_column(default=AdminStatus.UP)
    oper_status: Mapped[str] = mapped_column(default=OperStatus.UNKNOWN)
    vlan: Mapped[int | None]
    is_uplink: Mapped[bool] = mapped_column(default=False)
    is_missing: Mapped[bool] = mapped_column(default=False)
    flag: Mapped[str | None]
    seen_at: Mapped[datetime | None]

    connection: Mapped["Connection | None"] = relationship(lazy="raise", back_populates="port")
    switch: Mapped[Switch] = relationship(lazy="raise", back_populates="ports")


class Connection(Base):
    """A cable: one port, and a NIC or the BMC of a server, or some other device by its name."""

    __tablename__ = "connection"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    port_id: Mapped[int] = mapped_column(ForeignKey("switch_port.id", ondelete="RESTRICT"), unique=True)
    kind: Mapped[str] = mapped_column(default=ConnectionKind.DATA)
    server_id: Mapped[int | None] = mapped_column(ForeignKey("server.id", ondelete="RESTRICT"), index=True)
    nic_id: Mapped[int | None] = mapped_column(ForeignKey("nic.id", ondelete="SET NULL"), unique=True)
    device_name: Mapped[str] = mapped_column(default="")
    notes: Mapped[str] = mapped_column(default="")
    do_not_collect_traffic: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]

    port: Mapped[SwitchPort] = relationship(lazy="raise", back_populates="connection")


_SINGLE = "purpose IN ('provisioning', 'parking')"


class Vlan(Base):
    """A VLAN of a location; those of customers count against `vlans_per_user`."""

    __tablename__ = "vlan"
    __table_args__ = (
        UniqueConstraint("location_id", "vid"),
        Index(
            "uq_vlan_purpose",
            "location_id",
            "purpose",
            unique=True,
            sqlite_where=text(_SINGLE),
            postgresql_where=text(_SINGLE),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    location_id: Mapped[int] = mapped_column(ForeignKey("location.id", ondelete="RESTRICT"))
    vid: Mapped[int]
    name: Mapped[str] = mapped_column(default="")
    purpose: Mapped[str] = mapped_column(default=VlanPurpose.CUSTOMER)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"), index=True)
    created_at: Mapped[datetime]


class TrafficSample(Base):
    """The counters of a port at one moment, as the switch gave them.

    `at` is Unix time in seconds. `octets_in` is what the port received, so what the server sent. Both are unsigned
    64-bit counters kept as two's complement, for no database has unsigned columns. `uptime` is sysUpTime in seconds,
    `bits` the width of the counters.
    """

    __tablename__ = "traffic_sample"
    __table_args__ = ({"sqlite_with_rowid": False},)

    port_id: Mapped[int] = mapped_column(
        ForeignKey("switch_port.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    at: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    octets_in: Mapped[int] = mapped_column(BigInteger)
    octets_out: Mapped[int] = mapped_column(BigInteger)
    uptime: Mapped[int]
    bits: Mapped[int]


class TrafficDay(Base):
    """Octets through a port in one day (UTC, days since 1970): what monthly sums are made of."""

    __tablename__ = "traffic_day"
    __table_args__ = ({"sqlite_with_rowid": False},)

    port_id: Mapped[int] = mapped_column(
        ForeignKey("switch_port.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    octets_in: Mapped[int] = mapped_column(BigInteger)
    octets_out: Mapped[int] = mapped_column(BigInteger)


class TrafficArchive(Base):
    """The samples of a port and day, packed: nothing of them is lost, they only take a tenth of the space."""

    __tablename__ = "traffic_archive"
    __table_args__ = ({"sqlite_with_rowid": False},)

    port_id: Mapped[int] = mapped_column(
        ForeignKey("switch_port.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    samples: Mapped[bytes]
