"""Installing Debian on machines that really boot, until its SSH server lets in who has the key."""

import asyncio
import dataclasses
import os
import subprocess
import time
from pathlib import Path

import pytest

from rackhand.deploy import images
from rackhand.events.service import SYSTEM
from rackhand.sim.config import BootMode, DiskKind, RackConfig
from rackhand.sim.faults import Fault
from rackhand.sim.real.rack import real_rack_config
from tests.real.conftest import MACHINES, Booting

IMAGE = Path(os.environ.get("RACKHAND_REAL_IMAGE") or "var/real/debian-12.tar.zst")
BIOS_IPMI, UEFI_REDFISH = 1, 4
DISK_BYTES = 4 << 30
SSH_SECONDS = 240
NO_ANSWER = 255  # what ssh(1) ends with when it is not the command that failed
HOST = "web.example.com"
PASSWORD = "glimmering otter 7"

pytestmark = pytest.mark.skipif(
    not IMAGE.exists(),
    reason=f"There is no {IMAGE}: `rackhand image build debian-12 --lean --out {IMAGE}` makes it.",
)


@pytest.fixture
def config() -> RackConfig:
    """The kernel for clouds, which makes the image small, has no driver for SATA: all disks are NVMe."""
    rack = real_rack_config(MACHINES, disk_bytes=DISK_BYTES)
    machines = tuple(
        dataclasses.replace(
            machine, disks=tuple(dataclasses.replace(disk, kind=DiskKind.NVME) for disk in machine.disks)
        )
        for machine in rack.machines
    )
    return dataclasses.replace(rack, machines=machines)


@pytest.fixture
async def template(booting: Booting) -> int:
    """A template over the image, which is added as from a file of this machine; its number."""
    services = booting.services
    async with services.db.write() as session:
        image = await images.add_image(
            session, services.settings, name="debian-12", source_format="tar.zst", sha256="", minisig="", notes="",
            actor=SYSTEM,
        )  # fmt: skip
        number = image.id
    await images.take_file(services.db, services.settings, number, IMAGE, actor=SYSTEM)
    added = await booting.api.post("/dci/v3/os_template", {"name": "Debian 12", "image_id": number})
    found: int = added["id"]
    return found


@dataclasses.dataclass(frozen=True)
class Key:
    """A customer's SSH key."""

    path: Path

    @property
    def public(self) -> str:
        return self.path.with_suffix(".pub").read_text().strip()

    async def run(self, address: str, command: str) -> str:
        """Sign in as root, as soon as somebody answers, and run *command*."""
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "LogLevel=ERROR",
            "ConnectTimeout=10",
        ]
        given = [word for option in options for word in ("-o", option)]
        argv = ["ssh", "-i", str(self.path), *given, f"root@{address}", command]
        deadline = time.monotonic() + SSH_SECONDS
        while True:
            done = await asyncio.to_thread(
                subprocess.run, argv, capture_output=True, text=True, check=False, timeout=2 * SSH_SECONDS
            )
            if done.returncode != NO_ANSWER or time.monotonic() > deadline:
                break
            await asyncio.sleep(2)
        assert done.returncode == 0, (done.returncode, done.stderr, done.stdout)
        return done.stdout


@pytest.fixture
def key(tmp_path: Path) -> Key:
    path = tmp_path / "key"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "laptop", "-f", str(path)]
    subprocess.run(argv, check=True)
    return Key(path)


async def install(booting: Booting, template: int, key: Key, number: int, raid: str) -> str:
    """Install a server for a customer and look around in it over SSH; its address."""
    address = f"198.51.100.{10 + number}"
    await booting.api.post(
        "/ip/v3/userspace/public/ipnet", {"name": "198.51.100.0/24", "gateway": "198.51.100.1"}
    )
    await booting.api.post(f"/dci/v3/server/{number}/ip", {"ip_name": address, "set_as_main_ipv4": True})
    disks = [
        {"name": f"nvme{place}n1", "kind": "NVMe", "size_gb": disk.size_bytes // 10**9, "serial": disk.serial}
        for place, disk in enumerate(booting.config(number).disks)
    ]
    await booting.api.post(f"/dci/v3/server/{number}", {"disks": disks})
    order = {
        "hdd_raid": raid,
        "os_template_id": template,
        "password": PASSWORD,
        "ssh_pub_keys": [key.public],
        "domain": HOST,
    }
    task = await booting.run(number, "operation_os", order)
    assert task["status"] == "complete", task
    said = await key.run(address, "hostname -f; findmnt -no SOURCE /; cat /proc/mdstat; cat /etc/shadow")
    lines = said.splitlines()
    assert lines[0] == HOST
    assert lines[1].startswith("/dev/md" if raid == "raid1" else "/dev/nvme")
    assert ("[2/2] [UU]" in said) == (raid == "raid1")
    assert any(line.startswith("root:$") for line in lines)
    is_uefi = (await key.run(address, "test -d /sys/firmware/efi && echo yes || echo no")).strip() == "yes"
    assert is_uefi == (booting.config(number).boot_mode is BootMode.UEFI)
    assert (await booting.server(number))["os_template"]["started_at"]
    assert key.public.split()[1] not in booting.console(number)
    assert booting.machine(number).pid is not None
    return address


async def test_a_bios_machine_is_installed_though_its_bmc_drops_overrides(
    booting: Booting, template: int, key: Key
) -> None:
    """The BMC forgets what it was told for the first attempt, and says that it was set."""
    bmc = booting.rack.rack.bmcs[booting.config(BIOS_IPMI).name]
    bmc.faults.switch_on(Fault.DROP_OVERRIDE, times=1)
    await install(booting, template, key, BIOS_IPMI, "none")
    assert "boot_override_dropped" in booting.happened(BIOS_IPMI, "boot_override_dropped")


async def test_a_mirror_under_uefi_is_installed_and_rescued(
    booting: Booting, template: int, key: Key
) -> None:
    address = await install(booting, template, key, UEFI_REDFISH, "raid1")
    task = await booting.run(UEFI_REDFISH, "operation_recovery", {"ssh_pub_keys": [key.public]})
    assert task["status"] == "complete", task
    assert (await booting.server(UEFI_REDFISH))["recovery"]
    look = "findmnt -no SOURCE / || true; lsblk -no FSTYPE | sort -u; cat /proc/cmdline"
    said = await key.run(address, look)
    assert "/dev/md" not in said.splitlines()[0]
    assert "linux_raid_member" in said  # the customer's disks are there, and nobody uses them
    assert "root=/dev" not in said
    stopped = await booting.run(UEFI_REDFISH, "operation_recovery", {"action": "stop"})
    assert stopped["status"] == "complete", stopped
    assert (await key.run(address, "findmnt -no SOURCE /")).startswith("/dev/md")
    assert (await booting.server(UEFI_REDFISH))["recovery"] is None
