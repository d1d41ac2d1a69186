"""Routes of address management.

In the product this API comes from the manager of addresses is a service of its own, reached directly (`ip/v3`) and
through others (`vm/v3`, `dci/v3`): its routes are declared once and served under each (api-facts 6.1).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import Database
from rackhand.errors import Forbidden, Invalid, NotFound
from rackhand.events.queries import last_notify
from rackhand.events.service import Actor
from rackhand.http.dry_run import dry_run_route
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session
from rackhand.http.wire import Body, IdAnswer, ListAnswer, ObjectId, TaskAck, json_response, list_response
from rackhand.ipam import dns, exchange, places, queries, service
from rackhand.ipam.model import PUBLIC
from rackhand.ipam.operations import (
    DEFAULT_QUARANTINE_HOURS,
    request_allocation,
    request_edit,
    request_release,
)
from rackhand.ipam.schemas import (
    AllocateBody,
    EditAddress,
    EditNetwork,
    EditPool,
    ImportBody,
    KeepBackBody,
    NetworkBody,
    PoolBody,
    PtrBody,
    QuotaBody,
    RangeBody,
    ServerAddressBody,
    UserspaceBody,
    address_row,
    network_row,
    pool_row,
    range_row,
    server_address_row,
    userspace_row,
)
from rackhand.servers import queries as servers
from rackhand.servers.queries import ServerPart
from rackhand.tasks.api import CurrentEngine
from rackhand.tasks.engine import Engine
from rackhand.users.auth import Admin, CurrentActor, CurrentUser
from rackhand.users.model import User

_Route = dry_run_route(dns.describe)
server_router = APIRouter(prefix="/dci/v3", tags=["addresses"], route_class=_Route)
address_router = APIRouter(tags=["addresses"], route_class=_Route)
network_router = APIRouter(tags=["networks"], route_class=_Route)
transfer_router = APIRouter(prefix="/ip/v3", tags=["networks"], route_class=_Route)

Params = Annotated[ListParams, Depends(list_params)]
SpaceName = Annotated[
    str, PathParameter(pattern=r"^(public|[0-9]{1,18})$", description="Number of a user space, or `public`")
]


async def _load_server_part(
    session: AsyncSession, server_ids: Sequence[int], _viewer: User
) -> Mapping[int, Mapping[str, object]]:
    found = await queries.addresses_of(session, server_ids)
    return {
        server_id: {
            "ip": [server_address_row(row) for row in rows[: queries.MOST_SHOWN]],
            "ip_is_cut": len(rows) > queries.MOST_SHOWN,
        }
        for server_id, rows in found.items()
    }


SERVER_PART = ServerPart({"ip": [], "ip_is_cut": False}, _load_server_part, queries.SERVER_FIELDS)


# --- addresses of a server


@server_router.get("/server/{id}/ip", response_model=ListAnswer)
async def list_server_addresses(
    id: ObjectId, session: Session, viewer: CurrentUser, params: Params
) -> Response:
    """List the addresses of a server."""
    await servers.by_id(session, id, visible_to=viewer)
    page = await queries.address_page(session, params, visible_to=viewer, server_id=id)
    rows = (address_row(row, for_admin=viewer.is_admin) for row in page.rows)
    return list_response(rows, page.size, await last_notify(session))


@server_router.post("/server/{id}/ip")
async def allocate_address(
    id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: AllocateBody | None = None,
) -> TaskAck:
    """Give a server an address; `id` is that of the address. A user takes from public pools within its quota."""
    asked = body or AllocateBody()
    wanted = service.Wanted(
        name=asked.ip_name,
        network_id=asked.ip_net,
        pool_id=asked.ip_pool,
        userspace_id=asked.userspace,
        version=asked.family,
        prefix_length=asked.prefix,
        domain=asked.domain,
        ignore_quarantine=asked.ignore_quarantine,
    )
    answer = await request_allocation(
        session, engine, id, wanted=wanted, make_main=asked.set_as_main_ipv4, viewer=viewer, actor=actor
    )
    return TaskAck(id=answer.address_id, task=answer.task_id)


@server_router.get("/server/{id}/ip/{ip_id}", response_model=dict[str, Any])
async def get_server_address(
    id: ObjectId, ip_id: ObjectId, session: Session, viewer: CurrentUser
) -> Response:
    """Show an address of a server."""
    await servers.by_id(session, id, visible_to=viewer)
    await queries.address_by_id(session, ip_id, visible_to=viewer, server_id=id)
    row = await queries.address_row_by_id(session, ip_id, visible_to=viewer)
    return json_response(address_row(row, for_admin=viewer.is_admin))


@server_router.post("/server/{id}/ip/{ip_id}")
async def remove_or_edit_address(
    id: ObjectId,
    ip_id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: ServerAddressBody | None = None,
) -> TaskAck | IdAnswer:
    """Remove an address from a server; a body with `domain` or `set_as_main_ipv4` changes it instead."""
    asked = body or ServerAddressBody()
    if asked.domain is None and asked.set_as_main_ipv4 is None:
        return await _remove(session, engine, id, ip_id, asked.quarantine_hours, viewer=viewer, actor=actor)
    server = await service.held_server(session, id, visible_to=viewer)
    address = await queries.address_by_id(session, ip_id, visible_to=viewer, server_id=server.id)
    if asked.set_as_main_ipv4:
        await service.set_main(session, address, actor=actor)
    task_id = None
    if asked.domain is not None:
        task_id = await request_edit(session, engine, address, {"domain": asked.domain}, actor=actor)
    return IdAnswer(id=address.id) if task_id is None else TaskAck(id=address.id, task=task_id)


@server_router.delete("/server/{id}/ip/{ip_id}")
async def remove_address(
    id: ObjectId,
    ip_id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: ServerAddressBody | None = None,
) -> TaskAck:
    """Remove an address from a server; nobody else gets it for 24 hours, or `quarantine_hours`."""
    hours = body.quarantine_hours if body else None
    return await _remove(session, engine, id, ip_id, hours, viewer=viewer, actor=actor)


async def _remove(
    session: AsyncSession,
    engine: Engine,
    server_id: int,
    address_id: int,
    quarantine_hours: int | None,
    *,
    viewer: User,
    actor: Actor,
) -> TaskAck:
    if quarantine_hours is not None and not viewer.is_admin:
        raise Forbidden("The quarantine of addresses is for administrators to set.")
    hours = DEFAULT_QUARANTINE_HOURS if quarantine_hours is None else quarantine_hours
    answer = await request_release(
        session, engine, server_id, address_id, quarantine_hours=hours, viewer=viewer, actor=actor
    )
    return TaskAck(id=answer.address_id, task=answer.task_id)


@server_router.get("/user/{id}/ip_quota", response_model=dict[str, int])
async def get_quota(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """Show how many addresses a user may take itself, and how many its servers have."""
    if not viewer.is_admin and viewer.id != id:
        raise NotFound(f"There is no user {id}.")
    quota = await queries.quota_of(session, id)
    used = {f"used_ipv{version}": await queries.taken_by_owner(session, id, version) for version in (4, 6)}
    return json_response({"id": id, "ipv4": quota.ipv4, "ipv6": quota.ipv6, **used})


@server_router.post("/user/{id}/ip_quota")
async def set_quota(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, body: QuotaBody
) -> IdAnswer:
    """Set how many addresses a user may take itself."""
    await service.set_quota(session, id, body.model_dump(exclude_none=True), actor=actor)
    return IdAnswer(id=id)


# --- all addresses


@address_router.get("/ip", response_model=ListAnswer)
async def list_addresses(session: Session, viewer: CurrentUser, params: Params) -> Response:
    """List addresses that are not free; a user sees those of its own servers."""
    page = await queries.address_page(session, params, visible_to=viewer)
    rows = (address_row(row, for_admin=viewer.is_admin) for row in page.rows)
    return list_response(rows, page.size, await last_notify(session))


@address_router.post("/ip")
async def keep_back_address(
    session: Session, _admin: Admin, actor: CurrentActor, body: KeepBackBody
) -> IdAnswer:
    """Keep an address, or a prefix, from being handed out."""
    address = await service.keep_back(
        session, name=body.name, userspace_id=body.userspace, domain=body.domain, note=body.note, actor=actor
    )
    return IdAnswer(id=address.id)


@address_router.get("/ip/{id}", response_model=dict[str, Any])
async def get_address(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """Show an address."""
    row = await queries.address_row_by_id(session, id, visible_to=viewer)
    return json_response(address_row(row, for_admin=viewer.is_admin))


@address_router.post("/ip/{id}")
async def edit_address(
    id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: EditAddress,
) -> TaskAck | IdAnswer:
    """Change the domain of an address; administrators may change its note as well."""
    address = await queries.address_by_id(session, id, visible_to=viewer)
    values = _values(body)
    if "note" in values and not viewer.is_admin:
        raise Forbidden("You may change the domain of your addresses.")
    task_id = await request_edit(session, engine, address, values, actor=actor)
    return IdAnswer(id=id) if task_id is None else TaskAck(id=id, task=task_id)


@address_router.delete("/ip/{id}")
async def free_address(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Make free an address that was kept back or is in quarantine."""
    await service.free_address(session, id, actor=actor)
    return IdAnswer(id=id)


