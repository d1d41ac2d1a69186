"""What happened, to what, by whom; and the search that looks everywhere."""

from dataclasses import replace
from typing import Any

from starlette.responses import Response

from rackhand.errors import Invalid
from rackhand.events import queries
from rackhand.http.lists import ListParams
from rackhand.http.lists import Page as Found
from rackhand.ipam import queries as ipam
from rackhand.servers import queries as servers
from rackhand.switches import queries as switches
from rackhand.users import queries as users
from rackhand.web.listing import Filter, Listing, span_of
from rackhand.web.page import Page
from rackhand.web.routing import SIGNED_IN, show
from rackhand.web.servers import TEXTS as SERVER_TEXTS
from rackhand.web.texts import gettext

FOUND = "10"
SEARCHED = 100_000  # of the newest events, unless somebody asks for all: each is read


async def show_events(page: Page) -> Response:
    """History, the newest first."""
    kinds = [
        ("server", gettext("Servers")),
        ("task", gettext("Tasks")),
        ("user", gettext("Accounts")),
        ("ip", gettext("Addresses")),
        ("switch", gettext("Switches")),
    ]
    filters = [
        Filter("kind", gettext("About"), kinds, "subject.kind EQ {}", {"task": "task IS NOT null"}),
        Filter("server", gettext("Server"), (), "subject.kind EQ 'server' AND subject.id EQ {}"),
        Filter("user", gettext("Account"), (), "actor.id EQ {}"),
        Filter("id", "№", (), "id EQ {}"),
    ]
    listing = Listing(page, ("message", "actor.email"), ("id",), filters, order="-id")
    scope = None if page.user.is_admin else page.user.id
    params, older = listing.params, 0
    if listing.text and page.query.get("older") != "on":
        older = max(await queries.last_notify(page.session) - SEARCHED, 0)
        params = replace(params, where=f"{params.where} AND id GT {older}")
    try:
        found = await queries.page(page.session, params, owner_id=scope)
        problem = ""
    except Invalid as refused:
        found, problem = None, refused.message
    return page.render(
        "events.html",
        status=400 if problem else None,
        listing=listing,
        rows=found.rows if found else [],
        size=found.size if found else 0,
        problem=problem,
        searched=SEARCHED if older else None,
    )


async def search(page: Page) -> Response:
    """Look for a text among servers, addresses, switches and accounts; somebody else's are not found."""
    listing = Listing(page, SERVER_TEXTS, (), addresses=("ip.name",), macs=("mac",))
    if not listing.text:
        return page.render("search.html", listing=listing, found=None)
    found: dict[str, Found[Any]] = {
        "servers": await servers.page(
            page.session, _first(listing), visible_to=page.user, parts=page.services.server_parts
        ),
    }
    # Names of addresses have a dot in them; nothing else is looked for among so many.
    if "." in listing.text or span_of(listing.text) is not None:
        names = Listing(page, ("domain", "ptr"), (), addresses=("name",))
        found["addresses"] = await ipam.address_page(page.session, _first(names), visible_to=page.user)
    if page.user.is_admin:
        devices = Listing(page, ("name", "model", "serial", "barcode", "host", "notes"), ())
        found["switches"] = await switches.switch_page(page.session, _first(devices))
        accounts = Listing(page, ("email", "full_name", "phone_number"), ())
        found["users"] = await users.page(page.session, _first(accounts), visible_to=page.user)
    only = [row for page_of in found.values() for row in page_of.rows]
    if len(only) == 1 and len(found["servers"].rows) == 1:
        return page.go(f"/servers/{only[0].id}")
    return page.render("search.html", listing=listing, found=found)


def _first(listing: Listing) -> ListParams:
    return ListParams(listing.where, "", FOUND)


ROUTES = (show("/events", show_events, SIGNED_IN), show("/search", search, SIGNED_IN))
