"""Outlets over real SNMP; what counts is the relay of the simulated PDU and the log of the machine behind it."""

import asyncio

import pytest
from sqlalchemy import update

from rackhand.app import Services
from rackhand.power.model import Outlet
from rackhand.settings import Settings
from tests.conftest import Api
from tests.power.conftest import BARE, Fed

IPMI, REDFISH = 1, 2


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A dead BMC is given up soon."""
    settings.bmc_patience = 2
    settings.bmc_start_patience = 4
    return settings


def words(task: dict[str, object]) -> dict[str, str]:
    """The messages of a task's steps, by step."""
    steps = task["steps"]
    assert isinstance(steps, list)
    return {step["name"]: step["message"] for step in steps}


async def test_one_outlet_takes_a_feed_and_all_of_them_the_mains(fed: Fed) -> None:
    await fed.switch(IPMI, "off", "a")
    assert fed.delivers(IPMI) == [False, True]
    assert (await fed.cord(IPMI, "a"))["power_status"] == "off"
    assert fed.logged(IPMI, "mains_lost") == 0
    assert (await fed.call(IPMI, "power_on"))["status"] == "complete"
    await fed.switch(REDFISH, "off", "a", "b")
    assert fed.logged(REDFISH, "mains_lost") == 1
    assert await fed.power(REDFISH) == "off"
    found = await fed.api.get(
        "/dci/v3/server?where=pdu_connection.power_status EQ 'off' AND power_status EQ 'off'&orderby=id"
    )
    assert [row["id"] for row in found["list"]] == [REDFISH]
    # Its BMC is silent, which is no news: the server stays off instead of unknown.
    await fed.poller.sweep(server_ids=[REDFISH])
    row = await fed.api.get(f"/dci/v3/server/{REDFISH}")
    assert (row["power_status"], row["power_status_info"] != "") == ("off", True)
    await fed.switch(REDFISH, "on", "a")
    assert fed.logged(REDFISH, "mains_restored") == 1
    assert (await fed.cord(REDFISH, "a"))["power_status"] == "on"


@pytest.mark.parametrize("number", [IPMI, REDFISH], ids=["ipmi", "redfish"])
async def test_power_on_gives_mains_first_and_then_uses_the_bmc(fed: Fed, number: int) -> None:
    await fed.switch(number, "off", "a", "b")
    fed.poller._tools.settings.bmc_start_patience = 60
    task = await fed.call(number, "power_on")
    assert task["status"] == "complete"
    assert fed.delivers(number) == [True, True]
    assert fed.done(number) == ["powered_on"]
    assert await fed.power(number) == "on"
    said = words(task)
    assert "switched on" in said["enable_outlets"]
    assert f"{fed.pdu(number, 'b')} outlet" in said["enable_outlets"]


async def test_power_on_leaves_a_feed_alone_that_is_off_on_purpose(fed: Fed) -> None:
    await fed.switch(IPMI, "off", "b")
    task = await fed.call(IPMI, "power_on")
    assert (task["status"], words(task)["enable_outlets"]) == ("complete", "an outlet is on")
    assert fed.delivers(IPMI) == [True, False]


@pytest.mark.parametrize("trouble", ["silent", "without that outlet"])
async def test_a_pdu_in_trouble_does_not_stop_a_server_whose_bmc_answers(
    fed: Fed, services: Services, trouble: str
) -> None:
    for feed in "ab":
        if trouble == "silent":
            fed.rack.control.pdu_fault_on(fed.pdu(IPMI, feed), "unplugged")
        else:
            cord = await fed.cord(IPMI, feed)
            async with services.db.write() as session:
                await session.execute(update(Outlet).where(Outlet.id == cord["port_id"]).values(number=77))
    task = await fed.call(IPMI, "power_on")
    assert task["status"] == "complete"
    assert "the BMC answers" in words(task)["enable_outlets"]
    assert fed.done(IPMI) == ["powered_on"]


