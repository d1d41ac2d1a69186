"""Recordings: bounds, text, and what a crash leaves."""

import os
import time
from pathlib import Path

import pytest

from rackhand.consoles import recording
from rackhand.consoles.broker import Ring
from rackhand.consoles.recording import Recording


def test_a_ring_keeps_the_last_bytes_and_begins_at_a_line() -> None:
    ring = Ring(10)
    ring.append(b"ab\n")
    assert (ring.start, ring.beginning, ring.after(0, 100)) == (0, 0, b"ab\n")
    ring.append(b"cdefgh\nij")
    assert (ring.start, ring.end) == (2, 12)
    assert ring.after(ring.beginning, 100) == b"cdefgh\nij"
    assert ring.after(10, 1) == b"i"
    assert ring.after(12, 100) == b""


def test_parts_are_bounded_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "PART_BYTES", 2000)
    made = Recording(tmp_path / "7", server_id=7, title="srv-7", owner_id=3)
    for number in range(100):
        made.output(b"line %d " % number + b"x" * 80 + b"\r\n")
        time.sleep(0.002)  # names tell milliseconds
    made.close()
    found = recording.recordings(tmp_path / "7")
    assert len(found) >= 4
    assert all(each.size_bytes < 2200 and each.owner_id == 3 for each in found)
    recording.forget(tmp_path / "7", days=1, most_bytes=4500)
    assert [each.name for each in recording.recordings(tmp_path / "7")] == [each.name for each in found[:2]]
    path = recording.path_of(tmp_path / "7", found[0].name)
    assert path is not None
    os.utime(path, (0, 0))
    recording.forget(tmp_path / "7", days=1, most_bytes=1_000_000)
    assert [each.name for each in recording.recordings(tmp_path / "7")] == [found[1].name]


def test_text_is_without_colours_and_erased_characters(tmp_path: Path) -> None:
    made = Recording(tmp_path, server_id=7, title="srv-7", owner_id=None)
    for piece in (
        b"\x1b[2J\x1b[1;31mlo",
        b"gin\x1b[0m: rox\b \bot\xd0",
        b"\xb6\r\n\x1b]0;title\x07$ ",
        b"\xff",
    ):
        made.output(piece)
    made.remark("no task runs")
    made.close()
    path = recording.path_of(tmp_path, recording.recordings(tmp_path)[0].name)
    assert path is not None
    with path.open("ab") as file:
        file.write(b'[1.2,"o","cut sh')
    said = [line.text for line in recording.lines(path)]
    assert said == ["login: rootж", "--- no task runs ---", "$ \N{REPLACEMENT CHARACTER}"]
    assert [line.text for line in recording.search(path, "LOGIN")] == said[:1]
