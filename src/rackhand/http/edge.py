"""What every request meets before the routes: its number, its path, its body, the last resort against errors.

Added with `app.add_middleware`, so that they stand inside Starlette's own handler of errors, which answers in
plain text. From the outside in: `RequestId`, `Guard`, CORS, `NormalisePath`, `JsonBody`. What a browser may
not be tricked into is decided where tokens are read (`users.auth`), not here.
"""

import json
import re
import uuid
from collections.abc import Mapping

import structlog
from fastapi import Response
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rackhand.http.codes import Code
from rackhand.http.wire import json_response

log = structlog.get_logger()

# The services of the platform (api-facts 1), and the one of older clients; other paths are the console's.
API_PATH = re.compile(r"/(?:auth|dci|eservice|ip|ipmiproxy|ldap|vm)/v\d+(?:/|$)")
SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
REQUEST_ID = "x-request-id"
REPLACED = {b"content-type", b"content-length", b"transfer-encoding"}
MAX_NESTING = 64
METHODS_WITH_BODY = {"POST", "PUT", "PATCH", "DELETE"}


def error_response(
    status: int,
    code: Code,
    msg: str,
    value: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Put an error into the published envelope, `{"error": {"code", "msg", "value"}}` (api-facts 2.3).

    There is no `value` when there is nothing to say with it.
    """
    error: dict[str, object] = {"code": int(code), "msg": msg.encode(errors="backslashreplace").decode()}
    if value is not None:
        error["value"] = value
    return json_response({"error": error}, status=status, headers=headers)


class RequestId:
    """Gives every request a number: the caller's `X-Request-Id` when it is harmless, else a new one.

    It stands in `request.state.request_id`, in every log line of the request and in the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request its number."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        given = _header(scope, REQUEST_ID)
        number = given if SAFE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = number

        async def send_with_number(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = number
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=number):
            await self.app(scope, receive, send_with_number)


class Guard:
    """Answers what nobody has caught with the envelope, and logs it.

    A caller that has gone away is not an error. Once an answer has begun nothing can be said any more: the
    error goes on, and the server closes the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what the application does not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_gone = has_begun = False

        async def watch_receive() -> Message:
            nonlocal is_gone
            message = await receive()
            is_gone = is_gone or message["type"] == "http.disconnect"
            return message

        async def watch_send(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, watch_receive, watch_send)
        except Exception as error:  # the last resort: everything above answers what it knows
            if isinstance(error, ClientDisconnect) or (is_gone and not has_begun):
                log.info("caller went away", method=scope["method"], path=scope["path"], error=repr(error))
                return
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if has_begun:
                raise
            number = scope.get("state", {}).get("request_id")
            message = "Something went wrong here; the log of the server tells what."
            value = {"request_id": number} if number else None
            await error_response(500, Code.INTERNAL, message, value)(scope, receive, send)


class NormalisePath:
    """Makes one of the spellings of a path (api-facts 1): no `/api`, no final and no double slashes.

    The query is left as it is. U+0000 is refused here: no text of ours has it and PostgreSQL takes none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its one path."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope.get("query_string", b"")):
            answer = error_response(400, Code.BAD_REQUEST, "The URL holds the character U+0000.")
            await answer(scope, receive, send)
            return
        changed: dict[str, object] = {"path": _normal_path(scope["path"])}
        if scope.get("raw_path") is not None:
            changed["raw_path"] = _normal_path(scope["raw_path"].decode("latin-1")).encode("latin-1")
        await self.app({**scope, **changed}, receive, send)


def _normal_path(path: str) -> str:
    path = re.sub(r"/{2,}", "/", path).rstrip("/")
    if path == "/api" or path.startswith("/api/"):
        path = path.removeprefix("/api")
    return path or "/"


class JsonBody:
    """Reads the body of a call as JSON, whatever its Content-Type says; an absent one is `{}` (api-facts 1).

    Paths that are not calls of the API, and those that begin with one of *uploads*, keep their body; only the
    latter may be longer than *limit* bytes.
    """

    def __init__(self, app: ASGIApp, *, limit: int, uploads: tuple[str, ...] = ()) -> None:
        self.app = app
        self.limit = limit
        self.uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that is JSON, or refuse it."""
        if scope["type"] != "http" or scope["method"] not in METHODS_WITH_BODY:
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        if self.uploads and path.startswith(self.uploads):
            await self.app(scope, receive, send)
            return
        announced = _header(scope, "content-length")
        is_too_long = announced.isascii() and announced.isdigit() and int(announced[:20]) > self.limit
        body = None if is_too_long else await _read(receive, self.limit)
        if body is None:
            # The server drops the rest. A caller that was waiting to be asked for it never sends it.
            headers = {"connection": "close"} if _header(scope, "expect") else None
            message = f"The body is longer than {self.limit} bytes."
            await error_response(413, Code.TOO_LARGE, message, None, headers)(scope, receive, send)
            return
        if API_PATH.match(path):
            body = body.removeprefix(b"\xef\xbb\xbf") if body.strip() else b"{}"
            problem = _problem_of(body)
            if problem:
                await error_response(400, Code.BAD_REQUEST, problem)(scope, receive, send)
                return
            kept = [(name, value) for name, value in scope["headers"] if name not in REPLACED]
            json_headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            scope = {**scope, "headers": kept + json_headers}
        await self.app(scope, _replay(body, receive), send)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """Read the whole body; None means that it is longer than *limit*."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            return None
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _problem_of(body: bytes) -> str:
    """Say what keeps *body* from being JSON that can be stored; empty when nothing does."""
    try:
        text = body.decode()
        document = json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        return f"The body is not UTF-8: byte {error.start + 1}."
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno} (character {error.pos + 1})"
        return f"The body is not JSON: {error.msg.removesuffix(' at')}, {at}."
    except RecursionError:
        return f"The body is nested more than {MAX_NESTING} deep."
    except ValueError as error:  # `_refuse_constant`, and numbers of more than 4,300 digits
        return f"The body is not JSON that this server takes: {str(error).split(';')[0]}."
    if "\\u" in text or text.count("[") + text.count("{") > MAX_NESTING:
        return _problem_inside(document)
    return ""


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number in JSON")


def _problem_inside(document: object) -> str:
    level, depth = [document], 0
    while level:
        if depth > MAX_NESTING:
            return f"The body is nested more than {MAX_NESTING} deep."
        inner: list[object] = []
        for found in level:
            if isinstance(found, dict):
                inner.extend(found)
                inner.extend(found.values())
            elif isinstance(found, list):
                inner.extend(found)
            elif isinstance(found, str) and re.search("[\0\ud800-\udfff]", found):
                return "The body holds a text with the character U+0000 or half of a surrogate pair."
        level, depth = inner, depth + 1
    return ""


def _header(scope: Scope, name: str) -> str:
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), "")
