"""Servers come into the inventory: one by a guided form, many from a spreadsheet."""

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from rackhand.errors import Invalid
from rackhand.hardware.drivers import DRIVERS
from rackhand.http.lists import ListParams
from rackhand.servers import api, bulk, queries, schemas
from rackhand.switches import queries as switches
from rackhand.tasks import queries as tasks
from rackhand.web.access import access_of
from rackhand.web.page import Page
from rackhand.web.routing import change, show
from rackhand.web.servers import driver_fields, places
from rackhand.web.texts import gettext

EXAMPLE = """name,location,rack,unit,serial,nics,bmc_driver,bmc_host,bmc_user,bmc_password
srv-01,ams1,A-01,1,SN0001,00:00:5e:00:53:01 00:00:5e:00:53:02,ipmi,192.0.2.11,ADMIN,secret
srv-02,ams1,A-01,2,SN0002,00:00:5e:00:53:03,redfish,192.0.2.12,ADMIN,secret
"""


async def show_new(page: Page) -> Response:
    """Where it stands, how its BMC is reached, which network interfaces it has: the rest is found."""
    initial = {"driver": "ipmi", "efi": True, **{name: page.query.get(name) for name in ("rack_id", "unit")}}
    return page.render(
        "servers/new.html", form=page.form(initial), drivers=driver_fields(), **await places(page)
    )


async def add(page: Page) -> Response:
    """Add a server; its BMC is tried at once, and the page that follows shows what comes of it."""
    given: dict[str, Any] = page.given("name", "domain", "model", "serial", "barcode", "notes")
    given["name"] = page.typed.get("name", "").strip()
    for name in ("location_id", "rack_id", "unit"):
        if (number := page.number(name)) is not None:
            given[name] = number
    given["nics"] = [{"mac": mac} for mac in page.typed.get("macs", "").replace(",", " ").split()]
    given["efi"] = page.is_ticked("efi")
    if page.typed.get("host", "").strip():
        given["bmc"] = access_of(page, DRIVERS)
    answer = await api.add_server(
        request=page.request,
        session=page.session,
        _admin=page.user,
        actor=page.actor,
        vault=page.services.vault,
        body=schemas.ServerBody.model_validate(given),
    )
    return page.go(f"/servers/{answer.id}/setup", "added")


@dataclass(frozen=True)
class SetupStep:
    """A part of putting a server into service: `done`, `doing`, `failed` or `todo`."""

    title: str
    state: str
    text: str
    link: str = ""
    link_text: str = ""


async def show_setup(page: Page, id: int) -> Response:
    """How far a new server has come; the page follows it."""
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    related = await queries.related(page.session, [id], page.user, ())
    wired = (await switches.connections_of(page.session, [id])).get(id, [])
    found = await tasks.page(
        page.session,
        ListParams(f"subject.kind EQ 'server' AND subject.id EQ {id}", "id desc", "1"),
        visible_to=page.user,
    )
    task = found.rows[0] if found.rows else None
    steps = [
        _bmc_step(row),
        _nic_step(
            row, len(related.nics.get(id, ())), [f"{each.switch_name} {each.port_name}" for each in wired]
        ),
        _diagnosis_step(row, task),
        _stock_step(row),
    ]
    return page.render("servers/setup.html", row=row, steps=steps, task=task)


def _bmc_step(row: Any) -> SetupStep:
    title, link = gettext("The BMC answers"), f"/servers/{row.id}/bmc"
    if row.bmc_driver is None:
        return SetupStep(title, "todo", gettext("No access is known."), link, gettext("Add the access"))
    if row.bmc_refused_at is not None:
        return SetupStep(
            title, "failed", gettext("It refused the login."), link, gettext("Correct the access")
        )
    if row.power_error:
        return SetupStep(title, "failed", row.power_error, link, gettext("Check the access"))
    if row.power_state_at is None:
        return SetupStep(title, "doing", gettext("It is being asked."))
    return SetupStep(title, "done", gettext("The server is %(state)s.") % {"state": gettext(row.power_state)})


def _nic_step(row: Any, nics: int, ports: list[str]) -> SetupStep:
    title = gettext("Its network interfaces are known")
    if not nics:
        return SetupStep(
            title, "todo", gettext("Without one nobody knows the server when it boots from the network."),
            f"/servers/{row.id}#network", gettext("Add one"),
        )  # fmt: skip
    if not ports:
        words = gettext("Not plugged into a switch as far as is known: let the switch tell.")
        return SetupStep(title, "done", words, "/switches", gettext("To the switches"))
    return SetupStep(title, "done", ", ".join(ports))


def _diagnosis_step(row: Any, task: Any) -> SetupStep:
    title = gettext("A diagnosis has looked into it")
    if task is not None and task.name == "operation_diag" and task.is_active:
        return SetupStep(
            title, "doing", gettext("It is running."), f"/tasks/{task.id}", gettext("Follow the task")
        )
    if row.diagnostics_error:
        return SetupStep(title, "failed", row.diagnostics_error)
    if row.hardware_info and row.hardware_info != "{}":
        return SetupStep(title, "done", row.configuration or "")
    if task is not None and task.name == "operation_diag" and task.status == "failed":
        return SetupStep(title, "failed", task.error or "", f"/tasks/{task.id}", gettext("Look at it"))
    return SetupStep(title, "todo", gettext("It boots the server from the network and reads what is in it."))


def _stock_step(row: Any) -> SetupStep:
    title, link = gettext("It is in stock"), f"/servers/{row.id}/edit"
    if not row.configuration:
        return SetupStep(
            title, "todo", gettext("Its configuration is not known yet."), link, gettext("Write it down")
        )
    if row.is_new:
        return SetupStep(title, "todo", gettext("It is still marked as new."), link, gettext("Make it ready"))
    return SetupStep(title, "done", row.configuration)


# --- many at once


async def show_import(
    page: Page, *, report: list[dict[str, object]] | None = None, is_dry: bool = True
) -> Response:
    """Lines of a spreadsheet as text; first looked at, then added."""
    refused = sum(entry["status"] == "refused" for entry in report or ())
    form = page.form({"csv": page.typed.get("csv", EXAMPLE if page.query.get("example") else "")})
    return page.render(
        "servers/import.html", form=form, report=report, refused=refused, is_dry=is_dry, example=EXAMPLE
    )


async def import_servers(page: Page) -> Response:
    """Look at each line, or add those that can be added."""
    text = page.typed.get("csv", "").replace("\r\n", "\n").strip()
    if not text:
        raise Invalid("csv: paste lines, or choose a file.")
    is_dry = page.typed.get("action") != "add"
    # What is copied out of a spreadsheet is separated by tabs, what some programs save by semicolons.
    first = text.partition("\n")[0]
    for separator in ("\t", ";"):
        if separator in first and "," not in first:
            text = text.replace(separator, ",")
    async with page.session.begin_nested() as savepoint:
        rows = bulk.read_csv(text + "\n")
        report = await bulk.import_servers(page.session, rows, vault=page.services.vault, actor=page.actor)
        if is_dry:
            await savepoint.rollback()
    return await show_import(page, report=report, is_dry=is_dry)


ROUTES = (
    show("/servers/new", show_new),
    change("/servers/new", add, show_new),
    show("/servers/{id:int}/setup", show_setup),
    show("/servers/import", show_import),
    change("/servers/import", import_servers, show_import),
)
