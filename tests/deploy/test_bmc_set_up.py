"""Setting up BMCs in diagnoses; the machines' log and the BMCs' own accounts are the judge.

BMCs of the rack can be given any address of 127.0.0.0/8: all of it is this machine.
"""

import dataclasses
from typing import Any

import pytest

from rackhand import app
from rackhand.deploy.bmc import USER
from rackhand.hardware.drivers import DRIVERS
from rackhand.ipam import bmc_addresses
from rackhand.servers import queries
from rackhand.servers.bmc import endpoint_of
from rackhand.settings import Settings
from rackhand.sim.bmc import Bmc
from tests.deploy.conftest import Deploying
from tests.deploy.test_interrupted import doubled

IPMI, REDFISH = 1, 4
BOTH = pytest.mark.parametrize("number", [IPMI, REDFISH], ids=["ipmi", "redfish"])
ON_ONE_DATABASE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
SET_UP = {"setup_ipmi": True, "ipmi_pool": 0}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"bmc_patience": 1.0})


def bmc_of(deploying: Deploying, number: int) -> Bmc:
    assert deploying.rack.rack is not None
    return deploying.rack.rack.bmcs[deploying.machine(number).name]


async def add_pool(deploying: Deploying, span: str, cidr: str, gateway: str = "") -> int:
    api = deploying.api
    await api.post("/ip/v3/ipnet", {"name": cidr, "gateway": gateway})
    pool: int = (await api.post("/ip/v3/ippool", {"name": f"bmcs {cidr}"}))["id"]
    await api.post(f"/ip/v3/ippool/{pool}/range", {"name": span})
    return pool


async def add_near_pool(deploying: Deploying) -> int:
    """Three addresses that this machine can give to BMCs of the rack."""
    return await add_pool(deploying, "127.0.9.10-127.0.9.12", "127.0.9.0/24", "127.0.9.1")


async def access_of(deploying: Deploying, number: int) -> Any:
    async with deploying.services.db.read() as session:
        server = await queries.for_task(session, number)
        assert server is not None
        assert server.bmc is not None
        return endpoint_of(server.bmc, deploying.services.vault)


async def addresses(deploying: Deploying) -> list[tuple[str, str]]:
    rows = (await deploying.api.get("/dci/v3/ip?orderby=name ASC"))["list"]
    return [(row["name"], row["status"]) for row in rows]


async def events(deploying: Deploying, kind: str) -> list[str]:
    found = await deploying.api.get(f"/dci/v3/event?where=kind EQ '{kind}'")
    return [row["message"] for row in found["list"]]


# --- our user alone


@BOTH
async def test_our_user_is_set_up_and_the_access_is_his(deploying: Deploying, number: int) -> None:
    before = await access_of(deploying, number)
    task = await deploying.finish(number, "operation_diag", SET_UP)
    assert task["status"] == "complete", task
    after = await access_of(deploying, number)
    assert (after.driver, after.host, after.port) == (before.driver, before.host, before.port)
    assert (after.user, len(after.password)) == (USER, 16)
    bmc = bmc_of(deploying, number)
    slots = [slot for slot, account in bmc.accounts.items() if account.name == USER]
    assert len(slots) == 1
    account = bmc.accounts[slots[0]]
    assert (account.password, account.privilege, account.is_enabled) == (after.password, 4, True)
    shown = await deploying.server(number)
    assert shown["diagnostics_message"] is None
    assert await events(deploying, "server.bmc_set_up") == [
        f"The BMC of server {shown['name']} was set up: user rackhand in slot {slots[0]}, address {after.host}."
    ]
    assert after.password not in str(task)
    await deploying.settled(number)


@ON_ONE_DATABASE
async def test_setting_up_again_keeps_slot_and_password(deploying: Deploying) -> None:
    await deploying.finish(IPMI, "operation_diag", SET_UP)
    first = await access_of(deploying, IPMI)
    await deploying.finish(IPMI, "operation_diag", SET_UP)
    assert await access_of(deploying, IPMI) == first
    assert [each.name for each in bmc_of(deploying, IPMI).accounts.values()].count(USER) == 1
    assert len(await events(deploying, "server.bmc_set_up")) == 1


# --- with an address


