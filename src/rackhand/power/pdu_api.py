"""Routes of PDUs, their outlets, and the cords of servers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import Conflict, Invalid, NotFound
from rackhand.events.queries import last_notify
from rackhand.hardware.drivers import PDU_DRIVERS, setting_fields
from rackhand.hardware.interfaces import OutletAction
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import IdAnswer, ListAnswer, ObjectId, TaskAck, json_response, list_response
from rackhand.power import pdus, queries, samples
from rackhand.power.model import Outlet, Pdu
from rackhand.power.outlets import DISCOVER_PDU, SET_OUTLET, SET_PDU_OUTLET, OutletWish
from rackhand.power.schemas import (
    ACCESS_KEYS,
    EditPdu,
    EditPduConnection,
    OutletBody,
    OutletDeviceBody,
    PduBody,
    PduConnectionBody,
    access_given,
    connection_row,
    kwh,
    outlet_row,
    pdu_row,
    server_connection_row,
)
from rackhand.servers import queries as servers
from rackhand.servers.access import AccessGiven
from rackhand.servers.queries import ServerPart
from rackhand.servers.service import refuse_protected
from rackhand.tasks.api import CurrentEngine
from rackhand.users.auth import Admin, CurrentActor, CurrentUser
from rackhand.users.model import User
from rackhand.vault import Vault

pdu_router = APIRouter(prefix="/dci/v3", tags=["PDUs"], route_class=TransactionRoute)
server_router = APIRouter(prefix="/dci/v3", tags=["connections"], route_class=TransactionRoute)

Params = Annotated[ListParams, Depends(list_params)]


async def _dry_run(
    *,
    dry_run: Annotated[
        bool, Query(description="Send nothing: the task's `result` lists what would be sent to which device")
    ] = False,
) -> bool:
    return dry_run


DryRun = Annotated[bool, Depends(_dry_run)]


async def _vault(request: Request) -> Vault:
    vault: Vault = request.app.state.services.vault
    return vault


CurrentVault = Annotated[Vault, Depends(_vault)]


async def _load_server_part(
    session: AsyncSession, server_ids: Sequence[int], viewer: User
) -> Mapping[int, Mapping[str, object]]:
    found = await queries.connections_of(session, server_ids)
    since = await servers.owned_since(session, list(found), viewer)
    energy = await samples.month_of_servers(session, list(found), utcnow(), since=since)
    parts: dict[int, Mapping[str, object]] = {}
    for server_id, cords in found.items():
        rows = [server_connection_row(row) for row in cords]
        parts[server_id] = {
            "pdu_connection": rows[0],
            "pdu_connections": rows,
            "energy_month_kwh": kwh(energy.get(server_id)),
        }
    return parts


SERVER_PART = ServerPart(
    {"pdu_connection": None, "pdu_connections": [], "energy_month_kwh": None},
    _load_server_part,
    queries.SERVER_FIELDS,
)


# --- PDUs


@pdu_router.get("/pdu", response_model=ListAnswer)
@pdu_router.get("/warehouse/pdu", response_model=ListAnswer)
async def list_pdus(session: Session, _admin: Admin, params: Params) -> Response:
    """List PDUs."""
    page = await queries.pdu_page(session, params)
    return list_response([pdu_row(row) for row in page.rows], page.size, await last_notify(session))


@pdu_router.get("/warehouse/ups", response_model=ListAnswer)
@pdu_router.get("/warehouse/chassis", response_model=ListAnswer)
@pdu_router.get("/warehouse/spare_part", response_model=ListAnswer)
async def list_nothing(session: Session, _admin: Admin) -> Response:
    """List equipment of a kind that this product does not keep: clients ask for it, and there is none."""
    return list_response([], 0, await last_notify(session))


@pdu_router.get("/pdu_driver", response_model=ListAnswer)
async def list_pdu_drivers(session: Session, _admin: Admin) -> Response:
    """List the kinds of PDU that can be talked to, with the settings that each takes."""
    rows = [
        {"name": name, "title": driver.title, "port": driver.port,
         "settings": [asdict(each) for each in setting_fields(name, PDU_DRIVERS)]}
        for name, driver in PDU_DRIVERS.items()
    ]  # fmt: skip
    return list_response(rows, len(rows), await last_notify(session))


@pdu_router.post("/pdu")
async def add_pdu(
    session: Session,
    _admin: Admin,
    actor: CurrentActor,
    vault: CurrentVault,
    engine: CurrentEngine,
    body: PduBody,
) -> TaskAck:
    """Add a PDU and discover its outlets: `task` is the discovery."""
    fields = ("name", "model", "serial", "barcode", "notes", "location_id", "rack_id", "unit")
    values = {name: getattr(body, name) for name in fields}
    pdu = await pdus.add_pdu(session, values=values, given=access_given(body), vault=vault, actor=actor)
    task = await engine.enqueue(session, DISCOVER_PDU, pdu, actor=actor)
    return TaskAck(id=pdu.id, task=task.id)


@pdu_router.get("/pdu/{id}", response_model=dict[str, Any])
async def get_pdu(id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show a PDU."""
    return json_response(pdu_row(await queries.pdu_row_by_id(session, id)))


