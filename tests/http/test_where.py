"""The filter language: what it means, what it refuses, and that databases agree with a plain evaluator."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from rackhand.errors import Invalid, UnknownProperty
from rackhand.http.where import MAX_SUBQUERIES, Pattern, compile_where
from rackhand.http.where_syntax import MAX_CONDITIONS, MAX_DEPTH, MAX_TEXT
from tests.http.things import FIELDS, NOON, POWER_WORDS, ROWS, STATUS_WORDS, Given, Thing

Truth = bool | None
Evaluate = Callable[[Given], Truth]
Clause = tuple[str, Evaluate]


def matching(engine: Engine, text: str) -> list[int]:
    with engine.connect() as connection:
        return list(
            connection.scalars(select(Thing.id).where(compile_where(text, FIELDS)).order_by(Thing.id))
        )


def expected(evaluate: Evaluate) -> list[int]:
    return [row.id for row in ROWS if evaluate(row)]


# --- a second opinion


def negate(truth: Truth) -> Truth:
    return None if truth is None else not truth


def every(truths: list[Truth]) -> Truth:
    return False if False in truths else None if None in truths else True


def either(truths: list[Truth]) -> Truth:
    return True if True in truths else None if None in truths else False


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "EQ": lambda left, right: left == right,
    "NE": lambda left, right: left != right,
    "NEQ": lambda left, right: left != right,
    "LT": lambda left, right: left < right,
    "LE": lambda left, right: left <= right,
    "GT": lambda left, right: left > right,
    "GE": lambda left, right: left >= right,
}


def compare(operator: str, left: Any, right: Any) -> Truth:
    return None if left is None or right is None else COMPARISONS[operator](left, right)


def quote(text: str, mark: str) -> str:
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


letters = st.sampled_from("aAbB%_!\\'\" яЯ\n5")
texts = st.text(letters, max_size=4)
marks = st.sampled_from("'\"")
operators = st.sampled_from(list(COMPARISONS))


@st.composite
def keyword(draw: st.DrawFn, word: str) -> str:
    return draw(st.sampled_from([word, word.lower(), word.title()]))


@st.composite
def number_clause(draw: st.DrawFn) -> Clause:
    name = draw(st.sampled_from(["number", "id", "ratio"]))
    wide = st.integers(-(10**25), 10**25)
    value: float | int = draw(st.one_of(st.sampled_from([0, 1, 5, -1, 2**31, 2**63, -(2**63) - 1]), wide))
    spelling = str(value)
    if draw(st.booleans()) and abs(value) < 2**50:
        fraction = draw(st.sampled_from(["0", "5", "25"]))
        spelling += "." + fraction
        value = float(spelling)
    operator = draw(operators)
    shown = quote(spelling, draw(marks)) if draw(st.booleans()) else spelling
    return f"{name} {draw(keyword(operator))} {shown}", lambda row: compare(
        operator, getattr(row, name), value
    )


@st.composite
def text_clause(draw: st.DrawFn) -> Clause:
    operator, value = draw(operators), draw(texts)
    text = f"name {draw(keyword(operator))} {quote(value, draw(marks))}"
    is_ordered = operator not in {"EQ", "NE", "NEQ"}

    def evaluate(row: Given) -> Truth:
        if row.name is None or not is_ordered:
            return compare(operator, row.name, value)
        return compare(operator, row.name.encode(), value.encode())

    return text, evaluate


def fold(text: str) -> str:
    return re.sub("[A-Z]", lambda found: found[0].lower(), text)


@st.composite
def pattern(draw: st.DrawFn) -> tuple[str, Callable[[str | None], bool]]:
    mark = draw(marks)
    spelling, regex = "", ""
    for _ in range(draw(st.integers(0, 5))):
        match draw(st.sampled_from(["any", "one", "letter", "letter"])):
            case "any":
                spelling, regex = spelling + "%", regex + ".*"
            case "one":
                spelling, regex = spelling + "_", regex + "."
            case _:
                letter = draw(letters)
                escape = "\\" if letter in {"%", "_", "\\", mark} or draw(st.booleans()) else ""
                spelling, regex = spelling + escape + letter, regex + re.escape(fold(letter))
    compiled = re.compile(regex, re.DOTALL)
    return mark + spelling + mark, lambda text: compiled.fullmatch(fold(text or "")) is not None


@st.composite
def pattern_clause(draw: st.DrawFn) -> Clause:
    shown, fits = draw(pattern())
    name, spell = draw(
        st.sampled_from(
            [
                ("name", lambda row: row.name),
                ("number", lambda row: None if row.number is None else str(row.number)),
                ("ip.ip", lambda row: row.ip),
                ("ip_text", lambda row: row.ip),
                ("at", lambda row: None if row.at is None else f"{row.at:%Y-%m-%d %H:%M:%S}"),
                ("flag", lambda row: None if row.flag is None else str(row.flag).lower()),
            ]
        )
    )
    return f"{name} {draw(keyword('CP'))} {shown}", lambda row: fits(spell(row))


@st.composite
def tag_clause(draw: st.DrawFn) -> Clause:
    kind = draw(st.sampled_from(["CP", "EQ", "NE", "IS", "IS NOT"]))
    if kind == "CP":
        shown, fits = draw(pattern())
        return f"tag.name CP {shown}", lambda row: any(fits(tag) for tag in row.tags)
    if kind == "IS":
        return "tag.name IS null", lambda row: all(tag is None for tag in row.tags)
    if kind == "IS NOT":
        return "tag.name IS NOT null", lambda row: any(tag is not None for tag in row.tags)
    value = draw(texts)
    return (
        f"tag.name {kind} {quote(value, draw(marks))}",
        lambda row: any(compare(kind, tag, value) is True for tag in row.tags),
    )


@st.composite
def boolean_clause(draw: st.DrawFn) -> Clause:
    spelling, value = draw(
        st.sampled_from(
            [("true", True), ("'On'", True), ("1", True), ("FALSE", False), ('"0"', False), ("off", False)]
        )
    )
    spelling = f"'{spelling}'" if spelling == "off" else spelling
    operator = draw(st.sampled_from(["EQ", "NE"]))
    name = draw(st.sampled_from(["flag", "is_named"]))
    return f"{name} {operator} {spelling}", lambda row: compare(
        operator, row.flag if name == "flag" else row.name is not None, value
    )


@st.composite
def time_clause(draw: st.DrawFn) -> Clause:
    spelling, value, is_exact = draw(
        st.sampled_from(
            [
                ("2025-01-31 12:00:00", NOON, False),
                ("2025-01-31T14:00:00+02:00", NOON, False),
                ("2025-01-31 12:00:00Z", NOON, False),
                ("2025-01-31 12:00:00.000001", NOON.replace(microsecond=1), True),
                ("2025-01-31 12:00:01", NOON.replace(second=1), False),
                ("2024-06-01", datetime.fromisoformat("2024-06-01T00:00:00Z"), False),
            ]
        )
    )
    operator = draw(operators)

    def evaluate(row: Given) -> Truth:
        at = row.at if is_exact or row.at is None else row.at.replace(microsecond=0)
        return compare(operator, at, value)

    return f"at {operator} '{spelling}'", evaluate


@st.composite
def address_clause(draw: st.DrawFn) -> Clause:
    name = draw(st.sampled_from(["ip.ip", "ip_key", "ip_text"]))
    equality = ["EQ", "NE", "NEQ"]
    operator = draw(st.sampled_from(equality if name == "ip_text" else list(COMPARISONS)))
    value = draw(
        st.sampled_from(["10.0.0.9", "10.0.0.10", "10.0.0.100", "2001:DB8:0::1", "::", "255.255.255.255"])
    )

    def key(text: str) -> tuple[int, int]:
        address = ip_address(text)
        return address.version, int(address)

    return f"{name} {operator} '{value}'", lambda row: compare(
        operator, None if row.ip is None else key(row.ip), key(value)
    )


@st.composite
def word_clause(draw: st.DrawFn) -> Clause:
    name = draw(st.sampled_from(["status", "power"]))
    words: Mapping[str, object] = STATUS_WORDS if name == "status" else POWER_WORDS
    operator = draw(st.sampled_from(["EQ", "NE", "CP"]))
    shows_null = name == "power"

    def stored(found: list[str]) -> set[Any]:
        values: set[Any] = set()
        for word in found:
            value = words[word]
            values.update(value if isinstance(value, tuple) else (value,))
        return values

    if operator == "CP":
        shown, fits = draw(pattern())
        wanted = stored([word for word in words if fits(word)]) | (
            {None} if fits("") and not shows_null else set()
        )
        return f"{name} CP {shown}", lambda row: getattr(row, name) in wanted
    word = draw(st.sampled_from([*words, "extended"]))
    wanted = stored([word] if word in words else [])

    def evaluate(row: Given) -> Truth:
        value = getattr(row, name)
        if value is None and not shows_null:
            return None
        return (value in wanted) == (operator == "EQ")

    return f"{name} {operator} '{word.upper()}'", evaluate


@st.composite
def null_clause(draw: st.DrawFn) -> Clause:
    name = draw(st.sampled_from(["number", "ratio", "name", "flag", "at", "ip.ip", "status", "power"]))
    is_not = draw(st.booleans())
    text = (
        f"{name} {draw(keyword('IS'))} {draw(keyword('NOT')) + ' ' if is_not else ''}{draw(keyword('NULL'))}"
    )
    return text, lambda row: (getattr(row, name.partition(".")[0]) is None) != is_not


@st.composite
def membership_clause(draw: st.DrawFn) -> Clause:
    values: list[int | None] = draw(
        st.lists(st.sampled_from([None, 0, 1, 5, 55, 2**70]), min_size=1, max_size=4)
    )
    shown = ", ".join("null" if value is None else str(value) for value in values)
    return f"number IN ({shown})", lambda row: either([compare("EQ", row.number, value) for value in values])


clauses = st.one_of(
    number_clause(),
    text_clause(),
    pattern_clause(),
    tag_clause(),
    boolean_clause(),
    time_clause(),
    address_clause(),
    word_clause(),
    null_clause(),
    membership_clause(),
)


def joined(inner: st.SearchStrategy[Clause]) -> st.SearchStrategy[Clause]:
    @st.composite
    def make(draw: st.DrawFn) -> Clause:
        kind = draw(st.sampled_from(["NOT", "AND", "OR", "parentheses"]))
        if kind in {"NOT", "parentheses"}:
            text, evaluate = draw(inner)
            if kind == "parentheses":
                return f"(({text}))", evaluate
            return f"{draw(keyword('NOT'))} ({text})", lambda row: negate(evaluate(row))
        parts = draw(st.lists(inner, min_size=2, max_size=4))
        join = every if kind == "AND" else either
        text = f" {draw(keyword(kind))} ".join(f"({text})" for text, _ in parts)
        return text, lambda row: join([evaluate(row) for _, evaluate in parts])

    return make()


@settings(
    max_examples=600,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(clause=st.recursive(clauses, joined, max_leaves=12))
def test_databases_agree_with_the_plain_evaluator(engine: Engine, clause: Clause) -> None:
    text, evaluate = clause
    assert matching(engine, text) == expected(evaluate), text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=clauses, second=clauses, third=clauses)
def test_not_binds_tighter_than_and_and_that_tighter_than_or(
    engine: Engine, first: Clause, second: Clause, third: Clause
) -> None:
    text = f"{first[0]} OR NOT {second[0]} AND {third[0]}"

    def evaluate(row: Given) -> Truth:
        return either([first[1](row), every([negate(second[1](row)), third[1](row)])])

    assert matching(engine, text) == expected(evaluate), text


# --- the evidence


@pytest.mark.parametrize(
    ("text", "evaluate"),
    [
        ("(name IS null) AND flag EQ false", lambda row: row.name is None and row.flag is False),
        (
            "NOT name CP '%ab%' AND (number EQ 5)",
            lambda row: "ab" not in (row.name or "").lower() and row.number == 5,
        ),
        ("((number EQ 5))", lambda row: row.number == 5),
        ("(number EQ '5')", lambda row: row.number == 5),
        ("name CP 'AB'", lambda row: row.name == "Ab"),
        ("status NE 'extended'", lambda row: row.status is not None),
        ("status EQ 'failed' OR status EQ 'created'", lambda row: row.status in {"failed", "queued"}),
        ("((id EQ '12') AND (name CP '%')) OR (id EQ 13)", lambda row: row.id in {12, 13}),
        ("number EQ null", lambda _: False),
        ("NOT number EQ null", lambda _: False),
        ("number GT 99999999999999999999", lambda _: False),
        ("number LT 99999999999999999999", lambda row: row.number is not None),
        ("number EQ 5000000000", lambda _: False),
        ("ip_key CP '10.0.0.9'", lambda row: row.ip == "10.0.0.9"),
        ("ip_key CP 'nothing'", lambda _: False),
        ("ip_key CP ''", lambda row: row.ip is None),
        ("  id\tEQ\n1 ", lambda row: row.id == 1),
        ("   ", lambda _: True),
        ("ratio LT 1" + "0" * 400, lambda row: row.ratio is not None),
    ],
)
def test_filters_that_clients_send(engine: Engine, text: str, evaluate: Evaluate) -> None:
    assert matching(engine, text) == expected(evaluate)


@pytest.mark.parametrize("name", ["order", "in_rack", "is.id", "nothing", "AND.x", "null_", "like"])
def test_names_may_begin_with_a_keyword(name: str) -> None:
    assert compile_where(f"{name} EQ 1 AND NOT {name} EQ 2", {name: FIELDS["id"]}) is not None


# --- what is refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id", "ends too early"),
        ("id EQ", "ends too early"),
        ("(id EQ 5", "ends too early"),
        ("id EQ 5)", "from character 8 on: ')'"),
        ("id EQ 5 id EQ 6", "from character 9 on: 'id EQ 6'"),
        ("id EQ 'abc", 'from character 7 on: "\'abc"'),
        ("id = 5", "from character 4 on"),
        ("id EQ five", "from character 7 on"),
        ("id EQ 5; DROP TABLE x", "from character 8 on"),
        ("id EQ 5x", "from character 7 on"),
        ("id EQ 1.", "from character 7 on"),
        ("id IN ()", "from character 8 on"),
        ("AND", "ends too early"),
        ("id EQ 'abc'", "id is a whole number; 'abc' is none"),
        ("id EQ '\u0665'", "id is a whole number"),
        ("id EQ true", "id is a whole number"),
        ("ratio EQ 'nan'", "ratio is a number"),
        ("flag EQ 'maybe'", "flag is true or false"),
        ("flag GT true", "cannot be compared with GT"),
        ("status GT 'running'", "cannot be compared with GT"),
        ("ratio CP '5'", "cannot be compared with CP"),
        ("at EQ 'yesterday'", "at is a time such as"),
        ("at LE '9999-12-31 23:59:59'", "at is a time such as"),
        ("at EQ '0001-01-01T00:00:00+14:00'", "at is a time such as"),
        ("ip_key EQ '10.0.0.256'", "ip_key is an IP address"),
        ("ip_key EQ 'fe80::1%eth0'", "zone"),
        ("ip_key CP '10.%'", "takes no wildcards"),
        ("ip_text GT '10.0.0.1'", "cannot be compared with GT"),
        ("name EQ 'a\0b'", "U+0000"),
        ("name EQ '\ud800'", "surrogate"),
        ("name CP '%" + "a" * 50_001 + "'", "too long"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        compile_where(text, FIELDS)
    assert words in refused.value.message


def test_unknown_field_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownProperty) as refused:
        compile_where("owner EQ 5", {"id": FIELDS["id"], "name": FIELDS["name"]})
    assert refused.value.message == "where: there is no field 'owner' here. Fields: id, name."
    assert refused.value.value == {"field": "owner", "fields": ["id", "name"]}


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        "(" * 10_000 + "id EQ 5" + ")" * 10_000,
        "NOT " * 10_000 + "id EQ 5",
        "NOT (" * 5_000 + "id EQ 5" + ")" * 5_000,
        "id EQ 5 AND (" * 4_000,
        "id IN (" * 4_000,
        ")" * 10_000,
        "'" + "\\'" * 30_000,
        "id EQ " + "9" * 60_000 + "x",
    ],
)
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    compile_where("id EQ 5", FIELDS)
    start = time.process_time()
    with pytest.raises(Invalid):
        compile_where(text, FIELDS)
    assert time.process_time() - start < 0.5


def test_limits_are_what_they_say(engine: Engine) -> None:
    deepest = "(" * MAX_DEPTH + "id EQ 5" + ")" * MAX_DEPTH
    assert matching(engine, deepest) == [5]
    with pytest.raises(Invalid, match="deep"):
        compile_where(f"({deepest})", FIELDS)
    assert matching(engine, "NOT " * MAX_DEPTH + "id EQ 5") == [5]
    most = " OR ".join(["name CP '%zz%'"] * (MAX_CONDITIONS - 1) + ["id EQ 5"])
    assert matching(engine, most) == [5]
    assert matching(engine, most.replace("OR", "AND")) == []
    assert matching(engine, f"id IN ({', '.join(map(str, range(5, 5 + MAX_CONDITIONS)))})") == list(
        range(5, 212)
    )
    with pytest.raises(Invalid, match="more than 1000 conditions"):
        compile_where(most + " OR id EQ 6", FIELDS)
    related = " OR ".join(["tag.name CP '%zz%'"] * MAX_SUBQUERIES)
    assert matching(engine, related + " OR id EQ 5") == [5]
    with pytest.raises(Invalid, match="many values per row"):
        compile_where(related + " OR tag.name CP 'x'", FIELDS)
    with pytest.raises(Invalid, match="bytes are too many"):
        compile_where("name EQ '" + "я" * (MAX_TEXT // 2) + "'", FIELDS)


def test_and_and_or_may_be_nested_in_each_other(engine: Engine) -> None:
    def nest(depth: int) -> str:
        text = "id EQ 5"
        for level in range(depth):
            text = f"tag.name CP '%zz%' OR ({text})" if level % 2 else f"id GT 0 AND ({text})"
        return text

    assert matching(engine, nest(58)) == [5]
    assert matching(engine, f"NOT ({nest(58)})") == [number for number in range(1, 212) if number != 5]
    with pytest.raises(Invalid, match="too deep"):
        compile_where(nest(80), FIELDS)


def test_pattern_of_many_wildcards_is_quick(engine: Engine) -> None:
    start = time.process_time()
    assert matching(engine, "name CP '" + "%a" * 10_000 + "%'") == []
    assert matching(engine, "status CP '" + "%a" * 10_000 + "%'") == []
    assert Pattern.of("%a" * 50 + "b").fits("a" * 1000) is False
    assert time.process_time() - start < 5


def test_long_filter_is_compiled_quickly() -> None:
    text = " AND ".join(["name CP '%abc%'"] * MAX_CONDITIONS)
    start = time.process_time()
    compile_where(text, FIELDS)
    assert time.process_time() - start < 8
