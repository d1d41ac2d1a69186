"""Tables of the inventory."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rackhand.db import Base, Id
from rackhand.hardware.interfaces import PowerState
from rackhand.tasks.operation import Subject


class ServerStatus(StrEnum):
    """Stable facts that an operator decides; what is being done to a server is its active task, never a status."""

    FREE = "free"
    ALLOCATED = "allocated"
    MAINTENANCE = "maintenance"
    QUARANTINED = "quarantined"


class Location(Base):
    """A data centre: one set of workers and one provisioning network.

    `clear_on_release` is how disks are cleared when a server is taken back: `none`, `fast` or `full`.
    """

    __tablename__ = "location"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    notes: Mapped[str] = mapped_column(default="")
    clear_on_release: Mapped[str] = mapped_column(default="full")
    created_at: Mapped[datetime]


class Rack(Base):
    """A cabinet of `size` units, counted from 1 at the bottom."""

    __tablename__ = "rack"
    __table_args__ = (UniqueConstraint("location_id", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str]
    size: Mapped[int]
    notes: Mapped[str] = mapped_column(default="")
    location_id: Mapped[int] = mapped_column(ForeignKey("location.id", ondelete="RESTRICT"), index=True)
    created_at: Mapped[datetime]


class Server(Subject, Base):
    """A machine.

    `power_state` is what was seen at `power_state_at`, never a wish; `power_error` says why nothing could be seen last.
    """

    __tablename__ = "server"
    __table_args__ = (
        Index("uq_server_rack_unit", "rack_id", "unit", unique=True),
        Index("ix_server_stock", "configuration", sqlite_where=text("owner_id IS NULL"),
              postgresql_where=text("owner_id IS NULL")),
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    domain: Mapped[str] = mapped_column(default="")
    configuration: Mapped[str | None]
    type: Mapped[str] = mapped_column(default="")
    model: Mapped[str] = mapped_column(default="")
    serial: Mapped[str] = mapped_column(default="")
    barcode: Mapped[str] = mapped_column(default="")
    notes: Mapped[str] = mapped_column(default="")
    location_id: Mapped[int] = mapped_column(ForeignKey("location.id", ondelete="RESTRICT"), index=True)
    rack_id: Mapped[int | None] = mapped_column(ForeignKey("rack.id", ondelete="RESTRICT"))
    unit: Mapped[int | None]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"), index=True)
    is_new: Mapped[bool] = mapped_column(default=True)
    maintenance: Mapped[bool] = mapped_column(default=False)
    is_protected: Mapped[bool] = mapped_column(default=False)
    is_suspended: Mapped[bool] = mapped_column(default=False)
    quarantine_reason: Mapped[str | None]
    diagnostics_error: Mapped[str | None]
    efi: Mapped[bool] = mapped_column(default=True)
    hardware_info: Mapped[dict[str, Any]] = mapped_column(default=dict)
    perform_info: Mapped[dict[str, Any]] = mapped_column(default=dict)
    os_template: Mapped[dict[str, Any] | None]
    power_state: Mapped[str] = mapped_column(default=PowerState.UNKNOWN)
    power_state_at: Mapped[datetime | None]
    power_error: Mapped[str | None]
    power_error_at: Mapped[datetime | None]
    last_task_id: Mapped[int | None] = mapped_column(Id)
    created_at: Mapped[datetime]

    nics: Mapped[list["Nic"]] = relationship(
        order_by="Nic.id", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
    disks: Mapped[list["Disk"]] = relationship(
        order_by="Disk.id", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
    bmc: Mapped["BmcAccess | None"] = relationship(
        lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )

    @property
    def status(self) -> ServerStatus:
        """What an operator decided; the strongest word wins."""
        if self.quarantine_reason is not None:
            return ServerStatus.QUARANTINED
        if self.maintenance:
            return ServerStatus.MAINTENANCE
        return ServerStatus.FREE if self.owner_id is None else ServerStatus.ALLOCATED


class Nic(Base):
    """A network interface; its MAC address is unique in the whole inventory."""

    __tablename__ = "nic"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"), index=True)
    mac: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(default="")
    speed_mbit: Mapped[int | None]


class Disk(Base):
    """A drive."""

    __tablename__ = "disk"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(default="")
    kind: Mapped[str] = mapped_column(default="")
    size_gb: Mapped[int]
    model: Mapped[str] = mapped_column(default="")
    serial: Mapped[str] = mapped_column(default="")


class BmcAccess(Base):
    """How to reach the BMC of a server; `password` is sealed by the vault.

    `refused_at` is set when the BMC refused the login: it is not asked again until the access changes, because
    many BMCs lock an account after a few refused logins.
    """

    __tablename__ = "bmc_access"
    __table_args__ = (UniqueConstraint("host", "port"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"), unique=True)
    driver: Mapped[str]
    host: Mapped[str]
    port: Mapped[int]
    user: Mapped[str] = mapped_column(default="")
    password: Mapped[str] = mapped_column(default="")
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    generation: Mapped[int] = mapped_column(default=0)
    refused_at: Mapped[datetime | None]
    refusal: Mapped[str | None]
