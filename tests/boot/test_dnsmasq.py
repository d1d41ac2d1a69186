"""DHCP for machines that boot: what dnsmasq is told, and what a real one answers on a real cable."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import select

from rackhand.app import Services
from rackhand.boot.dnsmasq import DhcpPlan, DhcpRange, DhcpServer, dhcp_server, interface_address
from rackhand.boot.model import DiscoveredMachine
from rackhand.events.service import SYSTEM
from rackhand.servers import service
from rackhand.servers.model import Location
from rackhand.settings import Settings
from tests.boot import dhcp_client
from tests.boot.dhcp_client import ACK, BIOS, OFFER, REQUEST, SERVER, UEFI, Cable
from tests.hardware.bridge import run

T = TypeVar("T")

KNOWN, UNKNOWN = "00:00:5e:00:53:01", "00:00:5e:00:53:99"
URL = f"http://{SERVER}:8682"
RANGES = "203.0.113.100-203.0.113.199/24@203.0.113.1,198.51.100.20-198.51.100.30/27@198.51.100.1"
NO_ADDRESS = str(IPv4Address(0))
EVERYWHERE = f"http://{NO_ADDRESS}:8682"
PATIENCE = 20.0

on_a_cable = pytest.mark.skipif(bool(reason := dhcp_client.missing()), reason=reason or "nothing")


# --- what it is told


def plan(**changes: object) -> DhcpPlan:
    values: dict[str, object] = {
        "interface": "prov0",
        "ranges": tuple(map(DhcpRange.parse, RANGES.split(","))),
        "boot_url": URL,
        "loaders": Path("/usr/lib/ipxe"),
    }
    return DhcpPlan(**(values | changes))  # type: ignore[arg-type]  # by name


def test_configuration_of_a_server_with_a_relayed_subnet() -> None:
    assert plan().render(Path("/run/x")) == textwrap.dedent("""\
        port=0
        interface=prov0
        except-interface=lo
        bind-interfaces
        log-facility=-
        pid-file=
        dhcp-leasefile=/run/x/leases/leases
        dhcp-lease-max=100000
        dhcp-hostsfile=/run/x/hosts
        dhcp-ignore-clid
        no-ping
        enable-tftp
        tftp-root=/usr/lib/ipxe
        dhcp-match=set:bios,option:client-arch,0
        dhcp-match=set:uefi,option:client-arch,7
        dhcp-match=set:uefi,option:client-arch,9
        dhcp-match=set:ipxe,175
        dhcp-userclass=set:ipxe,iPXE
        dhcp-ignore=tag:!known
        dhcp-range=set:range0,203.0.113.100,203.0.113.199,255.255.255.0,60m
        dhcp-option=tag:range0,option:router,203.0.113.1
        dhcp-range=set:range1,198.51.100.20,198.51.100.30,255.255.255.224,60m
        dhcp-option=tag:range1,option:router,198.51.100.1
        dhcp-boot=tag:bios,tag:!ipxe,undionly.kpxe
        dhcp-boot=tag:uefi,tag:!ipxe,snponly.efi
        dhcp-boot=tag:ipxe,http://203.0.113.1:8682/boot/ipxe?mac=${netX/mac}&platform=${platform}&arch=${buildarch}&uuid=${uuid}&serial=${serial:uristring}
        dhcp-authoritative
        enable-ra
        ra-param=prov0,0,0
        dhcp-range=::,constructor:prov0,ra-only
        """)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "203.0.113.100",
        "203.0.113.100-203.0.113.199",
        "203.0.113.199-203.0.113.100/24",
        "203.0.113.100-198.51.100.1/24",
        "203.0.113.100-203.0.113.199/24@198.51.100.1",
        "203.0.113.100-203.0.113.199/33",
        "203.0.113.100-203.0.113.999/24",
        "203.0.113.100-203.0.113.199/24\nlog-dhcp",
    ],
)
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        DhcpRange.parse(text)


# --- what it answers


@pytest.fixture
def cable() -> Iterator[Cable]:
    with dhcp_client.cable() as laid:
        yield laid


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    if "cable" not in request.fixturenames:
        return settings
    laid: Cable = request.getfixturevalue("cable")
    return settings.model_copy(
        update={"dhcp_interface": laid.interface, "dhcp_ranges": RANGES.split(","), "boot_url": URL}
    )


async def add_server(services: Services, mac: str) -> None:
    async with services.db.write() as session:
        if await session.scalar(select(Location.id)) is None:
            await service.add_location(session, name="ams1", notes="", actor=SYSTEM)
        values = {"name": f"node-{mac[-2:]}"}
        nics = [{"mac": mac}]
        await service.add_server(session, values=values, nics=nics, vault=services.vault, actor=SYSTEM)


@pytest.fixture
async def dhcp(services: Services) -> AsyncIterator[DhcpServer]:
    await add_server(services, KNOWN)
    async with dhcp_server(services.settings, services.db, URL) as server:
        assert server is not None
        yield server


async def until(question: Callable[[], T | None]) -> T:
    """Ask in a thread until there is an answer."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < end:
        answer = await asyncio.to_thread(question)
        if answer:
            return answer
    raise AssertionError("no answer")


