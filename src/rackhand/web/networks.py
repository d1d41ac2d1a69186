"""Networks with a map of each, pools with their ranges, and addresses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from starlette.responses import Response

from rackhand.http.lists import ListParams
from rackhand.ipam import allocation, api, queries, schemas
from rackhand.ipam.allocation import Span
from rackhand.ipam.model import Network
from rackhand.servers import queries as servers
from rackhand.web.listing import Filter, Listing
from rackhand.web.page import Page
from rackhand.web.routing import SIGNED_IN, change, show
from rackhand.web.texts import gettext, marked
from rackhand.web.words import badge_text

MAP_CELLS = 256
MAP_COLUMNS = 16
# What a cell means; the picture has a sign of its own for each.
CELLS = {
    "free": marked("free"),
    "allocated": marked("in use"),
    "special": marked("kept back"),
    "quarantined": marked("in quarantine"),
    "service": marked("network, broadcast or gateway"),
    "nested": marked("a network inside"),
    "partly": marked("partly free"),
    "full": marked("nothing free"),
}


@dataclass(frozen=True)
class Cell:
    """A square of the map: an address, or as many as go into one square."""

    x: int
    y: int
    state: str
    text: str
    title: str
    url: str = ""
    used: float = 0.0  # of a square that stands for many


def map_of(
    network: Network, free: Sequence[Span], rows: Sequence[Row[Any]], inside: Sequence[Network]
) -> list[Cell]:
    """The map of a network: 256 squares at most, whatever its size."""
    span = network.span
    per_cell = -(-span.size // MAP_CELLS)
    if per_cell > 1:
        return [_block(span, number, per_cell, free, inside) for number in range(-(-span.size // per_cell))]
    taken = {_first(row): row for row in rows}
    service = {int(address) for address in allocation.service_addresses(network.network)}
    if network.gateway_address is not None:
        service.add(int(network.gateway_address))
    return [_address(span, number, taken, service, free, inside) for number in range(span.size)]


def _first(row: Row[Any]) -> int:
    return allocation.parse_range(row.name).first


def _address(
    span: Span,
    number: int,
    taken: Mapping[int, Row[Any]],
    service: set[int],
    free: Sequence[Span],
    inside: Sequence[Network],
) -> Cell:
    at = span.first + number
    address = allocation.address_at(span.version, at)
    here = allocation.span_at(address)
    words, url = "", ""
    if (row := taken.get(at)) is not None:
        state = row.status if row.status in CELLS else "allocated"
        words = (
            f" {row.server_name or row.domain or row.note}"
            if row.server_name or row.domain or row.note
            else ""
        )
        url = f"/addresses/{row.id}"
    elif nested := next((each for each in inside if here in each.span), None):
        state, words, url = "nested", f" {nested.cidr}", f"/networks/{nested.id}"
    elif at in service:
        state = "service"
    else:
        state = "free" if any(here in each for each in free) else "allocated"
    last = str(address).rpartition("." if span.version == allocation.IPV4 else ":")[2]
    title = f"{address}: {gettext(CELLS[state])}{words}"
    return Cell(number % MAP_COLUMNS, number // MAP_COLUMNS, state, last, title, url)


def _block(span: Span, number: int, per_cell: int, free: Sequence[Span], inside: Sequence[Network]) -> Cell:
    first = span.first + number * per_cell
    block = Span(span.version, first, min(first + per_cell - 1, span.last))
    unfree = block.size - sum(
        min(each.last, block.last) - max(each.first, block.first) + 1 for each in free if each.overlaps(block)
    )
    nested = next((each for each in inside if block in each.span), None)
    state = "nested" if nested else "free" if not unfree else "full" if unfree == block.size else "partly"
    words = f"{block}: {gettext(CELLS[state])}"
    if nested:
        words += f" {nested.cidr}"
    elif state == "partly" and block.version == allocation.IPV4:
        words += f" ({unfree} / {block.size})"
    url = f"/networks/{nested.id}" if nested else ""
    return Cell(number % MAP_COLUMNS, number // MAP_COLUMNS, state, "", words, url, unfree / block.size)


# --- networks


async def show_networks(page: Page) -> Response:
    """The table of networks, nested ones under the one that holds them."""
    listing = Listing(
        page,
        ("name", "note", "vlan", "gateway"),
        ("name", "address", "vlan", "mask"),
        order="",
        addresses=("address",),
    )
    found = await queries.network_page(page.session, listing.params)
    counters = await queries.network_counters(page.session, found.rows)
    return page.render(
        "networks/list.html", listing=listing, rows=found.rows, size=found.size, counters=counters
    )


async def show_network(page: Page, id: int) -> Response:
    """A network: its map, and who has its addresses."""
    network = await queries.network_by_id(page.session, id)
    counters = await queries.network_counters(page.session, [network])
    inside = await queries.network_page(page.session, ListParams(where=f"parent EQ {id}", limit="512"))
    free = await queries.free_spans_of(page.session, network)
    listing = _address_listing(page, [])
    where = f"ipnet EQ {id}" + (f" AND ({listing.where})" if listing.where else "")
    rows = await queries.address_page(
        page.session, ListParams(where, listing.sort, listing.params.limit), visible_to=page.user
    )
    mapped: Sequence[Row[Any]] = []
    if network.span.size <= MAP_CELLS:
        everything = ListParams(f"ipnet EQ {id}", limit=str(MAP_CELLS))
        mapped = (await queries.address_page(page.session, everything, visible_to=page.user)).rows
    cells = map_of(network, free, mapped, inside.rows)
    return page.render(
        "networks/one.html",
        network=network,
        counters=counters[id],
        inside=inside.rows,
        cells=cells,
        per_cell=-(-network.span.size // MAP_CELLS),
        map_rows=-(-len(cells) // MAP_COLUMNS),
        words={state: CELLS[state] for state in CELLS if any(cell.state == state for cell in cells)},
        listing=listing,
        rows=rows.rows,
        size=rows.size,
    )


async def _network_form(page: Page, title: str, initial: Mapping[str, Any], row: Network | None) -> Response:
    places = await servers.location_page(page.session, ListParams(orderby="name"))
    return page.render(
        "networks/form.html",
        title=title,
        row=row,
        form=page.form(initial),
        locations=[(each[0].id, each[0].name) for each in places.rows],
    )


async def show_new_network(page: Page) -> Response:
    """The form of a new network."""
    return await _network_form(page, gettext("Add a network"), {}, None)


def _network_values(page: Page) -> dict[str, Any]:
    return {
        "gateway": page.typed.get("gateway", "").strip() or None,
        "vlan": page.typed.get("vlan", "").strip(),
        "note": page.typed.get("note", ""),
        "location_id": page.number("location_id"),
    }


async def add_network(page: Page) -> Response:
    """Add a network."""
    given = {"name": page.typed.get("name", "").strip(), **_network_values(page)}
    body = schemas.NetworkBody.model_validate(given)
    answer = await api.add_network(session=page.session, _admin=page.user, actor=page.actor, body=body)
    return page.go(f"/networks/{answer.id}", "added")


async def show_edit_network(page: Page, id: int) -> Response:
    """The form of a network."""
    row = await queries.network_by_id(page.session, id)
    initial = {name: getattr(row, name) for name in ("gateway", "vlan", "note", "location_id")}
    return await _network_form(page, row.cidr, initial, row)


async def edit_network(page: Page, id: int) -> Response:
    """Keep what the form says, or delete the network."""
    common: dict[str, Any] = {"id": id, "session": page.session, "_admin": page.user, "actor": page.actor}
    if page.typed.get("action") == "delete":
        await api.delete_network(**common)
        return page.go("/networks", "deleted")
    await api.edit_network(**common, body=schemas.EditNetwork.model_validate(_network_values(page)))
    return page.go(f"/networks/{id}", "saved")


# --- pools


async def show_pools(page: Page) -> Response:
    """The table of pools."""
    listing = Listing(page, ("name", "note"), ("name", "is_public"), order="name")
    found = await queries.pool_page(page.session, listing.params)
    counters = await queries.pool_counters(page.session, found.rows)
    return page.render(
        "pools/list.html", listing=listing, rows=found.rows, size=found.size, counters=counters
    )


async def show_pool(page: Page, id: int) -> Response:
    """A pool and its ranges."""
    pool = await queries.pool_by_id(page.session, id)
    counters = await queries.pool_counters(page.session, [pool])
    ranges = await queries.range_page(page.session, ListParams(orderby="first", limit="500"), pool_id=id)
    return page.render("pools/one.html", pool=pool, counters=counters[id], ranges=ranges)


async def _pool_form(page: Page, title: str, initial: Mapping[str, Any], row: Any) -> Response:
    places = await servers.location_page(page.session, ListParams(orderby="name"))
    racks = await servers.rack_page(page.session, ListParams(orderby="name"))
    return page.render(
        "pools/form.html",
        title=title,
        row=row,
        form=page.form(initial),
        locations=[(each[0].id, each[0].name) for each in places.rows],
        racks=[(each[0].id, each[0].name) for each in racks.rows],
    )


async def show_new_pool(page: Page) -> Response:
    """The form of a new pool."""
    return await _pool_form(page, gettext("Add a pool"), {}, None)


def _pool_values(page: Page) -> dict[str, Any]:
    return {
        "name": page.typed.get("name", "").strip(),
        "note": page.typed.get("note", ""),
        "is_public": page.is_ticked("is_public"),
        "location_id": page.number("location_id"),
        "rack_id": page.number("rack_id"),
    }


async def add_pool(page: Page) -> Response:
    """Add a pool."""
    body = schemas.PoolBody.model_validate(_pool_values(page))
    answer = await api.add_pool(session=page.session, _admin=page.user, actor=page.actor, body=body)
    return page.go(f"/pools/{answer.id}", "added")


async def show_edit_pool(page: Page, id: int) -> Response:
    """The form of a pool."""
    row = await queries.pool_by_id(page.session, id)
    initial = {name: getattr(row, name) for name in ("name", "note", "is_public", "location_id", "rack_id")}
    return await _pool_form(page, row.name, initial, row)


async def edit_pool(page: Page, id: int) -> Response:
    """Keep what the form says, or delete the pool."""
    common: dict[str, Any] = {"id": id, "session": page.session, "_admin": page.user, "actor": page.actor}
    if page.typed.get("action") == "delete":
        await api.delete_pool(**common)
        return page.go("/pools", "deleted")
    await api.edit_pool(**common, body=schemas.EditPool.model_validate(_pool_values(page)))
    return page.go(f"/pools/{id}", "saved")


async def edit_ranges(page: Page, id: int) -> Response:
    """Add a range to a pool, or take one out."""
    common: dict[str, Any] = {"session": page.session, "_admin": page.user, "actor": page.actor}
    if (range_id := page.number("delete")) is not None:
        await api.delete_range(id=range_id, **common)
        return page.go(f"/pools/{id}", "deleted")
    body = schemas.RangeBody.model_validate({"name": page.typed.get("range", "").strip()})
    await api.add_range(id=id, **common, body=body)
    return page.go(f"/pools/{id}", "added")


# --- addresses


def _address_listing(page: Page, filters: Sequence[Filter]) -> Listing:
    texts = ("domain", "ptr", "server.name") + (("note",) if page.user.is_admin else ())
    sorts = ("name", "server", "status", "domain", "ipnet_name")
    return Listing(page, texts, sorts, filters, order="name", addresses=("name",))


async def show_addresses(page: Page) -> Response:
    """Addresses that are not free; to a customer those of its servers."""
    states = ("allocated", "allocating", "removing", "special", "quarantined", "problem")
    filters = [
        Filter("family", gettext("Family"), [("ipv4", "IPv4"), ("ipv6", "IPv6")], "family EQ {}"),
        Filter("status", gettext("State"), [(word, badge_text(word, "address")) for word in states], "status EQ {}"),
    ]  # fmt: skip
    listing = _address_listing(page, filters if page.user.is_admin else filters[:1])
    found = await queries.address_page(page.session, listing.params, visible_to=page.user)
    return page.render("addresses/list.html", listing=listing, rows=found.rows, size=found.size)


async def show_address(page: Page, id: int) -> Response:
    """One address."""
    row = await queries.address_row_by_id(page.session, id, visible_to=page.user)
    return page.render("addresses/one.html", row=row)


async def edit_address(page: Page, id: int) -> Response:
    """Change domain, reverse name and note, make it the main one, or take it away from its server."""
    row = await queries.address_row_by_id(page.session, id, visible_to=page.user)
    common: dict[str, Any] = {"session": page.session, "viewer": page.user, "actor": page.actor}
    asked = page.typed.get("action", "")
    if asked == "main" and row.server_id is not None:
        await api.remove_or_edit_address(
            id=row.server_id, ip_id=id, **common, engine=page.services.engine,
            body=schemas.ServerAddressBody(set_as_main_ipv4=True),
        )  # fmt: skip
        return page.go(f"/addresses/{id}", "saved")
    if asked == "remove" and row.server_id is not None:
        await api.remove_address(id=row.server_id, ip_id=id, **common, engine=page.services.engine)
        return page.go(f"/servers/{row.server_id}", "started")
    if asked == "free" and page.user.is_admin:
        await api.free_address(id=id, session=page.session, _admin=page.user, actor=page.actor)
        return page.go("/addresses", "saved")
    given = {"domain": page.typed.get("domain", "").strip()}
    if page.user.is_admin:
        given["note"] = page.typed.get("note", "")
    body = schemas.EditAddress.model_validate(given)
    reverse = schemas.PtrBody.model_validate({"domain": page.typed.get("ptr", "").strip()})
    await api.edit_address(id=id, **common, engine=page.services.engine, body=body)
    await api.set_ptr(id=id, **common, engine=page.services.engine, body=reverse)
    return page.go(f"/addresses/{id}", "saved")


async def keep_back(page: Page) -> Response:
    """Keep an address from being handed out."""
    given = {"name": page.typed.get("name", "").strip(), "note": page.typed.get("note", "").strip()}
    body = schemas.KeepBackBody.model_validate(given)
    answer = await api.keep_back_address(session=page.session, _admin=page.user, actor=page.actor, body=body)
    return page.go(f"/addresses/{answer.id}", "added")


ROUTES = (
    show("/networks", show_networks),
    show("/networks/new", show_new_network),
    change("/networks/new", add_network, show_new_network),
    show("/networks/{id:int}", show_network),
    show("/networks/{id:int}/edit", show_edit_network),
    change("/networks/{id:int}/edit", edit_network, show_edit_network),
    show("/pools", show_pools),
    show("/pools/new", show_new_pool),
    change("/pools/new", add_pool, show_new_pool),
    show("/pools/{id:int}", show_pool),
    show("/pools/{id:int}/edit", show_edit_pool),
    change("/pools/{id:int}/edit", edit_pool, show_edit_pool),
    change("/pools/{id:int}/ranges", edit_ranges, show_pool),
    show("/addresses", show_addresses, SIGNED_IN),
    change("/addresses", keep_back, show_addresses),
    show("/addresses/{id:int}", show_address, SIGNED_IN),
    change("/addresses/{id:int}", edit_address, show_address, SIGNED_IN),
)