async def test_a_server_without_a_bmc_is_switched_by_its_outlets(fed: Fed) -> None:
    assert await fed.power(BARE) == "on"
    await fed.api.refused(409, "POST", f"/dci/v3/server/{BARE}/power_on", {})
    task = await fed.call(BARE, "power_off")
    assert task["status"] == "complete"
    assert (fed.delivers(BARE), await fed.power(BARE)) == ([False, False], "off")
    assert "switched off" in words(task)["switch_off_outlets"]
    assert words(task)["switch_off_chassis"] == "there is no BMC: the outlets are used"
    await fed.api.refused(409, "POST", f"/dci/v3/server/{BARE}/power_off", {})
    task = await fed.call(BARE, "power_on")
    assert task["status"] == "complete"
    assert (fed.delivers(BARE), await fed.power(BARE)) == ([True, True], "on")
    assert fed.rack.control.machine(fed.name(BARE)).power == "on"
    shown = await fed.api.get(f"/dci/v3/server/{BARE}/power")
    assert (shown["power_status"], shown["power_status_info"]) == ("on", "")


async def test_a_reset_without_a_bmc_cuts_all_feeds_before_it_gives_any(fed: Fed) -> None:
    task = await fed.call(BARE, "power_reset")
    assert task["status"] == "complete"
    assert [fed.logged(BARE, action) for action in ("mains_lost", "mains_restored")] == [1, 1]
    assert fed.delivers(BARE) == [True, True]
    assert fed.rack.control.machine(fed.name(BARE)).power == "on"


async def test_a_reset_without_a_bmc_switches_on_what_is_off(fed: Fed) -> None:
    await fed.call(BARE, "power_off")
    task = await fed.call(BARE, "power_reset")
    assert task["status"] == "complete"
    assert words(task)["switch_off_outlets"] == "its outlets are off already"
    assert (fed.delivers(BARE), await fed.power(BARE)) == ([True, True], "on")


async def test_a_server_with_neither_bmc_nor_outlets_is_refused(fed: Fed) -> None:
    for feed in "ab":
        cord = await fed.cord(BARE, feed)
        await fed.api.delete(f"/dci/v3/server/{BARE}/pdu_connection/{cord['connection_id']}")
    error = await fed.api.refused(409, "POST", f"/dci/v3/server/{BARE}/power_on", {})
    assert "no BMC access and no outlet" in error["msg"]
    assert await fed.power(BARE) == "unknown"


@pytest.mark.parametrize("number", [IPMI, REDFISH], ids=["ipmi", "redfish"])
async def test_a_dead_bmc_is_given_up_and_the_outlets_are_used(fed: Fed, number: int) -> None:
    assert (await fed.call(number, "power_on"))["status"] == "complete"
    fed.rack.control.fault_on(fed.name(number), "unplugged")
    task = await fed.call(number, "power_off", timeout=90)
    assert task["status"] == "complete"
    assert "no answer of the BMC" in words(task)["switch_off_chassis"]
    assert fed.delivers(number) == [False, False]
    assert fed.rack.control.machine(fed.name(number)).power == "off"
    assert await fed.power(number) == "off"
    # On again: mains come, the BMC does not, and that is said instead of assumed.
    task = await fed.call(number, "power_on", timeout=90)
    assert task["status"] == "complete"
    assert fed.delivers(number) == [True, True]
    assert "whether it runs is not known" in words(task)["switch_on_chassis"]
    assert await fed.power(number) == "unknown"


