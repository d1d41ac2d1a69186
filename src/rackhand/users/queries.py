"""Reading accounts."""

from collections.abc import Sequence

from sqlalchemy import Select, column, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import AnyRow, AnySelect
from rackhand.errors import NotFound
from rackhand.http.lists import ListParams, Page, fetch_page
from rackhand.http.where import Field, FieldKind, Fields
from rackhand.http.wire import MAX_ID
from rackhand.users.model import SshKey, Token, User

# Counted by name: the slice of servers stands above this one.
_server = table("server", column("owner_id"))
SERVER_COUNT = (
    select(func.count())
    .select_from(_server)
    .where(_server.c.owner_id == User.id)
    .correlate(User)
    .scalar_subquery()
)

FIELDS: Fields = {
    "id": Field(User.id, FieldKind.INTEGER),
    "email": Field(User.email, FieldKind.TEXT),
    "full_name": Field(User.full_name, FieldKind.TEXT),
    "phone_number": Field(User.phone_number, FieldKind.TEXT),
    "roles": Field(User.role, FieldKind.TEXT),
    "role": Field(User.role, FieldKind.TEXT),
    "state": Field(User.state, FieldKind.TEXT),
    "vlans_per_user": Field(User.vlans_per_user, FieldKind.INTEGER),
    "server_count": Field(SERVER_COUNT, FieldKind.INTEGER),
    "created_at": Field(User.created_at, FieldKind.TIME),
}


def _rows() -> Select[User, int]:
    return select(User, SERVER_COUNT.label("server_count"))


def _visible(query: AnySelect, viewer: User) -> AnySelect:
    return query if viewer.is_admin else query.where(User.id == viewer.id)


async def page(session: AsyncSession, params: ListParams, *, visible_to: User) -> Page[AnyRow]:
    """Accounts with the number of servers each owns; a user sees only itself."""
    return await fetch_page(session, _visible(_rows(), visible_to), params, FIELDS, tie_breaker=User.id)


async def row_by_id(session: AsyncSession, user_id: int, *, visible_to: User) -> AnyRow:
    """One account with its number of servers."""
    query = _visible(_rows().where(User.id == user_id), visible_to)
    found = (await session.execute(query)).one_or_none()
    if found is None:
        raise NotFound(f"There is no user {user_id}.")
    return found


async def by_id(session: AsyncSession, user_id: int, *, visible_to: User | None = None) -> User:
    """One account."""
    user = await session.get(User, user_id)
    if user is None or (visible_to is not None and not visible_to.is_admin and user.id != visible_to.id):
        raise NotFound(f"There is no user {user_id}.")
    return user


async def by_id_or_email(session: AsyncSession, text: str, *, visible_to: User) -> User:
    """One account, by the number or the e-mail address that older clients put into the path."""
    if text.isascii() and text.isdigit():
        return await by_id(session, min(int(text[:20]), MAX_ID), visible_to=visible_to)
    query = _visible(select(User).where(User.email == text.strip().lower()), visible_to)
    user: User | None = (await session.scalars(query)).one_or_none()
    if user is None:
        raise NotFound(f"There is no user {text[:80]!r}.")
    return user


async def tokens_of(session: AsyncSession, user: User) -> Sequence[Token]:
    """All tokens of an account, the newest first."""
    query = select(Token).where(Token.user_id == user.id).order_by(Token.id.desc())
    return (await session.scalars(query)).all()


async def ssh_keys_of(session: AsyncSession, user: User) -> Sequence[SshKey]:
    """All public keys of an account."""
    return (await session.scalars(select(SshKey).where(SshKey.user_id == user.id).order_by(SshKey.id))).all()