@address_router.post("/ip/{id}/ptr")
async def set_ptr(
    id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    body: PtrBody,
) -> TaskAck | IdAnswer:
    """Set the reverse name of an address; there is a `task` where a name server is told at once."""
    address = await queries.address_by_id(session, id, visible_to=viewer)
    task_id = await request_edit(session, engine, address, {"ptr": body.domain}, actor=actor)
    return IdAnswer(id=id) if task_id is None else TaskAck(id=id, task=task_id)


# --- networks


@network_router.get("/ipnet", response_model=ListAnswer)
async def list_networks(session: Session, _admin: Admin, params: Params) -> Response:
    """List networks."""
    page = await queries.network_page(session, params)
    counters = await queries.network_counters(session, page.rows)
    rows = (network_row(network, counters[network.id]) for network in page.rows)
    return list_response(rows, page.size, await last_notify(session))


@network_router.get("/ipnet/{id}", response_model=dict[str, Any])
async def get_network(id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show a network."""
    network = await queries.network_by_id(session, id)
    counters = await queries.network_counters(session, [network])
    return json_response(network_row(network, counters[id]))


@network_router.post("/ipnet")
async def add_network(session: Session, _admin: Admin, actor: CurrentActor, body: NetworkBody) -> IdAnswer:
    """Add a network to a user space, the public one unless `userspace` says another."""
    return await _add_network(session, body, body.userspace, actor)


@network_router.post("/userspace/{space}/ipnet")
async def add_network_to_space(
    space: SpaceName, session: Session, _admin: Admin, actor: CurrentActor, body: NetworkBody
) -> IdAnswer:
    """Add a network to a user space."""
    return await _add_network(session, body, _space_id(space), actor)


async def _add_network(
    session: AsyncSession, body: NetworkBody, userspace_id: int | None, actor: Actor
) -> IdAnswer:
    values = body.model_dump(exclude={"userspace"})
    network = await places.add_network(session, **values, userspace_id=userspace_id, actor=actor)
    return IdAnswer(id=network.id)


@network_router.post("/ipnet/{id}")
async def edit_network(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, body: EditNetwork
) -> IdAnswer:
    """Change a network."""
    network = await queries.network_by_id(session, id)
    await places.edit_network(
        session, network, _values(body, nullable={"gateway", "location_id"}), actor=actor
    )
    return IdAnswer(id=id)


@network_router.delete("/ipnet/{id}")
async def delete_network(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete a network without addresses of servers."""
    await places.delete_network(session, id, actor=actor)
    return IdAnswer(id=id)


# --- pools and ranges


@network_router.get("/ippool", response_model=ListAnswer)
async def list_pools(session: Session, _admin: Admin, params: Params) -> Response:
    """List pools."""
    page = await queries.pool_page(session, params)
    counters = await queries.pool_counters(session, page.rows)
    rows = (pool_row(pool, counters[pool.id]) for pool in page.rows)
    return list_response(rows, page.size, await last_notify(session))


@network_router.get("/ippool/{id}", response_model=dict[str, Any])
async def get_pool(id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show a pool."""
    pool = await queries.pool_by_id(session, id)
    counters = await queries.pool_counters(session, [pool])
    return json_response(pool_row(pool, counters[id]))


@network_router.post("/ippool")
async def add_pool(session: Session, _admin: Admin, actor: CurrentActor, body: PoolBody) -> IdAnswer:
    """Add a pool; users may take from it when `is_public` says so."""
    return await _add_pool(session, body, body.userspace, is_public=bool(body.is_public), actor=actor)


@network_router.post("/userspace/{space}/ippool")
async def add_pool_to_space(
    space: SpaceName, session: Session, _admin: Admin, actor: CurrentActor, body: PoolBody
) -> IdAnswer:
    """Add a pool to a user space; in the public one it is public unless `is_public` says otherwise."""
    is_public = space == PUBLIC if body.is_public is None else body.is_public
    return await _add_pool(session, body, _space_id(space), is_public=is_public, actor=actor)


async def _add_pool(
    session: AsyncSession, body: PoolBody, userspace_id: int | None, *, is_public: bool, actor: Actor
) -> IdAnswer:
    values = body.model_dump(exclude={"userspace", "is_public"})
    pool = await places.add_pool(
        session, **values, is_public=is_public, userspace_id=userspace_id, actor=actor
    )
    return IdAnswer(id=pool.id)


@network_router.post("/ippool/{id}")
async def edit_pool(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, body: EditPool
) -> IdAnswer:
    """Change a pool."""
    pool = await queries.pool_by_id(session, id)
    await places.edit_pool(session, pool, _values(body, nullable={"location_id", "rack_id"}), actor=actor)
    return IdAnswer(id=id)


@network_router.delete("/ippool/{id}")
async def delete_pool(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete a pool and its ranges, unless servers have addresses of it."""
    await places.delete_pool(session, await queries.pool_by_id(session, id), actor=actor)
    return IdAnswer(id=id)


@network_router.get("/ippool/{id}/range", response_model=ListAnswer)
async def list_ranges_of_pool(id: ObjectId, session: Session, _admin: Admin, params: Params) -> Response:
    """List the ranges of a pool."""
    await queries.pool_by_id(session, id)
    page = await queries.range_page(session, params, pool_id=id)
    return list_response((range_row(row) for row in page.rows), page.size, await last_notify(session))


@network_router.post("/ippool/{id}/range")
async def add_range(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, body: RangeBody
) -> IdAnswer:
    """Add addresses to a pool."""
    pool = await queries.pool_by_id(session, id)
    return IdAnswer(id=(await places.add_range(session, pool, body.name, actor=actor)).id)


@network_router.get("/range", response_model=ListAnswer)
async def list_ranges(session: Session, _admin: Admin, params: Params) -> Response:
    """List the ranges of all pools."""
    page = await queries.range_page(session, params)
    return list_response((range_row(row) for row in page.rows), page.size, await last_notify(session))


@network_router.get("/range/{id}", response_model=dict[str, Any])
async def get_range(id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show a range."""
    return json_response(range_row(await queries.range_by_id(session, id)))


@network_router.delete("/range/{id}")
async def delete_range(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Take a range out of its pool, unless servers have addresses of it."""
    await places.delete_range(session, await queries.range_by_id(session, id), actor=actor)
    return IdAnswer(id=id)


# --- user spaces


@network_router.get("/userspace", response_model=ListAnswer)
async def list_userspaces(session: Session, _admin: Admin, params: Params) -> Response:
    """List user spaces; the public one is there once it is used."""
    page = await queries.userspace_page(session, params)
    return list_response((userspace_row(row) for row in page.rows), page.size, await last_notify(session))


@network_router.post("/userspace")
async def add_userspace(
    session: Session, _admin: Admin, actor: CurrentActor, body: UserspaceBody
) -> IdAnswer:
    """Add a user space."""
    return IdAnswer(id=(await places.add_userspace(session, name=body.name, note=body.note, actor=actor)).id)


@network_router.delete("/userspace/{id}")
async def delete_userspace(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete an empty user space."""
    await places.delete_userspace(session, await queries.userspace_by_id(session, id), actor=actor)
    return IdAnswer(id=id)


# --- import and export


@transfer_router.post("/import", response_model=ListAnswer)
async def import_lines(session: Session, admin: Admin, actor: CurrentActor, body: ImportBody) -> Response:
    """Add networks, pools, ranges and addresses; the answer has a row per line. With `dry_run` nothing is kept."""
    if (body.lines is None) == (body.csv is None):
        raise Invalid("Give `csv` or `lines`.")
    given = exchange.read_csv(body.csv) if body.csv is not None else body.lines or []
    async with session.begin_nested() as savepoint:
        report = await exchange.read_lines(session, given, viewer=admin, actor=actor)
        if body.dry_run:
            await savepoint.rollback()
    return list_response(report, len(report), await last_notify(session))


@transfer_router.get("/export", response_class=StreamingResponse)
async def export_lines(
    request: Request,
    _admin: Admin,
    format: Annotated[Literal["csv", "json"], Query(description="`csv` or `json`")] = "csv",
    kind: Annotated[
        str, Query(description="Some of network, pool, range and address, separated by commas")
    ] = ",".join(exchange.KINDS),
) -> StreamingResponse:
    """Write networks, pools, ranges and addresses as `import` takes them: CSV, or JSON with `lines`."""
    kinds = [each.strip() for each in kind.split(",") if each.strip()]
    if unknown := [each for each in kinds if each not in exchange.KINDS]:
        raise Invalid(f"kind: expected some of {', '.join(exchange.KINDS)}, got {unknown[0][:40]!r}.")
    db: Database = request.app.state.services.db

    async def send() -> AsyncIterator[bytes]:
        async with db.read() as session:  # that of the request is over when this is sent
            found = exchange.lines(session, kinds)
            async for piece in exchange.as_csv(found) if format == "csv" else exchange.as_json(found):
                yield piece

    if format == "json":
        return StreamingResponse(send(), media_type="application/json")
    headers = {"content-disposition": 'attachment; filename="addresses.csv"'}
    return StreamingResponse(send(), headers=headers, media_type="text/csv; charset=utf-8")


def _space_id(space: str) -> int | None:
    return None if space == PUBLIC else int(space)


def _values(body: Body, *, nullable: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
    values = body.model_dump(exclude_unset=True)
    if missing := [name for name, value in values.items() if value is None and name not in nullable]:
        raise Invalid(f"{missing[0]}: null is no value of it.")
    return values


router = APIRouter()
router.include_router(server_router)
router.include_router(transfer_router)
for _service in ("/ip/v3", "/vm/v3", "/dci/v3"):
    router.include_router(address_router, prefix=_service)
    router.include_router(network_router, prefix=_service)
router.include_router(address_router, prefix="/dci/v3/ipmgr")
