"""DHCP and TFTP of the provisioning network: dnsmasq, configured from the settings and the inventory, and watched.

It knows the MAC addresses of the inventory and answers nobody else, unless it is told to. What a machine boots is not
decided here: every machine is sent to the boot listener, by way of iPXE, and asks there (`boot.reservations`).
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import pwd
import re
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from sqlalchemy import func, select

from rackhand.boot import reservations
from rackhand.db import Database
from rackhand.events.model import Event
from rackhand.servers.model import Location, Nic, Server
from rackhand.settings import Settings

log = structlog.get_logger()

BIOS_LOADER, UEFI_LOADER = "undionly.kpxe", "snponly.efi"
# Processor architecture of option 93 (RFC 4578 with the registry of IANA): 7 is what nearly all x86-64 firmware says.
BIOS_ARCHITECTURES, UEFI_ARCHITECTURES = (0,), (7, 9)
SCRIPT_QUERY = (
    "mac=${netX/mac}&platform=${platform}&arch=${buildarch}&uuid=${uuid}&serial=${serial:uristring}"
)
LEASE_MINUTES = 60
MOST_LEASES = 100_000
LOOK_EVERY = 2.0
LOOK_ANYWAY_EVERY = 30.0
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)
HEALTHY_AFTER = 60.0
STOP_SECONDS = 5.0
QUIET_SECONDS = 60.0
USER = "nobody"
CAPABILITIES = "+net_admin,+net_raw,+net_bind_service"
IGNORED = re.compile(r"DHCP(?:DISCOVER|REQUEST)\([^)]*\).* ([0-9a-f]{2}(?::[0-9a-f]{2}){5}) .*ignored")
SIOCGIFADDR = 0x8915  # linux/sockios.h

RANGE = re.compile(
    r"(?P<first>[0-9.]+)-(?P<last>[0-9.]+)/(?P<length>[0-9]{1,2})(?:@(?P<router>[0-9.]+))?", re.ASCII
)


@dataclass(frozen=True)
class DhcpRange:
    """Addresses to give in a subnet; one that no interface is in is reached through a relay."""

    first: IPv4Address
    last: IPv4Address
    network: IPv4Network
    router: IPv4Address | None

    @classmethod
    def parse(cls, text: str) -> "DhcpRange":
        """Read `first-last/length`, with `@router` behind it where there is one; raise ValueError."""
        found = RANGE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is not in the form 203.0.113.100-203.0.113.199/24@203.0.113.1")
        try:
            first, last = IPv4Address(found["first"]), IPv4Address(found["last"])
            network = IPv4Network(f"{first}/{found['length']}", strict=False)
            router = IPv4Address(found["router"]) if found["router"] else None
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from error
        if last not in network or last < first or (router is not None and router not in network):
            raise ValueError(f"{text!r}: the addresses are not in one subnet, or not in order")
        return cls(first, last, network, router)


@dataclass(frozen=True)
class DhcpPlan:
    """What is told to dnsmasq; *answers_unknown* serves machines that are in no inventory, too."""

    interface: str
    ranges: tuple[DhcpRange, ...]
    boot_url: str
    loaders: Path
    is_proxy: bool = False
    answers_unknown: bool = False

    def render(self, folder: Path) -> str:
        """Write the configuration file of a dnsmasq that keeps its other files in *folder*."""
        lines = [
            "port=0",
            f"interface={self.interface}",
            "except-interface=lo",
            "bind-interfaces",
            "log-facility=-",
            "pid-file=",
            f"dhcp-leasefile={folder}/leases/leases",
            f"dhcp-lease-max={MOST_LEASES}",
            f"dhcp-hostsfile={folder}/hosts",
            # Firmware, iPXE and the ramdisk of a machine call themselves by different names: one address for all.
            "dhcp-ignore-clid",
            "no-ping",
            "enable-tftp",
            f"tftp-root={self.loaders}",
            *(f"dhcp-match=set:bios,option:client-arch,{number}" for number in BIOS_ARCHITECTURES),
            *(f"dhcp-match=set:uefi,option:client-arch,{number}" for number in UEFI_ARCHITECTURES),
            "dhcp-match=set:ipxe,175",
            "dhcp-userclass=set:ipxe,iPXE",
        ]
        if not self.answers_unknown:
            lines.append("dhcp-ignore=tag:!known")
        for number, given in enumerate(self.ranges):
            lines += self._range(number, given)
        script = f"{self.boot_url}/boot/ipxe?{SCRIPT_QUERY}"
        lines += [
            f"dhcp-boot=tag:bios,tag:!ipxe,{BIOS_LOADER}",
            f"dhcp-boot=tag:uefi,tag:!ipxe,{UEFI_LOADER}",
            f"dhcp-boot=tag:ipxe,{script}",
        ]
        if self.is_proxy:
            # Firmware asks a server that gives no addresses for a menu of what can be booted.
            lines += [
                "dhcp-no-override",
                f"pxe-service=tag:!ipxe,x86PC,iPXE,{Path(BIOS_LOADER).stem}",
                f"pxe-service=tag:!ipxe,BC_EFI,iPXE,{UEFI_LOADER}",
                f"pxe-service=tag:!ipxe,X86-64_EFI,iPXE,{UEFI_LOADER}",
            ]
        else:
            lines += [
                "dhcp-authoritative",
                # iPXE waits 13 seconds for an advertisement of an IPv6 router when there is none. This one is sent
                # when the interface has an IPv6 address, and says that there is no way out through it.
                "enable-ra",
                f"ra-param={self.interface},0,0",
                f"dhcp-range=::,constructor:{self.interface},ra-only",
            ]
        return "\n".join(lines) + "\n"

    def _range(self, number: int, given: DhcpRange) -> list[str]:
        if self.is_proxy:
            return [f"dhcp-range={given.network.network_address},proxy,{given.network.netmask}"]
        tag = f"range{number}"
        lines = [f"dhcp-range=set:{tag},{given.first},{given.last},{given.network.netmask},{LEASE_MINUTES}m"]
        # Without this dnsmasq names itself as the router.
        router = f",{given.router}" if given.router is not None else ""
        return [*lines, f"dhcp-option=tag:{tag},option:router{router}"]


def plan_of(settings: Settings, listener_url: str) -> DhcpPlan:
    """Read the plan from the settings; *listener_url* is where the boot listener is. Raises ValueError, OSError."""
    return DhcpPlan(
        interface=settings.dhcp_interface,
        ranges=tuple(map(DhcpRange.parse, settings.dhcp_ranges)),
        boot_url=settings.boot_url.rstrip("/") or _reachable(listener_url, settings.dhcp_interface),
        loaders=settings.ipxe_files,
        is_proxy=settings.dhcp_proxy,
        answers_unknown=settings.dhcp_unknown,
    )


def _reachable(url: str, interface: str) -> str:
    """Put the interface's address into the URL of a listener on all addresses."""
    parts = urlsplit(url)
    if not ipaddress.ip_address(parts.hostname or "").is_unspecified:
        return url
    return f"http://{interface_address(interface)}:{parts.port}"


