"""The route by which a server is taken back from its owner."""

from typing import Any

from fastapi import APIRouter, Response

from rackhand.deploy.release import RELEASE, wanted_clearing
from rackhand.deploy.wipe_disks import Clear, ClearDisks
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import ObjectId, json_response
from rackhand.servers import queries, service
from rackhand.tasks.api import CurrentEngine
from rackhand.users.auth import Admin, CurrentActor

router = APIRouter(prefix="/dci/v3", tags=["servers"], route_class=TransactionRoute)


@router.delete("/server/{id}/owner", response_model=dict[str, Any])
async def take_owner(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, engine: CurrentEngine
) -> Response:
    """Release a server: the owner is off at once. `task` is there when its disks are wiped now (docs/release.md)."""
    server = await queries.by_id(session, id, visible_to=admin)
    if server.owner_id is None:
        return json_response({"id": server.id})
    clearing = await wanted_clearing(session, server)
    await service.take_owner(session, server, actor=actor)
    if clearing is Clear.NONE:
        return json_response({"id": server.id})
    task = await engine.enqueue(session, RELEASE, server, actor=actor, params=ClearDisks(clear=clearing))
    return json_response({"id": server.id, "task": task.id})
