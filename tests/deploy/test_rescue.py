"""Rescue on machines of the rack."""

import asyncio

import pytest
from passlib.hash import sha512_crypt
from sqlalchemy import select

from rackhand.agent.commands import Outcome, execute
from rackhand.agent.protocol import Command
from rackhand.boot.model import TaskSecret
from tests.agent.machines import Iron
from tests.agent.test_install import Told
from tests.conftest import Api
from tests.deploy.conftest import Deploying
from tests.deploy.systems import KEY, PASSWORD, give_addresses

IPMI, REDFISH = 1, 4
DONE = ("powered_on", "powered_off", "booted", "rescue_started", "addresses_taken", "reset")


async def test_rescue_lets_the_customer_in_and_ends_at_its_stop(deploying: Deploying) -> None:
    addresses = await give_addresses(deploying.api, REDFISH)
    answer = await deploying.api.post(f"/dci/v3/server/{REDFISH}/operation_recovery")
    assert len(answer["password"]) == 16
    task = await deploying.api.finished(answer["task"], timeout=60)
    assert task["status"] == "complete", task
    name = deploying.machine(REDFISH).name
    taken = await asyncio.to_thread(
        deploying.rack.control.wait_for_event, name, "addresses_taken", after=deploying.begin
    )
    assert taken.detail == {"mac": deploying.machine(REDFISH).nics[0].mac, "addresses": " ".join(addresses)}
    started = next(event for event in deploying.rack.control.log(after=deploying.begin, device=name)
                   if event.action == "rescue_started")  # fmt: skip
    assert started.detail == {"ssh_keys": 0, "password": True}
    assert deploying.rack.control.machine(name).booted_from == "pxe"
    shown = await deploying.server(REDFISH)
    assert shown["recovery"]["since"] < shown["recovery"]["until"]
    # Nothing is armed and the ports are the customer's while it lasts.
    await deploying.settled(REDFISH)
    assert answer["password"] not in str(task)
    async with deploying.services.db.read() as session:
        assert list(await session.scalars(select(TaskSecret.task_id))) == []

    stopped = await deploying.finish(REDFISH, "operation_recovery", {"action": "stop"})
    assert stopped["status"] == "complete", stopped
    view = await asyncio.to_thread(
        deploying.rack.control.wait_for, name, lambda view: view.phase == "running"
    )
    assert view.booted_from == "disk"
    assert (await deploying.server(REDFISH))["recovery"] is None
    error = await deploying.api.refused(
        409, "POST", f"/dci/v3/server/{REDFISH}/operation_recovery", {"action": "stop"}
    )
    assert "not in rescue" in error["msg"]


async def test_a_restart_ends_rescue_and_nothing_brings_it_back(deploying: Deploying) -> None:
    body = {"ssh_pub_keys": [KEY], "hours": 1}
    answer = await deploying.api.post(f"/dci/v3/server/{IPMI}/operation_recovery", body)
    assert "password" not in answer
    assert (await deploying.api.finished(answer["task"], timeout=60))["status"] == "complete"
    assert (await deploying.server(IPMI))["recovery"]
    await deploying.finish(IPMI, "power_reset")
    name = deploying.machine(IPMI).name
    view = await asyncio.to_thread(
        deploying.rack.control.wait_for, name, lambda view: view.phase == "running"
    )
    assert (view.booted_from, view.boot_override) == ("disk", None)
    assert (await deploying.server(IPMI))["recovery"] is None


async def test_rescue_that_does_not_boot_leaves_the_server_as_it_was(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying.services.settings, "boot_patience", 0.5)
    deploying.rack.control.set_boot_server("http://192.0.2.1:1")
    task = await deploying.finish(REDFISH, "operation_recovery", {"password": PASSWORD}, timeout=110)
    assert task["status"] == "fail"
    assert (await deploying.server(REDFISH))["recovery"] is None
    await deploying.settled(REDFISH)


async def test_what_makes_no_sense_is_refused(deploying: Deploying, customer: Api) -> None:
    path = f"/dci/v3/server/{IPMI}/operation_recovery"
    await deploying.api.post("/dci/v3/os_template", {"name": "Rescue for us", "kind": "rescue"})
    await deploying.api.post("/dci/v3/os_template", {"name": "System"})
    for status, body in (
        (400, {"action": "pause"}),
        (400, {"password": "weak"}),
        (400, {"ssh_pub_keys": ["x"]}),
        (400, {"hours": 1000}),
        (404, {"os_template_id": 2}),
        (404, {"os_template_id": 3}),
        (409, {"action": "stop"}),
    ):
        await deploying.api.refused(status, "POST", path, body)
    await customer.refused(404, "POST", path, {})
    await deploying.api.post(f"/dci/v3/server/{IPMI}/protection")
    await deploying.api.refused(403, "POST", path, {})
    assert (await deploying.api.get("/dci/v3/task"))["size"] == 0


def test_the_ramdisk_keeps_the_bound_by_itself() -> None:
    """Nobody has to be there: it restarts the machine when its time is over."""
    iron = Iron()
    args = {
        "password_hash": sha512_crypt.using(rounds=1000).hash(PASSWORD), "ssh_keys": [KEY], "seconds": 3600,
        "mac": "00:00:5e:00:53:01", "addresses": ["192.0.2.10/24"], "gateways": ["192.0.2.1"], "resolvers": [],
    }  # fmt: skip
    outcome: Outcome = execute(iron.host, Command("1.r.1", "rescue", args), Told())
    assert outcome.ok
    assert outcome.then is not None
    assert iron.actions() == ["rescue_started"]
    before = iron.host.now()
    outcome.then()
    assert iron.host.now() - before >= 3600
    assert iron.actions() == ["rescue_started", "addresses_taken", "power_unchanged"]
