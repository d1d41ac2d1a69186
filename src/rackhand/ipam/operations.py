"""Giving addresses to servers, taking them away, and naming them: the whole of a call, with its task.

An address is the server's, or is not, in the transaction of the request; its task tells the name server. Where there is
none to be told the task is written down as finished.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.errors import Busy
from rackhand.events.service import Actor, record_all
from rackhand.ipam import dns, dns_sync, service
from rackhand.ipam.model import Address
from rackhand.ipam.service import Wanted
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.tasks.engine import Engine
from rackhand.tasks.operation import Done, Operation, Step, StepContext
from rackhand.users.model import User

DEFAULT_QUARANTINE_HOURS = 24
NOBODY = "no zone holds this address, or it has no name"


class AllocateAddress(BaseModel):
    """Which address, whether the operating system is to be installed with it, and the reverse name that is wanted."""

    address_id: int
    make_main: bool = False
    ptr_record_id: int | None = None


class ReleaseAddress(BaseModel):
    """Which address, for how long nobody else gets it, and the reverse name that is to go."""

    address_id: int
    quarantine_hours: int = Field(DEFAULT_QUARANTINE_HOURS, ge=0)
    ptr_record_id: int | None = None


class NameAddress(BaseModel):
    """Which address, and the reverse name that is wanted."""

    address_id: int
    ptr_record_id: int


async def allocate_address(_ctx: StepContext, _server: Server) -> Done:
    """Taken in the transaction of the request, so never called."""
    return Done()


async def release_address(_ctx: StepContext, _server: Server) -> Done:
    """Taken in the transaction of the request, so never called."""
    return Done()


async def tell_name_server(ctx: StepContext, _server: Server) -> Done:
    """Have the name server say what is wanted: look, act, read back. Safe to repeat.

    A name server that does not follow fails nobody's allocation: that is shown on the address, and the sweep goes on.
    """
    return Done(await dns_sync.follow(ctx.tools, ctx.params.ptr_record_id, holder=ctx.task_uuid))


ALLOCATE_ADDRESS = Operation(
    name="allocate_ip",
    title="Allocation of an address",
    subject_kind="server",
    load=queries.for_task,
    params=AllocateAddress,
    steps=(Step(allocate_address), Step(tell_name_server)),
)
RELEASE_ADDRESS = Operation(
    name="release_ip",
    title="Removal of an address",
    subject_kind="server",
    load=queries.for_task,
    params=ReleaseAddress,
    steps=(Step(release_address), Step(tell_name_server)),
)
NAME_ADDRESS = Operation(
    name="set_ptr",
    title="Reverse name of an address",
    subject_kind="server",
    load=queries.for_task,
    params=NameAddress,
    steps=(Step(tell_name_server),),
)
OPERATIONS = (ALLOCATE_ADDRESS, RELEASE_ADDRESS, NAME_ADDRESS)


@dataclass(frozen=True)
class Answer:
    """The address that a call was about, and the task where there is one."""

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
    record_id = None
    if address.domain and service.is_single(address):
        record_id = await dns.want(
            session, userspace_id=address.userspace_id, key=address.key, target=address.domain, by_task=True
        )
    params = AllocateAddress(address_id=address.id, make_main=make_main, ptr_record_id=record_id)
    events = service.told_of_allocation(address, server, actor)
    task_id = await _begin(
        session,
        engine,
        ALLOCATE_ADDRESS,
        server,
        params=params,
        actor=actor,
        done=address.name,
        events=events,
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
    record_id = None
    if address.had_name:
        record_id = await dns.want(
            session, userspace_id=address.userspace_id, key=address.key, target="", by_task=True
        )
    params = ReleaseAddress(address_id=address_id, quarantine_hours=quarantine_hours, ptr_record_id=record_id)
    events = service.told_of_release(address, server, actor)
    task_id = await _begin(
        session, engine, RELEASE_ADDRESS, server, params=params, actor=actor, done=address.name, events=events
    )
    return Answer(address_id, task_id)


async def _begin(
    session: AsyncSession,
    engine: Engine,
    operation: Operation[Server],
    server: Server,
    *,
    params: AllocateAddress | ReleaseAddress,
    actor: Actor,
    done: str,
    events: Sequence[Mapping[str, object]],
) -> int:
    """Write the task down: as one that goes on when a name server is to be told, else as finished."""
    if params.ptr_record_id is None:
        return await engine.complete(
            session, operation, server, actor=actor, params=params, done=[done, NOBODY], events=events
        )
    task = await engine.enqueue(session, operation, server, actor=actor, params=params, done=[done])
    await record_all(session, [{**event, "task_id": task.id} for event in events])
    return task.id


async def request_edit(
    session: AsyncSession, engine: Engine, address: Address, values: Mapping[str, Any], *, actor: Actor
) -> int | None:
    """Change domain, reverse name or note of an address; the number of the task that tells the name server, if any.

    An address of a server that a task holds, or of none, is told of by the sweep.
    """
    server = await service.lock_owner(session, address)
    await service.edit_address(session, address, values, actor=actor)
    if not {"domain", "ptr"} & values.keys():
        return None
    record_id = await dns.want_for(session, address, by_task=True)
    if record_id is None:
        return None
    if server is not None:
        try:
            params = NameAddress(address_id=address.id, ptr_record_id=record_id)
            task = await engine.enqueue(session, NAME_ADDRESS, server, actor=actor, params=params)
        except Busy:
            pass
        else:
            return task.id
    await dns.leave_to_sweep(session, record_id)
    return None
