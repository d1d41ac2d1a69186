"""Consoles through HTTP, with the virtual rack's BMC and a running `ipmitool` behind them."""

import asyncio
from datetime import timedelta

import pytest

from rackhand.consoles import broker, leases
from rackhand.consoles import recording as recordings
from rackhand.consoles.model import ConsoleLease
from rackhand.db import utcnow
from rackhand.errors import Conflict
from rackhand.servers import queries
from rackhand.servers.model import Server
from tests.conftest import Api
from tests.consoles.conftest import BARE, IPMI, REDFISH, Racked

PATH = f"/dci/v3/server/{IPMI}/console"


async def kinds(api: Api) -> list[str]:
    found = await api.get(f"/dci/v3/event?where=subject.id EQ {IPMI} AND kind CP 'server.console%'")
    return [row["kind"] for row in found["list"]]


async def wait_until_closed(racked: Racked) -> None:
    async with asyncio.timeout(20):
        while (await racked.admin.get(PATH))["state"] != "closed":  # noqa: ASYNC110  # as a client would
            await asyncio.sleep(0.05)


async def test_two_viewers_share_one_session_and_a_late_one_sees_what_was(racked: Racked) -> None:
    async with racked.viewer() as first, racked.viewer() as second:
        await first.until_open()
        await racked.log_in(first)
        await racked.type("echo for all\r")
        for viewer in (first, second):
            await viewer.until(b"\r\nfor all\r\n")
        async with racked.viewer() as late:
            assert b"Password: " in await late.until(b"\r\nfor all\r\n")
            state = await racked.admin.get(PATH)
            assert (state["state"], state["viewers"], state["may_type"]) == ("open", 3, True)
        await racked.type("echo again\r")
        await first.until(b"\r\nagain\r\n")
        async with racked.viewer(last_id=first.last_id) as resumed:
            await racked.type("echo on\r")
            assert b"again" not in await resumed.until(b"\r\non\r\n")
            assert "reset" not in resumed.last
    assert racked.logged("console_opened") == 1


async def test_a_session_ends_when_its_last_viewer_has_left(
    racked: Racked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "LINGER", timedelta(seconds=0.3))
    monkeypatch.setattr(broker, "LOOK_EVERY", timedelta(seconds=0.1))
    async with racked.viewer() as viewer:
        await viewer.until_open()
    await wait_until_closed(racked)
    name = racked.rack.config.machines[0].name
    await asyncio.to_thread(racked.rack.control.wait_for_event, name, "console_closed", after=racked.begin)
    async with asyncio.timeout(5):
        while len(await kinds(racked.admin)) < 2:  # noqa: ASYNC110  # as a client would
            await asyncio.sleep(0.05)
    async with racked.viewer() as viewer:  # nothing stuck
        await viewer.until_open()


@pytest.mark.parametrize(
    ("setting", "reason"), [("console_minutes", "time"), ("console_idle_minutes", "idle")]
)
async def test_a_session_ends_in_time(
    racked: Racked, monkeypatch: pytest.MonkeyPatch, setting: str, reason: str
) -> None:
    monkeypatch.setattr(broker, "LOOK_EVERY", timedelta(seconds=0.1))
    monkeypatch.setattr(racked.services.settings, setting, 0.01)
    async with racked.viewer() as viewer:
        assert (await viewer.until_end())["reason"] == reason


async def test_a_bmc_that_ends_the_session_is_told_to_viewers(racked: Racked) -> None:
    name = racked.rack.config.machines[0].name
    async with racked.viewer() as viewer:
        await viewer.until_open()
        await asyncio.to_thread(racked.rack.control.fault_on, name, "unplugged")
        await racked.type("x")
        end = await viewer.until_end()
        assert (end["reason"], end["message"][:26]) == ("lost", "The BMC ended the console.")
        assert await viewer.next_message() == ""
    racked.rack.control.reset()


async def test_a_bmc_that_refuses_is_told_to_viewers(racked: Racked) -> None:
    name = racked.rack.config.machines[0].name
    await asyncio.to_thread(racked.rack.control.fault_on, name, "wrong_password")
    async with racked.viewer() as viewer:
        end = await viewer.until_end()
        assert (end["reason"], "refused user" in end["message"]) == ("failed", True)
    racked.rack.control.reset()
    assert (await racked.admin.get(PATH))["state"] == "closed"
    refusal = await racked.admin.refused(409, "DELETE", PATH)
    assert "not freed" in refusal["msg"]


async def test_an_administrator_ends_it_for_all(owned: Racked, customer: Api) -> None:
    async with owned.viewer(customer) as viewer:
        await viewer.until_open()
        assert await owned.admin.delete(PATH) == {"id": IPMI}
        assert (await viewer.until_end())["reason"] == "admin"
    await owned.admin.delete(PATH)  # frees it in the BMC, where nobody has it


async def test_somebody_elses_console_is_not_found(racked: Racked, customer: Api) -> None:
    for method, path in [
        ("GET", PATH),
        ("GET", f"{PATH}/stream"),
        ("GET", f"{PATH}/log"),
        ("POST", f"{PATH}/input"),
    ]:
        await customer.refused(404, method, path, {"data": "eA=="} if method == "POST" else None)
    await customer.refused(403, "DELETE", PATH)


async def test_an_owner_types_unless_the_server_is_suspended_or_in_quarantine(
    owned: Racked, customer: Api
) -> None:
    async with owned.viewer(customer) as viewer:
        await viewer.until_open()
        await owned.log_in(viewer, customer)
        await owned.admin.post(f"/dci/v3/server/{IPMI}/quarantine", {"reason": "abuse"})
        refusal = await customer.refused(403, "POST", f"{PATH}/input", {"data": "eA=="})
        assert "quarantine" in refusal["msg"]
        assert (await customer.get(PATH))["may_type"] is False
        await owned.type("echo support\r")
        await viewer.until(b"\r\nsupport\r\n")


