"""Many connections to a server, from a process of their own: each sends its requests one after the other.

An order is JSON on standard input, the answers are JSON on standard output. Little more than sockets, so that it is the
server that is measured.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Order:
    """What each connection sends: *times* the same POST, to one of *ports* in turn.

    In *path* and *body* `{n}` stands for its number from 1, `{group}` for that of its group, one of *groups*.
    """

    ports: Sequence[int]
    token: str
    connections: int
    path: str
    body: str
    times: int
    groups: int = 1


@dataclass(frozen=True)
class Calls:
    """What came of an order: seconds of every call in the order of their end, statuses, bodies, and the whole time."""

    seconds: Sequence[float]
    statuses: Sequence[int]
    bodies: Sequence[dict[str, Any]]
    passed: float


def call(order: Order) -> Calls:
    """Run *order* in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.callers"]
    done = subprocess.run(
        command, input=json.dumps(asdict(order)), capture_output=True, text=True, check=True
    )
    return Calls(**json.loads(done.stdout))


async def _run(order: Order) -> Calls:
    seconds: list[float] = []
    statuses: list[int] = []
    bodies: list[dict[str, Any]] = []
    gate = asyncio.Event()

    async def connection(number: int) -> None:
        port = order.ports[number % len(order.ports)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        group = (number - 1) * order.groups // order.connections + 1
        path, body = (
            text.replace("{n}", str(number)).replace("{group}", str(group))
            for text in (order.path, order.body)
        )
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"x-xsrf-token: {order.token}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        request = (head + body).encode()
        await gate.wait()
        for _ in range(order.times):
            started = time.perf_counter()
            writer.write(request)
            status, content = await _answer(reader)
            seconds.append(time.perf_counter() - started)
            statuses.append(status)
            bodies.append(json.loads(content))
        writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(1, order.connections + 1):
            group.create_task(connection(number))
        await asyncio.sleep(0.2 + order.connections / 500)  # all are connected
        started = time.perf_counter()
        gate.set()
    return Calls(seconds, statuses, bodies, time.perf_counter() - started)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(HEAD_END)
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(asyncio.run(_run(Order(**json.load(sys.stdin)))))))
