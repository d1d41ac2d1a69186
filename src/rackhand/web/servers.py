"""Servers: the table, one server, and what can be done to it."""

import csv
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response

from rackhand.deploy import api as deploy_api
from rackhand.deploy import release_api
from rackhand.deploy import service as deploy
from rackhand.deploy.schemas import ClearBody
from rackhand.errors import Invalid, NotFound
from rackhand.events import queries as events
from rackhand.hardware.drivers import DRIVERS, setting_fields
from rackhand.http.lists import ListParams
from rackhand.http.wire import TaskAck
from rackhand.ipam import api as ipam_api
from rackhand.ipam import schemas as ipam_schemas
from rackhand.power import api as power_api
from rackhand.servers import api as servers_api
from rackhand.servers import queries, schemas
from rackhand.switches import api as switches_api
from rackhand.tasks import queries as tasks
from rackhand.users import queries as users
from rackhand.web.access import access_of, initial_access
from rackhand.web.listing import Filter, Listing
from rackhand.web.next_step import next_step
from rackhand.web.page import Page
from rackhand.web.routing import SIGNED_IN, change, show
from rackhand.web.texts import gettext

TEXTS = ("name", "domain", "serial", "barcode", "model", "owner_email", "notes", "disks.serial")
SORTS = (
    "name",
    "status",
    "power_status",
    "configuration",
    "owner_email",
    "rack.name",
    "location.name",
    "created_at",
)
SHOWN_TASKS, SHOWN_EVENTS = 8, 15


async def filters(page: Page) -> list[Filter]:
    """The choices above the table."""
    found = [
        Filter(
            "power",
            gettext("Power"),
            [("on", gettext("On")), ("off", gettext("Off")), ("unknown", gettext("Unknown"))],
            "power_status EQ {}",
        )
    ]
    if not page.user.is_admin:
        return found
    places = await queries.location_page(page.session, ListParams(orderby="name"))
    configurations = await queries.configurations(page.session)
    special = {
        "available": "is_available EQ true",
        "broken": "power_unreachable_since IS NOT null OR bmc_connection.refused_at IS NOT null"
        " OR diagnostics_message IS NOT null OR operation.status EQ 'failed'",
        "new": "is_new EQ true",
        "suspended": "state EQ 'suspended'",
        "protected": "is_protected EQ true",
    }
    status = [
        ("available", gettext("Can be rented now")),
        ("free", gettext("In stock")),
        ("allocated", gettext("Rented")),
        ("maintenance", gettext("Maintenance")),
        ("quarantined", gettext("Quarantine")),
        ("broken", gettext("Something is wrong")),
        ("new", gettext("New")),
        ("suspended", gettext("Suspended")),
        ("protected", gettext("Protected")),
    ]
    return [
        Filter("status", gettext("State"), status, "status EQ {}", special),
        *found,
        Filter("configuration", gettext("Configuration"),
               [(name, name) for name in configurations], "configuration EQ {}"),
        Filter("location", gettext("Location"),
               [(str(row[0].id), row[0].name) for row in places.rows], "location_id EQ {}"),
    ]  # fmt: skip


async def listing_of(page: Page) -> Listing:
    """What the address asks of the table."""
    return Listing(
        page, TEXTS, SORTS, await filters(page), order="name", addresses=("ip.name",), macs=("mac",)
    )


async def show_servers(page: Page) -> Response:
    """The table; to a customer its own servers."""
    listing = await listing_of(page)
    parts = page.services.server_parts
    try:
        found = await queries.page(page.session, listing.params, visible_to=page.user, parts=parts)
        problem = ""
    except Invalid as refused:  # the filter that somebody wrote
        found, problem = None, refused.message
    rows = found.rows if found else []
    related = await queries.related(page.session, [row.id for row in rows], page.user, parts)
    return page.render(
        "servers/list.html",
        status=400 if problem else None,
        listing=listing,
        rows=[(row, parts_of(row.id, related)) for row in rows],
        size=found.size if found else 0,
        problem=problem,
    )


CSV_COLUMNS = ("id", "name", "domain", "configuration", "model", "serial", "power", "addresses")
CSV_OF_OPERATORS = ("state", "customer", "location", "rack", "unit", "notes")


