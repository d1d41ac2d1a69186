"""Routes of operations on whole servers."""

from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.deploy import certificates
from rackhand.deploy.certificate_pdf import pdf_of
from rackhand.deploy.diagnose import DIAGNOSE, Diagnose
from rackhand.deploy.model import Erasure, SigningKey
from rackhand.deploy.schemas import ClearBody, DiagBody, erasure_row
from rackhand.deploy.service import refuse_unbootable, refuse_unbootable_by_hand
from rackhand.deploy.wipe_disks import CLEAR_DISKS, CLEAR_NOTHING, Clear, ClearDisks
from rackhand.errors import Conflict, Invalid, NotFound
from rackhand.events.queries import last_notify
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import ListAnswer, ObjectId, TaskAck, json_response, list_response, wire_time
from rackhand.ipam.bmc_addresses import check_pool
from rackhand.servers import queries
from rackhand.servers.service import refuse_protected
from rackhand.tasks.api import CurrentEngine
from rackhand.users.auth import Admin, CurrentActor, CurrentUser
from rackhand.users.model import User

router = APIRouter(prefix="/dci/v3", tags=["operations"], route_class=TransactionRoute)


@router.post("/server/{id}/operation_diag")
async def operation_diag(
    id: ObjectId,
    session: Session,
    admin: Admin,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: DiagBody | None = None,
) -> TaskAck:
    """Boot a server into the diagnostics image and see what is in it; it is switched off and on for that.

    `setup_ipmi` has its BMC set up on the way: a user of ours, and an address of `ipmi_pool` unless that is 0. What
    goes wrong with that stands in `diagnostics_message`. A server without BMC access may be asked for it as well: it is
    switched on by its outlets, or by hand.
    """
    asked = body or DiagBody()
    server = await queries.by_id(session, id, visible_to=admin)
    refuse_protected(server, "diagnostics")
    if asked.os_template_id:
        raise NotFound(f"There is no diagnostics template {asked.os_template_id}; 0 is the built-in one.")
    if asked.ipmi_pool and not asked.setup_ipmi:
        raise Invalid("ipmi_pool: it is for setup_ipmi, which is not asked for.")
    if asked.setup_ipmi:
        await refuse_unbootable_by_hand(session, server)
    else:
        refuse_unbootable(server)
    if asked.ipmi_pool:
        await check_pool(session, server, asked.ipmi_pool)
    params = Diagnose(clear=Clear(asked.clear_hdd), set_up_bmc=asked.setup_ipmi, bmc_pool=asked.ipmi_pool)
    task = await engine.enqueue(session, DIAGNOSE, server, actor=actor, params=params)
    return TaskAck(id=server.id, task=task.id)


@router.post("/server/{id}/operation_clear_hdd")
async def operation_clear_hdd(
    id: ObjectId,
    session: Session,
    user: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: ClearBody,
) -> TaskAck:
    """Wipe all disks of a server; `full` is proven by reading back, and what is not proven quarantines the server."""
    server = await queries.by_id(session, id, visible_to=user)
    refuse_protected(server, "wiping")
    clear = Clear(body.clear_hdd)
    if clear is Clear.NONE:
        task = await engine.enqueue(session, CLEAR_NOTHING, server, actor=actor)
        return TaskAck(id=server.id, task=task.id)
    refuse_unbootable(server)
    task = await engine.enqueue(session, CLEAR_DISKS, server, actor=actor, params=ClearDisks(clear=clear))
    return TaskAck(id=server.id, task=task.id)


@router.get("/server/{id}/erasure", response_model=ListAnswer)
async def list_erasures(id: ObjectId, session: Session, admin: Admin) -> Response:
    """List the wipes of a server, the newest first, with what was done to each disk."""
    server = await queries.by_id(session, id, visible_to=admin)
    query = select(Erasure).where(Erasure.server_id == server.id).order_by(Erasure.id.desc())
    rows = [erasure_row(erasure) for erasure in await session.scalars(query)]
    return list_response(rows, len(rows), await last_notify(session))


@router.get("/server/{id}/erasure/{erasure_id}", response_model=dict[str, Any])
async def get_certificate(id: ObjectId, erasure_id: ObjectId, session: Session, admin: Admin) -> Response:
    """Give the certificate of a proven full wipe; `rackhand certificate verify` checks it without this server."""
    return json_response(await _certificate(session, id, erasure_id, admin))


@router.get("/server/{id}/erasure/{erasure_id}/pdf", response_class=Response)
async def print_certificate(id: ObjectId, erasure_id: ObjectId, session: Session, admin: Admin) -> Response:
    """Give the certificate as a page (PDF) with the signed document attached."""
    found = await _certificate(session, id, erasure_id, admin)
    headers = {"content-disposition": f'attachment; filename="erasure-{id}-{erasure_id}.pdf"'}
    return Response(pdf_of(found), 200, headers, "application/pdf")


async def _certificate(
    session: AsyncSession, server_id: int, erasure_id: int, viewer: User
) -> dict[str, Any]:
    server = await queries.by_id(session, server_id, visible_to=viewer)
    erasure = await session.get(Erasure, erasure_id)
    if erasure is None or erasure.server_id != server.id:
        raise NotFound(f"Server {server_id} has no wipe {erasure_id}.")
    if erasure.key_id is None:
        raise Conflict(f"Wipe {erasure_id} has no certificate: only a full wipe that was proven has one.")
    key = await session.get_one(SigningKey, erasure.key_id)
    return certificates.certificate(erasure, key.public_key)


@router.get("/certificate_key", response_model=ListAnswer)
async def list_certificate_keys(session: Session, _viewer: CurrentUser) -> Response:
    """List the public keys that certificates are signed with."""
    keys = (await session.scalars(select(SigningKey).order_by(SigningKey.created_at))).all()
    rows = [
        {
            "key": key.id,
            "algorithm": certificates.ALGORITHM,
            "public_key": key.public_key,
            "created_at": wire_time(key.created_at),
        }
        for key in keys
    ]
    return list_response(rows, len(rows), await last_notify(session))
