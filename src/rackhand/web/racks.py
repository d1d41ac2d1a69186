"""Racks as they stand: elevations side by side, one rack with what is in it, and the forms of racks and locations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from rackhand.db import AnyRow
from rackhand.http.lists import ListParams
from rackhand.power import queries as power
from rackhand.servers import api, queries, schemas
from rackhand.servers.model import Rack
from rackhand.switches import queries as switches
from rackhand.web.listing import Filter, Listing
from rackhand.web.page import Page
from rackhand.web.routing import change, show
from rackhand.web.texts import gettext, marked

SIDE_BY_SIDE = 12
UNIT_HEIGHT = 14  # of the picture, in its own units
ACTIVE = {"queued", "running", "waiting"}


@dataclass(frozen=True)
class Device:
    """What stands in a unit; *state* names the picture and the colour, *words* say the same."""

    name: str
    url: str
    unit: int | None
    kind: str
    state: str
    words: str
    note: str = ""


@dataclass
class Elevation:
    """A rack from the top: a device or nothing for each unit; *loose* has no unit."""

    rack: Rack
    units: list[tuple[int, Device | None]]
    loose: list[Device] = field(default_factory=list)

    @property
    def free(self) -> int:
        """Units in which nothing stands."""
        return sum(device is None for _, device in self.units)

    @property
    def height(self) -> int:
        """Of the picture."""
        return len(self.units) * UNIT_HEIGHT + 8


STATES = {
    "task": ("loader-2", marked("a task is running")),
    "quarantined": ("ban", marked("in quarantine")),
    "broken": ("alert-triangle", marked("something is wrong")),
    "on": ("bolt", marked("on")),
    "off": ("bolt-off", marked("off")),
    "unknown": ("help-circle", marked("power unknown")),
    "switch": ("switch-horizontal", marked("switch")),
    "pdu": ("plug", marked("PDU")),
}


def state_of(row: AnyRow) -> str:
    """What of a server is shown in its unit: what is going on, what is wrong, else its power."""
    if row.task_status in ACTIVE:
        return "task"
    if row.quarantine_reason is not None:
        return "quarantined"
    if row.power_error or row.bmc_refused_at or row.diagnostics_error or row.task_status == "failed":
        return "broken"
    return str(row.power_state)


def _server(row: AnyRow) -> Device:
    state = state_of(row)
    return Device(
        row.name,
        f"/servers/{row.id}",
        row.unit,
        "server",
        state,
        gettext(STATES[state][1]),
        row.owner_email or "",
    )


def _switch(row: AnyRow) -> Device:
    switch = row[0]
    state = "broken" if switch.error or switch.refused_at else "switch"
    return Device(
        switch.name, f"/switches/{switch.id}", switch.unit, "switch", state, gettext(STATES[state][1])
    )


def _pdu(row: AnyRow) -> Device:
    pdu = row[0]
    state = "broken" if pdu.error or pdu.refused_at else "pdu"
    return Device(pdu.name, f"/pdus/{pdu.id}", pdu.unit, "pdu", state, gettext(STATES[state][1]))


async def elevations(page: Page, racks: Sequence[Rack]) -> list[Elevation]:
    """Put the devices of some racks into their units."""
    if not racks:
        return []
    where = f"rack.id IN ({', '.join(str(rack.id) for rack in racks)})"
    found = await queries.page(page.session, ListParams(where=where), visible_to=page.user, parts=())
    standing = [(row.rack_id, _server(row)) for row in found.rows]
    others = await switches.switch_page(page.session, ListParams(where=where))
    standing += [(row[0].rack_id, _switch(row)) for row in others.rows]
    pdus = await power.pdu_page(page.session, ListParams(where=where))
    standing += [(row[0].rack_id, _pdu(row)) for row in pdus.rows]
    return [elevation(rack, (device for rack_id, device in standing if rack_id == rack.id)) for rack in racks]


def elevation(rack: Rack, devices: Iterable[Device]) -> Elevation:
    """One rack; of two devices that claim a unit the second stands beside."""
    units: dict[int, Device | None] = dict.fromkeys(range(rack.size, 0, -1))
    loose = []
    for device in devices:
        if device.unit is None or device.unit not in units or units[device.unit] is not None:
            loose.append(device)
        else:
            units[device.unit] = device
    return Elevation(rack, list(units.items()), loose)


async def show_racks(page: Page) -> Response:
    """Racks side by side."""
    places = await queries.location_page(page.session, ListParams(orderby="name"))
    options = [(str(row[0].id), row[0].name) for row in places.rows]
    filters = [Filter("location", gettext("Location"), options, "location_id EQ {}")]
    listing = Listing(page, ("name", "notes"), ("name",), filters, order="location_id,name")
    limit = f"{(listing.number - 1) * SIDE_BY_SIDE},{SIDE_BY_SIDE}"
    found = await queries.rack_page(page.session, ListParams(listing.where, "location_id,name", limit))
    return page.render(
        "racks/list.html",
        listing=listing,
        elevations=await elevations(page, [row[0] for row in found.rows]),
        size=found.size,
        pages=-(-found.size // SIDE_BY_SIDE),
        locations=dict(options),
        states=STATES,
        chosen=page.query.get("server", ""),
    )


async def show_rack(page: Page, id: int) -> Response:
    """One rack and what stands in it."""
    rack = await queries.rack_by_id(page.session, id)
    location = await queries.location_by_id(page.session, rack.location_id)
    (found,) = await elevations(page, [rack])
    chosen = page.query.get("server", "")
    return page.render(
        "racks/one.html",
        elevation=found,
        rack=rack,
        location=location,
        states=STATES,
        chosen=f"/servers/{chosen}",
    )


# --- forms


async def show_new_rack(page: Page) -> Response:
    """The form of a new rack."""
    return await _rack_form(
        page, gettext("Add a rack"), "/racks", {"size": 42, "location_id": page.query.get("location")}
    )


async def _rack_form(
    page: Page, title: str, back: str, initial: dict[str, Any], row: Rack | None = None
) -> Response:
    places = await queries.location_page(page.session, ListParams(orderby="name"))
    return page.render(
        "racks/form.html",
        title=title,
        back=back,
        row=row,
        form=page.form(initial),
        locations=[(row[0].id, row[0].name) for row in places.rows],
    )


async def add_rack(page: Page) -> Response:
    """Add a rack."""
    given: dict[str, Any] = {"name": page.typed.get("name", "").strip(), "notes": page.typed.get("notes", "")}
    given |= {name: number for name in ("size", "location_id") if (number := page.number(name)) is not None}
    body = schemas.RackBody.model_validate(given)
    answer = await api.add_rack(session=page.session, _admin=page.user, actor=page.actor, body=body)
    return page.go(f"/racks/{answer.id}", "added")


async def show_edit_rack(page: Page, id: int) -> Response:
    """The form of a rack."""
    rack = await queries.rack_by_id(page.session, id)
    initial = {"name": rack.name, "size": rack.size, "notes": rack.notes, "location_id": rack.location_id}
    return await _rack_form(page, rack.name, f"/racks/{id}", initial, rack)


async def edit_rack(page: Page, id: int) -> Response:
    """Keep what the form says, or delete the rack."""
    common: dict[str, Any] = {"id": id, "session": page.session, "actor": page.actor}
    if page.typed.get("action") == "delete":
        await api.delete_rack(**common, _admin=page.user)
        return page.go("/racks", "deleted")
    given = {
        "name": page.typed.get("name", "").strip(),
        "notes": page.typed.get("notes", ""),
        "size": page.number("size"),
    }
    await api.edit_rack(**common, _admin=page.user, body=schemas.EditRack.model_validate(given))
    return page.go(f"/racks/{id}", "saved")


async def show_locations(page: Page) -> Response:
    """Data centres."""
    listing = Listing(page, ("name", "notes"), ("name", "server_count"), order="name")
    found = await queries.location_page(page.session, listing.params)
    room = {row.id: row for row in await queries.capacity(page.session)}
    return page.render("locations/list.html", listing=listing, rows=found.rows, size=found.size, room=room)


async def show_new_location(page: Page) -> Response:
    """The form of a new location."""
    form = page.form({"clear_on_release": "full"})
    return page.render("locations/form.html", title=gettext("Add a location"), row=None, form=form)


def _location_values(page: Page) -> dict[str, Any]:
    given = {"name": page.typed.get("name", "").strip(), "notes": page.typed.get("notes", "")}
    return given | page.given("clear_on_release")


async def add_location(page: Page) -> Response:
    """Add a location."""
    body = schemas.LocationBody.model_validate(_location_values(page))
    await api.add_location(session=page.session, _admin=page.user, actor=page.actor, body=body)
    return page.go("/locations", "added")


async def show_location(page: Page, id: int) -> Response:
    """The form of a location."""
    row = await queries.location_by_id(page.session, id)
    initial = {name: getattr(row, name) for name in ("name", "notes", "clear_on_release")}
    return page.render("locations/form.html", title=row.name, row=row, form=page.form(initial))


async def edit_location(page: Page, id: int) -> Response:
    """Keep what the form says, or delete the location."""
    common: dict[str, Any] = {"id": id, "session": page.session, "_admin": page.user, "actor": page.actor}
    if page.typed.get("action") == "delete":
        await api.delete_location(**common)
        return page.go("/locations", "deleted")
    await api.edit_location(**common, body=schemas.EditLocation.model_validate(_location_values(page)))
    return page.go("/locations", "saved")


ROUTES = (
    show("/racks", show_racks),
    show("/racks/new", show_new_rack),
    change("/racks/new", add_rack, show_new_rack),
    show("/racks/{id:int}", show_rack),
    show("/racks/{id:int}/edit", show_edit_rack),
    change("/racks/{id:int}/edit", edit_rack, show_edit_rack),
    show("/locations", show_locations),
    show("/locations/new", show_new_location),
    change("/locations/new", add_location, show_new_location),
    show("/locations/{id:int}", show_location),
    change("/locations/{id:int}", edit_location, show_location),
)