async def export_servers(page: Page) -> Response:
    """Everything that fits the filter of the table, not a page of it alone, for a spreadsheet."""
    listing, parts = await listing_of(page), page.services.server_parts
    params = ListParams(listing.where, listing.sort)
    found = await queries.page(page.session, params, visible_to=page.user, parts=parts)
    related = await queries.related(page.session, [row.id for row in found.rows], page.user, parts)
    columns = CSV_COLUMNS + (CSV_OF_OPERATORS if page.user.is_admin else ())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for row in found.rows:
        values = {
            **{name: getattr(row, name) for name in ("id", "name", "domain", "configuration", "model", "serial")},
            "power": row.power_state,
            "addresses": " ".join(ip["name"] for ip in parts_of(row.id, related).get("ip", [])),
            "state": row.status, "customer": row.owner_email, "location": row.location_name,
            "rack": row.rack_name, "unit": row.unit, "notes": row.notes,
        }  # fmt: skip
        writer.writerow([plain_cell(values[name]) for name in columns])
    headers = {"content-disposition": 'attachment; filename="servers.csv"', "cache-control": "no-store"}
    return Response("\ufeff" + text.getvalue(), 200, headers, "text/csv")


def plain_cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return "" if value is None else value


def parts_of(server_id: int, related: queries.Related) -> Mapping[str, Any]:
    """What higher slices tell of a server, and its NICs and disks."""
    found: dict[str, Any] = {
        "nics": related.nics.get(server_id, []),
        "disks": related.disks.get(server_id, []),
    }
    for part, values in related.parts:
        found.update(values.get(server_id, part.defaults))
    return found


async def show_server(page: Page, id: int) -> Response:
    """Everything about one server."""
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    related = await queries.related(page.session, [id], page.user, page.services.server_parts)
    scope = None if page.user.is_admin else page.user.id
    here = f"subject.kind EQ 'server' AND subject.id EQ {id}"
    recent = await tasks.page(
        page.session, ListParams(where=here, orderby="id desc", limit=str(SHOWN_TASKS)), visible_to=page.user
    )
    history = await events.page(
        page.session, ListParams(where=here, orderby="id desc", limit=str(SHOWN_EVENTS)), owner_id=scope
    )
    last = next((task for task in recent.rows if task.id == row.last_task_id), None)
    return page.render(
        "servers/one.html",
        row=row,
        parts=parts_of(id, related),
        hardware=json.loads(row.hardware_info or "{}"),
        system=json.loads(row.os_template) if row.os_template else None,
        erasures=await deploy.erasures_of(page.session, id) if page.user.is_admin else (),
        tasks=recent,
        events=history,
        active=last if last is not None and last.is_active else None,
        next_step=next_step(row, last, for_admin=page.user.is_admin),
    )


async def show_state(page: Page, id: int) -> Response:
    """The line at the top and the power, as a page that is open asks for them again and again."""
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    active = None
    if row.last_task_id is not None:
        where = f"id EQ {row.last_task_id}"
        found = await tasks.page(page.session, ListParams(where=where, limit="1"), visible_to=page.user)
        active = found.rows[0] if found.rows else None
    return page.render(
        "servers/state.html",
        row=row,
        active=active if active is not None and active.is_active else None,
        next_step=next_step(row, active, for_admin=page.user.is_admin),
    )


# --- actions: the functions of the API, called with what it would be called with


async def switch_power(page: Page, id: int) -> Response:
    """Switch on, off or off and on, or have the state read."""
    services, asked = page.services, page.typed.get("action", "")
    common: dict[str, Any] = {"id": id, "session": page.session, "user": page.user}
    acting = {**common, "actor": page.actor, "engine": services.engine}
    if asked == "read":
        await power_api.get_power(**common, poller=services.poller)
        return page.go(f"/servers/{id}", "reading")
    if asked == "on":
        await power_api.power_on(**acting, poller=services.poller)
    elif asked in {"off", "soft"}:
        body = power_api.PowerBody(soft=asked == "soft")
        await power_api.power_off(**acting, poller=services.poller, body=body)
    elif asked == "reset":
        await power_api.power_reset(**acting)
    else:
        raise Invalid("Say what is to be done: on, off, soft, reset or read.")
    return page.go(f"/servers/{id}", "started")


async def set_owner(page: Page, id: int) -> Response:
    """Give the server to an account, or take it back."""
    common: dict[str, Any] = {"id": id, "session": page.session, "admin": page.user, "actor": page.actor}
    if page.typed.get("action") == "take":
        await release_api.take_owner(**common, engine=page.services.engine)
    else:
        email = page.typed.get("owner", "").strip()
        if not email:
            raise Invalid("owner: say whose server it is to be.")
        try:
            owner = await users.by_id_or_email(page.session, email, visible_to=page.user)
        except NotFound as missing:
            raise Invalid(f"owner: {missing.message}") from missing
        await servers_api.give_owner(**common, body=schemas.OwnerBody(owner=owner.id))
    return page.go(f"/servers/{id}", "saved")


