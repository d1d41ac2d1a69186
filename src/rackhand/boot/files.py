"""Kernels, ramdisks and images over HTTP: with ranges, and only so many transfers at once."""

import asyncio
import re
from pathlib import Path

from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from rackhand.errors import NotFound, Unavailable

PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_PARTS = 4
SMALL = 64 * 1024
STALLED_SECONDS = 60.0


class BootFiles:
    """The files below *directory*.

    Whoever comes while *transfers* are under way waits for *patience* seconds, first come, first served, and is then
    told to come again: a network that is shared by too many serves none of them in time.
    """

    def __init__(self, directory: Path, *, transfers: int, patience: float = 60.0) -> None:
        self._directory = directory
        self._slots = asyncio.Semaphore(transfers)
        self._patience = patience

    def find(self, name: str) -> Path:
        """The file of a name with slashes; raise `NotFound` for what is no plain file below the directory."""
        parts = name.split("/")
        if len(parts) > MAX_PARTS or not all(PART.fullmatch(part) for part in parts):
            raise NotFound(f"There is no file {name[:200]!r}.")
        path = self._directory.joinpath(*parts)
        if not path.is_file() or not path.resolve().is_relative_to(self._directory.resolve()):
            raise NotFound(f"There is no file {name!r}.")
        return path

    def respond(self, name: str) -> "BoundedFile":
        """Answer with a file, when it is its turn."""
        return BoundedFile(self.find(name), self._slots, self._patience)


class BoundedFile(FileResponse):
    """A file whose sending takes one of the slots; small pieces do not."""

    def __init__(self, path: Path, slots: asyncio.Semaphore, patience: float) -> None:
        super().__init__(path, media_type="application/octet-stream")
        self._path = path
        self._slots = slots
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for a slot and send."""
        if scope["method"] == "HEAD" or self._path.stat().st_size <= SMALL:
            await super().__call__(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unavailable("Too many transfers are under way. Try again later.") from error

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    await send(message)
            except TimeoutError as error:  # a machine that is gone must not keep its slot
                raise ClientDisconnect from error

        try:
            await super().__call__(scope, receive, send_in_time)
        finally:
            self._slots.release()
