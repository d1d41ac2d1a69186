"""Tables of network boot."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from rackhand.db import Base, Id


class BootReservation(Base):
    """What the NICs of a server boot, for one task.

    A row says nothing by itself: it is armed only while its task goes forward and `expires_at` is to come, see
    `reservations.armed`. The nonce of a boot is made when its script is handed out, and only its hash is kept.
    """

    __tablename__ = "boot_reservation"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"), unique=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"), index=True)
    image: Mapped[str]
    nonce_hash: Mapped[bytes | None]
    boot_id: Mapped[str | None]
    asked_at: Mapped[datetime | None]
    asked_by: Mapped[str | None]
    hello_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime]


class AgentSession(Base):
    """An agent that said hello: one boot of a machine, for one task; good while the task is active.

    `identity` is what the machine said of itself (MAC addresses, serial number, UUID), `log_tail` its last words.
    """

    __tablename__ = "agent_session"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"), index=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    boot_id: Mapped[str]
    identity: Mapped[dict[str, Any]]
    address: Mapped[str]
    log_tail: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class CommandState(StrEnum):
    """`queued -> running -> done | failed`; `lost` when the machine was restarted in the middle."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    LOST = "lost"


_QUEUED_SQL = "state = 'queued'"


class AgentCommand(Base):
    """Something that a step of a task asked of the agent; `id` is `task.step.attempt`, done once by one boot."""

    __tablename__ = "agent_command"
    __table_args__ = (
        Index("ix_agent_command_queued", "task_id", sqlite_where=text(_QUEUED_SQL),
              postgresql_where=text(_QUEUED_SQL)),
        Index(None, "task_id", "step", "attempt"),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"))
    step: Mapped[str]
    attempt: Mapped[int]
    kind: Mapped[str]
    args: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(default=CommandState.QUEUED)
    session_id: Mapped[int | None] = mapped_column(ForeignKey("agent_session.id", ondelete="SET NULL"))
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class DiscoveredMachine(Base):
    """A MAC address that asked for something to boot and belongs to no server."""

    __tablename__ = "discovered_machine"

    mac: Mapped[str] = mapped_column(primary_key=True)
    platform: Mapped[str] = mapped_column(default="")
    serial: Mapped[str] = mapped_column(default="")
    uuid: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    times: Mapped[int] = mapped_column(default=1)
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime] = mapped_column(index=True)


class TaskSecret(Base):
    """What a task must not say aloud (a password's hash, a customer's scripts), as one sealed JSON object by name.

    A command names in its `secrets` what of it goes to the agent. The row goes when the task is over.
    """

    __tablename__ = "task_secret"

    task_id: Mapped[int] = mapped_column(
        ForeignKey("task.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    sealed: Mapped[str]
    created_at: Mapped[datetime]


class FirstBoot(Base):
    """The proof of an installation: the installed system says the nonce that it was given, once, from its first boot.

    It counts while the task is active; `report` is what the system told of itself, such as its SSH host keys.
    """

    __tablename__ = "first_boot"

    task_id: Mapped[int] = mapped_column(
        ForeignKey("task.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    nonce_hash: Mapped[bytes] = mapped_column(unique=True)
    reported_at: Mapped[datetime | None]
    address: Mapped[str] = mapped_column(default="")
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
