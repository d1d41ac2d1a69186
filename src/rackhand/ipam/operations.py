"""Giving addresses to servers and taking them away, as tasks: what the world has to be told about one is a step here.

The row of the address is made, or marked, in the transaction of the request; the task confirms it or takes it back.
"""

from datetime import timedelta

from pydantic import BaseModel, Field

from rackhand.ipam import service
from rackhand.ipam.model import AddressStatus
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.tasks.operation import Done, Operation, Step, StepContext, StepFailed

DEFAULT_QUARANTINE_HOURS = 24


class AllocateAddress(BaseModel):
    """Which address, and whether the operating system is to be installed with it."""

    address_id: int
    make_main: bool = False


class ReleaseAddress(BaseModel):
    """Which address, and for how long nobody else gets it."""

    address_id: int
    quarantine_hours: int = Field(DEFAULT_QUARANTINE_HOURS, ge=0)


async def hold_address(ctx: StepContext, server: Server) -> Done:
    """See that the address is the server's. Changes nothing."""
    params = AllocateAddress.model_validate(ctx.params.model_dump())
    async with ctx.tools.db.write() as session:
        address = await service.locked_address(session, params.address_id)
    if address is None or address.server_id != server.id:
        raise StepFailed(f"Address {params.address_id} was taken away from server {server.id} meanwhile.")
    return Done(address.name)


async def withdraw_address(ctx: StepContext, _server: Server) -> None:
    """Make the address free again. Safe to repeat."""
    async with ctx.tools.db.write() as session:
        await service.withdraw(session, ctx.params.address_id, task_id=ctx.task_id)


async def confirm_address(ctx: StepContext, _server: Server) -> Done:
    """Turn the address to allocated. Safe to repeat."""
    params = AllocateAddress.model_validate(ctx.params.model_dump())
    async with ctx.tools.db.write() as session:
        is_new = await service.confirm(
            session, params.address_id, task_id=ctx.task_id, make_main=params.make_main
        )
    return Done("" if is_new else f"already {AddressStatus.ALLOCATED}")


async def mark_address(ctx: StepContext, server: Server) -> Done:
    """See that the address is still being removed from the server. Changes nothing."""
    params = ReleaseAddress.model_validate(ctx.params.model_dump())
    async with ctx.tools.db.write() as session:
        address = await service.locked_address(session, params.address_id)
    if address is None or address.server_id != server.id:
        return Done("already removed")
    return Done(address.name)


async def keep_address(ctx: StepContext, _server: Server) -> None:
    """Leave the address with the server after all. Safe to repeat."""
    async with ctx.tools.db.write() as session:
        await service.keep(session, ctx.params.address_id, task_id=ctx.task_id)


async def release_address(ctx: StepContext, _server: Server) -> Done:
    """Take the address from the server, into quarantine. Safe to repeat; the taking has no undo."""
    params = ReleaseAddress.model_validate(ctx.params.model_dump())
    async with ctx.tools.db.write() as session:
        is_new = await service.release(
            session,
            params.address_id,
            task_id=ctx.task_id,
            quarantine=timedelta(hours=params.quarantine_hours),
        )
    return Done("" if is_new else "already removed")


ALLOCATE_ADDRESS = Operation(
    name="allocate_ip",
    title="Allocation of an address",
    subject_kind="server",
    load=queries.for_task,
    params=AllocateAddress,
    steps=(
        Step(hold_address, undo=withdraw_address),
        Step(confirm_address, cancellable=False),
    ),
)
RELEASE_ADDRESS = Operation(
    name="release_ip",
    title="Removal of an address",
    subject_kind="server",
    load=queries.for_task,
    params=ReleaseAddress,
    steps=(
        Step(mark_address, undo=keep_address),
        Step(release_address, cancellable=False),
    ),
)
OPERATIONS = (ALLOCATE_ADDRESS, RELEASE_ADDRESS)
