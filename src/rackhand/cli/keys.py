"""Rotation of the key ring."""

from sqlalchemy import select

from rackhand import vault as vaults
from rackhand.boot.model import TaskSecret
from rackhand.boot.task_secrets import PURPOSE as TASK_PURPOSE
from rackhand.db import Database, utcnow
from rackhand.deploy.certificates import KEY_PURPOSE
from rackhand.deploy.model import SigningKey
from rackhand.http.idempotency import PURPOSE, IdempotencyKey
from rackhand.ipam.model import DnsServer
from rackhand.power.model import Pdu
from rackhand.servers.access import purpose_of
from rackhand.servers.bmc import PASSWORD_PURPOSE
from rackhand.servers.model import BmcAccess
from rackhand.settings import Settings
from rackhand.switches.model import Switch
from rackhand.tasks.model import WorkerSlot


async def rotate(settings: Settings) -> None:
    """Seal every secret with a new key.

    The ring with both keys is written before any row, so that a crash in between leaves nothing unreadable; the old key
    is dropped when no row needs it. Answers kept for idempotency keys are sealed again too.
    """
    if settings.secret_key.get_secret_value():
        raise SystemExit(
            "The key ring comes from RACKHAND_SECRET_KEY. Move it into the file secret.keys to have it rotated."
        )
    db = Database(settings.database)
    await db.migrate()
    async with db.read() as session:
        running = (
            await session.scalars(select(WorkerSlot.executor_id).where(WorkerSlot.lease_until > utcnow()))
        ).all()
    if running:
        raise SystemExit(f"Stop all processes first; still running: {', '.join(running)}.")
    ring = vaults.load("", settings.data).rotated()
    vaults.save(ring, settings.data)
    async with db.write() as session:
        resealed = 0
        for access in await session.scalars(select(BmcAccess).where(BmcAccess.password != "")):
            access.password = ring.seal(
                ring.open(access.password, purpose=PASSWORD_PURPOSE), purpose=PASSWORD_PURPOSE
            )
            resealed += 1
        devices: list[Switch | Pdu | DnsServer] = [
            *await session.scalars(select(Switch).where(Switch.credentials != "")),
            *await session.scalars(select(Pdu).where(Pdu.credentials != "")),
            *await session.scalars(select(DnsServer).where(DnsServer.credentials != "")),
        ]
        for device in devices:
            purpose = purpose_of(device)
            device.credentials = ring.seal(ring.open(device.credentials, purpose=purpose), purpose=purpose)
            resealed += 1
        for kept in await session.scalars(select(TaskSecret)):
            kept.sealed = ring.seal(ring.open(kept.sealed, purpose=TASK_PURPOSE), purpose=TASK_PURPOSE)
            resealed += 1
        for key in await session.scalars(select(SigningKey)):
            key.sealed_private_key = ring.seal(
                ring.open(key.sealed_private_key, purpose=KEY_PURPOSE), purpose=KEY_PURPOSE
            )
            resealed += 1
        for stored in await session.scalars(select(IdempotencyKey).where(IdempotencyKey.sealed_body != "")):
            stored.sealed_body = ring.seal(ring.open(stored.sealed_body, purpose=PURPOSE), purpose=PURPOSE)
            resealed += 1
    await db.dispose()
    vaults.save(ring.newest_only(), settings.data)
    print(f"{resealed} secrets are sealed with the new key. Start the processes again.")
