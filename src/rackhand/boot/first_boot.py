"""The proof that an installed system has started: it says the nonce that was put into it, while its task waits.

The nonce stands in the installed system alone; here is its hash. It opens nothing: all that can be done with it is to
say that the system runs, once.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot.model import FirstBoot
from rackhand.boot.reservations import NONCE_BYTES, hash_secret, is_secret
from rackhand.db import utcnow
from rackhand.tasks.model import ACTIVE, Task

MAX_FIELDS = 16
MAX_VALUE = 2000


@dataclass(frozen=True)
class Report:
    """When the installed system said that it runs, from where, and what it told of itself."""

    at: datetime
    address: str
    values: Mapping[str, Any]


async def expect(session: AsyncSession, task_id: int) -> str:
    """Make the nonce that the system of this task is to say; an earlier one is void."""
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    await session.execute(delete(FirstBoot).where(FirstBoot.task_id == task_id))
    session.add(
        FirstBoot(task_id=task_id, nonce_hash=hash_secret(nonce), created_at=utcnow(), report={}, address="")
    )
    await session.flush()
    return nonce


async def note(
    session: AsyncSession, nonce: str, *, address: str, values: Mapping[str, str]
) -> FirstBoot | None:
    """Write down that a system says *nonce*; None when nobody waits for it. The first time counts."""
    query = (
        select(FirstBoot)
        .join(Task, Task.id == FirstBoot.task_id)
        .where(FirstBoot.nonce_hash == hash_secret(nonce), Task.status.in_(ACTIVE))
    )
    row = (await session.scalars(query)).one_or_none()
    if row is None or not is_secret(nonce, row.nonce_hash):
        return None
    if row.reported_at is None:
        row.reported_at, row.address = utcnow(), address
        row.report = {name: value[:MAX_VALUE] for name, value in list(values.items())[:MAX_FIELDS]}
    return row


async def report_of(session: AsyncSession, task_id: int) -> Report | None:
    """What the installed system of a task said; None while it has not."""
    row = await session.get(FirstBoot, task_id)
    return (
        None if row is None or row.reported_at is None else Report(row.reported_at, row.address, row.report)
    )


async def forget(session: AsyncSession, task_id: int) -> None:
    """Wait no more; safe to repeat."""
    await session.execute(delete(FirstBoot).where(FirstBoot.task_id == task_id))
