"""Whatever is asked, the answer is JSON and none of the 500s.

`RACKHAND_FUZZ_EXAMPLES` is the number of requests of a run, `RACKHAND_FUZZ_SEED` picks other ones:

    RACKHAND_FUZZ_EXAMPLES=100000 RACKHAND_FUZZ_SEED=7 python -m pytest tests/fuzz --timeout=0
"""

import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given
from hypothesis import settings as run_settings
from hypothesis.errors import Unsatisfiable

from rackhand.app import Services, create_app, open_services
from rackhand.events.service import SYSTEM
from rackhand.servers import service as servers
from rackhand.settings import Settings
from rackhand.users import service as users
from rackhand.users import tokens
from rackhand.users.model import Role
from tests.conftest import ADMIN, PASSWORD, Api, server_body
from tests.fuzz.requests import Fuzzer

EXAMPLES = int(os.environ.get("RACKHAND_FUZZ_EXAMPLES", "1500"))
SEED = int(os.environ.get("RACKHAND_FUZZ_SEED", "1"))


def check(request: object, answer: httpx.Response) -> None:
    """JSON, the envelope, and no 5xx: a 503 would hide an error of ours behind the database."""
    assert answer.status_code < 500, f"{answer.status_code} to {request}\n{answer.text}"
    if answer.is_redirect or answer.request.method == "HEAD":
        return
    if answer.is_success and answer.headers.get("content-disposition", "").startswith("attachment"):
        return  # an export as CSV
    assert answer.headers["content-type"] == "application/json", f"{answer.headers} to {request}"
    body = answer.json()
    if answer.is_success:
        assert isinstance(body, dict), f"{body!r} to {request}"
    else:
        assert set(body) == {"error"}, f"{body!r} to {request}"
        assert type(body["error"]["code"]) is int, f"{body!r} to {request}"
        assert body["error"]["msg"], f"{body!r} to {request}"


class Callers:
    """An administrator and a user whose tokens come back when a request has ended them."""

    def __init__(self, services: Services, http: httpx.AsyncClient) -> None:
        self.services = services
        self.http = http
        self._tokens: dict[str, str] = {}

    async def prepare(self) -> None:
        """Fill the database a little; tasks are not run, so nothing of this is ever called."""
        async with self.services.db.write() as session:
            await users.create_user(session, email=ADMIN, password=PASSWORD, role=Role.ADMIN, actor=SYSTEM)
            await users.create_user(
                session, email="user@example.com", password=PASSWORD, role=Role.USER, actor=SYSTEM
            )
            await servers.add_location(session, name="ams1", notes="", actor=SYSTEM)
        admin = Api(self.http, await self.token("admin"))
        await admin.post("/dci/v3/rack", {"name": "A-01"})
        bmc = {"driver": "ipmi", "host": "192.0.2.1"}
        for number in (1, 2):
            await admin.post(
                "/dci/v3/server", server_body(number, bmc={**bmc, "port": number}, rack=1, unit=number)
            )
        await admin.post("/ip/v3/ipnet", {"name": "192.0.2.0/24", "gateway": "192.0.2.1"})
        await admin.post("/ip/v3/ippool", {"name": "public"})
        await admin.post("/ip/v3/ippool/1/range", {"name": "192.0.2.10-192.0.2.20"})
        await admin.post("/dci/v3/server/2/ip", {"ip_pool": 1})
        await admin.post("/dci/v3/server/1/owner", {"owner": 2})
        await admin.post("/dci/v3/server/1/power_on")

    async def token(self, name: str) -> str:
        """The token of a caller, a new one if it has none."""
        if name not in self._tokens:
            async with self.services.db.write() as session:
                user = await self._user(session, name)
                issued = await tokens.create_api_token(
                    session, user, expires_at=None, description="", address=""
                )
            self._tokens[name] = issued.token
        return self._tokens[name]

    async def _user(self, session: Any, name: str) -> Any:
        from sqlalchemy import select

        from rackhand.users.model import AccountState, User

        role = Role.ADMIN if name == "admin" else Role.USER
        query = (
            select(User)
            .where(User.role == role, User.state == AccountState.ACTIVE)
            .order_by(User.id)
            .limit(1)
        )
        found = (await session.scalars(query)).one_or_none()
        if found is None:
            email = f"{role.value[1:]}-{len(self._tokens)}-{id(session)}@example.net"
            found = await users.create_user(session, email=email, password=PASSWORD, role=role, actor=SYSTEM)
        return found

    async def send(
        self, caller: str, method: str, path: str, body: str | bytes | None, headers: dict[str, str]
    ) -> httpx.Response:
        """Send a request as one of them."""
        sent = {name: value.encode("latin-1", "replace") for name, value in headers.items()}
        if caller != "nobody":
            sent["x-xsrf-token"] = (await self.token(caller)).encode()
        encoded = [(name.encode(), value) for name, value in sent.items()]
        answer = await self.http.request(method, path, content=body, headers=encoded)
        if answer.status_code == 401:
            self._tokens.pop(caller, None)
        return answer


