"""The composition root: settings -> database -> drivers -> engine -> ASGI application."""

import asyncio
import contextlib
import gc
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import fastapi_swagger
import structlog
import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

import rackhand
from rackhand import vault as vaults
from rackhand.boot import api as boot_api
from rackhand.boot import reservations, task_secrets
from rackhand.boot.dnsmasq import dhcp_server
from rackhand.boot.listener import boot_listener
from rackhand.consoles import api as consoles_api
from rackhand.consoles import recording
from rackhand.consoles.broker import Consoles
from rackhand.db import Database, utcnow
from rackhand.deploy import api as deploy_api
from rackhand.deploy import operations as deploy_operations
from rackhand.deploy import os_api, release_api, rescue
from rackhand.errors import Unauthenticated
from rackhand.events import api as events_api
from rackhand.events import service as events
from rackhand.events.stream import EventHub
from rackhand.hardware.door import Doors
from rackhand.http import edge, errors, examples, idempotency
from rackhand.http.protocol import RackhandHttpProtocol
from rackhand.http.wire import json_response, strict_properties
from rackhand.ipam import api as ipam_api
from rackhand.ipam import bmc_addresses, dns_api
from rackhand.ipam import free as ipam_free
from rackhand.ipam import operations as ipam_operations
from rackhand.ipam.dns_sync import PtrSweep
from rackhand.metrics import MeasureRequests, Metrics
from rackhand.power import api as power_api
from rackhand.power import energy_api, pdu_api
from rackhand.power import operations as power_operations
from rackhand.power.poller import Poller
from rackhand.servers import api as servers_api
from rackhand.servers.bmc import PASSWORD_PURPOSE
from rackhand.servers.model import BmcAccess, Location
from rackhand.servers.queries import ServerPart
from rackhand.settings import Settings
from rackhand.switches import api as switches_api
from rackhand.switches import operations as switch_operations
from rackhand.switches import traffic_api
from rackhand.switches.sweep import SwitchSweep
from rackhand.tasks import api as tasks_api
from rackhand.tasks import engine as engines
from rackhand.tasks import lease
from rackhand.tasks.engine import HEARTBEAT_SECONDS, Engine
from rackhand.tasks.operation import Tools
from rackhand.users import api as users_api
from rackhand.users import auth, signin, tokens
from rackhand.users.model import User
from rackhand.vault import SecretUnreadable, Vault
from rackhand.web.console import ConsoleMount, create_console

log = structlog.get_logger()

OPERATIONS = (
    *power_operations.OPERATIONS,
    *ipam_operations.OPERATIONS,
    *switch_operations.OPERATIONS,
    *deploy_operations.OPERATIONS,
)
SERVER_PARTS: tuple[ServerPart, ...] = (
    ipam_api.SERVER_PART,
    switches_api.SERVER_PART,
    pdu_api.SERVER_PART,
    rescue.SERVER_PART,
)
TIDY_EVERY = timedelta(hours=1)


@dataclass
class Services:
    """What routes and background loops work with; `app.state.services`."""

    settings: Settings
    db: Database
    vault: Vault
    doors: Doors
    engine: Engine
    event_hub: EventHub
    metrics: Metrics
    consoles: Consoles
    poller: Poller | None = None
    server_parts: tuple[ServerPart, ...] = SERVER_PARTS
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def read_power_soon(self, server_id: int) -> None:
        """Have a server's power state read now, because its BMC access changed."""
        if self.poller is not None:
            self.poller.read_soon(server_id)

    async def authenticate(self, request: Request, session: AsyncSession) -> User:
        """Find who asks; raise `Unauthenticated` for nobody (for slices that stand below `users`)."""
        return await auth.authenticate(request, session)

    async def identify(self, request: Request, session: AsyncSession) -> str:
        """Name the caller for idempotency keys: the user, else the address.

        What is stored for an address was answered without a session, so nobody gets an answer that needs one.
        """
        try:
            return f"user {(await self.authenticate(request, session)).id}"
        except Unauthenticated:
            return f"address {auth.client_address(request)}"