async def test_a_dead_bmc_with_mains_does_not_let_power_on_cut_them(fed: Fed) -> None:
    fed.rack.control.fault_on(fed.name(IPMI), "unplugged")
    task = await fed.call(IPMI, "power_on", timeout=90)
    assert task["status"] == "fail"
    assert "A reset switches its outlets off and on" in str(task["error"])
    assert (fed.delivers(IPMI), fed.logged(IPMI, "mains_lost")) == ([True, True], 0)
    # A reset may: its BMC comes back with the mains and is used.
    fed.poller._tools.settings.bmc_start_patience = 60
    answer = await fed.api.post(f"/dci/v3/server/{IPMI}/power_reset")
    while fed.logged(IPMI, "mains_lost") == 0:
        assert (await fed.api.get(f"/dci/v3/task/{answer['task']}"))["finished_at"] is None
        await asyncio.sleep(0.1)
    fed.rack.control.fault_off(fed.name(IPMI), "unplugged")
    task = await fed.api.finished(answer["task"], timeout=90)
    assert task["status"] == "complete"
    assert (fed.delivers(IPMI), await fed.power(IPMI)) == ([True, True], "on")
    assert fed.done(IPMI)[-1] == "powered_on"


async def test_a_pdu_that_accepts_and_ignores_is_found_out_and_the_other_feed_is_put_back(fed: Fed) -> None:
    fed.rack.control.pdu_fault_on(fed.pdu(BARE, "b"), "ignore_outlet")
    task = await fed.call(BARE, "power_off")
    assert task["status"] == "fail"
    assert "wanted off, shown is on" in str(task["error"])
    assert fed.pdu(BARE, "b") in str(task["error"])
    assert (fed.delivers(BARE), fed.logged(BARE, "mains_lost")) == ([True, True], 0)
    assert await fed.power(BARE) == "on"
    row = await fed.api.get(f"/dci/v3/server/{BARE}")
    assert {cord["problem"] for cord in row["pdu_connections"]} == {None}  # seen to be as before


async def test_a_relay_that_is_stuck_is_found_out_by_what_it_delivers(fed: Fed) -> None:
    fed.rack.control.pdu_fault_on(fed.pdu(BARE, "b"), "stuck_outlet", value=fed.outlet(BARE, "b").number)
    task = await fed.call(BARE, "power_off")
    assert task["status"] == "fail"
    assert "shown is off at" in str(task["error"])
    assert fed.delivers(BARE) == [True, True]


async def test_one_feed_is_enough_to_switch_on_and_the_other_is_flagged(fed: Fed) -> None:
    await fed.call(BARE, "power_off")
    fed.rack.control.pdu_fault_on(fed.pdu(BARE, "a"), "ignore_outlet")
    task = await fed.call(BARE, "power_on")
    assert task["status"] == "complete"
    assert "wanted on, shown is off" in words(task)["enable_outlets"]
    assert (fed.delivers(BARE), await fed.power(BARE)) == ([False, True], "on")
    cord = await fed.cord(BARE, "a")
    assert (cord["power_status"], "could not switch it on" in str(cord["problem"])) == ("unknown", True)
    await fed.api.post(await fed.outlet_path(BARE, "a"), {"problem": None})
    assert (await fed.cord(BARE, "a"))["problem"] is None


async def test_a_task_that_is_aborted_halfway_puts_the_first_feed_back(fed: Fed) -> None:
    fed.rack.control.pdu_fault_on(fed.pdu(BARE, "b"), "unplugged")
    answer = await fed.api.post(f"/dci/v3/server/{BARE}/power_off")
    while fed.delivers(BARE)[0]:
        assert (await fed.api.get(f"/dci/v3/task/{answer['task']}"))["finished_at"] is None
        await asyncio.sleep(0.1)
    await fed.api.post(f"/dci/v3/task/{answer['task']}/abort")
    assert (await fed.api.finished(answer["task"], timeout=60))["status"] == "canceled"
    assert (fed.delivers(BARE), fed.logged(BARE, "mains_lost")) == ([True, True], 0)


