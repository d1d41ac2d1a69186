"""Redfish over HTTP: one session, conditional writes, and the service's own words in errors."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field

from rackhand.hardware.errors import AuthFailed, HardwareError, Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import (
    BootDevice,
    BootMode,
    BootOverride,
    Console,
    Endpoint,
    PowerAction,
    PowerState,
    Sensor,
)

Resource = Mapping[str, Any]

ROOT = "/redfish/v1/"
CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 3.0

POWER_STATES = {"On": PowerState.ON, "Off": PowerState.OFF}  # `PoweringOn`, `PoweringOff`, `Paused`: neither
RESET_TYPES = {  # in the order of preference
    PowerAction.ON: ("On", "ForceOn"),
    PowerAction.OFF: ("ForceOff",),
    PowerAction.SOFT_OFF: ("GracefulShutdown",),
    PowerAction.RESET: ("ForceRestart",),
    PowerAction.CYCLE: ("PowerCycle",),
}
BOOT_TARGETS = {
    BootDevice.NONE: "None",
    BootDevice.PXE: "Pxe",
    BootDevice.DISK: "Hdd",
    BootDevice.CDROM: "Cd",
    BootDevice.SETUP: "BiosSetup",
}
BOOT_MODES = {BootMode.LEGACY: "Legacy", BootMode.UEFI: "UEFI"}
HEALTH = {"OK": "ok", "Warning": "warning", "Critical": "critical"}
UNITS = {"Cel": "°C", "{rev}/min": "RPM", "Percent": "%"}  # Sensor.ReadingUnits follows UCUM

# HTTP status to error; any other from 400 on is a refusal, from 500 on the service is busy or restarting.
STATUS_ERRORS: dict[int, type[HardwareError]] = {
    404: Unsupported,
    405: Unsupported,
    408: Timeout,
    425: Timeout,
    429: Timeout,
    501: Unsupported,
}
UNAUTHORIZED, NOT_FOUND, NOT_ALLOWED, PRECONDITION_FAILED, PRECONDITION_REQUIRED, NOT_IMPLEMENTED = (
    *(401, 404, 405, 412, 428, 501),
)
LOGIN_REFUSED = (400, 401, 403)  # iLO 4 answers 400 to a wrong password; a locked account is 403


class RedfishSettings(BaseModel):
    """What can be said about a Redfish service besides its address and account."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["https", "http"] = Field(
        "https", description="`http` only where the BMC offers nothing else."
    )
    verify_tls: bool = Field(
        default=True,
        description="Check the certificate of the BMC; off for the self-signed ones they come with.",
    )
    system_id: str = Field(
        "", description="Id of the system behind a BMC with several; empty: the first one."
    )
    timeout_seconds: float = Field(30.0, ge=1, le=300, description="Seconds until an answer is given up.")


