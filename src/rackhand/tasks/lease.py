"""Leases of sweeps: of several processes one reads the devices of a location, until it stops or dies."""

from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from rackhand.db import Base, Database, utcnow

LEASE = timedelta(seconds=60)


class SweepLease(Base):
    """Who runs a sweep, and until when nobody else does; `name` says what is swept where (location 0: everywhere)."""

    __tablename__ = "sweep_lease"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    lease_until: Mapped[datetime]


async def hold_lease(db: Database, name: str, holder: str) -> bool:
    """Take or renew a lease for `LEASE`; False while somebody else has it."""
    async with db.write() as session:
        free = (SweepLease.holder == holder) | (SweepLease.lease_until < utcnow())
        values = {"holder": holder, "lease_until": utcnow() + LEASE}
        taken = await session.execute(
            update(SweepLease).where(SweepLease.name == name, free).values(**values)
        )
        if taken.rowcount:  # type: ignore[attr-defined]  # a cursor result
            return True
        try:
            async with session.begin_nested():
                session.add(SweepLease(name=name, **values))
                await session.flush()
        except IntegrityError:
            return False
        return True


async def let_go(db: Database, holder: str) -> None:
    """Give all leases of *holder* back, so that the next process need not wait for their end."""
    async with db.write() as session:
        await session.execute(delete(SweepLease).where(SweepLease.holder == holder))
