"""Graphs of a server: traffic as it is billed, and energy where outlets measure it."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from rackhand.http.periods import Period
from rackhand.power import energy_api
from rackhand.power import queries as power
from rackhand.servers import queries
from rackhand.switches import traffic_api
from rackhand.web.page import Page
from rackhand.web.routing import SIGNED_IN, show
from rackhand.web.texts import gettext, marked

PERIODS = {
    "day": marked("Day"),
    "week": marked("Week"),
    "month": marked("Month"),
    "month_to_date": marked("This month"),
    "year": marked("Year"),
}
POINTS, POINTS_OF_A_CARD = 500, 144


async def show_traffic(page: Page, id: int) -> Response:
    """Traffic and energy of a server over a period, with what they are billed by."""
    asked = page.query.get("period", "month_to_date")
    period = Period(asked if asked in PERIODS else "month_to_date")
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    return page.render(
        "servers/traffic.html",
        row=row,
        period=period.value,
        periods={name: gettext(text) for name, text in PERIODS.items()},
        found=await traffic_of(page, id, period, POINTS),
        energy=await energy_of(page, id, period, POINTS),
    )


async def show_graphs(page: Page, id: int) -> Response:
    """The last day of both as small pictures, which the page of a server asks for when it is open."""
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    return page.render(
        "servers/graphs.html",
        row=row,
        traffic=await traffic_of(page, id, Period.DAY, POINTS_OF_A_CARD),
        energy=await energy_of(page, id, Period.DAY, POINTS_OF_A_CARD),
    )


async def traffic_of(page: Page, id: int, period: Period, points: int) -> Mapping[str, Any]:
    """What the API tells the viewer of the traffic of a server."""
    answer = await traffic_api.show_traffic(
        id=id, session=page.session, viewer=page.user, period=traffic_api.Period(period.value), begin="", end="",
        connection=None, points=points,
    )  # fmt: skip
    found: Mapping[str, Any] = json.loads(bytes(answer.body))
    return found


async def energy_of(page: Page, id: int, period: Period, points: int) -> Mapping[str, Any] | None:
    """What the API tells the viewer of the energy of a server; None when it hangs on no outlet."""
    if not await power.connection_rows(page.session, id):
        return None
    answer = await energy_api.show_energy(
        id=id, session=page.session, viewer=page.user, period=period, begin="", end="", connection=None,
        points=points,
    )  # fmt: skip
    found: Mapping[str, Any] = json.loads(bytes(answer.body))
    return found


ROUTES = (
    show("/servers/{id:int}/traffic", show_traffic, SIGNED_IN),
    show("/servers/{id:int}/graphs", show_graphs, SIGNED_IN),
)
