"""Wiring of address management until the composition root has it: remove this file then."""

from collections.abc import AsyncIterator

import httpx
import pytest

from rackhand.app import Services, create_app
from rackhand.db import Base
from rackhand.ipam import api, operations
from tests.conftest import Api


@pytest.fixture
async def anonymous(services: Services) -> AsyncIterator[Api]:
    app = create_app(services)
    known = services.engine._operations
    services.engine._operations = {**known, **{each.name: each for each in operations.OPERATIONS}}
    if api.SERVER_PART not in services.server_parts:
        services.server_parts = (*services.server_parts, api.SERVER_PART)
    if not any(getattr(route, "path", "").endswith("/ipnet") for route in app.routes):
        app.include_router(api.router)
    async with services.db.write() as session:
        await (await session.connection()).run_sync(Base.metadata.create_all)
    transport = httpx.ASGITransport(app, client=("192.0.2.10", 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://rackhand.example.com") as http:
        yield Api(http)
