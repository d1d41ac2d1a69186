"""The table of events."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from rackhand.db import Base, Id


class Event(Base):
    """One change.

    Names and e-mail addresses are copied, not referenced: history outlives what it tells of. `owner_id` is the user who
    owned the subject at that time, and the only one besides administrators who sees the event.
    """

    __tablename__ = "event"
    __table_args__ = (
        Index(None, "subject_kind", "subject_id", "id"),
        Index(None, "owner_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(index=True)
    message: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[int | None] = mapped_column(Id)
    subject_name: Mapped[str]
    owner_id: Mapped[int | None] = mapped_column(Id)
    actor_id: Mapped[int | None] = mapped_column(Id)
    actor_email: Mapped[str | None]
    address: Mapped[str | None]
    request_id: Mapped[str | None]
    task_id: Mapped[int | None] = mapped_column(Id, index=True)
    data: Mapped[dict[str, Any] | None]
