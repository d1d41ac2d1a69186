"""Switches as panels of ports, what is plugged where, and VLANs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from rackhand.db import AnyRow
from rackhand.errors import Invalid
from rackhand.hardware.drivers import SWITCH_DRIVERS, setting_fields
from rackhand.http.lists import ListParams
from rackhand.servers import queries as servers
from rackhand.switches import api, queries, schemas
from rackhand.switches.model import ConnectionKind, VlanPurpose
from rackhand.tasks import queries as tasks
from rackhand.users import queries as users
from rackhand.web.access import access_of, initial_access
from rackhand.web.listing import Filter, Listing, quoted
from rackhand.web.page import Page
from rackhand.web.routing import SIGNED_IN, change, show
from rackhand.web.servers import places
from rackhand.web.texts import gettext, marked
from rackhand.web.words import badge_text

MAX_PORTS = 1024
ROWS_OF_PANEL = 2
PORTS_PER_GROUP = 12
# What a port on the panel looks like: a word, and a sign that is drawn into it.
PORT_STATES = {
    "flagged": ("alert-triangle", marked("needs a look")),
    "missing": ("x", marked("the switch no longer has it")),
    "disabled": ("ban", marked("switched off")),
    "uplink": ("arrow-up", marked("uplink")),
    "up": ("link", marked("link")),
    "down": ("unlink", marked("no link")),
}


@dataclass(frozen=True)
class PanelPort:
    """A port where it stands on the front of a switch."""

    id: int
    x: int
    y: int
    label: str
    state: str
    is_used: bool
    title: str


def panel_of(rows: Sequence[AnyRow]) -> list[PanelPort]:
    """Two rows of ports, as on the front of most switches: 1 above 2, with a gap after each twelve."""
    ports = []
    for number, row in enumerate(rows):
        port, column = row[0], number // ROWS_OF_PANEL
        state = state_of(port)
        end = row.server_name or row.device_name or ""
        words = gettext(PORT_STATES[state][1]) + (f" · VLAN {port.vlan}" if port.vlan else "")
        ports.append(
            PanelPort(
                port.id,
                column * 30 + column * ROWS_OF_PANEL // PORTS_PER_GROUP * 8,
                number % ROWS_OF_PANEL * 34,
                str(number + 1),
                state,
                row.connection_id is not None,
                f"{port.name}: {words}" + (f" · {end}" if end else ""),
            )
        )
    return ports


def state_of(port: Any) -> str:
    """The most important thing about a port."""
    if port.flag:
        return "flagged"
    if port.is_missing:
        return "missing"
    if port.admin_status == "down":
        return "disabled"
    if port.is_uplink:
        return "uplink"
    return "up" if port.oper_status == "up" else "down"


async def show_switches(page: Page) -> Response:
    """The table of switches."""
    sorts = ("name", "model", "rack.name", "port_count", "used_ports", "seen_at")
    listing = Listing(page, ("name", "model", "serial", "host", "notes"), sorts, order="name")
    found = await queries.switch_page(page.session, listing.params)
    return page.render("switches/list.html", listing=listing, rows=found.rows, size=found.size)


async def show_switch(page: Page, id: int) -> Response:
    """A switch: its panel, and the port that was clicked on."""
    row = await queries.switch_row_by_id(page.session, id)
    ports = await queries.port_page(
        page.session, ListParams(orderby="index", limit=str(MAX_PORTS)), switch_id=id
    )
    chosen = next((port for port in ports.rows if str(port[0].id) == page.query.get("port", "")), None)
    vlans = await queries.vlan_page(
        page.session, ListParams(f"location_id EQ {row[0].location_id}", "vid"), visible_to=page.user
    )
    last = await tasks.page(
        page.session,
        ListParams(f"subject.kind EQ 'switch' AND subject.id EQ {id}", "id desc", "5"),
        visible_to=page.user,
    )
    panel = panel_of(ports.rows)
    return page.render(
        "switches/one.html",
        row=row,
        switch=row[0],
        ports=ports.rows,
        panel=panel,
        panel_width=max((port.x for port in panel), default=0) + 30,
        states={
            state: PORT_STATES[state] for state in PORT_STATES if any(each.state == state for each in panel)
        },
        port_state=state_of,
        chosen=chosen,
        vlans=[each[0] for each in vlans.rows],
        tasks=last.rows,
    )


def _port_url(page: Page, id: int) -> str:
    return f"/switches/{id}?port={page.number('port') or ''}#port"


async def change_port(page: Page, id: int) -> Response:
    """Set what the form says of the chosen port; the switch is told by a task."""
    port_id = page.number("port")
    if port_id is None:
        raise Invalid("Choose a port first.")
    asked = page.typed.get("action", "")
    common: dict[str, Any] = {"id": id, "port_id": port_id, "session": page.session, "actor": page.actor}
    if asked == "connect":
        await _connect(page, common)
    elif asked == "disconnect":
        await api.disconnect_port(**common, admin=page.user)
    else:
        wishes: Mapping[str, dict[str, Any]] = {
            "up": {"admin_status": "up"},
            "down": {"admin_status": "down"},
            "uplink": {"is_uplink": True},
            "no_uplink": {"is_uplink": False},
            "clear": {"problem": None},
            "set": {"vlan": page.number("vlan")},
            "speed": {"speed_mbit": page.number("speed_mbit") or 0},
        }
        if asked not in wishes:
            raise Invalid("Say what is to be done.")
        body = schemas.PortBody.model_validate(
            {**wishes[asked], "ignore_wiring": page.is_ticked("ignore_wiring")}
        )
        await api.edit_port(**common, admin=page.user, engine=page.services.engine, body=body, dry_run=False)
        if asked in {"up", "down", "set", "speed"}:
            return page.go(_port_url(page, id), "started")
    return page.go(_port_url(page, id), "saved")


async def _connect(page: Page, common: dict[str, Any]) -> None:
    """Write down what is plugged in: a server by its name, or something else by any name."""
    name = page.typed.get("server", "").strip()
    device = page.typed.get("device_name", "").strip()
    if device and not name:
        body = schemas.DeviceConnectionBody.model_validate({"device_name": device})
        await api.connect_device(**common, _admin=page.user, body=body)
        return
    found = await servers.page(
        page.session, ListParams(f"name EQ {quoted(name)}"), visible_to=page.user, parts=()
    )
    if not found.rows:
        raise Invalid(f"server: there is none called {name[:80]!r}.")
    given = {
        "port_id": common["port_id"],
        "kind": page.typed.get("kind") or ConnectionKind.DATA,
        **page.given("mac"),
    }
    await api.add_connection(
        id=found.rows[0].id,
        session=page.session,
        admin=page.user,
        actor=page.actor,
        body=schemas.ConnectionBody.model_validate(given),
    )


async def discover(page: Page, id: int) -> Response:
    """Have the ports read, and perhaps the cables that are heard written down."""
    body = schemas.DiscoverBody(connect=page.typed.get("action") == "connect")
    await api.discover(
        id=id,
        session=page.session,
        _admin=page.user,
        actor=page.actor,
        engine=page.services.engine,
        body=body,
    )
    return page.go(f"/switches/{id}", "started")


# --- forms

FIELDS = ("name", "model", "serial", "barcode", "notes")


async def _switch_form(page: Page, title: str, initial: Mapping[str, Any], row: Any) -> Response:
    drivers = [
        (name, driver.title, driver.port, setting_fields(name, SWITCH_DRIVERS))
        for name, driver in SWITCH_DRIVERS.items()
    ]
    return page.render(
        "switches/form.html",
        title=title,
        row=row,
        form=page.form(initial),
        drivers=drivers,
        **await places(page),
    )


async def show_new_switch(page: Page) -> Response:
    """The form of a new switch."""
    initial = {"driver": "snmp", "rack_id": page.query.get("rack_id"), "unit": page.query.get("unit")}
    return await _switch_form(page, gettext("Add a switch"), initial, None)


def _switch_values(page: Page) -> dict[str, Any]:
    values: dict[str, Any] = {name: page.typed.get(name, "").strip() for name in FIELDS}
    values |= {"rack_id": page.number("rack_id"), "unit": page.number("unit")}
    if (location := page.number("location_id")) is not None:
        values["location_id"] = location
    return values | access_of(page, SWITCH_DRIVERS)


async def add_switch(page: Page) -> Response:
    """Add a switch and read its ports."""
    answer = await api.add_switch(
        session=page.session,
        _admin=page.user,
        actor=page.actor,
        vault=page.services.vault,
        engine=page.services.engine,
        body=schemas.SwitchBody.model_validate(_switch_values(page)),
    )
    return page.go(f"/switches/{answer.id}", "started")


async def show_edit_switch(page: Page, id: int) -> Response:
    """The form of a switch."""
    switch = await queries.switch_by_id(page.session, id)
    names = (*FIELDS, "location_id", "rack_id", "unit")
    initial = {**{name: getattr(switch, name) for name in names}, **initial_access(switch)}
    return await _switch_form(page, switch.name, initial, switch)


async def edit_switch(page: Page, id: int) -> Response:
    """Keep what the form says, or delete the switch."""
    common: dict[str, Any] = {"id": id, "session": page.session, "_admin": page.user, "actor": page.actor}
    if page.typed.get("action") == "delete":
        await api.delete_switch(**common)
        return page.go("/switches", "deleted")
    body = schemas.EditSwitch.model_validate(_switch_values(page))
    await api.edit_switch(**common, vault=page.services.vault, body=body)
    return page.go(f"/switches/{id}", "saved")


# --- VLANs


async def show_vlans(page: Page) -> Response:
    """The table of VLANs; to a customer its own."""
    purposes = [(purpose.value, badge_text(purpose, "purpose")) for purpose in VlanPurpose]
    filters = [
        Filter("purpose", gettext("Purpose"), purposes, "purpose EQ {}"),
        Filter("id", gettext("VLAN"), (), "id EQ {}"),
    ]
    listing = Listing(
        page, ("name", "owner_email"), ("vid", "name", "purpose", "owner_email"), filters, order="vid"
    )
    found = await queries.vlan_page(page.session, listing.params, visible_to=page.user)
    locations = await servers.location_page(page.session, ListParams(orderby="name"))
    return page.render(
        "vlans/list.html",
        listing=listing,
        rows=found.rows,
        size=found.size,
        locations=[(row[0].id, row[0].name) for row in locations.rows],
        purposes=purposes,
    )


async def add_vlan(page: Page) -> Response:
    """Add a VLAN."""
    given: dict[str, Any] = {"vid": page.number("vid"), **page.given("name", "purpose")}
    if (location := page.number("location_id")) is not None:
        given["location_id"] = location
    if email := page.typed.get("owner", "").strip():
        given["owner"] = (await users.by_id_or_email(page.session, email, visible_to=page.user)).id
    body = schemas.VlanBody.model_validate(given)
    await api.add_vlan(session=page.session, _admin=page.user, actor=page.actor, body=body)
    return page.go("/vlans", "added")


async def delete_vlan(page: Page, id: int) -> Response:
    """Delete a VLAN in which no port is."""
    await api.delete_vlan(id=id, session=page.session, admin=page.user, actor=page.actor)
    return page.go("/vlans", "deleted")


async def _vlans_again(page: Page, id: int) -> Response:  # noqa: ARG001  # the path has a number
    return await show_vlans(page)


ROUTES = (
    show("/switches", show_switches),
    show("/switches/new", show_new_switch),
    change("/switches/new", add_switch, show_new_switch),
    show("/switches/{id:int}", show_switch),
    change("/switches/{id:int}/port", change_port, show_switch),
    change("/switches/{id:int}/discover", discover, show_switch),
    show("/switches/{id:int}/edit", show_edit_switch),
    change("/switches/{id:int}/edit", edit_switch, show_edit_switch),
    show("/vlans", show_vlans, SIGNED_IN),
    change("/vlans", add_vlan, show_vlans),
    change("/vlans/{id:int}/delete", delete_vlan, _vlans_again),
)
