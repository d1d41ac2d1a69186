"""Machines that boot over the network, the product with its boot listener, and servers for the machines."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from rackhand.app import Services, serve_boot
from rackhand.boot.model import AgentSession, BootReservation
from rackhand.cli.demo import add_switches, bmc_access
from rackhand.events.service import SYSTEM
from rackhand.servers import service
from rackhand.settings import Settings
from rackhand.sim.config import MachineConfig
from rackhand.sim.demo import PROVISIONING_VLAN, demo_rack
from rackhand.sim.netboot import write_stub_ramdisk
from rackhand.sim.rack import RackThread
from tests.conftest import Api

TIME_SCALE = 600.0


@pytest.fixture(scope="package")
def rack() -> Iterator[RackThread]:
    with RackThread(demo_rack(6, time_scale=TIME_SCALE)) as running:
        yield running


@pytest.fixture
def settings(settings: Settings) -> Settings:
    write_stub_ramdisk(settings.data)
    return settings.model_copy(
        update={"boot_listen": "127.0.0.1:0", "boot_patience": 5.0, "agent_patience": 20.0, "wipe_hours": 1.0}
    )


@dataclass
class Deploying:
    """The rack, its judge, and the API over servers whose numbers are the machines' places."""

    rack: RackThread
    api: Api
    services: Services
    url: str
    begin: int

    def machine(self, server_id: int) -> MachineConfig:
        return self.rack.config.machines[server_id - 1]

    def done(self, server_id: int, *actions: str) -> list[str]:
        """What really happened to a machine since the test began, of these *actions*."""
        log = self.rack.control.log(after=self.begin, device=self.machine(server_id).name)
        return [event.action.value for event in log if event.action in actions]

    async def start(self, server_id: int, verb: str, body: object = None) -> int:
        task: int = (await self.api.post(f"/dci/v3/server/{server_id}/{verb}", body))["task"]
        return task

    async def finish(self, server_id: int, verb: str, body: object = None, *, timeout: float = 60) -> Any:
        """Start an operation and wait for its end."""
        return await self.api.finished(await self.start(server_id, verb, body), timeout=timeout)

    async def until(self, task: int, step: str, *, waits_for: str = "") -> None:
        """Wait until a task is at *step*, and waits for something with these words."""
        for _ in range(600):
            shown = await self.api.get(f"/dci/v3/task/{task}")
            states = {each["name"]: each["status"] for each in shown["steps"]}
            reason = (shown["waiting"] or {}).get("for") or ""
            if states[step] in {"running", "waiting"} and waits_for in reason:
                return
            assert shown["finished_at"] is None, shown
            await asyncio.sleep(0.05)
        raise AssertionError(f"task {task} never came to {step}")

    async def settled(self, server_id: int) -> None:
        """See that nothing is left behind: no reservation, no agent, and the ports are where they were."""
        async with self.services.db.read() as session:
            reservations = (await session.scalars(select(BootReservation.id))).all()
            agents = (
                await session.scalars(select(AgentSession.id).where(AgentSession.ended_at.is_(None)))
            ).all()
        assert (list(reservations), list(agents)) == ([], [])
        assert self.rack.rack is not None
        machine = self.machine(server_id)
        for nic in machine.nics:
            assert self.rack.rack.network.vlan_of(machine.name, nic.name) in {1, None}
        for connection in (await self.server(server_id))["switch_connection"]:
            assert connection["admin_status"] == "up"

    async def server(self, server_id: int) -> Any:
        return await self.api.get(f"/dci/v3/server/{server_id}")


async def fill(services: Services, rack: RackThread) -> None:
    """Servers 1 to 6, of three configurations; odd ones speak IPMI, even ones Redfish. All are off, hardly known."""
    async with services.db.write() as session:
        for machine in rack.config.machines:
            values = {"name": machine.name, "is_new": False, "efi": machine.boot_mode == "uefi"}
            nics = [{"mac": nic.mac, "name": nic.name} for nic in machine.nics]
            bmc = bmc_access(machine)
            await service.add_server(
                session, values=values, nics=nics, bmc=bmc, vault=services.vault, actor=SYSTEM
            )
    await add_switches(services, rack.config)


def start_anew(rack: RackThread) -> None:
    """Machines as configured, and disks as their last user left them."""
    rack.control.reset()
    assert rack.rack is not None
    for machine in rack.rack.machines.values():
        rack.rack.boot_network.attach(machine)


@pytest.fixture
async def deploying(rack: RackThread, services: Services, admin: Api) -> AsyncIterator[Deploying]:
    """The servers of `fill`, and a boot listener that their machines are told of."""
    start_anew(rack)
    await fill(services, rack)
    async with serve_boot(services) as url:
        assert url is not None
        rack.control.set_boot_server(url, vlan=PROVISIONING_VLAN)
        yield Deploying(rack, admin, services, url, rack.control.last_event())
        rack.control.set_boot_server("")
        rack.control.reset()
