"""What is sent again and what is not, against a real server that drops connections and is not ready."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from rackhand.sdk import (
    AsyncClient,
    Client,
    NotReachable,
    NotSignedIn,
    Refused,
    Retries,
    ServerFault,
    TooManyRequests,
    Unavailable,
    UnexpectedAnswer,
    servers,
    users,
)

QUICK = Retries(tries=4, first=0.01, longest=0.05)
DROP = "drop"
OK = (200, {"id": 7, "name": "srv-7"}, "")
NOT_READY = (503, {"error": {"code": 2503, "msg": "The database does not answer."}}, "retry-after: 0\r\n")
Answer = tuple[int, Any, str] | str


@dataclass
class Request:
    """What came."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Fickle:
    """A server of HTTP/1.1 that gives the next of its *answers* to each request; the last one again and again."""

    answers: list[Answer] = field(default_factory=lambda: [OK])
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def keys(self) -> list[str | None]:
        return [request.headers.get("idempotency-key") for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *rest = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in rest)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.requests.append(Request(line, headers, body))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if not isinstance(answer, str):
                status, document, more = answer
                text = document if isinstance(document, str) else json.dumps(document)
                kind = "text/html" if isinstance(document, str) else "application/json"
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(text)}\r\n"
                    f"connection: close\r\n{more}\r\n{text}".encode()
                )
                await writer.drain()
        finally:
            writer.close()


@pytest.fixture
def fickle() -> Iterator[Fickle]:
    served, started, ended = Fickle(), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
        served.port = server.sockets[0].getsockname()[1]
        started.set()
        async with server:
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(5)
    yield served
    loops[0].call_soon_threadsafe(ended.set)
    thread.join(5)


@pytest.fixture
def client(fickle: Fickle) -> Iterator[Client]:
    with Client(fickle.url, token="0123456789ABCDEF01234567", retries=QUICK) as patient:
        yield patient


def test_get_is_sent_again(client: Client, fickle: Fickle) -> None:
    fickle.answers = [DROP, NOT_READY, DROP, OK]
    assert client.run(servers.get(7)).name == "srv-7"
    assert [request.line for request in fickle.requests] == ["GET /api/dci/v3/server/7 HTTP/1.1"] * 4
    assert {request.headers["x-xsrf-token"] for request in fickle.requests} == {"0123456789ABCDEF01234567"}
    assert fickle.keys() == [None] * 4


def test_change_is_sent_again_with_the_same_key_and_body(client: Client, fickle: Fickle) -> None:
    fickle.answers = [DROP, NOT_READY, OK]
    assert client.run(users.create("a@example.com", "correct horse")).id == 7
    assert len(set(fickle.keys())) == 1
    assert len({request.body for request in fickle.requests}) == 1
    client.run(users.create("a@example.com", "correct horse"))
    first, *_, last = fickle.keys()
    assert first
    assert last
    assert first != last


def test_deletion_is_sent_again_with_a_key(client: Client, fickle: Fickle) -> None:
    fickle.answers = [DROP, OK]
    client.run(servers.delete(7), key="order-7")
    assert fickle.keys() == ["order-7", "order-7"]


@pytest.mark.parametrize(("answer", "error"), [(DROP, NotReachable), (NOT_READY, Unavailable)])
def test_change_without_a_key_is_sent_once(
    client: Client, fickle: Fickle, answer: Answer, error: type[Exception]
) -> None:
    fickle.answers = [answer, OK]
    with pytest.raises(error):
        client.run(servers.power_on(7), key="")
    assert fickle.keys() == [None]


def test_patience_ends(client: Client, fickle: Fickle) -> None:
    fickle.answers = [NOT_READY]
    with pytest.raises(Unavailable, match="does not answer") as refused:
        client.run(servers.get(7))
    assert (refused.value.status, refused.value.code) == (503, 2503)
    assert len(fickle.requests) == QUICK.tries
    fickle.answers = [DROP]
    with pytest.raises(NotReachable, match=r"does not answer \(4 tries\)") as lost:
        client.run(servers.get(7))
    assert lost.value.__cause__ is not None
    assert len(fickle.requests) == 2 * QUICK.tries


@pytest.mark.parametrize(
    ("status", "error"), [(500, ServerFault), (429, TooManyRequests), (400, Refused), (409, Refused)]
)
def test_refusal_is_final(client: Client, fickle: Fickle, status: int, error: type[Refused]) -> None:
    body = {"error": {"code": 2400, "msg": "Because.", "value": {"retry_after": 30}}}
    fickle.answers = [(status, body, "x-request-id: 77\r\n")]
    with pytest.raises(error, match=r"Because\.") as refused:
        client.run(servers.power_on(7))
    assert (refused.value.status, refused.value.request_id) == (status, "77")
    assert len(fickle.requests) == 1
    if isinstance(refused.value, TooManyRequests):
        assert refused.value.retry_after == 30


