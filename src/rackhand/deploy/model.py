"""Tables of what was done to servers and has to be proven later."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from rackhand.db import Base, Id


class Erasure(Base):
    """One wipe of a server: what was done to each disk and what was seen afterwards.

    It outlives the task and the server. `document` is what is signed, `signature` Ed25519 over its canonical JSON; a
    wipe that proved nothing has none.
    """

    __tablename__ = "erasure"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    server_id: Mapped[int | None] = mapped_column(ForeignKey("server.id", ondelete="SET NULL"), index=True)
    task_id: Mapped[int] = mapped_column(Id, unique=True)
    level: Mapped[str]
    is_proven: Mapped[bool]
    document: Mapped[dict[str, Any]]
    key_id: Mapped[str | None]
    signature: Mapped[str | None]
    created_at: Mapped[datetime]


class SigningKey(Base):
    """The key that signs certificates; the private half is sealed by the vault."""

    __tablename__ = "signing_key"

    id: Mapped[str] = mapped_column(primary_key=True)
    public_key: Mapped[str]
    sealed_private_key: Mapped[str]
    created_at: Mapped[datetime]
