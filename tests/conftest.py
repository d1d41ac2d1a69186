"""What every test can ask for: both databases, the composed product, a client that signs in."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from rackhand.app import Services, create_app, open_services
from rackhand.events.service import SYSTEM
from rackhand.servers import service as servers
from rackhand.settings import Settings
from rackhand.users import service as users
from rackhand.users.model import Role
from tests.postgres import Postgres, running_postgres

ADMIN = "operator@example.com"
PASSWORD = "correct horse"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the whole run."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Databases with their tables and nothing in them: making those takes most of the time of a short test."""
    settings = Settings(data=tmp_path_factory.mktemp("made"), boot_listen="")
    asyncio.run(_make_tables(settings))
    return sorted(settings.data.glob("*.db*"))


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same on PostgreSQL."""
    url = postgres.new_database()
    settings = Settings(data=tmp_path_factory.mktemp("made"), database_url=url, boot_listen="")
    asyncio.run(_make_tables(settings))
    return url


async def _make_tables(settings: Settings) -> None:
    async with open_services(settings, polls=False):
        pass


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Empty for a SQLite file in the data directory, else a fresh PostgreSQL database."""
    if request.param == "sqlite":
        yield ""
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.new_database(template=request.getfixturevalue("postgres_template"))
    yield url
    server.drop_database(url)


@pytest.fixture
def settings(tmp_path: Path, database_url: str, request: pytest.FixtureRequest) -> Settings:
    data = tmp_path / "data"
    data.mkdir()
    if not database_url:
        for file in request.getfixturevalue("sqlite_files"):
            shutil.copy(file, data)
    return Settings(data=data, database_url=database_url)


@pytest.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    """The product without a poller: tests say themselves when power states are read."""
    async with open_services(settings, polls=False) as opened:
        yield opened


@dataclass
class Api:
    """A client as a billing system writes one: JSON text without a content type, token in a header."""

    http: httpx.AsyncClient
    token: str | None = None

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Send a request; *body* is JSON, or text that is sent as it is."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            sent.setdefault("x-xsrf-token", self.token)
        content = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        return await self.http.request(method, path, content=content, headers=sent)

    async def get(self, path: str, **headers: str) -> Any:
        """GET that succeeds; its JSON."""
        return _json(await self.call("GET", path, **headers))

    async def post(self, path: str, body: object = None, **headers: str) -> Any:
        """POST that succeeds; its JSON."""
        return _json(await self.call("POST", path, {} if body is None else body, **headers))

    async def delete(self, path: str, **headers: str) -> Any:
        """DELETE that succeeds; its JSON."""
        return _json(await self.call("DELETE", path, **headers))

    async def refused(self, status: int, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Call that is refused with *status*; the error object."""
        response = await self.call(method, path, body, **headers)
        assert response.status_code == status, (response.status_code, response.text)
        return response.json()["error"]

    def with_token(self, token: str | None) -> "Api":
        """The same server as somebody else."""
        return Api(self.http, token)

    async def sign_in(self, email: str, password: str = PASSWORD) -> "Api":
        """The same server as *email*."""
        answer = await Api(self.http).post(
            "/api/auth/v4/public/token", {"email": email, "password": password}
        )
        return self.with_token(answer["token"])

    async def finished(self, task_id: int, *, timeout: float = 20.0) -> Any:
        """Poll a task as billing systems do, until it is over."""
        for _ in range(int(timeout / 0.1)):
            task = await self.get(f"/dci/v3/task/{task_id}")
            if task["finished_at"] is not None:
                return task
            await asyncio.sleep(0.1)
        raise AssertionError(f"task {task_id} is still {task['state']}: {task}")


def _json(response: httpx.Response) -> Any:
    assert response.is_success, (
        response.request.method,
        str(response.request.url),
        response.status_code,
        response.text,
    )
    assert response.headers["content-type"] == "application/json"
    return response.json()


@pytest.fixture
async def anonymous(services: Services) -> AsyncIterator[Api]:
    """A client that is not signed in."""
    transport = httpx.ASGITransport(create_app(services), client=("192.0.2.10", 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://rackhand.example.com") as http:
        yield Api(http)


@pytest.fixture
async def admin(services: Services, anonymous: Api) -> Api:
    """An administrator, on a database with one location."""
    async with services.db.write() as session:
        await users.create_user(session, email=ADMIN, password=PASSWORD, role=Role.ADMIN, actor=SYSTEM)
        await servers.add_location(session, name="ams1", notes="", actor=SYSTEM)
    return await anonymous.sign_in(ADMIN)


@pytest.fixture
async def customer(admin: Api) -> Api:
    """A user who rents nothing yet."""
    body = {"email": "customer@example.com", "password": PASSWORD, "role": "@user"}
    await admin.post("/dci/v3/user", body)
    return await admin.sign_in("customer@example.com")


@contextlib.contextmanager
def statements(services: Services) -> Iterator[list[str]]:
    """Give the list that all queries of this task go to; what loops in the background ask is not among them."""
    seen: list[str] = []
    task = asyncio.current_task()

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if asyncio.current_task() is task and statement.lstrip().upper().startswith(("SELECT", "WITH")):
            seen.append(statement)

    engine = services.db.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def server_body(number: int, **changes: Any) -> dict[str, Any]:
    """A server in service; *number* makes its names and addresses unique."""
    return {
        "name": f"srv-{number}",
        "configuration": "E-2146G-64Gb-2x1024NVMe",
        "is_new": False,
        "nics": [{"mac": f"00:00:5e:00:53:{number:02x}"}],
        **changes,
    }
