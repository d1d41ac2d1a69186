"""One transaction per request: GET reads, everything else commits before the answer leaves."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import Database
from rackhand.http import idempotency
from rackhand.vault import Vault


class HasTransactions(Protocol):
    """What this module needs of the composed application (`app.state.services`)."""

    db: Database
    vault: Vault

    async def identify(self, request: Request, session: AsyncSession) -> str:
        """Name the caller for idempotency keys, signed in or not."""


class TransactionRoute(APIRoute):
    """A route whose handler runs in a transaction: an error rolls back, a commit that fails is an error."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler; the documented place for this."""
        handler = super().get_route_handler()

        async def transact(request: Request) -> Response:
            services: HasTransactions = request.app.state.services
            if request.method == "GET":
                async with services.db.read() as session:
                    request.state.session = session
                    return await handler(request)
            async with services.db.write() as session:
                request.state.session = session
                if idempotency.HEADER not in request.headers:
                    return await handler(request)
                owner = await services.identify(request, session)
                return await idempotency.answer_once(
                    session, request, owner=owner, vault=services.vault, answer=lambda: handler(request)
                )

        return transact


async def request_session(request: Request) -> AsyncSession:
    """The transaction of this request."""
    session: AsyncSession = request.state.session
    return session


Session = Annotated[AsyncSession, Depends(request_session)]
