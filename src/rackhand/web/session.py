"""Who looks at the console: the session's cookie, and what another site may not make a browser do."""

from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from rackhand.errors import Forbidden, Unauthenticated
from rackhand.users import auth
from rackhand.users.auth import SAFE_METHODS, SESSION_COOKIE
from rackhand.users.model import User


def refuse_foreign_post(request: Request) -> None:
    """Raise `Forbidden` for a change that a page of another origin sends.

    Browsers say where a request comes from: in `Sec-Fetch-Site` on trustworthy origins, else in `Origin`, which
    accompanies every POST. A request that says neither is not from a browser that this console can be used with.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        is_ours = site in {"same-origin", "none"}
    else:
        host = request.headers.get("host", "")
        is_ours = bool(host) and urlsplit(request.headers.get("origin", "")).netloc == host
    if not is_ours:
        raise Forbidden("This form was sent from another site. Nothing was changed; open the console itself.")


async def viewer_of(request: Request, session: AsyncSession) -> User:
    """The signed-in user; raises `Unauthenticated`."""
    text = request.cookies.get(SESSION_COOKIE, "")
    if not text:
        raise Unauthenticated("Sign in first.")
    token = await auth.use_token(request, session, text)
    request.state.user, request.state.token = token.user, token
    return token.user


def put_cookie(request: Request, response: Response, token: str) -> None:
    """Give the browser its session; the same cookie that the API reads."""
    secure = request.url.scheme == "https"
    response.set_cookie(SESSION_COOKIE, token, httponly=True, samesite="lax", secure=secure, path="/")


def local_path(text: str) -> str:
    """*text* when it is a path of this console, else `/`: nobody is sent to another site from here."""
    parts = urlsplit(text)
    is_plain = text.isprintable() and "\\" not in text and not parts.scheme and not parts.netloc
    return text if is_plain and text.startswith("/") and not text.startswith("//") else "/"
