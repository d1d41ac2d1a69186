"""Graphs of a server: traffic as it is billed, and energy where outlets measure it."""

import json
from typing import Any

from starlette.responses import Response

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


async def show_traffic(page: Page, id: int) -> Response:
    """The traffic of a server over a period, with what it is billed by."""
    asked = page.query.get("period", "month_to_date")
    period = traffic_api.Period(asked if asked in PERIODS else "month_to_date")
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    answer = await traffic_api.show_traffic(
        id=id,
        session=page.session,
        viewer=page.user,
        period=period,
        begin="",
        end="",
        connection=None,
        points=500,
    )
    found: dict[str, Any] = json.loads(bytes(answer.body))
    return page.render(
        "servers/traffic.html",
        row=row,
        found=found,
        period=period.value,
        periods={name: gettext(text) for name, text in PERIODS.items()},
        series=json.dumps(found["series"]),
    )


ROUTES = (show("/servers/{id:int}/traffic", show_traffic, SIGNED_IN),)
