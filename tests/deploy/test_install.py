"""Installing systems on machines of the rack: the real agent writes, the simulated firmware starts what it finds."""

import json

import pytest
from sqlalchemy import select

from rackhand.boot.model import FirstBoot, TaskSecret
from rackhand.db import Base
from rackhand.deploy import images
from rackhand.sim.config import BootMode
from rackhand.sim.system import NotBootable, find_system
from tests.deploy.conftest import Deploying
from tests.deploy.systems import (
    KEY,
    PASSWORD,
    SYSTEM,
    add_disk_template,
    add_template,
    give_addresses,
    media_of,
    system_of,
)

BIOS, UEFI, FOUR_DISKS = 1, 4, 5  # IPMI, Redfish, IPMI
MARK = "only-for-the-owner"
DONE = ("disk_divided", "image_written", "system_configured", "booted", "boot_failed", "system_started")


async def everything_stored(deploying: Deploying) -> str:
    """All rows of all tables as text."""
    found = []
    async with deploying.services.db.read() as session:
        for table in Base.metadata.sorted_tables:
            found += [str(tuple(row)) for row in await session.execute(select(table))]
    return "\n".join(found)


@pytest.mark.parametrize(("number", "raid"), [(BIOS, "none"), (UEFI, "raid1")], ids=["bios", "uefi-raid1"])
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


async def test_a_server_is_installed_again_and_again_and_nothing_secret_stays(
    deploying: Deploying, capfd: pytest.CaptureFixture[str]
) -> None:
    """RAID 10 with volumes and scripts, which a missing disk does not stop; then another system over it."""
    template = await add_template(
        deploying.api, script="echo ($HOSTNAME) ($MIRROR)", macros={"MIRROR": "mirror-1"}
    )
    body = {
        "hdd_raid": "10", "os_template_id": template, "password": PASSWORD, "lvm": True,
        "partitions": [{"mount": "/"}, {"mount": "/var", "size_gib": 100}, {"mount": "swap", "size_gib": 4}],
        "post_install": f"#!/bin/sh\necho {MARK}", "user_data": f"#!/bin/sh\necho {MARK}",
    }  # fmt: skip
    first = await deploying.finish(FOUR_DISKS, "operation_os", body)
    assert first["status"] == "complete", first
    system = system_of(deploying, FOUR_DISKS)
    scripts = [system.text(path) for path in system.names("/var/lib/cloud/scripts/")]
    assert scripts == [f"#!/bin/sh\necho server-{FOUR_DISKS} mirror-1", f"#!/bin/sh\necho {MARK}"]
    assert system.network["ethernets"]["eth0"]["dhcp4"] is True
    assert [line.split()[1] for line in str(system.root.text("/etc/fstab")).splitlines()] == [
        "/", "/boot", "/var", "none", "/boot/efi",
    ]  # fmt: skip
    assert find_system(media_of(deploying, FOUR_DISKS)[1:], BootMode.UEFI) is not None
    stored = await everything_stored(deploying)
    for secret in (PASSWORD, MARK, system.password_hash):
        assert secret not in stored
        assert secret not in json.dumps(await deploying.api.get(f"/dci/v3/task/{first['id']}"))
        assert secret not in capfd.readouterr().err

    second = await deploying.finish(
        FOUR_DISKS,
        "operation_os",
        {"os_template_id": await add_disk_template(deploying.api), "ssh_pub_keys": [KEY]},
    )
    assert second["status"] == "complete", second
    system = system_of(deploying, FOUR_DISKS)
    assert (system.ssh_keys, system.password_hash) == ([KEY], "")
    assert system.root.label == "root"
    # Only this machine was written to, each time once; restarts install nothing.
    await deploying.finish(FOUR_DISKS, "power_reset")
    log = deploying.rack.control.log(after=deploying.begin)
    written = [event.device for event in log if event.action == "image_written"]
    assert written == [deploying.machine(FOUR_DISKS).name] * 2
    touched = {
        event.device for event in log if event.action in {"disk_divided", "disk_cleared", "image_written"}
    }
    assert touched == {deploying.machine(FOUR_DISKS).name}
    await deploying.settled(FOUR_DISKS)


