"""Switches, ports, cables, VLANs and traffic over the API."""

import csv
import io
import time
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import update

from rackhand.app import Services
from rackhand.db import utcnow
from rackhand.events.model import Event
from rackhand.switches import samples
from rackhand.switches.samples import RAW_DAYS, Reading
from rackhand.switches.traffic import DAY_SECONDS, Sample
from tests.conftest import Api, server_body, statements
from tests.switches.conftest import Wired

BODY = {
    "name": "sw-9",
    "host": "192.0.2.21",
    "password": "s3cret-read",
    "settings": {"write_community": "s3cret-w"},
}


async def test_a_switch_is_added_changed_and_deleted_and_shows_no_secret(admin: Api) -> None:
    added = await admin.post("/dci/v3/switch", BODY)
    await admin.post(f"/dci/v3/task/{added['task']}/abort")
    await admin.finished(added["task"], timeout=60)
    path = f"/dci/v3/switch/{added['id']}"
    shown = await admin.get(path)
    assert (shown["name"], shown["driver"], shown["port"]) == ("sw-9", "snmp", 161)
    for text in (str(shown), str(await admin.get("/dci/v3/switch")), str(await admin.get("/dci/v3/event"))):
        assert "s3cret" not in text
    await admin.post(path, {"notes": "spare", "unit": None})
    assert (await admin.get(path))["notes"] == "spare"
    await admin.refused(409, "POST", "/dci/v3/switch", BODY | {"host": "192.0.2.22"})
    await admin.refused(409, "POST", "/dci/v3/switch", BODY | {"name": "sw-10"})
    error = await admin.refused(400, "POST", path, {"settings": {"colour": "red"}})
    assert "colour" in error["msg"]
    await admin.refused(400, "POST", "/dci/v3/switch", BODY | {"name": "x", "driver": "telepathy"})
    await admin.refused(404, "POST", "/dci/v3/switch", BODY | {"name": "x", "host": "h", "rack_id": 99})
    assert (await admin.get("/dci/v3/warehouse/switch?orderby=warehouse_status desc"))["size"] == 1
    await admin.delete(path)
    await admin.refused(404, "GET", path)
    drivers = (await admin.get("/dci/v3/switch_driver"))["list"]
    assert {field["name"] for field in drivers[0]["settings"] if field["secret"]} >= {"write_community"}


async def test_switches_are_for_administrators(customer: Api) -> None:
    for path in ("switch", "warehouse/switch", "switch/1", "switch/1/port", "switch_driver"):
        await customer.refused(403, "GET", f"/dci/v3/{path}")
    await customer.refused(403, "POST", "/dci/v3/switch", BODY)
    assert (await customer.get("/dci/v3/vlan"))["size"] == 0
    await customer.refused(403, "POST", "/dci/v3/vlan", {"vid": 100})


async def test_ports_are_discovered_and_listed_with_their_servers(wired: Wired) -> None:
    api = wired.api
    ports = await api.get("/dci/v3/switch/1/port?orderby=index")
    assert ports["size"] == 24
    assert ports["list"][0]["server"]["name"] == wired.name(1)
    assert ports["list"][23]["server"] is None
    named = await api.get(f"/dci/v3/switch/1/port?where=server.name EQ '{wired.name(2)}'&limit=10")
    assert {port["server"]["id"] for port in named["list"]} == {2}
    with_description = [port for port in ports["list"] if "thernet" in port["description"]]
    assert len(with_description) == 24
    task = await api.finished((await api.post("/dci/v3/switch/1/discover"))["task"])
    assert task["status"] == "complete"
    assert "none new" in task["steps"][0]["message"]


async def test_wiring_is_learnt_from_what_a_switch_hears(wired: Wired) -> None:
    api = wired.api
    wired.rack.control.press_power_button(wired.name(1))
    wired.rack.control.wait_for(wired.name(1), lambda view: view.power == "on")
    before = await wired.ports(1)
    for port in before:
        await api.delete(f"/dci/v3/server/1/switch_connection/{port['connection_id']}")
    assert await wired.ports(1) == []
    task = await api.finished((await api.post("/dci/v3/switch/1/discover", {"connect": True}))["task"])
    assert {row["verdict"] for row in task["result"]["wiring"]} == {"connected"}
    assert [port["id"] for port in await wired.ports(1)] == [port["id"] for port in before]
    again = await api.finished((await api.post("/dci/v3/switch/1/discover"))["task"])
    assert {row["verdict"] for row in again["result"]["wiring"]} == {"as written down"}