@BOTH
async def test_the_bmc_is_given_an_address_that_nobody_else_gets(deploying: Deploying, number: int) -> None:
    pool = await add_near_pool(deploying)
    task = await deploying.finish(number, "operation_diag", SET_UP | {"ipmi_pool": pool})
    assert task["status"] == "complete", task
    access = await access_of(deploying, number)
    assert (access.host, access.user) == ("127.0.9.10", USER)
    lan = bmc_of(deploying, number).lan
    assert (lan.address, lan.netmask, lan.gateway, lan.is_static) == (
        "127.0.9.10", "255.255.255.0", "127.0.9.1", True,
    )  # fmt: skip
    shown = await deploying.server(number)
    assert shown["diagnostics_message"] is None
    assert shown["hardware_info"]["bmc"]["address"] == "127.0.9.10"
    assert await addresses(deploying) == [("127.0.9.10", "special")]
    assert (await deploying.api.get(f"/dci/v3/server/{number}/ip"))["list"] == []
    given = await deploying.api.post(f"/dci/v3/server/{number}/ip", {"ip_pool": pool, "family": "ipv4"})
    assert ("127.0.9.11", "allocated") in await addresses(deploying), given
    error = await deploying.api.refused(409, "DELETE", "/dci/v3/ip/1")
    assert "the address of the BMC" in error["msg"]
    await deploying.api.finished(await deploying.start(number, "power_on"), timeout=30)
    await deploying.settled(number)


@ON_ONE_DATABASE
async def test_an_address_is_released_when_the_bmc_has_another_one_or_no_access(deploying: Deploying) -> None:
    first, second = await add_near_pool(deploying), await add_pool(deploying, "127.0.8.10", "127.0.8.0/24")
    for pool in (first, first, second):
        task = await deploying.finish(IPMI, "operation_diag", SET_UP | {"ipmi_pool": pool})
        assert (task["status"], (await deploying.server(IPMI))["diagnostics_message"]) == ("complete", None)
    assert await addresses(deploying) == [("127.0.8.10", "special"), ("127.0.9.10", "quarantined")]
    error = await deploying.api.refused(409, "DELETE", "/ip/v3/ipnet/2")
    assert "127.0.8.10 is the address of the BMC of server 1" in error["msg"]
    async with deploying.services.db.write() as session:
        assert await bmc_addresses.release_unused(session) == []
    await deploying.api.delete(f"/dci/v3/server/{IPMI}/bmc")
    async with deploying.services.db.write() as session:
        assert await bmc_addresses.release_unused(session) == ["127.0.8.10"]
    assert await addresses(deploying) == [("127.0.8.10", "quarantined"), ("127.0.9.10", "quarantined")]


# --- without an access


