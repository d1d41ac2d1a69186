"""The first page: what is in stock, what is broken and since when, what runs; to a customer, its servers."""

from starlette.responses import Response

from rackhand.events import queries as events
from rackhand.http.lists import ListParams
from rackhand.servers import queries as servers
from rackhand.tasks import queries as tasks
from rackhand.web.page import Page
from rackhand.web.routing import SIGNED_IN, show
from rackhand.web.servers import show_servers

SHOWN = 12
SHOWN_EVENTS = 10
BROKEN = (
    "status EQ 'quarantined' OR power_unreachable_since IS NOT null OR bmc_connection.refused_at IS NOT null"
    " OR diagnostics_message IS NOT null OR operation.status EQ 'failed'"
)


async def show_overview(page: Page) -> Response:
    """Show what an operator asks first in the morning."""
    if not page.user.is_admin:
        return await show_servers(page)
    broken = await servers.page(
        page.session,
        ListParams(where=BROKEN, orderby="power_unreachable_since,name", limit=str(SHOWN)),
        visible_to=page.user,
        parts=(),
    )
    running = await tasks.active(page.session, visible_to=page.user, limit=SHOWN + 1)
    stock = await servers.stock(page.session, visible_to=page.user)
    return page.render(
        "overview.html",
        summary=await servers.summary(page.session, visible_to=page.user),
        stock=stock,
        available=sum(row.free_server_count for row in stock),
        capacity=await servers.capacity(page.session),
        broken=broken,
        running=running[:SHOWN],
        has_more=len(running) > SHOWN,
        broken_where=BROKEN,
        latest=await events.latest(page.session, limit=SHOWN_EVENTS),
    )


ROUTES = (show("/", show_overview, SIGNED_IN),)
