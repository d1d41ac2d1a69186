"""`?dry_run=true`: the call is carried out, taken back at its end, and answered with the rows that it would have left.

It is the same code in the same transaction, so the real call that follows writes just these rows, unless something else
has changed meanwhile. Numbers of new rows are those of this moment.
"""

import base64
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Table, event, inspect
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction

from rackhand.db import AFTER_COMMIT, table_of
from rackhand.http.transaction import HasTransactions, TransactionRoute
from rackhand.http.wire import json_response, wire_time

# Never shown, sealed or not.
SECRET_COLUMNS = {"credentials", "password", "password_hash", "token_hash", "sealed_body"}
# Written by every call that is signed in.
OUR_TABLES = {"token", "idempotency_key"}

Row = Mapping[str, object]
Describe = Callable[[AsyncSession, Sequence[Row]], Awaitable[Mapping[str, object]]]


class Recorder:
    """Notes the rows that a session inserts, changes and deletes, but those of a savepoint that is taken back."""

    def __init__(self, session: AsyncSession) -> None:
        self._rows: list[dict[str, object]] = []
        self._marks: dict[SessionTransaction, int] = {}
        sync = session.sync_session
        event.listen(sync, "after_flush", self._note_flush)
        event.listen(sync, "do_orm_execute", self._note_statement)
        event.listen(sync, "after_transaction_create", self._mark)
        event.listen(sync, "after_soft_rollback", self._drop)

    def rows(self) -> list[Row]:
        """One row for each that was touched, as it is at the end; what came and went again is left out."""
        last: dict[tuple[object, object], dict[str, object]] = {}
        for row in self._rows:
            values: Any = row["row"]
            key = (row["table"], values.get("id", json.dumps(values, default=str)))
            before = last.get(key)
            if before is None:
                last[key] = dict(row)
            elif before["change"] == "insert" and row["change"] == "delete":
                del last[key]
            else:
                last[key] = {**row, "change": "insert" if before["change"] == "insert" else row["change"]}
        return list(last.values())

    def _note(self, table: Table, change: str, values: Mapping[str, object]) -> None:
        if table.name not in OUR_TABLES:
            shown = {name: _shown(value) for name, value in values.items() if name not in SECRET_COLUMNS}
            self._rows.append({"table": table.name, "change": change, "row": shown})

    def _note_flush(self, session: Session, _context: object) -> None:
        for change, objects in (
            ("insert", session.new),
            ("update", session.dirty),
            ("delete", session.deleted),
        ):
            for each in objects:
                state = inspect(each)
                if change == "update" and not session.is_modified(each):
                    continue
                columns = {
                    attribute.key: attribute.columns[0].name for attribute in state.mapper.column_attrs
                }
                values = {name: state.dict.get(key) for key, name in columns.items() if key in state.dict}
                self._note(table_of(type(each)), change, values)

    def _note_statement(self, state: ORMExecuteState) -> Any:
        """Have every inserting, changing or deleting statement return its rows as well, and note them."""
        kinds = (("insert", state.is_insert), ("update", state.is_update), ("delete", state.is_delete))
        change = next((name for name, is_it in kinds if is_it), None)
        statement: Any = state.statement
        if change is None or state.is_relationship_load:
            return None
        table = statement.table
        asked = len(statement._returning)  # noqa: SLF001  # there is no public way to ask
        result = state.invoke_statement(statement=statement.returning(*table.c)).all()
        names = [column.name for column in table.c]
        for row in result:
            self._note(table, change, dict(zip(names, row[asked:], strict=True)))
        keys = [str(key) for key in (result[0]._fields[:asked] if result else [])]
        if not result:
            keys = [column.key or "" for column in statement._returning]  # noqa: SLF001
        return IteratorResult(
            SimpleResultMetaData(keys), iter([tuple(row[:asked]) for row in result if asked])
        )

    def _mark(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            self._marks[transaction] = len(self._rows)

    def _drop(self, _session: Session, previous: SessionTransaction) -> None:
        if previous in self._marks:
            del self._rows[self._marks.pop(previous) :]


def _shown(value: object) -> object:
    if isinstance(value, datetime):
        return wire_time(value)
    return base64.b16encode(value).decode().lower() if isinstance(value, bytes) else value


async def dry_run(
    *,
    dry_run: Annotated[
        bool,
        Query(
            description="Change nothing: the answer is `{dry_run, answer, rows}`, with what the call would answer and"
            " the rows that it would write"
        ),
    ] = False,
) -> bool:
    """The parameter, for the description of the API."""
    return dry_run


def is_dry_run(request: Request) -> bool:
    """Whether nothing is to be kept; what is no boolean is refused by the parameter itself."""
    text = request.query_params.get("dry_run")
    try:
        return text is not None and TypeAdapter(bool).validate_python(text)
    except ValidationError:
        return False


async def _nothing_else(_session: AsyncSession, _rows: Sequence[Row]) -> Mapping[str, object]:
    return {}


def dry_run_route(describe: Describe = _nothing_else) -> type[TransactionRoute]:
    """A class of routes that take `dry_run`; *describe* adds what else than rows a call would cause."""

    class DryRunRoute(TransactionRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
            if "GET" not in (options.get("methods") or {"GET"}):
                options["dependencies"] = [*(options.get("dependencies") or ()), Depends(dry_run)]
            super().__init__(path, endpoint, **options)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            transact = super().get_route_handler()
            handler = APIRoute.get_route_handler(self)

            async def answer(request: Request) -> Response:
                if request.method == "GET" or not is_dry_run(request):
                    return await transact(request)
                services: HasTransactions = request.app.state.services
                async with services.db.write() as session:
                    request.state.session = session
                    recorder = Recorder(session)
                    response = await handler(request)
                    await session.flush()
                    rows = recorder.rows()
                    others = await describe(session, rows)
                    await session.rollback()
                    session.info.pop(AFTER_COMMIT, None)
                would: object = json.loads(bytes(response.body))
                return json_response({"dry_run": True, "answer": would, "rows": rows, **others})

            return answer

    return DryRunRoute
