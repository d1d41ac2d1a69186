"""Loads a file from the manager in one stream that goes on where it broke off, and hashes it on the way."""

import hashlib
import http.client
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

from rackhand.agent.host import HostError

PIECE = 1 << 20
READ_SECONDS = 60.0
PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
PATIENCE = 900.0  # seconds without a new byte, after which there is no use in going on


class Stream(Protocol):
    """An answer that is being read; *status* 206 begins at the asked offset."""

    status: int
    length: int | None

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, none at the end; raises OSError or HTTPException when the connection breaks."""

    def close(self) -> None:
        """Let go."""


class NotThere(HostError):
    """The manager does not have the file, or another one of that name."""


class HttpStream:
    """See `Stream`."""

    def __init__(self, url: str, offset: int) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise NotThere(f"Images come by http://host:port, not by {url!r}.")
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=READ_SECONDS)
        try:
            self._connection.request(
                "GET", parts.path, headers={"range": f"bytes={offset}-"} if offset else {}
            )
            self._answer = self._connection.getresponse()
        except BaseException:
            self._connection.close()
            raise
        self.status = self._answer.status
        self.length = self._answer.length

    def read(self, size: int) -> bytes:
        """See `Stream`."""
        return self._answer.read(size)

    def close(self) -> None:
        """See `Stream`."""
        self._connection.close()


class Download:
    """A file of *size* bytes; `pieces` gives all of it once, and `sha256` is that of what was given."""

    def __init__(
        self,
        url: str,
        size: int,
        *,
        open_url: Callable[[str, int], Stream],
        now: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self._url = url
        self.size = size
        self._open_url = open_url
        self._now = now
        self._pause = pause
        self._digest = hashlib.sha256()
        self.given = 0

    @property
    def sha256(self) -> str:
        """The hash of what was given so far."""
        return self._digest.hexdigest()

    def look(self) -> None:
        """Raise `NotThere` unless the manager has the file in its size: asked before anything is overwritten."""
        for piece in self.pieces(most=1):
            self._digest, self.given = hashlib.sha256(), 0
            if piece:
                return

    def pieces(self, *, most: int = 0) -> Iterator[bytes]:
        """Give what is left, in pieces; what breaks off is asked for again until `PATIENCE` is over."""
        failures, heard_at = 0, self._now()
        while self.given < self.size:
            try:
                for piece in self._read(most or PIECE):
                    failures, heard_at = 0, self._now()
                    yield piece
            except NotThere:
                raise
            except (OSError, http.client.HTTPException) as error:
                if self._now() - heard_at >= PATIENCE:
                    words = str(error) or type(error).__name__
                    raise HostError(
                        f"The image stopped at byte {self.given} of {self.size}: {words}."
                    ) from error
                self._pause(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1

    def _read(self, size: int) -> Iterator[bytes]:
        stream = self._open_url(self._url, self.given)
        try:
            self._check(stream)
            while self.given < self.size:
                piece = stream.read(min(size, self.size - self.given))
                if not piece:
                    raise ConnectionResetError("it ended too early")
                self._digest.update(piece)
                self.given += len(piece)
                yield piece
        finally:
            stream.close()

    def _check(self, stream: Stream) -> None:
        if stream.status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
            raise ConnectionRefusedError("the manager is busy")
        if stream.status != (HTTPStatus.PARTIAL_CONTENT if self.given else HTTPStatus.OK):
            raise NotThere(f"The manager does not send the image: HTTP {stream.status}.")
        if stream.length is not None and stream.length != self.size - self.given:
            raise NotThere(
                f"The manager has another image: {stream.length + self.given} bytes instead of {self.size}."
            )
