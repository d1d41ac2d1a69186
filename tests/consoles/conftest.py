"""A rack with a running machine behind the product, and viewers of its console."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from rackhand.app import Services
from rackhand.cli.demo import bmc_access
from rackhand.events.service import SYSTEM
from rackhand.servers import service
from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import RackThread
from tests.conftest import Api
from tests.events.test_stream import running

PATIENCE = 20.0
IPMI, REDFISH, BARE = 1, 2, 3  # numbers of servers


@pytest.fixture(scope="package")
def shared_rack() -> Iterator[RackThread]:
    with RackThread(demo_rack(2, time_scale=600)) as rack:
        yield rack


@pytest.fixture
def rack(shared_rack: RackThread) -> RackThread:
    """All machines run."""
    shared_rack.control.reset()
    for machine in shared_rack.config.machines:
        shared_rack.control.press_power_button(machine.name)
        shared_rack.control.wait_for(machine.name, lambda machine: machine.phase == "running")
    return shared_rack


@dataclass
class Viewer:
    """Somebody who looks at a console: everything seen so far, and the last of each kind of message."""

    response: httpx.Response
    lines: AsyncIterator[str]
    seen: bytes = b""
    last_id: str = ""
    last: dict[str, Any] = field(default_factory=dict)

    async def next_message(self) -> str:
        """The kind of the next message; remarks are skipped."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self.lines:
                if not line and fields:
                    break
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
        kind = fields.get("event", "")
        if kind == "output":
            self.last_id = fields["id"]
            self.seen += base64.b64decode(fields["data"])
        elif kind:
            self.last[kind] = json.loads(fields["data"])
            self.seen = b"" if kind == "reset" else self.seen
        return kind

    async def until(self, words: bytes) -> bytes:
        """Everything up to *words*, which must come."""
        while words not in self.seen:
            assert await self.next_message(), (words, self.seen, self.last)
        before, _, self.seen = self.seen.partition(words)
        return before + words

    async def until_open(self) -> "Viewer":
        while self.last.get("state", {}).get("state") != "open":
            assert await self.next_message() not in {"end", ""}, self.last
        return self

    async def until_end(self) -> dict[str, Any]:
        while (kind := await self.next_message()) != "end":
            assert kind, "the stream ended without a word"
        end: dict[str, Any] = self.last["end"]
        return end


@dataclass
class Racked:
    """The product on a port, in front of the rack; server 3 has no BMC."""

    rack: RackThread
    url: str
    admin: Api
    services: Services
    begin: int  # number of the rack's last event before the test

    @asynccontextmanager
    async def viewer(
        self, who: Api | None = None, server: int = IPMI, last_id: str = ""
    ) -> AsyncIterator[Viewer]:
        sent = {"x-xsrf-token": str((who or self.admin).token), "last-event-id": last_id}
        path = f"{self.url}/api/dci/v3/server/{server}/console/stream"
        async with (
            httpx.AsyncClient(timeout=PATIENCE) as http,
            http.stream("GET", path, headers=sent) as response,
        ):
            assert response.status_code == 200, (response.status_code, await response.aread())
            yield Viewer(response, response.aiter_lines())

    async def type(self, text: str, who: Api | None = None, server: int = IPMI) -> Any:
        data = base64.b64encode(text.encode()).decode()
        return await (who or self.admin).post(f"/dci/v3/server/{server}/console/input", {"data": data})

    async def log_in(self, viewer: Viewer, who: Api | None = None) -> None:
        await self.type("\r", who)
        await viewer.until(b"login: ")
        await self.type("root\r", who)
        await viewer.until(b"Password: ")
        await self.type("secret\r", who)
        await viewer.until(b":~# ")

    def logged(self, action: str) -> int:
        name = self.rack.config.machines[0].name
        return sum(event.action == action for event in self.rack.control.log(after=self.begin, device=name))


@pytest.fixture
async def racked(rack: RackThread, services: Services, admin: Api) -> AsyncIterator[Racked]:
    async with services.db.write() as session:
        for machine in (*rack.config.machines, None):
            name = "bare" if machine is None else machine.name
            values = {"name": name, "configuration": "x-64Gb-1x960SSD", "is_new": False}
            bmc = None if machine is None else bmc_access(machine)
            await service.add_server(session, values=values, bmc=bmc, vault=services.vault, actor=SYSTEM)
    async with running(services) as (url, _server):
        yield Racked(rack, url, admin, services, rack.control.last_event())


@pytest.fixture
async def owned(racked: Racked, customer: Api) -> Racked:
    """The same; server 1 is rented by the customer."""
    await racked.admin.post("/dci/v3/server/1/owner", {"owner": 2})
    return racked
