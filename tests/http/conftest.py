"""The rows of `things` in real databases."""

import os
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, insert, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.http.things import ROWS, Tag, Thing, WireBase
from tests.postgres import Postgres

SCHEMA = f"wire_{os.getpid()}"
IN_SCHEMA = {"options": f"-csearch_path={SCHEMA}"}


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database with the rows; `RACKHAND_TEST_DATABASE_URL` names another PostgreSQL than our own."""
    if request.param == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('wire') / 'wire.db'}")
        _fill(engine)
        yield engine
        engine.dispose()
        return
    url = os.environ.get("RACKHAND_TEST_DATABASE_URL", "")
    if not url:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_database()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), connect_args=IN_SCHEMA)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    _fill(engine)
    yield engine
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
    engine.dispose()


def _fill(engine: Engine) -> None:
    WireBase.metadata.create_all(engine)
    with engine.begin() as connection:
        for row in ROWS:
            values = {name: value for name, value in vars(row).items() if name != "tags"}
            connection.execute(insert(Thing).values(ip_key=_key(row.ip), **values))
            for tag in row.tags:
                connection.execute(insert(Tag).values(thing_id=row.id, name=tag))


def _key(address: str | None) -> bytes | None:
    if address is None:
        return None
    parsed = ip_address(address)
    return bytes([parsed.version]) + parsed.packed


@pytest.fixture
async def session(engine: Engine) -> AsyncIterator[AsyncSession]:
    """A session on that database; `session.info["statements"]` is what it sent."""
    if engine.dialect.name == "sqlite":
        async_engine = create_async_engine(engine.url.set(drivername="sqlite+aiosqlite"))
    else:
        async_engine = create_async_engine(engine.url, connect_args=IN_SCHEMA)
    async with AsyncSession(async_engine) as session:
        session.info["statements"] = statements = []

        @event.listens_for(async_engine.sync_engine, "before_cursor_execute")
        def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            statements.append(statement)

        yield session
    await async_engine.dispose()
