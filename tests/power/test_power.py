"""Power over real protocols; what counts is the machine's own log."""

import asyncio

import pytest

from tests.power.conftest import Racked

IPMI, REDFISH = 1, 2
BOTH = pytest.mark.parametrize("number", [IPMI, REDFISH], ids=["ipmi", "redfish"])


@BOTH
async def test_a_server_is_switched_on_off_and_reset_each_once(racked: Racked, number: int) -> None:
    api, path = racked.api, f"/dci/v3/server/{number}"
    assert await racked.power(number) == "off"
    for call, power, done in [
        ("power_on", "on", ["powered_on"]),
        ("power_reset", "on", ["powered_on", "powered_off", "powered_on"]),
        ("power_off", "off", ["powered_on", "powered_off", "powered_on", "powered_off"]),
    ]:
        task = (await api.post(f"{path}/{call}"))["task"]
        assert (await api.finished(task))["status"] == "complete"
        assert await racked.power(number) == power
        assert racked.done(number) == done
    shown = await api.get(path)
    assert (shown["operation"]["status"], shown["operation"]["name"]) == ("ok", "power_off")


@BOTH
async def test_reset_switches_on_what_is_off(racked: Racked, number: int) -> None:
    task = (await racked.api.post(f"/dci/v3/server/{number}/power_reset"))["task"]
    assert (await racked.api.finished(task))["status"] == "complete"
    assert racked.done(number) == ["powered_on"]


async def test_what_is_on_is_not_switched_on_and_what_is_off_not_off(racked: Racked) -> None:
    error = await racked.api.refused(409, "POST", f"/dci/v3/server/{IPMI}/power_off", {})
    assert "off already" in error["msg"]
    await racked.api.finished((await racked.api.post(f"/dci/v3/server/{IPMI}/power_on"))["task"])
    error = await racked.api.refused(409, "POST", f"/dci/v3/server/{IPMI}/power_on", {})
    assert "on already" in error["msg"]


async def test_a_second_operation_on_a_busy_server_is_refused_with_the_running_task(racked: Racked) -> None:
    racked.rack.control.fault_on(racked.name(IPMI), "slow", value=3.0)
    task = (await racked.api.post(f"/dci/v3/server/{IPMI}/power_on"))["task"]
    error = await racked.api.refused(409, "POST", f"/dci/v3/server/{IPMI}/power_reset", {})
    assert error["code"] == 2423
    assert error["value"]["task"] == task
    racked.rack.control.fault_off(racked.name(IPMI), "slow")
    assert (await racked.api.finished(task))["status"] == "complete"


@BOTH
async def test_soft_off_asks_the_system_first(racked: Racked, number: int) -> None:
    await racked.api.finished((await racked.api.post(f"/dci/v3/server/{number}/power_on"))["task"])
    racked.rack.control.wait_for(racked.name(number), lambda view: view.phase == "running")
    task = (await racked.api.post(f"/dci/v3/server/{number}/power_off", {"soft": True}))["task"]
    steps = (await racked.api.finished(task))["steps"]
    assert racked.done(number) == ["powered_on", "soft_off_requested", "powered_off"]
    assert (steps[0]["message"], steps[1]["message"]) == ("", "already off")


async def test_a_system_that_does_not_shut_down_is_switched_off_after_the_bound(racked: Racked) -> None:
    racked.rack.control.fault_on(racked.name(IPMI), "ignore_soft_off")
    await racked.api.finished((await racked.api.post(f"/dci/v3/server/{IPMI}/power_on"))["task"])
    racked.rack.control.wait_for(racked.name(IPMI), lambda view: view.phase == "running")
    task = (await racked.api.post(f"/dci/v3/server/{IPMI}/power_off", {"soft": True, "hard_after": 2}))[
        "task"
    ]
    assert (await racked.api.finished(task))["steps"][0]["message"] == "still on after 2 s"
    assert racked.done(IPMI)[-1] == "powered_off"


async def _set_access(racked: Racked, number: int, **changes: object) -> None:
    bmc = racked.rack.config.machines[number - 1].bmc
    body: dict[str, object] = {
        "driver": bmc.kind.value, "host": bmc.host, "port": bmc.port, "user": bmc.user, "password": bmc.password,
        "settings": {"scheme": "http", "timeout_seconds": 1} if bmc.kind == "redfish" else {},
    }  # fmt: skip
    await racked.api.post(f"/dci/v3/server/{number}/bmc", body | changes)