@asynccontextmanager
async def open_services(
    settings: Settings, *, runs_tasks: bool = True, polls: bool = True
) -> AsyncIterator[Services]:
    """Open the database (migrated), the engine and the background loops; close them in reverse."""
    settings.data.mkdir(parents=True, exist_ok=True)
    vault = vaults.load(settings.secret_key.get_secret_value(), settings.data)
    db = Database(settings.database)
    await db.migrate()
    doors = Doors()
    tools = Tools(db, vault, doors, settings)
    location_id = await _location_id(db, settings.location)
    await _check_keys(db, vault)
    engine = Engine(tools, OPERATIONS, runs_tasks=runs_tasks, location_id=location_id)
    consoles = Consoles(tools, holder=engine.executor_id)
    services = Services(settings, db, vault, doors, engine, EventHub(db), Metrics(), consoles)
    loops: list[asyncio.Task[None]] = []
    try:
        await engine.start()
        async with db.read() as session:
            await engine.listen((await session.scalars(select(Location.id))).all())
        loops.append(asyncio.create_task(services.event_hub.run(), name="event hub"))
        if runs_tasks:
            loops.append(asyncio.create_task(_tidy(services), name="tidy"))
        if polls and runs_tasks:
            services.poller = Poller(tools, holder=engine.executor_id, location_id=location_id)
            loops.append(asyncio.create_task(services.poller.run(), name="power poller"))
            switch_sweep = SwitchSweep(tools, holder=engine.executor_id, location_id=location_id)
            loops.append(asyncio.create_task(switch_sweep.run(), name="switch sweep"))
            ptr_sweep = PtrSweep(tools, holder=engine.executor_id)
            loops.append(asyncio.create_task(ptr_sweep.run(), name="reverse name sweep"))
        yield services
    finally:
        services.stopping.set()
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await consoles.close()
        await lease.let_go(db, engine.executor_id)
        await engine.stop()
        await doors.close()
        await db.dispose()


async def _check_keys(db: Database, vault: Vault) -> None:
    """Refuse to run with a key ring that does not fit the database, such as a fresh one on a second host."""
    async with db.read() as session:
        sealed = await session.scalar(select(BmcAccess.password).where(BmcAccess.password != "").limit(1))
    if sealed is not None:
        try:
            vault.open(sealed, purpose=PASSWORD_PURPOSE)
        except SecretUnreadable as error:
            raise SystemExit(
                f"{error} Copy `secret.keys` of the other processes into the data directory."
            ) from error


async def _location_id(db: Database, name: str) -> int | None:
    if not name:
        return None
    async with db.read() as session:
        found = await session.scalar(select(Location.id).where(Location.name == name))
    if found is None:
        raise SystemExit(f"There is no location {name!r}. Add it first, or leave RACKHAND_LOCATION empty.")
    return found


async def _tidy(services: Services) -> None:
    """Forget what is past its time, every hour."""
    while True:
        try:
            async with services.db.write() as session:
                await idempotency.forget_expired(session)
                await tokens.delete_expired(session)
                await signin.forget_old_failures(session)
                await bmc_addresses.release_unused(session)
                await ipam_free.end_past_quarantines(session)
                now = utcnow()
                await events.delete_before(
                    session, now - timedelta(days=services.settings.event_retention_days)
                )
                kept = now - timedelta(days=services.settings.task_retention_days)
                await reservations.forget_discovered(session, kept)
                forgotten = await engines.forget_finished(session, kept)
                await task_secrets.forget_finished(session)
            await engines.forget_workflows(forgotten)
            await asyncio.to_thread(
                recording.forget_everywhere,
                services.settings.data,
                days=services.settings.console_retention_days,
                most_bytes=services.settings.console_recordings_mib * 2**20,
            )
        except Exception:  # a supervisor: the next round tries again
            log.exception("tidying failed")
        await asyncio.sleep(TIDY_EVERY.total_seconds())


