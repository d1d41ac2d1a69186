"""Programs that speak to devices: started without a shell, bounded, always ended, secrets in memory files."""

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from rackhand.hardware.errors import Timeout, Unsupported

SECRET = "\0secret"  # noqa: S105  # stands for the path of the secret in a list of arguments
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # Debian keeps ipmipower here, outside of an ordinary user's PATH


CHUNK = 4096
MOST_COMPLAINTS = 65_536
FAREWELL_SECONDS = 3.0


@dataclass(frozen=True)
class Output:
    """What a program wrote and returned."""

    code: int
    out: str
    err: str


@contextlib.contextmanager
def secret_file(text: str) -> Iterator[int]:
    """Give a file descriptor of *text*, readable by its owner and by who inherits it.

    It has no name in any file system, so neither a crash nor a kill leaves a password behind.
    """
    descriptor = os.memfd_create("secret")
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, text.encode())
        yield descriptor
    finally:
        os.close(descriptor)


def environment() -> dict[str, str]:
    """What a program gets of our environment: the path."""
    return {"LC_ALL": "C", "PATH": f"{os.environ.get('PATH', os.defpath)}:{SBIN}"}


@contextlib.asynccontextmanager
async def started(arguments: Sequence[str], *, secret: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a program for the time of the block; whatever ends the block also kills the program.

    The program finds *secret* in the file that `SECRET` in *arguments* becomes; it gets nothing of our
    environment but the path.
    """
    with secret_file(secret) as descriptor:
        try:
            process = await asyncio.create_subprocess_exec(
                *(f"/dev/fd/{descriptor}" if argument == SECRET else argument for argument in arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment(),
                pass_fds=(descriptor,),
            )
        except FileNotFoundError as error:
            raise Unsupported(f"The program {arguments[0]!r} is not installed on this machine.") from error
        try:
            yield process
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                # A second cancellation must not leave a zombie.
                await asyncio.shield(process.wait())


async def run(arguments: Sequence[str], *, secret: str, slots: asyncio.Semaphore, seconds: float) -> Output:
    """Run a program to its end; raise `Timeout` after *seconds*, `Unsupported` when it is not installed."""
    async with slots:
        try:
            async with asyncio.timeout(seconds), started(arguments, secret=secret) as process:
                out, err = await process.communicate()
                return Output(
                    process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")
                )
        except TimeoutError as error:
            raise Timeout(f"{arguments[0]} did not end within {seconds:g} s.") from error


class TerminalProgram:
    """A program that believes to stand before a terminal, until `close`. What it writes as errors comes apart."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int, complaints: int) -> None:
        self._process = process
        self._terminal = terminal
        self._complaints = complaints
        self._is_closed = False
        self._output: Output | None = None
        self._ready: set[asyncio.Future[None]] = set()

    async def read(self) -> bytes:
        """Return what the program wrote next, nothing when it has ended."""
        while not self._is_closed:
            try:
                return os.read(self._terminal, CHUNK)
            except BlockingIOError:
                await self._wait(reading=True)
            except OSError:  # EIO: nobody holds the other end any more
                return b""
        return b""

    async def write(self, data: bytes) -> None:
        """Type *data*; does nothing when the program has ended."""
        while data and not self._is_closed:
            try:
                data = data[os.write(self._terminal, data) :]
            except BlockingIOError:
                await self._wait(reading=False)
            except OSError:
                return

    async def close(self) -> Output:
        """Hang up, give the program a moment to end by itself, and return what it complained of. Safe to repeat."""
        self._hang_up()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._process.wait()
        finally:
            self.kill()
            # A second cancellation must not leave a zombie.
            code = await asyncio.shield(self._process.wait())
        if self._output is None:
            complaint = os.pread(self._complaints, MOST_COMPLAINTS, 0)
            os.close(self._complaints)
            self._output = Output(code, "", complaint.decode(errors="replace"))
        return self._output

    def kill(self) -> None:
        """End it at once. Safe to repeat."""
        self._hang_up()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _hang_up(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._terminal)
        loop.remove_writer(self._terminal)
        for each in self._ready:
            if not each.done():
                each.set_result(None)
        os.close(self._terminal)

    async def _wait(self, *, reading: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._ready.add(ready)
        add, remove = (
            (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)
        )

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        add(self._terminal, wake)
        try:
            await ready
        finally:
            self._ready.discard(ready)
            if not self._is_closed:
                remove(self._terminal)


async def start_on_terminal(arguments: Sequence[str], *, secret: str) -> TerminalProgram:
    """Start a program before a terminal of its own that changes nothing of what passes; see `started` for the rest."""
    terminal, other_end = os.openpty()
    # No pipe: when this process is killed, the program ends well all the same, whatever it still has to say.
    complaints = os.memfd_create("complaints")
    try:
        tty.setraw(other_end)
        os.set_blocking(terminal, False)
        with secret_file(secret) as descriptor:
            process = await asyncio.create_subprocess_exec(
                *(f"/dev/fd/{descriptor}" if argument == SECRET else argument for argument in arguments),
                stdin=other_end,
                stdout=other_end,
                stderr=complaints,
                env=environment(),
                pass_fds=(descriptor,),
                start_new_session=True,
            )
    except BaseException as error:
        os.close(terminal)
        os.close(complaints)
        if isinstance(error, FileNotFoundError):
            raise Unsupported(f"The program {arguments[0]!r} is not installed on this machine.") from error
        raise
    finally:
        os.close(other_end)
    return TerminalProgram(process, terminal, complaints)
