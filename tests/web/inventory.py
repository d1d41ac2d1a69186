"""A small data centre, so that no page of the console is empty."""

from rackhand.app import Services
from rackhand.hardware.interfaces import AdminStatus, OperStatus, Outlet, Port, PowerState, SwitchInfo
from rackhand.power import pdus
from rackhand.switches import service as switches
from tests.conftest import Api, server_body

# What a browser must show as text and never run or obey.
NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


async def fill(services: Services, admin: Api, *, servers: int = 3, name: str = "srv") -> None:
    """Add a rack with servers, a switch, a network, a pool, a VLAN; the first server is customer 2's."""
    await admin.post("/dci/v3/rack", {"name": f"A-01 {name}", "notes": name})
    for number in range(1, servers + 1):
        body = server_body(
            number,
            name=f"{name}-{number}",
            notes=f"note {name}",
            serial=f"SN{number:04}",
            disks=[{"name": "nvme0n1", "kind": "NVMe", "size_gb": 960}],
            bmc={
                "driver": "ipmi",
                "host": "127.0.0.1",
                "port": number,
                "user": "admin",
                "password": "swordfish",
            },
            rack=1,
            unit=number,
        )
        await admin.post("/dci/v3/server", body)
    await admin.post("/dci/v3/ipnet", {"name": "198.51.100.0/24", "gateway": "198.51.100.1", "note": name})
    await admin.post("/dci/v3/ippool", {"name": f"pool {name}", "is_public": True})
    await admin.post("/dci/v3/ippool/1/range", {"name": "198.51.100.10-198.51.100.99"})
    await admin.post("/dci/v3/vlan", {"vid": 120, "name": name})
    await admin.post("/dci/v3/os_image", {"name": f"image {name}"})
    await admin.post("/dci/v3/os_template", {"name": f"system {name}", "image_id": 1})
    await add_switch(services, admin)
    await add_pdu(services, admin)


async def add_pdu(services: Services, admin: Api) -> None:
    """Add a PDU of two outlets, as if it had been read, the first of them to the first server."""
    access = {"driver": "snmp", "host": "127.0.0.1", "port": 10, "password": "community"}
    added = await admin.post("/dci/v3/pdu", {"name": "pdu-1", "rack": 1, **access})
    outlets = [Outlet(number, f"out{number}", PowerState.ON, 90.0, 1.5) for number in (1, 2)]
    async with services.db.write() as session:
        await pdus.save_discovery(session, added["id"], "a PDU", outlets)
    await admin.post("/dci/v3/server/1/pdu_connection", {"pdu": added["id"], "port_identity": "1"})


async def add_switch(services: Services, admin: Api) -> None:
    """Add a switch of four ports, as if it had been read, the first of them to the first server."""
    access = {"driver": "snmp", "host": "127.0.0.1", "port": 9, "password": "community"}
    added = await admin.post("/dci/v3/switch", {"name": "sw-1", "rack": 1, "unit": 40, **access})
    ports = [
        Port(
            index=number,
            name=f"Ethernet{number}",
            description="",
            alias="",
            mac=None,
            speed_mbit=1000,
            admin_status=AdminStatus.UP,
            oper_status=OperStatus.UP if number < 3 else OperStatus.DOWN,
            access_vlan=120,
        )
        for number in range(1, 5)
    ]
    info = SwitchInfo(name="sw-1", description="a switch", uptime_seconds=60)
    async with services.db.write() as session:
        await switches.save_discovery(session, added["id"], info, ports)
    await admin.post("/dci/v3/server/1/switch_connection", {"switch": added["id"], "port": "Ethernet1"})