async def set_state(page: Page, id: int) -> Response:
    """Maintenance, protection, quarantine, suspension: the button says what."""
    common: dict[str, Any] = {"id": id, "session": page.session, "admin": page.user, "actor": page.actor}
    asked = page.typed.get("action", "")
    if asked not in STATE_ACTIONS:
        raise Invalid("Say what is to be done.")
    await STATE_ACTIONS[asked](page, common)
    return page.go(f"/servers/{id}", "started" if asked in {"suspend", "resume"} else "saved")


async def _quarantine(page: Page, common: dict[str, Any]) -> None:
    body = schemas.QuarantineBody.model_validate({"reason": page.typed.get("reason", "").strip()})
    await servers_api.quarantine(**common, body=body)


def _flag(
    act: Callable[..., Awaitable[Any]], *, value: bool
) -> Callable[[Page, dict[str, Any]], Awaitable[Any]]:
    return lambda _page, common: act(**common, body=schemas.SwitchBody(value=value))


def _ports(act: Callable[..., Awaitable[TaskAck]]) -> Callable[[Page, dict[str, Any]], Awaitable[Any]]:
    return lambda page, common: act(**common, engine=page.services.engine, dry_run=False, body=None)


STATE_ACTIONS: Mapping[str, Callable[[Page, dict[str, Any]], Awaitable[Any]]] = {
    "maintain": _flag(servers_api.set_maintenance, value=True),
    "end_maintenance": _flag(servers_api.set_maintenance, value=False),
    "protect": _flag(servers_api.set_protection, value=True),
    "end_protection": _flag(servers_api.set_protection, value=False),
    "quarantine": _quarantine,
    "end_quarantine": lambda _page, common: servers_api.end_quarantine(**common),
    "suspend": _ports(switches_api.suspend),
    "resume": _ports(switches_api.resume),
}


async def set_notes(page: Page, id: int) -> Response:
    """Keep notes and the domain name, which customers may change too."""
    body = schemas.EditServer.model_validate(
        {
            "notes": page.typed.get("notes", "").replace("\r\n", "\n"),
            "domain": page.typed.get("domain", "").strip(),
        }
    )
    await _edit(page, id, body)
    return page.go(f"/servers/{id}", "saved")


async def _edit(page: Page, id: int, body: schemas.EditServer) -> None:
    await servers_api.edit_server(
        id=id, session=page.session, viewer=page.user, actor=page.actor, vault=page.services.vault, body=body
    )


# --- forms


async def show_edit(page: Page, id: int) -> Response:
    """The form of a server's own facts."""
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    initial = {
        **{name: getattr(row, name) for name in (*EDITED, "location_id", "rack_id", "unit")},
        "efi": row.efi, "is_new": row.is_new,
    }  # fmt: skip
    return page.render(
        "servers/edit.html", row=row, form=page.form(initial), **await places(page), title=row.name
    )


EDITED = ("name", "domain", "configuration", "type", "model", "serial", "barcode", "notes")


async def places(page: Page) -> dict[str, Any]:
    """Locations and racks to choose from."""
    locations = await queries.location_page(page.session, ListParams(orderby="name"))
    racks = await queries.rack_page(page.session, ListParams(orderby="name"))
    names = {row[0].id: row[0].name for row in locations.rows}
    return {
        "locations": [(row[0].id, row[0].name) for row in locations.rows],
        "racks": [(row[0].id, f"{names.get(row[0].location_id, '')} / {row[0].name}") for row in racks.rows],
    }


async def edit(page: Page, id: int) -> Response:
    """Keep what the form says."""
    values: dict[str, Any] = {name: page.typed.get(name, "").strip() for name in EDITED}
    values |= {
        "configuration": values["configuration"] or None,
        "rack_id": page.number("rack_id"),
        "unit": page.number("unit"),
        "efi": page.is_ticked("efi"),
        "is_new": page.is_ticked("is_new"),
    }
    if page.typed.get("location_id"):
        values["location_id"] = page.number("location_id")
    await _edit(page, id, schemas.EditServer.model_validate(values))
    return page.go(f"/servers/{id}", "saved")


async def show_bmc(page: Page, id: int) -> Response:
    """The form of the access to a BMC; the password is never shown."""
    server = await queries.by_id(page.session, id, visible_to=page.user)
    bmc = server.bmc
    initial: dict[str, Any] = {"driver": "ipmi"}
    if bmc is not None:
        initial = initial_access(bmc)
    return page.render(
        "servers/bmc.html", row=server, bmc=bmc, form=page.form(initial), drivers=driver_fields()
    )