async def test_an_image_that_was_tampered_with_is_not_started(deploying: Deploying) -> None:
    template = await add_template(deploying.api)
    (path,) = images.served_folder(deploying.services.settings).iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    body = {"os_template_id": template, "password": PASSWORD}
    task = await deploying.finish(BIOS, "operation_os", body)
    assert task["status"] == "fail"
    assert "write_image" in [step["name"] for step in task["steps"] if step["status"] == "failed"]
    assert deploying.done(BIOS, "image_written", "system_started") in ([], ["image_written"])
    with pytest.raises(NotBootable):
        find_system(media_of(deploying, BIOS)[:1], BootMode.LEGACY)
    assert deploying.rack.control.machine(deploying.machine(BIOS).name).power == "off"
    assert (await deploying.server(BIOS))["os_template"] is None
    async with deploying.services.db.read() as session:
        assert list(await session.scalars(select(TaskSecret.task_id))) == []
        assert list(await session.scalars(select(FirstBoot.task_id))) == []
    await deploying.settled(BIOS)


async def test_a_system_that_does_not_report_is_started_in_other_ways_and_then_left_running(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying.services.settings, "first_boot_url", "http://127.0.0.1:9")
    monkeypatch.setattr(deploying.services.settings, "first_boot_patience", 2.0)
    template = await add_template(deploying.api)
    body = {"os_template_id": template, "password": PASSWORD}
    task = await deploying.finish(UEFI, "operation_os", body, timeout=100)
    assert task["status"] == "fail"
    words = task["error"]["msg"]
    assert "its system did not say that it runs" in words
    for tried in ("without an override", "to the disk for one boot", "to the disk for every boot"):
        assert tried in words
    assert deploying.done(UEFI, "system_started") == ["system_started"] * 3
    shown = await deploying.server(UEFI)
    assert (shown["os_template"]["name"], shown["os_template"]["started_at"]) == ("Example 12", None)
    assert deploying.rack.control.machine(deploying.machine(UEFI).name).power == "on"
    await deploying.settled(UEFI)


async def test_dropped_overrides_neither_stop_nor_repeat_an_installation(deploying: Deploying) -> None:
    deploying.rack.control.fault_on(deploying.machine(UEFI).name, "drop_override", times=3)
    template = await add_template(deploying.api)
    body = {"os_template_id": template, "ssh_pub_keys": [KEY]}
    task = await deploying.finish(UEFI, "operation_os", body, timeout=100)
    assert task["status"] == "complete", task
    assert deploying.done(UEFI, "image_written") == ["image_written"]
    assert deploying.done(UEFI, "boot_override_dropped") == ["boot_override_dropped"] * 3
    assert deploying.rack.control.machine(deploying.machine(UEFI).name).boot_override is None


async def test_an_installation_that_is_called_off_leaves_nothing_armed(deploying: Deploying) -> None:
    deploying.rack.control.set_boot_server("http://192.0.2.1:1")
    template = await add_template(deploying.api)
    task = await deploying.start(BIOS, "operation_os", {"os_template_id": template, "password": PASSWORD})
    await deploying.until(task, "boot_from_network")
    await deploying.api.post(f"/dci/v3/task/{task}/abort")
    ended = await deploying.api.finished(task, timeout=60)
    assert ended["status"] == "canceled", ended
    async with deploying.services.db.read() as session:
        assert list(await session.scalars(select(TaskSecret.task_id))) == []
    assert deploying.done(BIOS, "disk_divided", "disk_cleared") == []
    await deploying.settled(BIOS)


async def test_a_machine_with_other_disks_than_known_is_not_touched(deploying: Deploying) -> None:
    """The inventory has four disks, the machine two: the agent's word counts."""
    disks = [{"kind": "SSD", "size_gb": 480, "serial": f"X{n}"} for n in range(4)]
    await deploying.api.post(f"/dci/v3/server/{BIOS}", {"disks": disks})
    template = await add_template(deploying.api)
    body = {"hdd_raid": "raid6", "os_template_id": template, "password": PASSWORD}
    task = await deploying.finish(BIOS, "operation_os", body)
    assert "The disks do not do: raid6 needs four equal disks or more" in task["error"]["msg"]
    assert deploying.done(BIOS, "disk_divided", "disk_cleared") == []
    await deploying.settled(BIOS)
