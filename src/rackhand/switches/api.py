"""Routes of switches, ports, cables and VLANs, and of cutting a server off and letting it in again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import Conflict, Forbidden, Invalid, NotFound
from rackhand.events.queries import last_notify
from rackhand.hardware.drivers import SWITCH_DRIVERS, setting_fields
from rackhand.hardware.interfaces import AdminStatus
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import IdAnswer, ListAnswer, ObjectId, TaskAck, json_response, list_response
from rackhand.servers import queries as servers
from rackhand.servers.access import AccessGiven
from rackhand.servers.model import Nic, Server
from rackhand.servers.queries import ServerPart
from rackhand.servers.service import refuse_protected
from rackhand.switches import queries, samples, service
from rackhand.switches.changing import PortWish
from rackhand.switches.model import ConnectionKind, Switch, SwitchPort
from rackhand.switches.operations import (
    DISCOVER,
    RESUME,
    SET_PORTS,
    SET_SWITCH_PORTS,
    SUSPEND,
    Discover,
)
from rackhand.switches.schemas import (
    ACCESS_KEYS,
    ConnectionBody,
    DeviceConnectionBody,
    DiscoverBody,
    EditConnection,
    EditSwitch,
    EditVlan,
    PortBody,
    ServerPortsBody,
    SuspendBody,
    SwitchBody,
    VlanBody,
    access_given,
    connection_row,
    port_row,
    server_connection_row,
    switch_row,
    vlan_row,
)
from rackhand.tasks.api import CurrentEngine
from rackhand.tasks.operation import Operation
from rackhand.users.auth import Admin, CurrentActor, CurrentUser
from rackhand.users.model import User
from rackhand.vault import Vault

switch_router = APIRouter(prefix="/dci/v3", tags=["switches"], route_class=TransactionRoute)
server_router = APIRouter(prefix="/dci/v3", tags=["connections"], route_class=TransactionRoute)
vlan_router = APIRouter(prefix="/dci/v3", tags=["VLANs"], route_class=TransactionRoute)

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
    traffic = await samples.month_of_servers(session, list(found), utcnow(), since=since)
    return {
        server_id: {
            "switch_connection": [server_connection_row(row) for row in found.get(server_id, ())],
            "traffic_month": {"in": received, "out": sent},
        }
        for server_id in found
        for received, sent in [traffic.get(server_id, (0, 0))]
    }


SERVER_PART = ServerPart(
    {"switch_connection": [], "traffic_month": {"in": 0, "out": 0}}, _load_server_part, queries.SERVER_FIELDS
)


# --- switches


@switch_router.get("/switch", response_model=ListAnswer)
@switch_router.get("/warehouse/switch", response_model=ListAnswer)
async def list_switches(session: Session, _admin: Admin, params: Params) -> Response:
    """List switches."""
    page = await queries.switch_page(session, params)
    return list_response([switch_row(row) for row in page.rows], page.size, await last_notify(session))


@switch_router.get("/switch_driver", response_model=ListAnswer)
async def list_switch_drivers(session: Session, _admin: Admin) -> Response:
    """List the kinds of switch that can be talked to, with the settings that each takes."""
    rows = [
        {"name": name, "title": driver.title, "port": driver.port,
         "settings": [asdict(each) for each in setting_fields(name, SWITCH_DRIVERS)]}
        for name, driver in SWITCH_DRIVERS.items()
    ]  # fmt: skip
    return list_response(rows, len(rows), await last_notify(session))


@switch_router.post("/switch")
async def add_switch(
    session: Session,
    _admin: Admin,
    actor: CurrentActor,
    vault: CurrentVault,
    engine: CurrentEngine,
    body: SwitchBody,
) -> TaskAck:
    """Add a switch and discover its ports: `task` is the discovery."""
    fields = ("name", "model", "serial", "barcode", "notes", "location_id", "rack_id", "unit")
    values = {name: getattr(body, name) for name in fields}
    switch = await service.add_switch(
        session, values=values, given=access_given(body), vault=vault, actor=actor
    )
    task = await engine.enqueue(session, DISCOVER, switch, actor=actor)
    return TaskAck(id=switch.id, task=task.id)


@switch_router.get("/switch/{id}", response_model=dict[str, Any])
async def get_switch(id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show a switch."""
    return json_response(switch_row(await queries.switch_row_by_id(session, id)))


