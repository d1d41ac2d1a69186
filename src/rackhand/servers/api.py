"""Routes of the inventory."""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import after_commit
from rackhand.errors import Forbidden, Invalid, NotFound
from rackhand.events.queries import last_notify
from rackhand.hardware.drivers import DRIVERS, setting_fields
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import IdAnswer, ListAnswer, ObjectId, json_response, list_response, wire_time
from rackhand.servers import bulk, queries, service
from rackhand.servers.model import Nic
from rackhand.servers.schemas import (
    BmcBody,
    EditLocation,
    EditRack,
    EditServer,
    ImportBody,
    LocationBody,
    NicBody,
    OwnerBody,
    QuarantineBody,
    RackBody,
    ServerBody,
    SwitchBody,
    disk_row,
    location_row,
    nic_row,
    rack_row,
    server_row,
    server_rows,
    stock_row,
)
from rackhand.users.auth import Admin, CurrentActor, CurrentUser
from rackhand.vault import Vault

router = APIRouter(prefix="/dci/v3", tags=["servers"], route_class=TransactionRoute)
place_router = APIRouter(prefix="/dci/v3", tags=["places"], route_class=TransactionRoute)

Params = Annotated[ListParams, Depends(list_params)]
USER_MAY_EDIT = {"notes", "domain"}


async def _vault(request: Request) -> Vault:
    vault: Vault = request.app.state.services.vault
    return vault


async def _parts(request: Request) -> tuple[queries.ServerPart, ...]:
    parts: tuple[queries.ServerPart, ...] = request.app.state.services.server_parts
    return parts


def _read_power_soon(request: Request, session: AsyncSession, server_id: int) -> None:
    """Have the power state read when the change is committed: the operator wants to see that the access works."""
    after_commit(session, partial(request.app.state.services.read_power_soon, server_id))


CurrentVault = Annotated[Vault, Depends(_vault)]
Parts = Annotated[tuple[queries.ServerPart, ...], Depends(_parts)]


@router.get("/server", response_model=ListAnswer)
async def list_servers(session: Session, viewer: CurrentUser, params: Params, parts: Parts) -> Response:
    """List servers with everything that is known of them; a user sees its own."""
    page = await queries.page(session, params, visible_to=viewer, parts=parts)
    related = await queries.related(session, [row.id for row in page.rows], viewer, parts)
    rows = server_rows(page.rows, related, for_admin=viewer.is_admin)
    return list_response(rows, page.size, await last_notify(session))


@router.get("/server/configuration", response_model=ListAnswer)
async def list_stock(session: Session, viewer: CurrentUser) -> Response:
    """List configurations with the number of servers of each that can be taken now."""
    rows = [stock_row(row) for row in await queries.stock(session, visible_to=viewer)]
    return list_response(rows, len(rows), await last_notify(session))


@router.get("/server/{id}", response_model=dict[str, Any])
async def get_server(id: ObjectId, session: Session, viewer: CurrentUser, parts: Parts) -> Response:
    """Show a server."""
    row = await queries.row_by_id(session, id, visible_to=viewer)
    related = await queries.related(session, [row.id], viewer, parts)
    return json_response(server_row(row, related, for_admin=viewer.is_admin))


@router.post("/server")
async def add_server(
    request: Request,
    session: Session,
    _admin: Admin,
    actor: CurrentActor,
    vault: CurrentVault,
    body: ServerBody,
) -> IdAnswer:
    """Add a server."""
    server = await service.add_server(session, **bulk.server_values(body), vault=vault, actor=actor)
    _read_power_soon(request, session, server.id)
    return IdAnswer(id=server.id)


@router.post("/server/import", response_model=ListAnswer)
async def import_servers(
    session: Session, _admin: Admin, actor: CurrentActor, vault: CurrentVault, body: ImportBody
) -> Response:
    """Add many servers; the answer has a row per line. With `dry_run` nothing is kept."""
    if (body.servers is None) == (body.csv is None):
        raise Invalid("Give `servers` or `csv`.")
    rows = bulk.read_csv(body.csv) if body.csv is not None else body.servers or []
    async with session.begin_nested() as savepoint:
        report = await bulk.import_servers(session, rows, vault=vault, actor=actor)
        if body.dry_run:
            await savepoint.rollback()
    return list_response(report, len(report), await last_notify(session))


