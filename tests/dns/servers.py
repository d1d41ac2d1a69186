"""Real name servers from Debian, on ports of the loopback interface: PowerDNS over SQLite, and BIND for RFC 2136."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

API_KEY = "sesame-api-key"
TSIG_NAME = "rackhand.example.com"
TSIG_SECRET = "c2VzYW1lLXNlc2FtZS1zZXNhbWUtc2VzYW1lLTEyMzQ="
SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
START_SECONDS = 30
CACHED_SECONDS = 25


@dataclass
class NameServer:
    """A running daemon. `port` is that of DNS, `api_port` that of PowerDNS' HTTP API."""

    driver: str
    port: int
    api_port: int
    run: Callable[[], "subprocess.Popen[bytes]"]
    process: "subprocess.Popen[bytes]"

    @property
    def access(self) -> dict[str, object]:
        """How the product reaches it, as the body of a call."""
        if self.driver == "powerdns":
            return {"driver": "powerdns", "host": "127.0.0.1", "port": self.api_port, "password": API_KEY}
        return {
            "driver": "rfc2136",
            "host": "127.0.0.1",
            "port": self.port,
            "user": TSIG_NAME,
            "password": TSIG_SECRET,
        }

    def says(self, name: str, *targets: str) -> bool:
        """Whether it tells the world of *name* that it is these, at once or within the time that PowerDNS caches."""
        wanted, until = sorted(f"{target}." for target in targets), time.monotonic() + CACHED_SECONDS
        while (found := self._ptr(name)) != wanted:
            assert time.monotonic() < until, f"{name} is {found} and not {wanted}"
            time.sleep(0.1)
        return True

    def _ptr(self, name: str) -> list[str]:
        answer = dns.query.tcp(dns.message.make_query(f"{name}.", "PTR"), "127.0.0.1", 10, self.port)
        assert answer.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}, answer
        return sorted(str(rdata) for rrset in answer.answer for rdata in rrset)

    def stop(self) -> None:
        """End it by its process id."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def start(self) -> None:
        """Run it again on the same ports, with the same data."""
        self.process = self.run()
        _wait_for(self)


@contextlib.contextmanager
def powerdns(directory: Path, *zones: str) -> Iterator[NameServer]:
    """PowerDNS with these zones; the test is skipped where it is not installed."""
    program = _program("pdns_server", "pdns-server pdns-backend-sqlite3")
    directory.mkdir(parents=True)
    database = directory / "zones.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(SCHEMA.read_text())
    port, api_port = _free_port(), _free_port()
    (directory / "pdns.conf").write_text(
        f"launch=gsqlite3\ngsqlite3-database={database}\ngsqlite3-pragma-synchronous=0\n"
        f"local-address=127.0.0.1\nlocal-port={port}\nsocket-dir={directory}\ndaemon=no\nguardian=no\n"
        f"api=yes\napi-key={API_KEY}\nwebserver=yes\nwebserver-address=127.0.0.1\nwebserver-port={api_port}\n"
        f"webserver-allow-from=127.0.0.1\ncache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\n"
    )
    for zone in zones:
        subprocess.run(
            [_program("pdnsutil", "pdns-server"), f"--config-dir={directory}", "create-zone", zone, "ns1.example.com"],
            check=True, capture_output=True,
        )  # fmt: skip
    run = _runner([program, f"--config-dir={directory}"], directory)
    yield from _running(NameServer("powerdns", port, api_port, run, run()))


@contextlib.contextmanager
def bind(directory: Path, *zones: str) -> Iterator[NameServer]:
    """BIND with these zones, which take updates that are signed with the key."""
    program = _program("named", "bind9")
    directory.mkdir(parents=True)
    port = _free_port()
    options = (
        f'directory "{directory}"; pid-file "{directory}/pid"; session-keyfile "{directory}/session.key";'
        f" listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no;"
    )
    key = f'algorithm hmac-sha256; secret "{TSIG_SECRET}";'
    lines = [f"options {{ {options} }};", "controls { };", f'key "{TSIG_NAME}" {{ {key} }};']
    for number, zone in enumerate(zones):
        (directory / f"{number}.zone").write_text(
            f"$TTL 300\n$ORIGIN {zone}.\n@ SOA ns1.example.com. hostmaster.example.com. 1 300 300 300 300\n"
            "@ NS ns1.example.com.\n"
        )
        lines.append(
            f'zone "{zone}" {{ type primary; file "{number}.zone"; allow-update {{ key "{TSIG_NAME}"; }}; }};'
        )
    (directory / "named.conf").write_text("\n".join(lines))
    run = _runner([program, "-g", "-n", "1", "-c", str(directory / "named.conf")], directory)
    yield from _running(NameServer("rfc2136", port, 0, run, run()))


def _runner(command: list[str], directory: Path) -> Callable[[], "subprocess.Popen[bytes]"]:
    def run() -> "subprocess.Popen[bytes]":
        with (directory / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=directory)

    return run


def _running(server: NameServer) -> Iterator[NameServer]:
    try:
        _wait_for(server)
        yield server
    finally:
        server.stop()


def _wait_for(server: NameServer) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert server.process.poll() is None, "the name server ended"
        try:
            for port in (server.port, *([server.api_port] if server.api_port else [])):
                socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the name server does not listen")


def _program(name: str, packages: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install {packages}")
    return found


def _free_port() -> int:
    """A port that is free for both TCP and UDP, as both are listened on."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as found:
            port: int = found.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                try:
                    other.bind(("127.0.0.1", port))
                except OSError:
                    continue
            return port
