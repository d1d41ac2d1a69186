"""Password hashes (argon2id), computed outside of the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY


class Queue(IntEnum):
    """Who waits for hashes together, and how many are computed at a time for them.

    Four in all are 256 MiB at most with the profile of RFC 9106 for small machines. Whoever is signed in does not
    wait behind strangers: passwords are changed inside of a write transaction.
    """

    STRANGERS = 3
    SIGNED_IN = 1


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


@cache
def _nobodys_hash() -> str:
    return _hasher().hash("the password of no account")


@cache
def _threads(queue: Queue) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(queue.value, f"passwords-{queue.name.lower()}")


async def hash_password(password: str) -> str:
    """Return the hash to store."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads(Queue.SIGNED_IN), _hasher().hash, password)


async def password_fits(password: str, stored: str | None, *, queue: Queue = Queue.SIGNED_IN) -> bool:
    """Compare; an unknown account (None) takes as long as a known one."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads(queue), _verify, password, stored)


def _verify(password: str, stored: str | None) -> bool:
    try:
        _hasher().verify(stored or _nobodys_hash(), password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return stored is not None
