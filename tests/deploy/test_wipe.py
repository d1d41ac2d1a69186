"""Wiping disks of the rack; the judge is what stands on the media afterwards."""

import json

import pytest

from rackhand.deploy import certificates
from rackhand.sim.medium import Medium
from tests.conftest import Api
from tests.deploy.conftest import Deploying
from tests.deploy.test_diagnose import ON_ONE_DATABASE

SSD, NVME, HDD = 1, 4, 5


def media(deploying: Deploying, number: int) -> tuple[Medium, ...]:
    assert deploying.rack.rack is not None
    return deploying.rack.rack.boot_network.media[deploying.machine(number).name]


def remembers(medium: Medium) -> bool:
    """Whether what the former user left is on the disk, at any of many places."""
    size = medium.config.size_bytes // 4096
    fresh = Medium(medium.config)
    return any(
        medium.read(4096 * (number * size // 997), 4096) == fresh.read(4096 * (number * size // 997), 4096)
        for number in range(997)
    )


@pytest.mark.parametrize("number", [SSD, NVME, HDD], ids=["ssd", "nvme", "hdd"])
async def test_a_full_wipe_is_proven_and_certified(deploying: Deploying, number: int) -> None:
    task = await deploying.finish(number, "operation_clear_hdd", {"clear_hdd": "full"})
    assert task["status"] == "complete", task
    assert not any(remembers(medium) for medium in media(deploying, number))
    (row,) = (await deploying.api.get(f"/dci/v3/server/{number}/erasure"))["list"]
    assert (row["is_proven"], row["level"], row["certificate"]) == (True, "full", True)
    expected = {
        SSD: ("ata sanitize, block erase", "Purge"),
        NVME: ("nvme sanitize, block erase", "Purge"),
        HDD: ("ata secure erase", "Clear"),
    }[number]
    serials = [disk.serial for disk in deploying.machine(number).disks]
    assert [disk["serial"] for disk in row["disks"]] == serials
    assert {(disk["method"], disk["category"]) for disk in row["disks"]} == {expected}
    text = json.dumps(await deploying.api.get(f"/dci/v3/server/{number}/erasure/{row['id']}"))
    (key,) = (await deploying.api.get("/dci/v3/certificate_key"))["list"]
    assert certificates.verify(text, public_key=key["public_key"])["task"] == task["id"]
    with pytest.raises(certificates.BadCertificate, match="does not fit"):
        certificates.verify(text.replace(serials[0], "ANOTHER"))
    assert (await deploying.server(number))["status"] == "free"
    await deploying.settled(number)


@ON_ONE_DATABASE
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("disk_keeps", "marks are still there"),
        ("disk_stuck", "did not end within 60 minutes"),
        ("disk_unreadable", "input/output error"),
    ],
)
async def test_a_disk_that_lies_is_never_called_erased_and_quarantines_the_server(
    deploying: Deploying, fault: str, words: str
) -> None:
    deploying.rack.control.fault_on(deploying.machine(SSD).name, fault, value=2)
    task = await deploying.finish(SSD, "operation_clear_hdd", {"clear_hdd": "full"})
    assert task["status"] == "fail"
    assert words in task["error"]["msg"]
    shown = await deploying.server(SSD)
    assert shown["status"] == "quarantined"
    assert words in shown["quarantine_reason"]
    assert [remembers(medium) for medium in media(deploying, SSD)] == [False, True]
    (row,) = (await deploying.api.get(f"/dci/v3/server/{SSD}/erasure"))["list"]
    assert (row["is_proven"], row["certificate"]) == (False, False)
    assert [disk["erased"] for disk in row["disks"]] == [True, False]
    error = await deploying.api.refused(409, "GET", f"/dci/v3/server/{SSD}/erasure/{row['id']}")
    assert "has no certificate" in error["msg"]
    await deploying.settled(SSD)
    assert deploying.rack.control.machine(deploying.machine(SSD).name).power == "off"


@ON_ONE_DATABASE
async def test_a_disk_that_cannot_erase_itself_is_overwritten(deploying: Deploying) -> None:
    deploying.rack.control.fault_on(deploying.machine(NVME).name, "disk_no_erase", value=1)
    task = await deploying.finish(NVME, "operation_clear_hdd", {"clear_hdd": "full"})
    assert task["status"] == "complete", task
    (row,) = (await deploying.api.get(f"/dci/v3/server/{NVME}/erasure"))["list"]
    methods = [disk["method"] for disk in row["disks"]]
    assert methods == ["overwrite with zeros", "nvme sanitize, block erase"]
    assert not any(remembers(medium) for medium in media(deploying, NVME))


@ON_ONE_DATABASE
async def test_what_is_hidden_is_made_reachable_and_erased(deploying: Deploying) -> None:
    deploying.rack.control.fault_on(deploying.machine(SSD).name, "disk_hidden_area", value=1)
    task = await deploying.finish(SSD, "operation_clear_hdd", {"clear_hdd": "full"})
    assert task["status"] == "complete", task
    (row,) = (await deploying.api.get(f"/dci/v3/server/{SSD}/erasure"))["list"]
    assert [disk["hidden_areas"] for disk in row["disks"]] == [[{"kind": "HPA", "size_bytes": 1 << 30}], []]
    assert not any(remembers(medium) for medium in media(deploying, SSD))


