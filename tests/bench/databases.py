"""The databases that are measured: SQLite, and a PostgreSQL that is started for this."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.bench.processes import cpu_seconds
from tests.postgres import Postgres, running_postgres

DatabaseName = Literal["sqlite", "postgresql"]
NAMES: tuple[DatabaseName, ...] = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Backend:
    """Gives empty databases; without `postgres` they are SQLite files in the data directory."""

    name: DatabaseName
    postgres: Postgres | None = None

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database for the time of the block."""
        if self.postgres is None:
            yield ""
            return
        url = self.postgres.new_database()
        try:
            yield url
        finally:
            self.postgres.drop_database(url)

    def cpu_seconds(self) -> float:
        """Processor time of the database's own processes so far; SQLite has none."""
        if self.postgres is None:
            return 0.0
        pid = int((self.postgres.directory / "data" / "postmaster.pid").read_text().split()[0])
        return cpu_seconds(pid, with_children=True)


@contextlib.contextmanager
def opened(name: DatabaseName) -> Iterator[Backend]:
    """The database called *name*, started where it has to be."""
    if name == "sqlite":
        yield Backend(name)
        return
    with running_postgres() as postgres:
        yield Backend(name, postgres)
