"""Giving addresses to servers and taking them away: the whole of a call, with the task that it is answered with.

An address is the server's, or is not, in the transaction of the request; the task tells the world of it. Where there is
nobody to tell it is written down as finished.
"""

from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.events.service import Actor
from rackhand.ipam import service
from rackhand.ipam.service import Wanted
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.tasks.engine import Engine
from rackhand.tasks.operation import Done, Operation, Step, StepContext
from rackhand.users.model import User

DEFAULT_QUARANTINE_HOURS = 24


class AllocateAddress(BaseModel):
    """Which address, and whether the operating system is to be installed with it."""

    address_id: int
    make_main: bool = False


class ReleaseAddress(BaseModel):
    """Which address, and for how long nobody else gets it."""

    address_id: int
    quarantine_hours: int = Field(DEFAULT_QUARANTINE_HOURS, ge=0)


async def allocate_address(_ctx: StepContext, _server: Server) -> Done:
    """Taken by the transaction of the request."""
    return Done()


async def release_address(_ctx: StepContext, _server: Server) -> Done:
    """Taken by the transaction of the request."""
    return Done()


ALLOCATE_ADDRESS = Operation(
    name="allocate_ip",
    title="Allocation of an address",
    subject_kind="server",
    load=queries.for_task,
    params=AllocateAddress,
    steps=(Step(allocate_address),),
)
RELEASE_ADDRESS = Operation(
    name="release_ip",
    title="Removal of an address",
    subject_kind="server",
    load=queries.for_task,
    params=ReleaseAddress,
    steps=(Step(release_address),),
)
OPERATIONS = (ALLOCATE_ADDRESS, RELEASE_ADDRESS)


@dataclass(frozen=True)
class Answer:
    """The address that a call was about, and the task."""

    address_id: int
    task_id: int


async def request_allocation(
    session: AsyncSession,
    engine: Engine,
    server_id: int,
    *,
    wanted: Wanted,
    make_main: bool = False,
    viewer: User,
    actor: Actor,
) -> Answer:
    """Give a server an address. Locks the server, then the network; of many at once none gets what another got."""
    server = await service.held_server(session, server_id, visible_to=viewer)
    address = await service.allocate(session, server, wanted=wanted, make_main=make_main, viewer=viewer)
    task_id = await engine.complete(
        session,
        ALLOCATE_ADDRESS,
        server,
        actor=actor,
        params=AllocateAddress(address_id=address.id, make_main=make_main),
        done=[address.name],
        events=service.told_of_allocation(address, server, actor),
    )
    return Answer(address.id, task_id)


async def request_release(
    session: AsyncSession,
    engine: Engine,
    server_id: int,
    address_id: int,
    *,
    quarantine_hours: int = DEFAULT_QUARANTINE_HOURS,
    viewer: User,
    actor: Actor,
) -> Answer:
    """Take an address from a server. Nobody else gets it for *quarantine_hours*."""
    server = await service.held_server(session, server_id, visible_to=viewer)
    quarantine = timedelta(hours=quarantine_hours)
    address = await service.release(session, server, address_id, quarantine=quarantine)
    task_id = await engine.complete(
        session,
        RELEASE_ADDRESS,
        server,
        actor=actor,
        params=ReleaseAddress(address_id=address_id, quarantine_hours=quarantine_hours),
        done=[address.name],
        events=service.told_of_release(address, server, actor),
    )
    return Answer(address_id, task_id)
