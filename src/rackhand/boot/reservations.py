"""What a MAC address boots now: the only answer to that question, for DHCP, iPXE and the agent alike.

A reservation is armed while its task goes forward and its time is not over; that is asked in the query itself, so no
crash and no restored backup leaves one armed. Everybody else boots the disk.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot.model import AgentSession, BootReservation, DiscoveredMachine
from rackhand.db import utcnow
from rackhand.servers.model import Nic, Server
from rackhand.tasks.model import ACTIVE, Phase, Task

NONCE_BYTES = 16
MAX_DISCOVERED = 10_000  # whoever makes up addresses fills no disk


class Image(StrEnum):
    """What can be booted over the network: a folder below `boot/` in the data directory."""

    RAMDISK = "ramdisk"


@dataclass(frozen=True)
class Boot:
    """What a machine is to boot, and the nonce that its agent must say."""

    server_id: int
    task_id: int
    image: Image
    nonce: str

    def __repr__(self) -> str:
        return f"Boot(server={self.server_id}, task={self.task_id})"


@dataclass(frozen=True)
class Seen:
    """How far the boot of a task is: when its script was handed out, and when its agent said hello."""

    asked_at: datetime | None
    hello_at: datetime | None


def hash_secret(secret: str) -> bytes:
    """The stored form of a nonce or token: they are random, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def is_secret(secret: str, stored: bytes | None) -> bool:
    """Say whether *secret* is the one that was stored, in constant time."""
    return stored is not None and hmac.compare_digest(hash_secret(secret), stored)


def armed(now: datetime) -> ColumnElement[bool]:
    """The condition under which a row of `boot_reservation` counts."""
    goes_forward = and_(
        Task.id == BootReservation.task_id, Task.status.in_(ACTIVE), Task.phase == Phase.FORWARD
    )
    return and_(BootReservation.expires_at > now, exists().where(goes_forward))


async def reserve(
    session: AsyncSession, server: Server, *, task_id: int, image: Image, expires_at: datetime
) -> None:
    """Have *server* boot *image* while *task_id* goes forward. Safe to repeat; replaces that of an earlier task."""
    query = select(BootReservation).where(BootReservation.server_id == server.id).with_for_update()
    row = (await session.scalars(query)).one_or_none()
    if row is not None and row.task_id == task_id:
        row.image, row.expires_at = image, expires_at
        return
    await session.execute(delete(BootReservation).where(BootReservation.server_id == server.id))
    try:
        async with session.begin_nested():
            session.add(
                BootReservation(
                    server_id=server.id,
                    task_id=task_id,
                    image=image,
                    expires_at=expires_at,
                    created_at=utcnow(),
                )
            )
            await session.flush()
    except IntegrityError:
        return  # the same step on another worker was faster


async def forget_boot(session: AsyncSession, task_id: int) -> None:
    """Begin a boot anew: the script and the agent of earlier boots count no more. Safe to repeat."""
    await session.execute(
        update(BootReservation)
        .where(BootReservation.task_id == task_id)
        .values(nonce_hash=None, boot_id=None, asked_at=None, asked_by=None, hello_at=None)
    )
    await end_sessions(session, task_id)


async def release(session: AsyncSession, task_id: int) -> bool:
    """Take the reservation of a task away; safe to repeat. Says whether there was one."""
    found = await session.execute(delete(BootReservation).where(BootReservation.task_id == task_id))
    await end_sessions(session, task_id)
    return bool(found.rowcount)  # type: ignore[attr-defined]  # a cursor result


async def end_sessions(session: AsyncSession, task_id: int) -> None:
    """End the agents of a task: their tokens are refused from now on."""
    await session.execute(
        update(AgentSession)
        .where(AgentSession.task_id == task_id, AgentSession.ended_at.is_(None))
        .values(ended_at=utcnow())
    )


async def seen(session: AsyncSession, task_id: int) -> Seen:
    """How far the boot of a task is."""
    query = select(BootReservation.asked_at, BootReservation.hello_at)
    row = (await session.execute(query.where(BootReservation.task_id == task_id))).one_or_none()
    return Seen(None, None) if row is None else Seen(row.asked_at, row.hello_at)


async def hand_out(session: AsyncSession, mac: str) -> Boot | None:
    """Answer what *mac* boots now, None for its disk, and make the nonce of this boot; earlier ones are void."""
    now = utcnow()
    query = (
        select(BootReservation)
        .join(Nic, Nic.server_id == BootReservation.server_id)
        .where(Nic.mac == mac, armed(now))
        .with_for_update(of=BootReservation)
    )
    row = (await session.scalars(query)).one_or_none()
    if row is None:
        return None
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    row.nonce_hash, row.boot_id, row.hello_at = hash_secret(nonce), None, None
    row.asked_at, row.asked_by = now, mac
    return Boot(row.server_id, row.task_id, Image(row.image), nonce)


async def by_nonce(session: AsyncSession, nonce: str) -> BootReservation | None:
    """The armed reservation whose last script carried *nonce*."""
    query = (
        select(BootReservation)
        .where(BootReservation.nonce_hash == hash_secret(nonce), armed(utcnow()))
        .with_for_update()
    )
    row = (await session.scalars(query)).one_or_none()
    return row if row is not None and is_secret(nonce, row.nonce_hash) else None


async def forget_discovered(session: AsyncSession, before: datetime) -> None:
    """Forget machines that have not asked since *before*."""
    await session.execute(delete(DiscoveredMachine).where(DiscoveredMachine.last_seen_at < before))


async def note_discovered(
    session: AsyncSession, mac: str, *, platform: str, serial: str, uuid: str, address: str
) -> bool:
    """Remember a MAC address that belongs to no server; says whether it is a new one."""
    if await session.scalar(select(Nic.id).where(Nic.mac == mac)) is not None:
        return False
    now = utcnow()
    values = {"platform": platform, "serial": serial, "uuid": uuid, "address": address, "last_seen_at": now}
    known = await session.execute(
        update(DiscoveredMachine)
        .where(DiscoveredMachine.mac == mac)
        .values(**values, times=DiscoveredMachine.times + 1)
    )
    if known.rowcount:  # type: ignore[attr-defined]  # a cursor result
        return False
    if (await session.scalar(select(func.count()).select_from(DiscoveredMachine)) or 0) >= MAX_DISCOVERED:
        return False
    try:
        async with session.begin_nested():
            session.add(DiscoveredMachine(mac=mac, first_seen_at=now, times=1, **values))
            await session.flush()
    except IntegrityError:
        return False
    return True