@ON_ONE_DATABASE
async def test_a_server_without_bmc_access_gets_one_when_somebody_switches_it_on(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, port = deploying.machine(IPMI).name, deploying.machine(IPMI).bmc.port
    monkeypatch.setitem(
        DRIVERS, "ipmi", dataclasses.replace(DRIVERS["ipmi"], port=port)
    )  # ours is not at 623
    assert deploying.rack.rack is not None
    machine = deploying.rack.rack.machines[name]
    monkeypatch.setattr(machine, "config", dataclasses.replace(machine.config, network_first=True))
    await deploying.api.delete(f"/dci/v3/server/{IPMI}/bmc")
    task = await deploying.start(IPMI, "operation_diag", SET_UP)
    await deploying.until(task, "boot_from_network", waits_for="It has no BMC access: switch it off and on")
    deploying.rack.control.press_power_button(name)
    ended = await deploying.api.finished(task, timeout=60)
    assert (ended["status"], (await deploying.server(IPMI))["diagnostics_message"]) == ("complete", None)
    access = await access_of(deploying, IPMI)
    assert (access.driver, access.host, access.user) == ("ipmi", bmc_of(deploying, IPMI).lan.address, USER)
    assert deploying.rack.control.machine(name).power == "off"
    await deploying.settled(IPMI)


# --- when it does not work


async def _seen_failing(deploying: Deploying, number: int, body: object) -> str:
    """A diagnosis whose set-up fails: it goes on, the access stays good, and the problem is told."""
    before = await access_of(deploying, number)
    task = await deploying.finish(number, "operation_diag", body, timeout=90)
    assert task["status"] == "complete", task
    assert await access_of(deploying, number) == before
    await deploying.settled(number)
    words: str = (await deploying.server(number))["diagnostics_message"]
    assert words.startswith("The BMC was not set up: ")
    assert await events(deploying, "server.bmc_set_up") == []
    return words


@ON_ONE_DATABASE
async def test_a_bmc_without_a_free_slot_is_left_alone(deploying: Deploying) -> None:
    deploying.rack.control.fault_on(deploying.machine(IPMI).name, "bmc_users_full")
    pool = await add_near_pool(deploying)
    words = await _seen_failing(deploying, IPMI, SET_UP | {"ipmi_pool": pool})
    assert "no free user slot" in words
    assert deploying.done(IPMI, "bmc_user_set", "bmc_moved", "login_refused") == []
    assert await addresses(deploying) == [("127.0.9.10", "quarantined")]


@ON_ONE_DATABASE
async def test_a_bmc_that_accepts_and_ignores_is_found_out(deploying: Deploying) -> None:
    deploying.rack.control.fault_on(deploying.machine(REDFISH).name, "bmc_keeps_settings")
    words = await _seen_failing(deploying, REDFISH, SET_UP)
    assert "accepted user 'rackhand'" in words


@ON_ONE_DATABASE
async def test_an_address_that_cannot_be_reached_is_taken_back(deploying: Deploying) -> None:
    """Nobody routes 192.0.2.0/24 here, so the BMC is out of reach there; the agent puts it back."""
    pool = await add_pool(deploying, "192.0.2.10", "192.0.2.0/24", "192.0.2.1")
    host = bmc_of(deploying, IPMI).lan.address
    words = await _seen_failing(deploying, IPMI, SET_UP | {"ipmi_pool": pool})
    assert "nobody could sign in as rackhand" in words
    assert bmc_of(deploying, IPMI).lan.address == host
    assert deploying.done(IPMI, "bmc_moved") == ["bmc_moved"] * 2
    assert await addresses(deploying) == [("192.0.2.10", "quarantined")]


@ON_ONE_DATABASE
async def test_a_task_that_is_called_off_in_the_middle_keeps_the_access_that_works(
    deploying: Deploying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The BMC is at its new address when the task ends: the undo finds that out, and switches off over it."""
    monkeypatch.setattr(deploying.services.settings, "bmc_patience", 60.0)
    pool, name = await add_near_pool(deploying), deploying.machine(IPMI).name
    task = await deploying.start(IPMI, "operation_diag", SET_UP | {"ipmi_pool": pool})
    await deploying.until(task, "take_inventory")
    deploying.rack.control.fault_on(name, "unplugged")
    await deploying.until(task, "sign_in_to_bmc", waits_for="the BMC to let rackhand in")
    await deploying.api.post(f"/dci/v3/task/{task}/abort")
    deploying.rack.control.fault_off(name, "unplugged")
    ended = await deploying.api.finished(task, timeout=60)
    assert ended["status"] == "canceled", ended
    access = await access_of(deploying, IPMI)
    assert (access.host, access.user) == ("127.0.9.10", USER)
    assert deploying.rack.control.machine(name).power == "off"
    assert await addresses(deploying) == [("127.0.9.10", "special")]
    await deploying.settled(IPMI)


# --- what is refused before anything is touched


@ON_ONE_DATABASE
async def test_pools_that_cannot_give_an_address_are_refused_at_once(deploying: Deploying) -> None:
    api, path = deploying.api, f"/dci/v3/server/{IPMI}/operation_diag"
    assert "no pool 9" in (await api.refused(404, "POST", path, SET_UP | {"ipmi_pool": 9}))["msg"]
    six = await add_pool(deploying, "2001:db8::10-2001:db8::20", "2001:db8::/64")
    error = await api.refused(400, "POST", path, SET_UP | {"ipmi_pool": six})
    assert "no IPv4 addresses" in error["msg"]
    full = await add_pool(deploying, "127.0.9.10", "127.0.9.0/24")
    await api.post("/dci/v3/server/2/ip", {"ip_pool": full, "family": "ipv4"})
    error = await api.refused(409, "POST", path, SET_UP | {"ipmi_pool": full})
    assert "No free IPv4 address is left in pool" in error["msg"]
    error = await api.refused(400, "POST", path, {"setup_ipmi": False, "ipmi_pool": full})
    assert "setup_ipmi" in error["msg"]
    assert deploying.done(IPMI, "powered_on", "login_accepted") == []


class TestTwice:
    @pytest.fixture
    def settings(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
        """Every product that is opened from here on runs its steps twice."""
        monkeypatch.setattr(app, "OPERATIONS", tuple(doubled(operation) for operation in app.OPERATIONS))
        return settings

    @BOTH
    async def test_a_bmc_is_set_up_once(self, deploying: Deploying, number: int) -> None:
        pool = await add_near_pool(deploying)
        task = await deploying.finish(number, "operation_diag", SET_UP | {"ipmi_pool": pool}, timeout=90)
        assert (task["status"], (await deploying.server(number))["diagnostics_message"]) == ("complete", None)
        assert deploying.done(number, "bmc_moved") == ["bmc_moved"]
        assert await addresses(deploying) == [("127.0.9.10", "special")]
        for kind in ("server.bmc_set_up", "server.bmc_changed", "ip.kept_for_bmc"):
            assert len(await events(deploying, kind)) == 1
