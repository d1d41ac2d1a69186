"""The filter language of lists: `where=(owner_email IS null) AND is_new EQ false` becomes an SQL condition.

What is published of the language is in api-facts 3.1; `where_syntax.py` reads it. Odd facts that shape
this module:

- NULL satisfies neither EQ nor NE nor IN, as in SQL. For CP it is the empty string: a client collects used
  addresses with `NOT domain CP '%x%'` and must see those that have no domain.
- Clients quote numbers (`id EQ '5'`) and exclude words that may not exist here (`status NE 'extended'`).
- A filter that is not understood is refused: dropping it would hand a billing system somebody else's server.

Both databases give the same rows: letters are folded in CP for ASCII only, and text is ordered by its bytes.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, assert_never

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    LargeBinary,
    String,
    and_,
    cast,
    false,
    func,
    not_,
    null,
    or_,
    true,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import QueryableAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.functions import FunctionElement

from rackhand.errors import Invalid, UnknownProperty
from rackhand.http.where_syntax import Condition, Group, Literal, Node, Operator, parse

MAX_SUBQUERIES = 100  # conditions on fields with `through`; for SQLite their cost is quadratic
MAX_PATTERN = 50_000  # bytes; SQLite raises an error for longer ones
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

# SQLite's parser has a stack of 100 (until 3.46) and takes trees 1,000 deep. An operand that is nested again
# costs one place when it stands first and three when it does not; the rest of the stack is for the statement
# around it.
MAX_STACK = 60
MAX_CHAIN = 32

BOOLEANS = {
    "true": True, "on": True, "yes": True, "1": True,
    "false": False, "off": False, "no": False, "0": False,
}  # fmt: skip

Through = Callable[[ColumnElement[bool]], ColumnElement[bool]]
Column = ColumnElement[Any] | QueryableAttribute[Any]


class FieldKind(Enum):
    """How the values of a field are written and compared."""

    INTEGER = "a whole number"
    NUMBER = "a number"
    TEXT = "text"
    BOOLEAN = "true or false"
    TIME = "a time such as '2025-01-31 12:00:00' in UTC"
    ADDRESS = "an IP address"


@dataclass(frozen=True, slots=True)
class Field:
    """A name that `where` and `orderby` know.

    *words* spells stored values for the wire: word to one value, or to a tuple of values. A word that is not
    in it matches nothing; without *words* the value itself is compared.

    *through* makes a condition on a row of a one-to-many relation a condition on the row of the list:
    `lambda condition: exists().where(Address.server_id == Server.id, condition)`.

    An ADDRESS column takes `IPv4Address` and `IPv6Address` unless it is plain `String` (shortest spelling) or
    `LargeBinary` (a byte 4 or 6, then the packed address); *text* is then the column that holds the spelling,
    for CP with wildcards.
    """

    column: Column
    kind: FieldKind
    words: Mapping[str, object] | None = None
    through: Through | None = None
    text: Column | None = None


Fields = Mapping[str, Field]
ORDERED = {Operator.LT, Operator.LE, Operator.GT, Operator.GE}


def compile_where(text: str, fields: Fields) -> ColumnElement[bool]:
    """Translate a filter; a blank one is true.

    Raises `UnknownProperty` for a field that is not in *fields*, else `Invalid`, with the reason.
    """
    if not text.strip():
        return true()
    piece = _compile(parse(text), fields)
    if piece.stack > MAX_STACK:
        raise Invalid("where: AND and OR are nested too deep in each other.")
    if piece.subqueries > MAX_SUBQUERIES:
        raise Invalid(f"where: more than {MAX_SUBQUERIES} conditions on fields with many values per row.")
    return piece.condition


@dataclass(frozen=True, slots=True)
class _Piece:
    condition: ColumnElement[bool]
    stack: int
    subqueries: int


class _Parenthesis(Grouping[bool]):
    """Parentheses that SQLAlchemy does not take away, so that a chain of 1,000 is not a tree 1,000 deep."""

    inherit_cache = True
    operator = None  # `and_` would look through to the operator inside


def _compile(node: Node, fields: Fields) -> _Piece:
    if isinstance(node, Condition):
        return _Piece(_condition(node, fields), 0, int(fields[node.field].through is not None))
    assert isinstance(node, Group)  # noqa: S101  # `parse` leaves no other
    pieces = sorted((_compile(part, fields) for part in node.parts), key=lambda piece: -piece.stack)
    stack = max(piece.stack + (1 if at == 0 else 3) for at, piece in enumerate(pieces))
    condition = _join(and_ if node.every else or_, [piece.condition for piece in pieces])
    return _Piece(condition, stack, sum(piece.subqueries for piece in pieces))


def _join(
    join: Callable[..., ColumnElement[bool]], conditions: Sequence[ColumnElement[bool]]
) -> ColumnElement[bool]:
    while len(conditions) > MAX_CHAIN:
        chunks = [conditions[at : at + MAX_CHAIN] for at in range(0, len(conditions), MAX_CHAIN)]
        conditions = [_Parenthesis(join(*chunk)) for chunk in chunks]
    return join(*conditions)


def _condition(condition: Condition, fields: Fields) -> ColumnElement[bool]:
    name, operator = condition.field, condition.operator
    field = find_field(name, fields, "where")
    if field.through is not None and operator is Operator.NULL:
        # "Has no value": true for a row without related rows too, as an outer join would have it.
        has_one = field.through(_sql(field).is_not(None))
        return has_one if condition.negated else not_(has_one)
    found = _compare(field, condition) if operator is not Operator.NULL else _sql(field).is_(None)
    if field.through is not None:
        found = field.through(found)
    return not_(found) if condition.negated else found


def find_field(name: str, fields: Fields, parameter: str) -> Field:
    """Return the field; raise `UnknownProperty` that names those there are.

    *parameter* is where the name stood.
    """
    field = fields.get(name)
    if field is None:
        known = ", ".join(sorted(fields))
        message = f"{parameter}: there is no field {name[:80]!r} here. Fields: {known}."
        raise UnknownProperty(message, value={"field": name[:80], "fields": sorted(fields)})
    return field


# --- one condition


def _sql(field: Field) -> ColumnElement[Any]:
    column: Any = field.column
    return type_coerce(column, column.type) if isinstance(column, QueryableAttribute) else column


def _never(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return column != column  # noqa: PLR0124  # false, and NULL for NULL


def _always(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return column == column  # noqa: PLR0124  # true, and NULL for NULL


def _unknown() -> ColumnElement[bool]:
    return cast(null(), Boolean)


def _compare(field: Field, condition: Condition) -> ColumnElement[bool]:
    operator, values = condition.operator, condition.values
    if field.words is not None:
        return _compare_words(field, field.words, condition)
    if operator is Operator.CP:
        return _unknown() if values[0].is_null else _matches(field, condition.field, values[0])
    compare = _COMPARE[field.kind]
    each = Operator.EQ if operator is Operator.IN else operator
    try:
        found = [
            _unknown() if value.is_null else compare(field, each, value.plain)
            for value in dict.fromkeys(values)
        ]
    except (ValueError, OverflowError) as error:
        raise Invalid(f"where: {condition.field} is {field.kind.value}; {error}.") from error
    return _join(or_, found)


def _ordered(column: ColumnElement[Any], operator: Operator, value: object) -> ColumnElement[bool]:
    found: ColumnElement[bool]
    match operator:
        case Operator.EQ:
            found = column == value
        case Operator.NE:
            found = column != value
        case Operator.LT:
            found = column < value
        case Operator.LE:
            found = column <= value
        case Operator.GT:
            found = column > value
        case Operator.GE:
            found = column >= value
        case Operator.CP | Operator.IN | Operator.NULL:
            raise AssertionError(operator)
        case _:
            assert_never(operator)
    return found


def _beyond(column: ColumnElement[Any], operator: Operator, *, above: bool) -> ColumnElement[bool]:
    """Compare with a value that is above, or below, all that the column can hold."""
    holds = {Operator.NE, Operator.LT, Operator.LE} if above else {Operator.NE, Operator.GT, Operator.GE}
    return _always(column) if operator in holds else _never(column)


def _number(text: str) -> str:
    text = text.strip()
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
        raise ValueError(f"{text[:40]!r} is none")
    return text


def _compare_integer(field: Field, operator: Operator, text: str) -> ColumnElement[bool]:
    column = type_coerce(_sql(field), BigInteger())
    value = Decimal(_number(text))
    if not INT64_MIN <= value <= INT64_MAX:
        return _beyond(column, operator, above=value > 0)
    below = math.floor(value)
    if below == value:
        return _ordered(column, operator, below)
    if operator in {Operator.EQ, Operator.NE}:
        return _beyond(column, operator, above=True)
    return column <= below if operator in {Operator.LT, Operator.LE} else column > below


def _compare_number(field: Field, operator: Operator, text: str) -> ColumnElement[bool]:
    column: ColumnElement[float] = type_coerce(_sql(field), Double())
    value = float(_number(text))
    if math.isinf(value):
        return _beyond(column, operator, above=value > 0)
    return _ordered(column, operator, value)


def _compare_text(field: Field, operator: Operator, text: str) -> ColumnElement[bool]:
    column: ColumnElement[str] = type_coerce(_sql(field), String())
    return _ordered(bytewise(column) if operator in ORDERED else column, operator, text)


def _compare_boolean(field: Field, operator: Operator, text: str) -> ColumnElement[bool]:
    if operator in ORDERED:
        raise ValueError(f"it cannot be compared with {operator}")
    if text.lower() not in BOOLEANS:
        raise ValueError(f"{text[:40]!r} is neither")
    return _ordered(_sql(field), operator, BOOLEANS[text.lower()])


def _compare_time(field: Field, operator: Operator, text: str) -> ColumnElement[bool]:
    """Compare what the wire shows: a time without a fraction means its whole second."""
    column = _sql(field)
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is none") from None
    if moment.microsecond:
        return _ordered(column, operator, moment)
    after = moment + timedelta(seconds=1)
    match operator:
        case Operator.EQ:
            return and_(column >= moment, column < after)
        case Operator.NE:
            return or_(column < moment, column >= after)
        case Operator.GT:
            return _ordered(column, Operator.GE, after)
        case Operator.LE:
            return _ordered(column, Operator.LT, after)
        case _:
            return _ordered(column, operator, moment)


def _compare_address(field: Field, operator: Operator, text: str) -> ColumnElement[bool]:
    column = _sql(field)
    value = _address(text)
    if isinstance(column.type, String):
        if operator in ORDERED:
            raise ValueError(f"it cannot be compared with {operator}")
        return _ordered(column, operator, str(value))
    if isinstance(column.type, LargeBinary):
        return _ordered(column, operator, bytes([value.version]) + value.packed)
    return _ordered(column, operator, value)


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        value = ip_address(text.strip())
    except ValueError:
        raise ValueError(f"{text[:60]!r} is none") from None
    if getattr(value, "scope_id", None):
        raise ValueError(f"{text[:60]!r} has a zone, which is not stored")
    return value


_COMPARE: Mapping[FieldKind, Callable[[Field, Operator, str], ColumnElement[bool]]] = {
    FieldKind.INTEGER: _compare_integer,
    FieldKind.NUMBER: _compare_number,
    FieldKind.TEXT: _compare_text,
    FieldKind.BOOLEAN: _compare_boolean,
    FieldKind.TIME: _compare_time,
    FieldKind.ADDRESS: _compare_address,
}


# --- words


def _compare_words(field: Field, words: Mapping[str, object], condition: Condition) -> ColumnElement[bool]:
    column, operator = _sql(field), condition.operator
    if operator in ORDERED:
        raise Invalid(
            f"where: {condition.field} is one of some words; it cannot be compared with {operator}."
        )
    shows_null = any(None in _values(found) for found in words.values())
    wanted: list[object] = []
    unknown = False
    for value in condition.values:
        if value.is_null:
            unknown = True
        elif operator is Operator.CP:
            pattern = Pattern.of(value.spelling)
            wanted.extend(
                stored for word, found in words.items() if pattern.fits(word) for stored in _values(found)
            )
            if not shows_null and pattern.fits(""):
                wanted.append(None)
        else:
            wanted.extend(_stored(field.kind, words, value.plain))
    present = [value for value in dict.fromkeys(wanted) if value is not None]
    found = column.in_(present) if present else _never(column)
    if shows_null or operator is Operator.CP:
        found = and_(column.is_not(None), found)
        if None in wanted:
            found = or_(column.is_(None), found)
    if unknown:
        found = or_(found, _unknown())
    return not_(found) if operator is Operator.NE else found


def _values(found: object) -> tuple[object, ...]:
    return found if isinstance(found, tuple) else (found,)


def _stored(kind: FieldKind, words: Mapping[str, object], text: str) -> tuple[object, ...]:
    if text in words:
        return _values(words[text])
    folded_text = text.strip().lower()
    for word, found in words.items():
        if word.lower() == folded_text:
            return _values(found)
    if kind is FieldKind.BOOLEAN and folded_text in BOOLEANS:
        return (BOOLEANS[folded_text],)
    return ()


# --- CP


@dataclass(frozen=True, slots=True)
class Pattern:
    """What CP takes: `%` is any run of characters, `_` is one; a backslash makes the next character plain."""

    parts: tuple[str, ...]  # "%", "_", or "=" and a character

    @classmethod
    def of(cls, spelling: str) -> "Pattern":
        """Read a pattern; letters A to Z are folded."""
        tokens = re.findall(r"\\.|.", spelling, re.DOTALL)
        parts = [token if token in {"%", "_"} else "=" + _fold(token[-1]) for token in tokens]
        return cls(tuple(part for at, part in enumerate(parts) if part != "%" or parts[at - 1 : at] != ["%"]))

    @property
    def is_plain(self) -> bool:
        """Whether there are no wildcards."""
        return all(part[0] == "=" for part in self.parts)

    @property
    def plain(self) -> str:
        """The text of a pattern without wildcards."""
        return "".join(part[1:] for part in self.parts)

    @property
    def like(self) -> str:
        """The pattern for LIKE with `!` as its escape."""
        return "".join(
            ("!" + part[1] if part[1] in "%_!" else part[1]) if part[0] == "=" else part
            for part in self.parts
        )

    def fits(self, text: str) -> bool:
        """Whether the whole text matches; in time that grows with the product of both lengths."""
        text = _fold(text)
        reached = {0}
        for part in self.parts:
            if part == "%":
                reached = set(range(min(reached), len(text) + 1))
            else:
                reached = {at + 1 for at in reached if at < len(text) and part in {"_", "=" + text[at]}}
            if not reached:
                return False
        return len(text) in reached


def _fold(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def _matches(field: Field, name: str, value: Literal) -> ColumnElement[bool]:
    pattern = Pattern.of(value.spelling)
    shown: ColumnElement[str]
    match field.kind:
        case FieldKind.BOOLEAN:
            words = {"true": True, "false": False}
            return _compare_words(field, words, Condition(name, Operator.CP, (value,)))
        case FieldKind.NUMBER:
            raise Invalid(f"where: {name} is a number; it cannot be compared with CP.")
        case FieldKind.ADDRESS:
            spelt = field if field.text is None else replace(field, column=field.text)
            if not isinstance(_sql(spelt).type, String):
                return _matches_address(field, name, pattern)
            shown = type_coerce(_sql(spelt), String())
        case FieldKind.TEXT:
            shown = type_coerce(_sql(field), String())
        case FieldKind.INTEGER:
            shown = cast(_sql(field), String())
        case FieldKind.TIME:
            shown = shown_time(_sql(field))
        case _:
            assert_never(field.kind)
    text = func.coalesce(shown, "")
    if pattern.is_plain:
        return folded(text) == pattern.plain
    if len(pattern.like.encode()) > MAX_PATTERN:
        raise Invalid(f"where: the pattern for {name} is too long.")
    return folded_for_like(text).like(pattern.like, escape="!")


def _matches_address(field: Field, name: str, pattern: Pattern) -> ColumnElement[bool]:
    column = _sql(field)
    if not pattern.is_plain:
        raise Invalid(
            f"where: {name} takes no wildcards. Compare it with GE and LE, or filter by its network."
        )
    try:
        found = _compare_address(field, Operator.EQ, pattern.plain)
    except ValueError:
        found = false()
    return or_(column.is_(None), found) if not pattern.plain else and_(column.is_not(None), found)


# --- functions that the two databases call by different names


class folded(FunctionElement[str]):  # noqa: N801  # reads as a function
    """Text with the letters A to Z in lower case, whatever the locale of the database."""

    type = String()
    inherit_cache = True


class folded_for_like(FunctionElement[str]):  # noqa: N801
    """The same beside LIKE, which for SQLite folds those letters by itself, in half the time."""

    type = String()
    inherit_cache = True


class bytewise(FunctionElement[str]):  # noqa: N801
    """Text that is ordered by its bytes, whatever the locale of the database."""

    type = String()
    inherit_cache = True


class shown_time(FunctionElement[str]):  # noqa: N801
    """A time as the wire shows it."""

    type = String()
    inherit_cache = True


@compiles(folded)
def _folded(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:
    return f"lower({compiler.process(element.clauses, **options)})"


@compiles(folded, "postgresql")
def _folded_postgresql(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:
    return f'lower({compiler.process(element.clauses, **options)} COLLATE "C")'


@compiles(folded_for_like)
def _folded_for_like(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(folded_for_like, "postgresql")
def _folded_for_like_postgresql(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:
    return _folded_postgresql(element, compiler, **options)


@compiles(bytewise)
def _bytewise(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)})"


@compiles(bytewise, "postgresql")
def _bytewise_postgresql(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:
    return f'({compiler.process(element.clauses, **options)} COLLATE "C")'


@compiles(shown_time)
def _shown_time(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 19)"


@compiles(shown_time, "postgresql")
def _shown_time_postgresql(element: FunctionElement[str], compiler: SQLCompiler, **options: Any) -> str:
    return (
        f"to_char({compiler.process(element.clauses, **options)} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    )
