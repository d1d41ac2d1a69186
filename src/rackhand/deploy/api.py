"""Routes of operations on whole servers."""

from fastapi import APIRouter

from rackhand.deploy.diagnose import DIAGNOSE, Diagnose
from rackhand.deploy.schemas import DiagBody
from rackhand.errors import Conflict, Invalid, NotFound
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import ObjectId, TaskAck
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.servers.service import refuse_protected
from rackhand.tasks.api import CurrentEngine
from rackhand.users.auth import Admin, CurrentActor

router = APIRouter(prefix="/dci/v3", tags=["operations"], route_class=TransactionRoute)


def _refuse_unbootable(server: Server) -> None:
    """Refuse what no network boot can be tried on."""
    if server.bmc is None:
        raise Conflict(f"Server {server.id} has no BMC access. Add one: POST server/{server.id}/bmc.")
    if not server.nics:
        raise Conflict(
            f"Server {server.id} has no network interface, so nobody would know it when it boots."
            f" Add one: POST server/{server.id}/nic."
        )


@router.post("/server/{id}/operation_diag")
async def operation_diag(
    id: ObjectId,
    session: Session,
    admin: Admin,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: DiagBody | None = None,
) -> TaskAck:
    """Boot a server into the diagnostics image and see what is in it; it is switched off and on for that."""
    asked = body or DiagBody()
    server = await queries.by_id(session, id, visible_to=admin)
    refuse_protected(server, "diagnostics")
    if asked.os_template_id:
        raise NotFound(f"There is no diagnostics template {asked.os_template_id}; 0 is the built-in one.")
    if asked.setup_ipmi or asked.clear_hdd != "none":
        raise Invalid("setup_ipmi and clear_hdd: not possible in a diagnosis yet.")
    _refuse_unbootable(server)
    task = await engine.enqueue(session, DIAGNOSE, server, actor=actor, params=Diagnose())
    return TaskAck(id=server.id, task=task.id)
