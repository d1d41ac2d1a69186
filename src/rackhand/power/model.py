"""Tables of PDUs: what an operator wrote down, what was seen last, and the energy that was measured."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rackhand.db import Base, Id
from rackhand.hardware.interfaces import PowerState
from rackhand.servers.access import DeviceAccess
from rackhand.tasks.operation import Subject


class Pdu(Subject, DeviceAccess, Base):
    """A power distribution unit. `owner_id` is always null: it belongs to the operator."""

    __tablename__ = "pdu"
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


class Outlet(Base):
    """An outlet as it was seen at `seen_at`.

    `flag` is set before a change and cleared when the change was seen: as long as it stands, nobody knows what the
    outlet does. `is_missing` marks an outlet that the PDU no longer has. `energy_wh` is the counter at `sampled_at`
    (Unix time), the last sample of the sweep: the next one is compared with it.
    """

    __tablename__ = "outlet"
    __table_args__ = (UniqueConstraint("pdu_id", "number"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    pdu_id: Mapped[int] = mapped_column(ForeignKey("pdu.id", ondelete="CASCADE"))
    number: Mapped[int]
    name: Mapped[str] = mapped_column(default="")
    state: Mapped[str] = mapped_column(default=PowerState.UNKNOWN)
    watts: Mapped[int | None]
    energy_wh: Mapped[int | None] = mapped_column(BigInteger)
    sampled_at: Mapped[int | None] = mapped_column(BigInteger)
    is_missing: Mapped[bool] = mapped_column(default=False)
    flag: Mapped[str | None]
    seen_at: Mapped[datetime | None]

    pdu: Mapped[Pdu] = relationship(lazy="raise")
    connection: Mapped["OutletConnection | None"] = relationship(lazy="raise", back_populates="outlet")


class OutletConnection(Base):
    """A power cord: one outlet, and a feed of a server, or some other device by its name."""

    __tablename__ = "outlet_connection"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    outlet_id: Mapped[int] = mapped_column(ForeignKey("outlet.id", ondelete="RESTRICT"), unique=True)
    server_id: Mapped[int | None] = mapped_column(ForeignKey("server.id", ondelete="RESTRICT"), index=True)
    device_name: Mapped[str] = mapped_column(default="")
    feed: Mapped[str] = mapped_column(default="")
    notes: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]

    outlet: Mapped[Outlet] = relationship(lazy="raise", back_populates="connection")


class EnergySample(Base):
    """What an outlet measured at `at` (Unix time in seconds): its energy counter and its power; null: not measured."""

    __tablename__ = "energy_sample"
    __table_args__ = ({"sqlite_with_rowid": False},)

    outlet_id: Mapped[int] = mapped_column(
        ForeignKey("outlet.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    at: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    energy_wh: Mapped[int | None] = mapped_column(BigInteger)
    watts: Mapped[int | None]


class EnergyDay(Base):
    """Energy through a cord in one day (UTC, days since 1970): what monthly sums are made of."""

    __tablename__ = "energy_day"
    __table_args__ = ({"sqlite_with_rowid": False},)

    connection_id: Mapped[int] = mapped_column(
        ForeignKey("outlet_connection.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    energy_wh: Mapped[int] = mapped_column(BigInteger)


class EnergyArchive(Base):
    """The samples of an outlet and day, packed without loss."""

    __tablename__ = "energy_archive"
    __table_args__ = ({"sqlite_with_rowid": False},)

    outlet_id: Mapped[int] = mapped_column(
        ForeignKey("outlet.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    samples: Mapped[bytes]
