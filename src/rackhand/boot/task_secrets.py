"""What a task must not say aloud: sealed while the task is active, handed to nobody but its agent, then forgotten."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot.model import TaskSecret
from rackhand.db import utcnow
from rackhand.tasks.model import ACTIVE, Task
from rackhand.vault import Vault

PURPOSE = "task_secret.sealed"
SECRETS = "secrets"  # the argument of a command that names what goes with it


async def keep(session: AsyncSession, vault: Vault, task_id: int, values: Mapping[str, Any]) -> None:
    """Add *values* (JSON) to what the task keeps; safe to repeat."""
    row = await session.get(TaskSecret, task_id, with_for_update=True)
    known = {} if row is None else _open(row, vault)
    sealed = vault.seal(json.dumps({**known, **values}), purpose=PURPOSE)
    if row is None:
        session.add(TaskSecret(task_id=task_id, sealed=sealed, created_at=utcnow()))
    else:
        row.sealed = sealed


async def read(session: AsyncSession, vault: Vault, task_id: int) -> dict[str, Any]:
    """What the task keeps by name, empty when nothing is left; raises `SecretUnreadable`."""
    row = await session.get(TaskSecret, task_id)
    return {} if row is None else _open(row, vault)


async def fill_in(
    session: AsyncSession, vault: Vault, task_id: int, args: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a command with what its `secrets` name, as its agent gets them."""
    names: Iterable[str] = args.get(SECRETS, ())
    if not names:
        return dict(args)
    kept = await read(session, vault, task_id)
    given = {name: value for name, value in args.items() if name != SECRETS}
    return given | {name: kept[name] for name in names if name in kept}


async def forget(session: AsyncSession, task_id: int) -> None:
    """Delete what a task kept; safe to repeat."""
    await session.execute(delete(TaskSecret).where(TaskSecret.task_id == task_id))


async def forget_finished(session: AsyncSession) -> None:
    """Delete what tasks kept that are over, such as those that were cancelled before their first step."""
    active = select(Task.id).where(Task.status.in_(ACTIVE))
    await session.execute(delete(TaskSecret).where(TaskSecret.task_id.not_in(active)))


def _open(row: TaskSecret, vault: Vault) -> dict[str, Any]:
    opened: dict[str, Any] = json.loads(vault.open(row.sealed, purpose=PURPOSE))
    return opened
