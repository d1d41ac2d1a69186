"""A switch by its command line over SSH, through netmiko; what is typed is in `cli_platforms`.

A command line knows ports by name alone: `Port.index` is made from the name and is not the ifIndex.
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from rackhand.hardware.cli_platforms import PLATFORMS, Platform, Show
from rackhand.hardware.errors import AuthFailed, HardwareError, Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import (
    AdminStatus,
    CounterReading,
    Endpoint,
    LearntMac,
    Neighbour,
    OperStatus,
    Port,
    PortChange,
    SwitchInfo,
)

Answer = TypeVar("Answer")
Row = Mapping[str, str | list[str]]

KEEPALIVE_SECONDS = 30
SAFE_NAME = re.compile(r"[\w./:@ -]+")  # what may stand in a command
QUESTION = r"\[[Yy]/[Nn]\]:?\s*$"
SPEED = re.compile(r"(\d+(?:\.\d+)?)\s*(G?)", re.IGNORECASE)
SAME_PREFIX = {"ge": "gi"}  # Huawei shows GigabitEthernet0/0/1 in one table and GE0/0/1 in another


class CliSettings(BaseModel):
    """How the command line of a switch is reached besides its address and account."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: Literal[
        "cisco_ios",
        "cisco_nxos",
        "arista_eos",
        "juniper_junos",
        "mikrotik_routeros",
        "hp_procurve",
        "aruba_aoscx",
        "huawei_vrp",
        "dell_os10",
    ] = Field("cisco_ios", description="Operating system of the switch.")
    enable_password: SecretStr = Field(
        SecretStr(""), description="Password of `enable`; empty where the account may configure at once."
    )
    host_key: str = Field(
        "",
        pattern=r"^(SHA256:[A-Za-z0-9+/]{43})?$",
        description="Fingerprint of the SSH host key, as `ssh-keygen -lf` prints it; empty: any key is taken.",
    )
    timeout_seconds: float = Field(
        30.0, ge=1, le=300, description="Seconds until an answer to a command is given up."
    )


