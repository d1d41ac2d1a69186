"""The HTTP parser over real sockets."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from rackhand.http.edge import JsonBody
from rackhand.http.protocol import MAX_HEAD, MAX_REQUEST_LINE, RackhandHttpProtocol

GONE: list[str] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell what was asked; `/slow` waits for its body, `/stream` never ends."""
    assert scope["type"] == "http"
    if scope["path"] == "/stream":
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        GONE.append(scope["path"])
        return
    if scope["path"] == "/crash":
        raise RuntimeError("crash")
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            GONE.append(scope["path"])
            return
        body += message["body"]
        if not message["more_body"]:
            break
    answer = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "size": len(body),
    }
    content = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _serve(served: ASGIApp = app, **options: Any) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        served, http=RackhandHttpProtocol, lifespan="off", log_level="critical", **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    server.force_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    yield from _serve()


@pytest.fixture
def busy_port() -> Iterator[int]:
    yield from _serve(limit_concurrency=1)


@pytest.fixture(scope="module")
def limited_port() -> Iterator[int]:
    yield from _serve(JsonBody(app, limit=4096))


def exchange(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send the pieces and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        connection.settimeout(10)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def parse(answer: bytes) -> tuple[int, dict[str, str], Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(body) == int(headers["content-length"])
    return int(status.split()[1]), headers, json.loads(body)


def get(target: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join(
        (b"GET " + target + b" HTTP/1.1", b"Host: a", *headers, b"Connection: close", b"", b"")
    )


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http:///::: HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_http_is_answered_with_the_envelope(port: int, garbage: bytes) -> None:
    status, headers, body = parse(exchange(port, garbage))
    assert (status, headers["content-type"], headers["connection"]) == (400, "application/json", "close")
    assert body == {"error": {"code": 2400, "msg": "Invalid HTTP request received."}}


@pytest.mark.parametrize("size", [MAX_REQUEST_LINE, 1024 * 1024, 20 * 1024 * 1024])
def test_long_request_line_is_refused_and_the_caller_can_read_why(port: int, size: int) -> None:
    status, headers, body = parse(exchange(port, get(b"/dci/v3/server?where=" + b"a" * size)))
    assert (status, headers["connection"]) == (414, "close")
    assert body["error"]["code"] == 2414


def test_request_line_without_an_end_is_refused(port: int) -> None:
    status, _, body = parse(exchange(port, b"GET /", *[b"a" * 10_000] * 10))
    assert (status, body["error"]["code"]) == (414, 2414)


def test_request_line_of_60_kib_is_read(port: int) -> None:
    status, _, body = parse(exchange(port, get(b"/x?where=" + b"a" * 60 * 1024)))
    assert (status, len(body["query"])) == (200, 60 * 1024 + 6)


def test_request_line_that_comes_byte_by_byte_is_read(port: int) -> None:
    request = get(b"/x?where=id EQ 5")
    answer = exchange(port, *[request[at : at + 1] for at in range(len(request))], pause=0.001)
    assert parse(answer)[2]["query"] == "where=id%20EQ%205"


def test_raw_spaces_and_letters_in_a_url_are_encoded(port: int) -> None:
    status, _, body = parse(exchange(port, get("/имя?where=name CP '%я%' AND (id EQ 5)&x=a+b%20c".encode())))
    assert status == 200
    assert body["path"] == "/имя"
    assert body["query"] == "where=name%20CP%20'%%D1%8F%'%20AND%20(id%20EQ%205)&x=a+b%20c"


def test_url_with_spaces_does_not_smuggle_a_second_request(port: int) -> None:
    answer = exchange(port, get(b"/a HTTP/1.1 /b"))
    assert answer.count(b"HTTP/1.1 200") == 1
    assert parse(answer)[2]["path"] == "/a HTTP/1.1 /b"


@pytest.mark.parametrize(
    "headers",
    [
        [b"X-Long: " + b"a" * (MAX_HEAD + 1)],
        [b"X-Long: " + b"a" * 5 * 1024 * 1024],
        [b"X-%d: 1234567890" % number for number in range(20_000)],
    ],
)
def test_long_headers_are_refused(port: int, headers: list[bytes]) -> None:
    status, _, body = parse(exchange(port, get(b"/", *headers)))
    assert (status, body["error"]["code"]) == (431, 2413)


def test_header_without_an_end_is_refused(port: int) -> None:
    request = b"GET / HTTP/1.1\r\nX-Long: "
    status, _, _ = parse(exchange(port, request, *[b"a" * 50_000] * 10, pause=0.01))
    assert status == 431


def test_long_headers_below_the_limit_are_read(port: int) -> None:
    assert parse(exchange(port, get(b"/", b"X-Long: " + b"a" * 100_000)))[0] == 200


def test_broken_chunk_ends_the_request_with_the_envelope(port: int) -> None:
    GONE.clear()
    head = b"POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    status, _, body = parse(exchange(port, head, b"zzz\r\n", pause=0.05))
    assert (status, body["error"]["code"]) == (400, 2400)
    assert GONE == ["/slow"]


def test_several_requests_on_one_connection(port: int) -> None:
    first = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    answer = exchange(port, first + get(b"/c"))
    assert [answer.count(b'"path": "%b"' % path) for path in (b"/a", b"/b", b"/c")] == [1, 1, 1]
    assert answer.count(b"HTTP/1.1 200") == 3


def test_spaces_are_read_in_the_second_request_of_a_connection_too(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(3):
            connection.sendall(b"GET /a?where=id EQ 5 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while b"}" not in answer:
                answer += connection.recv(65536)
            assert parse(answer)[2]["query"] == "where=id%20EQ%205"


@pytest.mark.parametrize("garbage", [b"\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nBad Header\r\n\r\n"])
def test_garbage_behind_a_request_waits_for_its_answer(port: int, garbage: bytes) -> None:
    answer = exchange(port, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + garbage)
    assert answer.count(b'"path": "/a"') == 3
    assert answer.count(b"HTTP/1.1 400") == 1
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["error"]["code"] == 2400


def test_broken_body_behind_a_request_waits_for_its_answer(port: int) -> None:
    broken = b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n"
    answer = exchange(port, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + broken)
    assert answer.count(b'"path": "/a"') == 2
    assert b'"path": "/b"' not in answer
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["error"]["code"] == 2400


def test_stream_arrives_piece_by_piece_and_ends_with_the_caller(port: int) -> None:
    GONE.clear()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while b"data: 2" not in answer:
            answer += connection.recv(65536)
        assert b"transfer-encoding: chunked" in answer
    deadline = time.monotonic() + 5
    while not GONE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert GONE == ["/stream"]


def test_refused_caller_that_never_closes_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rackhand.http.protocol.LINGER_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"hello\r\n\r\n")
        time.sleep(0.5)

        def go_on() -> None:
            for _ in range(100):
                connection.sendall(b"x" * 10_000)
                time.sleep(0.01)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            go_on()


def test_too_many_requests_at_once_are_answered_with_the_envelope(busy_port: int) -> None:
    status, headers, body = parse(exchange(busy_port, get(b"/")))
    assert (status, headers["retry-after"], body["error"]["code"]) == (503, "1", 2503)


def test_caller_of_a_body_that_is_too_long_can_read_why_and_ask_again(limited_port: int) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n"
    answer = exchange(limited_port, head, *[b"a" * 1_000_000] * 20, get(b"/y"))
    refusal, _, second = answer.partition(b"HTTP/1.1 200")
    assert parse(refusal)[2] == {"error": {"code": 2413, "msg": "The body is longer than 4096 bytes."}}
    assert b'"path": "/y"' in second


def test_chunked_body_that_is_too_long_is_refused(limited_port: int) -> None:
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(limited_port, head, *[chunk] * 50, b"0\r\n\r\n", get(b"/y"))
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.count(b'"path": "/y"') == 1


def test_waiting_caller_is_told_before_it_sends(limited_port: int) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n"
    assert parse(exchange(limited_port, head))[0] == 413
