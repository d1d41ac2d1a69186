"""The boot listener: an ASGI application of its own, for machines that boot and have no user."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qsl

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import PlainTextResponse

from rackhand.boot import agent_api, first_boot, ipxe, reservations
from rackhand.boot.board import CommandBoard
from rackhand.boot.files import BootFiles
from rackhand.boot.services import BootServices, CurrentBoot
from rackhand.db import Database, utcnow
from rackhand.errors import Invalid, NotFound
from rackhand.http import edge, errors
from rackhand.http.protocol import RackhandHttpProtocol
from rackhand.settings import Settings
from rackhand.tasks.engine import Engine
from rackhand.tasks.model import Task
from rackhand.vault import Vault

log = structlog.get_logger()
router = APIRouter(prefix="/boot")

BODY_LIMIT = 8 * 1024 * 1024  # the inventory of a machine with hundreds of disks
MAC = re.compile(r"[0-9a-f]{12}")
PLATFORMS = {"efi", "pcbios"}
MAX_WORD = 255
MAX_FORM_FIELDS = 64


@router.get("/ipxe")
async def script(
    request: Request,
    boot: CurrentBoot,
    mac: str,
    arch: str = "",
    platform: str = "",
    uuid: str = "",
    serial: str = "",
) -> Response:
    """Answer what a MAC address boots now, as an iPXE script."""
    digits = mac.lower().translate(str.maketrans("", "", ":-."))
    if not MAC.fullmatch(digits):
        raise Invalid("mac: expected an address such as 00:00:5e:00:53:01.")
    mac = ":".join(digits[i : i + 2] for i in range(0, 12, 2))
    platform = _platform(platform, arch)
    async with boot.db.write() as session:
        found = await reservations.hand_out(session, mac)
        if found is not None:
            task = await session.get(Task, found.task_id)
            if task is not None:
                await boot.engine.signal(session, task, "boot", utcnow().isoformat())
            log.info("boot script handed out", mac=mac, server=found.server_id, task=found.task_id)
        elif await reservations.note_discovered(
            session,
            mac,
            platform=platform,
            serial=serial[:MAX_WORD],
            uuid=uuid[:MAX_WORD],
            address=request.client.host if request.client else "",
        ):
            log.info("unknown machine asked for a boot script", mac=mac)
    if found is None:
        return _script(ipxe.disk_script(platform))
    base = boot.settings.boot_url.rstrip("/") or str(request.base_url).rstrip("/")
    return _script(ipxe.boot_script(found, base, mac))


def _platform(platform: str, arch: str) -> str:
    """Return iPXE's `${platform}`; `${buildarch}` may come with or instead of it, in the manner of `x86_64-efi`."""
    if platform in PLATFORMS:
        return platform
    return "efi" if arch.endswith("efi") else "pcbios"


def _script(text: str) -> Response:
    return PlainTextResponse(text, headers={"cache-control": "no-store"})


@router.api_route("/file/{name:path}", methods=["GET", "HEAD"])
async def file(boot: CurrentBoot, name: str) -> Response:
    """Send a kernel, a ramdisk or an image, or a range of it."""
    return boot.files.respond(name)


@router.post("/first_boot/{nonce}")
async def installed_system_started(request: Request, boot: CurrentBoot, nonce: str) -> Response:
    """Hear an installed system say that it runs; the body is a form, as cloud-init's `phone_home` sends it."""
    try:
        form = parse_qsl((await request.body()).decode(errors="replace"), max_num_fields=MAX_FORM_FIELDS)
    except ValueError as error:
        raise Invalid(f"The form has more than {MAX_FORM_FIELDS} fields.") from error
    address = request.client.host if request.client else ""
    async with boot.db.write() as session:
        found = await first_boot.note(session, nonce[:MAX_WORD], address=address, values=dict(form))
        if found is None:
            raise NotFound("Nobody waits for this system, or not any more.")
        task = await session.get(Task, found.task_id)
        if task is not None:
            await boot.engine.signal(session, task, "first_boot", utcnow().isoformat())
        log.info("installed system started", task=found.task_id, address=address)
    return Response(status_code=204)


def create_boot_app(services: BootServices) -> FastAPI:
    """Build the application over open services."""
    app = FastAPI(
        title="Rackhand boot", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.boot = services
    errors.install(app)
    app.include_router(router)
    app.include_router(agent_api.router)
    app.add_middleware(edge.JsonBody, limit=BODY_LIMIT)
    app.add_middleware(edge.Guard)
    app.add_middleware(edge.RequestId)
    return app


class _Server(uvicorn.Server):
    """A second listener of a process: the first one takes the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


@contextlib.asynccontextmanager
async def boot_listener(
    settings: Settings, db: Database, vault: Vault, engine: Engine, stopping: asyncio.Event
) -> AsyncIterator[str | None]:
    """Serve until the block ends; gives the address as a URL, None when `boot_listen` is empty.

    Raises OSError when the port is taken.
    """
    if not settings.boot_listen:
        yield None
        return
    host, _, port = settings.boot_listen.rpartition(":")
    listening = _bind(host.strip("[]") or "127.0.0.1", int(port))
    board = CommandBoard(db)
    files = BootFiles(settings.data / "boot", transfers=settings.boot_transfers)
    app = create_boot_app(BootServices(settings, db, vault, engine, board, files, stopping))
    config = uvicorn.Config(
        app,
        http=RackhandHttpProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=120,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listening]), name="boot listener")
    letting_go = asyncio.create_task(_let_go(stopping, board, server))
    address = listening.getsockname()
    url = (
        f"http://{address[0]}:{address[1]}"
        if ":" not in address[0]
        else f"http://[{address[0]}]:{address[1]}"
    )
    log.info("boot listener", url=url)
    try:
        yield url
    finally:
        letting_go.cancel()
        server.should_exit = True
        board.send_all_away()
        await serving
        await board.close()


async def _let_go(stopping: asyncio.Event, board: CommandBoard, server: uvicorn.Server) -> None:
    await stopping.wait()
    server.should_exit = True
    board.send_all_away()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(
            error.errno, f"Cannot listen on {host}:{port} for machines that boot: {error.strerror}"
        ) from error
    return bound
