"""PDUs in the inventory, what the sweep sees of them, and the energy that a server is billed for."""

import asyncio
import csv
import io
import itertools
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select, update

from rackhand.app import Services
from rackhand.db import utcnow
from rackhand.power import samples
from rackhand.power.energy import DAY_SECONDS, Sample
from rackhand.power.model import EnergyArchive, EnergySample, Outlet, OutletConnection
from rackhand.sim.rack import RackThread
from tests.conftest import Api, statements
from tests.power.conftest import BARE, Fed


def access(rack: RackThread, number: int) -> dict[str, object]:
    """How a PDU of the rack is reached."""
    snmp = rack.config.pdus[number].snmp
    return {
        "host": snmp.host,
        "port": snmp.port,
        "community": snmp.read_community,
        "settings": {"write_community": snmp.write_community},
    }


async def test_a_pdu_is_added_with_its_outlets_and_never_shows_its_secrets(
    rack_with_pdus: RackThread, admin: Api
) -> None:
    rack_with_pdus.control.reset()
    await admin.post("/dci/v3/rack", {"name": "rack-1"})
    body = {"name": "pdu-1a", "serial": "X1", "rack": {"id": 1}, **access(rack_with_pdus, 0)}
    answer = await admin.post("/dci/v3/pdu", body)
    task = await admin.finished(answer["task"])
    assert (task["status"], task["name"]) == ("complete", "discover_pdu")
    row = await admin.get(f"/dci/v3/pdu/{answer['id']}")
    assert (row["outlet_count"], row["used_outlets"], row["has_password"]) == (24, 0, True)
    assert row["description"].startswith("APC")
    assert (row["rack"], row["warehouse_status"]) == ({"id": 1, "name": "rack-1"}, "in_use")
    assert "write-pdu-1a" not in str(row)
    assert "read-pdu-1a" not in str(row)
    listed = await admin.get("/dci/v3/warehouse/pdu?orderby=warehouse_status desc")
    assert [each["name"] for each in listed["list"]] == ["pdu-1a"]
    outlets = await admin.get(f"/dci/v3/pdu/{answer['id']}/outlet?where=name CP 'node%'&orderby=index")
    assert [each["index"] for each in outlets["list"]] == list(range(1, outlets["size"] + 1))
    assert {each["power_status"] for each in outlets["list"]} == {"on"}
    again = await admin.refused(409, "POST", "/dci/v3/pdu", body | {"name": "other"})
    assert "address" in again["msg"]
    await admin.post(f"/dci/v3/pdu/{answer['id']}", {"notes": "left door", "name": "pdu-left"})
    assert (await admin.get(f"/dci/v3/pdu/{answer['id']}"))["notes"] == "left door"
    await admin.delete(f"/dci/v3/pdu/{answer['id']}")
    await admin.refused(404, "GET", f"/dci/v3/pdu/{answer['id']}")


async def test_lists_that_clients_ask_for_are_empty_and_the_drivers_are_told(admin: Api) -> None:
    for kind in ("ups", "chassis", "spare_part"):
        shown = await admin.get(f"/dci/v3/warehouse/{kind}?limit=100")
        assert (shown["list"], shown["size"]) == ([], 0)
    drivers = await admin.get("/dci/v3/pdu_driver")
    assert drivers["list"][0]["name"] == "snmp"
    secret = {each["name"] for each in drivers["list"][0]["settings"] if each["secret"]}
    assert "write_community" in secret


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"driver": "telnet"}, 400, "unknown"),
        ({"settings": {"nonsense": 1}}, 400, "nonsense"),
        ({"rack_id": 99}, 404, "no rack 99"),
        ({"location_id": 99}, 404, "no location 99"),
        ({"unit": 4}, 400, "say the rack"),
        ({"host": "not a host"}, 400, "host"),
        ({"port": 0}, 400, "port"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    admin: Api, change: dict[str, object], status: int, words: str
) -> None:
    body = {"name": "pdu-9", "host": "192.0.2.31", "community": "x", **change}
    error = await admin.refused(status, "POST", "/dci/v3/pdu", body)
    assert words in error["msg"]
    assert (await admin.get("/dci/v3/pdu"))["size"] == 0


