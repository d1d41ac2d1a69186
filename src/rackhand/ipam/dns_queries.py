"""Reading name servers, zones and reverse names."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import AnyRow, AnySelect
from rackhand.errors import NotFound
from rackhand.http.lists import ListParams, Page, fetch_page
from rackhand.http.where import Field, FieldKind, Fields
from rackhand.ipam.model import DnsServer, DnsZone, PtrRecord, PtrState

_NAMES = select(func.count()).select_from(PtrRecord).where(PtrRecord.zone_id == DnsZone.id).correlate(DnsZone)
NAMES = _NAMES.scalar_subquery()
FAILED = _NAMES.where(PtrRecord.state == PtrState.FAILED).scalar_subquery()

SERVER_FIELDS: Fields = {
    "id": Field(DnsServer.id, FieldKind.INTEGER),
    "name": Field(DnsServer.name, FieldKind.TEXT),
    "note": Field(DnsServer.note, FieldKind.TEXT),
    "driver": Field(DnsServer.driver, FieldKind.TEXT),
    "host": Field(DnsServer.host, FieldKind.TEXT),
    "error": Field(DnsServer.error, FieldKind.TEXT),
    "seen_at": Field(DnsServer.seen_at, FieldKind.TIME),
}
ZONE_FIELDS: Fields = {
    "id": Field(DnsZone.id, FieldKind.INTEGER),
    "name": Field(DnsZone.name, FieldKind.TEXT),
    "network": Field(DnsZone.cidr, FieldKind.TEXT),
    "address": Field(DnsZone.first, FieldKind.ADDRESS),
    "dns_server": Field(DnsZone.dns_server_id, FieldKind.INTEGER),
    "userspace": Field(DnsZone.userspace_id, FieldKind.INTEGER),
    "ttl": Field(DnsZone.ttl, FieldKind.INTEGER),
    "names": Field(NAMES, FieldKind.INTEGER),
    "failed": Field(FAILED, FieldKind.INTEGER),
}
PTR_FIELDS: Fields = {
    "id": Field(PtrRecord.id, FieldKind.INTEGER),
    "ip_addr": Field(PtrRecord.key, FieldKind.ADDRESS, text=PtrRecord.name),
    "target": Field(PtrRecord.target, FieldKind.TEXT),
    "state": Field(PtrRecord.state, FieldKind.TEXT),
    "error": Field(PtrRecord.error, FieldKind.TEXT),
    "zone": Field(PtrRecord.zone_id, FieldKind.INTEGER),
    "dns_server": Field(DnsZone.dns_server_id, FieldKind.INTEGER),
    "userspace": Field(PtrRecord.userspace_id, FieldKind.INTEGER),
    "changed_at": Field(PtrRecord.changed_at, FieldKind.TIME),
    "next_try_at": Field(PtrRecord.try_at, FieldKind.TIME),
}


async def server_page(session: AsyncSession, params: ListParams) -> Page[DnsServer]:
    """Name servers."""
    return await fetch_page(session, select(DnsServer), params, SERVER_FIELDS, tie_breaker=DnsServer.id)


def _zones() -> AnySelect:
    return (
        select(DnsZone, DnsServer.name.label("server_name"), NAMES.label("names"), FAILED.label("failed"))
        .join(DnsServer, DnsServer.id == DnsZone.dns_server_id)
        .order_by(DnsZone.userspace_id, DnsZone.first, DnsZone.prefix_length)
    )


async def zone_page(session: AsyncSession, params: ListParams) -> Page[AnyRow]:
    """Zones with the numbers of their names."""
    return await fetch_page(session, _zones(), params, ZONE_FIELDS, tie_breaker=DnsZone.id)


async def zone_row_by_id(session: AsyncSession, zone_id: int) -> AnyRow:
    """One zone as `zone_page` gives it."""
    found: AnyRow | None = (await session.execute(_zones().where(DnsZone.id == zone_id))).one_or_none()
    if found is None:
        raise NotFound(f"There is no DNS zone {zone_id}.")
    return found


async def ptr_page(session: AsyncSession, params: ListParams) -> Page[AnyRow]:
    """Reverse names."""
    query = (
        select(
            PtrRecord,
            DnsZone.name.label("zone_name"),
            DnsServer.id.label("server_id"),
            DnsServer.name.label("server_name"),
        )
        .join(DnsZone, DnsZone.id == PtrRecord.zone_id)
        .join(DnsServer, DnsServer.id == DnsZone.dns_server_id)
    )
    return await fetch_page(session, query, params, PTR_FIELDS, tie_breaker=PtrRecord.id)
