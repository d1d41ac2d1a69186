"""Pages of rows: `where`, `orderby` and `limit` in SQL, with one or two statements however many rows there are."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Generic, TypeVar, TypeVarTuple, overload

from fastapi import Query, Request
from sqlalchemy import (
    ColumnElement,
    Row,
    ScalarSelect,
    Select,
    String,
    UnaryExpression,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.errors import Invalid
from rackhand.http.where import Column, Field, FieldKind, Fields, compile_where, find_field, folded

MAX_KEYS = 16
MAX_ROWS = 2**31 - 1  # PostgreSQL drivers send LIMIT as 32 bits; no list is longer

Item = TypeVar("Item")
First = TypeVar("First")
Others = TypeVarTuple("Others")


@dataclass(frozen=True, slots=True)
class ListParams:
    """What a caller asks of a list, as written; empty means not given."""

    where: str = ""
    orderby: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of the rows that match, and the number of all that match."""

    rows: Sequence[Item]
    size: int


@dataclass(frozen=True, slots=True)
class Limit:
    """Rows to skip, and rows to give; None means all."""

    offset: int = 0
    count: int | None = None


@dataclass(frozen=True, slots=True)
class OrderKey:
    """A field to order by."""

    field: str
    descending: bool = False


async def list_params(
    request: Request,
    where: Annotated[
        str,
        Query(
            description="Filter, such as `(owner_email IS null) AND name CP '%srv%'`. Operators: EQ, NE, LT,"
            " LE, GT, GE, CP (`%` any run, `_` one character, letter case ignored), IN (a, b), IS null,"
            " IS NOT null; AND, OR, NOT, parentheses. A backslash makes the next character of a quoted text"
            " plain.",
            examples=["(owner_email IS null) AND id GT 5"],
        ),
    ] = "",
    orderby: Annotated[
        str,
        Query(
            description="Fields to order by, separated by commas, each with `asc` (the default) or `desc`;"
            " `-name` is `name desc`.",
            examples=["name desc,id"],
        ),
    ] = "",
    limit: Annotated[
        str,
        Query(description="`count`, or `offset,count`; without it all rows are given.", examples=["0,50"]),
    ] = "",
) -> ListParams:
    """Read the parameters of a list; FastAPI calls this.

    One that comes twice is refused: only one of two filters would count.
    """
    for name in ("where", "orderby", "limit"):
        if len(request.query_params.getlist(name)) > 1:
            raise Invalid(f"{name}: given more than once.")
    return ListParams(where, orderby, limit)


def parse_limit(text: str) -> Limit:
    """Read `count` or `offset,count` (api-facts 3.2)."""
    if not text.strip():
        return Limit()
    numbers = [part.strip() for part in text.split(",")]
    if len(numbers) > 2 or not all(number.isascii() and number.isdigit() for number in numbers):  # noqa: PLR2004
        raise Invalid(f"limit: expected `count` or `offset,count`, got {text[:40]!r}.")
    *offset, count = [min(int(number), MAX_ROWS) if len(number) < 20 else MAX_ROWS for number in numbers]  # noqa: PLR2004
    return Limit(offset[0] if offset else 0, count)


def parse_orderby(text: str) -> tuple[OrderKey, ...]:
    """Read `name desc,id` or `-name,id`."""
    if not text.strip():
        return ()
    parts = text.split(",")
    if len(parts) > MAX_KEYS:
        raise Invalid(f"orderby: {len(parts)} fields are too many, {MAX_KEYS} are the most.")
    return tuple(_order_key(part) for part in parts)


def _order_key(part: str) -> OrderKey:
    match part.split():
        case [name] if name.startswith("-"):
            return OrderKey(name[1:], descending=True)
        case [name]:
            return OrderKey(name)
        case [name, direction] if direction.lower() in {"asc", "desc"}:
            return OrderKey(name, descending=direction.lower() == "desc")
    raise Invalid(f"orderby: expected a field with `asc` or `desc`, got {part[:40]!r}.")


@overload
async def fetch_page(
    session: AsyncSession,
    statement: Select[Item],
    params: ListParams,
    fields: Fields,
    *,
    tie_breaker: Column,
    is_search: bool = False,
) -> Page[Item]: ...


@overload
async def fetch_page(
    session: AsyncSession,
    statement: Select[First, Item, *Others],
    params: ListParams,
    fields: Fields,
    *,
    tie_breaker: Column,
    is_search: bool = False,
) -> Page[Row[First, Item, *Others]]: ...