class RedfishBmc:
    """A Redfish service and one system behind it; one conversation at a time."""

    def __init__(self, endpoint: Endpoint, slots: asyncio.Semaphore) -> None:
        """Take where to ask and how many requests may run at once; raise `ValueError` for wrong settings."""
        self._endpoint = endpoint
        self._slots = slots
        self._settings = RedfishSettings.model_validate(dict(endpoint.settings))
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self._http = httpx.AsyncClient(
            base_url=f"{self._settings.scheme}://{host}:{endpoint.port}",
            verify=_tls(verify=self._settings.verify_tls),
            timeout=httpx.Timeout(
                self._settings.timeout_seconds, connect=min(CONNECT_SECONDS, self._settings.timeout_seconds)
            ),
            trust_env=False,  # a proxy of the environment has no business between us and a BMC
            headers={"Accept": "application/json", "OData-Version": "4.0"},
        )
        self._signed_in = False
        self._session = ""  # path to delete on closing; empty with Basic authentication
        self._system_path = ""
        self._root: Resource = {}

    async def power_state(self) -> PowerState:
        """Return `PowerState` of the system; a state between on and off is `UNKNOWN`."""
        return POWER_STATES.get(_text(await self._system(), "PowerState"), PowerState.UNKNOWN)

    async def set_power(self, action: PowerAction) -> None:
        """Send ComputerSystem.Reset with a type that the system lists, else raise `Unsupported`."""
        await self._reset(await self._system(), "#ComputerSystem.Reset", RESET_TYPES[action])

    async def boot_override(self) -> BootOverride:
        """Return `Boot.BootSourceOverride…` of the system."""
        boot = _dig(await self._system(), "Boot") or {}
        enabled = _text(boot, "BootSourceOverrideEnabled")
        target = _text(boot, "BootSourceOverrideTarget") or "None"
        if enabled == "Disabled" or target == "None":
            return BootOverride(BootDevice.NONE)
        device = next((device for device, word in BOOT_TARGETS.items() if word == target), None)
        if device is None:
            raise Unsupported(f"{self._who} reports a boot override to {target!r}, which has no name here.")
        mode = next(
            (mode for mode, word in BOOT_MODES.items() if word == _text(boot, "BootSourceOverrideMode")), None
        )
        return BootOverride(device, mode, persistent=enabled == "Continuous")

    async def set_boot_device(
        self, device: BootDevice, *, mode: BootMode | None = None, persistent: bool = False
    ) -> None:
        """Patch `Boot` of the system; without *mode* the service keeps its own."""
        system = await self._system()
        allowed = _dig(system, "Boot", "BootSourceOverrideTarget@Redfish.AllowableValues") or []
        target = BOOT_TARGETS[device]
        if allowed and device is not BootDevice.NONE and target not in allowed:
            raise Unsupported(f"{self._who} cannot boot from {target!r}, only from: {', '.join(allowed)}.")
        boot = {
            "BootSourceOverrideTarget": target,
            "BootSourceOverrideEnabled": "Continuous" if persistent else "Once",
        }
        if device is BootDevice.NONE:
            boot["BootSourceOverrideEnabled"] = "Disabled"
        elif mode is not None:
            boot["BootSourceOverrideMode"] = BOOT_MODES[mode]
        await self._patch(self._system_path, {"Boot": boot})

    async def identify(self, *, on: bool) -> None:
        """Switch the light of the system, else of its chassis."""
        system = await self._system()
        for path in (self._system_path, *_links(system, "Links", "Chassis")):
            resource = system if path == self._system_path else await self._get(path)
            if "LocationIndicatorActive" in resource:
                await self._patch(path, {"LocationIndicatorActive": on})
                return
            if "IndicatorLED" in resource:
                allowed = resource.get("IndicatorLED@Redfish.AllowableValues") or ["Blinking"]
                lit = "Blinking" if "Blinking" in allowed else "Lit"
                await self._patch(path, {"IndicatorLED": lit if on else "Off"})
                return
        raise Unsupported(f"{self._who} has no identification light.")

    async def sensors(self) -> list[Sensor]:
        """Return the readings of all chassis: `Thermal` and `Power`, on newer services `Sensors`."""
        found: list[Sensor] = []
        for chassis_path in _links(await self._system(), "Links", "Chassis"):
            chassis = await self._get(chassis_path)
            old = [path for path in (_link(chassis, "Thermal"), _link(chassis, "Power")) if path]
            for path in old:
                found += parse_thermal_and_power(await self._get(path))
            if not old and (path := _link(chassis, "Sensors")):
                found += [parse_sensor(member) for member in await self._members(path)]
        return found

    async def reset_bmc(self) -> None:
        """Restart the manager of the system; the session is gone with it."""
        managers = _links(await self._system(), "Links", "ManagedBy")
        if not managers and (path := _link(await self._service_root(), "Managers")):
            managers = _links(await self._get(path), "Members")
        if not managers:
            raise Unsupported(f"{self._who} names no manager to restart.")
        await self._reset(await self._get(managers[0]), "#Manager.Reset", ("ForceRestart", "GracefulRestart"))
        self._forget_session()

    async def console(self) -> Console:
        """Refuse: Redfish itself carries no console, it only tells of services that do."""
        raise Unsupported(
            f"{self._who} is spoken to over Redfish, which gives no serial console here. Use IPMI."
        )

    async def free_console(self) -> None:
        """Do nothing: no session of ours has a console."""

    async def close(self) -> None:
        """Delete the session, so that its slot on the BMC is free, and close the connections."""
        if self._session:
            with contextlib.suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._http.delete(self._session)
        self._forget_session()
        await self._http.aclose()

    @property
    def _who(self) -> str:
        return f"The Redfish service at {self._endpoint.address}"

    async def _system(self) -> Resource:
        """Read the system, after finding it once."""
        if not self._system_path:
            collection = _link(await self._service_root(), "Systems")
            if not collection:
                raise Unsupported(f"{self._who} lists no systems.")
            members = _links(await self._get(collection), "Members")
            wanted = self._settings.system_id
            fitting = [
                path for path in members if not wanted or path.rstrip("/").rpartition("/")[2] == wanted
            ]
            if not fitting:
                raise Unsupported(f"{self._who} has no system {wanted or ''!r} among {len(members)}.")
            self._system_path = fitting[0]
        return await self._get(self._system_path)

    async def _service_root(self) -> Resource:
        """Read the service root once; it needs no account."""
        if not self._root:
            response = await self._send("GET", ROOT)
            self._root = self._checked(response)
            if "RedfishVersion" not in self._root:
                raise Unsupported(f"What answers at {self._endpoint.address} is not a Redfish service.")
        return self._root

    async def _members(self, path: str) -> list[Resource]:
        """Read a collection with its members, in one request where the service can expand."""
        if _dig(await self._service_root(), "ProtocolFeaturesSupported", "ExpandQuery", "NoLinks"):
            members = (await self._get(f"{path}?$expand=.")).get("Members", [])
            return [member for member in members if isinstance(member, dict)]
        return [await self._get(member) for member in _links(await self._get(path), "Members")]

    async def _get(self, path: str) -> Resource:
        return self._checked(await self._signed("GET", path))

    async def _patch(self, path: str, change: Resource) -> None:
        """Write *change* under the condition that nobody else wrote since we read (RFC 9110, If-Match).

        On 412 it reads again and repeats, at last without the weak mark `W/`, which some cannot compare.
        """
        etag = ""
        for attempt in range(3):
            current = await self._signed("GET", path)
            etag = current.headers.get("ETag") or _text(self._checked(current), "@odata.etag")
            if attempt == 2:  # noqa: PLR2004  # the second try is the last
                etag = etag.removeprefix("W/")
            response = await self._signed(
                "PATCH", path, json=change, headers={"If-Match": etag} if etag else {}
            )
            if response.status_code not in {PRECONDITION_FAILED, PRECONDITION_REQUIRED}:
                break
        self._checked(response)

    async def _reset(self, resource: Resource, action: str, kinds: Sequence[str]) -> None:
        """Post the reset *action* of *resource* with the first of *kinds* that it allows."""
        described = _dig(resource, "Actions", action)
        target = _text(described, "target")
        if not target:
            raise Unsupported(f"{self._who} has no action {action[1:]}.")
        allowed = _dig(described, "ResetType@Redfish.AllowableValues")
        if not allowed and (info := _text(described, "@Redfish.ActionInfo")):
            parameters = (await self._get(info)).get("Parameters") or []
            allowed = next(
                (p.get("AllowableValues") for p in parameters if p.get("Name") == "ResetType"), None
            )
        kind = next((kind for kind in kinds if not allowed or kind in allowed), "")
        if not kind:
            raise Unsupported(f"{self._who} cannot {' or '.join(kinds)}, only: {', '.join(allowed)}.")
        self._checked(await self._signed("POST", target, json={"ResetType": kind}))

    async def _signed(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request in the session; an expired session is replaced once."""
        if not self._signed_in:
            await self._sign_in()
        response = await self._send(method, path, **request)
        if response.status_code != UNAUTHORIZED:
            return response
        if not self._session:
            raise self._refused_account(response)
        self._forget_session()
        await self._sign_in()
        response = await self._send(method, path, **request)
        if response.status_code == UNAUTHORIZED:
            if not self._session:
                raise self._refused_account(response)
            # The password was good a moment ago, so this is no reason to distrust it.
            raise Refused(f"{self._who} refuses its own fresh session for {path}: {message_of(response)}")
        return response

    async def _sign_in(self) -> None:
        """Open a session, or keep to Basic authentication on services without a session service.

        A wrong password costs one failed login, never two.
        """
        root = await self._service_root()
        sessions = _link(root, "Links", "Sessions")
        if sessions:
            account = {"UserName": self._endpoint.user, "Password": self._endpoint.password}
            response = await self._send("POST", sessions, json=account)
            if response.is_success and (token := response.headers.get("X-Auth-Token")):
                location = response.headers.get("Location") or _text(_json(response), "@odata.id")
                # Some services give a whole URL with their own idea of host name and port.
                self._session = httpx.URL(location).raw_path.decode() if location else ""
                self._http.headers["X-Auth-Token"] = token
                self._signed_in = True
                return
            if response.status_code in LOGIN_REFUSED and "SessionLimit" not in response.text:
                raise self._refused_account(response)
            if response.status_code not in {NOT_FOUND, NOT_ALLOWED, NOT_IMPLEMENTED}:
                self._checked(response)
        self._http.auth = httpx.BasicAuth(self._endpoint.user, self._endpoint.password)
        self._signed_in = True

    def _forget_session(self) -> None:
        self._signed_in = False
        self._session = ""
        self._http.headers.pop("X-Auth-Token", None)

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send one request; a GET on a connection that the service closed meanwhile is sent again once."""
        if not path.startswith("/") or path.startswith("//"):
            # A whole URL would carry the session to wherever it leads.
            raise Unsupported(f"{self._who} names {path!r} where a path belongs.")
        for attempts_left in (1, 0):
            try:
                async with self._slots, asyncio.timeout(self._settings.timeout_seconds):
                    return await self._http.request(method, path, **request)
            except (httpx.TimeoutException, TimeoutError) as error:
                if isinstance(error, httpx.ConnectTimeout):
                    raise Unreachable(f"{self._who} does not answer.") from error
                seconds = self._settings.timeout_seconds
                raise Timeout(f"{self._who} did not answer {method} {path} within {seconds:g} s.") from error
            except httpx.ConnectError as error:
                if isinstance(
                    error.__cause__ and error.__cause__.__cause__, ssl.SSLCertVerificationError
                ) or ("CERTIFICATE_VERIFY_FAILED" in str(error)):
                    raise Refused(
                        f"{self._who} shows a certificate that is not trusted: {error}. Install a trusted one"
                        " or set `verify_tls` to `false`."
                    ) from error
                raise Unreachable(f"{self._who} cannot be reached: {error}.") from error
            except httpx.HTTPError as error:
                if method != "GET" or not attempts_left:
                    raise Unreachable(f"{self._who} cut the connection: {error}.") from error
        raise AssertionError

    def _checked(self, response: httpx.Response) -> Resource:
        """Return the body, or raise what the status means with the service's own words."""
        status = response.status_code
        what = f"{response.request.method} {response.request.url.path}"
        if response.is_success:
            body = _json(response)
            if response.content and not body and response.request.method == "GET":
                raise Unsupported(f"{self._who} did not answer {what} with a JSON object.")
            return body
        if response.is_redirect:
            raise Refused(
                f"{self._who} redirects {what} to {response.headers.get('Location')}: check `scheme`."
            )
        kind = STATUS_ERRORS.get(status, Timeout if response.is_server_error else Refused)
        raise kind(f"{self._who} answered {what} with {status}: {message_of(response)}")

    def _refused_account(self, response: httpx.Response) -> AuthFailed:
        return AuthFailed(f"{self._who} refused the account {self._endpoint.user!r}: {message_of(response)}")


def parse_thermal_and_power(resource: Resource) -> list[Sensor]:
    """Read the arrays of a `Thermal` or `Power` resource: deprecated in 2020, and still what most serve."""
    rows: list[tuple[Resource, str, str]] = [
        (row, "ReadingCelsius", "°C") for row in _rows(resource, "Temperatures")
    ]
    for row in _rows(resource, "Fans"):
        # Before Thermal 1.1 a fan's name stood in `FanName`.
        unit = "%" if row.get("ReadingUnits") == "Percent" else "RPM"
        rows.append((row, "Reading" if "Reading" in row else "ReadingRPM", unit))
    rows += [(row, "ReadingVolts", "V") for row in _rows(resource, "Voltages")]
    rows += [(row, "PowerConsumedWatts", "W") for row in _rows(resource, "PowerControl")]
    rows += [(row, "PowerInputWatts", "W") for row in _rows(resource, "PowerSupplies")]
    return [
        Sensor(
            _text(row, "Name") or _text(row, "FanName"),
            _number(row.get(key)),
            unit,
            _status(row, row.get(key)),
        )
        for row, key, unit in rows
    ]


def parse_sensor(resource: Resource) -> Sensor:
    """Read one `Sensor` resource."""
    unit = _text(resource, "ReadingUnits")
    reading = resource.get("Reading")
    return Sensor(
        _text(resource, "Name"), _number(reading), UNITS.get(unit, unit), _status(resource, reading)
    )


def message_of(response: httpx.Response) -> str:
    """Return the sentences of `@Message.ExtendedInfo`, else of `error.message`, else of HTTP."""
    error = _dig(_json(response), "error")
    told = [_text(info, "Message") for info in _rows(error, "@Message.ExtendedInfo")]
    words = " ".join(text for text in told if text) or _text(error, "message") or response.reason_phrase
    return words.strip()[:500]


@functools.cache
def _tls(*, verify: bool) -> ssl.SSLContext:
    """Make a context once: loading the certificates of the system takes tens of milliseconds."""
    return httpx.create_ssl_context(verify=verify, trust_env=False)


def _json(response: httpx.Response) -> Resource:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _dig(resource: Any, *keys: str) -> Any:
    for key in keys:
        resource = resource.get(key) if isinstance(resource, dict) else None
    return resource


def _text(resource: Any, key: str) -> str:
    value = _dig(resource, key)
    return value if isinstance(value, str) else ""


def _link(resource: Any, *keys: str) -> str:
    return _text(_dig(resource, *keys), "@odata.id")


def _rows(resource: Any, *keys: str) -> list[Resource]:
    rows = _dig(resource, *keys)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _links(resource: Any, *keys: str) -> list[str]:
    return [path for row in _rows(resource, *keys) if (path := _text(row, "@odata.id"))]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _status(resource: Resource, reading: Any) -> str:
    if reading is None or _dig(resource, "Status", "State") in {"Absent", "Disabled", "UnavailableOffline"}:
        return "unavailable"
    return HEALTH.get(_text(_dig(resource, "Status"), "Health"), "ok")
