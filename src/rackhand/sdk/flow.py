"""What both clients share: how a call is sent, sent again, answered, and waited for.

A flow is a generator that says what to do next, a request or a pause, and is told what came of it. It does neither
itself, so that the same flow serves a client that blocks and one that awaits.
"""

import random
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import httpx

from rackhand.sdk import auth, errors, events, tasks
from rackhand.sdk.calls import Call, Changed, Started
from rackhand.sdk.rows import Json
from rackhand.sdk.version import __version__

Answer = TypeVar("Answer")
UNAUTHENTICATED, UNAVAILABLE = 401, 503
OUTAGE = 60.0  # seconds without an answer that do not end the waiting for a task
FIRST_LOOK, LAST_LOOK, LONGER = 0.25, 3.0, 1.3  # seconds between looks at a task, and how they grow


@dataclass(frozen=True)
class Send:
    """Send a request; the outcome is the answer, or the error of the connection."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Mapping[str, object] | None


@dataclass(frozen=True)
class Pause:
    """Wait so many seconds; the outcome is None."""

    seconds: float


Outcome: TypeAlias = httpx.Response | httpx.TransportError | None
Flow: TypeAlias = Generator[Send | Pause, Outcome, Answer]
StreamEnd: TypeAlias = httpx.TransportError | errors.NotSignedIn | None  # None: the server ended it
Progress: TypeAlias = Callable[[tasks.Task], object]


@dataclass(frozen=True)
class Retries:
    """How often a request is sent at most, and the seconds before the second time; they double up to *longest*."""

    tries: int = 5
    first: float = 0.25
    longest: float = 5.0

    def pause(self, tried: int, *, asked: float = 0.0) -> Pause:
        """Wait after *tried* times; a bit of chance keeps many clients from coming back at the same moment."""
        seconds = min(self.longest, self.first * 2 ** (tried - 1)) * random.uniform(0.7, 1.0)  # noqa: S311
        return Pause(max(seconds, min(asked, self.longest)))


@dataclass
class Caller:
    """Who calls, where, and how patiently. *token* may be given, or comes with the first call."""

    url: str
    token: str | None = field(default=None, repr=False)
    email: str | None = None
    password: str | None = field(default=None, repr=False)
    retries: Retries = field(default_factory=Retries)

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{self.url!r} is no URL: {error}.") from error
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"Expected a URL such as https://rackhand.example.com, got {self.url!r}.")
        if (self.email is None) != (self.password is None):
            raise ValueError("Give email and password, or neither.")
        self.url = self.url.rstrip("/").removesuffix("/api")

    @property
    def base_url(self) -> str:
        """What all paths are relative to."""
        return f"{self.url}/api/"

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        signed = {"x-xsrf-token": self.token} if self.token else {}
        return {"accept": "application/json", "user-agent": f"rackhand-sdk/{__version__}", **signed}

    def send(self, call: Call[Answer], *, key: str | None = None) -> Flow[Answer]:
        """Send a call and read its answer. Without a *key* one is made; an empty one sends none, and sends once."""
        if key is None and call.method != "GET":
            key = uuid.uuid4().hex
        response = yield from self._signed(call, {"idempotency-key": key} if key else {})
        return call.read(document_of(response))

    def sign_in(self) -> Flow[auth.Session]:
        """Get a token for e-mail address and password."""
        if self.email is None or self.password is None:
            raise errors.NotSignedIn("Give a token, or email and password.", status=UNAUTHENTICATED)
        self.token = None
        session = yield from self.send(auth.sign_in(self.email, self.password))
        self.token = session.token
        return session

    def wait(
        self,
        task: int | Started | Changed | tasks.Task,
        *,
        timeout: float | None,
        progress: Progress | None,
    ) -> Flow[tasks.Task]:
        """Look at a task until it is over; *progress* is called with it after every look.

        Once it was seen, a server that is away for a while, to be restarted, ends the waiting no more.
        """
        number, seen = task_number(task), None
        between, began = FIRST_LOOK, time.monotonic()
        answered = began
        while True:
            try:
                seen = yield from self.send(tasks.get(number))
                answered = time.monotonic()
            except (errors.NotReachable, errors.Unavailable):
                if seen is None or time.monotonic() > answered + OUTAGE:
                    raise
            else:
                if progress is not None:
                    progress(seen)
                if seen.is_over:
                    return _well_ended(seen)
            left = between if timeout is None else began + timeout - time.monotonic()
            if timeout is not None and left <= 0:
                raise errors.TimedOut(seen, timeout)
            yield Pause(min(between, left))
            between = min(LAST_LOOK, between * LONGER)

    def begin_stream(self, reader: events.StreamReader) -> Flow[dict[str, str]]:
        """Sign in when that is still to be done, and give the headers of a request for events."""
        if self.token is None and self.email is not None:
            yield from self.sign_in()
        return {**self.headers(), **reader.begin()}

    def recover_stream(self, reason: StreamEnd, lost: int) -> Flow[None]:
        """Make ready to begin a stream again; *lost* counts how often it ended since it last gave something."""
        if isinstance(reason, errors.NotSignedIn):
            if self.email is None or lost >= self.retries.tries:
                raise reason
            yield from self.sign_in()
            return
        if lost >= self.retries.tries:
            raise self.not_reachable(reason, lost) from reason
        yield self.retries.pause(lost)

    def _signed(self, call: Call[Answer], headers: Mapping[str, str]) -> Flow[httpx.Response]:
        """Send; when a session has ended meanwhile, sign in and send once more."""
        may_sign_in = call.needs_token and self.email is not None
        if may_sign_in and self.token is None:
            yield from self.sign_in()
        used = self.token
        response = yield from self._delivered(call, headers)
        if response.status_code == UNAUTHENTICATED and may_sign_in:
            if self.token == used:  # else somebody who shares this client has done it
                yield from self.sign_in()
            response = yield from self._delivered(call, headers)
        return response

    def _delivered(self, call: Call[Answer], headers: Mapping[str, str]) -> Flow[httpx.Response]:
        """Send until there is an answer, if sending twice does no more than sending once.

        A GET may be sent again, and whatever has a key: the server gives the first answer again.
        """
        tries = self.retries.tries if call.method == "GET" or "idempotency-key" in headers else 1
        tried = 0
        while True:
            tried += 1
            outcome = yield Send(
                call.method, call.path, call.parameters(), {**self.headers(), **headers}, call.body
            )
            if isinstance(outcome, httpx.Response) and (outcome.status_code != UNAVAILABLE or tried >= tries):
                return outcome
            if isinstance(outcome, httpx.UnsupportedProtocol) or tried >= tries:
                raise self.not_reachable(outcome, tried) from _as_error(outcome)
            yield self.retries.pause(tried, asked=_retry_after(outcome))

    def not_reachable(self, outcome: Outcome, tried: int) -> errors.NotReachable:
        """The error of a connection that never came about."""
        times = "" if tried == 1 else f" ({tried} tries)"
        reason = str(outcome) or (type(outcome).__name__ if outcome else "it ends every stream")
        return errors.NotReachable(f"{self.url} does not answer{times}: {reason}.")


def task_number(task: int | Started | Changed | tasks.Task) -> int:
    """The number of a task, of an answer that names one too."""
    number = task if isinstance(task, int) else task.id if isinstance(task, tasks.Task) else task.task
    if number is None:
        raise ValueError("There is no task: it is done already.")
    return number


def document_of(response: httpx.Response) -> Json:
    """The JSON of an answer; raises what the server says is wrong."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if response.is_success and document is not None:
        return document
    error = document.get("error") if isinstance(document, dict) else None
    if response.is_success or response.is_redirect or not isinstance(error, dict):
        kind = response.headers.get("content-type", "no content type")
        if response.status_code == UNAVAILABLE:
            raise errors.Unavailable("The server answered 503.", status=UNAVAILABLE)
        raise errors.UnexpectedAnswer(
            f"{response.request.method} {response.request.url} answered {response.status_code} with {kind},"
            " which is no answer of this API."
        )
    value = error.get("value")
    raise errors.refusal(
        response.status_code,
        int(error.get("code") or 0),
        str(error.get("msg") or "no reason is given"),
        value if isinstance(value, dict) else None,
        response.headers.get("x-request-id", ""),
    )


def _well_ended(task: tasks.Task) -> tasks.Task:
    if task.succeeded:
        return task
    raise errors.TaskCancelled(task) if task.state == "cancelled" else errors.TaskFailed(task)


def _as_error(outcome: Outcome) -> BaseException | None:
    return outcome if isinstance(outcome, BaseException) else None


def _retry_after(outcome: Outcome) -> float:
    text = outcome.headers.get("retry-after", "") if isinstance(outcome, httpx.Response) else ""
    return float(text) if text.isascii() and text.isdigit() else 0.0
