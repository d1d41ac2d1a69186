"""Running the ramdisk's programs: by a list of arguments, with a deadline, never through a shell."""

import json
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rackhand.agent.host import HostError

SECONDS = 60.0
MAX_WORDS = 300


def run(
    *argv: str, seconds: float = SECONDS, accept: Collection[int] = (0,), answers: str | None = None
) -> str:
    """Run a program and return what it printed; raise `HostError` when it ends with a status that is not *accept*ed.

    *answers* is what it reads when it asks: in a session of its own it has no terminal to ask for a password.
    """
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            timeout=seconds,
            check=False,
            input=None if answers is None else answers.encode(),
            start_new_session=answers is not None,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{argv[0]}: {error}") from error
    if done.returncode not in accept:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise HostError(f"{argv[0]} ended with {done.returncode}: {words[-MAX_WORDS:]}")
    return done.stdout.decode(errors="replace")


def run_json(*argv: str, seconds: float = SECONDS, accept: Collection[int] = (0,)) -> dict[str, Any]:
    """Run a program that prints a JSON object."""
    try:
        answer = json.loads(run(*argv, seconds=seconds, accept=accept))
    except ValueError as error:
        raise HostError(f"{argv[0]} did not print JSON.") from error
    if not isinstance(answer, dict):
        raise HostError(f"{argv[0]} did not print an object.")
    return answer


def read_line(path: Path | str) -> str:
    """The text of a small file below /sys or /proc, cleaned; empty when there is none."""
    try:
        return clean(Path(path).read_bytes().decode(errors="replace"))
    except OSError:
        return ""


def clean(text: str) -> str:
    """Take out what no database keeps and nobody can read."""
    return "".join(letter for letter in text if letter.isprintable()).strip()


def fields_of(text: str) -> Iterator[tuple[str, str]]:
    """`Name : value` lines; the first of a name counts."""
    seen = set()
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() and name.strip() not in seen:
            seen.add(name.strip())
            yield name.strip(), clean(value)


def number(text: str) -> int | None:
    """The whole number that *text* is, if it is one."""
    try:
        return int(text, 0)
    except ValueError:
        return None