async def test_cables_are_written_down_once(wired: Wired) -> None:
    api = wired.api
    taken = (await wired.ports(1))[0]
    await api.refused(409, "POST", "/dci/v3/server/2/switch_connection", {"port_id": taken["id"]})
    free = (await api.get("/dci/v3/switch/1/port?where=server IS null&limit=1"))["list"][0]
    nic = (await api.get("/dci/v3/server/1/nic"))["list"][0]
    error = await api.refused(
        409, "POST", "/dci/v3/server/1/switch_connection", {"port_id": free["id"], "nic_id": nic["id"]}
    )
    assert "another port" in error["msg"]
    body = {"switch": 1, "port": free["name"], "is_ipmi_connection": True, "notes": "spare"}
    made = await api.post("/dci/v3/server/1/switch_connection", body)
    row = (await api.get(f"/dci/v3/switch/1/port/{free['id']}"))["connection_id"]
    assert row == made["id"]
    path = f"/dci/v3/server/1/switch_connection/{made['id']}"
    await api.post(path, {"do_not_collect_traffic": True, "notes": ""})
    await api.refused(400, "POST", path, {"notes": None})
    listed = {each["id"]: each for each in (await api.get("/dci/v3/server/1/switch_connection"))["list"]}
    assert listed[made["id"]]["do_not_collect_traffic"] is True
    await api.refused(404, "DELETE", f"/dci/v3/server/2/switch_connection/{made['id']}")
    await api.delete(path)
    await api.refused(409, "DELETE", "/dci/v3/switch/1")
    await api.refused(409, "DELETE", "/dci/v3/server/1")


async def test_a_device_is_plugged_in_and_a_port_becomes_an_uplink(wired: Wired) -> None:
    api = wired.api
    free = (await api.get("/dci/v3/switch/1/port?where=server IS null&limit=1"))["list"][0]
    path = f"/dci/v3/switch/1/port/{free['id']}"
    await api.post(f"{path}/connection", {"device_name": "pdu-a1-a"})
    assert (await api.get(path))["device"] == "pdu-a1-a"
    await api.delete(f"{path}/connection")
    await api.delete(f"{path}/connection")
    await api.post(path, {"is_uplink": True})
    await api.refused(409, "POST", path, {"admin_status": "down"})
    await api.refused(409, "POST", "/dci/v3/server/1/switch_connection", {"port_id": free["id"]})
    await api.post(path, {"is_uplink": False})
    done = await api.post(path, {"admin_status": "down"})
    task = await api.finished(done["task"])
    assert (task["status"], task["subject"]["kind"]) == ("complete", "switch")
    assert (await api.get(path))["admin_status"] == "down"
    of_server = (await wired.ports(1))[0]
    done = await api.post(f"/dci/v3/switch/1/port/{of_server['id']}?dry_run=true", {"admin_status": "down"})
    task = await api.finished(done["task"])
    assert (task["subject"], len(task["result"]["would_send"])) == (
        {"kind": "server", "id": 1, "name": wired.name(1)},
        1,
    )
    assert (await wired.ports(1))[0]["admin_status"] == "up"


async def test_vlans_belong_to_somebody_within_the_quota(admin: Api, customer: Api) -> None:
    user = (await admin.get("/dci/v3/user?where=email EQ 'customer@example.com'"))["list"][0]
    await admin.post(f"/dci/v3/user/{user['id']}", {"vlans_per_user": 1})
    first = await admin.post("/dci/v3/vlan", {"vid": 100, "owner": user["id"], "name": "backend"})
    await admin.refused(409, "POST", "/dci/v3/vlan", {"vid": 101, "owner": user["id"]})
    await admin.refused(409, "POST", "/dci/v3/vlan", {"vid": 100})
    await admin.refused(400, "POST", "/dci/v3/vlan", {"vid": 4095})
    boot = await admin.post("/dci/v3/vlan", {"vid": 10, "purpose": "provisioning"})
    await admin.refused(409, "POST", "/dci/v3/vlan", {"vid": 11, "purpose": "provisioning"})
    await admin.refused(400, "POST", f"/dci/v3/vlan/{boot['id']}", {"owner": user["id"]})
    mine = await customer.get("/dci/v3/vlan")
    assert [(vlan["vid"], vlan["owner_email"]) for vlan in mine["list"]] == [(100, "customer@example.com")]
    await customer.refused(404, "GET", f"/dci/v3/vlan/{boot['id']}")
    await admin.post(f"/dci/v3/vlan/{first['id']}", {"owner": None, "vid": 102})
    assert (await admin.get(f"/dci/v3/vlan/{first['id']}"))["owner"] is None
    await admin.delete(f"/dci/v3/vlan/{first['id']}")


