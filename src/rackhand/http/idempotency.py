"""Idempotency keys: a POST or DELETE that comes again with the same key gets the first answer again.

The key, the change and the answer are committed together: after a crash either all of them exist or none.
A refused request changes nothing and stores nothing, so it can be tried again under the same key.
"""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from fastapi import Request, Response
from sqlalchemy import LargeBinary, UniqueConstraint, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from rackhand.db import Base, Id, utcnow
from rackhand.errors import Invalid, KeyReused
from rackhand.vault import Vault

LIFETIME = timedelta(hours=24)
MAX_KEY = 255
HEADER = "idempotency-key"
PURPOSE = "idempotency_key.sealed_body"
REPLAYED = {"idempotency-replayed": "true"}


class IdempotencyKey(Base):
    """One answered request; `owner` is who asked, so that keys of different callers never meet."""

    __tablename__ = "idempotency_key"
    __table_args__ = (UniqueConstraint("owner", "key"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    owner: Mapped[str]
    key: Mapped[str]
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int]
    media_type: Mapped[str]
    sealed_body: Mapped[str]  # answers may hold a token, so they are encrypted like any secret
    created_at: Mapped[datetime] = mapped_column(index=True)


async def answer_once(
    session: AsyncSession,
    request: Request,
    *,
    owner: str,
    vault: Vault,
    answer: Callable[[], Awaitable[Response]],
) -> Response:
    """Answer the request, or give the stored answer of the same request.

    Of two that arrive together the second waits for the first: the row is inserted before the work begins.
    """
    key = request.headers[HEADER]
    if not key or len(key) > MAX_KEY:
        raise Invalid(f"Header Idempotency-Key: expected 1 to {MAX_KEY} characters, got {len(key)}.")
    fingerprint = _fingerprint(request, await request.body())
    expired = delete(IdempotencyKey).where(
        IdempotencyKey.owner == owner, IdempotencyKey.created_at < utcnow() - LIFETIME
    )
    await session.execute(expired)
    try:
        async with session.begin_nested():
            row = {"owner": owner, "key": key, "fingerprint": fingerprint, "status": 0, "media_type": ""}
            await session.execute(insert(IdempotencyKey).values(created_at=utcnow(), sealed_body="", **row))
    except IntegrityError:
        return await _stored_answer(session, vault, owner, key, fingerprint)
    response = await answer()
    sealed = vault.seal(bytes(response.body).decode(), purpose=PURPOSE)
    await session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.owner == owner, IdempotencyKey.key == key)
        .values(status=response.status_code, media_type=response.media_type or "", sealed_body=sealed)
    )
    return response


async def _stored_answer(
    session: AsyncSession, vault: Vault, owner: str, key: str, fingerprint: bytes
) -> Response:
    query = select(IdempotencyKey).where(IdempotencyKey.owner == owner, IdempotencyKey.key == key)
    stored = (await session.execute(query)).scalar_one()
    if stored.fingerprint != fingerprint:
        raise KeyReused(
            f"Idempotency-Key {key!r} was used for another request within 24 hours. Use a new key for a new request."
        )
    return Response(
        vault.open(stored.sealed_body, purpose=PURPOSE), stored.status, REPLAYED, stored.media_type
    )


def _fingerprint(request: Request, body: bytes) -> bytes:
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(body)
    return digest.digest()


async def forget_expired(session: AsyncSession) -> None:
    """Delete keys that are older than their lifetime."""
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < utcnow() - LIFETIME))