async def test_cords_are_written_down_by_number_or_name_and_letters_are_given(fed: Fed) -> None:
    cord = await fed.cord(BARE, "a")
    path = f"/dci/v3/server/{BARE}/pdu_connection"
    taken = await fed.api.refused(409, "POST", path, {"outlet_id": cord["port_id"]})
    assert "plugged into this outlet already" in taken["msg"]
    error = await fed.api.refused(404, "POST", path, {"pdu": cord["pdu_id"], "port_identity": "99"})
    assert "no outlet '99'" in error["msg"]
    await fed.api.refused(400, "POST", path, {})
    await fed.api.refused(404, "POST", path, {"outlet_id": 10**6})
    third = await fed.api.post(path, {"pdu": cord["pdu_id"], "port_identity": "spare-1"})
    by_number = await fed.api.post(path, {"pdu": cord["pdu_id"], "index": 24, "feed": "Z9", "notes": "third"})
    cords = (await fed.api.get(path))["list"]
    assert [each["feed"] for each in cords] == ["a", "b", "c", "z9"]
    assert [each["id"] for each in cords[2:]] == [third["id"], by_number["id"]]
    await fed.api.post(f"{path}/{third['id']}", {"feed": "d", "notes": "x"})
    assert (await fed.api.get(path))["list"][2]["feed"] == "d"
    await fed.api.delete(f"{path}/{third['id']}")
    await fed.api.refused(404, "DELETE", f"{path}/{third['id']}")
    row = await fed.api.get(f"/dci/v3/server/{BARE}")
    assert row["pdu_connection"] == row["pdu_connections"][0]
    assert set(row["pdu_connection"]) >= {"port_id", "port_identity", "pdu_id", "pdu_name", "connection_id"}
    found = await fed.api.get(f"/dci/v3/server?where=pdu_connection.pdu_name EQ '{cord['pdu_name']}'")
    assert {each["id"] for each in found["list"]} == {3, 4}
    await fed.api.refused(409, "DELETE", f"/dci/v3/pdu/{cord['pdu_id']}")
    deleted = await fed.api.refused(409, "DELETE", f"/dci/v3/server/{BARE}", {})
    assert "connections" in deleted["msg"]


async def test_a_server_of_another_location_is_not_plugged_in(fed: Fed) -> None:
    await fed.api.post("/dci/v3/location", {"name": "ams2"})
    server = await fed.api.post("/dci/v3/server", {"name": "far", "location_id": 2})
    outlets = await fed.api.get("/dci/v3/pdu/1/outlet?where=server IS null&limit=1")
    body = {"outlet_id": outlets["list"][0]["id"]}
    error = await fed.api.refused(400, "POST", f"/dci/v3/server/{server['id']}/pdu_connection", body)
    assert "another location" in error["msg"]


async def test_the_sweep_sees_what_somebody_else_has_switched(fed: Fed) -> None:
    await fed.poller.pdus.sweep()
    before = (await fed.api.get("/dci/v3/event"))["last_notify"]
    assert fed.rack.rack is not None
    for feed in "ab":  # at the PDU's own buttons
        pdu = fed.rack.rack.pdus[fed.pdu(BARE, feed)]
        outlet = pdu.outlets[fed.outlet(BARE, feed).number]
        outlet.is_on = outlet.is_closed = False
    await fed.poller.pdus.sweep()
    assert await fed.power(BARE) == "off"
    seen = await fed.api.get(f"/dci/v3/event?where=id GT {before}&orderby=id")
    told = [(each["kind"], each["subject"]["id"]) for each in seen["list"]]
    assert told == [("pdu.outlet_seen", BARE), ("pdu.outlet_seen", BARE), ("server.power_seen", BARE)]
    assert seen["list"][0]["data"]["to"] == "off"
    await fed.poller.pdus.sweep()
    assert (await fed.api.get("/dci/v3/event"))["last_notify"] == seen["list"][-1]["id"]


async def test_a_pdu_that_cannot_be_read_makes_its_outlets_unknown_until_it_answers(fed: Fed) -> None:
    pdu = fed.pdu(BARE, "a")
    fed.rack.control.pdu_fault_on(pdu, "unplugged")
    assert await fed.poller.pdus.sweep() == 3
    row = (await fed.api.get(f"/dci/v3/pdu?where=name EQ '{pdu}'"))["list"][0]
    assert row["error"]
    assert row["error_at"]
    assert (await fed.cord(BARE, "a"))["power_status"] == "unknown"
    assert await fed.power(BARE) == "on"  # by the other feed
    fed.rack.control.pdu_fault_on(fed.pdu(BARE, "b"), "unplugged")
    await fed.poller.pdus.sweep()
    assert await fed.power(BARE) == "unknown"
    for feed in "ab":
        fed.rack.control.pdu_fault_off(fed.pdu(BARE, feed), "unplugged")
    assert await fed.poller.pdus.sweep(server_ids=[BARE]) == 2
    assert ((await fed.cord(BARE, "a"))["power_status"], await fed.power(BARE)) == ("on", "on")
    kinds = [
        each["kind"] for each in (await fed.api.get("/dci/v3/event?where=kind CP 'pdu.%reachable'"))["list"]
    ]
    assert sorted(kinds) == ["pdu.reachable"] * 2 + ["pdu.unreachable"] * 2


