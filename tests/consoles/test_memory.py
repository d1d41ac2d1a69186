"""What a hundred viewers of one console cost, viewers of this test included."""

import asyncio
import base64
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rackhand.consoles.broker import MAX_VIEWERS
from tests.consoles.conftest import IPMI, Racked

VIEWERS = MAX_VIEWERS
ROUNDS, PIECE = 64, 16 * 1024  # 1 MiB comes out, four times what is kept
BUDGET_MIB = 100


def resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


async def look(racked: Racked, stack: AsyncExitStack) -> asyncio.StreamReader:
    """A viewer that keeps nothing."""
    parts = urlsplit(racked.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=256 * 1024)
    stack.callback(writer.close)
    path = f"/api/dci/v3/server/{IPMI}/console/stream"
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nx-xsrf-token: {racked.admin.token}\r\n\r\n".encode())
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    return reader


async def read_to(reader: asyncio.StreamReader, wanted: int) -> int:
    """Read until *wanted* bytes of the console have come; how many that were."""
    got = 0
    while got < wanted:
        line = await reader.readline()
        assert line
        if line.startswith(b"data: ") and not line.startswith(b"data: {"):
            got += len(base64.b64decode(line[6:]))
    return got


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_hundred_viewers_take_less_than_a_hundred_mib(racked: Racked) -> None:
    async with racked.viewer() as first, AsyncExitStack() as stack:
        await first.until_open()
        broker = racked.services.consoles.find(IPMI)
        assert broker is not None
        before = resident_mib()
        readers = [await look(racked, stack) for _ in range(VIEWERS - 1)]
        async with asyncio.timeout(20):
            while broker.viewers < VIEWERS:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await racked.admin.refused(409, "GET", f"/dci/v3/server/{IPMI}/console/stream")
        peak = resident_mib()
        reading = [asyncio.create_task(read_to(reader, ROUNDS * PIECE)) for reader in readers]
        for _ in range(ROUNDS):
            broker.ring.append(b"x" * (PIECE - 2) + b"\r\n")
            broker._notify()
            await asyncio.sleep(0.05)
            peak = max(peak, resident_mib())
        async with asyncio.timeout(60):
            assert set(await asyncio.gather(*reading)) == {ROUNDS * PIECE}
        peak = max(peak, resident_mib())
    print(f"{VIEWERS} viewers: {peak - before:.1f} MiB more at the peak")  # noqa: T201  # the figure
    assert peak - before < BUDGET_MIB