@switch_router.post("/switch/{id}")
async def edit_switch(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, vault: CurrentVault, body: EditSwitch
) -> IdAnswer:
    """Change a switch."""
    switch = await queries.switch_by_id(session, id)
    values = body.model_dump(exclude_unset=True, exclude=ACCESS_KEYS)
    if missing := [
        name for name, value in values.items() if value is None and name not in {"rack_id", "unit"}
    ]:
        raise Invalid(f"{missing[0]}: null is no value of it.")
    if "rack_id" in values and values["rack_id"] is None:
        values["unit"] = None
    given = _access_of(switch, body) if body.model_fields_set & ACCESS_KEYS else None
    await service.edit_switch(session, switch, values=values, given=given, vault=vault, actor=actor)
    return IdAnswer(id=id)


def _access_of(switch: Switch, body: EditSwitch) -> AccessGiven:
    return AccessGiven(
        driver=body.driver or switch.driver,
        host=body.host or switch.host,
        port=body.port or switch.port,
        user=switch.user if body.user is None else body.user,
        password=body.password.get_secret_value() if body.password else None,
        settings=switch.settings if body.settings is None else body.settings,
    )


@switch_router.delete("/switch/{id}")
async def delete_switch(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete a switch into which nothing is plugged."""
    await service.delete_switch(session, await queries.switch_by_id(session, id), actor=actor)
    return IdAnswer(id=id)


@switch_router.post("/switch/{id}/discover")
async def discover(
    id: ObjectId,
    session: Session,
    _admin: Admin,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: DiscoverBody | None = None,
) -> TaskAck:
    """Read the ports of a switch and what it has heard; the task's `result` lists the NICs that were found."""
    switch = await queries.switch_by_id(session, id)
    params = Discover(connect=bool(body and body.connect))
    task = await engine.enqueue(session, DISCOVER, switch, actor=actor, params=params)
    return TaskAck(id=id, task=task.id)


@switch_router.get("/switch/{id}/port", response_model=ListAnswer)
async def list_ports(id: ObjectId, session: Session, _admin: Admin, params: Params) -> Response:
    """List the ports of a switch."""
    await queries.switch_by_id(session, id)
    page = await queries.port_page(session, params, switch_id=id)
    return list_response([port_row(row) for row in page.rows], page.size, await last_notify(session))


@switch_router.get("/switch/{id}/port/{port_id}", response_model=dict[str, Any])
async def get_port(id: ObjectId, port_id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show a port."""
    return json_response(port_row(await queries.port_row_by_id(session, id, port_id)))


@switch_router.post("/switch/{id}/port/{port_id}", response_model=dict[str, Any])
async def edit_port(
    id: ObjectId,
    port_id: ObjectId,
    session: Session,
    admin: Admin,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: PortBody,
    dry_run: DryRun,
) -> Response:
    """Change a port: what is set on the switch is a task, on the server where the port leads to one."""
    port = await _port(session, id, port_id)
    said = {"is_uplink": body.is_uplink} if body.is_uplink is not None else {}
    if "problem" in body.model_fields_set:
        said["flag"] = None  # type: ignore[assignment]
    if said and not dry_run:
        if body.is_uplink and port.connection is not None and port.connection.server_id is not None:
            raise Conflict(f"Port {port.name} leads to a server. Delete the connection first.")
        await service.edit_port(session, port, values=said, actor=actor)
    if body.admin_status is None and body.vlan is None and body.speed_mbit is None:
        return json_response({"id": port_id})
    if port.is_uplink:
        raise Conflict(f"Port {port.name} is an uplink. Take that off first, if it is none.")
    wish = PortWish(
        admin_status=body.admin_status,
        access_vlan=body.vlan,
        speed_mbit=body.speed_mbit,
        ignore_wiring=body.ignore_wiring,
        dry_run=dry_run,
    )
    if (
        port.connection is not None
        and port.connection.kind == ConnectionKind.DATA
        and port.connection.server_id
    ):
        server = await servers.by_id(session, port.connection.server_id, visible_to=admin)
        wish.connection_ids = [port.connection.id]
        task = await engine.enqueue(session, SET_PORTS, server, actor=actor, params=wish)
    else:
        wish.port_ids = [port.id]
        task = await engine.enqueue(session, SET_SWITCH_PORTS, port.switch, actor=actor, params=wish)
    return json_response({"id": port_id, "task": task.id})


@switch_router.post("/switch/{id}/port/{port_id}/connection")
async def connect_device(
    id: ObjectId,
    port_id: ObjectId,
    session: Session,
    _admin: Admin,
    actor: CurrentActor,
    body: DeviceConnectionBody,
) -> IdAnswer:
    """Write down that something which is no server is plugged into a port."""
    port = await _port(session, id, port_id)
    connection = await service.connect(
        session,
        port=port,
        kind=ConnectionKind.DEVICE,
        server=None,
        nic=None,
        device_name=body.device_name,
        notes=body.notes,
        actor=actor,
    )
    return IdAnswer(id=connection.id)


@switch_router.delete("/switch/{id}/port/{port_id}/connection")
async def disconnect_port(
    id: ObjectId, port_id: ObjectId, session: Session, admin: Admin, actor: CurrentActor
) -> IdAnswer:
    """Forget what is plugged into a port; safe to repeat."""
    port = await _port(session, id, port_id)
    connection = port.connection
    if connection is not None:
        server = None
        if connection.server_id is not None:
            server = await servers.by_id(session, connection.server_id, visible_to=admin)
        await service.disconnect(session, connection, server=server, actor=actor)
    return IdAnswer(id=port_id)


async def _port(session: AsyncSession, switch_id: int, port_id: int) -> SwitchPort:
    found = await service.ports_by_id(session, [port_id])
    if not found or found[0].switch_id != switch_id:
        raise NotFound(f"Switch {switch_id} has no port {port_id}.")
    return found[0]


# --- cables of a server


@server_router.get("/server/{id}/switch_connection", response_model=ListAnswer)
async def list_connections(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """List what of a server is plugged where."""
    await servers.by_id(session, id, visible_to=viewer)
    rows = await queries.connection_rows(session, id)
    return list_response([connection_row(row) for row in rows], len(rows), await last_notify(session))


@server_router.post("/server/{id}/switch_connection")
async def add_connection(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, body: ConnectionBody
) -> IdAnswer:
    """Write down a cable; a data connection without a NIC takes the server's only one that is free."""
    server = await servers.by_id(session, id, visible_to=admin)
    port = await _port_of(session, body)
    nic = await _nic_of(session, server, body)
    connection = await service.connect(
        session,
        port=port,
        kind=body.wanted_kind,
        server=server,
        nic=nic,
        notes=body.notes,
        do_not_collect_traffic=body.do_not_collect_traffic,
        actor=actor,
    )
    return IdAnswer(id=connection.id)


async def _port_of(session: AsyncSession, body: ConnectionBody) -> SwitchPort:
    port_id = body.port_id
    if port_id is None:
        if body.switch is None or not body.port:
            raise Invalid("Say the port: `port_id`, or `switch` and `port`.")
        query = select(SwitchPort.id).where(
            SwitchPort.switch_id == body.switch,
            (SwitchPort.name == body.port) | (SwitchPort.description == body.port),
        )
        port_id = (await session.scalars(query.limit(1))).one_or_none()
        if port_id is None:
            raise NotFound(f"Switch {body.switch} has no port {body.port!r}.")
    found = await service.ports_by_id(session, [port_id])
    if not found:
        raise NotFound(f"There is no port {port_id}.")
    return found[0]


async def _nic_of(session: AsyncSession, server: Server, body: ConnectionBody) -> Nic | None:
    if body.wanted_kind is not ConnectionKind.DATA:
        return None
    if body.nic_id is not None or body.mac is not None:
        nic = next((nic for nic in server.nics if nic.id == body.nic_id or nic.mac == body.mac), None)
        if nic is None:
            raise NotFound(f"Server {server.id} has no network interface {body.mac or body.nic_id}.")
        return nic
    plugged = {row.nic_id for row in await queries.connection_rows(session, server.id)}
    free = [nic for nic in server.nics if nic.id not in plugged]
    return free[0] if len(free) == 1 else None


@server_router.post("/server/{id}/switch_connection/{connection_id}")
async def edit_connection(
    id: ObjectId,
    connection_id: ObjectId,
    session: Session,
    admin: Admin,
    actor: CurrentActor,
    body: EditConnection,
) -> IdAnswer:
    """Change a cable's NIC, notes, or whether its traffic is collected."""
    server = await servers.by_id(session, id, visible_to=admin)
    connection = await queries.connection_by_id(session, connection_id, server_id=server.id)
    values = body.model_dump(exclude_unset=True)
    if missing := [name for name, value in values.items() if value is None and name != "nic_id"]:
        raise Invalid(f"{missing[0]}: null is no value of it.")
    await service.edit_connection(session, connection, server, values=values, actor=actor)
    return IdAnswer(id=connection_id)


@server_router.delete("/server/{id}/switch_connection/{connection_id}")
async def delete_connection(
    id: ObjectId, connection_id: ObjectId, session: Session, admin: Admin, actor: CurrentActor
) -> IdAnswer:
    """Forget a cable."""
    server = await servers.by_id(session, id, visible_to=admin)
    connection = await queries.connection_by_id(session, connection_id, server_id=server.id)
    await service.disconnect(session, connection, server=server, actor=actor)
    return IdAnswer(id=connection_id)


# --- changing the ports of a server


@server_router.post("/server/{id}/suspend")
async def suspend(
    id: ObjectId,
    session: Session,
    admin: Admin,
    actor: CurrentActor,
    engine: CurrentEngine,
    dry_run: DryRun,
    body: SuspendBody | None = None,
) -> TaskAck:
    """Cut a server off: its data ports go down, the machine keeps running."""
    server = await servers.by_id(session, id, visible_to=admin)
    wish = PortWish(
        admin_status=AdminStatus.DOWN, ignore_wiring=bool(body and body.ignore_wiring), dry_run=dry_run
    )
    return await _enqueue(session, engine, SUSPEND, server, wish, actor)


@server_router.post("/server/{id}/resume")
async def resume(
    id: ObjectId,
    session: Session,
    admin: Admin,
    actor: CurrentActor,
    engine: CurrentEngine,
    dry_run: DryRun,
    body: SuspendBody | None = None,
) -> TaskAck:
    """Let a server in again: its data ports go up."""
    server = await servers.by_id(session, id, visible_to=admin)
    wish = PortWish(
        admin_status=AdminStatus.UP, ignore_wiring=bool(body and body.ignore_wiring), dry_run=dry_run
    )
    return await _enqueue(session, engine, RESUME, server, wish, actor)


@server_router.post("/server/{id}/port")
async def set_ports(
    id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: ServerPortsBody,
    dry_run: DryRun,
) -> TaskAck:
    """Set VLAN, speed or admin status of a server's data ports; a user may move them between its own VLANs."""
    server = await servers.by_id(session, id, visible_to=viewer)
    refuse_protected(server, "changes of its ports")
    wants_vlan = body.vlan is not None or body.vlan_id is not None
    if not wants_vlan and body.speed_mbit is None and body.admin_status is None:
        raise Invalid("Say what is to change: `vlan`, `speed_mbit` or `admin_status`.")
    if not viewer.is_admin and (
        body.ignore_wiring
        or body.speed_mbit is not None
        or body.admin_status is not None
        or server.is_suspended
    ):
        raise Forbidden("You may move the ports of your servers, unless suspended, into VLANs of yours.")
    vid = None
    if wants_vlan:
        vlan = await queries.vlan_for(
            session, server.location_id, visible_to=viewer, vlan_id=body.vlan_id, vid=body.vlan
        )
        service.refuse_vlan(server, vlan, viewer)
        vid = vlan.vid
    wish = PortWish(
        admin_status=body.admin_status,
        access_vlan=vid,
        speed_mbit=body.speed_mbit,
        connection_ids=body.connections,
        ignore_wiring=body.ignore_wiring,
        dry_run=dry_run,
    )
    return await _enqueue(session, engine, SET_PORTS, server, wish, actor)


async def _enqueue(
    session: AsyncSession,
    engine: CurrentEngine,
    operation: Operation[Server],
    server: Server,
    wish: PortWish,
    actor: CurrentActor,
) -> TaskAck:
    ports = await service.data_ports(session, server.id, wish.connection_ids)
    if not ports or len(ports) < len(set(wish.connection_ids)):
        raise Conflict(
            f"Server {server.id} has no such data connection. Write down where it is plugged in:"
            f" POST server/{server.id}/switch_connection."
        )
    task = await engine.enqueue(session, operation, server, actor=actor, params=wish)
    return TaskAck(id=server.id, task=task.id)


# --- VLANs


@vlan_router.get("/vlan", response_model=ListAnswer)
async def list_vlans(session: Session, viewer: CurrentUser, params: Params) -> Response:
    """List VLANs; a user sees its own."""
    page = await queries.vlan_page(session, params, visible_to=viewer)
    return list_response([vlan_row(row) for row in page.rows], page.size, await last_notify(session))


@vlan_router.get("/vlan/{id}", response_model=dict[str, Any])
async def get_vlan(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """Show a VLAN."""
    return json_response(vlan_row(await queries.vlan_row_by_id(session, id, visible_to=viewer)))


@vlan_router.post("/vlan")
async def add_vlan(session: Session, _admin: Admin, actor: CurrentActor, body: VlanBody) -> IdAnswer:
    """Add a VLAN. It must exist on the switches too: ports are moved into it, it is not made there."""
    vlan = await service.add_vlan(
        session,
        location_id=body.location_id,
        vid=body.vid,
        name=body.name,
        purpose=body.purpose,
        owner_id=body.owner,
        actor=actor,
    )
    return IdAnswer(id=vlan.id)


@vlan_router.post("/vlan/{id}")
async def edit_vlan(
    id: ObjectId, session: Session, admin: Admin, actor: CurrentActor, body: EditVlan
) -> IdAnswer:
    """Change a VLAN; `owner` null takes it from its owner."""
    row = await queries.vlan_row_by_id(session, id, visible_to=admin)
    values = body.model_dump(exclude_unset=True)
    if missing := [name for name, value in values.items() if value is None and name != "owner"]:
        raise Invalid(f"{missing[0]}: null is no value of it.")
    if "owner" in values:
        values["owner_id"] = values.pop("owner")
    await service.edit_vlan(session, row[0], values=values, actor=actor)
    return IdAnswer(id=id)


@vlan_router.delete("/vlan/{id}")
async def delete_vlan(id: ObjectId, session: Session, admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete a VLAN in which no port is."""
    row = await queries.vlan_row_by_id(session, id, visible_to=admin)
    await service.delete_vlan(session, row[0], actor=actor)
    return IdAnswer(id=id)
