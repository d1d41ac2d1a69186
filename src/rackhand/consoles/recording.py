"""Recordings of consoles: everything that came out, with times, in files that are bounded in size and age.

A file is an asciicast of version 2 (one JSON value a line: a header, then `[seconds, kind, text]`), which other players
read too. Kind `o` is output, `m` a remark, such as the task that ran. What was typed is not recorded: it holds
passwords. What the server echoes of it is output.
"""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

FOLDER = "consoles"  # in the data directory
SUFFIX = ".cast"
PART_BYTES = 4 * 1024 * 1024
WIDTH, HEIGHT = 80, 24
NAME = re.compile(r"\d{8}T\d{9}Z")
NAME_FORMAT = "%Y%m%dT%H%M%S"
MAX_FOUND = 100  # lines of a search, of one recording

# Control sequences of a terminal: with parameters, titles, all others; and what is no text at all.
SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]")
NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Recorded:
    """A recording as it lies there; *owner_id* is whose server it was."""

    name: str
    started_at: datetime
    ended_at: datetime
    size_bytes: int
    owner_id: int | None


@dataclass(frozen=True)
class Line:
    """A line of text, and when it began to come."""

    at: datetime
    text: str


class Recording:
    """Writes what comes out of one console; a new file begins when the last one is full."""

    def __init__(self, folder: Path, *, server_id: int, title: str, owner_id: int | None) -> None:
        self._folder = folder
        self._about = {"server": server_id, "owner": owner_id}
        self._title = title
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._file: IO[bytes] | None = None
        self._started = datetime.now(UTC)
        self._size = 0

    def output(self, data: bytes) -> None:
        """Add what came out."""
        text = self._decoder.decode(data)
        if text:
            self._add("o", text)

    def remark(self, text: str) -> None:
        """Add words of ours."""
        self._add("m", text)

    def close(self) -> None:
        """End. Safe to repeat."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add(self, kind: str, text: str) -> None:
        if self._file is None or self._size > PART_BYTES:
            self._begin()
        seconds = round((datetime.now(UTC) - self._started).total_seconds(), 3)
        self._write([seconds, kind, text])

    def _begin(self) -> None:
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._started = datetime.now(UTC)
        self._size = 0
        name = f"{self._started:{NAME_FORMAT}}{self._started.microsecond // 1000:03}Z{SUFFIX}"
        self._file = (self._folder / name).open("ab", buffering=0)
        self._write(
            {
                "version": 2,
                "width": WIDTH,
                "height": HEIGHT,
                "timestamp": int(self._started.timestamp()),
                "title": self._title,
                "rackhand": self._about,
            }
        )

    def _write(self, value: object) -> None:
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._size += len(line)
        if self._file is not None:
            self._file.write(line)


def folder_of(data: Path, server_id: int) -> Path:
    """Where the recordings of a server are."""
    return data / FOLDER / str(server_id)


def recordings(folder: Path) -> list[Recorded]:
    """All recordings of a server, the newest first."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True):
        if NAME.fullmatch(path.stem):
            about = _header(path).get("rackhand", {})
            status = path.stat()
            found.append(
                Recorded(
                    name=path.stem,
                    started_at=started_at(path.stem),
                    ended_at=datetime.fromtimestamp(status.st_mtime, UTC),
                    size_bytes=status.st_size,
                    owner_id=about.get("owner"),
                )
            )
    return found


def started_at(name: str) -> datetime:
    """When a recording begins, by its name."""
    return datetime.strptime(name[:15], NAME_FORMAT).replace(tzinfo=UTC, microsecond=int(name[15:18]) * 1000)


def path_of(folder: Path, name: str) -> Path | None:
    """The file of a recording, None when there is none of that name."""
    path = folder / f"{name}{SUFFIX}"
    return path if NAME.fullmatch(name) and path.is_file() else None


def lines(path: Path) -> Iterator[Line]:
    """What a recording says, as text: without colours and movements of the cursor."""
    begin = started_at(path.stem)
    waiting, at = "", begin
    for seconds, kind, text in _events(path):
        now = begin + timedelta(seconds=seconds)
        if kind == "m":
            yield Line(now, f"--- {text} ---")
            continue
        if not waiting:
            at = now
        *complete, waiting = (waiting + text).split("\n")
        for each in complete:
            yield Line(at, _plain(each))
            at = now
    if waiting:
        yield Line(at, _plain(waiting))


def search(path: Path, words: str) -> list[Line]:
    """The lines with *words* in them, whatever their case, at most `MAX_FOUND`."""
    wanted = words.casefold()
    found: list[Line] = []
    for line in lines(path):
        if wanted in line.text.casefold():
            found.append(line)
            if len(found) == MAX_FOUND:
                break
    return found


def forget(folder: Path, *, days: int, most_bytes: int) -> None:
    """Delete recordings of a server that are older than *days*, and the oldest beyond *most_bytes* together."""
    oldest, total = datetime.now(UTC) - timedelta(days=days), 0
    for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True):
        status = path.stat()
        total += status.st_size
        if total > most_bytes or datetime.fromtimestamp(status.st_mtime, UTC) < oldest:
            path.unlink(missing_ok=True)


def forget_everywhere(data: Path, *, days: int, most_bytes: int) -> None:
    """The same for all servers."""
    for folder in (data / FOLDER).glob("*"):
        forget(folder, days=days, most_bytes=most_bytes)


def _header(path: Path) -> dict[str, dict[str, int | None]]:
    try:
        with path.open("rb") as file:
            value = json.loads(file.readline(4096))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _events(path: Path) -> Iterator[tuple[float, str, str]]:
    with path.open("rb") as file:
        file.readline()
        for line in file:
            try:
                seconds, kind, text = json.loads(line)
            except ValueError:  # what a crash cut short
                continue
            yield float(seconds), str(kind), str(text)


def _plain(text: str) -> str:
    """What a terminal would show of a line in the end."""
    text = SEQUENCES.sub("", text).rstrip("\r")
    if "\b" not in text and "\r" not in text:
        return NOT_TEXT.sub("", text).rstrip()
    cells: list[str] = []
    cursor = 0
    for character in text:
        if character == "\b":
            cursor = max(0, cursor - 1)
        elif character == "\r":
            cursor = 0
        elif not NOT_TEXT.match(character):
            cells[cursor : cursor + 1] = [character]
            cursor += 1
    return "".join(cells).rstrip()
