"""Live events, over a real socket: the in-process transport keeps an answer until it ends."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from rackhand.app import Server, Services, create_app
from rackhand.events import api as events_api
from rackhand.http.protocol import RackhandHttpProtocol
from tests.conftest import Api, server_body

PATH = "/api/dci/v3/event/stream"
PATIENCE = 20.0


@dataclass
class Stream:
    """An open answer, read line by line."""

    response: httpx.Response
    lines: AsyncIterator[str]

    async def next_event(self) -> dict[str, Any]:
        """The next event; comments are skipped."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self.lines:
                if not line and fields:
                    break
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
        data: dict[str, Any] = json.loads(fields["data"])
        assert (fields["id"], fields["event"]) == (str(data["id"]), data["kind"])
        return data

    async def next_of(self, kind: str) -> dict[str, Any]:
        """The next event of a kind."""
        while (event := await self.next_event())["kind"] != kind:
            pass
        return event


@asynccontextmanager
async def running(services: Services) -> AsyncIterator[tuple[str, Server]]:
    """The product on a free port; its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(services), http=RackhandHttpProtocol, ws="none", lifespan="off", log_config=None,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = Server(config, services.stopping)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", server
    finally:
        services.stopping.set()
        server.should_exit = True
        await serving


@pytest.fixture
async def url(services: Services, admin: Api) -> AsyncIterator[str]:
    async with running(services) as (url, _server):
        yield url


@asynccontextmanager
async def stream(url: str, token: str | None, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    """Open the stream and wait until it says that it listens."""
    sent = {"x-xsrf-token": str(token), **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with (
        httpx.AsyncClient(timeout=PATIENCE) as http,
        http.stream("GET", url + PATH + query, headers=sent) as response,
    ):
        assert (response.status_code, response.headers["content-type"].split(";")[0]) == (
            200,
            "text/event-stream",
        )
        lines = response.aiter_lines()
        assert await anext(lines) == ": connected"
        yield Stream(response, lines)


async def test_events_arrive_as_they_happen(url: str, admin: Api) -> None:
    async with stream(url, admin.token) as first, stream(url, admin.token) as second:
        await admin.post("/dci/v3/server", server_body(1))
        event = await first.next_of("server.created")
        assert event == await admin.get(f"/dci/v3/event/{event['id']}")
        assert await second.next_of("server.created") == event
        await admin.post("/dci/v3/server", server_body(2))
        assert (await first.next_of("server.created"))["subject"]["id"] == 2


async def test_what_was_missed_is_replayed_once_and_in_order(
    url: str, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_api, "REPLAY_PAGE", 3)
    for number in range(1, 9):
        await admin.post("/dci/v3/server", server_body(number))
    last_seen = (await admin.get("/dci/v3/event?where=kind EQ 'server.created'&limit=1,1"))["list"][0]["id"]
    for name, query, headers in [
        ("ams2", f"?since={last_seen}", {}),
        ("ams3", "?since=0", {"last_event_id": str(last_seen)}),
    ]:
        missed = (await admin.get(f"/dci/v3/event?where=id GT {last_seen}"))["list"]
        assert len(missed) >= 6
        async with stream(url, admin.token, query, **headers) as opened:
            await admin.post("/dci/v3/location", {"name": name})
            assert [await opened.next_event() for _ in missed] == missed
            assert (await opened.next_event())["subject"]["name"] == name
            await admin.post("/dci/v3/location", {"name": f"{name} once more"})
            assert (await opened.next_event())["subject"]["name"] == f"{name} once more"


async def test_a_user_gets_the_events_of_its_own_servers(url: str, admin: Api, customer: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/dci/v3/server", server_body(2))
    await admin.post("/dci/v3/server/2/owner", {"owner": 2})
    async with stream(url, customer.token) as opened:
        await admin.post("/dci/v3/server/1", {"notes": "not yours"})
        await admin.post("/dci/v3/server/2", {"notes": "yours"})
        event = await opened.next_event()
        assert (event["subject"]["kind"], event["subject"]["id"]) == ("server", 2)


async def test_a_stream_ends_soon_after_its_session(
    url: str, admin: Api, customer: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_api, "KEEP_ALIVE_SECONDS", 0.05)
    async with stream(url, customer.token) as opened, asyncio.timeout(PATIENCE):
        assert ": still here" in [await anext(opened.lines) for _ in range(3)]
        await admin.post("/dci/v3/user/2/block")
        async for _line in opened.lines:
            pass


async def test_a_stream_ends_at_once_when_the_server_stops(services: Services, admin: Api) -> None:
    async with running(services) as (url, server), stream(url, admin.token) as opened, asyncio.timeout(3):
        services.stopping.set()
        server.should_exit = True
        assert [line async for line in opened.lines if line] == []


async def test_a_stream_needs_a_session_and_sound_parameters(url: str, admin: Api) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        refused = await http.get(url + PATH)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, 1000)
        refused = await http.get(url + PATH + "?since=yesterday", headers={"x-xsrf-token": str(admin.token)})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, 2400)