async def test_a_customer_moves_its_port_into_its_own_vlan_only(wired: Wired, customer: Api) -> None:
    api = wired.api
    user = (await api.get("/dci/v3/user?where=email EQ 'customer@example.com'"))["list"][0]
    await api.post("/dci/v3/server/1/owner", {"owner": user["id"]})
    await customer.refused(404, "POST", "/dci/v3/server/1/port", {"vlan": 20})
    vlan = (await api.get("/dci/v3/vlan?where=vid EQ 20"))["list"][0]
    await api.post(f"/dci/v3/vlan/{vlan['id']}", {"purpose": "customer", "owner": user["id"]})
    task = await api.finished((await customer.post("/dci/v3/server/1/port", {"vlan": 20}))["task"])
    assert task["status"] == "complete"
    assert {port["vlan"] for port in await wired.ports(1)} == {20}
    await customer.refused(403, "POST", "/dci/v3/server/1/port", {"admin_status": "up"})
    await customer.refused(404, "POST", "/dci/v3/server/2/port", {"vlan": 20})
    await api.refused(409, "POST", "/dci/v3/server/2/port", {"vlan": 20})
    await api.refused(409, "DELETE", f"/dci/v3/vlan/{vlan['id']}")


async def test_the_sweep_reads_counters_and_states(wired: Wired) -> None:
    api = wired.api
    wired.rack.control.press_power_button(wired.name(1))
    wired.rack.control.wait_for(wired.name(1), lambda view: view.phase == "running")
    assert await wired.sweep.sweep() == len(wired.rack.config.switches)
    shown = await api.get("/dci/v3/server/1/traffic/samples?period=day")
    collected = [port for port in await wired.ports(1) if not port["do_not_collect_traffic"]]
    assert shown["size"] == len(collected)
    assert {row["bits"] for row in shown["list"]} == {64}
    assert (await api.get("/dci/v3/switch/1"))["seen_at"] is not None


def _readings(port_id: int, begin: int, rates: list[tuple[int, int]]) -> list[Reading]:
    """Samples every five minutes, of bit/s received and sent by the port in the interval before each."""
    octets_in = octets_out = 2**63 - 10**9  # so that the sign changes on the way
    found = [Reading(port_id, Sample(begin, octets_in, octets_out, 1000, 64))]
    for number, (rate_in, rate_out) in enumerate(rates, start=1):
        octets_in += rate_in * 300 // 8
        octets_out += rate_out * 300 // 8
        found.append(
            Reading(port_id, Sample(begin + 300 * number, octets_in, octets_out, 1000 + 300 * number, 64))
        )
    return found


async def _write(services: Services, readings: list[Reading]) -> None:
    for reading in readings:
        async with services.db.write() as session:
            await samples.save_readings(session, [reading])


