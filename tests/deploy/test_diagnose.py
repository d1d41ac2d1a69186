"""Diagnosing machines of the rack: they boot over the network and run the real agent."""

import pytest

from tests.deploy.conftest import Deploying

POWER = ("powered_on", "powered_off", "booted", "netboot_answered", "netboot_failed")
IPMI, REDFISH = 1, 4
BOTH = pytest.mark.parametrize("number", [IPMI, REDFISH], ids=["ipmi", "redfish"])


@BOTH
async def test_a_diagnosis_finds_what_is_in_the_machine_and_leaves_it_off(
    deploying: Deploying, number: int
) -> None:
    task = await deploying.api.finished(await deploying.start(number, "operation_diag"), timeout=60)
    assert task["status"] == "complete", task
    shown = await deploying.server(number)
    machine = deploying.machine(number)
    expected = {IPMI: "E-2336-32Gb-2x480SSD", REDFISH: "7313P-128Gb-2x1920NVMe"}[number]
    assert shown["configuration"] == expected
    assert [(disk["serial"], disk["kind"]) for disk in shown["disks"]] == [
        (disk.serial, {IPMI: "SSD", REDFISH: "NVMe"}[number]) for disk in machine.disks
    ]
    assert [nic["mac"] for nic in shown["nics"]] == [nic.mac for nic in machine.nics]
    assert shown["hardware_info"]["motherboard"]["model"] == f"{machine.model}-MB"
    assert shown["serial"] == machine.serial
    assert shown["settings"] == {"efi": number == REDFISH}
    assert shown["diagnostics_message"] is None
    assert shown["perform_info"]["memory_mb_s"] > 0
    speeds = [disk["read_mb_s"] for disk in shown["perform_info"]["disks"]]
    assert speeds == [{IPMI: 540.0, REDFISH: 3200.0}[number]] * 2
    assert deploying.done(number, *POWER) == ["powered_on", "netboot_answered", "booted", "powered_off"]
    assert deploying.rack.control.machine(machine.name).boot_override is None
