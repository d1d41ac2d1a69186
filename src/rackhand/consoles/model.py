"""The table of open consoles."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from rackhand.db import Base


class ConsoleLease(Base):
    """Which process has the console of a server open, and until when nobody else does.

    A row that is still there past its time tells of a process that ended without closing its console.
    """

    __tablename__ = "console_lease"

    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"), primary_key=True)
    holder: Mapped[str]
    opened_at: Mapped[datetime]
    lease_until: Mapped[datetime]
