"""A virtual rack, and its machines in the inventory."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from rackhand.app import Services
from rackhand.cli.demo import bmc_access
from rackhand.events.service import SYSTEM
from rackhand.power.poller import Poller
from rackhand.servers import service
from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import RackThread
from rackhand.tasks.operation import Tools
from tests.conftest import Api
from tests.prove.matrix import JUDGED

TIME_SCALE = 30.0


@pytest.fixture(scope="package")
def rack() -> Iterator[RackThread]:
    with RackThread(demo_rack(4, time_scale=TIME_SCALE)) as running:
        yield running


@dataclass
class Racked:
    """The rack, its judge, and the API over servers whose numbers are the machines' places."""

    rack: RackThread
    api: Api
    poller: Poller
    begin: int

    def name(self, server_id: int) -> str:
        return self.rack.config.machines[server_id - 1].name

    def done(self, server_id: int) -> list[str]:
        """What was really done to the power of a machine since the test began."""
        log = self.rack.control.log(after=self.begin, device=self.name(server_id))
        return [event.action.value for event in log if event.action in JUDGED]

    def logged(self, server_id: int, action: str) -> int:
        log = self.rack.control.log(after=self.begin, device=self.name(server_id))
        return sum(event.action == action for event in log)

    async def power(self, server_id: int) -> str:
        return str((await self.api.get(f"/dci/v3/server/{server_id}"))["power_status"])


@pytest.fixture
async def racked(rack: RackThread, services: Services, admin: Api) -> Racked:
    """Servers 1 to 4: 1 and 3 speak IPMI, 2 and 4 Redfish. All are off and without faults."""
    rack.control.reset()
    async with services.db.write() as session:
        for machine in rack.config.machines:
            values = {"name": machine.name, "configuration": "x-64Gb-1x960SSD", "is_new": False}
            bmc = bmc_access(machine)
            await service.add_server(session, values=values, bmc=bmc, vault=services.vault, actor=SYSTEM)
    tools = Tools(services.db, services.vault, services.doors, services.settings)
    poller = Poller(tools, holder="tests")
    await poller.sweep()
    return Racked(rack, admin, poller, rack.control.last_event())
