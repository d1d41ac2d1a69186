"""The Redfish face of the machines: one application for all, which knows a machine by the port it listens on.

Source: DMTF DSP0266 (protocol) 1.20 and DSP0268 (schemas).
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from rackhand.sim import redfish_errors as errors
from rackhand.sim import redfish_resources as resources
from rackhand.sim.bmc import Bmc, NotAccepted
from rackhand.sim.config import BmcUser, Privilege
from rackhand.sim.events import Action, Source
from rackhand.sim.machine import BootDevice, BootOverride
from rackhand.sim.redfish_errors import Failure
from rackhand.sim.redfish_resources import ROOT, Json

MAX_SESSIONS = 16
IDLE_SECONDS = 1800.0  # simulated; the default of most vendors
EVERYWHERE = "0.0.0.0"  # noqa: S104  # a rack may listen on all addresses
NONSENSE = b"<html><title>500 - Internal Server Error</title>\x00\xff"


@dataclass
class _Session:
    id: str
    user: BmcUser
    used_at: float  # simulated seconds


class RedfishFace:
    """One machine's service: its sessions, and the BMC that it asks for everything else."""

    def __init__(self, bmc: Bmc) -> None:
        self.bmc = bmc
        self._sessions: dict[str, _Session] = {}  # by token
        self._life = bmc.life

    def sessions(self) -> list[_Session]:
        """Return the sessions that have not timed out."""
        if self._life != self.bmc.life:
            self._life = self.bmc.life
            self._sessions.clear()
        now = self.bmc.machine.clock.now()
        allowed = self.bmc.idle_seconds(IDLE_SECONDS)
        for token, session in list(self._sessions.items()):
            if now - session.used_at > allowed:
                del self._sessions[token]
                self._record(Action.SESSION_CLOSED, user=session.user.name, why="idle")
        return list(self._sessions.values())

    def open_session(self, name: str, password: str) -> tuple[str, _Session]:
        """Sign in and return token and session."""
        user = self._check_password(name, password)
        if len(self.sessions()) >= self.bmc.session_slots(MAX_SESSIONS):
            self._record(Action.SESSION_REFUSED, user=name, why="no free slot")
            raise Failure(errors.NO_SLOT)
        token = secrets.token_hex(16)
        session = _Session(secrets.token_hex(4), user, self.bmc.machine.clock.now())
        self._sessions[token] = session
        return token, session

    def close_session(self, session_id: str) -> None:
        """Sign out."""
        for token, session in self._sessions.items():
            if session.id == session_id:
                del self._sessions[token]
                self._record(Action.SESSION_CLOSED, user=session.user.name, why="closed by the client")
                return
        raise Failure(errors.NOT_FOUND)

    def authenticate(self, request: Request) -> BmcUser:
        """Return who sends *request*, by session token or basic authentication."""
        token = request.headers.get("x-auth-token")
        if token is not None:
            self.sessions()
            session = self._sessions.get(token)
            if session is None:
                raise Failure(errors.UNAUTHENTICATED)
            session.used_at = self.bmc.machine.clock.now()
            return session.user
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            raise Failure(errors.UNAUTHENTICATED)
        try:
            name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Failure(errors.UNAUTHENTICATED) from error
        return self._check_password(name, password)

    def _check_password(self, name: str, password: str) -> BmcUser:
        was_locked = self.bmc.is_locked(name)
        user = self.bmc.check_password(name, password, Source.REDFISH)
        if user is None:
            raise Failure(errors.LOCKED if was_locked else errors.UNAUTHENTICATED)
        return user

    def _record(self, action: Action, **detail: str) -> None:
        self.bmc.log.append(self.bmc.config.name, Source.REDFISH, action, **detail)


