"""Cutting servers off and letting them in again; what counts is the port of the simulated switch."""

from tests.conftest import Api
from tests.switches.conftest import Wired


async def test_a_suspended_server_loses_its_link_and_keeps_running(wired: Wired) -> None:
    wired.rack.control.press_power_button(wired.name(1))
    wired.rack.control.wait_for(wired.name(1), lambda view: view.power == "on")
    assert {port["oper_status"] for port in await wired.ports(1)} == {"up"}
    answer = await wired.api.post("/dci/v3/server/1/suspend")
    assert answer["id"] == 1
    task = await wired.api.finished(answer["task"])
    assert (task["status"], task["name"]) == ("complete", "suspend")
    assert {(port["admin_status"], port["oper_status"]) for port in await wired.ports(1)} == {
        ("down", "down")
    }
    row = await wired.api.get("/dci/v3/server/1")
    assert row["state"] == "suspended"
    assert [port["admin_status"] for port in row["switch_connection"] if port["is_ipmi_connection"]] == ["up"]
    assert wired.rack.control.machine(wired.name(1)).power == "on"

    answer = await wired.api.post("/dci/v3/server/1/resume")
    assert (await wired.api.finished(answer["task"]))["status"] == "complete"
    assert {(port["admin_status"], port["oper_status"]) for port in await wired.ports(1)} == {("up", "up")}
    assert (await wired.api.get("/dci/v3/server/1"))["state"] == "active"


async def test_a_dry_run_sends_nothing_and_says_exactly_what_the_real_run_sends(wired: Wired) -> None:
    dry = await wired.api.finished((await wired.api.post("/dci/v3/server/1/suspend?dry_run=true"))["task"])
    assert dry["status"] == "complete"
    assert {port["admin_status"] for port in await wired.ports(1)} == {"up"}
    assert (await wired.api.get("/dci/v3/server/1"))["state"] == "active"
    real = await wired.api.finished((await wired.api.post("/dci/v3/server/1/suspend"))["task"])
    assert dry["result"]["would_send"] == real["result"]["sent"]
    assert len(real["result"]["sent"]) == len(await wired.ports(1)) > 0
    again = await wired.api.finished((await wired.api.post("/dci/v3/server/1/suspend?dry_run=true"))["task"])
    assert again["result"] is None or again["result"].get("would_send", []) == []


async def test_swapped_cables_are_found_out_and_nothing_is_touched(wired: Wired) -> None:
    for server_id in (1, 2):
        wired.rack.control.press_power_button(wired.name(server_id))
        wired.rack.control.wait_for(wired.name(server_id), lambda view: view.power == "on")
    switch = wired.rack.config.switches[0].name
    first, second = [
        next(cable.port for cable in wired.rack.config.cables if cable.device == wired.name(n))
        for n in (1, 2)
    ]
    wired.rack.control.swap_cables(switch, first, second)
    task = await wired.api.finished((await wired.api.post("/dci/v3/server/1/suspend"))["task"])
    assert task["status"] == "fail"
    words = task["error"]["msg"]
    names = {port["description"] for port in await wired.ports(1)}
    assert any(str(name) in words for name in names)
    assert "heard on" in words
    assert {port["admin_status"] for port in await wired.ports(1)} == {"up"}
    assert "sent" not in (task["result"] or {})
    asked = await wired.api.post("/dci/v3/server/1/suspend", {"ignore_wiring": True})
    assert (await wired.api.finished(asked["task"]))["status"] == "complete"


async def test_a_switch_that_accepts_and_ignores_is_found_out(wired: Wired) -> None:
    wired.rack.control.switch_fault_on(wired.rack.config.switches[0].name, "ignore_admin_status")
    answer = await wired.api.post("/dci/v3/server/1/suspend")
    task = await wired.api.finished(answer["task"], timeout=60)
    assert task["status"] == "fail"
    assert "wanted admin status down" in task["error"]["msg"]
    assert "shown is admin status up" in task["error"]["msg"]
    row = await wired.api.get("/dci/v3/server/1")
    assert (row["state"], row["operation"]["status"]) == ("active", "failed")
    assert {port["problem"] for port in row["switch_connection"]} == {None}  # seen to be as before


async def test_a_switch_that_dies_halfway_leaves_a_flag_until_it_is_seen_again(wired: Wired) -> None:
    switch = wired.rack.config.switches[0].name
    wired.rack.control.switch_fault_on(switch, "crash_after_change")
    answer = await wired.api.post("/dci/v3/server/1/suspend")
    for _ in range(100):
        ports = await wired.ports(1)
        if any(port["problem"] for port in ports):
            break
        assert (await wired.api.get(f"/dci/v3/task/{answer['task']}"))["finished_at"] is None
    else:
        raise AssertionError("no port was flagged")
    wired.rack.control.switch_fault_off(switch, "crash_after_change")
    wired.rack.control.restart_switch(switch)
    task = await wired.api.finished(answer["task"], timeout=90)
    assert task["status"] == "complete"
    assert {port["problem"] for port in await wired.ports(1)} == {None}
    assert {port["admin_status"] for port in await wired.ports(1)} == {"down"}


async def test_a_server_that_is_not_plugged_in_is_refused(wired: Wired) -> None:
    for port in await wired.ports(3):
        await wired.api.delete(f"/dci/v3/server/3/switch_connection/{port['connection_id']}")
    error = await wired.api.refused(409, "POST", "/dci/v3/server/3/suspend", {})
    assert "switch_connection" in error["msg"]


async def test_a_customer_cannot_suspend_or_resume(wired: Wired, customer: Api) -> None:
    user = (await wired.api.get("/dci/v3/user?where=email EQ 'customer@example.com'"))["list"][0]
    await wired.api.post("/dci/v3/server/1/owner", {"owner": user["id"]})
    await customer.refused(403, "POST", "/dci/v3/server/1/resume", {})
    shown = await customer.get("/dci/v3/server/1/switch_connection")
    assert shown["size"] >= 1
    await customer.refused(404, "GET", "/dci/v3/server/2/switch_connection")


async def test_a_port_is_moved_into_a_vlan_and_back(wired: Wired) -> None:
    port = (await wired.ports(1))[0]
    body = {"vlan": 20, "connections": [port["connection_id"]]}
    task = await wired.api.finished((await wired.api.post("/dci/v3/server/1/port", body))["task"])
    assert task["status"] == "complete"
    assert (await wired.ports(1))[0]["vlan"] == 20
    await wired.api.refused(404, "POST", "/dci/v3/server/1/port", {"vlan": 999})
    await wired.api.refused(400, "POST", "/dci/v3/server/1/port", {"vlan": 5000})
    wired.rack.control.switch_fault_on(wired.rack.config.switches[0].name, "ignore_vlan")
    task = await wired.api.finished(
        (await wired.api.post("/dci/v3/server/1/port", body | {"vlan": 10}))["task"], timeout=60
    )
    assert task["status"] == "fail"
    assert "wanted VLAN 10" in task["error"]["msg"]
    assert (await wired.ports(1))[0]["vlan"] == 20
