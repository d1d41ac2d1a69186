"""User spaces, and how rows are made in them."""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import Base, utcnow
from rackhand.ipam import queries
from rackhand.ipam.model import PUBLIC, Userspace


async def public_userspace(session: AsyncSession) -> Userspace:
    """The user space that holds what names no other; made when it is first needed."""
    query = select(Userspace).where(Userspace.name == PUBLIC)
    found = (await session.scalars(query)).one_or_none()
    if found is None:
        space = Userspace(name=PUBLIC, note="", created_at=utcnow())
        found = space if await is_inserted(session, space) else (await session.scalars(query)).one()
    return found


async def userspace_or_public(session: AsyncSession, userspace_id: int | None) -> Userspace:
    """A user space by its number; the public one without."""
    if userspace_id is None:
        return await public_userspace(session)
    return await queries.userspace_by_id(session, userspace_id)


async def locked_userspace(session: AsyncSession, userspace_id: int | None) -> Userspace:
    """A user space in which nobody else changes networks meanwhile; allocations go on."""
    space = await userspace_or_public(session, userspace_id)
    await session.execute(
        select(Userspace.id).where(Userspace.id == space.id).with_for_update(key_share=True)
    )
    return space


async def is_inserted(session: AsyncSession, row: Base) -> bool:
    """Insert a row; False when a constraint forbids it, and the transaction goes on."""
    try:
        async with session.begin_nested():
            session.add(row)
            await session.flush()
    except IntegrityError:
        return False
    return True
