"""Fills an empty database with servers as a hosting company has them, by bulk inserts and not through the API."""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Table

from rackhand.db import Database, table_of
from rackhand.events.model import Event
from rackhand.servers.model import BmcAccess, Disk, Location, Nic, Rack, Server
from rackhand.settings import Settings
from rackhand.tasks.model import Task
from rackhand.users import tokens
from rackhand.users.model import Role, User

ADMIN = "operator@example.com"
NOW = "2026-03-01 12:00:00.000000"
CUSTOMERS = 200
LOCATIONS = 3
UNITS = 40
CONFIGURATIONS = ("E-2146G-64Gb-2x1024NVMe", "i9-9900K-64Gb-2x1024NVMe", "EPYC-7313P-128Gb-2x1920NVMe")
HARDWARE = {
    "cpu": [{"model": "Intel(R) Xeon(R) E-2146G CPU @ 3.50GHz", "cores": 6, "threads": 12}],
    "ram": {"size_mib": 65536, "modules": [{"slot": f"DIMM_A{n}", "size_mib": 16384} for n in range(1, 5)]},
    "bios": {"vendor": "Example Systems", "version": "2.4"},
}
TEMPLATE = {"id": 7, "name": "Debian-12-x86_64"}


def prepare(settings: Settings, servers: int) -> str:
    """Make the schema, an administrator and *servers* servers; return a token of the administrator."""
    token = asyncio.run(_make_schema(settings))
    insert(settings, _rows(servers))
    return token


async def _make_schema(settings: Settings) -> str:
    settings.data.mkdir(parents=True, exist_ok=True)
    db = Database(settings.database)
    await db.migrate()
    async with db.write() as session:
        now = datetime.fromisoformat(f"{NOW}+00:00")
        # Nobody signs in with a password here, and hashing one takes its time.
        user = User(email=ADMIN, password_hash="", role=Role.ADMIN, created_at=now)
        session.add(user)
        await session.flush()
        issued = await tokens.create_api_token(
            session, user, expires_at=None, description="bench", address=""
        )
    await db.dispose()
    return issued.token


def _rows(servers: int) -> Iterator[tuple[Table, Iterable[Mapping[str, object]]]]:
    """Rows by table; half of the servers have an owner, half have a last task, all have two NICs and two drives."""
    numbers = range(1, servers + 1)
    yield table_of(User), (
        {"id": n + 1, "email": f"customer-{n}@example.com", "password_hash": "", "role": "@user", "created_at": NOW}
        for n in range(1, CUSTOMERS + 1)
    )  # fmt: skip
    yield (
        table_of(Location),
        ({"id": n, "name": f"ams{n}", "created_at": NOW} for n in range(1, LOCATIONS + 1)),
    )
    yield table_of(Rack), (
        {"id": n, "name": f"A-{n:04d}", "size": 42, "location_id": n % LOCATIONS + 1, "created_at": NOW}
        for n in range(1, servers // UNITS + 2)
    )  # fmt: skip
    yield table_of(Server), map(_server, numbers)
    yield (
        table_of(Nic),
        (
            {
                "id": 2 * n + port,
                "server_id": n,
                "mac": _mac(2 * n + port),
                "name": f"eth{port}",
                "speed_mbit": 10_000,
            }
            for n, port in itertools.product(numbers, (0, 1))
        ),
    )
    yield table_of(Disk), (
        {"id": 2 * n + bay, "server_id": n, "name": f"nvme{bay}n1", "kind": "NVMe", "size_gb": 1024,
         "model": "EX-NVME1024", "serial": f"S{n:07d}-D{bay}"}
        for n, bay in itertools.product(numbers, (0, 1))
    )  # fmt: skip
    yield table_of(BmcAccess), (
        {"id": n, "server_id": n, "driver": "ipmi" if n % 2 else "redfish", "port": 623 if n % 2 else 443,
         "host": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "user": "ADMIN", "password": ""}
        for n in numbers
    )  # fmt: skip
    yield table_of(Task), map(_task, range(2, servers + 1, 2))
    yield table_of(Event), (
        {"id": n, "at": NOW, "kind": "server.added", "message": f"Server srv-{n} was added.", "subject_kind": "server",
         "subject_id": n, "subject_name": f"srv-{n}", "actor_id": 1, "actor_email": ADMIN}
        for n in numbers
    )  # fmt: skip


def _server(number: int) -> dict[str, object]:
    has_owner = number % 4 >= 2
    return {
        "id": number,
        "name": f"srv-{number}",
        "domain": f"srv-{number}.example.com",
        "configuration": CONFIGURATIONS[number % 3],
        "type": "rack server",
        "model": "Example Systems ES-2200",
        "serial": f"S{number:07d}",
        "notes": "next to the patch panel" if number % 10 == 0 else "",
        "location_id": (number // UNITS + 1) % LOCATIONS + 1,
        "rack_id": number // UNITS + 1,
        "unit": number % UNITS + 1,
        "owner_id": number % CUSTOMERS + 2 if has_owner else None,
        "is_new": False,
        "hardware_info": HARDWARE,
        "os_template": TEMPLATE if has_owner else None,
        "power_state": "on" if has_owner else "off",
        "power_state_at": NOW,
        "last_task_id": number if number % 2 == 0 else None,
        "created_at": NOW,
    }


def _task(number: int) -> dict[str, object]:
    has_failed = number % 50 == 0
    return {
        "id": number,
        "uuid": f"00000000-0000-4000-8000-{number:012d}",
        "name": "power_on",
        "params": {},
        "subject_kind": "server",
        "subject_id": number,
        "subject_name": f"srv-{number}",
        "status": "failed" if has_failed else "succeeded",
        "error": f"The BMC of srv-{number} did not answer." if has_failed else None,
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": NOW,
    }


def _mac(number: int) -> str:
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x00, *number.to_bytes(4, "big")))


def insert(settings: Settings, tables: Iterable[tuple[Table, Iterable[Mapping[str, object]]]]) -> None:
    """Write rows of whole tables; columns that are not given get the model's default."""
    if settings.database_url:
        with psycopg.connect(settings.database_url, options="-c timezone=UTC") as server:
            for table, rows in tables:
                _copy(server, table, rows)
        with psycopg.connect(settings.database_url, autocommit=True) as server:
            server.execute("VACUUM ANALYZE")  # autovacuum does the same a minute later
        return
    path = Path(settings.database.partition("///")[2])
    file = sqlite3.connect(path)
    with file:
        for table, rows in tables:
            marks = ", ".join("?" * len(table.columns))
            statement = f'INSERT INTO "{table.name}" ({_names(table)}) VALUES ({marks})'  # noqa: S608  # names of ours
            file.executemany(statement, _values(table, rows))
    file.close()


def _copy(server: "psycopg.Connection[Any]", table: Table, rows: Iterable[Mapping[str, object]]) -> None:
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    name = sql.Identifier(table.name)
    with server.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(name, columns)) as copy:
            for values in _values(table, rows):
                copy.write_row(values)
        cursor.execute(
            sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT max(id) FROM {}))").format(
                table.name, name
            )
        )


def _names(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _values(table: Table, rows: Iterable[Mapping[str, object]]) -> Iterator[Sequence[object]]:
    """Rows as tuples of what both drivers take; columns that are not given get the model's default."""
    defaults = {column.name: _default(column.default) for column in table.columns}
    for row in rows:
        yield [_stored(row.get(name, default)) for name, default in defaults.items()]


def _default(default: Any) -> object:
    if default is None:
        return None
    return default.arg if default.is_scalar else {}  # the callable ones make empty objects


def _stored(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict) else value
