"""A machine without a rack, and a manager that sends files: what the agent's work on disks needs."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rackhand.sim.clock import Timer
from rackhand.sim.config import BootMode, DiskConfig, DiskKind
from rackhand.sim.demo import demo_rack
from rackhand.sim.events import EventLog
from rackhand.sim.faults import Faults
from rackhand.sim.host import SimulatedHost
from rackhand.sim.machine import Machine
from rackhand.sim.medium import Medium

GB = 1_000_000_000


class StillClock:
    """Time that passes only when somebody waits; fast enough for every pause of the agent."""

    scale = 1e6

    def now(self) -> float:
        return time.monotonic() * self.scale

    def call_later(self, seconds: float, step: Callable[[], None]) -> Timer:
        raise NotImplementedError


class Iron:
    """A machine with *count* disks of *size_gb*, its log, and the host of its present boot."""

    def __init__(self, count: int = 2, *, size_gb: int = 480, mode: BootMode = BootMode.UEFI) -> None:
        config = demo_rack(1).machines[0]
        self.log = EventLog()
        self.mode = mode
        self.machine = Machine(config, clock=StillClock(), log=self.log, faults=Faults(config.name, self.log))
        self.media = tuple(
            Medium(DiskConfig(f"sd{'abcdefgh'[n]}", DiskKind.SSD, size_gb * GB, f"S{n}", "EX-SSD"))
            for n in range(count)
        )
        self.host = self.boot()

    def boot(self) -> SimulatedHost:
        """The ramdisk, started anew; what happens is written down at once."""
        self.dead = threading.Event()
        return SimulatedHost(
            machine=self.machine,
            media=self.media,
            dead=self.dead,
            on_loop=lambda step: step(),
            has_link=lambda _nic: True,
        )

    def actions(self) -> list[str]:
        """What was done to the machine."""
        return [event.action.value for event in self.log.after(0, limit=1000)]


class FileServer:
    """Sends one file under any path, with ranges; *cuts* says after how many bytes of an answer it hangs up."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.status = 200
        self.cuts: list[int] = []
        self.asked: list[str | None] = []  # the ranges
        self.url = ""


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """A file server on a free port of this machine."""
    files = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("range")
            files.asked.append(given)
            if files.status != 200:
                self.send_error(files.status)
                return
            start = int(given.removeprefix("bytes=").rstrip("-")) if given else 0
            body = files.content[start:]
            self.send_response(206 if given else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if len(body) > 1 and files.cuts and len(files.asked) > 1:  # the first one only looks
                body = body[: files.cuts.pop(0)]
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    files.url = f"http://127.0.0.1:{server.server_address[1]}/boot/file/images/1.tar.zst"
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
