"""The two clients: each does what a flow asks for, one by blocking and one by awaiting."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self, TypedDict, TypeVar, Unpack

import httpx

from rackhand.sdk import auth, events, tasks
from rackhand.sdk.calls import Call, Changed, Listing, Started
from rackhand.sdk.errors import NotSignedIn
from rackhand.sdk.flow import Caller, Flow, Outcome, Pause, Progress, Retries, Send, StreamEnd, document_of
from rackhand.sdk.rows import Row

Answer = TypeVar("Answer")
PAGE_SIZE = 500
TIMEOUT = 60.0
SILENCE = 45.0  # seconds without a byte after which a stream of events is dead; the server sends one every 15


class Identity(TypedDict, total=False):
    """Who calls: a token, or e-mail address and password, with which a session is begun and renewed."""

    token: str
    email: str
    password: str
    retries: Retries


class Client:
    """Runs calls and waits for their answers."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = TIMEOUT,
        verify: bool | ssl.SSLContext = True,
        transport: httpx.BaseTransport | None = None,
        **identity: Unpack[Identity],
    ) -> None:
        self._caller = Caller(url, **identity)
        self._http = httpx.Client(
            base_url=self._caller.base_url, timeout=timeout, verify=verify, transport=transport
        )

    def run(self, call: Call[Answer], *, key: str | None = None) -> Answer:
        """Send a call and give its answer. *key* is the idempotency key; one is made for each POST and DELETE."""
        return self._drive(self._caller.send(call, key=key))

    def each(self, listing: Listing[Row], *, page_size: int = PAGE_SIZE) -> Iterator[Row]:
        """Go through all rows, a page at a time."""
        page_call: Listing[Row] | None = listing.in_pages(page_size)
        while page_call is not None:
            page = self.run(page_call)
            yield from page.rows
            page_call = page_call.after(page)

    def wait(
        self,
        task: int | Started | Changed | tasks.Task,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> tasks.Task:
        """Wait for the end of a task and give it. Raises `TaskFailed`, `TaskCancelled`, `TimedOut`."""
        return self._drive(self._caller.wait(task, timeout=timeout, progress=progress))

    def follow(self, *, since: int | None = None) -> Iterator[events.Event]:
        """Give events as they happen, without an end; after a lost connection go on where it was."""
        if since is None:
            since = self.run(events.find(limit=1)).last_notify
        reader, lost = events.StreamReader(since), 0
        while True:
            headers = self._drive(self._caller.begin_stream(reader))
            reason: StreamEnd = None
            try:
                with self._http.stream("GET", events.STREAM, headers=headers, timeout=SILENCE) as response:
                    if not response.is_success:
                        response.read()
                        document_of(response)
                    for line in response.iter_lines():
                        lost = 0
                        if event := reader.read(line):
                            yield event
            except (httpx.TransportError, NotSignedIn) as error:
                reason = error
            lost += 1
            self._drive(self._caller.recover_stream(reason, lost))

    def sign_in(self) -> auth.Session:
        """Sign in now; a client with e-mail address and password does so by itself with its first call."""
        return self._drive(self._caller.sign_in())

    def close(self) -> None:
        """Close the connections. A session lasts until it is signed out or not used for an hour."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drive(self, flow: Flow[Answer]) -> Answer:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            match step:
                case Pause():
                    time.sleep(step.seconds)
                    outcome = None
                case Send():
                    try:
                        outcome = self._http.request(step.method, step.path, **_parts(step))
                    except httpx.TransportError as error:
                        outcome = error


class AsyncClient:
    """Runs calls and awaits their answers; what the methods do is said at `Client`."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = TIMEOUT,
        verify: bool | ssl.SSLContext = True,
        transport: httpx.AsyncBaseTransport | None = None,
        **identity: Unpack[Identity],
    ) -> None:
        self._caller = Caller(url, **identity)
        self._http = httpx.AsyncClient(
            base_url=self._caller.base_url, timeout=timeout, verify=verify, transport=transport
        )

    async def run(self, call: Call[Answer], *, key: str | None = None) -> Answer:
        """Send a call and give its answer."""
        return await self._drive(self._caller.send(call, key=key))

    async def each(self, listing: Listing[Row], *, page_size: int = PAGE_SIZE) -> AsyncIterator[Row]:
        """Go through all rows, a page at a time."""
        page_call: Listing[Row] | None = listing.in_pages(page_size)
        while page_call is not None:
            page = await self.run(page_call)
            for row in page.rows:
                yield row
            page_call = page_call.after(page)

    async def wait(
        self,
        task: int | Started | Changed | tasks.Task,
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> tasks.Task:
        """Wait for the end of a task and give it."""
        return await self._drive(self._caller.wait(task, timeout=timeout, progress=progress))

    async def follow(self, *, since: int | None = None) -> AsyncIterator[events.Event]:
        """Give events as they happen, without an end."""
        if since is None:
            since = (await self.run(events.find(limit=1))).last_notify
        reader, lost = events.StreamReader(since), 0
        while True:
            headers = await self._drive(self._caller.begin_stream(reader))
            reason: StreamEnd = None
            try:
                async with self._http.stream(
                    "GET", events.STREAM, headers=headers, timeout=SILENCE
                ) as response:
                    if not response.is_success:
                        await response.aread()
                        document_of(response)
                    async for line in response.aiter_lines():
                        lost = 0
                        if event := reader.read(line):
                            yield event
            except (httpx.TransportError, NotSignedIn) as error:
                reason = error
            lost += 1
            await self._drive(self._caller.recover_stream(reason, lost))

    async def sign_in(self) -> auth.Session:
        """Sign in now."""
        return await self._drive(self._caller.sign_in())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _drive(self, flow: Flow[Answer]) -> Answer:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            match step:
                case Pause():
                    await asyncio.sleep(step.seconds)
                    outcome = None
                case Send():
                    try:
                        outcome = await self._http.request(step.method, step.path, **_parts(step))
                    except httpx.TransportError as error:
                        outcome = error


def _parts(step: Send) -> dict[str, Any]:
    """What httpx is told besides method and path."""
    return {"params": step.query or None, "headers": step.headers, "json": step.body}
