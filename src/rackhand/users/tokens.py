"""Sessions, API tokens and login keys: made, recognised, ended."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from rackhand.db import utcnow
from rackhand.errors import Invalid, Unauthenticated
from rackhand.sqlite import BRIEF
from rackhand.users.model import AccountState, AuthSetting, LoginKey, Token, TokenKind, User

TOKEN_BYTES = 12  # 24 hex digits, as the published examples show
KEY_LIFETIME = timedelta(hours=1)
DEFAULT_TTL = timedelta(hours=1)
MAX_TTL = timedelta(days=365)
TOUCH_AFTER = timedelta(seconds=60)
TTL_SETTING = "token_ttl"


@dataclass(frozen=True)
class IssuedToken:
    """A fresh token in clear: shown once, never stored."""

    id: int
    token: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"IssuedToken({self.id})"


def hash_token(token: str) -> bytes:
    """The stored form; tokens have 96 random bits, so a fast hash is enough."""
    return hashlib.sha256(token.encode()).digest()


async def token_ttl(session: AsyncSession) -> timedelta:
    """How long an unused session lasts."""
    stored = await session.get(AuthSetting, TTL_SETTING)
    return timedelta(minutes=int(stored.value)) if stored else DEFAULT_TTL


async def set_token_ttl(session: AsyncSession, minutes: str | int) -> timedelta:
    """Change how long an unused session lasts."""
    text = str(minutes).strip()
    limit = int(MAX_TTL.total_seconds() // 60)
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= limit):  # noqa: PLR2004
        raise Invalid(f"token_ttl: expected 1 to {limit} minutes, got {text[:40]!r}.")
    await session.merge(AuthSetting(name=TTL_SETTING, value=text))
    return timedelta(minutes=int(text))


async def open_session(session: AsyncSession, user: User, *, address: str) -> IssuedToken:
    """Sign *user* in."""
    expires_at = utcnow() + await token_ttl(session)
    return await _issue(session, user, kind=TokenKind.SESSION, expires_at=expires_at, address=address)


async def create_api_token(
    session: AsyncSession, user: User, *, expires_at: datetime | None, description: str, address: str
) -> IssuedToken:
    """Make a token that lasts until *expires_at*, or until it is revoked."""
    if expires_at is not None and expires_at <= utcnow():
        raise Invalid("expires_at lies in the past.")
    return await _issue(
        session, user, kind=TokenKind.API, expires_at=expires_at, description=description, address=address
    )


async def _issue(
    session: AsyncSession,
    user: User,
    *,
    kind: TokenKind,
    expires_at: datetime | None,
    address: str,
    description: str = "",
) -> IssuedToken:
    text = secrets.token_hex(TOKEN_BYTES).upper()
    now = utcnow()
    row = Token(
        user_id=user.id,
        token_hash=hash_token(text),
        kind=kind,
        description=description,
        address=address,
        created_at=now,
        last_used_at=now,
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()
    return IssuedToken(row.id, text, expires_at)


# Made once: making a statement takes longer than running it, and every request runs this one.
_BY_HASH = (
    select(Token)
    .where(Token.token_hash == bindparam("token_hash"))
    .options(joinedload(Token.user))
    .execution_options(**BRIEF)
)


async def find(session: AsyncSession, text: str) -> Token | None:
    """The live token whose clear form is *text*, with its user loaded."""
    token = (await session.scalars(_BY_HASH, {"token_hash": hash_token(text)})).one_or_none()
    if token is None or (token.expires_at is not None and token.expires_at <= utcnow()):
        return None
    return token if token.user.state == AccountState.ACTIVE else None


def needs_touch(token: Token) -> bool:
    """Whether its use should be written down: not at every request."""
    return utcnow() - token.last_used_at > TOUCH_AFTER


async def touch(session: AsyncSession, token: Token) -> None:
    """Note the use of a token; a session slides forward."""
    values: dict[str, datetime] = {"last_used_at": utcnow()}
    if token.kind == TokenKind.SESSION:
        values["expires_at"] = utcnow() + await token_ttl(session)
    await session.execute(update(Token).where(Token.id == token.id).values(**values))


async def create_login_key(session: AsyncSession, user: User) -> str:
    """Make a key for one sign-in as *user* within the hour."""
    text = secrets.token_hex(16)
    session.add(LoginKey(user_id=user.id, key_hash=hash_token(text), expires_at=utcnow() + KEY_LIFETIME))
    return text


async def use_login_key(session: AsyncSession, text: str) -> User:
    """Take a key out of use and return its user; of two that try at once, one gets it."""
    query = (
        delete(LoginKey)
        .where(LoginKey.key_hash == hash_token(text))
        .returning(LoginKey.user_id, LoginKey.expires_at)
    )
    found = (await session.execute(query)).one_or_none()
    user = await session.get(User, found.user_id) if found and found.expires_at > utcnow() else None
    if user is None or user.state != AccountState.ACTIVE:
        raise Unauthenticated("The key is unknown, used or expired. Ask for a new one.")
    return user


async def revoke(session: AsyncSession, token_id: int) -> None:
    """End one session or token; safe to repeat."""
    await session.execute(delete(Token).where(Token.id == token_id))


async def revoke_all(session: AsyncSession, user: User, *, except_id: int | None = None) -> None:
    """End all sessions, tokens and keys of *user*, but perhaps the one in use."""
    await session.execute(delete(Token).where(Token.user_id == user.id, Token.id != (except_id or 0)))
    await session.execute(delete(LoginKey).where(LoginKey.user_id == user.id))


async def delete_expired(session: AsyncSession) -> None:
    """Forget what nobody can use any more."""
    await session.execute(delete(Token).where(Token.expires_at < utcnow()))
    await session.execute(delete(LoginKey).where(LoginKey.expires_at < utcnow()))
