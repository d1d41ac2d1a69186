"""Programs that speak to devices: started without a shell, bounded, always ended, secrets in memory files."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from rackhand.hardware.errors import Timeout, Unsupported

SECRET = "\0secret"  # noqa: S105  # stands for the path of the secret in a list of arguments
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # Debian keeps ipmipower here, outside of an ordinary user's PATH


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
                env={"LC_ALL": "C", "PATH": f"{os.environ.get('PATH', os.defpath)}:{SBIN}"},
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
