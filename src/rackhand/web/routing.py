"""Routes of pages: each in one transaction, for a signed-in viewer, with errors shown where the form was."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rackhand import errors
from rackhand.http.codes import Code
from rackhand.http.edge import error_response
from rackhand.http.errors import ANSWERS
from rackhand.http.wire import MAX_ID
from rackhand.web.page import ConsoleServices, Page, Problem, language_for, read_form
from rackhand.web.session import local_path, refuse_foreign_post, viewer_of
from rackhand.web.texts import gettext, speaking

log = structlog.get_logger()

View = Callable[..., Awaitable[Response]]  # takes the page, then the numbers of the path by name


# What a person can act on where the form is; everything else gets a page of its own.
REFUSALS = (errors.Invalid, errors.Conflict, errors.Forbidden, errors.NotFound, ValidationError)


@dataclass(frozen=True)
class Access:
    """Who may open a page."""

    needs_viewer: bool = True
    needs_admin: bool = True


EVERYBODY = Access(needs_viewer=False, needs_admin=False)
SIGNED_IN = Access(needs_admin=False)
ADMIN = Access()


def show(path: str, view: View, access: Access = ADMIN) -> Route:
    """A page that is read."""

    async def answer(request: Request) -> Response:
        services: ConsoleServices = request.app.state.services
        async with services.db.read() as session:
            page = await _page(request, services, session, access)
            return await view(page, **_numbers(request))

    return _route(path, answer, "GET")


def change(
    path: str, act: View, again: View, access: Access = ADMIN, *, opens_transactions: bool = False
) -> Route:
    """A form or a button: *act* in a write transaction, or, when that is refused, the page *again* with the reason.

    An *act* that opens its write transactions itself says so; the page's session only reads then.
    """

    async def answer(request: Request) -> Response:
        services: ConsoleServices = request.app.state.services
        refuse_foreign_post(request)
        typed = await read_form(request)
        try:
            async with services.db.read() if opens_transactions else services.db.write() as session:
                page = await _page(request, services, session, access, typed)
                return await act(page, **_numbers(request))
        except REFUSALS as refused:
            problem, status = Problem.of(refused), status_of(refused)
        async with services.db.read() as session:
            page = await _page(request, services, session, access, typed)
            page.problem, page.status = problem, status
            return await again(page, **_numbers(request))

    return _route(path, answer, "POST")


async def _page(
    request: Request,
    services: ConsoleServices,
    session: Any,
    access: Access,
    typed: Mapping[str, str] | None = None,
) -> Page:
    try:
        viewer = await viewer_of(request, session)
    except errors.Unauthenticated:
        if access.needs_viewer:
            raise
        viewer = None
    if access.needs_admin and (viewer is None or not viewer.is_admin):
        raise errors.Forbidden("Your role does not allow this function.")
    return Page(request, services, session, viewer, typed or {})


def _numbers(request: Request) -> dict[str, int]:
    numbers: dict[str, int] = request.path_params
    if any(number > MAX_ID for number in numbers.values()):
        raise errors.NotFound("There is no such page.")
    return numbers


def status_of(error: Exception) -> int:
    """The HTTP status that goes with an error."""
    if isinstance(error, ValidationError):
        return 400
    return next((status for kind, status, _ in ANSWERS if isinstance(error, kind)), 500)


def _route(path: str, answer: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    async def guarded(request: Request) -> Response:
        request.state.route = path
        with speaking(language_for(request)):
            try:
                return await answer(request)
            except errors.Unauthenticated:
                return ask_to_sign_in(request)
            except errors.RackhandError as error:
                return error_page(request, status_of(error), error.message)
            except ClientDisconnect:
                raise
            except Exception:  # the last resort of the console, for people who read no JSON
                log.exception("page failed", method=request.method, path=request.url.path)
                message = gettext("Something went wrong here; the log of the server tells what.")
                return error_page(request, 500, message)

    return Route(path, guarded, methods=[method])


def ask_to_sign_in(request: Request) -> Response:
    """Send the browser to the sign-in page, and back when that is done."""
    if request.headers.get("hx-request"):  # a part of a page that is open: the whole page has to go
        return Response(status_code=401, headers={"hx-refresh": "true"})
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method != "GET":
        wanted = local_path(request.url.path)
    target = request.url.replace(scheme="", netloc="", path="/login", query="").include_query_params(
        next=wanted
    )
    return RedirectResponse(str(target) if wanted != "/" else "/login", 303)


def error_page(request: Request, status: int, message: str) -> Response:
    """Say what is wrong on a page of its own."""
    page = Page(request, request.app.state.services, None, getattr(request.state, "user", None))  # type: ignore[arg-type]
    return page.render("error.html", status=status, message=message)


async def answer_unknown(request: Request, error: Exception) -> Response:
    """There is no such page: in words for a browser, in the envelope for anybody else."""
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type
    if "text/html" not in request.headers.get("accept", ""):
        if error.status_code == 405:  # noqa: PLR2004
            message = f"{request.url.path} does not take {request.method}."
            return error_response(405, Code.METHOD, message)
        message = f"There is no function {request.method} {request.url.path}. See /swagger/."
        return error_response(404, Code.UNKNOWN_FUNCTION, message)
    if error.status_code == 405 and request.method == "GET":  # noqa: PLR2004  # a refused button, and then "reload"
        return RedirectResponse(request.url.path.rpartition("/")[0] or "/", 303)
    services: ConsoleServices = request.app.state.services
    with speaking(language_for(request)):
        try:
            async with services.db.read() as session:
                await viewer_of(request, session)
        except errors.Unauthenticated:
            pass
        return error_page(request, error.status_code, gettext("There is no such page."))
