"""Archives of the ramdisk: what other readers find in them, and that they are the same bytes every time."""

import io
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from rackhand.boot.ramdisk import cpio
from rackhand.boot.ramdisk.cpio import Entry

CPIO = shutil.which("cpio")
EPOCH = 1_700_000_000


def archive(*entries: Entry) -> bytes:
    out = io.BytesIO()
    cpio.write(entries, out, epoch=EPOCH)
    return out.getvalue()


def entries(folder: Path) -> list[Entry]:
    big = folder / "big"
    big.write_bytes(bytes(range(256)) * 9001)
    return [
        Entry.file("usr/bin/tool", big, 0o4755),
        Entry.file("init", b"#!/bin/sh\n", 0o755),
        Entry.link("bin/sh", "dash"),
        Entry.directory("tmp", 0o1777),
        Entry.file("empty", b""),
    ]


@pytest.mark.skipif(CPIO is None, reason="not installed: cpio")
def test_stock_cpio_unpacks_what_was_packed(tmp_path: Path) -> None:
    packed = archive(*entries(tmp_path))
    root = tmp_path / "root"
    root.mkdir()
    assert CPIO is not None
    subprocess.run([CPIO, "-i", "-d", "-m", "--quiet"], input=packed, cwd=root, check=True)
    assert (root / "usr/bin/tool").read_bytes() == (tmp_path / "big").read_bytes()
    assert stat.S_IMODE((root / "usr/bin/tool").stat().st_mode) == 0o4755
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert (root / "bin/sh").readlink() == Path("dash")
    assert (root / "empty").read_bytes() == b""
    assert (root / "init").stat().st_mtime == EPOCH


def test_order_in_which_entries_come_changes_no_byte(tmp_path: Path) -> None:
    found = entries(tmp_path)
    assert archive(*found) == archive(*reversed(found))


def test_directories_that_are_missing_are_made_before_what_is_in_them() -> None:
    packed = archive(Entry.file("a/b/c", b"x"))
    places = [packed.index(name) for name in (b"a\0", b"a/b\0", b"a/b/c\0")]
    assert places == sorted(places)


def test_every_part_begins_at_a_multiple_of_four() -> None:
    packed = archive(Entry.file("abc", b"12345"), Entry.file("abcd", b"1"))
    heads = [at for at in range(len(packed)) if packed.startswith(b"070701", at)]
    assert len(heads) == 3
    assert all(at % 4 == 0 for at in heads)
