"""One request of the console: who looks, what was asked, and how the answer is put on a page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from rackhand.consoles.broker import Consoles
from rackhand.db import Database
from rackhand.errors import Invalid, RackhandError
from rackhand.events.service import Actor
from rackhand.hardware.door import Doors
from rackhand.power.poller import Poller
from rackhand.servers.queries import ServerPart
from rackhand.settings import Settings
from rackhand.tasks.engine import Engine
from rackhand.users.auth import client_address, request_id
from rackhand.users.model import User
from rackhand.vault import Vault
from rackhand.web.templating import render
from rackhand.web.texts import gettext, language_of, marked

MAX_FORM_FIELDS = 20_000
THEME_COOKIE, LANGUAGE_COOKIE, NOTICE_COOKIE = "theme", "language", "notice"
THEMES = ("auto", "light", "dark")

# What a page says after a change. The cookie holds the key alone, so that nobody writes on our pages.
NOTICES = {
    "saved": marked("Saved."),
    "added": marked("Added."),
    "deleted": marked("Deleted."),
    "started": marked("The task was started. This page follows it."),
    "cancelling": marked("The task was asked to stop; what it did is taken back."),
    "signed_out": marked("You are signed out."),
    "console_ended": marked("The console was ended."),
    "reading": marked("The state is being read."),
    "password": marked("The password was changed. Other sessions have ended."),
}


class ConsoleServices(Protocol):
    """What the console needs of the composed application (`app.state.services`)."""

    settings: Settings
    db: Database
    vault: Vault
    doors: Doors
    engine: Engine
    consoles: Consoles
    poller: Poller | None
    server_parts: tuple[ServerPart, ...]

    async def read_power_soon(self, server_id: int) -> None:
        """Have a server's power state read now."""


@dataclass(frozen=True)
class Problem:
    """Why a form was refused: by field, and what concerns no field."""

    fields: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: RackhandError | ValidationError) -> "Problem":
        """Read an error of a service function or of a body's check."""
        if isinstance(error, RackhandError):
            named = re.match(r"([a-z][a-z_0-9]*): (.+)", error.message, re.DOTALL)
            return cls({named[1]: named[2]}) if named else cls({}, (error.message,))
        found: dict[str, str] = {}
        for each in error.errors():
            name = str(each["loc"][0]) if each["loc"] else ""
            found.setdefault(name, each["msg"].removeprefix("Value error, "))
        messages = (found.pop(""),) if "" in found else ()
        return cls(found, messages)


@dataclass
class Form:
    """The values of a form: as they are stored, or as somebody typed them when that was refused."""

    values: Mapping[str, Any]
    problem: Problem | None = None
    is_retyped: bool = False

    def value(self, name: str) -> Any:
        """What stands in the field."""
        found = self.values.get(name)
        return "" if found is None else found

    def is_on(self, name: str) -> bool:
        """Whether a box is ticked."""
        return self.values.get(name) in {True, "on", "true", "1"}

    def like(self, values: Mapping[str, Any]) -> "Form":
        """The same form with other values."""
        return Form(values, self.problem)

    def error(self, name: str) -> str:
        """What is wrong with the field; empty for nothing."""
        return self.problem.fields.get(name, "") if self.problem else ""


@dataclass
class Page:
    """A request. `typed` is the form that was sent, `problem` why it was refused, when a page is shown again."""

    request: Request
    services: ConsoleServices
    session: AsyncSession
    viewer: User | None
    typed: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None
    status: int = 200

    @property
    def user(self) -> User:
        """Who is signed in."""
        if self.viewer is None:
            raise LookupError("This page needs nobody to be signed in.")
        return self.viewer

    @property
    def actor(self) -> Actor:
        """Who acts, for events and tasks."""
        return Actor(self.user.id, self.user.email, client_address(self.request), request_id(self.request))

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the URL."""
        return self.request.query_params

    def form(self, initial: Mapping[str, Any] | None = None, *, name: str = "") -> Form:
        """A form with *initial* values, or as it was typed. *name* tells several forms of one page apart."""
        if self.problem is not None and self.typed.get("_form", "") == name:
            return Form(self.typed, self.problem, is_retyped=True)
        return Form(initial or {})

    def given(self, *names: str) -> dict[str, str]:
        """Fields of the sent form that are not blank, without the spaces around them."""
        return {name: text for name in names if (text := self.typed.get(name, "").strip())}

    def number(self, name: str) -> int | None:
        """A field that holds a number or nothing."""
        text = self.typed.get(name, "").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19):  # noqa: PLR2004  # 64 bit
            raise Invalid(f"{name}: expected a number, got {text[:40]!r}.")
        return int(text)

    def is_ticked(self, name: str) -> bool:
        """Whether a box of the sent form is ticked."""
        return self.typed.get(name) == "on"

    def url(self, **changes: object) -> str:
        """The address of this page with some parameters changed; None takes one away."""
        kept = {**self.request.query_params, **changes}
        given = {name: str(value) for name, value in kept.items() if value not in {None, ""}}
        path = self.request.url.path
        return f"{path}?{urlencode(given)}" if given else path

    def render(self, template: str, *, status: int | None = None, **context: object) -> Response:
        """Answer with a page."""
        notice = NOTICES.get(self.request.cookies.get(NOTICE_COOKIE, ""))
        text = render(
            template,
            page=self,
            viewer=self.viewer,
            path=self.request.url.path,
            theme=theme_of(self.request),
            language=language_for(self.request),
            notice=gettext(notice) if notice else "",
            **context,
        )
        response = HTMLResponse(text, status or self.status, {"cache-control": "no-store"})
        if notice and not self.request.headers.get("hx-request"):
            response.delete_cookie(NOTICE_COOKIE, path="/")
        return response

    def go(self, path: str, notice: str = "") -> Response:
        """Send the browser to *path* after a change, where it says *notice*, a key of `NOTICES`."""
        return redirect(path, notice)


def redirect(path: str, notice: str = "") -> Response:
    """Answer a POST: look at *path* now."""
    response = RedirectResponse(path, 303)
    if notice:
        response.set_cookie(NOTICE_COOKIE, notice, max_age=30, httponly=True, samesite="lax", path="/")
    return response


def theme_of(request: Request) -> str:
    """Light, dark, or as the viewer's system has it."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "auto"


def language_for(request: Request) -> str:
    """The language that this viewer reads."""
    return language_of(request.cookies.get(LANGUAGE_COOKIE, ""), request.headers.get("accept-language", ""))


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; one that comes several times is joined by commas (ids of chosen rows)."""
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError as error:
        raise Invalid("The form cannot be read.") from error
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields[name] = f"{fields[name]},{value}" if name in fields else value
    if any("\0" in value for value in fields.values()):
        raise Invalid("The form holds the character U+0000.")
    return fields
