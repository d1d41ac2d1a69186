"""Installing and rescue in the matrix: what a killed manager must not leave behind, judged by the machine's own log."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackhand.sim.config import BMC_PLUG, BootMode, MachineConfig
from rackhand.sim.events import Source
from rackhand.sim.images import tar_image
from rackhand.sim.rack import RackThread
from rackhand.sim.system import find_system

IMAGE = tar_image("Example Linux 12")
FILE = "prove.tar.zst"
HOST_NAME = "proved.example.com"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmTk1NqMcYuI8Gsy8WEgQeEeqMIgOUnVFPpH7lZrvXD laptop"
HASH = "$6$rounds=1000$prove$A9b8C7d6"

Answer = Mapping[str, Any]


def write_image(data: Path) -> None:
    """Put the image where machines load it."""
    folder = data / "boot" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(IMAGE)


@dataclass(frozen=True)
class _SystemCase:
    """What both have in common."""

    def arrange(self, rack: RackThread, machine: MachineConfig) -> None:
        """Put the machine, its disks and its ports back to the start."""
        rack.control.reset(machine.name)
        assert rack.rack is not None
        for cable in rack.config.cables:
            if cable.device == machine.name and cable.plug != BMC_PLUG:
                switch = rack.rack.switches[cable.switch]
                switch.faults.switch_all_off()
                switch.set_pvid(switch.ports[cable.port], 1, Source.CONTROL)
                switch.set_admin_status(switch.ports[cable.port], Source.CONTROL, up=True)

    def judge(self, rack: RackThread, machine: MachineConfig, before: int, answer: Answer) -> None:
        """Nothing is armed, kept or moved, and nobody else's disks were touched."""
        assert answer["status"] == "succeeded", f"the task ended as {answer}"
        assert answer["reservations"] == 0, "a boot is still reserved"
        assert answer["secrets"] == 0, "what was secret is still kept"
        assert answer["flags"] == [], f"ports are flagged: {answer['flags']}"
        assert rack.rack is not None
        for nic in machine.nics:
            vlan = rack.rack.network.vlan_of(machine.name, nic.name)
            assert vlan == 1, f"{nic.name} is left in VLAN {vlan}"
        view = rack.control.machine(machine.name)
        assert (view.power, view.boot_override) == ("on", None), f"the machine is left as {view}"
        touched = {
            event.device
            for event in rack.control.log(after=before)
            if event.action in {"disk_cleared", "disk_divided", "image_written"}
        }
        assert touched <= {machine.name}, f"disks of {touched} were written"


@dataclass(frozen=True)
class InstallCase(_SystemCase):
    """An installation on a mirror, of a machine that is off."""

    operation: str = "operation_os"

    def __str__(self) -> str:
        return "operation_os with raid1"

    @property
    def params(self) -> dict[str, object]:
        """What is installed."""
        image = {
            "id": 1,
            "path": f"/boot/file/images/{FILE}",
            "format": "tar.zst",
            "size": len(IMAGE),
            "sha256": hashlib.sha256(IMAGE).hexdigest(),
            "unpacked_bytes": 1 << 20,
        }
        return {
            "template_id": 1, "template_name": "Example 12", "image_id": 1, "image": image,
            "host_name": HOST_NAME, "level": "raid1", "partitions": [{"mount": "/"}],
        }  # fmt: skip

    @property
    def secrets(self) -> dict[str, object]:
        """What is sealed."""
        return {"password_hash": HASH, "ssh_keys": [KEY], "scripts": [], "user_data": ""}

    def judge(self, rack: RackThread, machine: MachineConfig, before: int, answer: Answer) -> None:
        """The system was written once, starts, and is what was asked for."""
        super().judge(rack, machine, before, answer)
        log = rack.control.log(after=before, device=machine.name)
        done = [event.action.value for event in log]
        assert done.count("image_written") == 1, f"the image was written {done.count('image_written')} times"
        assert done.count("disk_divided") == 2, "the disks were not divided once each"
        assert "system_started" in done, "the system was never started"
        assert rack.rack is not None
        system = find_system(rack.rack.boot_network.media[machine.name], BootMode(machine.boot_mode))
        assert system is not None, "somebody else's system is on the disks"
        found = (system.host_name, system.ssh_keys, system.password_hash)
        assert found == (HOST_NAME, [KEY], HASH), f"the system says {found}"
        assert answer["os_template"]["started_at"], f"the server shows {answer['os_template']}"


@dataclass(frozen=True)
class RescueCase(_SystemCase):
    """The start of rescue, of a machine that is off."""

    operation: str = "operation_recovery"

    def __str__(self) -> str:
        return "operation_recovery"

    @property
    def params(self) -> dict[str, object]:
        """For longer than the case takes."""
        return {"hours": 24}

    @property
    def secrets(self) -> dict[str, object]:
        """What is sealed."""
        return {"password_hash": HASH, "ssh_keys": [KEY]}

    def judge(self, rack: RackThread, machine: MachineConfig, before: int, answer: Answer) -> None:
        """The ramdisk runs, and let the customer in."""
        super().judge(rack, machine, before, answer)
        assert rack.control.machine(machine.name).booted_from == "pxe", "it is not in rescue"
        done = [event.action.value for event in rack.control.log(after=before, device=machine.name)]
        assert done.count("rescue_started") == 1, "rescue was not started once"
        assert "disk_cleared" not in done
