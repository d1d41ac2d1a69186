"""Accounts from the command line: whoever can read the database may do this."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import Database
from rackhand.errors import RackhandError
from rackhand.events.service import Actor
from rackhand.settings import Settings
from rackhand.users import service
from rackhand.users.model import Role, User

ACTOR = Actor(email="command line")


@asynccontextmanager
async def _writing(settings: Settings) -> AsyncIterator[AsyncSession]:
    db = Database(settings.database)
    try:
        await db.migrate()
        async with db.write() as session:
            yield session
    except RackhandError as error:
        raise SystemExit(error.message) from error
    finally:
        await db.dispose()


async def create(settings: Settings, email: str, *, password: str, is_admin: bool) -> None:
    """Add an account."""
    async with _writing(settings) as session:
        role = Role.ADMIN if is_admin else Role.USER
        await service.create_user(session, email=email, password=password, role=role, actor=ACTOR)


async def set_password(settings: Settings, email: str, *, password: str) -> None:
    """Set a password and end the sessions."""
    async with _writing(settings) as session:
        user = (await session.scalars(select(User).where(User.email == email.lower()))).one_or_none()
        if user is None:
            raise SystemExit(f"There is no account {email}.")
        await service.set_password(session, user, password, actor=ACTOR)


async def list_all(settings: Settings) -> None:
    """Print accounts, one a line."""
    async with _writing(settings) as session:
        for user in await session.scalars(select(User).order_by(User.id)):
            print(f"{user.id}\t{user.email}\t{user.role}\t{user.state}")
