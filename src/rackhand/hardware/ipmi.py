"""IPMI 2.0 through stock programs: FreeIPMI's `ipmipower` for chassis power, `ipmitool` for everything else.

`ipmipower` costs a tenth of the processor time of `ipmitool` and asks hundreds of hosts from one process.
"""

import asyncio
import contextlib
import csv
import math
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from rackhand.hardware import processes
from rackhand.hardware.errors import AuthFailed, HardwareError, Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import (
    BootDevice,
    BootMode,
    BootOverride,
    Endpoint,
    PowerAction,
    PowerState,
    Sensor,
)

GRACE_SECONDS = 3.0  # what a program may take beyond its own timeouts before it is killed
SENSOR_SECONDS = 90.0  # an old BMC needs 100 to 300 ms a sensor and may have 200 of them

POWER_STATES = {"on": PowerState.ON, "off": PowerState.OFF}
POWER_OPTIONS = {  # option of ipmipower, and the number in Chassis Control (IPMI 2.0, table 28-4)
    PowerAction.ON: ("--on", 0x01),
    PowerAction.OFF: ("--off", 0x00),
    PowerAction.SOFT_OFF: ("--soft", 0x05),
    PowerAction.RESET: ("--reset", 0x03),
    PowerAction.CYCLE: ("--cycle", 0x02),
}
POWER_IS_ON = 0x01

# FreeIPMI 1.6.10, ipmipower/ipmipower_output.c. "connection timeout" means that not even the first request,
# which needs no account, was answered; "session timeout" that the BMC fell silent later.
IPMIPOWER_ERRORS: dict[str, type[HardwareError]] = {
    "username invalid": AuthFailed,
    "password invalid": AuthFailed,
    "password length invalid": AuthFailed,
    "k_g invalid": AuthFailed,
    "connection timeout": Unreachable,
    "invalid hostname": Unreachable,
    "session timeout": Timeout,
    "password verification timeout": Timeout,
    "out of resources": Timeout,
    "BMC busy": Timeout,
    "cipher suite id unavailable": Unsupported,
    "ipmi 2.0 unavailable": Unsupported,
    "operation invalid": Unsupported,
}

# ipmitool 1.8.19 with -v, in the order of looking: the last line is the same for a wrong password and a dead
# host.
IPMITOOL_ERRORS: tuple[tuple[str, type[HardwareError]], ...] = (
    ("SOL payload already active", Refused),
    ("SOL payload disabled", Unsupported),
    ("SOL payload type disabled", Unsupported),
    ("SOL session on different port", Unsupported),
    ("No response activating SOL", Timeout),
    ("RAKP 2 HMAC is invalid", AuthFailed),
    ("unauthorized name", AuthFailed),
    ("Password is too long", AuthFailed),
    ("insufficient resources", Timeout),
    ("no response from RAKP", Timeout),
    ("Timeout in open session", Timeout),
    ("Address lookup", Unreachable),
    ("Get Auth Capabilities error", Unreachable),
    ("invalid authentication algorithm", Unsupported),
    ("no matching cipher suite", Unsupported),
    ("Error in open session response message", Refused),
    ("RAKP 2 message indicates an error", Refused),
    ("RAKP 4 message", Refused),
    ("Unable to establish", Unreachable),
    ("No data available", Timeout),
    ("Unable to send RAW command", Timeout),  # without a completion code: no answer
)

# IPMI 2.0, table 5-2; every other completion code is a refusal. Supermicro answers 0xc3 while the chassis is
# powering up.
COMPLETION_ERRORS: dict[int, type[HardwareError]] = {
    0xC0: Timeout,  # node busy
    0xC3: Timeout,  # timeout while processing
    0xCE: Timeout,  # response could not be provided
    0xD0: Timeout,  # firmware is being updated
    0xD1: Timeout,  # BMC initialization in progress
    0xD2: Timeout,  # destination unavailable
    0xC1: Unsupported,  # invalid command
    0xC2: Unsupported,  # invalid for this LUN
    0xC9: Unsupported,  # parameter out of range
    0xCC: Unsupported,  # invalid data field
    0x80: Unsupported,  # parameter not supported
}

