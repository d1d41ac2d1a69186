"""A PostgreSQL server of our own: a fresh cluster in a temporary directory, ended by its process id."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

SETTINGS = (
    "-c",
    "fsync=off",
    "-c",
    "listen_addresses=",
    "-c",
    "max_connections=200",
    "-c",
    "shared_buffers=64MB",
)


class NoPostgres(Exception):
    """PostgreSQL is not installed; `make setup` installs it."""


@dataclass
class Postgres:
    """A running server; `new_database` gives the URL of an empty database."""

    directory: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.directory}"

    def new_database(self, template: str = "") -> str:
        """Create a database, empty or as the one of the URL *template*, and return its URL."""
        name, source = f"rackhand_{next(self._numbers)}", _name(template) or "template1"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            if template:  # sessions that were closed a moment ago may still be there
                ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(ended, (source,))
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"'.encode())
        return self._url(name)

    def drop_database(self, url: str) -> None:
        """Delete a database that `new_database` made."""
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{_name(url)}" WITH (FORCE)'.encode())


def _name(url: str) -> str:
    """The database in a URL of `_url`."""
    return url.partition("@/")[2].partition("?")[0]


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise NoPostgres("No initdb below /usr/lib/postgresql: run `make setup`.")
    return found[-1].parent


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server and stop it at the end. PostgreSQL refuses to run as root; the account `postgres` is used then."""
    binaries = _binaries()
    directory = Path(tempfile.mkdtemp(prefix="rackhand-pg-"))
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(directory, account.pw_uid, account.pw_gid)
    data = directory / "data"
    subprocess.run(
        [binaries / "initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8",
         "--locale=C", data],
        check=True, stdout=subprocess.DEVNULL, user=user, cwd=directory,
    )  # fmt: skip
    log = (directory / "log").open("w")
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-k", directory, *SETTINGS],
        stdout=log, stderr=subprocess.STDOUT, user=user, cwd=directory,
    )  # fmt: skip
    postgres = Postgres(directory)
    try:
        _wait_until_up(postgres, server)
        yield postgres
    finally:
        server.send_signal(signal.SIGINT)  # "fast shutdown": connections are cut
        server.wait(30)
        log.close()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_until_up(postgres: Postgres, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(postgres._url("postgres")):
            return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError((postgres.directory / "log").read_text())
