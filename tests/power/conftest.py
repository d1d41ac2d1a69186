"""Virtual racks, and their machines in the inventory."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from rackhand.app import Services
from rackhand.cli.demo import add_pdus, bmc_access
from rackhand.events.service import SYSTEM
from rackhand.power.poller import Poller
from rackhand.servers import service
from rackhand.sim.config import NO_BMC, PduKind, RackConfig, RestorePolicy
from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import RackThread
from rackhand.sim.wire import OutletView
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


# --- with PDUs

BARE = 3  # the server without a BMC


def fed_rack() -> RackConfig:
    """Four machines on two PDUs a cabinet: APC in the first, Raritan in the second. Node 3 has no BMC."""
    config = demo_rack(4, time_scale=TIME_SCALE)
    machines = tuple(
        dataclasses.replace(machine, bmc=NO_BMC, restore_policy=RestorePolicy.ALWAYS_ON, starts_on=True)
        if number == BARE
        else machine
        for number, machine in enumerate(config.machines, 1)
    )
    pdus = tuple(
        dataclasses.replace(
            pdu,
            kind=PduKind.RARITAN if pdu.rack == "rack-2" else PduKind.APC_RPDU2,
            reboot_seconds=2 * TIME_SCALE,
        )
        for pdu in config.pdus
    )
    return dataclasses.replace(config, machines=machines, pdus=pdus, cables=())


@pytest.fixture(scope="package")
def rack_with_pdus() -> Iterator[RackThread]:
    with RackThread(fed_rack()) as running:
        yield running


@dataclass
class Fed(Racked):
    """Servers with two feeds each; their outlets are found by feed."""

    def outlet(self, server_id: int, feed: str) -> OutletView:
        """The outlet of a feed as it really is."""
        return next(
            outlet
            for pdu in self.rack.control.pdus()
            for outlet in pdu.outlets
            if (outlet.machine, outlet.feed) == (self.name(server_id), feed)
        )

    def pdu(self, server_id: int, feed: str) -> str:
        """The name of the PDU of a feed."""
        return next(
            pdu.name
            for pdu in self.rack.control.pdus()
            if any((each.machine, each.feed) == (self.name(server_id), feed) for each in pdu.outlets)
        )

    def delivers(self, server_id: int) -> list[bool]:
        """Whether the outlets of feeds a and b really deliver."""
        return [self.outlet(server_id, feed).delivers for feed in ("a", "b")]

    async def cord(self, server_id: int, feed: str) -> dict[str, object]:
        """A cord as the server's row shows it."""
        row = await self.api.get(f"/dci/v3/server/{server_id}")
        return next(each for each in row["pdu_connections"] if each["feed"] == feed)

    async def outlet_path(self, server_id: int, feed: str) -> str:
        """The path of the outlet of a feed."""
        cord = await self.cord(server_id, feed)
        return f"/dci/v3/pdu/{cord['pdu_id']}/outlet/{cord['port_id']}"

    async def switch(self, server_id: int, action: str, *feeds: str) -> None:
        """Switch outlets by the API, one after the other."""
        for feed in feeds:
            task = await self.api.post(await self.outlet_path(server_id, feed), {"action": action})
            assert (await self.api.finished(task["task"]))["status"] == "complete"

    async def call(self, server_id: int, name: str, *, timeout: float = 60) -> dict[str, object]:
        """Ask for a power operation and wait for its end."""
        answer = await self.api.post(f"/dci/v3/server/{server_id}/{name}")
        return dict(await self.api.finished(answer["task"], timeout=timeout))


@pytest.fixture
async def fed(rack_with_pdus: RackThread, services: Services, admin: Api) -> Fed:
    """Servers 1 to 4 with all outlets on: 1 speaks IPMI, 2 and 4 Redfish; 3 has no BMC and is on, the rest is off."""
    rack = rack_with_pdus
    rack.control.reset()
    async with services.db.write() as session:
        for number, machine in enumerate(rack.config.machines, 1):
            values = {"name": machine.name, "configuration": "x-64Gb-1x960SSD", "is_new": False}
            bmc = None if number == BARE else bmc_access(machine)
            if bmc is not None and machine.bmc.kind == "redfish":
                bmc["settings"] = {"scheme": "http", "timeout_seconds": 1}
            await service.add_server(session, values=values, bmc=bmc, vault=services.vault, actor=SYSTEM)
    await add_pdus(services, rack.config)
    tools = Tools(services.db, services.vault, services.doors, services.settings)
    poller = Poller(tools, holder="tests")
    await poller.sweep()
    return Fed(rack, admin, poller, rack.control.last_event())