@ON_ONE_DATABASE
async def test_a_disk_that_is_known_and_not_there_is_not_erased(deploying: Deploying) -> None:
    await deploying.api.post(
        f"/dci/v3/server/{SSD}", {"disks": [{"name": "sdz", "kind": "SSD", "size_gb": 480, "serial": "GONE"}]}
    )
    task = await deploying.finish(SSD, "operation_clear_hdd", {"clear_hdd": "full"})
    assert task["status"] == "fail"
    assert "Disk sdz (serial GONE) was not found" in task["error"]["msg"]
    assert (await deploying.server(SSD))["status"] == "quarantined"


@ON_ONE_DATABASE
async def test_disks_that_nobody_can_see_are_not_erased(deploying: Deploying) -> None:
    deploying.rack.control.fault_on(deploying.machine(SSD).name, "storage_unknown")
    task = await deploying.finish(SSD, "operation_diag", {"clear_hdd": "full"})
    assert task["status"] == "fail"
    assert "Storage controller 0000:80:00.0 (1af4:1042) has no driver" in task["error"]["msg"]
    assert (await deploying.server(SSD))["status"] == "quarantined"
    assert all(remembers(medium) for medium in media(deploying, SSD))
    await deploying.api.delete(f"/dci/v3/server/{SSD}/quarantine")
    assert (await deploying.finish(SSD, "operation_diag"))["status"] == "complete"
    assert "its disks cannot be seen" in (await deploying.server(SSD))["diagnostics_message"]


@ON_ONE_DATABASE
async def test_a_fast_wipe_takes_the_ends_away_and_certifies_nothing(deploying: Deploying) -> None:
    task = await deploying.finish(SSD, "operation_clear_hdd", {"clear_hdd": "fast"})
    assert task["status"] == "complete", task
    for medium in media(deploying, SSD):
        size = medium.config.size_bytes
        assert not any(medium.read(0, 1 << 20))
        assert not any(medium.read(size - (1 << 20), 1 << 20))
        assert remembers(medium)
    (row,) = (await deploying.api.get(f"/dci/v3/server/{SSD}/erasure"))["list"]
    assert (row["level"], row["certificate"], row["disks"][0]["category"]) == ("fast", False, None)


async def test_clearing_nothing_touches_nothing_and_ends_at_once(deploying: Deploying) -> None:
    task = await deploying.finish(SSD, "operation_clear_hdd", {"clear_hdd": "none"})
    assert task["status"] == "complete"
    assert deploying.done(SSD, "powered_on", "booted") == []
    assert (await deploying.server(SSD))["operation"]["status"] == "ok"


async def test_a_wipe_that_is_called_off_in_the_middle_quarantines(deploying: Deploying) -> None:
    deploying.rack.control.fault_on(deploying.machine(SSD).name, "disk_stuck", value=0)
    task = await deploying.start(SSD, "operation_clear_hdd", {"clear_hdd": "full"})
    await deploying.until(task, "wipe_disks")
    await deploying.api.post(f"/dci/v3/task/{task}/abort")
    assert (await deploying.api.finished(task))["status"] == "canceled"
    assert (await deploying.server(SSD))["status"] == "quarantined"
    await deploying.settled(SSD)


@ON_ONE_DATABASE
async def test_a_machine_that_loses_its_power_in_the_middle_is_quarantined(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying.services.settings, "agent_patience", 6.0)
    name = deploying.machine(SSD).name
    deploying.rack.control.fault_on(name, "disk_stuck", value=0)
    task = await deploying.start(SSD, "operation_clear_hdd", {"clear_hdd": "full"})
    await deploying.until(task, "wipe_disks")
    deploying.rack.control.press_power_button(name, hold=True)
    ended = await deploying.api.finished(task, timeout=90)
    assert ended["status"] == "fail"
    assert "fell silent" in ended["error"]["msg"]
    assert (await deploying.server(SSD))["status"] == "quarantined"
    await deploying.settled(SSD)


async def test_a_diagnosis_wipes_when_it_is_asked_to(deploying: Deploying) -> None:
    task = await deploying.finish(NVME, "operation_diag", {"clear_hdd": "full"})
    assert task["status"] == "complete", task
    assert not any(remembers(medium) for medium in media(deploying, NVME))
    assert (await deploying.server(NVME))["configuration"] == "7313P-128Gb-2x1920NVMe"


@ON_ONE_DATABASE
async def test_a_customer_wipes_its_own_server_and_no_other(deploying: Deploying, customer: Api) -> None:
    await deploying.api.post(f"/dci/v3/server/{SSD}/owner", {"owner": 2})
    task = (await customer.post(f"/dci/v3/server/{SSD}/operation_clear_hdd", {"clear_hdd": "full"}))["task"]
    assert (await customer.finished(task, timeout=60))["status"] == "complete"
    await customer.refused(404, "POST", f"/dci/v3/server/{NVME}/operation_clear_hdd", {"clear_hdd": "full"})
    await customer.refused(403, "POST", f"/dci/v3/server/{SSD}/operation_diag", {})
