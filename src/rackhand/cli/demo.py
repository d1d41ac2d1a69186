"""The demo: a virtual rack, the whole product, and sample data, in one process."""

import os
import secrets
import shutil
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.app import Services, open_services, run_server
from rackhand.events.service import Actor
from rackhand.ipam import places
from rackhand.servers import service as servers
from rackhand.servers.model import Location, Server
from rackhand.settings import Settings
from rackhand.sim.config import DiskConfig, MachineConfig, RackConfig
from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import running_rack
from rackhand.users import service as users
from rackhand.users.model import Role, User

ACTOR = Actor(email="demo")
# Not admin@example.com: the published call adds an account of that name.
DEFAULT_ADMIN = "operator@example.com"
CUSTOMER = "customer@example.com"
TIME_SCALE = 10.0
CONTROL_PORT = 8681
BMC_PORT = 8700
GIGA = 10**9


async def run_demo(settings: Settings, *, machines: int, reset: bool) -> None:
    """Run until a signal asks to stop; the data stays for the next time."""
    if reset and settings.data.exists():
        shutil.rmtree(settings.data)
    settings.data.mkdir(parents=True, exist_ok=True)
    config = demo_rack(machines, base_port=BMC_PORT, control_port=CONTROL_PORT, time_scale=TIME_SCALE)
    async with running_rack(config, settings.data / "rack.json") as rack, open_services(settings) as services:
        await fill(services, rack.config)
        print(f"Virtual rack: {len(config.machines)} machines; control API {rack.control_url}")
        await run_server(services)


async def fill(services: Services, rack: RackConfig) -> None:
    """Add the administrator and, once, the sample data."""
    async with services.db.write() as session:
        await _add_admin(session, services.settings.data)
        if await session.scalar(select(func.count()).select_from(Server)):
            return
        await _add_customer(session)
        await _add_machines(session, services, rack)
        await _add_networks(session)


async def _add_admin(session: AsyncSession, data: Path) -> None:
    email = os.environ.get("RACKHAND_ADMIN_EMAIL") or DEFAULT_ADMIN
    given = os.environ.get("RACKHAND_ADMIN_PASSWORD")
    user = (await session.scalars(select(User).where(User.email == email.lower()))).one_or_none()
    if user is None:
        password = given or secrets.token_urlsafe(12)
        await users.create_user(session, email=email, password=password, role=Role.ADMIN, actor=ACTOR)
        shown = "as given" if given else password
        print(f"Administrator: {email}, password: {shown}")
    elif given:
        await users.set_password(session, user, given, actor=ACTOR)
        print(f"Administrator: {email}, password: as given")
    else:
        print(
            f"Administrator: {email}, password: as before (data in {data}; `make demo RESET=1` starts anew)"
        )


async def _add_customer(session: AsyncSession) -> None:
    await users.create_user(
        session,
        email=CUSTOMER,
        password=secrets.token_urlsafe(16),
        role=Role.USER,
        full_name="A customer",
        actor=ACTOR,
    )


async def _add_machines(session: AsyncSession, services: Services, rack: RackConfig) -> None:
    location = (await session.scalars(select(Location))).first()
    location = location or await servers.add_location(session, name="demo", notes="", actor=ACTOR)
    racks = {}
    for cabinet in rack.racks:
        added = await servers.add_rack(
            session, name=cabinet.name, size=cabinet.units, notes="", location_id=location.id, actor=ACTOR
        )
        racks[cabinet.name] = added.id
    for machine in rack.machines:
        values = {
            "name": machine.name,
            "domain": f"{machine.name}.example.com",
            "configuration": _configuration(machine),
            "model": f"{machine.manufacturer} {machine.model}",
            "serial": machine.serial,
            "location_id": location.id,
            "rack_id": racks[machine.rack],
            "unit": machine.unit,
            "is_new": False,
            "efi": machine.boot_mode == "uefi",
        }
        await servers.add_server(
            session,
            values=values,
            nics=[{"mac": nic.mac, "name": nic.name, "speed_mbit": nic.speed_mbit} for nic in machine.nics],
            disks=[_disk(disk) for disk in machine.disks],
            bmc=bmc_access(machine),
            vault=services.vault,
            actor=ACTOR,
        )


async def _add_networks(session: AsyncSession) -> None:
    """Add documentation networks (RFC 5737, RFC 3849) and a pool to take addresses from."""
    for name, gateway in (("198.51.100.0/24", "198.51.100.1"), ("2001:db8:10::/64", "2001:db8:10::1")):
        await places.add_network(
            session,
            name=name,
            gateway=gateway,
            vlan="",
            note="",
            userspace_id=None,
            location_id=None,
            actor=ACTOR,
        )
    pool = await places.add_pool(
        session,
        name="public",
        note="",
        is_public=True,
        userspace_id=None,
        location_id=None,
        rack_id=None,
        actor=ACTOR,
    )
    for addresses in ("198.51.100.10-198.51.100.250", "2001:db8:10::1000-2001:db8:10::ffff"):
        await places.add_range(session, pool, addresses, actor=ACTOR)


def _configuration(machine: MachineConfig) -> str:
    """Write the hardware as the API does: `[<n>x]<CPU>-<RAM>Gb-[<n>x]<size><kind>` (api-facts 5.1)."""
    cpu = machine.cpu.split()[-1] if machine.cpus == 1 else f"{machine.cpus}x{machine.cpu.split()[-1]}"
    drives: dict[str, int] = {}
    for disk in machine.disks:
        drive = f"{disk.size_bytes // GIGA}{_kind(disk)}"
        drives[drive] = drives.get(drive, 0) + 1
    shown = [f"{number}x{drive}" if number > 1 else drive for drive, number in drives.items()]
    return "-".join([cpu, f"{machine.memory_gib}Gb", *shown])


def _kind(disk: DiskConfig) -> str:
    return disk.kind.value.upper().replace("NVME", "NVMe")


def _disk(disk: DiskConfig) -> dict[str, object]:
    return {
        "name": disk.name,
        "kind": _kind(disk),
        "size_gb": disk.size_bytes // GIGA,
        "model": disk.model,
        "serial": disk.serial,
    }


def bmc_access(machine: MachineConfig) -> dict[str, object]:
    """How the BMC of a virtual machine is reached, as the inventory takes it."""
    return {
        "driver": machine.bmc.kind.value,
        "host": machine.bmc.host,
        "port": machine.bmc.port,
        "user": machine.bmc.user,
        "password": machine.bmc.password,
        "settings": {"scheme": "http"} if machine.bmc.kind == "redfish" else {},
    }
