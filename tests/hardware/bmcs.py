"""BMCs to test drivers against: OpenIPMI's `ipmi_sim`, and a Redfish service with faults."""

import asyncio
import contextlib
import itertools
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rackhand.hardware.interfaces import Endpoint

PASSWORD = r"s3\cr'e$t&|;"  # what a shell and a configuration file would mangle
RMCP_ASK = bytes.fromhex(
    "0600ff07000000000000000000092018c88100388e04b5"
)  # Get Channel Authentication Capabilities

LAN = """name "sim"
set_working_mc 0x20
  startlan 1
    addr {host} {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789000001
  endlan
  {serial}
  chassis_control "{folder}/chassis"
  startnow false
  user 1 false "" "test" user 10 none md2 md5 straight
  user 2 true "admin" "{password}" admin 10 none md2 md5 straight
"""
CHASSIS = """#!/bin/sh
cd {folder}
echo "$@" >> log
[ -f slow ] && sleep 0.3
[ -f broken ] && exit 1
verb=$1; shift
while [ $# -gt 0 ]; do case $verb in
  get) echo "$1:$(cat state.$1 2>/dev/null || echo 0)"; shift ;;
  set) echo "$2" > state.$1; shift 2 ;;
  *) shift ;;
esac; done
"""
EMU = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
main_sdr_add 0x20 {sdr}
sensor_add 0x20 0 1 0x01 0x01 poll 1000 file "{folder}/temperature"
sensor_set_value 0x20 0 1 0x23 0
sensor_set_event_support 0x20 0 1 enable scanning per-state 000111111000000 000111111000000 \
000111111000000 000111111000000
mc_enable 0x20
"""
SDR = """sdr type 1
 sensor_owner_id 0x20
 channel_number 0
 sensor_owner_lun 0
 sensor_number 1
 entity_id 7
 entity_instance 1
 init_scanning true
 init_events true
 init_sensor_type true
 default_event_gen_on true
 default_sensor_scan_on true
 sensor_auto_rearm true
 sensor_event_msg_ctrl per_state
 sensor_type 1
 event_reading_type_code 1
 analog_data_format unsigned
 base_unit 1
 linearization linear
 m 1
 b 0
 r_exp 0
 b_exp 0
 sensor_maximum 255
 sensor_minimum 0
 id_string "Inlet Temp"
endsdr
"""


@dataclass
class IpmiSim:
    """A running `ipmi_sim`; `log` holds what it asked of the chassis, one request a line."""

    folder: Path
    endpoint: Endpoint
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_ipmi_sim(folder: Path, host: str = "127.0.0.1", port: int = 0, *, serial_port: int = 0) -> IpmiSim:
    """Start it; with *serial_port* its serial line is what listens there, over TCP."""
    port = port or free_port(socket.SOCK_DGRAM)
    (folder / "sim").mkdir(parents=True)
    (folder / "main.sdr").write_text(SDR)
    compiler: list[str | Path] = ["sdrcomp", "-r", "-o", folder / "sdr.raw", folder / "main.sdr"]
    subprocess.run(compiler, check=True)
    sdr = " ".join(f"{byte:#04x}" for byte in (folder / "sdr.raw").read_bytes())
    serial = f'sol "tcp:127.0.0.1:{serial_port}" 115200' if serial_port else ""
    (folder / "lan.conf").write_text(
        LAN.format(host=host, port=port, folder=folder, password=PASSWORD, serial=serial)
    )
    (folder / "bmc.emu").write_text(EMU.format(folder=folder, sdr=sdr))
    (folder / "temperature").write_text("35")
    (folder / "chassis").write_text(CHASSIS.format(folder=folder))
    (folder / "chassis").chmod(0o755)
    command: list[str | Path] = [
        "ipmi_sim",
        "-c",
        folder / "lan.conf",
        "-f",
        folder / "bmc.emu",
        "-s",
        folder,
        "-n",
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    settings = {"workaround_flags": "opensesspriv", "timeout_seconds": "3"}
    return IpmiSim(folder, Endpoint("ipmi", host, port, "admin", PASSWORD, settings), process)


def await_answer(sim: IpmiSim) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.05)
        probe.connect((sim.endpoint.host, sim.endpoint.port))
        for _ in range(200):
            with contextlib.suppress(OSError):
                probe.send(RMCP_ASK)
                probe.recv(1024)
                return
            time.sleep(0.02)
    raise AssertionError("ipmi_sim does not answer")


class Relay(asyncio.DatagramProtocol):
    """Passes IPMI packets on to a BMC and counts the logins, that is the RAKP 1 messages."""

    def __init__(self, target: Endpoint) -> None:
        self.logins = 0
        self._target = target.host, target.port
        self._back: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._front = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.logins += data[4:6] == b"\x06\x12"
        task = asyncio.create_task(self._pass_on(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, data: bytes, client: tuple[str, int]) -> None:
        if client not in self._back:
            loop = asyncio.get_running_loop()
            back, _ = await loop.create_datagram_endpoint(
                lambda: Answers(lambda data: self._front.sendto(data, client)), remote_addr=self._target
            )
            self._back[client] = back
        self._back[client].sendto(data)

    def close(self) -> None:
        for transport in (self._front, *self._back.values()):
            transport.close()


class Answers(asyncio.DatagramProtocol):
    """The way back of a `Relay`."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002
        self._send(data)


