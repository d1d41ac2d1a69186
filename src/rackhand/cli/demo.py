"""The demo: a virtual rack, the whole product, and sample data, in one process."""

import json
import os
import secrets
import shutil
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from rackhand.app import Services, open_services, run_server, serve_boot
from rackhand.deploy import images, templates
from rackhand.events.service import Actor
from rackhand.hardware.connect import open_pdu, open_switch
from rackhand.ipam import places
from rackhand.power import pdus
from rackhand.power.model import Outlet, Pdu
from rackhand.servers import service as servers
from rackhand.servers.access import AccessGiven, endpoint_of
from rackhand.servers.model import Location, Rack, Server
from rackhand.settings import Settings
from rackhand.sim.config import (
    BMC_PLUG,
    CableConfig,
    DiskConfig,
    MachineConfig,
    PduConfig,
    RackConfig,
    SwitchConfig,
)
from rackhand.sim.demo import CUSTOMER_VLAN, MANAGEMENT_VLAN, PROVISIONING_VLAN, demo_rack
from rackhand.sim.images import disk_image, tar_image
from rackhand.sim.netboot import write_stub_ramdisk
from rackhand.sim.rack import running_rack
from rackhand.switches import service as switches
from rackhand.switches.model import ConnectionKind, Switch, SwitchPort, VlanPurpose
from rackhand.users import service as users
from rackhand.users.model import Role, User

ACTOR = Actor(email="demo")
# Not admin@example.com: the published call adds an account of that name.
DEFAULT_ADMIN = "operator@example.com"
CUSTOMER = "customer@example.com"
TIME_SCALE = 10.0
USUAL_PORT = 8680
CONTROL_PORT = 8681
BMC_PORT = 8700
GIGA = 10**9


async def run_demo(settings: Settings, *, machines: int, reset: bool) -> None:
    """Run until a signal asks to stop; the data stays for the next time."""
    if reset and settings.data.exists():
        shutil.rmtree(settings.data)
    settings.data.mkdir(parents=True, exist_ok=True)
    write_stub_ramdisk(settings.data)
    ports = _rack_ports(settings)
    if "boot_listen" not in settings.model_fields_set:
        host, port = settings.listen_address
        settings.boot_listen = f"{host}:{port + 2}"
    config = demo_rack(
        machines, base_port=ports["devices"], control_port=ports["control"], time_scale=TIME_SCALE
    )
    async with (
        running_rack(config, settings.data / "rack.json") as rack,
        open_services(settings) as services,
        serve_boot(services) as boot_url,
    ):
        rack.boot_network.url, rack.boot_network.vlan = boot_url or "", PROVISIONING_VLAN
        await fill(services, rack.config)
        print(f"Virtual rack: {len(config.machines)} machines; control API {rack.control_url}")
        await run_server(services)


def _rack_ports(settings: Settings) -> dict[str, int]:
    """The ports of the rack: the usual ones, or some beside an unusual `listen`, so that two demos can run at once.

    They are kept with the data, for the inventory has the addresses of the devices.
    """
    file = settings.data / "rack-ports.json"
    if file.exists():
        kept: dict[str, int] = json.loads(file.read_text())
        return kept
    _, port = settings.listen_address
    ports = {"control": CONTROL_PORT, "devices": BMC_PORT}
    if port != USUAL_PORT:
        ports = {"control": port + 1, "devices": port + 20}
    file.write_text(json.dumps(ports))
    return ports


async def fill(services: Services, rack: RackConfig) -> None:
    """Add the administrator and, once, the sample data."""
    async with services.db.write() as session:
        await _add_admin(session, services.settings.data)
        if await session.scalar(select(func.count()).select_from(Server)):
            return
        await _add_customer(session)
        await _add_machines(session, services, rack)
        await _add_networks(session)
    await add_switches(services, rack)
    await add_pdus(services, rack)
    await add_systems(services)


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


async def add_switches(services: Services, rack: RackConfig) -> None:
    """Add the rack's switches with their ports, its VLANs, and its cables to the servers of these names."""
    for config in rack.switches:
        async with services.db.write() as session:
            switch = await _add_switch(session, services, config)
        endpoint = endpoint_of(switch, services.vault)
        async with open_switch(services.doors, endpoint) as device:
            info, ports = await device.info(), await device.ports()
        async with services.db.write() as session:
            await switches.save_discovery(session, switch.id, info, ports)
        async with services.db.write() as session:
            await _plug_in(session, switch, [cable for cable in rack.cables if cable.switch == config.name])
    async with services.db.write() as session:
        await _add_vlans(session, rack)