# IPMI 2.0, table 28-14: boot flags, data 2, bits 5 to 2
BOOT_CODES = {
    BootDevice.NONE: 0x0,
    BootDevice.PXE: 0x1,
    BootDevice.DISK: 0x2,
    BootDevice.CDROM: 0x5,
    BootDevice.SETUP: 0x6,
}
REMOTE_CDROM = 0x8
FLAG_VALID, FLAG_PERSISTENT, FLAG_EFI = 0x80, 0x40, 0x20
BOOT_FLAGS = 0x05  # number of the boot option parameter
VALID_BIT_CLEARING = 0x03
KEEP_AFTER_60_SECONDS = 0x08

UNITS = {"degrees C": "°C", "degrees F": "°F", "Volts": "V", "Amps": "A", "Watts": "W", "percent": "%"}
SENSOR_STATUS = {"ok": "ok", "nc": "warning", "cr": "critical", "nr": "critical"}

RAW_LINE = re.compile(r"^(?: [0-9a-f]{2})+\s*$")
COMPLETION_CODE = re.compile(r"rsp=0x([0-9a-f]+)")


# ipmitool's words before and around the characters of a console, and what a line must begin with to speak to it: a
# record separator, which no keyboard has a key for.
CONSOLE_IS_OPEN = re.compile(rb"\[SOL Session operational\.[^\n]*\n")
ESCAPE = "\x1e"