@dataclass
class FaultyRedfish:
    """A Redfish service with state and faults; attributes switch the faults, `log` holds what was asked."""

    endpoint: Endpoint = field(default_factory=lambda: Endpoint("redfish", "127.0.0.1", 0))
    power: str = "Off"
    boot: dict[str, str] = field(default_factory=lambda: {"BootSourceOverrideEnabled": "Disabled"})
    light: bool = False
    etag: int = 1
    weak: bool = False
    races: int = 0  # so many writes of somebody else come between our reading and writing
    has_sessions: bool = True
    sessions: set[str] = field(default_factory=set)
    deny_sessions: bool = False
    login_status: int = 401
    slow: float = 0.0
    broken: int = 0  # answer so many requests with 503
    log: list[str] = field(default_factory=list)
    counter: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def failed_logins(self) -> int:
        return self.log.count("login refused")

    async def root(self, _: Request) -> Response:
        links = {"Links": {"Sessions": {"@odata.id": "/redfish/v1/Sessions"}}} if self.has_sessions else {}
        return JSONResponse(
            {
                "RedfishVersion": "1.6.0",
                "Systems": {"@odata.id": "/redfish/v1/Systems"},
                "ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": True}},
                **links,
            }
        )

    async def sign_in(self, request: Request) -> Response:
        account = await request.json()
        if account != {"UserName": "admin", "Password": PASSWORD}:
            self.log.append("login refused")
            return JSONResponse(error("The account is wrong."), self.login_status)
        token = f"token{next(self.counter)}"
        self.sessions.add(token)
        self.log.append("login")
        location = f"https://bmc.invalid/redfish/v1/Sessions/{token}"
        return JSONResponse({}, 201, {"X-Auth-Token": token, "Location": location})

    async def sign_out(self, request: Request) -> Response:
        self.sessions.discard(request.path_params["id"])
        self.log.append("logout")
        return Response(status_code=204)

    def _refusal(self, request: Request) -> Response | None:
        self.log.append(f"{request.method} {request.url.path}")
        token = request.headers.get("X-Auth-Token", "")
        basic = httpx.BasicAuth("admin", PASSWORD)._auth_header
        if self.deny_sessions or not (
            token in self.sessions or request.headers.get("Authorization") == basic
        ):
            if "Authorization" in request.headers:
                self.log.append("login refused")
            return JSONResponse(error("Sign in."), 401)
        if self.broken:
            self.broken -= 1
            return JSONResponse(error("The service is starting."), 503)
        return None

    async def systems(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse({"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]})

    @property
    def _etag(self) -> str:
        return f'W/"{self.etag}"' if self.weak else f'"{self.etag}"'

    async def system(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        await asyncio.sleep(self.slow)
        if request.method == "PATCH":
            if self.races:
                self.races -= 1
                self.etag += 1
            if request.headers.get("If-Match") != f'"{self.etag}"':
                return JSONResponse(error("Somebody else wrote."), 412)
            self.etag += 1
            change = await request.json()
            self.boot.update(change.get("Boot", {}))
            self.light = change.get("LocationIndicatorActive", self.light)
            return Response(status_code=204)
        return JSONResponse(
            {
                "PowerState": self.power,
                "Boot": self.boot,
                "LocationIndicatorActive": self.light,
                "Links": {
                    "Chassis": [{"@odata.id": "/redfish/v1/Chassis/1"}],
                    "ManagedBy": [{"@odata.id": "/redfish/v1/Managers/1"}],
                },
                "Actions": {
                    "#ComputerSystem.Reset": {
                        "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
                        "@Redfish.ActionInfo": "/redfish/v1/Systems/1/ResetActionInfo",
                    }
                },
            },
            headers={"ETag": self._etag},
        )

    async def reset_info(self, request: Request) -> Response:
        allowed = {"Name": "ResetType", "AllowableValues": ["ForceOn", "ForceOff", "ForceRestart"]}
        return self._refusal(request) or JSONResponse({"Parameters": [allowed]})

    async def reset(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        kind = (await request.json())["ResetType"]
        self.log.append(kind)
        if kind == "ForceOff" and self.power == "Off":
            return JSONResponse(error("The system is off already."), 409)
        self.power = "Off" if kind == "ForceOff" else "On"
        return Response(status_code=204)

    async def chassis(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse(
            {"Sensors": {"@odata.id": "/redfish/v1/Chassis/1/Sensors"}}
        )

    async def sensors(self, request: Request) -> Response:
        healthy = {"State": "Enabled", "Health": "OK"}
        members = [
            {"Name": "Inlet", "Reading": 21.5, "ReadingUnits": "Cel", "Status": healthy},
            {"Name": "Fan 1", "Reading": 4200, "ReadingUnits": "{rev}/min", "Status": {"Health": "Warning"}},
            {"Name": "PSU 2", "Reading": None, "ReadingUnits": "W", "Status": {"State": "Absent"}},
        ]
        assert request.query_params["$expand"] == "."
        return self._refusal(request) or JSONResponse({"Members": members})

    async def manager(self, request: Request) -> Response:
        action = {
            "target": "/redfish/v1/Managers/1/Actions/Manager.Reset",
            "ResetType@Redfish.AllowableValues": ["GracefulRestart"],
        }
        return self._refusal(request) or JSONResponse({"Actions": {"#Manager.Reset": action}})

    async def reset_manager(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        self.log.append((await request.json())["ResetType"])
        self.sessions.clear()
        return Response(status_code=204)

    @property
    def app(self) -> Starlette:
        base = "/redfish/v1/"
        return Starlette(
            routes=[
                Route(base, self.root),
                Route(f"{base}Sessions", self.sign_in, methods=["POST"]),
                Route(f"{base}Sessions/{{id}}", self.sign_out, methods=["DELETE"]),
                Route(f"{base}Systems", self.systems),
                Route(f"{base}Systems/1", self.system, methods=["GET", "PATCH"]),
                Route(f"{base}Systems/1/ResetActionInfo", self.reset_info),
                Route(f"{base}Systems/1/Actions/ComputerSystem.Reset", self.reset, methods=["POST"]),
                Route(f"{base}Chassis/1", self.chassis),
                Route(f"{base}Chassis/1/Sensors", self.sensors),
                Route(f"{base}Managers/1", self.manager),
                Route(f"{base}Managers/1/Actions/Manager.Reset", self.reset_manager, methods=["POST"]),
            ]
        )


def error(words: str) -> dict[str, object]:
    return {"error": {"message": "See below.", "@Message.ExtendedInfo": [{"Message": words}]}}


@contextlib.asynccontextmanager
async def serving(
    app: Starlette, *, ssl_keyfile: Path | None = None, ssl_certfile: Path | None = None
) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="critical", lifespan="off", ssl_keyfile=ssl_keyfile, ssl_certfile=ssl_certfile
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = server.force_exit = True
        await running
        listener.close()
