"""The serial console of a server: a terminal on the page, and what was recorded of it."""

import asyncio

from starlette.responses import PlainTextResponse, Response

from rackhand.consoles import api, recording, service
from rackhand.consoles.schemas import InputBody
from rackhand.servers import queries
from rackhand.tasks.operation import Tools
from rackhand.web.page import Page
from rackhand.web.routing import ADMIN, SIGNED_IN, change, show

MAX_SHOWN = 50  # recordings
MAX_LINES = 5000  # of one, the last ones


async def show_console(page: Page, id: int) -> Response:
    """The terminal, with the recordings below."""
    server = await queries.by_id(page.session, id, visible_to=page.user)
    state = await api.get_console(id, page.session, page.user, page.services.consoles)
    words = page.query.get("search", "").strip()[:200]
    data = page.services.settings.data
    hits = await service.recordings_of(data, server, user=page.user, words=words)
    return page.render(
        "servers/console.html",
        server=server,
        state=state,
        words=words,
        hits=hits[:MAX_SHOWN],
        size=len(hits),
        days=page.services.settings.console_retention_days,
    )


async def show_recording(page: Page, id: int) -> Response:
    """A recording as text."""
    server = await queries.by_id(page.session, id, visible_to=page.user)
    name = page.query.get("name", "")
    path = await service.recording_of(page.services.settings.data, server, name, user=page.user)
    lines = await asyncio.to_thread(lambda: list(recording.lines(path)))
    return page.render(
        "servers/recording.html",
        server=server,
        name=name,
        started_at=recording.started_at(name),
        lines=lines[-MAX_LINES:],
        left_out=max(0, len(lines) - MAX_LINES),
    )


async def type_into_console(page: Page, id: int) -> Response:
    """Type what the page's terminal sends, bytes in base64."""
    body = InputBody(data=page.typed.get("data", ""))
    await api.type_into_console(id, page.user, _tools(page), page.services.consoles, body)
    return Response(status_code=204)


async def say_refusal(page: Page, id: int) -> Response:  # noqa: ARG001  # the form of a page
    """Why nothing was typed, for the script that tried."""
    problem = page.problem
    words = [*problem.messages, *problem.fields.values()] if problem is not None else []
    return PlainTextResponse(" ".join(words), page.status)


async def end_console(page: Page, id: int) -> Response:
    """End the console for everybody."""
    await api.end_console(id, page.user, page.actor, _tools(page), page.services.consoles)
    return page.go(f"/servers/{id}/console?ended=1", "console_ended")


def _tools(page: Page) -> Tools:
    services = page.services
    return Tools(services.db, services.vault, services.doors, services.settings)


ROUTES = (
    show("/servers/{id:int}/console", show_console, SIGNED_IN),
    show("/servers/{id:int}/console/recording", show_recording, SIGNED_IN),
    change(
        "/servers/{id:int}/console/input",
        type_into_console,
        say_refusal,
        SIGNED_IN,
        opens_transactions=True,
    ),
    change("/servers/{id:int}/console/end", end_console, show_console, ADMIN, opens_transactions=True),
)