async def _add_switch(session: AsyncSession, services: Services, config: SwitchConfig) -> Switch:
    cabinet = (await session.scalars(select(Rack).where(Rack.name == config.rack))).first()
    values = {
        "name": config.name,
        "model": config.model,
        "rack_id": cabinet.id if cabinet else None,
        "unit": config.unit if cabinet else None,
        "location_id": cabinet.location_id if cabinet else None,
    }
    given = AccessGiven(
        driver="snmp",
        host=config.snmp.host,
        port=config.snmp.port,
        user="",
        password=config.snmp.read_community,
        settings={"write_community": config.snmp.write_community},
    )
    return await switches.add_switch(session, values=values, given=given, vault=services.vault, actor=ACTOR)


async def _plug_in(session: AsyncSession, switch: Switch, cables: list[CableConfig]) -> None:
    by_name = {
        server.name: server
        for server in await session.scalars(select(Server).options(selectinload(Server.nics)))
    }
    query = (
        select(SwitchPort).where(SwitchPort.switch_id == switch.id).options(selectinload(SwitchPort.switch))
    )
    ports = (await session.scalars(query.order_by(SwitchPort.if_index))).all()
    for cable in cables:
        server = by_name.get(cable.device)
        if server is None:
            continue
        is_bmc = cable.plug == BMC_PLUG
        nic = None if is_bmc else next(nic for nic in server.nics if nic.name == cable.plug)
        kind = ConnectionKind.BMC if is_bmc else ConnectionKind.DATA
        await switches.connect(
            session, port=ports[cable.port - 1], kind=kind, server=server, nic=nic, actor=ACTOR
        )


async def add_pdus(services: Services, rack: RackConfig) -> None:
    """Add the rack's PDUs with their outlets, and the cords to the servers of these names."""
    for config in rack.pdus:
        async with services.db.write() as session:
            pdu = await _add_pdu(session, services, config)
        async with open_pdu(services.doors, endpoint_of(pdu, services.vault)) as device:
            info, outlets = await device.info(), await device.outlets()
        async with services.db.write() as session:
            await pdus.save_discovery(session, pdu.id, info, outlets)
        async with services.db.write() as session:
            await _plug_in_cords(session, pdu, config)


async def _add_pdu(session: AsyncSession, services: Services, config: PduConfig) -> Pdu:
    cabinet = (await session.scalars(select(Rack).where(Rack.name == config.rack))).first()
    values = {
        "name": config.name,
        "rack_id": cabinet.id if cabinet else None,
        "location_id": cabinet.location_id if cabinet else None,
    }
    given = AccessGiven(
        driver="snmp",
        host=config.snmp.host,
        port=config.snmp.port,
        user="",
        password=config.snmp.read_community,
        settings={"write_community": config.snmp.write_community},
    )
    return await pdus.add_pdu(session, values=values, given=given, vault=services.vault, actor=ACTOR)


async def _plug_in_cords(session: AsyncSession, pdu: Pdu, config: PduConfig) -> None:
    by_name = {server.name: server for server in await session.scalars(select(Server))}
    query = select(Outlet).where(Outlet.pdu_id == pdu.id)
    query = query.options(selectinload(Outlet.pdu)).order_by(Outlet.number)
    for outlet, given in zip(await session.scalars(query), config.outlets, strict=True):
        server = by_name.get(given.machine or "")
        if server is not None:
            await pdus.connect(session, outlet=outlet, server=server, feed=given.feed or "", actor=ACTOR)


async def _add_vlans(session: AsyncSession, rack: RackConfig) -> None:
    purposes = {
        PROVISIONING_VLAN: VlanPurpose.PROVISIONING,
        CUSTOMER_VLAN: VlanPurpose.OTHER,
        MANAGEMENT_VLAN: VlanPurpose.OTHER,
    }
    vlans = {vlan.id: vlan.name for switch in rack.switches for vlan in switch.vlans}
    for vid, name in sorted(vlans.items()):
        purpose = purposes.get(vid, VlanPurpose.CUSTOMER)
        await switches.add_vlan(
            session, location_id=None, vid=vid, name=name, purpose=purpose, owner_id=None, actor=ACTOR
        )


async def add_systems(services: Services) -> None:
    """Add images that machines of the rack can start, and templates over them."""
    folder = services.settings.data / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    for name, group, content, source in (
        ("Example Linux 12", "example", tar_image("Example Linux 12"), "tar.zst"),
        ("Example Appliance 3", "appliance", disk_image("Example Appliance 3"), "raw"),
    ):
        async with services.db.write() as session:
            image = await images.add_image(
                session,
                services.settings,
                name=name.lower().replace(" ", "-"),
                source_format=source,
                sha256="",
                minisig="",
                notes="made by the demo; only machines of the virtual rack start it",
                actor=ACTOR,
            )
            image_id = image.id
        file = folder / f"demo-{image_id}"
        file.write_bytes(content)
        await images.take_file(services.db, services.settings, image_id, file, actor=ACTOR)
        file.unlink()
        values = {"name": name, "os_group": group, "image_id": image_id, "tags": ["demo"]}
        async with services.db.write() as session:
            await templates.add_template(session, values, actor=ACTOR)


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
