"""Who has a console open: a BMC gives one session, whatever number of processes serve the API."""

from datetime import timedelta

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError

from rackhand.consoles.model import ConsoleLease
from rackhand.db import Database, utcnow
from rackhand.errors import Conflict, NotFound

LEASE = timedelta(seconds=60)
RENEW_EVERY = LEASE / 3


async def take(db: Database, server_id: int, holder: str) -> bool:
    """Take the lease of a console; say whether its last holder ended without giving it back.

    Raises `Conflict` while another process has it.
    """
    async with db.write() as session:
        now = utcnow()
        values = {"holder": holder, "opened_at": now, "lease_until": now + LEASE}
        inherited = await session.execute(
            update(ConsoleLease)
            .where(
                ConsoleLease.server_id == server_id,
                (ConsoleLease.lease_until < now) | (ConsoleLease.holder == holder),
            )
            .values(**values)
        )
        if inherited.rowcount:  # type: ignore[attr-defined]  # a cursor result
            return True
        other = await session.get(ConsoleLease, server_id)
        if other is not None:
            raise Conflict(
                f"The serial console of server {server_id} is open in another process, {other.holder}, since"
                f" {other.opened_at:%Y-%m-%d %H:%M:%S} UTC. Ask that one, or wait until its viewers have left.",
                value={"holder": other.holder},
            )
        try:
            async with session.begin_nested():
                session.add(ConsoleLease(server_id=server_id, **values))
                await session.flush()
        except IntegrityError as error:
            raise NotFound(f"There is no server {server_id}, or its console was opened just now.") from error
        return False


async def renew(db: Database, server_id: int, holder: str) -> bool:
    """Keep a lease for another `LEASE`; False when it was taken away."""
    async with db.write() as session:
        kept = await session.execute(
            update(ConsoleLease)
            .where(ConsoleLease.server_id == server_id, ConsoleLease.holder == holder)
            .values(lease_until=utcnow() + LEASE)
        )
        return bool(kept.rowcount)  # type: ignore[attr-defined]  # a cursor result


async def give_back(db: Database, server_id: int, holder: str) -> None:
    """Say that the console was closed in good order. Safe to repeat."""
    async with db.write() as session:
        await session.execute(
            delete(ConsoleLease).where(ConsoleLease.server_id == server_id, ConsoleLease.holder == holder)
        )


async def take_away(db: Database, server_id: int) -> bool:
    """Have whatever process holds the console close it, within `RENEW_EVERY`; say whether there was one."""
    async with db.write() as session:
        gone = await session.execute(delete(ConsoleLease).where(ConsoleLease.server_id == server_id))
        return bool(gone.rowcount)  # type: ignore[attr-defined]  # a cursor result
