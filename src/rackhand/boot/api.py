"""What an operator sees of machines that boot and are in no inventory."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy import exists, select

from rackhand.boot.model import DiscoveredMachine
from rackhand.events.queries import last_notify
from rackhand.http.lists import ListParams, fetch_page, list_params
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.where import Field, FieldKind, Fields
from rackhand.http.wire import ListAnswer, list_response, wire_time
from rackhand.servers.model import Nic
from rackhand.users.auth import Admin

router = APIRouter(prefix="/dci/v3", tags=["servers"], route_class=TransactionRoute)

FIELDS: Fields = {
    "mac": Field(DiscoveredMachine.mac, FieldKind.TEXT),
    "platform": Field(DiscoveredMachine.platform, FieldKind.TEXT),
    "serial": Field(DiscoveredMachine.serial, FieldKind.TEXT),
    "uuid": Field(DiscoveredMachine.uuid, FieldKind.TEXT),
    "address": Field(DiscoveredMachine.address, FieldKind.TEXT),
    "times": Field(DiscoveredMachine.times, FieldKind.INTEGER),
    "first_seen_at": Field(DiscoveredMachine.first_seen_at, FieldKind.TIME),
    "last_seen_at": Field(DiscoveredMachine.last_seen_at, FieldKind.TIME),
}


@router.get("/discovered_machine", response_model=ListAnswer)
async def list_discovered(
    session: Session, _admin: Admin, params: Annotated[ListParams, Depends(list_params)]
) -> Response:
    """List machines that asked for something to boot and belong to no server; `POST server` with the MAC adds one."""
    query = select(DiscoveredMachine).where(~exists().where(Nic.mac == DiscoveredMachine.mac))
    page = await fetch_page(session, query, params, FIELDS, tie_breaker=DiscoveredMachine.mac)
    rows = [
        {
            "mac": machine.mac,
            "platform": machine.platform,
            "serial": machine.serial,
            "uuid": machine.uuid,
            "address": machine.address,
            "times": machine.times,
            "first_seen_at": wire_time(machine.first_seen_at),
            "last_seen_at": wire_time(machine.last_seen_at),
        }
        for machine in page.rows
    ]
    return list_response(rows, page.size, await last_notify(session))
