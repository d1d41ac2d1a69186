"""A virtual rack with a switch; its machines and cables in the inventory."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from rackhand.app import Services
from rackhand.cli.demo import add_switches, bmc_access
from rackhand.events.service import SYSTEM
from rackhand.servers import service as servers
from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import RackThread
from rackhand.switches.sweep import SwitchSweep
from rackhand.tasks.operation import Tools
from tests.conftest import Api


@pytest.fixture(scope="package")
def rack() -> Iterator[RackThread]:
    with RackThread(demo_rack(3, time_scale=30)) as running:
        yield running


@dataclass
class Wired:
    """The rack, the API over servers whose numbers are the machines' places, and a sweep that tests run themselves."""

    rack: RackThread
    api: Api
    sweep: SwitchSweep

    def name(self, server_id: int) -> str:
        """The machine of a server."""
        return self.rack.config.machines[server_id - 1].name

    async def ports(self, server_id: int) -> list[dict[str, object]]:
        """The data ports of a server as the API shows them in its row."""
        row = await self.api.get(f"/dci/v3/server/{server_id}")
        return [each for each in row["switch_connection"] if not each["is_ipmi_connection"]]


@pytest.fixture
async def wired(rack: RackThread, services: Services, admin: Api) -> Wired:
    """Servers 1 to 3, plugged in as written down; all machines are off and nothing is faulty."""
    rack.control.reset()
    async with services.db.write() as session:
        for machine in rack.config.machines:
            await servers.add_server(
                session,
                values={"name": machine.name, "configuration": "x-64Gb-1x960SSD", "is_new": False},
                nics=[
                    {"mac": nic.mac, "name": nic.name, "speed_mbit": nic.speed_mbit} for nic in machine.nics
                ],
                bmc=bmc_access(machine),
                vault=services.vault,
                actor=SYSTEM,
            )
    await add_switches(services, rack.config)
    tools = Tools(services.db, services.vault, services.doors, services.settings)
    return Wired(rack, admin, SwitchSweep(tools, holder="tests"))