async def test_an_outlet_that_the_pdu_no_longer_has_is_marked(fed: Fed, services: Services) -> None:
    cord = await fed.cord(BARE, "a")
    async with services.db.write() as session:
        await session.execute(update(Outlet).where(Outlet.id == cord["port_id"]).values(number=77))
    await fed.poller.pdus.sweep()
    shown = await fed.api.get(await fed.outlet_path(BARE, "a"))
    assert (shown["is_missing"], shown["power_status"], shown["index"]) == (True, "unknown", 77)


async def test_rounds_of_the_sweep_make_samples_and_single_readings_do_not(
    fed: Fed, services: Services, customer: Api
) -> None:
    fed.rack.control.wait_for(fed.name(BARE), lambda view: view.phase == "running")
    assert await fed.poller.pdus.sweep(server_ids=[BARE]) == 2
    async with services.db.read() as session:
        assert await session.scalar(select(func.count()).select_from(EnergySample)) == 0
    for _ in range(3):
        await fed.poller.pdus.sweep()
        await asyncio.sleep(1.1)  # a sample is of a second
    cord = await fed.cord(BARE, "a")
    async with services.db.read() as session:
        query = (
            select(func.count()).select_from(EnergySample).where(EnergySample.outlet_id == cord["port_id"])
        )
        assert await session.scalar(query) == 3
    shown = await fed.api.get(f"/dci/v3/server/{BARE}/energy?period=day")
    truth = sum(fed.outlet(BARE, feed).watts for feed in "ab")
    assert shown["average_watts"] == pytest.approx(truth, rel=0.25)  # it swings by a tenth of what it is idle
    assert shown["energy_wh"] is not None
    row = await fed.api.get(f"/dci/v3/server/{BARE}")
    assert row["energy_month_kwh"] == shown["energy_kwh"]
    users = (await fed.api.get("/dci/v3/user?where=email EQ 'customer@example.com'"))["list"]
    await fed.api.post(f"/dci/v3/server/{BARE}/owner", {"owner": users[0]["id"]})
    assert (await customer.get(f"/dci/v3/server/{BARE}"))["energy_month_kwh"] is None  # others' so far


async def _plug_in_since(services: Services, cords: list[int], moment: int) -> None:
    """Let cords be as old as the samples that a test makes up."""
    async with services.db.write() as session:
        await session.execute(
            update(OutletConnection)
            .where(OutletConnection.id.in_(cords))
            .values(created_at=datetime.fromtimestamp(moment, UTC))
        )


async def _made_up(fed: Fed, services: Services, begin: int, days: int) -> dict[int, list[Sample]]:
    """Samples of both feeds of the bare server: a gap, a reset and an outage in them."""
    made: dict[int, list[Sample]] = {}
    cords = []
    for feed, watts in (("a", 60), ("b", 40)):
        cord = await fed.cord(BARE, feed)
        cords.append(int(str(cord["connection_id"])))
        rows = [
            Sample(begin + 300 * n, 1_000 + 7 * n - (1_000 if n > 500 else 0), watts + n % 5)
            for n in range(288 * days)
            if not (feed == "b" and 100 <= n < 110)
        ]
        made[cords[-1]] = rows
        async with services.db.write() as session:
            session.add_all(
                [
                    EnergySample(
                        outlet_id=cord["port_id"], at=each.at, energy_wh=each.energy_wh, watts=each.watts
                    )
                    for each in rows
                ]
            )
    await _plug_in_since(services, cords, begin)
    return made


