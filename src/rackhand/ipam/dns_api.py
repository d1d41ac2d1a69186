"""Routes of name servers and reverse zones."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from rackhand.dns.drivers import DNS_DRIVERS
from rackhand.errors import Invalid
from rackhand.events.queries import last_notify
from rackhand.hardware.drivers import setting_fields
from rackhand.http.dry_run import dry_run_route
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session
from rackhand.http.wire import IdAnswer, ListAnswer, ObjectId, json_response, list_response
from rackhand.ipam import dns, dns_queries
from rackhand.ipam.dns_schemas import (
    ACCESS_KEYS,
    DnsServerBody,
    DnsZoneBody,
    EditDnsServer,
    EditDnsZone,
    dns_server_row,
    dns_zone_row,
    ptr_row,
)
from rackhand.ipam.model import DnsServer
from rackhand.servers.access import AccessGiven
from rackhand.users.auth import Admin, CurrentActor
from rackhand.vault import Vault

router = APIRouter(prefix="/dci/v3", tags=["reverse DNS"], route_class=dry_run_route(dns.describe))

Params = Annotated[ListParams, Depends(list_params)]


async def _vault(request: Request) -> Vault:
    vault: Vault = request.app.state.services.vault
    return vault


CurrentVault = Annotated[Vault, Depends(_vault)]


# --- name servers


@router.get("/dns_server", response_model=ListAnswer)
async def list_dns_servers(session: Session, _admin: Admin, params: Params) -> Response:
    """List DNS servers."""
    page = await dns_queries.server_page(session, params)
    return list_response([dns_server_row(row) for row in page.rows], page.size, await last_notify(session))


@router.get("/dns_driver", response_model=ListAnswer)
async def list_dns_drivers(session: Session, _admin: Admin) -> Response:
    """List the kinds of DNS server that can be told, with the settings that each takes."""
    rows = [
        {"name": name, "title": driver.title, "port": driver.port,
         "settings": [asdict(each) for each in setting_fields(name, DNS_DRIVERS)]}
        for name, driver in DNS_DRIVERS.items()
    ]  # fmt: skip
    return list_response(rows, len(rows), await last_notify(session))


@router.get("/dns_server/{id}", response_model=dict[str, Any])
async def get_dns_server(id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show a DNS server."""
    return json_response(dns_server_row(await dns.server_by_id(session, id)))


@router.post("/dns_server")
async def add_dns_server(
    session: Session, _admin: Admin, actor: CurrentActor, vault: CurrentVault, body: DnsServerBody
) -> IdAnswer:
    """Add a DNS server. It is asked when a zone of it has something to publish."""
    given = AccessGiven(
        driver=body.driver,
        host=body.host,
        port=body.port,
        user=body.user,
        password=body.password.get_secret_value() if body.password else None,
        settings=body.settings,
    )
    server = await dns.add_server(
        session, name=body.name, note=body.note, given=given, vault=vault, actor=actor
    )
    return IdAnswer(id=server.id)


@router.post("/dns_server/{id}")
async def edit_dns_server(
    id: ObjectId,
    session: Session,
    _admin: Admin,
    actor: CurrentActor,
    vault: CurrentVault,
    body: EditDnsServer,
) -> IdAnswer:
    """Change a DNS server; what failed on it is tried again at once."""
    server = await dns.server_by_id(session, id)
    values = body.model_dump(exclude_unset=True, exclude=ACCESS_KEYS)
    if missing := [name for name, value in values.items() if value is None]:
        raise Invalid(f"{missing[0]}: null is no value of it.")
    given = _access_of(server, body) if body.model_fields_set & ACCESS_KEYS else None
    await dns.edit_server(session, server, values=values, given=given, vault=vault, actor=actor)
    return IdAnswer(id=id)


def _access_of(server: DnsServer, body: EditDnsServer) -> AccessGiven:
    return AccessGiven(
        driver=body.driver or server.driver,
        host=body.host or server.host,
        port=body.port or server.port,
        user=server.user if body.user is None else body.user,
        password=body.password.get_secret_value() if body.password else None,
        settings=server.settings if body.settings is None else body.settings,
    )


@router.delete("/dns_server/{id}")
async def delete_dns_server(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete a DNS server without zones."""
    await dns.delete_server(session, await dns.server_by_id(session, id), actor=actor)
    return IdAnswer(id=id)


# --- zones and names


@router.get("/dns_zone", response_model=ListAnswer)
async def list_dns_zones(session: Session, _admin: Admin, params: Params) -> Response:
    """List reverse zones."""
    page = await dns_queries.zone_page(session, params)
    return list_response([dns_zone_row(row) for row in page.rows], page.size, await last_notify(session))


@router.get("/dns_zone/{id}", response_model=dict[str, Any])
async def get_dns_zone(id: ObjectId, session: Session, _admin: Admin) -> Response:
    """Show a reverse zone."""
    return json_response(dns_zone_row(await dns_queries.zone_row_by_id(session, id)))


@router.post("/dns_zone")
async def add_dns_zone(session: Session, _admin: Admin, actor: CurrentActor, body: DnsZoneBody) -> IdAnswer:
    """Add a reverse zone, which must be there on its DNS server; the names of addresses in it are published."""
    zone = await dns.add_zone(
        session,
        name=body.name,
        network=body.network,
        dns_server_id=body.dns_server,
        userspace_id=body.userspace,
        ttl=body.ttl,
        actor=actor,
    )
    return IdAnswer(id=zone.id)


@router.post("/dns_zone/{id}")
async def edit_dns_zone(
    id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor, body: EditDnsZone
) -> IdAnswer:
    """Change the DNS server or the TTL of a reverse zone; its names are published anew."""
    zone = await dns.zone_by_id(session, id)
    spelt = {"dns_server": "dns_server_id", "ttl": "ttl"}
    values = {spelt[name]: value for name, value in body.model_dump(exclude_none=True).items()}
    await dns.edit_zone(session, zone, values, actor=actor)
    return IdAnswer(id=id)


@router.post("/dns_zone/{id}/publish")
async def publish_dns_zone(id: ObjectId, session: Session, _admin: Admin) -> dict[str, int]:
    """Have every name of a reverse zone compared with its DNS server, and put right; `names` says how many."""
    return {"id": id, "names": await dns.publish_zone(session, await dns.zone_by_id(session, id))}


@router.delete("/dns_zone/{id}")
async def delete_dns_zone(id: ObjectId, session: Session, _admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Forget a reverse zone; its DNS server is left as it is."""
    await dns.delete_zone(session, await dns.zone_by_id(session, id), actor=actor)
    return IdAnswer(id=id)


@router.get("/dns_record", response_model=ListAnswer)
async def list_dns_records(session: Session, _admin: Admin, params: Params) -> Response:
    """List what DNS servers are to say of which address, and whether they do."""
    page = await dns_queries.ptr_page(session, params)
    return list_response([ptr_row(row) for row in page.rows], page.size, await last_notify(session))
