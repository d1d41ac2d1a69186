"""The text of a filter, read into conditions and groups; `where.lark` is the grammar, `where.py` makes SQL of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, VisitError

from rackhand.errors import Invalid

MAX_TEXT = 64 * 1024
MAX_DEPTH = 100
MAX_CONDITIONS = 1000  # each value of an IN is one


class Operator(StrEnum):
    """What stands between a field and a value."""

    EQ = "EQ"
    NE = "NE"
    LT = "LT"
    LE = "LE"
    GT = "GT"
    GE = "GE"
    CP = "CP"
    IN = "IN"
    NULL = "IS null"


NAMES = {"NEQ": Operator.NE}
VALUES = {"STRING", "NUMBER", "TRUE", "FALSE", "NULL"}


def parse(text: str) -> "Condition | Group":
    """Read a filter that is not blank; NOT stands at conditions only, and no group holds one of its own kind.

    Raises `Invalid` with the reason; fields and values are not looked at.
    """
    size = len(utf8(text, "where"))
    if size > MAX_TEXT:
        raise Invalid(f"where: {size} bytes are too many, {MAX_TEXT} are the most.")
    return _normal(_parse(text), negated=False)


def utf8(text: str, where: str) -> bytes:
    """Encode *text*; raise `Invalid` for what no database takes."""
    if "\0" in text:
        raise Invalid(f"{where}: the character U+0000 is not allowed.")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{where}: character {error.start + 1} is half of a surrogate pair.") from error


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as written: `spelling` has its escapes still in it."""

    spelling: str
    is_null: bool = False

    @property
    def plain(self) -> str:
        """The value without its escapes."""
        return re.sub(r"\\(.)", r"\1", self.spelling, flags=re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """`field operator values`."""

    field: str
    operator: Operator
    values: tuple[Literal, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT *part*."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class Group:
    """Parts that are joined by AND (`every`) or by OR."""

    every: bool
    parts: "tuple[Node, ...]"


Node = Condition | Negation | Group


class _Build(Transformer[Token, Node]):
    """Makes the tree while Lark parses, so that depth costs no recursion."""

    def either(self, parts: list[Node]) -> Node:
        return Group(every=False, parts=tuple(parts))

    def both(self, parts: list[Node]) -> Node:
        return Group(every=True, parts=tuple(parts))

    def negation(self, parts: list[Node]) -> Node:
        return Negation(parts[0])

    def comparison(self, tokens: list[Token]) -> Node:
        field, operator, value = tokens
        name = operator.upper()
        return Condition(str(field), NAMES.get(name) or Operator(name), (_literal(value),))

    def membership(self, tokens: list[Token]) -> Node:
        field, *values = tokens
        return Condition(str(field), Operator.IN, tuple(_literal(value) for value in values))

    def is_null(self, tokens: list[Token]) -> Node:
        return Condition(str(tokens[0]), Operator.NULL)

    def is_not_null(self, tokens: list[Token]) -> Node:
        return Condition(str(tokens[0]), Operator.NULL, negated=True)


def _literal(token: Token) -> Literal:
    if token.type == "STRING":
        return Literal(token[1:-1])
    return Literal(str(token).lower(), is_null=token.type == "NULL")


class _Limits:
    """Refuses what is too much while the text is still being read."""

    always_accept = ()

    def process(self, tokens: Iterator[Token]) -> Iterator[Token]:
        """Count parentheses, NOTs and conditions."""
        nots, open_, conditions = 0, [0], 0
        for token in tokens:
            if token.type == "_NOT":
                nots += 1
            elif token.type == "_OPEN":
                open_.append(nots)
                nots = 0
            else:
                nots = 0
                if token.type == "_CLOSE" and len(open_) > 1:
                    open_.pop()
                conditions += token.type in VALUES
            if len(open_) - 1 + sum(open_) + nots > MAX_DEPTH:
                raise Invalid(f"where: nested more than {MAX_DEPTH} deep.")
            if conditions > MAX_CONDITIONS:
                raise Invalid(f"where: more than {MAX_CONDITIONS} conditions.")
            yield token


@cache
def _parser() -> Lark:
    grammar = resources.files("rackhand.http").joinpath("where.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", transformer=_Build(), postlex=_Limits())


def _parse(text: str) -> Node:
    try:
        tree: Any = _parser().parse(text)
    except VisitError as error:
        raise error.orig_exc from error
    except UnexpectedInput as error:
        raise Invalid(_explain(error, text)) from error
    node: Node = tree
    return node


def _explain(error: UnexpectedInput, text: str) -> str:
    token: Token | None = getattr(error, "token", None)
    at = error.pos_in_stream if token is None else token.start_pos
    if at is None or at >= len(text) or (token is not None and token.type == "$END"):
        return "where: the text ends too early. Example: (owner_email IS null) AND id EQ 5"
    return f"where: not understood from character {at + 1} on: {text[at : at + 20]!r}."


def _normal(node: Node, *, negated: bool) -> Condition | Group:
    """Move NOT to the conditions and join groups of one kind; De Morgan's laws hold for NULL as well."""
    if isinstance(node, Condition):
        return replace(node, negated=node.negated != negated)
    if isinstance(node, Negation):
        return _normal(node.part, negated=not negated)
    every = node.every != negated
    parts: list[Node] = []
    for part in node.parts:
        found = _normal(part, negated=negated)
        if isinstance(found, Group) and found.every == every:
            parts.extend(found.parts)
        else:
            parts.append(found)
    return Group(every, tuple(parts))