class IpmiSettings(BaseModel):
    """What can be said about an IPMI BMC besides its address and account."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workaround_flags: str = Field(
        "",
        pattern=r"^([a-z0-9]+(,[a-z0-9]+)*)?$",
        description="FreeIPMI workarounds, separated by commas: `opensesspriv` when the BMC is said to deny"
        " the privilege level, or `intel20`, `supermicro20`, `sun20`.",
    )
    cipher_suite: int = Field(
        3, ge=1, le=17, description="Cipher suite: 3, or 17 (SHA-256) on BMCs that have switched suite 3 off."
    )
    privilege: Literal["user", "operator", "admin"] = Field(
        "operator", description="Privilege level to ask for; the restart of a BMC always asks for `admin`."
    )
    timeout_seconds: float = Field(
        8.0, ge=1, le=60, description="Seconds until a BMC that does not answer is given up."
    )


@dataclass(frozen=True)
class DeviceId:
    """Answer to Get Device ID: IANA number of the manufacturer, product number, firmware version."""

    manufacturer: int
    product: int
    firmware: str


class IpmiBmc:
    """A BMC that is spoken to by processes; nothing stays open between two calls."""

    def __init__(self, endpoint: Endpoint, slots: asyncio.Semaphore) -> None:
        """Take where to ask and how many programs may run at once; raise `ValueError` for wrong settings."""
        self._endpoint = endpoint
        self._slots = slots
        self._settings = IpmiSettings.model_validate(dict(endpoint.settings))

    async def power_state(self) -> PowerState:
        """Return the chassis power state as the BMC reports it now."""
        words = await self._ipmipower("--stat")
        if not words:
            data = await self.raw(0x00, 0x01)
            if not data:
                raise Timeout(f"The BMC at {self._endpoint.address} gave no power state.")
            return PowerState.ON if data[0] & POWER_IS_ON else PowerState.OFF
        if words not in POWER_STATES:
            raise _ipmipower_error(self._endpoint, words)
        return POWER_STATES[words]

    async def set_power(self, action: PowerAction) -> None:
        """Send one Chassis Control; many BMCs accept `RESET` and `CYCLE` while off and do nothing."""
        option, number = POWER_OPTIONS[action]
        words = await self._ipmipower(option)
        if not words:
            await self.raw(0x00, 0x02, number)
        elif words != "ok":
            raise _ipmipower_error(self._endpoint, words)

    async def boot_override(self) -> BootOverride:
        """Read boot option parameter 5; flags that are not marked valid are no override (IPMI 2.0, 28.13)."""
        return parse_boot_flags(await self.raw(0x00, 0x09, BOOT_FLAGS, 0x00, 0x00))

    async def set_boot_device(
        self, device: BootDevice, *, mode: BootMode | None = None, persistent: bool = False
    ) -> None:
        """Write boot option parameter 5; without *mode* it asks for legacy, as IPMI has no "either".

        A BMC forgets the flags after 60 s without a chassis command; it is told not to, when it knows how.
        """
        with contextlib.suppress(Refused, Unsupported):
            await self.raw(0x00, 0x08, VALID_BIT_CLEARING, KEEP_AFTER_60_SECONDS)
        flags = 0 if device is BootDevice.NONE else FLAG_VALID
        if flags and persistent:
            flags |= FLAG_PERSISTENT
        if flags and mode is BootMode.UEFI:
            flags |= FLAG_EFI
        await self.raw(0x00, 0x08, BOOT_FLAGS, flags, BOOT_CODES[device] << 2, 0x00, 0x00, 0x00)

    async def identify(self, *, on: bool) -> None:
        """Switch the light on until it is switched off; for 255 s on a BMC without the optional "force"."""
        if not on:
            await self.raw(0x00, 0x04, 0x00)
            return
        try:
            await self.raw(0x00, 0x04, 0x00, 0x01)
        except (Refused, Unsupported):
            await self.raw(0x00, 0x04, 0xFF)

    async def sensors(self) -> list[Sensor]:
        """Return the analog sensors; status is `ok`, `warning`, `critical` or `unavailable`."""
        output = await self._ipmitool("-c", "sdr", "list", "full", seconds=SENSOR_SECONDS)
        found = parse_sensors(output.out)
        if output.code and not found:
            # Without -v a wrong password looks like a dead host, and with it the list has another form.
            await self.device_id()
            _raise_ipmitool_error(self._endpoint, output)
        return found

    async def reset_bmc(self) -> None:
        """Restart the BMC; needs an account with the privilege `admin`."""
        output = await self._ipmitool("-v", "mc", "reset", "cold", privilege="admin")
        if output.code:
            _raise_ipmitool_error(self._endpoint, output)

    async def console(self) -> "IpmiConsole":
        """Activate Serial over LAN; `ipmitool` never takes it from somebody else."""
        program = await processes.start_on_terminal(
            self._ipmitool_arguments("-v", "-e", ESCAPE, "sol", "activate"),
            secret=f"{self._endpoint.password}\n",
        )
        console = IpmiConsole(program)
        said = b""
        try:
            async with asyncio.timeout(2 * self._settings.timeout_seconds + GRACE_SECONDS):
                while not (found := CONSOLE_IS_OPEN.search(said)):
                    came = await program.read()
                    if not came:
                        output = await program.close()
                        words = processes.Output(output.code or 1, said.decode(errors="replace"), output.err)
                        _raise_ipmitool_error(self._endpoint, words)
                    said += came
        except TimeoutError as error:
            raise Timeout(f"The BMC at {self._endpoint.address} did not open its console.") from error
        finally:
            if not CONSOLE_IS_OPEN.search(said):
                program.kill()
                await program.close()
        console.first = said[found.end() :]
        return console

    async def free_console(self) -> None:
        """Deactivate Serial over LAN, whoever has it."""
        output = await self._ipmitool("-v", "sol", "deactivate")
        if output.code and "already de-activated" not in output.err + output.out:
            _raise_ipmitool_error(self._endpoint, output)

    async def device_id(self) -> DeviceId:
        """Ask who the BMC is: the cheapest request that proves address, account and cipher suite."""
        data = await self.raw(0x06, 0x01)
        if len(data) < 11:  # noqa: PLR2004  # IPMI 2.0, table 20-2
            raise Refused(f"The BMC at {self._endpoint.address} gave a device id of {len(data)} bytes.")
        return DeviceId(
            manufacturer=int.from_bytes(data[6:9], "little"),
            product=int.from_bytes(data[9:11], "little"),
            firmware=f"{data[2] & 0x7F}.{data[3]:02x}",  # the second byte is BCD
        )

    async def raw(self, netfn: int, command: int, *data: int) -> bytes:
        """Send one IPMI request and return its data without the completion code."""
        output = await self._ipmitool("-v", "raw", *(f"{byte:#04x}" for byte in (netfn, command, *data)))
        if output.code:
            _raise_ipmitool_error(self._endpoint, output)
        return bytes.fromhex("".join(line for line in output.out.splitlines() if RAW_LINE.match(line)))

    async def close(self) -> None:
        """Do nothing: each program ends its own session."""

    async def _ipmipower(self, option: str) -> str:
        """Run one power command and return what `ipmipower` says of the host.

        That is nothing at all when the BMC refuses with a code that `ipmipower` does not know, such as 0xd5, "not
        in the present state": `ipmitool` then asks again and tells the code.
        """
        output = await processes.run(
            ipmipower_arguments([self._endpoint], self._settings, option),
            secret=ipmipower_config(self._endpoint),
            slots=self._slots,
            seconds=self._settings.timeout_seconds + GRACE_SECONDS,
        )
        _, found, words = output.out.strip().partition(": ")
        if not found and (output.code or output.out or output.err):
            raise Refused(
                f"ipmipower refused to ask {self._endpoint.address}: {output.err.strip() or output.out}."
            )
        return words

    async def _ipmitool(self, *command: str, seconds: float = 0, privilege: str = "") -> processes.Output:
        return await processes.run(
            self._ipmitool_arguments(*command, privilege=privilege),
            secret=f"{self._endpoint.password}\n",
            slots=self._slots,
            seconds=max(seconds, 2 * self._settings.timeout_seconds + GRACE_SECONDS),
        )

    def _ipmitool_arguments(self, *command: str, privilege: str = "") -> list[str]:
        settings = self._settings
        level = {"user": "USER", "operator": "OPERATOR", "admin": "ADMINISTRATOR"}[
            privilege or settings.privilege
        ]
        # Each retry waits a second longer, and two requests stay unanswered before it gives up: R * (R + 1).
        retries = max(1, int((math.sqrt(4 * settings.timeout_seconds + 1) - 1) / 2))
        return [
            *("ipmitool", "-I", "lanplus"),
            *("-H", _checked_host(self._endpoint), "-p", str(self._endpoint.port)),
            *("-U", self._endpoint.user, "-f", processes.SECRET),
            *("-C", str(settings.cipher_suite), "-L", level, "-N", "1", "-R", str(retries), *command),
        ]


class IpmiConsole:
    """Serial over LAN through a running `ipmitool`."""

    def __init__(self, program: processes.TerminalProgram) -> None:
        self.first = b""  # what came with the word that it is open
        self._program = program
        self._ended = ""
        self._is_closed = False

    async def read(self) -> bytes:
        """Return what came out next; nothing when it has ended."""
        if self.first:
            first, self.first = self.first, b""
            return first
        return await self._program.read()

    async def write(self, data: bytes) -> None:
        """Type *data*, but for the character that `ipmitool` listens to itself."""
        await self._program.write(data.replace(ESCAPE.encode(), b""))

    async def close(self) -> str:
        """Hang up, upon which `ipmitool` deactivates the payload; return what it complained of when it had ended."""
        if not self._is_closed:
            self._is_closed = True
            output = await self._program.close()
            lines = [line.strip() for line in output.err.splitlines() if line.startswith("Error")]
            self._ended = lines[0] if lines and output.code else ""
        return self._ended


async def power_states(
    endpoints: Sequence[Endpoint], slots: asyncio.Semaphore
) -> AsyncIterator[tuple[Endpoint, PowerState | HardwareError]]:
    """Ask many BMCs from one process and give each answer as it comes; whoever is missing did not answer.

    All *endpoints* share user, password and settings, and no two share a host: the answers name the host
    without its port. Dead hosts cost one timeout together.
    """
    first = endpoints[0]
    asked = {}
    for endpoint in endpoints:
        try:
            asked[_checked_host(endpoint)] = endpoint
        except Unreachable as error:
            yield endpoint, error
    try:
        settings = IpmiSettings.model_validate(dict(first.settings))
    except ValueError as error:
        raise Unsupported(f"The settings of the access to {first.address} are wrong: {error}") from error
    arguments = ipmipower_arguments(list(asked.values()), settings, "--stat")
    # The timeout runs from a host's turn on, and a thousand first packets take a moment.
    seconds = settings.timeout_seconds + GRACE_SECONDS + len(endpoints) / 100
    async with slots:
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(seconds),
                processes.started(arguments, secret=ipmipower_config(first)) as process,
            ):
                if process.stdout is None or process.stderr is None:
                    raise AssertionError
                async for line in process.stdout:
                    host, _, words = line.decode(errors="replace").strip().partition(": ")
                    if host in asked:
                        endpoint = asked.pop(host)
                        yield endpoint, POWER_STATES.get(words) or _ipmipower_error(endpoint, words)
                complaint = (await process.stderr.read()).decode(errors="replace").strip()
                await process.wait()
                for endpoint in asked.values() if complaint else ():
                    yield endpoint, Refused(f"ipmipower refused to ask {endpoint.address}: {complaint}.")


def ipmipower_arguments(endpoints: Sequence[Endpoint], settings: IpmiSettings, option: str) -> list[str]:
    """Give the command line that asks all *endpoints* at once, without the account."""
    hosts = ",".join(
        f"[{host}]:{endpoint.port}" if ":" in (host := _checked_host(endpoint)) else f"{host}:{endpoint.port}"
        for endpoint in endpoints
    )
    workarounds = ["--workaround-flags", settings.workaround_flags] if settings.workaround_flags else []
    return [
        *("ipmipower", "--config-file", processes.SECRET, "--driver-type", "LAN_2_0", "--hostname", hosts),
        *("--cipher-suite-id", str(settings.cipher_suite), "--privilege-level", settings.privilege.upper()),
        *(
            "--session-timeout",
            str(round(settings.timeout_seconds * 1000)),
            "--retransmission-timeout",
            "500",
        ),
        *(*workarounds, option),
    ]


def ipmipower_config(endpoint: Endpoint) -> str:
    """Write the account as a FreeIPMI configuration file; quotes keep blanks (common/miscutil/conffile.c)."""
    return "".join(
        f'{name} "{_escape(value)}"\n'
        for name, value in (("username", endpoint.user), ("password", endpoint.password))
        if value
    )


def parse_boot_flags(data: bytes) -> BootOverride:
    """Read the answer to Get System Boot Options for parameter 5: version, parameter, flags, device, more."""
    if len(data) < 4 or not data[2] & FLAG_VALID:  # noqa: PLR2004  # IPMI 2.0, table 28-14
        return BootOverride(BootDevice.NONE)
    code = data[3] >> 2 & 0x0F
    device = {number: device for device, number in BOOT_CODES.items()} | {REMOTE_CDROM: BootDevice.CDROM}
    if code not in device:
        raise Unsupported(f"The BMC reports a boot override to device {code:#x}, which has no name here.")
    if device[code] is BootDevice.NONE:
        return BootOverride(BootDevice.NONE)
    return BootOverride(
        device[code],
        BootMode.UEFI if data[2] & FLAG_EFI else BootMode.LEGACY,
        persistent=bool(data[2] & FLAG_PERSISTENT),
    )


def parse_sensors(text: str) -> list[Sensor]:
    """Read the lines `name,value,unit,status` of `ipmitool -c sdr list`; no number means no value."""
    found = []
    for row in csv.reader(text.splitlines()):
        if len(row) < 4:  # noqa: PLR2004  # other lines are remarks
            continue
        name, reading, unit, status = (cell.strip() for cell in row[:4])
        try:
            value = float(reading)
        except ValueError:
            found.append(Sensor(name, None, "", SENSOR_STATUS.get(status, "unavailable")))
        else:
            found.append(Sensor(name, value, UNITS.get(unit, unit), SENSOR_STATUS.get(status, "unavailable")))
    return found


def _checked_host(endpoint: Endpoint) -> str:
    """Return the host, unless `ipmipower` would take it for a list of hosts or `ipmitool` for an option."""
    if not endpoint.host or endpoint.host.startswith("-") or re.search(r"[\s,\[\]]", endpoint.host):
        raise Unreachable(f"{endpoint.host!r} is not the name or address of a BMC.")
    return endpoint.host


def _escape(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise AuthFailed("A user name or password of a BMC cannot hold a line break.")
    return re.sub(r'([\\"#])', r"\\\1", value)


def _ipmipower_error(endpoint: Endpoint, words: str) -> HardwareError:
    kind = IPMIPOWER_ERRORS.get(words, Refused)
    if kind is AuthFailed:
        return AuthFailed(f"The BMC at {endpoint.address} refused the account {endpoint.user!r}: {words}.")
    if kind is Unreachable:
        return Unreachable(f"The BMC at {endpoint.address} does not answer: {words}.")
    return kind(f"The BMC at {endpoint.address} says: {words}.")


def _raise_ipmitool_error(endpoint: Endpoint, output: processes.Output) -> NoReturn:
    text = output.err + output.out
    if code := COMPLETION_CODE.search(text):
        words = text[code.end() :].lstrip("): ").partition("\n")[0].strip()
        kind = COMPLETION_ERRORS.get(int(code[1], 16), Refused)
        raise kind(f"The BMC at {endpoint.address} says: {words or 'refused'} (0x{code[1]}).")
    kind = next((kind for fragment, kind in IPMITOOL_ERRORS if fragment in text), Refused)
    words = " ".join(line.strip("> ") for line in text.splitlines()[-3:] if line.strip())
    if kind is AuthFailed:
        raise AuthFailed(f"The BMC at {endpoint.address} refused the account {endpoint.user!r}: {words}")
    raise kind(f"The BMC at {endpoint.address}: {words or 'ipmitool failed without a word.'}")
