"""The agent's side of its conversation with the manager: JSON over HTTP, one connection, one request at a time.

The manager may be away for hours and come back as another process: `ManagerAway` means "try again later". A token that
is not taken any more raises `SessionOver`.
"""

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

VERSION = 1
POLL_SECONDS = 25.0
ANSWER_SECONDS = 20.0  # on top of what a long poll waits
MAX_ANSWER = 16 * 1024 * 1024

Json = dict[str, Any]


class ManagerAway(Exception):
    """The manager cannot be reached, or is not ready: the same request may work later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SessionOver(Exception):
    """The manager does not know this nonce or this token (any more)."""


class Misunderstood(Exception):
    """The manager refuses a request as wrong: sending it again is useless."""


@dataclass(frozen=True)
class Command:
    """Something to do; *id* is done once, however often it is handed out."""

    id: str
    kind: str
    args: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Manager:
    """The manager at *url*; `close` may be called from another thread and ends a request that is under way."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"The manager's address must be http://host:port, not {url!r}.")
        self._host, self._port = parts.hostname, parts.port or 80
        self._path = parts.path.rstrip("/")
        self._connection: http.client.HTTPConnection | None = None
        self._token: str | None = None
        self._is_closed = False

    def hello(self, greeting: Mapping[str, Any]) -> None:
        """Say who this machine is; what comes back signs the requests that follow."""
        self._token = None
        answer = self._ask("hello", greeting)
        self._token = str(answer["token"])

    def next_command(self, seconds: float = POLL_SECONDS) -> Command | None:
        """Wait up to *seconds* for something to do."""
        answer = self._ask("next", {"wait": seconds}, timeout=seconds + ANSWER_SECONDS)
        command = answer.get("command")
        if command is None:
            return None
        return Command(str(command["id"]), str(command["kind"]), dict(command.get("args") or {}))

    def progress(self, command: Command, percent: int | None, message: str) -> bool:
        """Tell how far *command* is; False means that it is not wanted any more."""
        answer = self._ask("progress", {"command": command.id, "percent": percent, "message": message})
        return bool(answer.get("wanted", True))

    def result(self, command: Command, outcome: Mapping[str, Any]) -> None:
        """Hand the outcome of *command* over; handing it over twice is harmless."""
        self._ask("result", {"command": command.id, **outcome})

    def log(self, lines: Sequence[str]) -> None:
        """Hand lines for the log over."""
        self._ask("log", {"lines": list(lines)})

    def close(self) -> None:
        """Close for good."""
        self._is_closed = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                connection.sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer

    def _ask(self, verb: str, body: Mapping[str, Any], timeout: float = ANSWER_SECONDS) -> Json:
        try:
            status, content, retry_after = self._send_again(verb, json.dumps(body).encode(), timeout)
        except (OSError, http.client.HTTPException) as error:
            words = str(error) or type(error).__name__
            raise ManagerAway(f"{self._host}:{self._port} does not answer: {words}") from error
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise SessionOver(_words(status, content))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise ManagerAway(_words(status, content), retry_after)
        if status >= HTTPStatus.BAD_REQUEST:
            raise Misunderstood(_words(status, content))
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise ManagerAway("The manager's answer is not JSON.") from error
        if not isinstance(answer, dict):
            raise ManagerAway("The manager's answer is no object.")
        return answer

    def _send_again(self, verb: str, body: bytes, timeout: float) -> tuple[int, bytes, float | None]:
        """Send, once more when an old connection turns out to be closed; every request may be sent twice."""
        is_old = self._connection is not None
        try:
            return self._send(verb, body, timeout)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            if not is_old or self._is_closed or isinstance(error, TimeoutError):
                raise
        try:
            return self._send(verb, body, timeout)
        except (OSError, http.client.HTTPException):
            self._drop()
            raise

    def _send(self, verb: str, body: bytes, timeout: float) -> tuple[int, bytes, float | None]:
        if self._is_closed:
            raise ConnectionAbortedError("closed")
        connection = self._connection
        if connection is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
            self._connection = connection
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        connection.timeout = timeout
        headers = {"content-type": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        connection.request("POST", f"{self._path}/boot/agent/{verb}", body, headers)
        response = connection.getresponse()
        content = response.read(MAX_ANSWER + 1)
        if len(content) > MAX_ANSWER:
            raise ConnectionAbortedError("the answer has no end")
        if self._is_closed:
            raise ConnectionAbortedError("closed")
        after = response.headers.get("retry-after", "")
        return response.status, content, float(after) if after.isdigit() else None

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _words(status: int, content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["msg"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}"
