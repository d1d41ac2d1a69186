"""Rows of the API as values: a frozen dataclass says which keys are read and what they are.

Keys that a class does not know are left out, and keys that an answer lacks get the field's default, so that this client
and the server may be of different versions.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Annotated, Any, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from rackhand.sdk.errors import UnexpectedAnswer

Json: TypeAlias = Any  # what `json.loads` gives
Row = TypeVar("Row")
_Convert: TypeAlias = Callable[[Json], object]


@dataclass(frozen=True)
class Key:
    """Beside a type: the name that the field has on the wire."""

    name: str


def read_row(kind: type[Row], answer: Json) -> Row:
    """Make a *kind* of a JSON object."""
    if not isinstance(answer, dict):
        raise UnexpectedAnswer(f"Expected a JSON object for {kind.__name__}, got {type(answer).__name__}.")
    values, described = {}, cast("Any", kind)
    for name, key, convert, is_needed in _plan(described):
        if key not in answer:
            if is_needed:
                raise UnexpectedAnswer(f"The answer has no {key}, which every {kind.__name__} has.")
            continue
        try:
            values[name] = convert(answer[key])
        except (TypeError, ValueError) as error:
            raise UnexpectedAnswer(f"{kind.__name__}.{key}: {error}.") from error
    return kind(**values)


@cache
def _plan(kind: Any) -> tuple[tuple[str, str, _Convert, bool], ...]:
    """Name, key, conversion, and whether it must be there, of each field."""
    hints = get_type_hints(kind, include_extras=True)
    plan = []
    for each in fields(kind):
        hint, key = hints[each.name], each.name
        if get_origin(hint) is Annotated:
            hint, key = hint.__origin__, hint.__metadata__[0].name
        is_needed = each.default is MISSING and each.default_factory is MISSING
        plan.append((each.name, key, _converter(hint), is_needed))
    return tuple(plan)


def _converter(hint: Any) -> _Convert:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return partial(_optional, _converter(next(each for each in inner if each is not type(None))))
    if origin is tuple:
        return partial(_several, _converter(inner[0]))
    if isinstance(hint, type) and is_dataclass(hint):
        return partial(read_row, hint)
    return _CONVERTERS.get(hint, _as_it_is)


def _optional(convert: _Convert, value: Json) -> object:
    return None if value is None else convert(value)


def _several(convert: _Convert, values: Json) -> object:
    return tuple(convert(value) for value in values or ())


def _as_it_is(value: Json) -> object:
    return value


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _flag(value: Json) -> bool:
    return value in {True, "1", "true"}


_CONVERTERS: Mapping[object, _Convert] = {
    datetime: _moment,
    bool: _flag,  # pools say it as a text
    int: int,  # counters of networks are texts
}
