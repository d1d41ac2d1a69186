"""Pages: limits, orders, counts, and how many statements they take."""

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.errors import Invalid, UnknownProperty
from rackhand.http import errors
from rackhand.http.lists import (
    MAX_ROWS,
    Limit,
    ListParams,
    OrderKey,
    fetch_page,
    list_params,
    parse_limit,
    parse_orderby,
)
from tests.conftest import Api
from tests.http.things import FIELDS, ROWS, Given, Tag, Thing

TAG_COUNT = (
    select(func.count()).select_from(Tag).where(Tag.thing_id == Thing.id).correlate(Thing).scalar_subquery()
)


async def ids(
    session: AsyncSession, statement: Select[Thing] | None = None, **params: str
) -> tuple[list[int], int]:
    page = await fetch_page(
        session,
        select(Thing) if statement is None else statement,
        ListParams(**params),
        FIELDS,
        tie_breaker=Thing.id,
    )
    return [thing.id for thing in page.rows], page.size


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("", Limit()),
        (" ", Limit()),
        ("10", Limit(0, 10)),
        ("0", Limit(0, 0)),
        ("4,18", Limit(4, 18)),
        (" 0 , 400 ", Limit(0, 400)),
        ("15000", Limit(0, 15000)),
        ("9" * 5000, Limit(0, MAX_ROWS)),
        ("99999999999,1", Limit(MAX_ROWS, 1)),
    ],
)
def test_limit_is_count_or_offset_and_count(text: str, limit: Limit) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["-1", "a", "1,2,3", "1,", ",1", "1.5", "٣", "1 2", "0x10", "+1", "²"])
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="expected `count` or `offset,count`"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", ()),
        ("name", (OrderKey("name"),)),
        ("name asc", (OrderKey("name"),)),
        ("name DESC", (OrderKey("name", descending=True),)),
        ("-id, name", (OrderKey("id", descending=True), OrderKey("name"))),
        ("device_count desc,ip.ip", (OrderKey("device_count", descending=True), OrderKey("ip.ip"))),
    ],
)
def test_orderby_is_fields_with_directions(text: str, keys: tuple[OrderKey, ...]) -> None:
    assert parse_orderby(text) == keys


@pytest.mark.parametrize("text", ["name up", "name,", ",", "name asc id", ",".join(["id"] * 17)])
def test_other_orders_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="orderby"):
        parse_orderby(text)


async def test_page_takes_one_statement_however_many_rows(session: AsyncSession) -> None:
    assert await ids(session, limit="5,3") == ([6, 7, 8], len(ROWS))
    assert len(session.info["statements"]) == 1
    assert "LIMIT" in session.info["statements"][0]
    session.info["statements"].clear()
    assert await ids(session, limit="150") == (list(range(1, 151)), len(ROWS))
    assert len(session.info["statements"]) == 1


async def test_without_a_limit_everything_is_given_in_one_statement(session: AsyncSession) -> None:
    assert await ids(session) == (list(range(1, len(ROWS) + 1)), len(ROWS))
    assert len(session.info["statements"]) == 1


async def test_size_counts_what_matches_not_what_is_given(session: AsyncSession) -> None:
    wanted = [row.id for row in ROWS if row.number == 5]
    assert await ids(session, where="number EQ 5", limit="2,2") == (wanted[2:4], len(wanted))
    assert await ids(session, where="number EQ 5", limit="0") == ([], len(wanted))
    assert await ids(session, where="number EQ 5", limit="99999999999,5") == ([], len(wanted))
    assert await ids(session, where="id EQ 0", limit="5") == ([], 0)


def _lowered(row: Given) -> tuple[bool, bytes]:
    text = "".join(letter.lower() if letter.isascii() else letter for letter in row.name or "")
    return row.name is not None, text.encode()


async def test_text_is_ordered_alike_on_all_databases_without_regard_to_case(session: AsyncSession) -> None:
    ascending = [row.id for row in sorted(ROWS, key=lambda row: (*_lowered(row), row.id))]
    assert (await ids(session, orderby="name"))[0] == ascending
    descending = [row.id for row in sorted(sorted(ROWS, key=lambda row: row.id), key=_lowered, reverse=True)]
    assert (await ids(session, orderby="name desc"))[0] == descending


async def test_null_is_first_and_equal_rows_keep_their_order_on_every_page(session: AsyncSession) -> None:
    def by_flag(row: Given) -> tuple[bool, bool]:
        return row.flag is not None, bool(row.flag)

    wanted = [row.id for row in sorted(ROWS, key=by_flag)]
    found = []
    for start in range(0, 220, 10):
        found += (await ids(session, orderby="flag", limit=f"{start},10"))[0]
    assert found == wanted
    wanted = [row.id for row in sorted(ROWS, key=by_flag, reverse=True)]
    assert (await ids(session, orderby="-flag"))[0] == wanted