@BOTH
async def test_a_wrong_password_fails_with_words_and_two_logins_at_most(racked: Racked, number: int) -> None:
    await _set_access(racked, number, password="guess")
    first = (await racked.api.post(f"/dci/v3/server/{number}/power_on"))["task"]
    assert "Correct the user or the password" in (await racked.api.finished(first))["error"]["msg"]
    # Neither the poller nor another operation asks again.
    await racked.poller.sweep()
    second = (await racked.api.post(f"/dci/v3/server/{number}/power_on"))["task"]
    assert "refused user" in (await racked.api.finished(second))["error"]["msg"]
    assert (await racked.api.get(f"/dci/v3/server/{number}/bmc"))["refused_at"] is not None
    # An IPMI client finds out by itself that the password does not fit and hangs up: the BMC sees no refusal.
    assert (0 if number == IPMI else 1) <= racked.logged(number, "login_refused") <= 2
    assert racked.done(number) == []
    # An access that is set anew is tried again, even with the same words.
    await _set_access(racked, number, password="guess")
    third = (await racked.api.post(f"/dci/v3/server/{number}/power_on"))["task"]
    assert "Correct the user or the password" in (await racked.api.finished(third))["error"]["msg"]
    await _set_access(racked, number)
    fourth = (await racked.api.post(f"/dci/v3/server/{number}/power_on"))["task"]
    assert (await racked.api.finished(fourth))["status"] == "complete"


async def test_a_bmc_that_comes_back_within_the_deadline_is_asked_again(racked: Racked) -> None:
    await _set_access(racked, REDFISH)
    racked.rack.control.fault_on(racked.name(REDFISH), "unplugged")
    task = (await racked.api.post(f"/dci/v3/server/{REDFISH}/power_on"))["task"]
    for _ in range(100):
        shown = await racked.api.get(f"/dci/v3/task/{task}")
        if shown["state"] == "waiting":
            break
        await asyncio.sleep(0.1)
    assert shown["waiting"]["for"].startswith("another attempt")
    assert shown["waiting"]["until"] is not None
    racked.rack.control.fault_off(racked.name(REDFISH), "unplugged")
    assert (await racked.api.finished(task, timeout=40))["status"] == "complete"


async def test_an_unreachable_bmc_is_shown_as_such_and_never_as_off(racked: Racked) -> None:
    racked.rack.control.fault_on(racked.name(IPMI), "unplugged")
    await racked.poller.sweep()
    shown = await racked.api.get(f"/dci/v3/server/{IPMI}")
    assert shown["power_status"] == "unknown"
    assert shown["power_unreachable_since"] is not None
    assert shown["power_status_info"]
    assert await racked.power(REDFISH) == "off"
    racked.rack.control.fault_off(racked.name(IPMI), "unplugged")
    await racked.poller.sweep()
    shown = await racked.api.get(f"/dci/v3/server/{IPMI}")
    assert (shown["power_status"], shown["power_unreachable_since"]) == ("off", None)


async def test_a_cancelled_operation_leaves_the_server_usable(racked: Racked) -> None:
    racked.rack.control.fault_on(racked.name(IPMI), "ignore_power")
    task = (await racked.api.post(f"/dci/v3/server/{IPMI}/power_on"))["task"]
    await asyncio.sleep(1.5)
    await racked.api.post(f"/dci/v3/task/{task}/abort")
    assert (await racked.api.finished(task))["status"] == "canceled"
    racked.rack.control.fault_off(racked.name(IPMI), "ignore_power")
    again = (await racked.api.post(f"/dci/v3/server/{IPMI}/power_on"))["task"]
    assert (await racked.api.finished(again))["status"] == "complete"


async def test_a_change_that_somebody_else_made_is_seen_and_told(racked: Racked) -> None:
    racked.rack.control.press_power_button(racked.name(REDFISH))
    racked.rack.control.wait_for(racked.name(REDFISH), lambda view: view.power == "on")
    await racked.poller.sweep()
    assert await racked.power(REDFISH) == "on"
    events = await racked.api.get(
        "/dci/v3/event?where=kind EQ 'server.power_seen' AND subject.id EQ 2&orderby=id desc"
    )
    assert events["list"][0]["data"] == {"from": "off", "to": "on"}


async def test_a_call_is_answered_while_the_bmc_is_silent(racked: Racked) -> None:
    racked.rack.control.fault_on(racked.name(IPMI), "unplugged")
    task = (await racked.api.post(f"/dci/v3/server/{IPMI}/power_on"))["task"]
    assert (await racked.api.get(f"/dci/v3/task/{task}"))["status"] not in ("complete", "fail")
    assert racked.done(IPMI) == []
    racked.rack.control.fault_off(racked.name(IPMI), "unplugged")
    assert (await racked.api.finished(task, timeout=60))["status"] == "complete"