@on_a_cable
async def test_known_machine_gets_an_address_and_the_loader_of_its_firmware(
    cable: Cable, dhcp: DhcpServer
) -> None:
    offer = await until(lambda: cable.firmware.ask(KNOWN, architecture=BIOS))
    assert offer.kind == OFFER
    assert IPv4Address(offer.address) in range_of(0)
    assert (offer.boot_file, offer.next_server) == ("undionly.kpxe", SERVER)
    uefi = await until(lambda: cable.firmware.ask(KNOWN, architecture=UEFI))
    assert uefi.boot_file == "snponly.efi"
    assert uefi.address == offer.address


@on_a_cable
async def test_ipxe_is_sent_to_the_boot_listener_with_what_it_shall_say(
    cable: Cable, dhcp: DhcpServer
) -> None:
    for architecture in (BIOS, UEFI):
        offer = await until(partial(cable.firmware.ask, KNOWN, architecture=architecture, is_ipxe=True))
        assert offer.boot_file.startswith(f"{URL}/boot/ipxe?mac=${{netX/mac}}&platform=${{platform}}&")


@on_a_cable
async def test_lease_names_router_and_mask_of_its_subnet(cable: Cable, dhcp: DhcpServer) -> None:
    wanted = await until(lambda: cable.firmware.ask(KNOWN))
    chosen = bytes((50, 4)) + IPv4Address(wanted.address).packed + bytes((54, 4)) + IPv4Address(SERVER).packed
    ack = await until(lambda: cable.firmware.ask(KNOWN, kind=REQUEST, more=chosen))
    assert ack.kind == ACK
    assert ack.address == wanted.address
    assert ack.options[1] == bytes((255, 255, 255, 0))
    assert ack.options[3] == IPv4Address("203.0.113.1").packed


@on_a_cable
async def test_request_through_a_relay_gets_an_address_of_the_relays_subnet(
    cable: Cable, dhcp: DhcpServer
) -> None:
    run("ip", "-n", cable.interface, "address", "add", "198.51.100.1/27", "dev", "eth0")
    run("ip", "-n", cable.interface, "route", "add", "203.0.113.0/24", "dev", "eth0")
    run("ip", "route", "add", "198.51.100.0/27", "dev", cable.interface)
    offer = await until(lambda: cable.firmware.ask(KNOWN, relay="198.51.100.1"))
    assert IPv4Address(offer.address) in range_of(1)
    assert offer.options[3] == IPv4Address("198.51.100.1").packed


@on_a_cable
async def test_unknown_machine_is_not_answered_but_noted_and_answered_once_it_is_known(
    cable: Cable, services: Services, dhcp: DhcpServer
) -> None:
    await until(lambda: cable.firmware.ask(KNOWN))  # it is up
    pid = dhcp.pid
    assert await asyncio.to_thread(cable.firmware.ask, UNKNOWN) is None
    async with services.db.read() as session:
        assert (await session.scalars(select(DiscoveredMachine.mac))).all() == [UNKNOWN]
    await add_server(services, UNKNOWN)
    offer = await until(lambda: cable.firmware.ask(UNKNOWN))
    assert IPv4Address(offer.address) in range_of(0)
    assert dhcp.pid == pid


@on_a_cable
async def test_settings_can_have_everybody_answered(cable: Cable, services: Services) -> None:
    settings = services.settings.model_copy(update={"dhcp_unknown": True})
    async with dhcp_server(settings, services.db, URL):
        assert (await until(lambda: cable.firmware.ask(UNKNOWN))).kind == OFFER


