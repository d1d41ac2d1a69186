"""Diagnosing machines of the rack: they boot over the network and run the real agent."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest

from rackhand.servers.model import Server
from rackhand.sim.demo import PROVISIONING_VLAN
from rackhand.tasks.model import Task
from tests.deploy.conftest import Deploying

POWER = ("powered_on", "powered_off", "booted", "netboot_answered", "netboot_failed")
IPMI, REDFISH = 1, 4
# What is about machines alone need not be seen twice.
ON_ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
BOTH = pytest.mark.parametrize("number", [IPMI, REDFISH], ids=["ipmi", "redfish"])


@BOTH
async def test_a_diagnosis_finds_what_is_in_the_machine_and_leaves_it_off(
    deploying: Deploying, number: int
) -> None:
    task = await deploying.finish(number, "operation_diag")
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


@ON_ONE_DATABASE
@pytest.mark.parametrize(("number", "mode"), [(1, "bios"), (4, "uefi"), (5, "uefi")])
async def test_a_server_boots_in_its_own_mode(deploying: Deploying, number: int, mode: str) -> None:
    """Machine 5 speaks IPMI, which takes silence about the mode for legacy."""
    await deploying.finish(number, "operation_diag")
    shown = await deploying.server(number)
    assert (shown["hardware_info"]["boot_mode"], shown["settings"]) == (mode, {"efi": mode == "uefi"})


async def test_what_was_on_is_started_from_its_disk_again(deploying: Deploying) -> None:
    name = deploying.machine(IPMI).name
    deploying.rack.control.press_power_button(name)
    deploying.rack.control.wait_for(name, lambda view: view.phase == "running")
    begin = deploying.rack.control.last_event()
    task = await deploying.finish(IPMI, "operation_diag")
    assert task["status"] == "complete", task
    deploying.rack.control.wait_for(name, lambda view: view.phase == "running")
    assert deploying.rack.control.machine(name).booted_from == "disk"
    log = deploying.rack.control.log(after=begin, device=name)
    booted = [event.detail["device"] for event in log if event.action == "booted"]
    assert booted == ["pxe", "disk"]
    await deploying.settled(IPMI)


@ON_ONE_DATABASE
async def test_what_is_gone_since_the_last_diagnosis_is_told_and_keeps_the_server_out_of_stock(
    deploying: Deploying,
) -> None:
    await deploying.finish(IPMI, "operation_diag")
    first = await deploying.server(IPMI)
    assert (first["hardware_info"]["changes"], first["diagnostics_message"]) == ([], None)
    async with deploying.services.db.write() as session:
        server = await session.get_one(Server, IPMI)
        info = dict(server.hardware_info)
        gone = {**info["disks"][0], "serial": "GONE", "name": "sdz"}
        server.hardware_info = {**info, "disks": [*info["disks"], gone]}
    await deploying.finish(IPMI, "operation_diag")
    second = await deploying.server(IPMI)
    (change,) = second["hardware_info"]["changes"]
    assert (change["what"], change["is_loss"], change["now"]) == ("Disk", True, "")
    assert "Disk is gone: SSD 480 GB" in second["diagnostics_message"]
    available = await deploying.api.get("/dci/v3/server?where=is_available EQ true")
    assert available["size"] == 0
    # Known now: the next diagnosis finds nothing missing.
    await deploying.finish(IPMI, "operation_diag")
    assert (await deploying.server(IPMI))["diagnostics_message"] is None


@ON_ONE_DATABASE
async def test_a_disk_that_reports_its_end_is_told(deploying: Deploying) -> None:
    deploying.rack.control.fault_on(deploying.machine(IPMI).name, "disk_failing", value=2)
    await deploying.finish(IPMI, "operation_diag")
    message = (await deploying.server(IPMI))["diagnostics_message"]
    assert (
        message == f"Disk sdb (serial {deploying.machine(IPMI).disks[1].serial}) reports that it is failing"
    )


@ON_ONE_DATABASE
async def test_numbers_of_rows_stay_when_the_hardware_does(deploying: Deploying) -> None:
    await deploying.finish(IPMI, "operation_diag")
    before = await deploying.server(IPMI)
    await deploying.finish(IPMI, "operation_diag")
    after = await deploying.server(IPMI)
    assert (before["disks"], before["nics"]) == (after["disks"], after["nics"])


async def test_a_machine_with_the_address_of_another_server_is_not_believed(deploying: Deploying) -> None:
    foreign = deploying.machine(IPMI).nics[1].mac
    shown = await deploying.server(IPMI)
    await deploying.api.post(
        f"/dci/v3/server/{IPMI}", {"nics": [{"mac": shown["nics"][0]["mac"], "name": "eth0"}]}
    )
    await deploying.api.post("/dci/v3/server", {"name": "other", "nics": [{"mac": foreign}]})
    task = await deploying.finish(IPMI, "operation_diag")
    assert task["status"] == "fail"
    assert (
        f"MAC address {foreign} was found in this machine and belongs to server 7 (other)"
        in task["error"]["msg"]
    )
    assert task["error"]["msg"] in (await deploying.server(IPMI))["diagnostics_message"]
    await deploying.settled(IPMI)


# --- what is refused before anything is touched


async def test_what_cannot_be_diagnosed_is_refused_at_once(deploying: Deploying) -> None:
    api, path = deploying.api, f"/dci/v3/server/{IPMI}/operation_diag"
    assert "no diagnostics template 9" in (await api.refused(404, "POST", path, {"os_template_id": 9}))["msg"]
    assert "clear_hdd" in (await api.refused(400, "POST", path, {"clear_hdd": "some"}))["msg"]
    await api.post(f"/dci/v3/server/{IPMI}/protection")
    assert (await api.refused(403, "POST", path, {}))["code"] == 3001
    await api.post("/dci/v3/server", {"name": "no-bmc", "nics": [{"mac": "00:00:5e:00:53:fe"}]})
    assert "no BMC access" in (await api.refused(409, "POST", "/dci/v3/server/7/operation_diag", {}))["msg"]
    bmc = {"driver": "ipmi", "host": "192.0.2.9", "user": "a", "password": "b"}
    await api.post("/dci/v3/server", {"name": "no-nic", "bmc": bmc})
    error = await api.refused(409, "POST", "/dci/v3/server/8/operation_diag", {})
    assert "no network interface" in error["msg"]
    assert (await api.get("/dci/v3/task"))["size"] == 0


async def test_a_second_operation_is_refused_while_one_runs(deploying: Deploying) -> None:
    task = await deploying.start(IPMI, "operation_diag")
    error = await deploying.api.refused(409, "POST", f"/dci/v3/server/{IPMI}/operation_diag", {})
    assert error["value"]["task"] == task
    assert (await deploying.api.finished(task, timeout=60))["status"] == "complete"


# --- when the boot does not work


@ON_ONE_DATABASE
@BOTH
async def test_overrides_that_are_dropped_are_set_again(deploying: Deploying, number: int) -> None:
    deploying.rack.control.fault_on(deploying.machine(number).name, "drop_override", times=2)
    task = await deploying.finish(number, "operation_diag")
    assert task["status"] == "complete", task
    assert deploying.done(number, "boot_override_dropped") == ["boot_override_dropped"] * 2
    # Reading the override back shows the loss at once: no boot is wasted on it.
    assert deploying.done(number, "booted") == ["booted"]


@ON_ONE_DATABASE
async def test_a_boot_that_does_not_come_is_tried_in_other_ways(deploying: Deploying) -> None:
    """A dead first boot (the firmware finds no boot server) costs an attempt; the second one gets through."""
    deploying.rack.control.set_boot_server("")
    task = await deploying.start(REDFISH, "operation_diag")
    name = deploying.machine(REDFISH).name
    await asyncio.to_thread(
        deploying.rack.control.wait_for_event, name, "booted", after=deploying.begin, timeout=60
    )
    deploying.rack.control.set_boot_server(deploying.url, vlan=PROVISIONING_VLAN)
    ended = await deploying.api.finished(task, timeout=60)
    assert ended["status"] == "complete", ended
    message = next(step["message"] for step in ended["steps"] if step["name"] == "boot_from_network")
    assert message == "at attempt 2, with the override set again"
    assert deploying.done(REDFISH, *POWER).count("powered_on") == 2


@ON_ONE_DATABASE
async def test_a_server_that_never_boots_is_given_up_with_what_was_tried(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying.services.settings, "boot_patience", 1.0)
    deploying.rack.control.set_boot_server("http://192.0.2.1:1")
    deploying.rack.control.fault_on(deploying.machine(IPMI).name, "drop_override")
    task = await deploying.finish(IPMI, "operation_diag", timeout=110)
    assert task["status"] == "fail"
    words = task["error"]["msg"]
    assert "could not be booted from the network" in words
    for tried in ("for one boot", "set again", "boot mode left", "every boot", "restart of the BMC"):
        assert tried in words
    await deploying.settled(IPMI)
    assert deploying.rack.control.machine(deploying.machine(IPMI).name).power == "off"
    assert "The server could not be booted" in (await deploying.server(IPMI))["diagnostics_message"]


@ON_ONE_DATABASE
async def test_a_port_that_does_not_move_ends_the_operation_with_everything_put_back(
    deploying: Deploying,
) -> None:
    switch = "sw-1"
    deploying.rack.control.switch_fault_on(switch, "ignore_vlan")
    task = await deploying.finish(IPMI, "operation_diag", timeout=90)
    deploying.rack.control.switch_fault_off(switch, "ignore_vlan")
    assert task["status"] == "fail"
    assert "accepted the change and did not make it" in task["error"]["msg"]
    assert deploying.done(IPMI, "powered_on") == []
    await deploying.settled(IPMI)


# --- when it ends before its end


async def test_a_diagnosis_that_is_called_off_is_taken_back(deploying: Deploying) -> None:
    deploying.rack.control.set_boot_server("http://192.0.2.1:1")
    task = await deploying.start(IPMI, "operation_diag")
    await deploying.until(task, "boot_from_network")
    await deploying.api.post(f"/dci/v3/task/{task}/abort")
    ended = await deploying.api.finished(task, timeout=60)
    assert ended["status"] == "canceled", ended
    assert deploying.rack.control.machine(deploying.machine(IPMI).name).power == "off"
    assert (await deploying.server(IPMI))["diagnostics_message"] is None
    await deploying.settled(IPMI)


async def test_a_diagnosis_ends_by_force_with_the_reason(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying.services.settings, "boot_patience", 600.0)
    deploying.rack.control.set_boot_server("http://192.0.2.1:1")
    task = await deploying.start(IPMI, "operation_diag")
    await deploying.until(task, "boot_from_network", waits_for="boot script")
    async with deploying.services.db.write() as session:  # an hour passes
        row = await session.get_one(Task, task)
        assert row.started_at is not None
        row.started_at -= timedelta(minutes=60)
    ended = await deploying.api.finished(task, timeout=60)
    assert ended["error"]["msg"] == (
        "Ended by force after 60 minutes at boot_from_network, while waiting for the server to ask for its boot script."
    )
    await deploying.settled(IPMI)


@ON_ONE_DATABASE
async def test_no_ramdisk_is_said_before_the_server_is_touched(deploying: Deploying) -> None:
    (deploying.services.settings.data / "boot" / "ramdisk" / "initrd.img").unlink()
    task = await deploying.finish(IPMI, "operation_diag")
    assert "There is no ramdisk to boot" in task["error"]["msg"]
    assert deploying.done(IPMI, *POWER) == []


@ON_ONE_DATABASE
async def test_after_an_operation_a_machine_that_asks_the_network_first_boots_its_disk(
    deploying: Deploying,
) -> None:
    """The boot server answers everybody, and the answer is the disk: never the task of yesterday again."""
    await deploying.finish(IPMI, "operation_diag")
    name = deploying.machine(IPMI).name
    assert deploying.rack.rack is not None
    machine = deploying.rack.rack.machines[name]
    begin = deploying.rack.control.last_event()
    monkey = dataclasses.replace(machine.config, network_first=True)
    usual, machine.config = machine.config, monkey
    deploying.rack.control.set_boot_server(deploying.url)
    try:
        for _ in range(3):
            deploying.rack.control.press_power_button(name)
            await asyncio.to_thread(
                deploying.rack.control.wait_for, name, lambda view: view.phase == "running"
            )
            assert deploying.rack.control.machine(name).booted_from == "disk"
            deploying.rack.control.press_power_button(name, hold=True)
    finally:
        machine.config = usual
    log = deploying.rack.control.log(after=begin, device=name)
    answers = [event.detail["answer"] for event in log if event.action == "netboot_answered"]
    assert answers == ["disk"] * 3