@pdu_router.post("/pdu/{id}")
async def edit_pdu(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, vault: CurrentVault, body: EditPdu
) -> IdAnswer:
    """Change a PDU."""
    pdu = await queries.pdu_by_id(session, id)
    values = body.model_dump(exclude_unset=True, exclude=ACCESS_KEYS)
    if missing := [
        name for name, value in values.items() if value is None and name not in {"rack_id", "unit"}
    ]:
        raise Invalid(f"{missing[0]}: null is no value of it.")
    if "rack_id" in values and values["rack_id"] is None:
        values["unit"] = None
    given = _access_of(pdu, body) if body.model_fields_set & ACCESS_KEYS else None
    await pdus.edit_pdu(session, pdu, values=values, given=given, vault=vault, actor=actor)
    return IdAnswer(id=id)


def _access_of(pdu: Pdu, body: EditPdu) -> AccessGiven:
    return AccessGiven(
        driver=body.driver or pdu.driver,
        host=body.host or pdu.host,
        port=body.port or pdu.port,
        user=pdu.user if body.user is None else body.user,
        password=body.password.get_secret_value() if body.password else None,
        settings=pdu.settings if body.settings is None else body.settings,
    )


@pdu_router.delete("/pdu/{id}")
async def delete_pdu(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete a PDU into which nothing is plugged."""
    await pdus.delete_pdu(session, await queries.pdu_by_id(session, id), actor=actor)
    return IdAnswer(id=id)


@pdu_router.post("/pdu/{id}/discover")
async def discover(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, engine: CurrentEngine
) -> TaskAck:
    """Read the outlets of a PDU and write them down."""
    pdu = await queries.pdu_by_id(session, id)
    task = await engine.enqueue(session, DISCOVER_PDU, pdu, actor=actor)
    return TaskAck(id=id, task=task.id)


# --- outlets


@pdu_router.get("/pdu/{id}/outlet", response_model=ListAnswer)
async def list_outlets(id: ObjectId, session: Session, _admin: Admin, params: Params) -> Response:
    """List the outlets of a PDU."""
    await queries.pdu_by_id(session, id)
    page = await queries.outlet_page(session, params, pdu_id=id)
    return list_response([outlet_row(row) for row in page.rows], page.size, await last_notify(session))


@pdu_router.get("/pdu/{id}/outlet/{outlet_id}", response_model=dict[str, Any])
async def get_outlet(id: ObjectId, outlet_id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show an outlet."""
    return json_response(outlet_row(await queries.outlet_row_by_id(session, id, outlet_id)))


@pdu_router.post("/pdu/{id}/outlet/{outlet_id}", response_model=dict[str, Any])
async def edit_outlet(
    id: ObjectId,
    outlet_id: ObjectId,
    session: Session,
    admin: Admin,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: OutletBody,
    dry_run: DryRun,
) -> Response:
    """Switch an outlet, whatever else feeds what is plugged in: a task, on the server where one is plugged in."""
    outlet = await _outlet(session, id, outlet_id)
    if "problem" in body.model_fields_set and not dry_run:
        await pdus.end_flag(session, outlet, actor=actor)
    if body.action is None:
        return json_response({"id": outlet_id})
    wish = OutletWish(outlet_id=outlet.id, action=body.action, dry_run=dry_run)
    if outlet.connection is not None and outlet.connection.server_id is not None:
        server = await servers.by_id(session, outlet.connection.server_id, visible_to=admin)
        if body.action is not OutletAction.ON and not dry_run:
            refuse_protected(server, "switching of its outlets")
        task = await engine.enqueue(session, SET_OUTLET, server, actor=actor, params=wish)
    else:
        task = await engine.enqueue(session, SET_PDU_OUTLET, outlet.pdu, actor=actor, params=wish)
    return json_response({"id": outlet_id, "task": task.id})


@pdu_router.post("/pdu/{id}/outlet/{outlet_id}/connection")
async def connect_device(
    id: ObjectId,
    outlet_id: ObjectId,
    session: Session,
    _admin: Admin,
    actor: CurrentActor,
    body: OutletDeviceBody,
) -> IdAnswer:
    """Write down that something which is no server is plugged into an outlet."""
    outlet = await _outlet(session, id, outlet_id)
    connection = await pdus.connect(
        session, outlet=outlet, server=None, device_name=body.device_name, notes=body.notes, actor=actor
    )
    return IdAnswer(id=connection.id)


@pdu_router.delete("/pdu/{id}/outlet/{outlet_id}/connection")
async def disconnect_outlet(
    id: ObjectId, outlet_id: ObjectId, session: Session, admin: Admin, actor: CurrentActor
) -> IdAnswer:
    """Forget what is plugged into an outlet; safe to repeat."""
    outlet = await _outlet(session, id, outlet_id)
    connection = outlet.connection
    if connection is not None:
        server = None
        if connection.server_id is not None:
            server = await servers.by_id(session, connection.server_id, visible_to=admin)
        await pdus.disconnect(session, connection, server=server, actor=actor)
    return IdAnswer(id=outlet_id)


async def _outlet(session: AsyncSession, pdu_id: int, outlet_id: int) -> Outlet:
    found = await queries.outlets_by_id(session, [outlet_id])
    if not found or found[0].pdu_id != pdu_id:
        raise NotFound(f"PDU {pdu_id} has no outlet {outlet_id}.")
    return found[0]


# --- cords of a server


@server_router.get("/server/{id}/pdu_connection", response_model=ListAnswer)
async def list_connections(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """List the outlets that feed a server."""
    await servers.by_id(session, id, visible_to=viewer)
    rows = await queries.connection_rows(session, id)
    return list_response([connection_row(row) for row in rows], len(rows), await last_notify(session))


@server_router.post("/server/{id}/pdu_connection")
async def add_connection(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, body: PduConnectionBody
) -> IdAnswer:
    """Write down which outlet feeds a server."""
    server = await servers.by_id(session, id, visible_to=admin)
    outlet = await _outlet_of(session, body)
    connection = await pdus.connect(
        session, outlet=outlet, server=server, feed=body.feed or "", notes=body.notes, actor=actor
    )
    return IdAnswer(id=connection.id)


async def _outlet_of(session: AsyncSession, body: PduConnectionBody) -> Outlet:
    outlet_id = body.outlet_id
    if outlet_id is None:
        if body.pdu is None or not body.port_identity:
            raise Invalid("Say the outlet: `outlet_id`, or `pdu` and `port_identity`.")
        query = select(Outlet.id, Outlet.number, Outlet.name).where(
            Outlet.pdu_id == body.pdu, ~Outlet.is_missing
        )
        rows = (await session.execute(query)).all()
        numbered = [row.id for row in rows if str(row.number) == body.port_identity]
        found_ids = numbered or [row.id for row in rows if row.name == body.port_identity]
        if len(found_ids) > 1:
            raise Conflict(f"PDU {body.pdu} has {len(found_ids)} outlets called {body.port_identity!r}.")
        if not found_ids:
            raise NotFound(f"PDU {body.pdu} has no outlet {body.port_identity!r}.")
        outlet_id = found_ids[0]
    found = await queries.outlets_by_id(session, [outlet_id])
    if not found:
        raise NotFound(f"There is no outlet {outlet_id}.")
    return found[0]


@server_router.post("/server/{id}/pdu_connection/{connection_id}")
async def edit_connection(
    id: ObjectId,
    connection_id: ObjectId,
    session: Session,
    admin: Admin,
    actor: CurrentActor,
    body: EditPduConnection,
) -> IdAnswer:
    """Change the feed or the notes of a cord."""
    server = await servers.by_id(session, id, visible_to=admin)
    connection = await queries.connection_by_id(session, connection_id, server_id=server.id)
    values = body.model_dump(exclude_unset=True)
    if missing := [name for name, value in values.items() if value is None]:
        raise Invalid(f"{missing[0]}: null is no value of it.")
    await pdus.edit_connection(session, connection, server, values=values, actor=actor)
    return IdAnswer(id=connection_id)


@server_router.delete("/server/{id}/pdu_connection/{connection_id}")
async def delete_connection(
    id: ObjectId, connection_id: ObjectId, session: Session, admin: Admin, actor: CurrentActor
) -> IdAnswer:
    """Forget a cord."""
    server = await servers.by_id(session, id, visible_to=admin)
    connection = await queries.connection_by_id(session, connection_id, server_id=server.id)
    await pdus.disconnect(session, connection, server=server, actor=actor)
    return IdAnswer(id=connection_id)
