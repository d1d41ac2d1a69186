"""What requests meet before the routes."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from rackhand.http import errors
from rackhand.http.codes import Code
from rackhand.http.edge import Guard, JsonBody, NormalisePath, RequestId, error_response
from rackhand.http.wire import Body

LIMIT = 4096


class Name(Body):
    name: str = "nobody"


def make_app() -> FastAPI:
    app = FastAPI()
    errors.install(app)
    for middleware, options in (
        (JsonBody, {"limit": LIMIT, "uploads": ("/dci/v3/image/upload",)}),
        (NormalisePath, {}),
        (Guard, {}),
        (RequestId, {}),
    ):
        app.add_middleware(middleware, **options)

    @app.get("/")
    @app.get("/dci/v3/server")
    @app.get("/dci/v3/server/{id}")
    async def show(request: Request, id: str = "") -> dict[str, str]:
        bound = structlog.contextvars.get_contextvars()
        raw = request.scope["raw_path"].decode()
        return {"id": id, "query": request.url.query, "raw": raw, "number": bound["request_id"]}

    @app.post("/dci/v3/server")
    @app.delete("/dci/v3/server")
    async def post(body: Name) -> dict[str, str]:
        return {"name": body.name}

    @app.post("/auth/v4/anything")
    async def anything(request: Request) -> Any:
        return await request.json()

    @app.post("/console/form")
    @app.post("/dci/v3/image/upload")
    async def form(request: Request) -> dict[str, Any]:
        return {"type": request.headers.get("content-type"), "size": len(await request.body())}

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("a secret")

    @app.get("/crash/late")
    async def crash_late() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            raise RuntimeError("a secret")

        return StreamingResponse(pieces())

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def test_error_has_a_value_only_when_there_is_one() -> None:
    bare = error_response(404, Code.NOT_FOUND, "There is no server 5.")
    assert json.loads(bytes(bare.body)) == {"error": {"code": 3080, "msg": "There is no server 5."}}
    full = error_response(409, Code.BUSY, "half \ud800", {"task": 7}, {"retry-after": "1"})
    assert json.loads(bytes(full.body)) == {
        "error": {"code": 2423, "msg": "half \\ud800", "value": {"task": 7}}
    }
    assert (full.status_code, full.headers["retry-after"], full.media_type) == (409, "1", "application/json")


@pytest.mark.parametrize(
    "path",
    [
        "/dci/v3/server",
        "/dci/v3/server/",
        "/api/dci/v3/server",
        "/api/dci/v3/server/",
        "//api//dci/v3//server//",
        "/dci///v3/server",
    ],
)
async def test_every_spelling_of_a_path_is_one(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"http://test{path}?where=name+CP+'%25//x/'&a=/api/")
    assert answer.status_code == 200
    assert answer.json()["query"] == "where=name+CP+'%25//x/'&a=/api/"
    assert answer.json()["raw"] == "/dci/v3/server"


@pytest.mark.parametrize(("path", "status"), [("/api", 200), ("/api/", 200), ("/apidci/v3/server", 404)])
async def test_only_a_whole_first_segment_is_the_prefix(
    client: httpx.AsyncClient, path: str, status: int
) -> None:
    assert (await client.get(path)).status_code == status


async def test_encoded_segment_reaches_the_route(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/dci/v3/server/a%40b.c%20d/")).json()["id"] == "a@b.c d"


@pytest.mark.parametrize("path", ["/dci/v3/server/%00", "/dci/v3/server?where=name+EQ+'%00'"])
async def test_nul_in_a_url_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 2400)


@pytest.mark.parametrize(
    "content_type",
    [None, "application/x-www-form-urlencoded", "text/plain", "application/json", "", "multipart/form-data"],
)
async def test_body_is_json_whatever_its_type_says(
    client: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await client.post("/dci/v3/server", content='{"name":"я"}'.encode(), headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"name": "я"})


@pytest.mark.parametrize("body", [b"", b"  \r\n", b"{}", b"\xef\xbb\xbf{}"])
async def test_absent_body_is_an_empty_object(client: httpx.AsyncClient, body: bytes) -> None:
    assert (await client.post("/dci/v3/server", content=body)).json() == {"name": "nobody"}
    assert (await client.request("DELETE", "/dci/v3/server", content=body)).json() == {"name": "nobody"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"name":', "The body is not JSON: Expecting value, line 1, column 9 (character 9)."),
        (
            b'{\n "a": 1,\n "b" 2}',
            "The body is not JSON: Expecting ':' delimiter, line 3, column 6 (character 17).",
        ),
        (b"name=x", "The body is not JSON: Expecting value, line 1, column 1 (character 1)."),
        (b'{"name":"\xff"}', "The body is not UTF-8: byte 10."),
        (b'{"name":NaN}', "The body is not JSON that this server takes: NaN is not a number in JSON."),
        (
            b'{"name":-Infinity}',
            "The body is not JSON that this server takes: -Infinity is not a number in JSON.",
        ),
        (
            b'{"name":"a\\u0000"}',
            "The body holds a text with the character U+0000 or half of a surrogate pair.",
        ),
        (
            b'{"a":[{"\\ud800":1}]}',
            "The body holds a text with the character U+0000 or half of a surrogate pair.",
        ),
        (b"[" * 2000, "The body is nested more than 64 deep."),
        (b"[" * 100 + b"]" * 100, "The body is nested more than 64 deep."),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "The body is nested more than 64 deep."),
    ],
)
async def test_body_that_is_not_json_is_refused_with_the_place(
    client: httpx.AsyncClient, body: bytes, words: str
) -> None:
    answer = await client.post("/dci/v3/server", content=body)
    assert answer.status_code == 400
    assert answer.json() == {"error": {"code": 2400, "msg": words}}


async def test_odd_but_right_json_passes(client: httpx.AsyncClient) -> None:
    document = {"a": ["[[[[" * 30, "\U0001f600", "\\u0000", 10**30, -0.5], "b": None}
    for ascii_only in (True, False):
        body = json.dumps(document, ensure_ascii=ascii_only).encode()
        assert (await client.post("/auth/v4/anything", content=body)).json() == document


async def test_number_of_too_many_digits_is_refused(client: httpx.AsyncClient) -> None:
    app = JsonBody(make_app(), limit=100_000)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as roomy:
        answer = await roomy.post("/dci/v3/server", content=b"1" * 5000)
    assert answer.status_code == 400
    assert answer.json()["error"]["msg"].startswith("The body is not JSON that this server takes: ")


async def test_body_up_to_the_limit_is_taken_and_one_byte_more_is_not(client: httpx.AsyncClient) -> None:
    async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    fits = b'{"name":"' + b"a" * (LIMIT - 11) + b'"}'
    assert len(fits) == LIMIT
    assert (await client.post("/dci/v3/server", content=fits)).status_code == 200
    assert (await client.post("/dci/v3/server", content=in_pieces(fits))).status_code == 200
    for content in (fits + b" ", in_pieces(fits + b" ")):
        answer = await client.post("/dci/v3/server", content=content)
        assert answer.status_code == 413
        assert answer.json() == {"error": {"code": 2413, "msg": "The body is longer than 4096 bytes."}}
    waiting = await client.post("/dci/v3/server", content=fits + b" ", headers={"expect": "100-continue"})
    assert (waiting.status_code, waiting.headers["connection"]) == (413, "close")


async def test_forms_of_the_console_and_uploads_keep_their_bodies(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await client.post("/console/form", content=b"a=b", headers=headers)).json() == {
        "type": "application/x-www-form-urlencoded",
        "size": 3,
    }
    assert (await client.post("/console/form", content=b"a" * LIMIT * 2)).status_code == 413
    assert (await client.post("/dci/v3/image/upload", content=b"a" * LIMIT * 2)).json()["size"] == LIMIT * 2


@pytest.mark.parametrize("given", ["abc-123", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])
async def test_number_of_the_caller_is_kept(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"], answer.json()["number"]) == (given, given)


@pytest.mark.parametrize("given", [None, "", "a b", "a" * 129, "x\ty", "<script>"])
async def test_other_requests_get_a_new_number(client: httpx.AsyncClient, given: str | None) -> None:
    answer = await client.get("/", headers={} if given is None else {"x-request-id": given})
    assert len(answer.headers["x-request-id"]) == 32
    assert answer.json()["number"] == answer.headers["x-request-id"]
    assert "request_id" not in structlog.contextvars.get_contextvars()


async def test_unexpected_error_is_answered_with_the_envelope_and_logged(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        answer = await client.get("/crash", headers={"x-request-id": "n1"})
    assert answer.status_code == 500
    assert answer.json() == {
        "error": {
            "code": 1500,
            "msg": "Something went wrong here; the log of the server tells what.",
            "value": {"request_id": "n1"},
        }
    }
    assert answer.headers["x-request-id"] == "n1"
    assert [(entry["event"], entry["path"], entry["log_level"]) for entry in logs] == [
        ("request failed", "/crash", "error")
    ]


async def test_error_after_the_answer_has_begun_goes_to_the_server() -> None:
    transport = httpx.ASGITransport(make_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with capture_logs() as logs, pytest.raises(RuntimeError, match="a secret"):
            await client.get("/crash/late")
    assert [entry["event"] for entry in logs] == ["request failed"]


async def test_caller_that_goes_away_is_no_error() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/dci/v3/server",
        "raw_path": b"/dci/v3/server",
        "query_string": b"",
        "headers": [(b"content-length", b"10")],
    }
    with capture_logs() as logs:
        await make_app()(scope, receive, send)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("caller went away", "info")]
    assert sent == []


async def test_other_scopes_pass_untouched() -> None:
    seen: list[Scope] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    app = RequestId(Guard(NormalisePath(JsonBody(inner, limit=1))))
    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket", "path": "/api/dci/v3//console/", "headers": []}, receive, send)
    assert seen[0] == {"type": "lifespan"}
    assert seen[1]["path"] == "/dci/v3/console"
