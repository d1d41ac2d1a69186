"""The same thing for many servers: first a look at what would happen to each, then the deed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from rackhand.deploy import release_api
from rackhand.errors import Invalid, RackhandError
from rackhand.http.lists import ListParams
from rackhand.power import api as power_api
from rackhand.servers import api as servers_api
from rackhand.servers import queries, schemas
from rackhand.switches import api as switches_api
from rackhand.web.page import Page
from rackhand.web.routing import change
from rackhand.web.servers import show_servers
from rackhand.web.texts import gettext, marked

MOST = 500

Deed = Callable[[Page, dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Action:
    """What is done: its name on a button, and the call of the API that does it to one server."""

    text: str
    act: Deed


def _power(act: Callable[..., Awaitable[Any]], **body: Any) -> Deed:
    async def deed(page: Page, common: dict[str, Any]) -> None:
        given: dict[str, Any] = {"body": power_api.PowerBody(**body)} if body else {}
        if act is not power_api.power_reset:
            given["poller"] = None  # a preview must not touch a BMC, not even to read it
        await act(**common, **given, user=page.user, engine=page.services.engine)

    return deed


def _flag(act: Callable[..., Awaitable[Any]], *, value: bool) -> Deed:
    return lambda page, common: act(**common, admin=page.user, body=schemas.SwitchBody(value=value))


def _ports(act: Callable[..., Awaitable[Any]]) -> Deed:
    return lambda page, common: act(
        **common, admin=page.user, engine=page.services.engine, dry_run=False, body=None
    )


ACTIONS: Mapping[str, Action] = {
    "on": Action(marked("Switch on"), _power(power_api.power_on)),
    "soft": Action(marked("Shut down"), _power(power_api.power_off, soft=True)),
    "off": Action(marked("Switch off"), _power(power_api.power_off, soft=False)),
    "reset": Action(marked("Reset"), _power(power_api.power_reset)),
    "maintain": Action(marked("Into maintenance"), _flag(servers_api.set_maintenance, value=True)),
    "end_maintenance": Action(marked("End maintenance"), _flag(servers_api.set_maintenance, value=False)),
    "protect": Action(marked("Protect"), _flag(servers_api.set_protection, value=True)),
    "end_protection": Action(marked("End protection"), _flag(servers_api.set_protection, value=False)),
    "suspend": Action(marked("Suspend"), _ports(switches_api.suspend)),
    "resume": Action(marked("Resume"), _ports(switches_api.resume)),
    "release": Action(
        marked("Release"),
        lambda page, common: release_api.take_owner(**common, admin=page.user, engine=page.services.engine),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What came, or would come, of one server; an empty reason is success."""

    id: int
    name: str
    reason: str


async def act_on_many(page: Page) -> Response:
    """Do it to every chosen server in a transaction; the preview does the same and takes it back."""
    action = ACTIONS.get(page.typed.get("action", ""))
    if action is None:
        raise Invalid("Say what is to be done.")
    chosen = await _chosen(page)
    is_real = page.typed.get("confirm") == "yes"
    outcomes = await _outcomes(page, action, chosen, is_real=is_real)
    return page.render(
        "servers/bulk.html",
        action=gettext(action.text),
        word=page.typed["action"],
        outcomes=outcomes,
        accepted=[each for each in outcomes if not each.reason],
        refused=[each for each in outcomes if each.reason],
        is_real=is_real,
    )


async def _outcomes(
    page: Page, action: Action, chosen: list[tuple[int, str]], *, is_real: bool
) -> list[Outcome]:
    """What comes of each; a preview ends its transaction without a commit."""
    async with page.services.db.write() if is_real else page.services.db.rehearse() as session:
        return [await _try(page, session, action, server_id, name) for server_id, name in chosen]


async def _chosen(page: Page) -> list[tuple[int, str]]:
    if page.is_ticked("all"):
        where = page.typed.get("where", "")
    else:
        ids = [text for text in page.typed.get("ids", "").split(",") if text.isascii() and text.isdigit()]
        if not ids:
            raise Invalid("Choose at least one server.")
        where = f"id IN ({', '.join(ids[: MOST + 1])})"
    found = await queries.page(
        page.session, ListParams(where, "name", str(MOST)), visible_to=page.user, parts=()
    )
    if found.size > MOST:
        raise Invalid(
            f"{found.size} servers are too many at once, {MOST} are the most. Narrow the filter down."
        )
    return [(row.id, row.name) for row in found.rows]


async def _try(page: Page, session: AsyncSession, action: Action, server_id: int, name: str) -> Outcome:
    try:
        async with session.begin_nested():
            await action.act(page, {"id": server_id, "session": session, "actor": page.actor})
    except RackhandError as refused:
        return Outcome(server_id, name, refused.message)
    return Outcome(server_id, name, "")


ROUTES = (change("/servers/bulk", act_on_many, show_servers, opens_transactions=True),)