@pytest.mark.parametrize(
    "answer",
    [
        (200, "<html>", ""),
        (502, "<html>", ""),
        (302, "", "location: /login\r\n"),
        (200, ["no", "object"], ""),
        (200, {"name": "no id"}, ""),
        (200, {"id": "seven", "name": "srv-7"}, ""),
    ],
)
def test_answer_of_something_else(client: Client, fickle: Fickle, answer: Answer) -> None:
    fickle.answers = [answer]
    with pytest.raises(UnexpectedAnswer):
        client.run(servers.get(7))
    assert len(fickle.requests) == 1


def test_signing_in_is_sent_again(fickle: Fickle) -> None:
    fickle.answers = [DROP, (201, {"id": 1, "token": "FEDC"}, ""), OK]
    with Client(fickle.url, email="a@example.com", password="correct horse", retries=QUICK) as client:
        client.run(servers.get(7))
    assert "x-xsrf-token" not in fickle.requests[1].headers
    assert fickle.requests[2].headers["x-xsrf-token"] == "FEDC"


async def test_awaiting_client_is_as_patient(fickle: Fickle) -> None:
    fickle.answers = [DROP, NOT_READY, OK]
    async with AsyncClient(fickle.url, token="AB", retries=QUICK) as client:
        assert (await client.run(servers.delete(7))).id == 7
        fickle.answers = [DROP]
        with pytest.raises(NotReachable):
            await client.run(servers.get(7))
    assert len(set(fickle.keys()[:3])) == 1


def stream(*numbers: int) -> Answer:
    """A stream of these events, which ends."""
    event = {"at": "2026-01-31 12:00:00", "kind": "x", "message": "", "subject": {"kind": "x"}, "actor": {}}
    return (200, "".join(f"id: {n}\ndata: {json.dumps({'id': n, **event})}\n\n" for n in numbers), "")


def test_lost_stream_goes_on_where_it_was(client: Client, fickle: Fickle) -> None:
    fickle.answers = [stream(4, 6), DROP, stream(7), DROP]
    following = client.follow(since=3)
    assert [next(following).id for _ in range(3)] == [4, 6, 7]
    with pytest.raises(NotReachable):
        next(following)
    asked = [request.headers["last-event-id"] for request in fickle.requests]
    assert asked[:4] == ["3", "6", "6", "7"]


async def test_stream_outlasts_its_session(fickle: Fickle) -> None:
    ended = (401, {"error": {"code": 1000, "msg": "Your session has ended."}}, "")
    fickle.answers = [
        (201, {"id": 1, "token": "A"}, ""),
        stream(4),
        ended,
        (201, {"id": 2, "token": "B"}, ""),
        stream(5),
    ]
    async with AsyncClient(
        fickle.url, email="a@example.com", password="correct horse", retries=QUICK
    ) as client:
        following = client.follow(since=3)
        assert [(await anext(following)).id for _ in range(2)] == [4, 5]
    tokens = [request.headers.get("x-xsrf-token") for request in fickle.requests]
    assert tokens == [None, "A", "A", None, "B"]


def test_stream_ends_with_its_token(client: Client, fickle: Fickle) -> None:
    fickle.answers = [(401, {"error": {"code": 1000, "msg": "Your session has ended."}}, "")]
    with pytest.raises(NotSignedIn):
        next(client.follow(since=3))
    assert len(fickle.requests) == 1


def test_waiting_outlasts_a_restart_of_the_server(client: Client, fickle: Fickle) -> None:
    task = {
        "id": 7,
        "name": "power_on",
        "status": "running",
        "state": "running",
        "subject": {"kind": "server"},
    }
    over = {**task, "status": "complete", "state": "succeeded", "finished_at": "2026-01-31 12:00:00"}
    fickle.answers = [(200, task, ""), *[DROP] * 5, (200, over, "")]
    assert client.wait(7, timeout=20).succeeded
    fickle.answers = [DROP]
    with pytest.raises(NotReachable):
        client.wait(7, timeout=20)


def test_nobody_listens() -> None:
    with Client("http://127.0.0.1:1", token="AB", retries=QUICK) as client, pytest.raises(NotReachable):
        client.run(servers.get(7))


def test_pauses_grow_and_are_bounded() -> None:
    retries = Retries(first=1.0, longest=5.0)
    assert [0.7 * 2**n <= retries.pause(n + 1).seconds <= 2**n for n in range(3)] == [True] * 3
    assert retries.pause(9).seconds <= 5.0
    assert retries.pause(1, asked=3.0).seconds == 3.0
    assert retries.pause(1, asked=600.0).seconds == 5.0