def interface_address(interface: str) -> IPv4Address:
    """Return the first IPv4 address of an interface; raise OSError when it has none or is not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError as error:
            raise OSError(
                error.errno, f"Interface {interface} has no IPv4 address: {error.strerror}"
            ) from error
    return IPv4Address(answer[20:24])


class DhcpServer:
    """A dnsmasq that is kept alive, and told when the inventory changes."""

    def __init__(self, plan: DhcpPlan, db: Database, *, location: str = "") -> None:
        """*location* is the name of the one whose servers are known; empty for all."""
        self._plan = plan
        self._db = db
        self._location = location
        self._process: asyncio.subprocess.Process | None = None
        self._seen: dict[str, float] = {}

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Run until cancelled."""
        with tempfile.TemporaryDirectory(prefix="rackhand-dhcp-") as name:
            folder = Path(name)
            (folder / "leases").mkdir()
            (folder / "dnsmasq.conf").write_text(self._plan.render(folder))
            await self._write_hosts(folder)
            _let_read(folder)
            watching = asyncio.create_task(self._follow_inventory(folder), name="dhcp inventory")
            try:
                await self._keep_alive(folder)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _keep_alive(self, folder: Path) -> None:
        failures = 0
        while True:
            begin = time.monotonic()
            status, words = await self._run_once(folder)
            failures = 0 if time.monotonic() - begin > HEALTHY_AFTER else failures + 1
            pause = PAUSES[min(failures, len(PAUSES) - 1)]
            log.error("dnsmasq ended", status=status, words=words, again_in=pause)
            await asyncio.sleep(pause)

    async def _run_once(self, folder: Path) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *_command(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._process = process
        log.info("dnsmasq runs", interface=self._plan.interface, pid=process.pid)
        last = ""
        try:
            assert process.stderr is not None  # noqa: S101  # it is a pipe
            async for raw in process.stderr:
                last = raw.decode(errors="replace").strip()
                await self._hear(last)
            return await process.wait(), last
        finally:
            await _end(process)

    async def _hear(self, line: str) -> None:
        """Remember who was not answered."""
        found = IGNORED.search(line)
        if found is None or time.monotonic() - self._seen.get(found[1], -QUIET_SECONDS) < QUIET_SECONDS:
            return
        if len(self._seen) >= reservations.MAX_DISCOVERED:
            self._seen.clear()
        self._seen[found[1]] = time.monotonic()
        try:
            async with self._db.write() as session:
                is_new = await reservations.note_discovered(
                    session, found[1], platform="", serial="", uuid="", address=""
                )
        except Exception:  # a supervisor: DHCP goes on without the note
            log.exception("an unknown machine could not be noted", mac=found[1])
            return
        if is_new:
            log.info("unknown machine asked for an address", mac=found[1])

    async def _follow_inventory(self, folder: Path) -> None:
        """Read the inventory when something has happened to it, and now and then without that."""
        last_event, read_at = -1, 0.0
        while True:
            try:
                async with self._db.read() as session:
                    newest = await session.scalar(select(func.max(Event.id))) or 0
                if newest != last_event or time.monotonic() - read_at > LOOK_ANYWAY_EVERY:
                    last_event, read_at = newest, time.monotonic()
                    if await self._write_hosts(folder) and self._process is not None and self.pid is not None:
                        self._process.send_signal(signal.SIGHUP)
            except Exception:  # a supervisor: the next look tries again
                log.exception("the inventory could not be read")
            await asyncio.sleep(LOOK_EVERY)

    async def _write_hosts(self, folder: Path) -> bool:
        """Write who is known; says whether that has changed."""
        query = select(Nic.mac).join(Server, Server.id == Nic.server_id).order_by(Nic.mac)
        if self._location:
            query = query.join(Location, Location.id == Server.location_id).where(
                Location.name == self._location
            )
        async with self._db.read() as session:
            text = hosts((await session.scalars(query)).all())
        path = folder / "hosts"
        if path.exists() and path.read_text() == text:
            return False
        path.write_text(text)
        return True


def hosts(macs: Iterable[str]) -> str:
    """The file of known machines.

    A line needs something besides the address. It must be no tag (`set:`): dnsmasq 2.86 to 2.90 keeps tags of
    earlier requests when it reads the file again, and crashes.
    """
    return "".join(f"{mac},{LEASE_MINUTES}m\n" for mac in macs)


@contextlib.asynccontextmanager
async def dhcp_server(
    settings: Settings, db: Database, listener_url: str | None
) -> AsyncIterator[DhcpServer | None]:
    """Run dnsmasq until the block ends, where the settings name an interface for it.

    Raises SystemExit with a sentence when it cannot be run at all.
    """
    if not settings.dhcp_interface or listener_url is None:
        yield None
        return
    if shutil.which("dnsmasq") is None:
        raise SystemExit("dnsmasq is not installed, and dhcp_interface is set: apt-get install dnsmasq-base")
    try:
        plan = plan_of(settings, listener_url)
    except (ValueError, OSError) as error:
        raise SystemExit(f"DHCP: {error}") from error
    if not (plan.loaders / UEFI_LOADER).exists():
        log.warning("no iPXE for machines without it", folder=str(plan.loaders))
    server = DhcpServer(plan, db, location=settings.location)
    running = asyncio.create_task(server.run(), name="dhcp server")
    try:
        yield server
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _command(folder: Path) -> list[str]:
    """How to start a dnsmasq that ends when this process dies, whatever of, and is never root."""
    command = ["setpriv", "--pdeathsig", "TERM"]
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        command += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        command += [f"--inh-caps=-all,{CAPABILITIES}", f"--ambient-caps=-all,{CAPABILITIES}"]
    return [*command, "dnsmasq", "--keep-in-foreground", f"--conf-file={folder}/dnsmasq.conf"]


def _let_read(folder: Path) -> None:
    """Open the folder to the account that dnsmasq runs under; nothing in it is secret."""
    if os.geteuid() != 0:
        return
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)
    user = pwd.getpwnam(USER)
    os.chown(folder / "leases", user.pw_uid, user.pw_gid)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