@on_a_cable
async def test_beside_another_dhcp_server_it_gives_no_address_and_says_what_to_boot(
    cable: Cable, services: Services
) -> None:
    await add_server(services, KNOWN)
    settings = services.settings.model_copy(update={"dhcp_proxy": True})
    async with dhcp_server(settings, services.db, URL):
        ipxe = await until(lambda: cable.firmware.ask(KNOWN, is_ipxe=True))
        assert (ipxe.address, ipxe.boot_file.partition("?")[0]) == (NO_ADDRESS, f"{URL}/boot/ipxe")
        uefi = await until(lambda: cable.firmware.ask(KNOWN, architecture=UEFI))
        assert (uefi.address, uefi.options[60]) == (NO_ADDRESS, b"PXEClient")
        assert await asyncio.to_thread(cable.firmware.ask, UNKNOWN, is_ipxe=True) is None


@on_a_cable
@pytest.mark.skipif(not Path("/usr/lib/ipxe/snponly.efi").exists(), reason="not installed: ipxe")
async def test_loaders_are_served_by_tftp_and_nothing_else_is(cable: Cable, dhcp: DhcpServer) -> None:
    await until(lambda: cable.firmware.ask(KNOWN))
    run("ip", "-n", cable.interface, "address", "add", "203.0.113.100/24", "dev", "eth0")
    for name in ("undionly.kpxe", "snponly.efi"):
        content = await asyncio.to_thread(cable.firmware.fetch, name)
        assert content == (Path("/usr/lib/ipxe") / name).read_bytes()
    for name in ("/etc/passwd", "../../../etc/passwd"):
        with pytest.raises(OSError, match=r"[Aa]ccess|not found"):
            await asyncio.to_thread(cable.firmware.fetch, name)


# --- how it lives


@on_a_cable
async def test_a_dnsmasq_that_dies_is_started_again(cable: Cable, dhcp: DhcpServer) -> None:
    first = await until(lambda: dhcp.pid)
    os.kill(first, signal.SIGKILL)
    await until(lambda: dhcp.pid not in {None, first})
    assert (await until(lambda: cable.firmware.ask(KNOWN))).kind == OFFER


@on_a_cable
async def test_it_is_not_root_and_ends_with_its_block(cable: Cable, services: Services) -> None:
    async with dhcp_server(services.settings, services.db, URL) as server:
        assert server is not None
        pid = await until(lambda: server.pid)
        assert await until(lambda: runs_dnsmasq(pid))
        assert user_of(pid) != 0
    assert not runs_dnsmasq(pid)


def runs_dnsmasq(pid: int) -> bool:
    """Whether a process is a dnsmasq that runs; one that has ended has no command line any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"dnsmasq\0")
    except FileNotFoundError:
        return False


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from rackhand.boot.dnsmasq import dhcp_server
from rackhand.db import Database
from rackhand.settings import Settings

async def main():
    settings = Settings(data=Path(sys.argv[1]), dhcp_interface=sys.argv[2],
                        dhcp_ranges=["203.0.113.100-203.0.113.199/24"], boot_url="http://203.0.113.1:8682")
    db = Database(settings.database)
    await db.migrate()
    async with dhcp_server(settings, db, settings.boot_url) as server:
        while server.pid is None:
            await asyncio.sleep(0.05)
        print(server.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@on_a_cable
def test_it_ends_when_the_manager_is_killed(cable: Cable, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path), cable.interface]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as manager:
        try:
            assert manager.stdout is not None
            pid = next(
                int(line) for line in manager.stdout if line.strip().isdigit()
            )  # behind lines of the log
            asyncio.run(until(lambda: runs_dnsmasq(pid)))
        finally:
            manager.kill()
    asyncio.run(until(lambda: not runs_dnsmasq(pid)))


def test_settings_that_cannot_work_are_told_at_the_start(services: Services) -> None:
    async def start(**update: object) -> None:
        settings = services.settings.model_copy(update=update)
        async with dhcp_server(settings, services.db, EVERYWHERE):
            raise AssertionError("it was started")

    if shutil.which("dnsmasq") is None:
        pytest.skip("not installed: dnsmasq-base")
    with pytest.raises(SystemExit, match="Interface nothing0 has no IPv4 address"):
        asyncio.run(start(dhcp_interface="nothing0", dhcp_ranges=[]))
    with pytest.raises(SystemExit, match=r"'203.0.113.1' is not in the form"):
        asyncio.run(start(dhcp_interface="lo", dhcp_ranges=["203.0.113.1"]))


def test_address_of_an_interface_is_found() -> None:
    assert interface_address("lo") == IPv4Address("127.0.0.1")


def range_of(number: int) -> list[IPv4Address]:
    given = DhcpRange.parse(RANGES.split(",")[number])
    return [IPv4Address(each) for each in range(int(given.first), int(given.last) + 1)]
