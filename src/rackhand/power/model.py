"""The lease that lets one process of a location read the power states."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from rackhand.db import Base


class PollLease(Base):
    """Who polls a location (0: all of them) and until when nobody else does."""

    __tablename__ = "poll_lease"

    location_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[str]
    lease_until: Mapped[datetime]
