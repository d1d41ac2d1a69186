"""The HTTP/1.1 parser of uvicorn with errors in the envelope: no answer of this server is anything but JSON.

Clients decode every body as JSON, of errors too (api-facts 1, 2.3), and uvicorn answers what it cannot parse
in plain text. Besides, request lines and headers have an end here, and request lines with raw spaces are
read: clients send filters so (api-facts 3.1).
"""

import asyncio
import re
from typing import Any

from fastapi import Response
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from rackhand.http.codes import Code
from rackhand.http.edge import error_response

MAX_REQUEST_LINE = 64 * 1024
MAX_HEAD = 128 * 1024  # the request line and all headers
LINGER_SECONDS = 5.0
MAX_DISCARDED = 64 * 1024 * 1024

REQUEST_LINE = re.compile(rb"(?P<method>[A-Z]+) (?P<target>/.*) (?P<version>HTTP/\d\.\d)")
RAW = re.compile(rb"[ \x80-\xff]")


class RackhandHttpProtocol(HttpToolsProtocol):
    """Give it to uvicorn as `http=`.

    After a refusal the connection is closed, but only when the caller has read why: what it still sends is
    read and dropped, because a socket that is closed with unread data takes the answer back.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._line: bytearray | None = bytearray()  # the request line so far; None: it is past
        self._in_head = self._in_body = False
        self._head_size = self._unfinished_size = 0
        self._running: RequestResponseCycle | None = None
        self._refusal: Response | None = None  # the answer that ends this connection
        self._is_refused = False
        self._discarded = 0
        self._linger: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser, within limits; drop what follows a refusal."""
        if self._refusal is not None:
            self._discard(len(data))
            return
        if self._line is not None:
            data = self._complete_line(self._line, data)
            if not data:
                self._unset_keepalive_if_required()
                return
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head and self._refusal is None:
            # A header reaches `on_header` when it is complete, so count what is still on its way.
            self._unfinished_size += len(data)
            if self._unfinished_size > MAX_HEAD:
                self._refuse(431, Code.TOO_LARGE, f"The headers are longer than {MAX_HEAD} bytes.")
                self.send_400_response("")

    def _complete_line(self, line: bytearray, data: bytes) -> bytes:
        """Return data once the request line is whole, with the spaces and letters of its URL encoded."""
        line += data
        start = len(line) - len(line.lstrip(b"\r\n"))
        if not line[start : start + 1].isupper():  # no method: the parser says so without waiting for a line
            self._line = None
            return bytes(line)
        end = line.find(b"\n", start)
        if end - start > MAX_REQUEST_LINE or (end < 0 and len(line) - start > MAX_REQUEST_LINE):
            self._refuse(414, Code.URI_TOO_LONG, f"The request line is longer than {MAX_REQUEST_LINE} bytes.")
            self.send_400_response("")
            return b""
        if end < 0:
            return b""
        self._line = None
        found = REQUEST_LINE.fullmatch(bytes(line[start:end]).rstrip(b"\r"))
        if found is None or not RAW.search(found["target"]):
            return bytes(line)
        target = RAW.sub(lambda raw: b"%%%02X" % raw[0][0], found["target"])
        return b"%b %b %b\r\n" % (found["method"], target, found["version"]) + line[end + 1 :]

    # --- what the parser calls

    def on_message_begin(self) -> None:
        """Start counting."""
        super().on_message_begin()
        self._line = None
        self._in_head = True
        self._head_size = self._unfinished_size = 0

    def on_url(self, url: bytes) -> None:
        """Stop at a URL that is too long; a pipelined one comes here unseen by `data_received`."""
        super().on_url(url)
        if len(self.url) > MAX_REQUEST_LINE:
            self._refuse(414, Code.URI_TOO_LONG, f"The request line is longer than {MAX_REQUEST_LINE} bytes.")
            raise ValueError("URL too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Stop at headers that are too many or too long."""
        super().on_header(name, value)
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD:
            self._refuse(431, Code.TOO_LARGE, f"The headers are longer than {MAX_HEAD} bytes.")
            raise ValueError("headers too long")

    def on_headers_complete(self) -> None:
        """Begin to answer; from here on an error is one of the body."""
        super().on_headers_complete()
        self._in_head, self._in_body = False, True

    def on_message_complete(self) -> None:
        """Look for the next request line."""
        super().on_message_complete()
        self._in_body = False
        self._line = bytearray()

    # --- refusing

    def _refuse(self, status: int, code: Code, message: str) -> None:
        self._refusal = error_response(status, code, message, None, {"connection": "close"})

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused; uvicorn calls this, and so do the limits above."""
        if self._refusal is None:
            self._refuse(400, Code.BAD_REQUEST, msg or "Invalid HTTP request received.")
        is_busy = self._running is not None and not self._running.response_complete
        if not self._in_body:
            if is_busy:
                self.flow.resume_reading()  # it came behind a request that is still being answered: wait
            else:
                self._write_refusal()
        elif self.cycle is not self._running:
            self.pipeline.popleft()  # its body is broken, and it has not begun
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._write_refusal()

    def on_response_complete(self) -> None:
        """Start the next request, or end with the refusal that waited for this one."""
        super().on_response_complete()
        is_busy = self._running is not None and not self._running.response_complete
        if self._refusal is not None and not is_busy and not self.transport.is_closing():
            self._write_refusal()

    def _write_refusal(self) -> None:
        refusal = self._refusal
        if refusal is None or self._is_refused:
            return
        self._is_refused = True
        self._unset_keepalive_if_required()
        headers = self.server_state.default_headers + refusal.raw_headers
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[refusal.status_code] + head + b"\r\n" + bytes(refusal.body))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._linger = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > MAX_DISCARDED:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._linger is not None:
            self._linger.cancel()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, _too_busy if app is service_unavailable else app)


async def _too_busy(scope: Any, receive: Any, send: Any) -> None:
    headers = {"retry-after": "1", "connection": "close"}
    message = "The server has too many requests at once. Nothing was changed; try again."
    await error_response(503, Code.UNAVAILABLE, message, None, headers)(scope, receive, send)
