"""Machines that really boot, are looked at and wiped; the judge is the host, which sees consoles and disks from outside."""

from tests.real.conftest import Booting

BIOS_IPMI, BIOS_REDFISH, UEFI_IPMI, UEFI_REDFISH = 1, 2, 3, 4


async def test_bios_machine_is_diagnosed_and_switched_off(booting: Booting) -> None:
    task = await booting.run(BIOS_IPMI, "operation_diag")
    assert task["status"] == "complete", task
    shown = await booting.server(BIOS_IPMI)
    machine = booting.config(BIOS_IPMI)
    assert shown["hardware_info"]["boot_mode"] == "bios"
    assert [disk["serial"] for disk in shown["disks"]] == [disk.serial for disk in machine.disks]
    assert [disk["kind"] for disk in shown["disks"]] == ["SSD", "SSD"]
    assert sorted(nic["mac"] for nic in shown["nics"]) == [nic.mac for nic in machine.nics]
    assert shown["serial"] == machine.serial
    assert shown["perform_info"]["memory_mb_s"] > 0
    assert all(disk["read_mb_s"] > 0 for disk in shown["perform_info"]["disks"])
    assert shown["hardware_info"]["problems"] == []
    assert booting.machine(BIOS_IPMI).pid is None
    assert booting.happened(BIOS_IPMI, "powered_on", "netboot_answered", "booted", "powered_off") == [
        *("powered_on", "netboot_answered", "booted", "powered_off")
    ]