async def test_a_bill_is_the_same_from_the_exported_samples(wired: Wired, services: Services) -> None:
    api = wired.api
    begin = 1_790_000_100  # in September 2026
    port = (await wired.ports(1))[0]
    rates = [(8_000 * number, 80_000 * ((number * 37) % 101)) for number in range(1, 101)]
    await _write(services, _readings(int(str(port["id"])), begin, rates))
    path = f"/dci/v3/server/1/traffic?from={begin}&to={begin + 300 * 100}&connection={port['connection_id']}"
    shown = await api.get(path)
    assert shown["volume"]["out"] == sum(rate * 300 // 8 for rate, _ in rates)
    assert shown["percentile_95"]["out"] == sorted(rate for rate, _ in rates)[94]
    assert shown["percentile_95"]["in"] == sorted(rate for _, rate in rates)[94]
    assert shown["percentile_95"]["max"] == max(shown["percentile_95"]["in"], shown["percentile_95"]["out"])
    assert (shown["intervals"], shown["gaps"], shown["resets"]) == (100, 0, 0)
    assert len(shown["series"]) == 100

    export = path.replace("/traffic?", "/traffic/samples?") + "&format=csv"
    response = await api.call("GET", export)
    assert response.headers["content-type"].startswith("text/csv")
    rows = [
        {name: int(value) for name, value in row.items()}
        for row in csv.DictReader(io.StringIO(response.text))
    ]
    sent: dict[int, list[int]] = {}
    for first, second in pairwise(rows):
        slot = sent.setdefault(first["at"] // 300, [0, 0])
        slot[0] += second["octets_out"] - first["octets_out"]
        slot[1] += second["at"] - first["at"]
    own = sorted(octets * 8 // seconds for octets, seconds in sent.values())
    assert own[-(-95 * len(own) // 100) - 1] == shown["percentile_95"]["out"]


async def test_a_customer_sees_no_traffic_of_who_was_there_before(
    wired: Wired, customer: Api, services: Services
) -> None:
    port = (await wired.ports(1))[0]
    now = int(time.time())
    await _write(services, _readings(int(str(port["id"])), now - 3000, [(8_000, 16_000)] * 8))
    user = (await wired.api.get("/dci/v3/user?where=email EQ 'customer@example.com'"))["list"][0]
    await wired.api.post("/dci/v3/server/1/owner", {"owner": user["id"]})
    path = f"/dci/v3/server/1/traffic?from={now - 4000}&to={now + 4000}"
    assert (await wired.api.get(path))["intervals"] == 8
    await _write(services, _readings(int(str(port["id"])), now + 300, [(8_000, 16_000)] * 2))
    assert (await customer.get(path))["intervals"] == 2
    shown = await customer.get(path.replace("/traffic?", "/traffic/samples?"))
    assert min(row["at"] for row in shown["list"]) >= now
    # The month in the row is of whole days.
    assert (await wired.api.get("/dci/v3/server/1"))["traffic_month"]["in"] > 0
    assert (await customer.get("/dci/v3/server/1"))["traffic_month"] == {"in": 0, "out": 0}
    async with services.db.write() as session:
        earlier = utcnow() - timedelta(days=40)
        await session.execute(update(Event).where(Event.kind == "server.owner_given").values(at=earlier))
    rows = [(await api.get("/dci/v3/server/1"))["traffic_month"] for api in (wired.api, customer)]
    assert rows[0] == rows[1]


async def test_old_samples_are_packed_and_give_the_same_answer(wired: Wired, services: Services) -> None:
    api = wired.api
    begin = 1_790_000_100
    port = (await wired.ports(1))[0]
    await _write(services, _readings(int(str(port["id"])), begin, [(8_000, 16_000)] * 60))
    path = f"/dci/v3/server/1/traffic?from={begin - 10}&to={begin + 10**5}"
    before = await api.get(path)
    now = begin + (RAW_DAYS + 3) * DAY_SECONDS
    packed = 1
    while packed:
        async with services.db.write() as session:
            packed = await samples.archive_old(session, now)
    async with services.db.read() as session:
        assert await samples.last_samples(session, [int(str(port["id"]))]) == {}
    assert await api.get(path) == before
    assert before["intervals"] == 60


async def test_months_are_summed_in_the_list_and_lists_cost_the_same(
    wired: Wired, services: Services
) -> None:
    api = wired.api
    now = int(time.time())
    port = (await wired.ports(1))[0]
    await _write(services, _readings(int(str(port["id"])), now - 600, [(8_000, 16_000), (8_000, 16_000)]))
    row = await api.get("/dci/v3/server/1")
    assert row["traffic_month"] in ({"in": 1_200_000, "out": 600_000}, {"in": 600_000, "out": 300_000})
    with statements(services) as few:
        await api.get("/dci/v3/server?limit=1")
    with statements(services) as many:
        await api.get("/dci/v3/server?limit=100")
    assert len(few) == len(many)


async def test_times_of_traffic_are_checked(admin: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    bad: list[dict[str, Any]] = [
        {"from": "yesterday"}, {"from": "2026-11-02", "to": "2026-11-01"}, {"from": "1971-01-01"},
        {"from": "9999999999999"}, {"period": "century"}, {"points": "0"}, {"from": "0001-01-01"},
    ]  # fmt: skip
    for query in bad:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        await admin.refused(400, "GET", f"/dci/v3/server/1/traffic?{text}")
    await admin.refused(404, "GET", "/dci/v3/server/1/traffic?connection=5")
    empty = await admin.get("/dci/v3/server/1/traffic?from=2026-11-01&to=2026-11-02 00:00:00")
    assert (empty["volume"]["sum"], empty["percentile_95"]["max"], empty["series"]) == (0, None, [])