def billed(text: str) -> tuple[int, int, int]:
    """Energy, average and peak by an independent reading of the rules, from the exported CSV."""
    by_cord: dict[str, list[tuple[int, int, int]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        by_cord.setdefault(row["connection_id"], []).append(
            (int(row["at"]), int(row["energy_wh"]), int(row["watts"]))
        )
    energy = 0
    power: dict[int, int] = {}
    readings: dict[int, int] = {}
    for rows in by_cord.values():
        for (_, first, _), (_, second, _) in itertools.pairwise(rows):
            energy += max(0, second - first)
        for at, _, watts in rows:
            power[at // 300] = power.get(at // 300, 0) + watts
            readings[at // 300] = readings.get(at // 300, 0) + 1
    complete = [power[slot] for slot, count in readings.items() if count == len(by_cord)]
    return energy, sum(complete) // len(complete), max(complete)


async def test_the_exported_samples_give_the_same_energy_before_and_after_they_are_packed(
    fed: Fed, services: Services
) -> None:
    now = int(utcnow().timestamp())
    begin = (now // DAY_SECONDS - 10) * DAY_SECONDS
    await _made_up(fed, services, begin, 3)
    query = f"from={begin}&to={begin + 3 * DAY_SECONDS}"
    for packed in (False, True):
        if packed:
            async with services.db.write() as session:
                while await samples.archive_old(session, now, most_outlets=1):
                    pass
                assert await session.scalar(select(func.count()).select_from(EnergySample)) == 0
                assert await session.scalar(select(func.count()).select_from(EnergyArchive)) == 6
        shown = await fed.api.get(f"/dci/v3/server/{BARE}/energy?{query}&points=24")
        export = await fed.api.call("GET", f"/dci/v3/server/{BARE}/energy/samples?{query}&format=csv")
        assert export.headers["content-type"].startswith("text/csv")
        assert (shown["energy_wh"], shown["average_watts"], shown["peak_watts"]) == billed(export.text)
        assert (shown["gaps"], shown["resets"], shown["incomplete"]) == (1, 2, 10)
        assert len(shown["series"]) <= 24
        assert sum(point[2] for point in shown["series"]) == shown["energy_wh"]
        assert {point[3] for point in shown["series"]} == {"", "gap", "reset"}
        listed = await fed.api.get(f"/dci/v3/server/{BARE}/energy/samples?{query}")
        assert listed["size"] == 2 * 3 * 288 - 10
        one = shown["connections"][0]
        alone = await fed.api.get(f"/dci/v3/server/{BARE}/energy?{query}&connection={one['connection_id']}")
        assert (alone["energy_wh"], alone["peak_watts"]) == (one["energy_wh"], one["peak_watts"])
    async with services.db.write() as session:
        await samples.forget_old(session, now, keep_days=9)
        assert await session.scalar(select(func.count()).select_from(EnergyArchive)) == 4


async def test_what_an_outlet_counted_before_the_server_was_plugged_in_is_not_its_own(
    fed: Fed, services: Services
) -> None:
    now = int(utcnow().timestamp())
    begin = now // DAY_SECONDS * DAY_SECONDS - DAY_SECONDS
    made = await _made_up(fed, services, begin, 1)
    since = begin + 300 * 200
    await _plug_in_since(services, list(made), since)
    shown = await fed.api.get(f"/dci/v3/server/{BARE}/energy?from={begin}&to={now}")
    own = [[each.energy_wh or 0 for each in rows if each.at >= since] for rows in made.values()]
    assert shown["energy_wh"] == sum(counters[-1] - counters[0] for counters in own)


async def test_times_that_make_no_sense_are_refused(fed: Fed) -> None:
    for query in (
        "from=2026-02-30",
        "from=2200-01-01",
        "from=5&to=4",
        "from=0001-01-01T00:00:00%2B14:00",
        "period=x",
    ):
        await fed.api.refused(400, "GET", f"/dci/v3/server/{BARE}/energy?{query}")
    await fed.api.refused(404, "GET", f"/dci/v3/server/{BARE}/energy?connection=999")
    for period in ("day", "week", "month", "year", "month_to_date"):
        assert (await fed.api.get(f"/dci/v3/server/{BARE}/energy?period={period}"))["resets"] == 0


async def test_lists_take_a_fixed_number_of_statements(fed: Fed, services: Services) -> None:
    counts = []
    for limit in (1, 4):
        with statements(services) as seen:
            await fed.api.get(f"/dci/v3/server?limit={limit}")
        counts.append(len(seen))
    assert counts[0] == counts[1]
    with statements(services) as seen:
        await fed.api.get("/dci/v3/pdu")
    assert len(seen) <= 5
