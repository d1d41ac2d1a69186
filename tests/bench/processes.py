"""The processes that are measured: `rackhand serve` and the virtual rack, each on its own; their memory and time."""

import contextlib
import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rackhand.sim.config import RackConfig

START_SECONDS = 60
TICKS = os.sysconf("SC_CLK_TCK")


class Client:
    """One connection that stays open; little more than a socket, so that it is the server that is measured."""

    def __init__(self, port: int, token: str) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"x-xsrf-token": token}

    def send(self, method: str, path: str, body: object = None) -> bytes:
        """Send a request and read the whole answer."""
        self._http.request(method, path, None if body is None else json.dumps(body), self._headers)
        response = self._http.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"{method} {path}: {response.status} {content[:500]!r}")
        return content

    def get(self, path: str) -> bytes:
        """GET; the body."""
        return self.send("GET", path)

    def timed(self, path: str) -> float:
        """GET; the seconds until the body was read."""
        started = time.perf_counter()
        self.send("GET", path)
        return time.perf_counter() - started

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


@dataclass(frozen=True)
class Served:
    """A running `rackhand serve`."""

    process: "subprocess.Popen[bytes]"
    port: int

    def memory(self, name: str = "VmRSS") -> int:
        """A size from /proc/pid/status, in bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"There is no {name} of process {self.process.pid}.")

    def forget_peak(self) -> None:
        """Let VmHWM begin anew (proc_pid_clear_refs(5))."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        return cpu_seconds(self.process.pid)


def cpu_seconds(pid: int, *, with_children: bool = False) -> float:
    """Processor time of a process so far; *with_children* adds those that run and those that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    ticks = sum(
        map(int, fields[11:15] if with_children else fields[11:13])
    )  # proc_pid_stat(5): utime is field 14
    total = ticks / TICKS
    if with_children:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += cpu_seconds(int(child))
    return total


@contextlib.contextmanager
def serving(data: Path, database_url: str, *options: str, **settings: str) -> Iterator[Served]:
    """Run `rackhand serve` until the block ends; *settings* are those of the environment."""
    data.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RACKHAND_")}
    environment |= {
        "RACKHAND_DATABASE_URL": database_url,
        "RACKHAND_LOG_LEVEL": "warning",
        "RACKHAND_BOOT_LISTEN": "",
        **settings,
    }
    log = (data / "serve.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "rackhand", "serve", "--data", str(data), "--listen", f"127.0.0.1:{port}", *options],
        env=environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        _wait_until_ready(process, port, data / "serve.log")
        yield Served(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    for _ in range(START_SECONDS * 20):
        if process.poll() is not None:
            break
        client = Client(port, "")
        with contextlib.suppress(OSError, RuntimeError, http.client.HTTPException):
            client.get("/health/ready")
            return
        client.close()
        time.sleep(0.05)
    raise RuntimeError(f"rackhand serve did not become ready: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def racking(config: RackConfig) -> Iterator[RackConfig]:
    """Run a virtual rack in a process of its own; gives the configuration with the ports that are really used."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_run_rack, args=(config, there), daemon=True
    )
    process.start()
    there.close()
    try:
        if not here.poll(START_SECONDS):
            raise RuntimeError("The virtual rack did not start.")
        started: Any = here.recv()
        yield started
    finally:
        here.close()
        process.join(20)
        if process.is_alive():
            process.kill()


def _run_rack(config: RackConfig, parent: Connection) -> None:
    import asyncio
    import logging

    import structlog

    from rackhand.sim.rack import running_rack

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    async def run() -> None:
        async with running_rack(config) as rack:
            parent.send(rack.config)
            gone = asyncio.Event()
            asyncio.get_running_loop().add_reader(parent.fileno(), gone.set)
            await gone.wait()

    asyncio.run(run())
