"""A rack of real machines, the product with DHCP and boot listener in their network, and servers for the machines."""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rackhand.app import Services, serve_boot
from rackhand.boot.ipxe import KERNEL, RAMDISK
from rackhand.cli.demo import add_switches, bmc_access
from rackhand.events.service import SYSTEM
from rackhand.servers import service
from rackhand.settings import Settings
from rackhand.sim.config import MachineConfig, RackConfig
from rackhand.sim.events import Event
from rackhand.sim.real.needs import missing
from rackhand.sim.real.qemu import RealMachine
from rackhand.sim.real.rack import RealRack, real_rack_config, running_real_rack
from tests.conftest import Api

MACHINES = (
    4  # two BIOS machines with SATA disks, two UEFI machines with NVMe; of both one IPMI and one Redfish
)
RAMDISK_FOLDER = Path(os.environ.get("RACKHAND_REAL_RAMDISK") or "var/real/ramdisk")
TASK_SECONDS = 1500.0  # emulated on a busy machine

Say = Callable[[str], None]


def reason_to_skip() -> str:
    if absent := missing():
        return absent
    if os.environ.get("RACKHAND_REAL") != "1":
        return "Real machines take minutes and all processors: `make real` runs them."
    if not (RAMDISK_FOLDER / RAMDISK).exists():
        return f"There is no ramdisk in {RAMDISK_FOLDER}: `make real` makes it."
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if here and (reason := reason_to_skip()):
        for item in here:
            item.add_marker(pytest.mark.skip(reason=reason))
    for item in here:
        item.add_marker(pytest.mark.timeout(3 * TASK_SECONDS))


@pytest.fixture
def database_url() -> str:
    """SQLite alone: what is seen here does not depend on the database."""
    return ""


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Iterator[Say]:
    """Print past pytest: whoever waits for minutes wants to see what is going on."""

    def to_terminal(words: str) -> None:
        with capsys.disabled():
            print(f"\n  {words}", end="", flush=True)  # noqa: T201  # see above

    yield to_terminal
    with capsys.disabled():
        print(flush=True)  # noqa: T201


@pytest.fixture
def config() -> RackConfig:
    """The rack; disks of machines that are installed need more room."""
    return real_rack_config(MACHINES, disk_bytes=1 << 30)


@pytest.fixture
async def rack(tmp_path: Path, config: RackConfig) -> AsyncIterator[RealRack]:
    async with running_real_rack(config, tmp_path / "machines", name=f"rh{os.getpid()}") as running:
        yield running


@pytest.fixture
def settings(settings: Settings, rack: RealRack) -> Settings:
    folder = settings.data / "boot" / "ramdisk"
    folder.mkdir(parents=True)
    for name in (KERNEL, RAMDISK):
        (folder / name).write_bytes((RAMDISK_FOLDER / name).read_bytes())
    return Settings(
        data=settings.data,
        database_url=settings.database_url,
        boot_patience=120.0,
        agent_patience=600.0,
        first_boot_patience=900.0,
        **rack.settings,
    )


@dataclass
class Booting:
    """The rack, its judge, and the API over servers whose numbers are the machines' places."""

    rack: RealRack
    api: Api
    services: Services
    say: Say

    def config(self, server_id: int) -> MachineConfig:
        return self.rack.rack.config.machines[server_id - 1]

    def machine(self, server_id: int) -> RealMachine:
        return self.rack.machines[self.config(server_id).name]

    def happened(self, server_id: int, *actions: str) -> list[str]:
        """What really happened to a machine, of these *actions*."""
        name = self.config(server_id).name
        events: list[Event] = self.rack.rack.log.after(0, device=name, limit=1000)
        return [event.action.value for event in events if event.action in actions]

    async def server(self, server_id: int) -> Any:
        return await self.api.get(f"/dci/v3/server/{server_id}")

    async def run(self, server_id: int, verb: str, body: object = None) -> Any:
        """Run an operation to its end, saying how long its steps took; the task."""
        begin = time.monotonic()
        asked = await self.api.post(f"/dci/v3/server/{server_id}/{verb}", body)
        try:
            task = await self.api.finished(asked["task"], timeout=TASK_SECONDS)
        except AssertionError:
            self.say(f"console: {self.console(server_id)[-3000:]}")
            raise
        steps = ", ".join(
            f"{step['name']} {seconds:.0f}" for step in task["steps"] if (seconds := duration(step)) >= 1
        )
        self.say(f"{verb} of server {server_id}: {time.monotonic() - begin:.0f} s ({steps})")
        assert "rackhand.nonce" not in self.console(server_id), "the console shows the agent's nonce"
        if task["status"] != "complete":
            self.say(f"console: {self.console(server_id)[-3000:]}")
        return task

    def console(self, server_id: int) -> str:
        log = self.machine(server_id).console_log
        return log.read_text(errors="replace") if log.exists() else ""


def duration(step: Mapping[str, str | None]) -> float:
    """How many seconds a step took."""
    if step["started_at"] is None or step["finished_at"] is None:
        return 0.0
    return (
        datetime.fromisoformat(step["finished_at"]) - datetime.fromisoformat(step["started_at"])
    ).total_seconds()


@pytest.fixture
async def booting(rack: RealRack, services: Services, admin: Api, say: Say) -> AsyncIterator[Booting]:
    async with services.db.write() as session:
        for machine in rack.rack.config.machines:
            values = {"name": machine.name, "is_new": False, "efi": machine.boot_mode == "uefi"}
            nics = [{"mac": nic.mac, "name": nic.name} for nic in machine.nics]
            bmc = bmc_access(machine)
            await service.add_server(
                session, values=values, nics=nics, bmc=bmc, vault=services.vault, actor=SYSTEM
            )
    await add_switches(services, rack.rack.config)
    say(f"accelerator: {rack.accelerator.name}")
    async with serve_boot(services) as url:
        assert url is not None
        yield Booting(rack, admin, services, say)
