"""Password hashes (argon2id), computed outside of the event loop."""

import asyncio
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

# Four hashes at a time is 256 MiB at most with the profile of RFC 9106 for small machines.
AT_ONCE = asyncio.Semaphore(4)


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


@cache
def _nobodys_hash() -> str:
    return _hasher().hash("the password of no account")


async def hash_password(password: str) -> str:
    """Return the hash to store."""
    async with AT_ONCE:
        return await asyncio.to_thread(_hasher().hash, password)


async def password_fits(password: str, stored: str | None) -> bool:
    """Compare; an unknown account (None) takes as long as a known one."""
    async with AT_ONCE:
        return await asyncio.to_thread(_verify, password, stored)


def _verify(password: str, stored: str | None) -> bool:
    try:
        _hasher().verify(stored or _nobodys_hash(), password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return stored is not None
