"""PDUs as rows of outlets: what each feeds, what it draws, and switching it."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from rackhand.errors import Invalid
from rackhand.hardware.drivers import PDU_DRIVERS, setting_fields
from rackhand.http.lists import ListParams
from rackhand.power import pdu_api, queries, schemas
from rackhand.servers import queries as servers
from rackhand.tasks import queries as tasks
from rackhand.web.access import access_of, initial_access
from rackhand.web.listing import Listing, quoted
from rackhand.web.page import Page
from rackhand.web.routing import change, show
from rackhand.web.servers import places
from rackhand.web.texts import gettext

FIELDS = ("name", "model", "serial", "barcode", "notes")
MAX_OUTLETS = "200"


async def show_pdus(page: Page) -> Response:
    """The table of PDUs."""
    sorts = ("name", "model", "rack.name", "outlet_count", "used_outlets")
    listing = Listing(page, ("name", "model", "serial", "host", "notes"), sorts, order="name")
    found = await queries.pdu_page(page.session, listing.params)
    return page.render("pdus/list.html", listing=listing, rows=found.rows, size=found.size)


async def show_pdu(page: Page, id: int) -> Response:
    """A PDU and its outlets."""
    row = await queries.pdu_row_by_id(page.session, id)
    outlets = await queries.outlet_page(page.session, ListParams("", "", MAX_OUTLETS), pdu_id=id)
    last = await tasks.page(
        page.session,
        ListParams(f"subject.kind EQ 'pdu' AND subject.id EQ {id}", "id desc", "1"),
        visible_to=page.user,
    )
    return page.render("pdus/one.html", row=row, pdu=row[0], outlets=outlets.rows, tasks=last.rows)


async def change_outlet(page: Page, id: int) -> Response:
    """Switch an outlet, or write down what is plugged into it."""
    outlet_id = page.number("outlet")
    if outlet_id is None:
        raise Invalid("Choose an outlet first.")
    common: dict[str, Any] = {"id": id, "outlet_id": outlet_id, "session": page.session, "actor": page.actor}
    asked = page.typed.get("action", "")
    if asked == "connect":
        await _connect(page, common)
    elif asked == "disconnect":
        await pdu_api.disconnect_outlet(**common, admin=page.user)
    elif asked in {"on", "off", "cycle", "clear"}:
        given = {"problem": None} if asked == "clear" else {"action": asked}
        body = schemas.OutletBody.model_validate(given)
        await pdu_api.edit_outlet(
            **common, admin=page.user, engine=page.services.engine, body=body, dry_run=False
        )
        return page.go(f"/pdus/{id}", "saved" if asked == "clear" else "started")
    else:
        raise Invalid("Say what is to be done.")
    return page.go(f"/pdus/{id}", "saved")


async def _connect(page: Page, common: dict[str, Any]) -> None:
    """A server when one is called so, else something by its name."""
    name = page.typed.get("server", "").strip()
    found = await servers.page(
        page.session, ListParams(f"name EQ {quoted(name)}"), visible_to=page.user, parts=()
    )
    if found.rows:
        given = {"outlet_id": common["outlet_id"], **page.given("feed")}
        await pdu_api.add_connection(
            id=found.rows[0].id,
            session=page.session,
            admin=page.user,
            actor=page.actor,
            body=schemas.PduConnectionBody.model_validate(given),
        )
        return
    body = schemas.OutletDeviceBody.model_validate({"device_name": name})
    await pdu_api.connect_device(**common, _admin=page.user, body=body)


async def discover(page: Page, id: int) -> Response:
    """Have the outlets read."""
    await pdu_api.discover(
        id=id, session=page.session, _admin=page.user, actor=page.actor, engine=page.services.engine
    )
    return page.go(f"/pdus/{id}", "started")


async def _form(page: Page, title: str, initial: Mapping[str, Any], row: Any) -> Response:
    drivers = [
        (name, driver.title, driver.port, setting_fields(name, PDU_DRIVERS))
        for name, driver in PDU_DRIVERS.items()
    ]
    return page.render(
        "pdus/form.html", title=title, row=row, form=page.form(initial), drivers=drivers, **await places(page)
    )


async def show_new(page: Page) -> Response:
    """The form of a new PDU."""
    return await _form(page, gettext("Add a PDU"), {"driver": next(iter(PDU_DRIVERS))}, None)


def _values(page: Page) -> dict[str, Any]:
    values: dict[str, Any] = {name: page.typed.get(name, "").strip() for name in FIELDS}
    values |= {"rack_id": page.number("rack_id"), "unit": page.number("unit")}
    if (location := page.number("location_id")) is not None:
        values["location_id"] = location
    return values | access_of(page, PDU_DRIVERS)


async def add(page: Page) -> Response:
    """Add a PDU and read its outlets."""
    answer = await pdu_api.add_pdu(
        session=page.session,
        _admin=page.user,
        actor=page.actor,
        vault=page.services.vault,
        engine=page.services.engine,
        body=schemas.PduBody.model_validate(_values(page)),
    )
    return page.go(f"/pdus/{answer.id}", "started")


async def show_edit(page: Page, id: int) -> Response:
    """The form of a PDU."""
    pdu = await queries.pdu_by_id(page.session, id)
    names = (*FIELDS, "location_id", "rack_id", "unit")
    initial = {**{name: getattr(pdu, name) for name in names}, **initial_access(pdu)}
    return await _form(page, pdu.name, initial, pdu)


async def edit(page: Page, id: int) -> Response:
    """Keep what the form says, or delete the PDU."""
    common: dict[str, Any] = {"id": id, "session": page.session, "_admin": page.user, "actor": page.actor}
    if page.typed.get("action") == "delete":
        await pdu_api.delete_pdu(**common)
        return page.go("/pdus", "deleted")
    body = schemas.EditPdu.model_validate(_values(page))
    await pdu_api.edit_pdu(**common, vault=page.services.vault, body=body)
    return page.go(f"/pdus/{id}", "saved")


ROUTES = (
    show("/pdus", show_pdus),
    show("/pdus/new", show_new),
    change("/pdus/new", add, show_new),
    show("/pdus/{id:int}", show_pdu),
    change("/pdus/{id:int}/outlet", change_outlet, show_pdu),
    change("/pdus/{id:int}/discover", discover, show_pdu),
    show("/pdus/{id:int}/edit", show_edit),
    change("/pdus/{id:int}/edit", edit, show_edit),
)
