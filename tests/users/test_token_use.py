"""The use of a token is written down, whatever transaction the call itself works in."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from rackhand.app import Services
from rackhand.db import utcnow
from rackhand.users.model import Token
from tests.conftest import Api, server_body
from tests.users.callers import set_age


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/dci/v3/server", None, 200),
        ("POST", "/dci/v3/server/1", {"notes": "n"}, 200),
        # These open their transactions themselves; their caller is looked up where nothing can be written.
        ("POST", "/dci/v3/server/1/console/input", {"data": "YQ=="}, 409),
        ("DELETE", "/dci/v3/server/2/console", None, 404),
    ],
)
async def test_the_use_of_a_token_is_noted(
    admin: Api, services: Services, method: str, path: str, body: Any, status: int
) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    await set_age(services, tokens=timedelta(minutes=30))
    response = await admin.call(method, path, body)
    assert response.status_code == status, response.text
    async with services.db.read() as session:
        used = await session.scalar(select(func.max(Token.last_used_at)))
    assert used is not None
    assert utcnow() - used < timedelta(minutes=5)