def driver_fields() -> list[tuple[str, str, int, Any]]:
    """The kinds of BMC with the settings of each: name, title, usual port, fields."""
    return [(name, driver.title, driver.port, setting_fields(name)) for name, driver in DRIVERS.items()]


async def set_bmc(page: Page, id: int) -> Response:
    """Keep the access and have it tried at once; or forget it."""
    common: dict[str, Any] = {"id": id, "session": page.session, "admin": page.user, "actor": page.actor}
    if page.typed.get("action") == "forget":
        await servers_api.delete_bmc(**common)
        return page.go(f"/servers/{id}", "deleted")
    body = schemas.BmcBody.model_validate(access_of(page, DRIVERS))
    await servers_api.set_bmc(request=page.request, **common, vault=page.services.vault, body=body)
    return page.go(f"/servers/{id}", "reading")


async def delete(page: Page, id: int) -> Response:
    """Delete a server that nobody owns."""
    await servers_api.delete_server(id=id, session=page.session, admin=page.user, actor=page.actor)
    return page.go("/servers", "deleted")


async def set_nics(page: Page, id: int) -> Response:
    """Add a network interface, or delete one."""
    common: dict[str, Any] = {"id": id, "session": page.session, "admin": page.user, "actor": page.actor}
    nic_id = page.number("delete")
    if nic_id is not None:
        await servers_api.delete_nic(**common, nic_id=nic_id)
        return page.go(f"/servers/{id}#network", "deleted")
    given: dict[str, Any] = {"mac": page.typed.get("mac", ""), "name": page.typed.get("name", "").strip()}
    if (speed := page.number("speed_mbit")) is not None:
        given["speed_mbit"] = speed
    await servers_api.add_nic(**common, body=schemas.NicBody.model_validate(given))
    return page.go(f"/servers/{id}#network", "added")


async def add_address(page: Page, id: int) -> Response:
    """Give the server an address: a certain one, or the next free one."""
    body = ipam_schemas.AllocateBody.model_validate(page.given("family", "ip_name"))
    await ipam_api.allocate_address(
        id=id,
        session=page.session,
        viewer=page.user,
        actor=page.actor,
        engine=page.services.engine,
        body=body,
    )
    return page.go(f"/servers/{id}#network", "started")


async def start_operation(page: Page, id: int) -> Response:
    """Diagnose the server, or wipe its disks, for which its name has to be typed."""
    acting: dict[str, Any] = {
        "id": id, "session": page.session, "actor": page.actor, "engine": page.services.engine,
    }  # fmt: skip
    asked = page.typed.get("action", "")
    if asked == "diagnose" and page.user.is_admin:
        await deploy_api.operation_diag(**acting, admin=page.user)
    elif asked == "wipe":
        row = await queries.row_by_id(page.session, id, visible_to=page.user)
        if page.typed.get("confirm", "").strip() != row.name:
            raise Invalid(f"confirm: type {row.name} to have its disks wiped.")
        body = ClearBody.model_validate({"clear_hdd": page.typed.get("clear_hdd", "")})
        await deploy_api.operation_clear_hdd(**acting, user=page.user, body=body)
    else:
        raise Invalid("Say what is to be done.")
    return page.go(f"/servers/{id}", "started")


ROUTES = (
    show("/servers", show_servers, SIGNED_IN),
    show("/servers.csv", export_servers, SIGNED_IN),
    show("/servers/{id:int}", show_server, SIGNED_IN),
    show("/servers/{id:int}/state", show_state, SIGNED_IN),
    change("/servers/{id:int}/power", switch_power, show_server, SIGNED_IN),
    change("/servers/{id:int}/notes", set_notes, show_server, SIGNED_IN),
    change("/servers/{id:int}/operations", start_operation, show_server, SIGNED_IN),
    change("/servers/{id:int}/addresses", add_address, show_server, SIGNED_IN),
    change("/servers/{id:int}/owner", set_owner, show_server),
    change("/servers/{id:int}/set-state", set_state, show_server),
    show("/servers/{id:int}/edit", show_edit),
    change("/servers/{id:int}/edit", edit, show_edit),
    show("/servers/{id:int}/bmc", show_bmc),
    change("/servers/{id:int}/bmc", set_bmc, show_bmc),
    change("/servers/{id:int}/nics", set_nics, show_server),
    change("/servers/{id:int}/delete", delete, show_server),
)