class _Described(FastAPI):
    """Describes its answers with examples."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            examples.add_examples(super().openapi())
        return super().openapi()


def create_app(services: Services) -> FastAPI:
    """Build the ASGI application over open services."""
    settings = services.settings

    async def note_route(request: Request) -> None:
        strict_properties.set(settings.strict_properties)
        request.state.route = request.scope["route"].path

    app = _Described(
        title="Rackhand",
        version=rackhand.__version__,
        description="Manager of rented bare-metal servers. Every path is served with and without the prefix `/api`.",
        openapi_url="/swagger/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(note_route)],
    )
    app.state.services = services
    errors.install(app)
    app.include_router(users_api.sign_in_router)
    app.include_router(users_api.router)
    app.include_router(users_api.user_router)
    app.include_router(users_api.account_router)
    app.include_router(servers_api.router)
    app.include_router(servers_api.place_router)
    app.include_router(power_api.router)
    app.include_router(pdu_api.pdu_router)
    app.include_router(pdu_api.server_router)
    app.include_router(energy_api.router)
    app.include_router(consoles_api.router)
    app.include_router(consoles_api.live_router, dependencies=[Depends(_user_of_stream)])
    app.include_router(boot_api.router)
    app.include_router(deploy_api.router)
    app.include_router(release_api.router)
    app.include_router(os_api.router)
    app.include_router(os_api.vm_router)
    app.include_router(os_api.upload_router)
    app.include_router(ipam_api.router)
    app.include_router(dns_api.router)
    app.include_router(switches_api.switch_router)
    app.include_router(traffic_api.router)
    app.include_router(switches_api.server_router)
    app.include_router(switches_api.vlan_router)
    app.include_router(tasks_api.router)
    # Before `event/{id}`, which would take it.
    app.include_router(events_api.stream_router, dependencies=[Depends(_user_of_stream)])
    app.include_router(events_api.router, dependencies=[Depends(auth.current_user)])
    _add_product_routes(app, services)
    # From the inside out: see http/edge.py.
    app.add_middleware(edge.JsonBody, limit=settings.body_limit, uploads=(os_api.UPLOADS,))
    app.add_middleware(edge.NormalisePath)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_credentials="*" not in settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "idempotency-replayed", "retry-after"],
            max_age=600,
        )
    app.add_middleware(edge.Guard)
    app.add_middleware(MeasureRequests, metrics=services.metrics)
    app.add_middleware(edge.RequestId)
    return app


async def _user_of_stream(request: Request) -> None:
    """A stream outlives any transaction, so its caller is looked up in a short one."""
    services: Services = request.app.state.services
    async with services.db.read() as session:
        await auth.authenticate(request, session)


def _add_product_routes(app: FastAPI, services: Services) -> None:
    """Health, metrics, the API description, the console: not part of the API itself."""

    @app.get("/health/live", include_in_schema=False)
    async def live() -> Response:
        return json_response({"status": "live", "version": rackhand.__version__})

    @app.get("/health/ready", include_in_schema=False)
    async def ready() -> Response:
        problems = []
        try:
            async with asyncio.timeout(3), services.db.read() as session:
                await session.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("not ready", error=str(error))
            problems.append("database")
        if services.engine.runs_tasks and monotonic() - services.engine.heartbeat_at > 6 * HEARTBEAT_SECONDS:
            problems.append("task engine")
        if services.stopping.is_set():
            problems.append("stopping")
        status = 503 if problems else 200
        return json_response(
            {"status": "not ready" if problems else "ready", "problems": problems}, status=status
        )

    @app.get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response:
        async with services.db.read() as session:
            return Response(await services.metrics.render(session), media_type="text/plain; version=0.0.4")

    @app.get("/swagger", include_in_schema=False)
    @app.get("/swagger/", include_in_schema=False)
    @app.get("/api/swagger", include_in_schema=False)
    @app.get("/api/swagger/", include_in_schema=False)
    async def swagger() -> HTMLResponse:
        return HTMLResponse(_SWAGGER_PAGE)

    assets = StaticFiles(directory=Path(fastapi_swagger.__file__).parent / "resources")

    async def swagger_asset(scope: Scope, receive: Receive, send: Send) -> None:
        await assets(scope, receive, send)

    app.mount("/swagger/assets", swagger_asset)
    app.router.routes.append(ConsoleMount("", create_console(services)))


_SWAGGER_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Rackhand API</title>
<link rel="stylesheet" href="/swagger/assets/swagger-ui.css"></head>
<body><div id="ui"></div><script src="/swagger/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/swagger/openapi.json", dom_id: "#ui", docExpansion: "none", filter: true})</script>
</body></html>
"""


def openapi_document(app: FastAPI) -> str:
    """The description of the API as JSON text."""
    return json.dumps(app.openapi(), indent=1)


class Server(uvicorn.Server):
    """uvicorn that tells long answers to end when it is asked to stop."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin the graceful stop."""
        self._stopping.set()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals that ask to stop; uvicorn would raise them again, before anything else is put away."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)  # what follows is short and should not be cut off


async def run_server(services: Services) -> None:
    """Serve HTTP until a signal asks to stop."""
    host, port = services.settings.listen_address
    config = uvicorn.Config(
        create_app(services),
        host=host,
        port=port,
        http=RackhandHttpProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=True,
        forwarded_allow_ips=services.settings.trusted_proxies,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
    )
    log.info("listening", url=f"http://{host}:{port}")
    # What lives as long as the process need not be looked through at every full collection: that takes 0.15 s of them.
    gc.collect()
    gc.freeze()
    # An answer of 100 servers makes some 5,000 objects, few of them in cycles: with 700, the default, looking for those
    # takes a sixth of its time.
    gc.set_threshold(10_000, 10, 10)
    await Server(config, services.stopping).serve()


@asynccontextmanager
async def serve_boot(services: Services) -> AsyncIterator[str | None]:
    """Serve machines that boot from the network while the block lasts; gives the URL."""
    settings, db = services.settings, services.db
    async with (
        boot_listener(settings, db, services.vault, services.engine, services.stopping) as url,
        dhcp_server(settings, db, url),
    ):
        yield url


async def serve(settings: Settings, *, runs_tasks: bool = True, polls: bool = True) -> None:
    """Run the whole product, or the API alone, of which several may run side by side."""
    async with (
        open_services(settings, runs_tasks=runs_tasks, polls=polls) as services,
        serve_boot(services) if runs_tasks else contextlib.nullcontext(),
    ):
        await run_server(services)


async def boot(settings: Settings) -> None:
    """Serve machines that boot from the network, and nothing else, until cancelled."""
    async with open_services(settings, runs_tasks=False, polls=False) as services, serve_boot(services):
        with contextlib.suppress(asyncio.CancelledError):
            await services.stopping.wait()


async def work(settings: Settings) -> None:
    """Run tasks and polls without HTTP until cancelled."""
    async with open_services(settings) as services:
        with contextlib.suppress(asyncio.CancelledError):
            await services.stopping.wait()
