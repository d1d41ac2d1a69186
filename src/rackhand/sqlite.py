"""SQLite by aiosqlite with one visit to the connection's thread per statement.

SQLAlchemy's own cursor makes four: to open, to execute, to fetch and to close. Each costs more than SQLite needs for a
small statement. Rows are fetched whole either way. A statement with the option `BRIEF` makes no visit at all: it runs
in the thread of the event loop. It is for what takes less time than a visit (0.1 ms), by `session.execute`; it waits
for nobody: those who write have waited when their transaction began, readers never wait (WAL).
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import aiosqlite
from sqlalchemy import Dialect, event
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, AsyncAdapt_aiosqlite_cursor
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util.concurrency import await_

BRIEF = {"rackhand_brief": True}


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """The cursor of the driver lives for one statement; what it said of it is kept here."""

    __slots__ = ("_said",)

    def __init__(self, adapt_connection: AsyncAdapt_aiosqlite_connection) -> None:
        self._adapt_connection = adapt_connection
        self._rows = deque()
        self._said: tuple[Any, int, Any] = (None, -1, None)

    @property
    def description(self) -> Any:
        """The columns; None for a statement without rows."""
        return self._said[0]

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        return self._said[1]

    @property
    def lastrowid(self) -> Any:
        """The number of the inserted row."""
        return self._said[2]

    arraysize = 1

    def execute(self, operation: Any, parameters: Any = None, *, is_brief: bool = False) -> Any:
        """Run a statement and fetch its rows."""
        return self._run(lambda cursor: cursor.execute(operation, parameters or ()), is_brief=is_brief)

    def executemany(self, operation: Any, seq_of_parameters: Sequence[Any], *, is_brief: bool = False) -> Any:
        """Run a statement once for each of the parameters."""
        return self._run(lambda cursor: cursor.executemany(operation, seq_of_parameters), is_brief=is_brief)

    def _run(self, act: Callable[[Any], object], *, is_brief: bool) -> None:
        connection: Any = self._adapt_connection._connection  # noqa: SLF001  # as the classes above do

        def visit() -> tuple[tuple[Any, int, Any], Sequence[Any]]:
            cursor = connection._conn.cursor()  # noqa: SLF001
            try:
                act(cursor)
                rows = cursor.fetchall() if cursor.description else ()
                return (cursor.description, cursor.rowcount, cursor.lastrowid), rows
            finally:
                cursor.close()

        try:
            self._said, rows = visit() if is_brief else await_(connection._execute(visit))  # noqa: SLF001
        except Exception as error:  # noqa: BLE001  # the driver's, made SQLAlchemy's
            self._adapt_connection._handle_exception(error)  # noqa: SLF001
        self._rows = deque(rows)

    def close(self) -> None:
        """Forget the rows that were not read."""
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        """There is nothing to close, and the rows stay."""


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()
    _cursor_cls = _Cursor  # type: ignore[assignment]  # it takes connections of this driver alone


def use_one_visit(engine: AsyncEngine) -> None:
    """Have *engine* connect with these cursors."""

    @event.listens_for(engine.sync_engine, "do_connect")
    def connect(dialect: Dialect, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        connection = aiosqlite.connect(*arguments, **options)
        connection._thread.daemon = True  # noqa: SLF001  # as SQLAlchemy does: it must not keep the process alive
        return _Connection(dialect.dbapi, await_(connection))  # type: ignore[arg-type]  # the module of the driver

    @event.listens_for(engine.sync_engine, "do_execute")
    def execute(cursor: Any, statement: str, parameters: Any, context: ExecutionContext) -> bool:
        cursor.execute(statement, parameters, is_brief=_is_brief(context))
        return True

    @event.listens_for(engine.sync_engine, "do_executemany")
    def executemany(cursor: Any, statement: str, parameters: Any, context: ExecutionContext) -> bool:
        cursor.executemany(statement, parameters, is_brief=_is_brief(context))
        return True


def _is_brief(context: ExecutionContext) -> bool:
    return bool(context.execution_options.get("rackhand_brief"))
