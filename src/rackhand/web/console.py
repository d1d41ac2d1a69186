"""The console as an ASGI application: its routes, what every answer says to the browser, where it is mounted."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rackhand.http.edge import API_PATH
from rackhand.web import (
    adding,
    bulk,
    events,
    installing,
    networks,
    overview,
    pdus,
    racks,
    reports,
    serial_console,
    servers,
    signin,
    switches,
    tasks,
    users,
)
from rackhand.web.assets import serve_asset
from rackhand.web.page import ConsoleServices
from rackhand.web.routing import answer_unknown

# Everything comes from here and nothing stands inline; `data:` are the arrows and ticks in Tabler's style sheet.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class SecurityHeaders:
    """Tells the browser what a page of the console may load, and that nobody may frame it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to every answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, send_with_headers)


ROUTES: Sequence[BaseRoute] = (
    Route("/static/{name:path}", serve_asset),
    *signin.ROUTES,
    *overview.ROUTES,
    *adding.ROUTES,
    *bulk.ROUTES,
    *servers.ROUTES,
    *reports.ROUTES,
    *serial_console.ROUTES,
    *installing.ROUTES,
    *pdus.ROUTES,
    *tasks.ROUTES,
    *racks.ROUTES,
    *networks.ROUTES,
    *switches.ROUTES,
    *users.ROUTES,
    *events.ROUTES,
)


def create_console(services: ConsoleServices) -> Starlette:
    """Build the console over open services."""
    console = Starlette(
        routes=list(ROUTES),
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(GZipMiddleware, minimum_size=1024, compresslevel=5),
        ],
        exception_handlers={HTTPException: answer_unknown},
    )
    console.state.services = services
    return console


class ConsoleMount(Mount):
    """Every path that is no call of the API."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave the API's paths alone, unknown ones too: its clients want its errors."""
        if scope["type"] != "http" or API_PATH.match(scope["path"]):
            return Match.NONE, {}
        return super().matches(scope)
