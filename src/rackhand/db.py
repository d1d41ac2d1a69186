"""The database: one engine for SQLite or PostgreSQL, read and write transactions, column types."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Integer,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    event,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.sql.functions import FunctionElement

from rackhand import sqlite

MIGRATION_LOCK = 0x7261636B  # "rack", for pg_advisory_lock
AFTER_COMMIT = "after_commit"


def utcnow() -> datetime:
    """The time now, with its zone."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: zone-aware in Python on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse naive times: they are bugs."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone reached the database.")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """SQLite stores no zone; ours is always UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class IdList(TypeDecorator[Sequence[int]]):
    """Many ids as one bound value: SQLite takes 32,766 of those at most, and an export has more rows."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """An array where there is one, else JSON."""
        return dialect.type_descriptor(ARRAY(BigInteger) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> object:
        """Give what the driver takes."""
        if value is None:
            return None
        return list(value) if dialect.name == "postgresql" else json.dumps(list(value))


class _EachId(FunctionElement[int]):
    inherit_cache = True
    type = BigInteger()


@compiles(_EachId)
def _elements_of_array(element: _EachId, compiler: Any, **options: Any) -> str:
    return f"unnest({compiler.process(element.clauses, **options)})"


@compiles(_EachId, "sqlite")
def _elements_of_json(element: _EachId, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


def id_in(
    column: InstrumentedAttribute[int] | InstrumentedAttribute[int | None], ids: Sequence[int] | None = None
) -> ColumnElement[bool]:
    """`column IN ids`, whatever their number; without *ids* they are given as `ids` when the statement is executed.

    A statement that is made once costs half of one that is made for each request.
    """
    given = bindparam("ids", type_=IdList()) if ids is None else bindparam(None, ids, IdList(), unique=True)
    each: AnySelect = select(literal_column("value")).select_from(_EachId(given).alias("value"))
    return column.in_(each)


# Statements and rows of whatever columns.
AnySelect: TypeAlias = Select[*tuple[Any, ...]]
AnyRow: TypeAlias = Row[*tuple[Any, ...]]

Id = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER is a rowid alias on SQLite
Json = JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


class Base(DeclarativeBase):
    """Base of all rows; constraints are named, so that migrations can find them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: Json, list[Any]: Json}  # noqa: RUF012
    __table_args__: Any = {"sqlite_autoincrement": True}  # noqa: RUF012  # an id is never given twice


def table_of(model: type[object]) -> Table:
    """The table of a mapped class, for statements that are to make no objects."""
    table = getattr(model, "__table__", None)
    assert isinstance(table, Table)  # noqa: S101  # a mapped class has one
    return table


class Database:
    """Hands out transactions.

    SQLite has one writer: write transactions begin IMMEDIATE, so that none fails halfway, and queue up here
    instead of in SQLite's busy loop.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._make_engine()
        self._write_engine = self.engine.execution_options(rackhand_write=True)
        readers = self.engine.execution_options(postgresql_readonly=True)
        self._readers = async_sessionmaker(readers, expire_on_commit=False)
        self._writers = async_sessionmaker(self._write_engine, expire_on_commit=False)
        self._writer = asyncio.Lock()

    def _make_engine(self) -> AsyncEngine:
        if not self.is_sqlite:
            # A filter with many conditions takes PostgreSQL's compiler seconds and its interpreter milliseconds.
            options = {"options": "-c jit=off"}
            return create_async_engine(
                self.url, pool_size=16, max_overflow=16, pool_pre_ping=True, connect_args=options
            )
        engine = create_async_engine(
            self.url, poolclass=AsyncAdaptedQueuePool, pool_size=8, max_overflow=8, json_serializer=_dump_json
        )
        sqlite.use_one_visit(engine)

        @event.listens_for(engine.sync_engine, "connect")
        def prepare(connection: Any, _record: object) -> None:
            connection.isolation_level = None  # the driver would begin DEFERRED at a moment of its own
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA busy_timeout=30000")
            cursor.close()

        @event.listens_for(engine.sync_engine, "begin")
        def begin(connection: Connection) -> None:
            write = connection.get_execution_options().get("rackhand_write")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

        return engine

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that changes nothing; PostgreSQL refuses to.

        It ends by a commit there: after a rollback psycopg forgets what it has prepared, and each statement is planned
        again, which takes PostgreSQL as long as running it. SQLite, which would keep what is written, rolls back.
        """
        async with self._readers() as session:
            yield session
            if not self.is_sqlite:
                session.expunge_all()
                await session.commit()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that is committed at the end, then do what `after_commit` asked for."""
        if self.is_sqlite:
            async with self._writer, self._writers() as session:
                yield session
                await session.commit()
        else:
            async with self._writers() as session:
                yield session
                await session.commit()
        for act in session.info.pop(AFTER_COMMIT, ()):
            await act()

    @asynccontextmanager
    async def rehearse(self) -> AsyncIterator[AsyncSession]:
        """Open a write transaction that is rolled back at the end: what would happen is only looked at."""
        async with self._writer if self.is_sqlite else nullcontext(), self._writers() as session:
            yield session

    async def migrate(self) -> None:
        """Bring the schema to this version; of several processes that start at once, one does the work."""
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        async with self._write_engine.connect() as connection:
            if not self.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
                await connection.commit()
            await connection.run_sync(_upgrade)
            await connection.commit()
            if not self.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
                await connection.commit()

    async def dispose(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def may_write(session: AsyncSession) -> bool:
    """Whether the transaction of *session* is one of `Database.write`; what `Database.read` opens keeps nothing."""
    return bool(session.get_bind().get_execution_options().get("rackhand_write"))


def after_commit(session: AsyncSession, act: Callable[[], Awaitable[None]]) -> None:
    """Have *act* awaited when the transaction of *session* is committed; a rollback forgets it."""
    session.info.setdefault(AFTER_COMMIT, []).append(act)


def _dump_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "rackhand:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
