"""The steps of address operations run twice, and at the same moment on two workers."""

import asyncio
from typing import Any

from sqlalchemy import update

from rackhand.app import Services
from rackhand.db import utcnow
from rackhand.events.service import SYSTEM
from rackhand.ipam import operations, service
from rackhand.ipam.model import Address
from rackhand.servers import queries as servers
from rackhand.servers.model import Server
from rackhand.tasks.operation import Done, Operation, StepContext, Tools
from rackhand.users.model import User
from tests.conftest import Api, server_body
from tests.ipam.test_api import free_spans_are_right

TASK = 77


def context(services: Services, operation: Operation[Any], address_id: int) -> StepContext:
    async def nothing(*_args: object) -> None:
        pass

    return StepContext(
        tools=Tools(services.db, services.vault, services.doors, services.settings),
        task_id=TASK,
        task_uuid="",
        step="",
        attempt=1,
        params=operation.params.model_validate({"address_id": address_id}),
        deadline_at=utcnow(),
        signals={},
        memo={},
        write_memo=nothing,
        write_progress=nothing,
    )


async def requested(admin: Api, services: Services) -> tuple[Server, int]:
    """A server with an address that a task is to confirm."""
    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/ip/v3/ipnet", {"name": "192.0.2.0/29"})
    async with services.db.write() as session:
        viewer = await session.get_one(User, 1)
        server = await servers.by_id(session, 1, visible_to=viewer)
        wanted = service.Wanted(network_id=1)
        address = await service.allocate(session, server, wanted=wanted, viewer=viewer, actor=SYSTEM)
        address.task_id = TASK
    return server, address.id


async def test_allocation_may_run_each_step_twice_at_once(admin: Api, services: Services) -> None:
    server, address_id = await requested(admin, services)
    ctx = context(services, operations.ALLOCATE_ADDRESS, address_id)
    for step in operations.ALLOCATE_ADDRESS.steps:
        answers = await asyncio.gather(step.run(ctx, server), step.run(ctx, server))
        assert all(isinstance(answer, Done) for answer in answers)
    (row,) = (await admin.get("/dci/v3/ip"))["list"]
    assert (row["status"], row["is_main"]) == ("allocated", True)
    events = (await admin.get("/dci/v3/event?where=kind EQ 'ip.allocated'"))["list"]
    assert len(events) == 1
    # The undo of a task that did its work takes nothing back.
    await operations.withdraw_address(ctx, server)
    assert (await admin.get("/dci/v3/ip"))["size"] == 1


async def test_allocation_is_undone_twice_at_once(admin: Api, services: Services) -> None:
    server, address_id = await requested(admin, services)
    ctx = context(services, operations.ALLOCATE_ADDRESS, address_id)
    await asyncio.gather(operations.withdraw_address(ctx, server), operations.withdraw_address(ctx, server))
    assert (await admin.get("/dci/v3/ip"))["size"] == 0
    assert await free_spans_are_right(services)


async def test_removal_may_run_each_step_twice_at_once(admin: Api, services: Services) -> None:
    server, address_id = await requested(admin, services)
    async with services.db.write() as session:
        await session.execute(update(Address).values(status="removing"))
    ctx = context(services, operations.RELEASE_ADDRESS, address_id)
    await asyncio.gather(operations.keep_address(ctx, server), operations.keep_address(ctx, server))
    assert (await admin.get("/dci/v3/ip"))["list"][0]["status"] == "allocated"
    async with services.db.write() as session:
        await session.execute(update(Address).values(status="removing", task_id=TASK))
    for step in operations.RELEASE_ADDRESS.steps:
        answers = await asyncio.gather(step.run(ctx, server), step.run(ctx, server))
        assert all(isinstance(answer, Done) for answer in answers)
    assert (await admin.get("/dci/v3/server/1/ip"))["size"] == 0
    assert (await admin.get("/dci/v3/ip"))["list"][0]["status"] == "quarantined"
    events = (await admin.get("/dci/v3/event?where=kind EQ 'ip.removed'"))["list"]
    assert len(events) == 1
    await operations.keep_address(ctx, server)
    assert (await admin.get("/dci/v3/server/1/ip"))["size"] == 0
