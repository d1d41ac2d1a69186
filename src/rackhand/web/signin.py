"""Signing in and out, and what a browser is asked to remember: theme and language."""

from starlette.responses import Response

from rackhand.errors import TooManyRequests, Unauthenticated
from rackhand.users import signin, tokens
from rackhand.users.auth import SESSION_COOKIE, client_address, request_id
from rackhand.web.page import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, Page, Problem, redirect
from rackhand.web.routing import EVERYBODY, change, show
from rackhand.web.session import local_path, put_cookie
from rackhand.web.texts import LANGUAGES, gettext

YEAR = 365 * 86400


async def show_sign_in(page: Page) -> Response:
    """The form; somebody who is signed in is sent on."""
    wanted = local_path(page.query.get("next", "/"))
    if page.viewer is not None and page.problem is None:
        return redirect(wanted)
    return page.render("login.html", next=wanted, form=page.form())


async def sign_in(page: Page) -> Response:
    """Check the password. The hash takes long, so the page's connection is given back first."""
    await page.session.close()
    email = page.typed.get("email", "").strip()
    try:
        issued = await signin.sign_in(
            page.services.db,
            email=email,
            password=page.typed.get("password", ""),
            address=client_address(page.request),
            request_id=request_id(page.request),
        )
    except (Unauthenticated, TooManyRequests) as refused:
        page.typed = {"email": email}
        page.problem = Problem({}, (gettext(refused.message),))
        page.status = 429 if isinstance(refused, TooManyRequests) else 401
        return await show_sign_in(page)
    response = redirect(local_path(page.query.get("next", "/")))
    put_cookie(page.request, response, issued.token)
    return response


async def sign_out(page: Page) -> Response:
    """End the session."""
    response = redirect("/login", "signed_out")
    if page.viewer is not None:
        await tokens.revoke(page.session, page.request.state.token.id)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="lax")
    return response


async def set_preference(page: Page) -> Response:
    """Remember a theme or a language in this browser."""
    response = redirect(local_path(page.typed.get("back", "/")))
    theme, language = page.typed.get("theme", ""), page.typed.get("language", "")
    if theme in THEMES:
        response.set_cookie(THEME_COOKIE, theme, max_age=YEAR, httponly=True, samesite="lax", path="/")
    if language in LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=YEAR, httponly=True, samesite="lax", path="/")
    return response


ROUTES = (
    show("/login", show_sign_in, EVERYBODY),
    change("/login", sign_in, show_sign_in, EVERYBODY, opens_transactions=True),
    change("/logout", sign_out, show_sign_in, EVERYBODY),
    change("/preference", set_preference, show_sign_in, EVERYBODY),
)