async def test_a_new_owner_sees_nothing_of_the_one_before(
    owned: Racked, customer: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "LOOK_EVERY", timedelta(seconds=0.1))
    body = {"email": "second@example.com", "password": "correct horse", "role": "@user"}
    await owned.admin.post("/dci/v3/user", body)
    second = await owned.admin.sign_in("second@example.com")
    async with owned.viewer(customer) as viewer:
        await viewer.until_open()
        await owned.log_in(viewer, customer)
        assert len((await customer.get(f"{PATH}/log"))["list"]) == 1
        async with owned.services.db.write() as session:
            server = await session.get(Server, IPMI)
            assert server is not None
            server.owner_id = 3
        assert (await viewer.until_end())["reason"] == "owner"
    async with owned.viewer(second) as viewer:
        await viewer.until_open()
        await owned.type("echo new\r", second)
        assert b"Password" not in await viewer.until(b"new")
    assert len((await second.get(f"{PATH}/log"))["list"]) == 1
    assert len((await owned.admin.get(f"{PATH}/log"))["list"]) == 2


async def test_input_is_checked(racked: Racked) -> None:
    path = f"{PATH}/input"
    await racked.admin.refused(409, "POST", path, {"data": "eA=="})  # not open
    await racked.admin.refused(400, "POST", path, {"data": "?"})
    await racked.admin.refused(400, "POST", path, {})
    await racked.admin.refused(413, "POST", path, {"data": "eHh4" * 2000})


async def test_servers_without_a_console_say_so(racked: Racked) -> None:
    for server, words in [(REDFISH, "Redfish"), (BARE, "no BMC access")]:
        state = await racked.admin.get(f"/dci/v3/server/{server}/console")
        assert (state["is_supported"], words in state["why"]) == (False, True)
        refusal = await racked.admin.refused(409, "GET", f"/dci/v3/server/{server}/console/stream")
        assert words in refusal["msg"]
        await racked.admin.refused(409, "DELETE", f"/dci/v3/server/{server}/console")


async def test_a_console_that_another_process_has_is_a_conflict_that_names_it(racked: Racked) -> None:
    assert await leases.take(racked.services.db, IPMI, "other-host-77-abcd") is False
    refusal = await racked.admin.refused(409, "GET", f"{PATH}/stream")
    assert "other-host-77-abcd" in refusal["msg"]
    assert (await racked.admin.get(PATH))["state"] == "other_process"
    await racked.admin.delete(PATH)  # takes it away
    assert await leases.renew(racked.services.db, IPMI, "other-host-77-abcd") is False
    async with racked.viewer() as viewer:
        await viewer.until_open()
        with pytest.raises(Conflict):
            await leases.take(racked.services.db, IPMI, "other-host-77-abcd")


async def test_the_session_of_a_process_that_died_is_freed_in_the_bmc(racked: Racked) -> None:
    async with racked.viewer() as viewer:
        await viewer.until_open()
        here = racked.services.consoles
        there = broker.Consoles(here._tools, holder="later")
        async with racked.services.db.write() as session:
            lease = await session.get(ConsoleLease, IPMI)
            assert lease is not None
            lease.lease_until = utcnow() - timedelta(seconds=1)
            server = await queries.for_task(session, IPMI)
        assert server is not None
        taken = await there.open(server)
        async with asyncio.timeout(20):
            while taken.state is not broker.State.OPEN:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await there.close()
        assert taken.ended is not None


async def test_everything_is_recorded_and_found(owned: Racked, customer: Api) -> None:
    async with owned.viewer() as viewer:
        await viewer.until_open()
        await owned.log_in(viewer)
        await owned.type("echo \x1b[31mRed\x1b[0m words\r")
        await viewer.until(b"words\r\n")
        task = await owned.admin.post(f"/dci/v3/server/{IPMI}/power_reset")
        await owned.admin.finished(task["task"])
        await viewer.until(b"Booting from disk")
    await owned.admin.delete(PATH)
    rows = (await customer.get(f"{PATH}/log"))["list"]
    assert [row["owner"] for row in rows] == [2]
    found = (await customer.get(f"{PATH}/log?search=BOOTING FROM"))["list"]
    assert [line["text"] for line in found[0]["lines"]] == ["Booting from disk (legacy)."]
    assert (await customer.get(f"{PATH}/log?search=nowhere"))["list"] == []
    text = await customer.get(f"{PATH}/log/{rows[0]['name']}")
    said = [line["text"] for line in text["lines"]]
    assert "--- user 1 types ---" in said
    assert "--- An administrator ended it. ---" in said
    assert not any("secret" in line for line in said)
    cast = await customer.call("GET", f"{PATH}/log/{rows[0]['name']}/cast")
    assert cast.text.startswith('{"version":2,"width":80,"height":24,"timestamp":')
    for name in ("20200101T000000000Z", "..%2f..%2frackhand", "x"):
        await customer.refused(404, "GET", f"{PATH}/log/{name}")


async def test_the_task_that_runs_is_noted(owned: Racked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "LOOK_EVERY", timedelta(seconds=0.02))
    async with owned.viewer() as viewer:
        await viewer.until_open()
        task = await owned.admin.post(f"/dci/v3/server/{IPMI}/power_reset")
        await owned.admin.finished(task["task"])
        await asyncio.sleep(0.05)
    await owned.admin.delete(PATH)
    rows = (await owned.admin.get(f"{PATH}/log?search=task {task['task']} (power_reset) runs"))["list"]
    assert len(rows) == 1
    folder = recordings.folder_of(owned.services.settings.data, IPMI)
    assert len(recordings.recordings(folder)) == 1
