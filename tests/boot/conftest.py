"""The boot listener over a real database, and a task that goes forward for as long as a test wants."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest

from rackhand.app import Services, serve_boot
from rackhand.boot import agents, reservations
from rackhand.boot.model import AgentCommand
from rackhand.boot.reservations import Image
from rackhand.db import utcnow
from rackhand.events.service import SYSTEM
from rackhand.servers import queries, service
from rackhand.servers.model import Server
from rackhand.settings import Settings
from rackhand.tasks.model import Task, TaskStatus, TaskStep
from tests.conftest import Api

MACS = ("00:00:5e:00:53:01", "00:00:5e:00:53:02")
STRANGER = "00:00:5e:00:53:aa"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"boot_listen": "127.0.0.1:0"})


@dataclass
class Booting:
    """The listener as machines see it, and the database behind it."""

    http: httpx.AsyncClient
    services: Services
    url: str
    tokens: list[str] = field(default_factory=list)

    async def add_task(self, server_id: int = 1) -> int:
        """A task that is waiting; no worker walks it."""
        async with self.services.db.write() as session:
            task = Task(
                uuid=f"task-{utcnow().isoformat()}", name="operation_diag", params={}, subject_kind="server",
                subject_id=server_id, subject_name="srv-1", status=TaskStatus.WAITING, created_at=utcnow(),
                executor_id="elsewhere", memo={}, signals={}, steps=[TaskStep(position=0, name="wipe_disks")],
            )  # fmt: skip
            session.add(task)
            await session.flush()
            return task.id

    async def set_task(self, task_id: int, **values: Any) -> None:
        async with self.services.db.write() as session:
            task = await session.get_one(Task, task_id)
            for name, value in values.items():
                setattr(task, name, value)

    async def reserve(self, task_id: int, *, seconds: float = 3600) -> None:
        async with self.services.db.write() as session:
            server = await session.get_one(Server, 1)
            until = utcnow() + timedelta(seconds=seconds)
            await reservations.reserve(
                session, server, task_id=task_id, image=Image.RAMDISK, expires_at=until
            )

    async def release(self, task_id: int) -> None:
        async with self.services.db.write() as session:
            await reservations.release(session, task_id)

    async def script(self, mac: str = MACS[0], **more: str) -> str:
        answer = await self.http.get("/boot/ipxe", params={"mac": mac, "arch": "x86_64", **more})
        assert answer.status_code == 200, answer.text
        assert answer.text.startswith("#!ipxe\n")
        return answer.text

    async def nonce(self, mac: str = MACS[0]) -> str:
        """Boot: the nonce of a fresh script."""
        words = (await self.script(mac)).split()
        return next(word.partition("=")[2] for word in words if word.startswith("rackhand.nonce="))

    async def hello(
        self, nonce: str, *, boot_id: str = "boot-1", macs: tuple[str, ...] = MACS
    ) -> httpx.Response:
        body = {
            "protocol": 1,
            "nonce": nonce,
            "boot_id": boot_id,
            "macs": list(macs),
            "serial": "S1",
            "uuid": "u",
        }
        return await self.http.post("/boot/agent/hello", json=body)

    async def agent(self, *, boot_id: str = "boot-1") -> str:
        """An agent that was let in; its token."""
        answer = await self.hello(await self.nonce(), boot_id=boot_id)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        return token

    async def call(self, token: str, verb: str, body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return await self.http.post(f"/boot/agent/{verb}", json=body, headers=headers)

    async def ask(self, task_id: int, kind: str = "inventory", *, attempt: int = 1) -> str:
        """Queue a command as a step does."""
        async with self.services.db.write() as session:
            await agents.ask(session, task_id, "wipe_disks", kind, {"level": "full"}, attempt=attempt)
        return f"{task_id}.wipe_disks.{attempt}"

    async def command(self, command_id: str) -> AgentCommand:
        async with self.services.db.read() as session:
            return await session.get_one(AgentCommand, command_id)


@pytest.fixture
async def booting(services: Services, admin: Api) -> AsyncIterator[Booting]:
    """Server 1 has two network interfaces."""
    async with services.db.write() as session:
        nics = [{"mac": mac, "name": f"eth{number}"} for number, mac in enumerate(MACS)]
        values = {"name": "srv-1", "is_new": False}
        await service.add_server(session, values=values, nics=nics, vault=services.vault, actor=SYSTEM)
        assert await queries.for_task(session, 1) is not None
    async with serve_boot(services) as url:
        assert url is not None
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
            yield Booting(http, services, url)
        await asyncio.sleep(0)