@pytest.fixture
async def callers(settings: Settings) -> AsyncIterator[Callers]:
    async with open_services(settings, runs_tasks=False, polls=False) as services:
        transport = httpx.ASGITransport(create_app(services), client=("192.0.2.10", 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://rackhand.example.com") as http:
            made = Callers(services, http)
            await made.prepare()
            yield made


async def test_no_request_of_ours_crashes(callers: Callers) -> None:
    fuzzer = Fuzzer.of(create_app(callers.services), SEED)
    seen: Counter[int] = Counter()
    failures: dict[str, str] = {}
    for _ in range(EXAMPLES // 3):
        request = fuzzer.request()
        answer = await callers.send(
            request.caller, request.method, request.path, request.body, dict(request.headers)
        )
        seen[answer.status_code] += 1
        try:
            check(request, answer)
            if answer.is_success and request.method == "POST":
                fuzzer.note(answer.json())
        except AssertionError as error:
            failures.setdefault(
                f"{answer.status_code} {request.method} {request.path.split('?')[0]}", str(error)
            )
    assert not failures, f"{len(failures)} kinds, the answers were {seen}\n" + "\n\n".join(failures.values())
    assert 20 * seen[200] > seen.total(), f"too little gets through to find anything: {seen}"


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


def test_no_request_made_of_the_description_crashes(portal: BlockingPortal, tmp_path: Path) -> None:
    """Schemathesis makes bodies that fit the description, and bodies that just do not."""
    opened = open_services(Settings(data=tmp_path / "data"), runs_tasks=False, polls=False)
    with portal.wrap_async_context_manager(opened) as services:
        app = create_app(services)
        transport = httpx.ASGITransport(app, client=("192.0.2.10", 40000))
        callers = Callers(
            services, httpx.AsyncClient(transport=transport, base_url="http://rackhand.example.com")
        )
        portal.call(callers.prepare)
        schema = schemathesis.openapi.from_dict(app.openapi())
        found: list[Any] = list(schema.get_all_operations())
        operations = [each.ok() for each in found if not each.ok().path.endswith("/stream")]
        each_time = max(1, EXAMPLES // 3 // len(operations) // 2)
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                _send_many(portal, callers, operation, mode, each_time)
        portal.call(callers.http.aclose)


def _send_many(portal: BlockingPortal, callers: Callers, operation: Any, mode: Any, count: int) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @run_settings(
        max_examples=count, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def send(case: Any) -> None:
        given = case.as_transport_kwargs(base_url="http://rackhand.example.com")
        request = httpx.Request(
            given["method"], given["url"], params=given.get("params"), json=given.get("json")
        )
        path = request.url.raw_path.decode("ascii")
        body = request.content or None
        answer = portal.call(callers.send, "admin", given["method"], path, body, {})
        check(case.as_curl_command(), answer)

    with contextlib.suppress(Unsatisfiable):  # a call that takes nothing has no wrong form
        send()
