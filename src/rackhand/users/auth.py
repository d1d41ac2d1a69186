"""Who asks: the ways to carry a token, and what a browser may not be tricked into."""

import ipaddress
from typing import Annotated, Protocol

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import cookie_parser

from rackhand.db import Database, may_write
from rackhand.errors import Forbidden, Unauthenticated
from rackhand.events.service import Actor
from rackhand.http.transaction import Session
from rackhand.settings import Settings
from rackhand.users import tokens
from rackhand.users.model import AccountState, Role, Token, User

SESSION_COOKIE = "ses6"
TOKEN_HEADER = "x-xsrf-token"  # noqa: S105  # the name of a header
BOX_HEADER = "isp-box-instance"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# What a proxy adds: such a call comes from the network, whatever its address says.
PROXY_HEADERS = ("x-forwarded-for", "x-real-ip", "forwarded", "via")

# Only for the API description: `authenticate` reads more places than this.
token_in_header = APIKeyHeader(name=TOKEN_HEADER, auto_error=False, scheme_name="token")


class HasAuth(Protocol):
    """What this module needs of the composed application."""

    db: Database
    settings: Settings


def client_address(request: Request) -> str:
    """The address the request came from, behind trusted proxies too (uvicorn resolves those)."""
    return request.client.host if request.client else ""


def request_id(request: Request) -> str | None:
    """The number under which logs and events speak of this request."""
    found: str | None = getattr(request.state, "request_id", None)
    return found


def token_of(request: Request) -> tuple[str, bool]:
    """The token that the request carries, and whether a browser may have added it on its own (api-facts 2.1)."""
    if header := request.headers.get(TOKEN_HEADER):
        return header, False
    if cookie := _cookie_of(request):
        return cookie, BOX_HEADER not in request.headers
    return request.headers.get("isp-session") or request.headers.get(SESSION_COOKIE) or "", False


def _cookie_of(request: Request) -> str:
    """The session's cookie; `http.cookies` would drop it behind the first cookie that is not as RFC 2109 has it."""
    found = (cookie_parser(header).get(SESSION_COOKIE) for header in request.headers.getlist("cookie"))
    return next((value for value in found if value), "")


async def authenticate(request: Request, session: AsyncSession) -> User:
    """Return the user who asks; raise `Unauthenticated`, or `Forbidden` for what looks like a cross-site post."""
    known: User | None = getattr(request.state, "user", None)
    if known is not None:
        return known
    text, is_ambient = token_of(request)
    if not text:
        user = await _internal_user(request, session)
        if user is None:
            raise Unauthenticated(
                "Sign in first: POST /auth/v4/public/token, then send the token as x-xsrf-token."
            )
        request.state.user, request.state.token = user, None
        return user
    token = await use_token(request, session, text)
    if is_ambient and request.method not in SAFE_METHODS:
        raise Forbidden(
            f"A change with nothing but a cookie is refused. Send {TOKEN_HEADER} or {BOX_HEADER} as well."
        )
    request.state.user, request.state.token = token.user, token
    return token.user


async def use_token(request: Request, session: AsyncSession, text: str) -> Token:
    """Return a live token with its user and note its use; raise `Unauthenticated`.

    Whoever calls this with a cookie makes sure that the request comes from a page of ours.
    """
    services: HasAuth = request.app.state.services
    token = await tokens.find(session, text)
    if token is None:
        raise Unauthenticated("The session is unknown or expired. Sign in again.")
    if tokens.needs_touch(token):
        if may_write(session):
            await tokens.touch(session, token)
        else:
            # Gives the connection back: readers that hold one would all wait for another.
            await session.close()
            async with services.db.write() as writing:
                await tokens.touch(writing, token)
    return token


async def _internal_user(request: Request, session: AsyncSession) -> User | None:
    services: HasAuth = request.app.state.services
    if not services.settings.internal_auth or request.headers.get("internal-auth") != "on":
        return None
    if any(header in request.headers for header in PROXY_HEADERS):
        return None
    address = client_address(request)
    if address and not (_is_ip(address) and ipaddress.ip_address(address).is_loopback):
        return None
    query = (
        select(User)
        .where(User.role == Role.ADMIN, User.state == AccountState.ACTIVE)
        .order_by(User.id)
        .limit(1)
    )
    return (await session.scalars(query)).one_or_none()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def current_user(
    request: Request, session: Session, _described: Annotated[str | None, Depends(token_in_header)]
) -> User:
    """Require a signed-in user."""
    return await authenticate(request, session)


CurrentUser = Annotated[User, Depends(current_user)]


async def admin(user: CurrentUser) -> User:
    """Require an administrator."""
    if not user.is_admin:
        raise Forbidden("Your role does not allow this function.")
    return user


Admin = Annotated[User, Depends(admin)]


async def actor(request: Request, user: CurrentUser) -> Actor:
    """Who acts, for events and tasks."""
    return Actor(user.id, user.email, client_address(request), request_id(request))


CurrentActor = Annotated[Actor, Depends(actor)]
