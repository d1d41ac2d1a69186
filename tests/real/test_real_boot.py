"""Machines that really boot, are looked at and wiped. The judge is the host, which sees their disks from outside."""

import json
import os
from pathlib import Path

from rackhand.deploy import certificates
from rackhand.sim.faults import Fault
from tests.real.conftest import Booting

BIOS_IPMI, BIOS_REDFISH, UEFI_IPMI, UEFI_REDFISH = 1, 2, 3, 4
LIFE = ("powered_on", "netboot_answered", "booted", "powered_off")
MARK = b"left by whoever had this disk before "
PLACES = 64
PIECE = 1 << 20


def leave_marks(booting: Booting, server_id: int) -> None:
    """Write over all disks of a machine that is off, here and there."""
    for disk in booting.config(server_id).disks:
        with booting.machine(server_id).disk_file(disk).open("r+b") as file:
            for number in range(PLACES):
                file.seek(number * (disk.size_bytes - len(MARK)) // (PLACES - 1))
                file.write(MARK)


def marks_left(path: Path) -> int:
    """Count them, in everything that the file really holds."""
    found, at, size = 0, 0, path.stat().st_size
    with path.open("rb") as file:
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # only holes are left
                break
            file.seek(at)
            found += file.read(PIECE + len(MARK) - 1).count(MARK)
            at += PIECE
    return found


def all_marks_left(booting: Booting, server_id: int) -> list[int]:
    machine = booting.machine(server_id)
    return [marks_left(machine.disk_file(disk)) for disk in booting.config(server_id).disks]


async def test_bios_machine_is_diagnosed_and_switched_off(booting: Booting) -> None:
    leave_marks(booting, BIOS_IPMI)
    task = await booting.run(BIOS_IPMI, "operation_diag")
    assert task["status"] == "complete", task
    shown = await booting.server(BIOS_IPMI)
    machine = booting.config(BIOS_IPMI)
    info = shown["hardware_info"]
    assert info["problems"] == []
    assert info["boot_mode"] == "bios"
    assert [(disk["serial"], disk["kind"]) for disk in shown["disks"]] == [
        (disk.serial, "SSD") for disk in machine.disks
    ]
    assert [disk["size_bytes"] for disk in info["disks"]] == [disk.size_bytes for disk in machine.disks]
    assert sorted(nic["mac"] for nic in shown["nics"]) == [nic.mac for nic in machine.nics]
    assert shown["serial"] == machine.serial
    assert info["bmc"]["mac"] == machine.bmc.mac  # asked from inside of the machine
    cables = {cable.plug: cable for cable in booting.rack.rack.config.cables if cable.device == machine.name}
    assert [(one["system_name"], one["port_id"]) for one in info["neighbours"]] == [
        (cables[nic.name].switch, f"Ethernet1/{cables[nic.name].port}") for nic in machine.nics
    ]
    assert shown["perform_info"]["memory_mb_s"] > 0
    assert all(disk["read_mb_s"] > 0 for disk in shown["perform_info"]["disks"])
    assert booting.machine(BIOS_IPMI).pid is None
    assert booting.happened(BIOS_IPMI, *LIFE) == list(LIFE)
    assert all_marks_left(booting, BIOS_IPMI) == [PLACES, PLACES]  # it was only looked at


async def test_uefi_machine_is_diagnosed_and_its_nvme_disks_are_wiped(booting: Booting) -> None:
    """Its network card has no iPXE: the firmware's own PXE loads that over TFTP."""
    leave_marks(booting, UEFI_REDFISH)
    task = await booting.run(UEFI_REDFISH, "operation_diag", {"clear_hdd": "full"})
    assert task["status"] == "complete", task
    shown = await booting.server(UEFI_REDFISH)
    assert shown["hardware_info"]["boot_mode"] == "uefi"
    found = sorted((disk["serial"], disk["kind"]) for disk in shown["disks"])  # found in no certain order
    assert found == [(disk.serial, "NVMe") for disk in booting.config(UEFI_REDFISH).disks]
    assert all_marks_left(booting, UEFI_REDFISH) == [0, 0]
    (row,) = (await booting.api.get(f"/dci/v3/server/{UEFI_REDFISH}/erasure"))["list"]
    certificate = await booting.api.get(f"/dci/v3/server/{UEFI_REDFISH}/erasure/{row['id']}")
    assert certificates.verify(json.dumps(certificate))["task"] == task["id"]
    assert booting.machine(UEFI_REDFISH).pid is None


async def test_dropped_override_is_set_again_and_the_disks_are_wiped(booting: Booting) -> None:
    """The BMC forgets all overrides of the first attempt; the machine then finds no system on its disks."""
    leave_marks(booting, BIOS_REDFISH)
    bmc = booting.rack.rack.bmcs[booting.config(BIOS_REDFISH).name]
    bmc.faults.switch_on(Fault.DROP_OVERRIDE, times=3)
    task = await booting.run(BIOS_REDFISH, "operation_clear_hdd", {"clear_hdd": "full"})
    assert task["status"] == "complete", task
    happened = booting.happened(BIOS_REDFISH, "boot_override_dropped", "boot_override_set", *LIFE)
    assert happened == [
        *("boot_override_dropped", "boot_override_dropped", "boot_override_dropped"),
        *("powered_on", "booted", "powered_off"),
        *("boot_override_set", "powered_on", "netboot_answered", "booted", "powered_off"),
    ]
    (said,) = [step["message"] for step in task["steps"] if step["name"] == "boot_from_network"]
    assert "at attempt 2" in said
    assert all_marks_left(booting, BIOS_REDFISH) == [0, 0]
    (row,) = (await booting.api.get(f"/dci/v3/server/{BIOS_REDFISH}/erasure"))["list"]
    assert row["is_proven"]