@router.post("/server/{id}")
async def edit_server(
    id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    vault: CurrentVault,
    body: EditServer,
) -> IdAnswer:
    """Change a server; a user may change `notes` and `domain` of its own."""
    server = await queries.by_id(session, id, visible_to=viewer)
    values = body.model_dump(exclude_unset=True, exclude={"nics", "disks", "bmc"})
    nullable = {"configuration", "rack_id", "unit"}
    if missing := [name for name, value in values.items() if value is None and name not in nullable]:
        raise Invalid(f"{missing[0]}: null is no value of it.")
    if not viewer.is_admin and body.model_fields_set - USER_MAY_EDIT:
        raise Forbidden("You may change notes and domain of your servers.")
    if "rack_id" in values and values["rack_id"] is None:
        values["unit"] = None
    if body.bmc is not None:
        await service.set_bmc(session, server, given=bulk.bmc_values(body.bmc), vault=vault, actor=actor)
    await service.edit_server(
        session,
        server,
        values=values,
        nics=None if body.nics is None else [nic.model_dump() for nic in body.nics],
        disks=None if body.disks is None else [disk.model_dump() for disk in body.disks],
        actor=actor,
    )
    return IdAnswer(id=server.id)


@router.delete("/server/{id}")
async def delete_server(id: ObjectId, session: Session, admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete a server that nobody owns."""
    await service.delete_server(session, await queries.by_id(session, id, visible_to=admin), actor=actor)
    return IdAnswer(id=id)


@router.post("/server/{id}/owner")
async def give_owner(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, body: OwnerBody
) -> IdAnswer:
    """Give a server to an account."""
    server = await queries.by_id(session, id, visible_to=admin)
    await service.give_owner(session, server, body.owner, actor=actor)
    return IdAnswer(id=server.id)


@router.post("/server/{id}/maintenance")
async def set_maintenance(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, body: SwitchBody | None = None
) -> IdAnswer:
    """Take a server out of stock for maintenance, or put it back with `{"value": false}`."""
    server = await queries.by_id(session, id, visible_to=admin)
    await service.set_flag(session, server, "maintenance", value=body.value if body else True, actor=actor)
    return IdAnswer(id=server.id)


@router.post("/server/{id}/protection")
async def set_protection(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, body: SwitchBody | None = None
) -> IdAnswer:
    """Protect a server from power off, reset, deletion and changes, or end that with `{"value": false}`."""
    server = await queries.by_id(session, id, visible_to=admin)
    await service.set_flag(session, server, "is_protected", value=body.value if body else True, actor=actor)
    return IdAnswer(id=server.id)


@router.post("/server/{id}/quarantine")
async def quarantine(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, body: QuarantineBody
) -> IdAnswer:
    """Keep a server from being given to anybody, with the reason."""
    server = await queries.by_id(session, id, visible_to=admin)
    await service.quarantine(session, server, body.reason, actor=actor)
    return IdAnswer(id=server.id)


@router.delete("/server/{id}/quarantine")
async def end_quarantine(id: ObjectId, session: Session, admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Let a server out of quarantine."""
    server = await queries.by_id(session, id, visible_to=admin)
    await service.quarantine(session, server, None, actor=actor)
    return IdAnswer(id=server.id)


@router.get("/server/{id}/nic", response_model=ListAnswer)
async def list_nics(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """List the network interfaces of a server."""
    server = await queries.by_id(session, id, visible_to=viewer)
    return list_response([nic_row(nic) for nic in server.nics], len(server.nics), await last_notify(session))


@router.post("/server/{id}/nic")
async def add_nic(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, body: NicBody
) -> IdAnswer:
    """Add a network interface, or rename the one with this MAC address."""
    server = await queries.by_id(session, id, visible_to=admin)
    given = [{"mac": nic.mac, "name": nic.name, "speed_mbit": nic.speed_mbit} for nic in server.nics]
    rest = [nic for nic in given if nic["mac"] != body.mac]
    await service.edit_server(session, server, values={}, nics=[*rest, body.model_dump()], actor=actor)
    return IdAnswer(id=next(nic.id for nic in server.nics if nic.mac == body.mac))


@router.delete("/server/{id}/nic/{nic_id}")
async def delete_nic(
    id: ObjectId, nic_id: ObjectId, session: Session, admin: Admin, actor: CurrentActor
) -> IdAnswer:
    """Delete a network interface."""
    server = await queries.by_id(session, id, visible_to=admin)
    nic = await session.get(Nic, nic_id)
    if nic is None or nic.server_id != server.id:
        raise NotFound(f"Server {id} has no network interface {nic_id}.")
    rest = [nic_row(each) for each in server.nics if each.id != nic_id]
    kept = [{name: each[name] for name in ("mac", "name", "speed_mbit")} for each in rest]
    await service.edit_server(session, server, values={}, nics=kept, actor=actor)
    return IdAnswer(id=nic_id)


@router.get("/server/{id}/disk", response_model=ListAnswer)
async def list_disks(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """List the drives of a server."""
    server = await queries.by_id(session, id, visible_to=viewer)
    return list_response(
        [disk_row(disk) for disk in server.disks], len(server.disks), await last_notify(session)
    )


@router.get("/server/{id}/bmc", response_model=dict[str, Any])
async def get_bmc(id: ObjectId, session: Session, admin: Admin) -> Response:
    """Show how a BMC is reached; the password is never shown."""
    server = await queries.by_id(session, id, visible_to=admin)
    if server.bmc is None:
        raise NotFound(f"Server {id} has no BMC access.")
    bmc = server.bmc
    return json_response(
        {
            "driver": bmc.driver,
            "host": bmc.host,
            "port": bmc.port,
            "user": bmc.user,
            "has_password": bool(bmc.password),
            "settings": bmc.settings,
            "refused_at": wire_time(bmc.refused_at),
            "refusal": bmc.refusal,
        }
    )


@router.post("/server/{id}/bmc")
async def set_bmc(
    request: Request,
    id: ObjectId,
    session: Session,
    admin: Admin,
    actor: CurrentActor,
    vault: CurrentVault,
    body: BmcBody,
) -> IdAnswer:
    """Set how the BMC is reached; without `password` the stored one stays for the same host and user."""
    server = await queries.by_id(session, id, visible_to=admin)
    await service.set_bmc(session, server, given=bulk.bmc_values(body), vault=vault, actor=actor)
    _read_power_soon(request, session, server.id)
    return IdAnswer(id=server.id)


@router.delete("/server/{id}/bmc")
async def delete_bmc(id: ObjectId, session: Session, admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Forget how the BMC is reached."""
    server = await queries.by_id(session, id, visible_to=admin)
    await service.remove_bmc(session, server, actor=actor)
    return IdAnswer(id=server.id)


@router.get("/bmc_driver", response_model=ListAnswer)
async def list_drivers(session: Session, _viewer: CurrentUser) -> Response:
    """List the kinds of BMC that can be talked to, with the settings that each takes."""
    rows = [
        {
            "name": name,
            "title": driver.title,
            "port": driver.port,
            "settings": [asdict(each) for each in setting_fields(name)],
        }
        for name, driver in DRIVERS.items()
    ]
    return list_response(rows, len(rows), await last_notify(session))


# --- locations and racks


@place_router.get("/location", response_model=ListAnswer)
async def list_locations(session: Session, _viewer: CurrentUser, params: Params) -> Response:
    """List locations."""
    page = await queries.location_page(session, params)
    return list_response([location_row(row) for row in page.rows], page.size, await last_notify(session))


@place_router.get("/location/{id}", response_model=dict[str, Any])
async def get_location(id: ObjectId, session: Session, _viewer: CurrentUser) -> Response:
    """Show a location."""
    await queries.location_by_id(session, id)
    page = await queries.location_page(session, ListParams(where=f"id EQ {id}"))
    return json_response(location_row(page.rows[0]))


@place_router.post("/location")
async def add_location(session: Session, _admin: Admin, actor: CurrentActor, body: LocationBody) -> IdAnswer:
    """Add a location."""
    location = await service.add_location(session, **body.model_dump(), actor=actor)
    return IdAnswer(id=location.id)


@place_router.post("/location/{id}")
async def edit_location(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, body: EditLocation
) -> IdAnswer:
    """Change a location."""
    location = await queries.location_by_id(session, id)
    await service.edit_row(session, location, body.model_dump(exclude_none=True), actor=actor)
    return IdAnswer(id=id)


@place_router.delete("/location/{id}")
async def delete_location(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete an empty location."""
    await service.delete_row(session, await queries.location_by_id(session, id), actor=actor)
    return IdAnswer(id=id)


@place_router.get("/rack", response_model=ListAnswer)
async def list_racks(session: Session, _admin: Admin, params: Params) -> Response:
    """List racks."""
    page = await queries.rack_page(session, params)
    return list_response([rack_row(row) for row in page.rows], page.size, await last_notify(session))


@place_router.get("/rack/{id}", response_model=dict[str, Any])
async def get_rack(id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show a rack and what stands in it, from the top."""
    rack = await queries.rack_by_id(session, id)
    page = await queries.rack_page(session, ListParams(where=f"id EQ {id}"))
    devices = [
        {"id": row.id, "name": row.name, "unit": row.unit} async for row in queries.devices_of(session, rack)
    ]
    return json_response({**rack_row(page.rows[0]), "devices": devices})


@place_router.post("/rack")
async def add_rack(session: Session, _admin: Admin, actor: CurrentActor, body: RackBody) -> IdAnswer:
    """Add a rack."""
    rack = await service.add_rack(session, **body.model_dump(), actor=actor)
    return IdAnswer(id=rack.id)


@place_router.post("/rack/{id}")
async def edit_rack(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, body: EditRack
) -> IdAnswer:
    """Change a rack."""
    rack = await queries.rack_by_id(session, id)
    await service.edit_row(session, rack, body.model_dump(exclude_none=True), actor=actor)
    return IdAnswer(id=id)


@place_router.delete("/rack/{id}")
async def delete_rack(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete an empty rack."""
    await service.delete_row(session, await queries.rack_by_id(session, id), actor=actor)
    return IdAnswer(id=id)
