"""Routes of chassis power."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.errors import Conflict
from rackhand.hardware.interfaces import PowerState
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import Body, ObjectId, TaskAck, json_response, wire_time
from rackhand.power.operations import POWER_OFF, POWER_ON, POWER_RESET, SOFT_OFF_SECONDS, PowerOff
from rackhand.power.poller import Poller
from rackhand.power.queries import outlets_of_server
from rackhand.power.service import refuse_wrong_state
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.servers.service import refuse_protected
from rackhand.tasks.api import CurrentEngine
from rackhand.users.auth import CurrentActor, CurrentUser

router = APIRouter(prefix="/dci/v3", tags=["power"], route_class=TransactionRoute)


class PowerBody(Body):
    """`soft` asks the operating system first and switches off hard after `hard_after` seconds."""

    soft: bool = Field(default=False, examples=[False])
    hard_after: int = Field(SOFT_OFF_SECONDS, ge=1, le=1800, examples=[60])


async def _poller(request: Request) -> Poller | None:
    poller: Poller | None = request.app.state.services.poller
    return poller


CurrentPoller = Annotated[Poller | None, Depends(_poller)]


async def _accept(session: AsyncSession, server: Server, wanted: PowerState, poller: Poller | None) -> None:
    """Refuse what nothing can switch and what the last reading forbids, and have it read again."""
    if server.bmc is None and not await outlets_of_server(session, server.id):
        raise Conflict(
            f"Server {server.id} has no BMC access and no outlet. Add one: POST server/{server.id}/bmc,"
            f" or POST server/{server.id}/pdu_connection."
        )
    try:
        refuse_wrong_state(server, wanted)
    except Conflict:
        if poller is not None:
            poller.read_soon(server.id)
        raise


@router.post("/server/{id}/power_on")
async def power_on(
    id: ObjectId,
    session: Session,
    user: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    poller: CurrentPoller,
    _body: Body | None = None,
) -> TaskAck:
    """Switch a server on that is off or unknown."""
    server = await queries.by_id(session, id, visible_to=user)
    await _accept(session, server, PowerState.ON, poller)
    task = await engine.enqueue(session, POWER_ON, server, actor=actor)
    return TaskAck(id=server.id, task=task.id)


@router.post("/server/{id}/power_off")
async def power_off(
    id: ObjectId,
    session: Session,
    user: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    poller: CurrentPoller,
    body: PowerBody | None = None,
) -> TaskAck:
    """Switch a server off that is on: at once, or softly first."""
    server = await queries.by_id(session, id, visible_to=user)
    refuse_protected(server, "power off")
    await _accept(session, server, PowerState.OFF, poller)
    params = PowerOff.model_validate((body or PowerBody()).model_dump())
    task = await engine.enqueue(session, POWER_OFF, server, actor=actor, params=params)
    return TaskAck(id=server.id, task=task.id)


@router.post("/server/{id}/power_reset")
async def power_reset(
    id: ObjectId,
    session: Session,
    user: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: PowerBody | None = None,
) -> TaskAck:
    """Switch a server off and on again; one that is off is switched on."""
    server = await queries.by_id(session, id, visible_to=user)
    refuse_protected(server, "reset")
    await _accept(session, server, PowerState.UNKNOWN, None)
    params = PowerOff.model_validate((body or PowerBody()).model_dump())
    task = await engine.enqueue(session, POWER_RESET, server, actor=actor, params=params)
    return TaskAck(id=server.id, task=task.id)


@router.get("/server/{id}/power", response_model=dict[str, Any])
async def get_power(id: ObjectId, session: Session, user: CurrentUser, poller: CurrentPoller) -> Response:
    """Show the last reading of the power state and have it read again now."""
    server = await queries.by_id(session, id, visible_to=user)
    if poller is not None:
        poller.read_soon(server.id)
    return json_response(
        {
            "id": server.id,
            "power_status": server.power_state,
            "power_status_at": wire_time(server.power_state_at),
            "power_status_info": server.power_error or "",
            "power_unreachable_since": wire_time(server.power_error_at),
        }
    )