async def fetch_page(
    session: AsyncSession,
    statement: Select[*Others],
    params: ListParams,
    fields: Fields,
    *,
    tie_breaker: Column,
    is_search: bool = False,
) -> Page[Any]:
    """Read one page of *statement*.

    A statement that selects one thing gives it, one that selects more gives rows. *tie_breaker* is a unique
    column that keeps the order of equal rows the same on every page. An order that *statement* has holds when
    none is asked for. NULL comes first, or last when descending. *is_search* says of conditions that *statement*
    has already that they compare text with a pattern.
    """
    limit = parse_limit(params.limit)
    keys = parse_orderby(params.orderby)
    if params.where.strip():
        statement = statement.where(compile_where(params.where, fields))
    ordered = statement.order_by(None) if keys else statement
    for key in keys:
        ordered = ordered.order_by(*_order(find_field(key.field, fields, "orderby"), key))
    ordered = ordered.order_by(tie_breaker)
    if limit.offset:
        ordered = ordered.offset(limit.offset)
    if limit.count is not None:
        ordered = ordered.limit(limit.count)
    is_single = len(statement.column_descriptions) == 1
    if is_single and limit != Limit():
        # Together with the number of all: a statement costs more than counting. A pattern is compared with every row,
        # once for both; what an index finds is faster counted by itself.
        number = func.count().over() if is_search or has_pattern(params.where) else _number_of(statement)
        counted = (await session.execute(ordered.add_columns(number.label("size")))).all()
        if counted or not (limit.offset or limit.count == 0):
            return Page([row[0] for row in counted], counted[0][1] if counted else 0)
        return Page([], await _count(session, statement))
    found = await session.execute(ordered)
    rows: Sequence[Any] = (found.scalars() if is_single else found).all()
    if limit.count is None and not limit.offset:
        return Page(rows, len(rows))
    return Page(rows, await _count(session, statement))


def keys_of(
    key: Column, joins: Mapping[Any, ColumnElement[bool]], params: ListParams, fields: Fields
) -> tuple[Select[Any], ListParams]:
    """Select *key* of what *params* filters, joined with those of *joins* alone that `where` and `orderby` name.

    Gives the statement and what is left of *params*. What is only shown is read afterwards, for the rows of a page.
    """
    order, where = parse_orderby(params.orderby), params.where.strip()
    named = select(key, *(find_field(each.field, fields, "orderby").column for each in order))
    condition = compile_where(where, fields) if where else None
    if condition is not None:
        named = named.where(condition)
    tables = {getattr(table, "name", "") for table in named.get_final_froms()}
    query: Select[Any] = select(key)
    for model, on in joins.items():
        if model.__tablename__ in tables:
            query = query.outerjoin(model, on)
    return query if condition is None else query.where(condition), replace(params, where="")


def has_pattern(where: str) -> bool:
    """Whether a filter seems to compare text with a pattern, for which every row is read.

    A wrong guess costs time, and nothing else.
    """
    return re.search(r"\bCP\b", where, re.IGNORECASE) is not None


async def _count(session: AsyncSession, statement: Select[*Others]) -> int:
    return (await session.scalar(select(_number_of(statement)))) or 0


def _number_of(statement: Select[*Others]) -> ScalarSelect[int]:
    bare: Any = statement.order_by(None)
    # What is selected per row (counts of related rows) does not matter here, unless rows are made of it.
    if not (bare._distinct or bare._group_by_clauses):  # noqa: SLF001  # there is no public way to ask
        bare = bare.with_only_columns(literal(1).label("one"), maintain_column_froms=True)
    return select(func.count()).select_from(bare.subquery()).scalar_subquery()


def _order(field: Field, key: OrderKey) -> list[UnaryExpression[Any] | ColumnElement[Any]]:
    if field.through is not None:
        raise Invalid(f"orderby: {key.field} has many values per row; it cannot be ordered by.")
    column: Any = field.column
    parts: list[Any] = [column]
    if field.kind is FieldKind.TEXT:
        text = type_coerce(column, String())
        parts = [folded(text)]
    if key.descending:
        parts = [part.desc() for part in parts]
    if getattr(column, "nullable", True):
        parts = [part.nulls_last() if key.descending else part.nulls_first() for part in parts]
    return parts