class RedfishApp:
    """The application. Ports are added before it serves; `stop` ends what waits.

    A BMC that was moved answers at its new address alone, where somebody listens for it.
    """

    def __init__(self) -> None:
        self._faces: dict[int, RedfishFace] = {}
        self._stopping = asyncio.Event()
        self._service = Starlette(
            routes=ROUTES,
            exception_handlers={
                Failure: _answer_failure,
                NotAccepted: _answer_refusal,
                HTTPException: _answer_http_error,
            },
        )
        self._service.router.redirect_slashes = False

    def add(self, port: int, bmc: Bmc) -> None:
        """Serve *bmc* on *port*."""
        self._faces[port] = RedfishFace(bmc)

    def stop(self) -> None:
        """Let go of requests that will never be answered, so that the server can end."""
        self._stopping.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: at once, late, wrongly or never, as the faults say."""
        address, port = scope["server"]
        face = self._faces[port]
        bmc = face.bmc
        if bmc.is_silent or bmc.lan.address not in {address, EVERYWHERE} or bmc.loses_packet():
            await self._never(receive)
            return
        late = bmc.lateness()
        if late:
            await self._wait(late)
            if bmc.is_silent:
                await self._never(receive)
                return
        if bmc.talks_garbage():
            await Response(NONSENSE, media_type="application/json")(scope, receive, send)
            return
        # The answer is held back until it is known whether it gets lost: the request is done all the same.
        answer: list[Message] = []

        async def hold(message: Message) -> None:
            answer.append(message)

        await self._service({**scope, "face": face, "path": _plain_path(scope["path"])}, receive, hold)
        if bmc.loses_packet():
            await self._never(receive)
            return
        for message in answer:
            await send(message)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _never(self, receive: Receive) -> None:
        """Wait until the client has given up: for a connection, silence is what a lost datagram is."""
        gone = asyncio.ensure_future(_client_gone(receive))
        stopped = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({gone, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for waiter in (gone, stopped):
            waiter.cancel()


def _plain_path(path: str) -> str:
    return path.rstrip("/") or "/"  # DSP0266: a path means the same with and without a slash at its end


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


Handler = Callable[[RedfishFace, Request], Awaitable[Response]]


async def _service_versions(_face: RedfishFace, _request: Request) -> Response:
    return JSONResponse({"v1": f"{ROOT}/"})


async def _create_session(face: RedfishFace, request: Request) -> Response:
    body = await _body(request)
    name, password = body.get("UserName"), body.get("Password")
    if not isinstance(name, str):
        raise Failure(errors.missing_property("UserName"))
    if not isinstance(password, str):
        raise Failure(errors.missing_property("Password"))
    token, session = face.open_session(name, password)
    resource = resources.session(session.id, name)
    headers = {"X-Auth-Token": token, "Location": str(resource["@odata.id"])}
    return JSONResponse(resource, HTTPStatus.CREATED, headers)


async def _list_sessions(face: RedfishFace, _request: Request) -> Response:
    path = f"{ROOT}/SessionService/Sessions"
    members = [f"{path}/{session.id}" for session in face.sessions()]
    return JSONResponse(resources.collection(path, "Session", members))


async def _show_session(face: RedfishFace, request: Request) -> Response:
    for session in face.sessions():
        if session.id == request.path_params["session"]:
            return JSONResponse(resources.session(session.id, session.user.name))
    raise Failure(errors.NOT_FOUND)


async def _delete_session(face: RedfishFace, request: Request) -> Response:
    session_id = request.path_params["session"]
    user: BmcUser = request.scope["user"]
    owners = {session.id: session.user.name for session in face.sessions()}
    if user.privilege < Privilege.ADMIN and owners.get(session_id, user.name) != user.name:
        raise Failure(errors.NO_PRIVILEGE)
    face.close_session(session_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _show_system(face: RedfishFace, request: Request) -> Response:
    _check_system(face, request)
    return _tagged(resources.system(face.bmc))


async def _patch_system(face: RedfishFace, request: Request) -> Response:
    _check_system(face, request)
    body = await _body(request)
    known = resources.system(face.bmc)
    _check_tag(request, known)
    for name in body:
        if name not in {"Boot", "IndicatorLED", "LocationIndicatorActive"}:
            raise Failure(errors.read_only_property(name) if name in known else errors.unknown_property(name))
    override = _parse_boot(face.bmc, body["Boot"]) if "Boot" in body else None
    light = _parse_light(body)
    if "Boot" in body:
        face.bmc.set_boot_override(override, Source.REDFISH)
    if light is not None:
        face.bmc.set_identify(Source.REDFISH, on=light)
    return _tagged(resources.system(face.bmc))


def _parse_boot(bmc: Bmc, boot: object) -> BootOverride | None:
    """Return the override that a PATCH asks for, None to clear it. What it leaves out stays as it is."""
    if not isinstance(boot, dict):
        raise Failure(errors.bad_property("Boot"))
    for name in boot:
        if name not in {"BootSourceOverrideEnabled", "BootSourceOverrideTarget", "BootSourceOverrideMode"}:
            raise Failure(errors.unknown_property(name))
    present = bmc.machine.override
    usual = "Continuous" if present and present.persistent else "Once"
    enabled = _choice(boot, "BootSourceOverrideEnabled", ("Disabled", "Once", "Continuous")) or usual
    target = _choice(boot, "BootSourceOverrideTarget", ("None", *resources.BOOT_TARGETS))
    mode = _choice(boot, "BootSourceOverrideMode", resources.BOOT_MODES)
    if enabled == "Disabled" or target == "None":
        return None
    return BootOverride(
        _boot_device(target, present),
        resources.BOOT_MODES[mode] if mode else (present.mode if present else None),
        persistent=enabled == "Continuous",
    )


def _boot_device(target: str | None, present: BootOverride | None) -> BootDevice:
    if target is not None:
        return resources.BOOT_TARGETS[target]
    if present is None:
        raise Failure(errors.missing_property("BootSourceOverrideTarget"))
    return present.device


def _parse_light(body: Json) -> bool | None:
    if "LocationIndicatorActive" in body:
        active = body["LocationIndicatorActive"]
        if not isinstance(active, bool):
            raise Failure(errors.bad_property("LocationIndicatorActive"))
        return active
    led = _choice(body, "IndicatorLED", ("Off", "Lit", "Blinking"))
    return None if led is None else led != "Off"


def _choice(body: Json, name: str, choices: Collection[str]) -> str | None:
    """Return what *body* says about *name*, None when nothing; it must be one of *choices*."""
    if name not in body:
        return None
    value = body[name]
    if not isinstance(value, str) or value not in choices:
        raise Failure(errors.bad_property(name))
    return value


async def _reset_system(face: RedfishFace, request: Request) -> Response:
    _check_system(face, request)
    wanted = _choice(await _body(request), "ResetType", resources.RESET_TYPES)
    if wanted is None:
        raise Failure(errors.missing_property("ResetType"))
    # ForceOn of a machine that is on is harmless by definition; On is refused as by iDRAC.
    strict = wanted != "ForceOn"
    face.bmc.set_power(resources.RESET_TYPES[wanted], Source.REDFISH, strict=strict)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _patch_chassis(face: RedfishFace, request: Request) -> Response:
    body = await _body(request)
    light = _parse_light(body)
    if light is None or len(body) != 1:
        raise Failure(errors.missing_property("LocationIndicatorActive"))
    face.bmc.set_identify(Source.REDFISH, on=light)
    return JSONResponse(resources.chassis(face.bmc))


async def _reset_manager(face: RedfishFace, request: Request) -> Response:
    _choice(await _body(request), "ResetType", resources.MANAGER_RESET_TYPES)
    face.bmc.reset(Source.REDFISH)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _show(make: Callable[[Bmc], Json]) -> Handler:
    async def show(face: RedfishFace, _request: Request) -> Response:
        return JSONResponse(make(face.bmc))

    return show


def _list(path: str, kind: str, members: Callable[[Bmc], list[str]]) -> Handler:
    async def list_members(face: RedfishFace, _request: Request) -> Response:
        return JSONResponse(resources.collection(path, kind, members(face.bmc)))

    return list_members


def _list_of(kind: str, make: Callable[[Bmc], list[Json]]) -> Handler:
    async def list_members(face: RedfishFace, request: Request) -> Response:
        if "system" in request.path_params:
            _check_system(face, request)
        members = [str(resource["@odata.id"]) for resource in make(face.bmc)]
        return JSONResponse(resources.collection(request.url.path, kind, members))

    return list_members


def _member_of(make: Callable[[Bmc], list[Json]]) -> Handler:
    async def show_member(face: RedfishFace, request: Request) -> Response:
        for resource in make(face.bmc):
            if resource["@odata.id"] == request.url.path.rstrip("/"):
                return JSONResponse(resource)
        raise Failure(errors.NOT_FOUND)

    return show_member


def _check_system(face: RedfishFace, request: Request) -> None:
    if request.path_params["system"] != face.bmc.config.bmc.system_id:
        raise Failure(errors.NOT_FOUND)


async def _body(request: Request) -> Json:
    try:
        body = json.loads(await request.body() or b"{}")
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Failure(errors.MALFORMED) from error
    if not isinstance(body, dict):
        raise Failure(errors.NOT_AN_OBJECT)
    return body


def _tag(resource: Json) -> str:
    """Return the ETag of a system. It covers what can be written: a change of power spoils no PATCH."""
    writable = [resource["Boot"], resource["LocationIndicatorActive"]]
    return f'"{hashlib.sha256(json.dumps(writable).encode()).hexdigest()[:16]}"'


def _tagged(resource: Json) -> Response:
    tag = _tag(resource)
    return JSONResponse({**resource, "@odata.etag": tag}, headers={"ETag": tag})


def _check_tag(request: Request, resource: Json) -> None:
    wanted = request.headers.get("if-match")
    if wanted is not None and wanted != "*" and wanted.removeprefix("W/") != _tag(resource):
        raise Failure(errors.CHANGED)


def _route(
    path: str, handler: Handler, method: str = "GET", privilege: Privilege | None = Privilege.USER
) -> Route:
    """Declare a route; *privilege* None means without signing in."""

    async def endpoint(request: Request) -> Response:
        face: RedfishFace = request.scope["face"]
        if privilege is not None:
            user = face.authenticate(request)
            if user.privilege < privilege:
                raise Failure(errors.NO_PRIVILEGE)
            request.scope["user"] = user
        return await handler(face, request)

    return Route(path, endpoint, methods=[method])


SYSTEM: Final = f"{ROOT}/Systems/{{system}}"
CHASSIS: Final = f"{ROOT}/Chassis/{resources.CHASSIS_ID}"
MANAGER: Final = f"{ROOT}/Managers/{resources.MANAGER_ID}"
SESSIONS: Final = f"{ROOT}/SessionService/Sessions"
ACCOUNTS: Final = f"{ROOT}/AccountService/Accounts"

ROUTES: Final = (
    _route("/redfish", _service_versions, privilege=None),
    _route(ROOT, _show(resources.service_root), privilege=None),
    _route(
        f"{ROOT}/SessionService",
        _show(lambda bmc: resources.session_service(int(bmc.idle_seconds(IDLE_SECONDS)))),
    ),
    _route(SESSIONS, _create_session, "POST", None),
    _route(SESSIONS, _list_sessions),
    _route(f"{SESSIONS}/{{session}}", _show_session),
    _route(f"{SESSIONS}/{{session}}", _delete_session, "DELETE"),
    _route(f"{ROOT}/AccountService", _show(lambda _bmc: resources.account_service())),
    _route(ACCOUNTS, _list_of("ManagerAccount", resources.accounts)),
    _route(f"{ACCOUNTS}/{{account}}", _member_of(resources.accounts)),
    _route(
        f"{ROOT}/Systems",
        _list_of("ComputerSystem", lambda bmc: [resources.link(resources.system_path(bmc))]),
    ),
    _route(SYSTEM, _show_system),
    _route(SYSTEM, _patch_system, "PATCH", Privilege.OPERATOR),
    _route(f"{SYSTEM}/Actions/ComputerSystem.Reset", _reset_system, "POST", Privilege.OPERATOR),
    _route(f"{SYSTEM}/EthernetInterfaces", _list_of("EthernetInterface", resources.ethernet_interfaces)),
    _route(f"{SYSTEM}/EthernetInterfaces/{{nic}}", _member_of(resources.ethernet_interfaces)),
    _route(f"{SYSTEM}/Storage", _list_of("Storage", resources.storage)),
    _route(f"{SYSTEM}/Storage/{{storage}}", _member_of(resources.storage)),
    _route(f"{SYSTEM}/Storage/{{storage}}/Drives/{{drive}}", _member_of(resources.drives)),
    _route(f"{ROOT}/Chassis", _list_of("Chassis", lambda _bmc: [resources.link(CHASSIS)])),
    _route(CHASSIS, _show(resources.chassis)),
    _route(CHASSIS, _patch_chassis, "PATCH", Privilege.OPERATOR),
    _route(f"{CHASSIS}/Power", _show(resources.power)),
    _route(f"{CHASSIS}/Thermal", _show(resources.thermal)),
    _route(f"{ROOT}/Managers", _list_of("Manager", lambda _bmc: [resources.link(MANAGER)])),
    _route(MANAGER, _show(resources.manager)),
    _route(f"{MANAGER}/Actions/Manager.Reset", _reset_manager, "POST", Privilege.ADMIN),
)


def _answer_failure(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Failure)  # noqa: S101  # registered for this type
    unauthorized = error.message.status == HTTPStatus.UNAUTHORIZED
    return errors.response(
        error.message, {"WWW-Authenticate": 'Basic realm="Redfish"'} if unauthorized else None
    )


def _answer_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NotAccepted)  # noqa: S101  # registered for this type
    return errors.response(errors.REFUSALS[error.reason])


def _answer_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type
    is_method = error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    return errors.response(errors.NOT_ALLOWED if is_method else errors.NOT_FOUND, dict(error.headers or {}))
