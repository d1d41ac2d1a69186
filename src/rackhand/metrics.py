"""Prometheus metrics: requests as they pass, counts of the database when they are asked for."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rackhand.servers.model import BmcAccess, Server
from rackhand.tasks.model import Task


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "rackhand_http_requests", "HTTP requests", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "rackhand_http_request_seconds", "Time to answer", ["method", "route"], registry=self.registry
        )
        self.tasks = Gauge(
            "rackhand_tasks", "Tasks by operation and status", ["name", "status"], registry=self.registry
        )
        self.servers = Gauge(
            "rackhand_servers", "Servers by power state", ["power_state"], registry=self.registry
        )
        self.unreachable = Gauge(
            "rackhand_bmc_unreachable", "BMCs that cannot be read", registry=self.registry
        )
        self.refused = Gauge(
            "rackhand_bmc_login_refused", "BMCs that refused the login", registry=self.registry
        )

    async def render(self, session: AsyncSession) -> bytes:
        """Count and give the text format."""
        self.tasks.clear()
        counts = select(Task.name, Task.status, func.count()).group_by(Task.name, Task.status)
        for name, status, number in await session.execute(counts):
            self.tasks.labels(name, status).set(number)
        self.servers.clear()
        for state, number in await session.execute(
            select(Server.power_state, func.count()).group_by(Server.power_state)
        ):
            self.servers.labels(state).set(number)
        unreachable = select(func.count()).select_from(Server).where(Server.power_error_at.is_not(None))
        self.unreachable.set(await session.scalar(unreachable) or 0)
        refused = select(func.count()).select_from(BmcAccess).where(BmcAccess.refused_at.is_not(None))
        self.refused.set(await session.scalar(refused) or 0)
        return generate_latest(self.registry)


class MeasureRequests:
    """ASGI middleware that counts and times requests by route, never by path: ids would make endless series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and measure it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            route = scope.get("state", {}).get("route", "unknown")
            method = (
                scope["method"]
                if scope["method"] in {"GET", "POST", "DELETE", "OPTIONS", "HEAD"}
                else "other"
            )
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.seconds.labels(method, route).observe(time.perf_counter() - started)