async def test_addresses_are_ordered_as_numbers(session: AsyncSession) -> None:
    found = await fetch_page(
        session,
        select(Thing.ip).distinct().where(Thing.ip.is_not(None)).add_columns(Thing.ip_key),
        ListParams(orderby="ip.ip", limit="10"),
        FIELDS,
        tie_breaker=Thing.ip,
    )
    assert [row.ip for row in found.rows] == [
        "0.0.0.1",
        "10.0.0.9",
        "10.0.0.10",
        "192.0.2.1",
        "2001:db8::1",
        "2001:db8::10",
    ]
    assert found.size == 6


async def test_several_keys_and_unknown_ones(session: AsyncSession) -> None:
    wanted = [row.id for row in sorted(ROWS, key=lambda row: (row.flag is not None, bool(row.flag), -row.id))]
    assert (await ids(session, orderby="flag,id desc"))[0] == wanted
    with pytest.raises(UnknownProperty, match="orderby: there is no field 'owner'"):
        await ids(session, orderby="owner")
    with pytest.raises(Invalid, match="many values per row"):
        await ids(session, orderby="tag.name")


async def test_order_of_the_statement_holds_until_another_is_asked_for(session: AsyncSession) -> None:
    newest_first = select(Thing).order_by(Thing.id.desc())
    assert (await ids(session, newest_first, limit="2"))[0] == [211, 210]
    assert (await ids(session, newest_first, limit="2", orderby="id"))[0] == [1, 2]


async def test_statement_with_several_columns_gives_rows(session: AsyncSession) -> None:
    statement = select(Thing, TAG_COUNT.label("tag_count"))
    page = await fetch_page(session, statement, ListParams(limit="1,2"), FIELDS, tie_breaker=Thing.id)
    assert [(row.Thing.id, row.tag_count) for row in page.rows] == [(2, 1), (3, 2)]
    assert page.size == len(ROWS)
    assert "count" in session.info["statements"][1]
    assert "wire_tag" not in session.info["statements"][1]


async def test_joined_and_grouped_statements_are_counted_as_given(session: AsyncSession) -> None:
    joined = select(Thing).join(Tag, Tag.thing_id == Thing.id).where(Tag.name == "a")
    assert (await ids(session, joined, limit="1"))[1] == sum(row.tags.count("a") for row in ROWS)
    grouped = select(Thing.flag, func.count()).group_by(Thing.flag)
    page = await fetch_page(session, grouped, ListParams(limit="1"), FIELDS, tie_breaker=Thing.flag)
    assert page.size == 3


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    errors.install(app)

    @app.get("/thing")
    async def things(params: Annotated[ListParams, Depends(list_params)]) -> dict[str, str]:
        return {"where": params.where, "orderby": params.orderby, "limit": params.limit}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_parameters_are_read_from_every_spelling_of_a_url(client: httpx.AsyncClient) -> None:
    answer = await client.get("/thing?where=(id+EQ%20'5')&orderby=id+desc&limit=0,400&_=17")
    assert answer.json() == {"where": "(id EQ '5')", "orderby": "id desc", "limit": "0,400"}
    assert (await client.get("/thing")).json() == {"where": "", "orderby": "", "limit": ""}


async def test_parameter_that_comes_twice_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/thing?where=id+EQ+5&where=")
    assert answer.status_code == 400
    assert answer.json() == {"error": {"code": 2400, "msg": "where: given more than once."}}


async def test_parameters_are_described(client: httpx.AsyncClient) -> None:
    parameters = (await client.get("/openapi.json")).json()["paths"]["/thing"]["get"]["parameters"]
    assert [parameter["name"] for parameter in parameters] == ["where", "orderby", "limit"]
    assert all(
        len(parameter["description"]) > 40 and parameter["schema"]["examples"] for parameter in parameters
    )


async def test_deepest_filters_pass_through_the_product(admin: Api) -> None:
    text = "id GT 0"
    for level in range(58):
        text = f"kind CP '%zz%' OR ({text})" if level % 2 else f"id GT 0 AND ({text})"
    found = await admin.get(f"/dci/v3/event?limit=1&where={quote(text)}")
    assert found["size"] > 0
    most = " OR ".join(["kind CP '%zz%'"] * 999 + ["id GT 0"])
    assert (await admin.get(f"/dci/v3/event?limit=1&where={quote(most)}"))["size"] == found["size"]
