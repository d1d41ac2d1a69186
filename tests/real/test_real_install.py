"""Installing Debian on machines that really boot, until its SSH server lets in who has the key."""

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from rackhand.deploy import images
from rackhand.events.service import SYSTEM
from rackhand.sim.config import DiskKind, RackConfig
from rackhand.sim.real.rack import real_rack_config
from tests.real.conftest import MACHINES, Booting

IMAGE = Path(os.environ.get("RACKHAND_REAL_IMAGE") or "var/real/debian-12.tar.zst")
BIOS_IPMI, UEFI_REDFISH = 1, 4
DISK_BYTES = 4 << 30
SSH_SECONDS = 120
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

    def run(self, address: str, command: str) -> str:
        """Sign in as root and run *command*."""
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "LogLevel=ERROR",
        ]
        given = [word for option in (*options, f"ConnectTimeout={SSH_SECONDS}") for word in ("-o", option)]
        argv = ["ssh", "-i", str(self.path), *given, f"root@{address}", command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=2 * SSH_SECONDS)
        assert done.returncode == 0, (done.returncode, done.stderr, done.stdout)
        return done.stdout


@pytest.fixture
def key(tmp_path: Path) -> Key:
    path = tmp_path / "key"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "laptop", "-f", str(path)]
    subprocess.run(argv, check=True)
    return Key(path)


@pytest.mark.parametrize(
    ("number", "raid"), [(UEFI_REDFISH, "raid1"), (BIOS_IPMI, "none")], ids=["uefi-raid1", "bios-single"]
)
async def test_an_installed_server_lets_its_customer_in(
    booting: Booting, template: int, key: Key, number: int, raid: str
) -> None:
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
    task = await booting.run(
        number,
        "operation_os",
        {
            "hdd_raid": raid,
            "os_template_id": template,
            "password": PASSWORD,
            "ssh_pub_keys": [key.public],
            "domain": HOST,
        },
    )
    assert task["status"] == "complete", task
    said = key.run(address, "hostname -f; findmnt -no SOURCE /; cat /proc/mdstat; cat /etc/shadow")
    lines = said.splitlines()
    assert lines[0] == HOST
    assert lines[1].startswith("/dev/md" if raid == "raid1" else "/dev/nvme")
    assert ("[2/2] [UU]" in said) == (raid == "raid1")
    assert any(line.startswith("root:$") for line in lines)
    firmware = key.run(address, "test -d /sys/firmware/efi && echo uefi || echo bios").strip()
    assert firmware == ("uefi" if number == UEFI_REDFISH else "bios")
    assert (await booting.server(number))["os_template"]["started_at"]
    assert key.public.split()[1] not in booting.console(number)
    assert booting.machine(number).pid is not None
