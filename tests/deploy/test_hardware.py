"""What inventories are made into: configurations, changes, complaints; and that agents are not believed blindly."""

import copy
from typing import Any

import pytest

from rackhand.deploy import findings
from rackhand.deploy.hardware import changes_between, complaints, configuration_of, cpu_name, hardware_info
from rackhand.tasks.operation import StepFailed


def inventory(**changes: Any) -> dict[str, Any]:
    disk = {"name": "nvme0n1", "kind": "NVMe", "size_bytes": 1_024_209_543_168, "serial": "D0", "model": "EX"}
    found: dict[str, Any] = {
        "board": {"serial": "S1", "board_model": "MB"},
        "boot_mode": "uefi",
        "cpus": [{"model": "Intel(R) Core(TM) i9-9900K CPU @ 3.60GHz", "cores": 8, "threads": 16}],
        "memory_mib": 64_200,
        "memory_modules": [{"slot": f"D{number}", "size_mib": 16384} for number in range(4)],
        "disks": [disk, {**disk, "name": "nvme1n1", "serial": "D1"}],
        "nics": [{"name": "eth0", "mac": "00:00:5e:00:53:01", "link": True, "speed_mbit": 10000}],
        "pci": [{"address": "0000:01:00.0", "kind": "0108", "driver": "nvme"}],
        **changes,
    }
    return findings.parse(findings.Inventory, found).model_dump()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Intel(R) Core(TM) i9-9900K CPU @ 3.60GHz", "i9-9900K"),
        ("Intel(R) Xeon(R) E-2146G CPU @ 3.50GHz", "E-2146G"),
        ("Intel(R) Xeon(R) CPU E5-2630 v4 @ 2.20GHz", "E5-2630v4"),
        ("Intel(R) Xeon(R) Silver 4314 CPU @ 2.40GHz", "4314"),
        ("AMD EPYC 7313P 16-Core Processor", "7313P"),
        ("AMD Ryzen 9 7950X 16-Core Processor", "7950X"),
        ("AMD Ryzen 5 PRO 4650G with Radeon Graphics", "4650G"),
        ("12th Gen Intel(R) Core(TM) i7-12700K", "i7-12700K"),
        ("Neoverse", "Neoverse"),
        ("", "CPU"),
    ],
)
def test_processors_are_called_as_they_are_sold(model: str, name: str) -> None:
    assert cpu_name(model) == name


def test_the_configuration_is_written_as_published() -> None:
    assert configuration_of(inventory()) == "i9-9900K-64Gb-2x1024NVMe"
    assert configuration_of(inventory(cpus=[])) == ""
    assert configuration_of(inventory(disks=[])) == "i9-9900K-64Gb"
    # Without a word of the firmware the kernel's number is rounded up.
    assert configuration_of(inventory(memory_modules=[], disks=[])) == "i9-9900K-64Gb"
    assert configuration_of(inventory(memory_modules=[], memory_mib=515_000, disks=[])) == "i9-9900K-504Gb"
    mixed = [
        {"name": "sdc", "kind": "HDD", "size_bytes": 12 * 10**12, "serial": "3"},
        {"name": "sdb", "kind": "SSD", "size_bytes": 3_840 * 10**9, "serial": "2"},
        {"name": "sda", "kind": "SSD", "size_bytes": 1_920 * 10**9, "serial": "1"},
    ]
    expected = "2xi9-9900K-64Gb-1920SSD-3840SSD-12000HDD"
    cpus = inventory()["cpus"] * 2
    assert configuration_of(inventory(cpus=cpus, disks=mixed)) == expected
    assert configuration_of(inventory(cpus=cpus, disks=mixed[::-1])) == expected


def test_what_was_lost_is_told_from_what_was_added() -> None:
    before = hardware_info(inventory())
    assert changes_between({}, before) == []
    assert changes_between(before, copy.deepcopy(before)) == []
    less = inventory()
    less["disks"].pop()
    less["memory_modules"].pop()
    less["board"]["board_model"] = "MB2"
    words = [(str(change), change.is_loss) for change in changes_between(before, hardware_info(less))]
    assert words == [
        ("Disk is gone: NVMe 1024 GB, EX, serial D1", True),
        ("Memory: 48 GiB instead of 64 GiB", True),
        ("Motherboard: MB2 instead of MB", False),
    ]
    back = [(change.what, change.is_loss) for change in changes_between(hardware_info(less), before)]
    assert back == [("Disk", False), ("Memory", False), ("Motherboard", False)]


def test_complaints_are_what_keeps_a_server_from_a_customer() -> None:
    assert complaints(hardware_info(inventory()), []) == []
    twins = inventory()
    twins["disks"][1]["serial"] = "D0"
    twins["disks"][0]["smart"] = {"healthy": False}
    twins["pci"].append({"address": "0000:02:00.0", "kind": "0104", "driver": ""})
    assert complaints(hardware_info(twins), []) == [
        "Disk nvme0n1 (serial D0) reports that it is failing",
        "Storage controller 0000:02:00.0 has no driver in the ramdisk, so its disks cannot be seen",
        "Serial number D0 was found on 2 disks",
    ]


@pytest.mark.parametrize(
    ("kind", "said", "where"),
    [
        (findings.Inventory, None, ""),
        (findings.Inventory, {"nics": [{"name": "eth0", "mac": "'; --"}]}, "nics.0.mac"),
        (findings.Inventory, {"nics": [{"name": "eth0", "mac": "00:00:5E:00:53:01"}]}, "nics.0.mac"),
        (
            findings.Inventory,
            {"disks": [{"name": "sda", "kind": "SSD", "size_bytes": -1}]},
            "disks.0.size_bytes",
        ),
        (findings.Inventory, {"disks": [{}] * 2000}, "disks"),
        (findings.Inventory, {"cpus": [{"model": "x" * 1000}]}, "cpus.0.model"),
        (findings.SpeedTest, {"memory_mb_s": float("inf")}, "memory_mb_s"),
        (findings.Wipe, {"disks": [{"name": "sda", "kind": "SSD", "size_bytes": 1}]}, "disks.0.erased"),
    ],
)
def test_what_an_agent_cannot_mean_is_not_believed(kind: Any, said: Any, where: str) -> None:
    with pytest.raises(StepFailed, match=f"cannot be used: {where}") as refusal:
        findings.parse(kind, said)
    assert len(str(refusal.value)) < 300
