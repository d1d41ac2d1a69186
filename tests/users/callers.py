"""Clients of the same product under other settings, and from other addresses than `anonymous`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import update

from rackhand.app import Services, create_app
from rackhand.db import utcnow
from rackhand.users.model import SignInFailure, Token
from tests.conftest import Api

CLIENT = "192.0.2.10"


@asynccontextmanager
async def caller(services: Services, address: str = CLIENT, **settings: object) -> AsyncIterator[Api]:
    """A client that calls from *address*, with some settings changed."""
    changed = replace(services, settings=services.settings.model_copy(update=settings))
    transport = httpx.ASGITransport(create_app(changed), client=(address, 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://rackhand.example.com") as http:
        yield Api(http)


async def send(
    api: Api, method: str, path: str, *headers: tuple[str, str], body: str | None = None
) -> httpx.Response:
    """Send exactly these headers, which may repeat; no token is added."""
    return await api.http.request(method, path, headers=list(headers), content=body)


async def set_age(
    services: Services, *, failures: timedelta | None = None, tokens: timedelta | None = None
) -> None:
    """Make refused sign-ins older, and the last use of all tokens."""
    async with services.db.write() as session:
        if failures is not None:
            await session.execute(update(SignInFailure).values(at=utcnow() - failures))
        if tokens is not None:
            await session.execute(update(Token).values(last_used_at=utcnow() - tokens))


async def everything_stored(services: Services) -> str:
    """All rows of all tables as text, and the bytes of a SQLite file."""
    from rackhand.db import Base

    found: list[Any] = []
    async with services.db.read() as session:
        for table in Base.metadata.sorted_tables:
            found.extend((await session.execute(table.select())).all())
    files = [path.read_bytes().decode("latin-1") for path in services.settings.data.glob("rackhand.db*")]
    return repr(found) + "".join(files)