class CliSwitch:
    """A switch by its command line; the session stays open, in a thread of its own, until it is closed."""

    def __init__(self, endpoint: Endpoint, slots: asyncio.Semaphore) -> None:
        """Take where to ask and how many may be asked at once; raise `ValueError` for wrong settings."""
        self._endpoint = endpoint
        self._slots = slots
        self._settings = CliSettings.model_validate(dict(endpoint.settings))
        self._platform = PLATFORMS[self._settings.platform]
        self._who = f"The switch at {endpoint.address}"
        self._thread: ThreadPoolExecutor | None = None
        self._connection: Any = None  # netmiko's
        self._host_key = ""

    async def info(self) -> SwitchInfo:
        """Return the name in the prompt; the description has the fingerprint to pin the host key with."""
        name = await self._run(lambda: str(self._connected().base_prompt))
        return SwitchInfo(name, f"{self._platform.title}, host key {self._host_key}", None)

    async def ports(self) -> list[Port]:
        """Return all Ethernet ports, in the order in which the switch shows them."""
        return await self._run(self._read_ports)

    async def port(self, index: int) -> Port:
        """Return one port, read now together with all the others."""
        return self._find(await self.ports(), index)

    async def commands(self, change: PortChange) -> tuple[str, ...]:
        """Return the lines of `apply`; shows ports and VLANs on the switch for it."""
        return await self._run(lambda: self._lines(change))

    async def apply(self, change: PortChange) -> tuple[str, ...]:
        """Type the lines one after the other; after the first that is refused leave without the rest.

        On Junos nothing has happened then, elsewhere the lines before it have. The configuration is saved.
        """

        def type_in() -> tuple[str, ...]:
            lines = self._lines(change)
            self._type(lines)
            return lines

        return await self._run(type_in)

    async def mac_table(self) -> list[LearntMac]:
        """Return the learnt entries of the forwarding table that are on Ethernet ports."""

        def read() -> list[LearntMac]:
            ports, platform = self._read_ports(), self._platform
            return macs_of(platform, ports, self._rows(platform.vlans), self._rows(platform.macs))

        return await self._run(read)

    async def neighbours(self) -> list[Neighbour]:
        """Return what LLDP heard on Ethernet ports."""

        def read() -> list[Neighbour]:
            return neighbours_of(self._read_ports(), self._rows(self._platform.neighbours))

        return await self._run(read)

    async def counters(self) -> CounterReading:
        """Raise `Unsupported`: counters are read by SNMP."""
        raise Unsupported(
            f"{self._who} is read by its command line, which has no counters: use SNMP for traffic."
        )

    async def close(self) -> None:
        """End the session; the thread goes with it."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown(wait=False)

    # What follows runs in the thread.

    async def _run(self, work: Callable[[], Answer]) -> Answer:
        """Do *work* in the thread; a session that is cut or falls silent is not used again."""
        async with self._slots:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="switch")
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._translated, work)

    def _translated(self, work: Callable[[], Answer]) -> Answer:
        import netmiko  # half a second, for those who have such a switch
        import paramiko

        try:
            return work()
        except HardwareError:
            raise
        except netmiko.NetmikoAuthenticationException as error:
            self._disconnect()
            raise AuthFailed(f"{self._who} refused the account {self._endpoint.user!r}.") from error
        except netmiko.NetmikoTimeoutException as error:
            self._disconnect()
            raise Unreachable(f"{self._who} does not answer: {_last_line(error)}.") from error
        except netmiko.exceptions.NetmikoBaseException as error:
            self._disconnect()
            raise Timeout(f"{self._who} gave no complete answer: {_last_line(error)}.") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            self._disconnect()
            raise Unreachable(f"{self._who} cut the connection: {_last_line(error)}.") from error
        except ValueError as error:  # netmiko did not find a prompt
            self._disconnect()
            raise Refused(
                f"{self._who} does not behave as {self._platform.title}: {_last_line(error)}."
            ) from error

    def _connected(self) -> Any:
        """Return the open session, or sign in."""
        import netmiko

        if self._connection is not None and self._connection.remote_conn.transport.is_active():
            return self._connection  # netmiko's own question types a zero byte
        self._disconnect()
        seconds = self._settings.timeout_seconds
        connection: Any = netmiko.ConnectHandler(
            device_type=self._platform.device_type,
            host=self._endpoint.host,
            port=self._endpoint.port,
            username=self._endpoint.user,
            password=self._endpoint.password,
            secret=self._settings.enable_password.get_secret_value(),
            conn_timeout=min(10.0, seconds),
            auth_timeout=seconds,
            banner_timeout=seconds,
            keepalive=KEEPALIVE_SECONDS,
            auto_connect=False,
        )
        connection.key_policy = _HostKey(self._check_host_key)
        self._connection = connection
        connection.establish_connection()
        connection._try_session_preparation()  # noqa: SLF001  # what `auto_connect` would do
        if self._settings.enable_password.get_secret_value() and not connection.check_enable_mode():
            connection.enable()
        return connection

    def _check_host_key(self, key: Any) -> None:
        digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
        self._host_key = f"SHA256:{digest}"
        if self._settings.host_key not in {"", self._host_key}:
            raise Refused(
                f"{self._who} shows the host key {self._host_key}, and not {self._settings.host_key} of the settings:"
                " it is another device, or somebody stands in between."
            )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(EOFError, OSError):  # who is gone cannot be told that we go
                connection.paramiko_cleanup()

    def _rows(self, show: Show | None) -> list[dict[str, str | list[str]]]:
        """Show something and read it."""
        if show is None:
            return []
        output = self._connected().send_command(show.command, read_timeout=self._settings.timeout_seconds)
        if re.search(self._platform.error, output):
            raise Refused(f"{self._who} answers to `{show.command}`: {_last_line(output)}")
        try:
            return show.rows(self._platform.device_type, output)
        except ValueError as error:
            raise Unsupported(
                f"The answer of {self._who} to `{show.command}` is not understood: {error}"
            ) from error

    def _read_ports(self) -> list[Port]:
        try:
            return ports_of(self._platform, [self._rows(show) for show in self._platform.ports])
        except ValueError as error:
            raise Unsupported(f"{self._who}: {error}") from error

    def _find(self, ports: Sequence[Port], index: int) -> Port:
        for port in ports:
            if port.index == index:
                return port
        raise Refused(f"{self._who} has no port with the number {index}.")

    def _lines(self, change: PortChange) -> tuple[str, ...]:
        port = self._find(self._read_ports(), change.index)
        if change.access_vlan is not None and self._platform.vlans is not None:
            vlans = {_number(row, "vlan") for row in self._rows(self._platform.vlans)}
            if change.access_vlan not in vlans:
                raise Refused(f"{self._who} has no VLAN {change.access_vlan}.")
        try:
            return lines_of(self._platform, port.name, change)
        except ValueError as error:
            raise Unsupported(f"{self._who}: {error}") from error

    def _type(self, lines: Sequence[str]) -> None:
        connection = self._connected()
        ready = rf"{re.escape(connection.base_prompt)}[^\n]*[>#\]]\s*$|{QUESTION}"
        send = functools.partial(
            connection.send_command, expect_string=ready, read_timeout=self._settings.timeout_seconds
        )
        for line in lines:
            output = send(line)
            if refusal := re.search(self._platform.error, output):
                for way_out in self._platform.abandon:
                    send(way_out)
                words = output[refusal.start() :].strip().partition("\n")[0].strip()
                raise Refused(f"{self._who} answers to `{line}`: {words}")


class _HostKey:
    """What paramiko asks about a host key that it does not know, which are all."""

    def __init__(self, check: Callable[[Any], None]) -> None:
        self._check = check

    def missing_host_key(self, _client: Any, _hostname: str, key: Any) -> None:
        self._check(key)


def lines_of(platform: Platform, port: str, change: PortChange) -> tuple[str, ...]:
    """Return what is typed for *change*, from entering the configuration to saving it.

    Raise `ValueError` for a speed that has no word there.
    """
    if change.admin_status is not None:
        lines = platform.up if change.admin_status is AdminStatus.UP else platform.down
    elif change.access_vlan is not None:
        lines = platform.access_vlan
    elif change.speed_mbit == 0:
        lines = platform.automatic
    elif change.speed_mbit in platform.speeds:
        lines = platform.speed
    else:
        speeds = ", ".join(map(str, platform.speeds))
        raise ValueError(f"{platform.title} has no speed of {change.speed_mbit} Mbit/s, only 0 and {speeds}.")
    speed = platform.speeds.get(change.speed_mbit or 0, "")
    filled = (line.format(port=port, vlan=change.access_vlan, speed=speed) for line in lines)
    return (*platform.enter, *filled, *platform.leave, *platform.save)


def ports_of(platform: Platform, tables: Sequence[Sequence[Row]]) -> list[Port]:
    """Put together what the first table has of each Ethernet port and what the others add.

    Raise `ValueError` when there is none, which is the answer of another operating system.
    """
    first, *others = tables
    found: dict[str, dict[str, str]] = {}
    for row in first:
        name = _text(row, "port")
        is_ethernet = re.match(platform.ethernet, name) and _text(row, "kind") in {"", "ether"}
        if is_ethernet and SAFE_NAME.fullmatch(name):
            found[port_key(name)] = {key: _text(row, key) for key in row}
    for rows in others:
        for row in rows:
            ports = row["ports"] if "ports" in row else _text(row, "port")
            for name in [ports] if isinstance(ports, str) else ports:
                if port := found.get(port_key(name)):
                    is_second = "ports" in row and "vlan" in port  # in two VLANs: a trunk
                    values = {key: _text(row, key) for key in row if key not in {"port", "ports"}}
                    port.update({**values, "vlan": "trunk"} if is_second else values)
    ports_by_index = {port_index(row["port"]): _port(platform, row) for row in found.values()}
    if not found or len(ports_by_index) < len(found):
        words = "two ports with one number" if found else "no Ethernet ports"
        raise ValueError(f"it shows {words}; is it {platform.title}?")
    return list(ports_by_index.values())


def macs_of(
    platform: Platform, ports: Sequence[Port], vlans: Sequence[Row], macs: Sequence[Row]
) -> list[LearntMac]:
    """Return the entries that were learnt on *ports*; the VLAN may be given by name."""
    indexes = {port_key(port.name): port.index for port in ports}
    names = {_text(row, "name"): _number(row, "vlan") for row in vlans}
    found = []
    for row in macs:
        kinds = set(_text(row, "kind").lower().split(","))
        address, index = plain_mac(_text(row, "mac")), indexes.get(port_key(_text(row, "port")))
        if address and index is not None and (not platform.learned or kinds & platform.learned):
            vlan = _number(row, "vlan") or names.get(_text(row, "vlan"))
            found.append(LearntMac(address, index, vlan))
    return found


def neighbours_of(ports: Sequence[Port], rows: Sequence[Row]) -> list[Neighbour]:
    """Return the neighbours on *ports*."""
    indexes = {port_key(port.name): port.index for port in ports}
    found = []
    for row in rows:
        index = indexes.get(port_key(_text(row, "port").split(",")[0]))  # RouterOS adds the bridge
        if index is not None:
            chassis, remote = _text(row, "chassis"), _text(row, "remote_port")
            system = _text(row, "system")
            found.append(Neighbour(index, plain_mac(chassis) or chassis, plain_mac(remote) or remote, system))
    return found


def port_key(name: str) -> str:
    """Return one spelling for `GigabitEthernet1/0/1`, `Gi1/0/1`, `Ethernet 1/0/1` and, on Junos, `ge-0/0/1.0*`."""
    name = re.sub(r"\.\d+$", "", name.strip().rstrip("*").lower().replace(" ", ""))
    match = re.fullmatch(r"([a-z]+)([\d/:]+)", name)
    if not match:
        return name
    letters = "twe" if match[1].startswith("twe") else match[1][:2]  # not two, but twenty-five
    return SAME_PREFIX.get(letters, letters) + match[2]


def port_index(name: str) -> int:
    """Return the number of a port: the same for the same name at any time, 31 bits wide."""
    return zlib.crc32(port_key(name).encode()) >> 1


def plain_mac(value: str) -> str | None:
    """Return an address in lower case with colons, whatever stands between its digits; None for anything else."""
    digits = re.sub(r"[.:\s-]", "", value).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        return None
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


def parse_speed(value: str) -> int:
    """Return the Mbit/s of `a-1000`, `10G`, `100FDx` or `1000 Mb/s`; 0 where there is no number."""
    match = SPEED.search(value)
    return round(float(match[1]) * (1000 if match[2] else 1)) if match else 0


def _port(platform: Platform, row: Mapping[str, str]) -> Port:
    admin, link = row.get("admin", "").lower(), row.get("link", "").lower()
    is_down = admin in platform.is_down
    return Port(
        index=port_index(row["port"]),
        name=row["port"],
        description=row["port"],
        alias=row.get("alias", ""),
        mac=plain_mac(row.get("mac", "")),
        speed_mbit=parse_speed(row.get("speed", "")),
        admin_status=AdminStatus.DOWN if is_down else AdminStatus.UP,
        oper_status=OperStatus.UP if link in platform.is_up and not is_down else OperStatus.DOWN,
        access_vlan=int(row["vlan"]) if row.get("vlan", "").isdecimal() else None,
    )


def _text(row: Row, key: str) -> str:
    value = row.get(key, "")
    return (value if isinstance(value, str) else value[0] if value else "").strip()


def _number(row: Row, key: str) -> int | None:
    value = _text(row, key)
    return int(value) if value.isdecimal() else None


def _last_line(words: object) -> str:
    lines = [line.strip() for line in str(words).splitlines() if line.strip()]
    return lines[0] if lines else "without a word"