@pytest.mark.parametrize("action", ["off", "on", "cycle"])
async def test_a_dry_run_sends_nothing_and_says_exactly_what_the_real_run_sends(
    fed: Fed, action: str
) -> None:
    if action == "on":
        await fed.switch(BARE, "off", "a")
    path = await fed.outlet_path(BARE, "a")
    before = fed.delivers(BARE)
    asked = await fed.api.post(f"{path}?dry_run=true", {"action": action})
    dry = await fed.api.finished(asked["task"])
    assert (dry["status"], fed.delivers(BARE)) == ("complete", before)
    asked = await fed.api.post(path, {"action": action})
    real = await fed.api.finished(asked["task"])
    assert real["status"] == "complete"
    assert real["result"]["sent"] == dry["result"]["would_send"] != []
    assert fed.delivers(BARE) == [action != "off", True]
    if action != "cycle":
        asked = await fed.api.post(f"{path}?dry_run=true", {"action": action})
        again = await fed.api.finished(asked["task"])
        assert (again["result"], again["steps"][0]["message"]) == (None, f"dry run: already {action}")


async def test_a_cycle_of_what_is_no_server_is_done_by_the_pdu_itself(fed: Fed) -> None:
    cord = await fed.cord(BARE, "a")
    outlets = await fed.api.get(f"/dci/v3/pdu/{cord['pdu_id']}/outlet?where=server IS null&limit=1")
    path = f"/dci/v3/pdu/{cord['pdu_id']}/outlet/{outlets['list'][0]['id']}"
    await fed.api.post(f"{path}/connection", {"device_name": "sw-2"})
    task = await fed.api.finished((await fed.api.post(path, {"action": "cycle"}))["task"])
    assert (task["status"], task["subject"]["kind"]) == ("complete", "pdu")
    pdu = str(cord["pdu_name"])
    log = fed.rack.control.log(after=fed.begin, device=pdu)
    assert [event.action for event in log if event.action.startswith("outlet")] == ["outlet_off", "outlet_on"]
    assert len(task["result"]["sent"]) == 1
    fed.rack.control.pdu_fault_on(pdu, "ignore_outlet")
    task = await fed.api.finished((await fed.api.post(path, {"action": "cycle"}))["task"], timeout=60)
    assert (task["status"], "was never seen off" in task["error"]["msg"]) == ("fail", True)


async def test_a_protected_server_keeps_its_mains(fed: Fed) -> None:
    await fed.api.post(f"/dci/v3/server/{BARE}/protection", {"value": True})
    path = await fed.outlet_path(BARE, "a")
    for action in ("off", "cycle"):
        error = await fed.api.refused(403, "POST", path, {"action": action})
        assert "protected" in error["msg"]
    await fed.api.refused(403, "POST", f"/dci/v3/server/{BARE}/power_reset", {})
    cord = await fed.cord(BARE, "a")
    await fed.api.refused(403, "DELETE", f"/dci/v3/server/{BARE}/pdu_connection/{cord['connection_id']}")
    assert fed.delivers(BARE) == [True, True]


async def test_a_customer_sees_its_outlets_and_switches_none(fed: Fed, customer: Api) -> None:
    user = (await fed.api.get("/dci/v3/user?where=email EQ 'customer@example.com'"))["list"][0]
    await fed.api.post(f"/dci/v3/server/{BARE}/owner", {"owner": user["id"]})
    cords = await customer.get(f"/dci/v3/server/{BARE}/pdu_connection")
    assert [(cord["feed"], cord["power_status"]) for cord in cords["list"]] == [("a", "on"), ("b", "on")]
    assert (await customer.get(f"/dci/v3/server/{BARE}/energy"))["id"] == BARE
    await customer.refused(403, "POST", await fed.outlet_path(BARE, "a"), {"action": "off"})
    await customer.refused(404, "GET", f"/dci/v3/server/{IPMI}/pdu_connection")
    await customer.refused(404, "GET", f"/dci/v3/server/{IPMI}/energy")
    # By the calls that it has always had, the outlets work for it.
    task = await customer.post(f"/dci/v3/server/{BARE}/power_off")
    assert (await customer.finished(task["task"]))["status"] == "complete"
    assert fed.delivers(BARE) == [False, False]
