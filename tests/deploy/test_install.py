"""Installing systems on machines of the rack: the real agent writes, the simulated firmware starts what it finds."""


import pytest

from tests.deploy.conftest import Deploying
from tests.deploy.systems import KEY, PASSWORD, SYSTEM, add_template, give_addresses, system_of

IPMI_BIOS, REDFISH_UEFI, UEFI_FOUR_DISKS = 1, 4, 5
DONE = ("disk_divided", "image_written", "system_configured", "booted", "boot_failed", "system_started")


@pytest.mark.parametrize(
    ("number", "raid"), [(IPMI_BIOS, "none"), (REDFISH_UEFI, "raid1")], ids=["bios", "uefi-raid1"]
)
async def test_an_installed_system_starts_with_name_addresses_keys_and_password(
    deploying: Deploying, number: int, raid: str
) -> None:
    template = await add_template(deploying.api)
    addresses = await give_addresses(deploying.api, number)
    body = {
        "hdd_raid": raid,
        "os_template_id": template,
        "password": PASSWORD,
        "ssh_pub_keys": [KEY],
        "domain": "web.example.com",
    }
    task = await deploying.api.finished(await deploying.start(number, "operation_os", body), timeout=60)
    assert task["status"] == "complete", task
    disks = 2 if raid == "raid1" else 1
    assert deploying.done(number, *DONE) == [
        "booted",
        *["disk_divided"] * disks,
        "image_written",
        "system_configured",
        "booted",
        "system_started",
    ]
    system = system_of(deploying, number)
    assert (system.name, system.host_name, system.ssh_keys) == (SYSTEM, "web.example.com", [KEY])
    assert system.password_hash.startswith("$6$rounds=")
    nic = system.network["ethernets"]["eth0"]
    assert (nic["match"], nic["addresses"]) == (
        {"macaddress": deploying.machine(number).nics[0].mac},
        list(addresses),
    )
    assert [route["via"] for route in nic["routes"]] == ["192.0.2.1", "2001:db8::1"]
    shown = (await deploying.server(number))["os_template"]
    assert (shown["id"], shown["name"], shown["hdd_raid"]) == (template, "Example 12", raid)
    assert shown["started_at"]
    assert "ed25519" in task["result"]["ssh_host_keys"]
