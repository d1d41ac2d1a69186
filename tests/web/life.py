"""A month in the life of the demo, through the API: customers, addresses, wipes, failures, and what meters read."""

import asyncio
import math
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from sqlalchemy import delete, select, update

from rackhand.cli.demo import CUSTOMER, DEFAULT_ADMIN
from rackhand.events.model import Event
from rackhand.power import energy
from rackhand.power import samples as energy_samples
from rackhand.power.model import EnergySample, OutletConnection
from rackhand.sim.client import AsyncRackControl
from rackhand.switches import samples as traffic_samples
from rackhand.switches import service as switches
from rackhand.switches import traffic
from rackhand.switches.model import Connection, ConnectionKind, SwitchPort, TrafficSample
from tests.conftest import PASSWORD
from tests.web.site import Site

DAYS = 24
FIVE_MINUTES, DAY = 300, 86400
SHOWN = 3  # the server whose pages are shown, of the customer whom the demo has
CUSTOMERS = ("hosting@example.net", "games@example.org", "backup@example.net", "shop@example.com")
RENTED = 56
BROKEN_BMC, REFUSING, QUARANTINED, MAINTAINED, INSTALLED = 22, 18, 27, 75, 12


@dataclass
class Caller:
    """An administrator who calls the API."""

    http: httpx.AsyncClient

    async def post(self, path: str, **body: Any) -> Any:
        """Call, and read the answer."""
        response = await self.http.post(f"/api/dci/v3/{path}", json=body)
        assert response.status_code == httpx.codes.OK, (path, response.text)
        return response.json()

    async def get(self, path: str) -> Any:
        """Read."""
        response = await self.http.get(f"/api/dci/v3/{path}")
        assert response.status_code == httpx.codes.OK, (path, response.text)
        return response.json()

    async def finish(self, tasks: Iterable[Any], *, seconds: float = 120) -> None:
        """Wait for tasks that an answer named."""
        for answer in tasks:
            await self.reach(
                "task/{}".format(answer["task"]),
                lambda task: task["finished_at"] is not None,
                seconds=seconds,
            )

    async def reach(self, path: str, wanted: Any, *, seconds: float = 120) -> None:
        """Wait for something to be as *wanted*."""
        end = time.monotonic() + seconds
        while not wanted(found := await self.get(path)):
            assert time.monotonic() < end, found
            await asyncio.sleep(0.3)


async def live(site: Site) -> int:
    """Fill everything that pages show; return the number of an installation that is still writing the disk."""
    async with httpx.AsyncClient(base_url=site.url, timeout=60) as http:
        signed_in = await http.post(
            "/api/auth/v4/public/token", json={"email": DEFAULT_ADMIN, "password": PASSWORD}
        )
        http.headers["x-xsrf-token"] = signed_in.json()["token"]
        caller = Caller(http)
        await caller.post("location/1", name="Hall 1")
        await look_and_wipe(caller)
        await rent(caller)
        await name_networks(caller)
        await read_meters(site)
        await break_things(caller, site)
        return await begin_installation(caller)


async def look_and_wipe(caller: Caller) -> None:
    """See what is in two servers and wipe one, as before somebody rents them."""
    for number in (SHOWN, INSTALLED):
        await caller.finish([await caller.post(f"server/{number}/operation_diag")])
    await caller.finish([await caller.post(f"server/{SHOWN}/operation_clear_hdd", clear_hdd="full")])


async def rent(caller: Caller) -> None:
    """Give servers with addresses to customers, and switch most of them on."""
    owners = [
        (await caller.post("user", email=email, password=PASSWORD, role="@user"))["id"] for email in CUSTOMERS
    ]
    customer = next(user["id"] for user in (await caller.get("user"))["list"] if user["email"] == CUSTOMER)
    chance = random.Random(7)  # noqa: S311  # the same pictures every time
    started = []
    for number in range(1, RENTED + 1):
        mine = number in {SHOWN, 4, INSTALLED}
        owner = customer if mine else chance.choice(owners)
        if number not in {BROKEN_BMC, QUARANTINED}:
            await caller.post(f"server/{number}/owner", owner=owner)
            for _ in range(chance.choice((1, 1, 2, 4))):
                started.append(await caller.post(f"server/{number}/ip", family="ipv4"))  # noqa: PERF401
        if chance.random() < 0.9 or mine:
            started.append(await caller.post(f"server/{number}/power_on"))
    await caller.post(f"server/{SHOWN}/ip", family="ipv6")
    await caller.finish(started)
    for pdu in (await caller.get("pdu"))["list"]:
        await caller.post(f"pdu/{pdu['id']}/discover")
    for number in range(RENTED + 1, RENTED + 9):
        await caller.post(f"server/{number}/power_on")


async def name_networks(caller: Caller) -> None:
    """Keep some addresses back, and say what networks are for."""
    await caller.post("ipnet/1", note="customers, hall 1")
    await caller.post("ipnet/2", note="customers, IPv6")
    for address in ("198.51.100.2", "198.51.100.3", "198.51.100.254"):
        await caller.post("ip", name=address, domain="router.example.com")


async def break_things(caller: Caller, site: Site) -> None:
    """Make a BMC silent and another one refuse, flag a port, put servers aside."""
    rack = AsyncRackControl(site.rack.control_url)
    try:
        await rack.fault_on(f"node-{BROKEN_BMC:03}", "unplugged")
        await rack.fault_on(f"node-{REFUSING:03}", "refuse_power")
    finally:
        await rack.close()
    await caller.finish([await caller.post(f"server/{REFUSING}/power_off")])
    await caller.reach(f"server/{BROKEN_BMC}", lambda server: server["power_unreachable_since"] is not None)
    await caller.post(f"server/{QUARANTINED}/quarantine", reason="disk 2 failed its wipe")
    await caller.post(f"server/{MAINTAINED}/maintenance", value=True)
    ports = (await caller.get("switch/1/port"))["list"]
    for port in ports[-2:]:
        await caller.post(f"switch/1/port/{port['id']}", is_uplink=True)
    async with site.services.db.write() as session:
        words = "sw-1 port Ethernet1/14 was to be put back to VLAN 20 and shows VLAN 1."
        await switches.flag_port(session, ports[13]["id"], words)
    await caller.post("switch/1/port/{}/connection".format(ports[66]["id"]), device_name="console server")


async def read_meters(site: Site) -> None:
    """Write what ports and outlets of a server counted this month, as sweeps would have done."""
    now = int(time.time()) // FIVE_MINUTES * FIVE_MINUTES
    begin = now - DAYS * DAY
    then = datetime.fromtimestamp(begin - DAY, UTC)
    moments = range(begin, now + 1, FIVE_MINUTES)
    async with site.services.db.write() as session:
        await session.execute(delete(TrafficSample))
        await session.execute(delete(EnergySample))
        await session.execute(update(Connection).values(created_at=then))
        await session.execute(update(OutletConnection).values(created_at=then))
        await session.execute(update(Event).where(Event.kind == "server.owner_given").values(at=then))
        query = select(SwitchPort.id).join(Connection).where(Connection.server_id == SHOWN)
        ports = await session.scalars(query.where(Connection.kind == ConnectionKind.DATA))
        for seed, port_id in enumerate(ports):
            octets_in = octets_out = 0
            uptime = 40 * DAY
            for moment, busy in zip(moments, wave(moments, seed), strict=True):
                octets_in += int(busy * 900e6 / 8 * FIVE_MINUTES / (1 + seed * 20))
                octets_out += int(busy * 210e6 / 8 * FIVE_MINUTES / (1 + seed * 20))
                reading = traffic.Sample(moment, octets_in, octets_out, uptime + moment - begin, 64)
                await traffic_samples.save_readings(session, [traffic_samples.Reading(port_id, reading)])
        cords = await session.execute(
            select(OutletConnection.outlet_id, OutletConnection.id).where(OutletConnection.server_id == SHOWN)
        )
        for seed, (outlet_id, connection_id) in enumerate(cords):
            counted, before = 120_000.0, None
            for moment, busy in zip(moments, wave(moments, 5 + seed), strict=True):
                watts = int(52 + 68 * busy)
                counted += watts * FIVE_MINUTES / 3600
                sample = energy.Sample(moment, int(counted), watts)
                drawn = energy_samples.Reading(outlet_id, connection_id, begin - DAY, before, sample)
                await energy_samples.save_readings(session, [drawn])
                before = sample


def wave(moments: Iterable[int], seed: int) -> Iterable[float]:
    """How busy a server is, from 0 to 1: by day, more at the end of a week, never twice the same."""
    chance = random.Random(seed)  # noqa: S311
    drift = 0.0
    for moment in moments:
        drift = 0.96 * drift + chance.gauss(0, 0.03)
        day = (1 - math.cos(2 * math.pi * (moment % DAY) / DAY)) / 2
        week = 0.85 + 0.15 * math.sin(2 * math.pi * moment / (7 * DAY))
        yield min(1.0, max(0.04, 0.15 + 0.6 * day * week + drift))


async def begin_installation(caller: Caller) -> int:
    """Install a system, and come back when it is being written."""
    body = {
        "os_template_id": 1,
        "password": "3vergreen-Tunnel",
        "hdd_raid": "raid1",
        "domain": "db1.example.com",
    }
    task: int = (await caller.post(f"server/{INSTALLED}/operation_os", **body))["task"]
    await caller.reach(f"task/{task}", is_writing)
    return task


def is_writing(task: Any) -> bool:
    """Whether an installation has come to the disk, or is over before anybody looked."""
    writing = [step for step in task["steps"] if step["name"] == "write_image" and step["started_at"]]
    return bool(writing) or task["finished_at"] is not None
