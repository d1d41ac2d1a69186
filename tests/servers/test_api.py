"""The inventory through the API."""

import asyncio
from typing import Any

from rackhand.app import Services
from tests.conftest import PASSWORD, Api, server_body, statements


async def test_second_owner_is_refused_and_the_same_owner_is_not(admin: Api, customer: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    assert await admin.post("/dci/v3/server/1/owner", {"owner": 2}) == {"id": 1}
    assert await admin.post("/dci/v3/server/1/owner", {"owner": 2}) == {"id": 1}
    error = await admin.refused(409, "POST", "/dci/v3/server/1/owner", {"owner": 1})
    assert "has an owner" in error["msg"]


async def test_of_twenty_who_take_one_server_at_once_one_gets_it(admin: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    for number in range(20):
        await admin.post("/dci/v3/user", {"email": f"c{number}@example.com", "password": PASSWORD})
    calls = [admin.call("POST", "/dci/v3/server/1/owner", {"owner": 2 + number}) for number in range(20)]
    statuses = sorted(response.status_code for response in await asyncio.gather(*calls))
    assert statuses == [200] + [409] * 19
    assert (await admin.get("/dci/v3/server/configuration"))["list"][0]["free_server_count"] == 0


async def test_stock_counts_only_what_can_be_taken(admin: Api) -> None:
    variants: list[dict[str, Any]] = [
        {}, {}, {"is_new": True}, {"maintenance": True}, {"configuration": None}, {},
    ]  # fmt: skip
    for number, changes in enumerate(variants, start=1):
        await admin.post("/dci/v3/server", server_body(number, **changes))
    await admin.post("/dci/v3/server/6/quarantine", {"reason": "disk 2 failed its wipe"})
    await admin.post("/dci/v3/server/1/owner", {"owner": 1})
    assert (await admin.get("/dci/v3/server/configuration"))["list"] == [
        {"configuration": "E-2146G-64Gb-2x1024NVMe", "free_server_count": 1}
    ]
    assert (await admin.refused(409, "POST", "/dci/v3/server/6/owner", {"owner": 1}))["msg"].endswith("wipe")
    await admin.delete("/dci/v3/server/6/quarantine")
    assert (await admin.get("/dci/v3/server/configuration"))["list"][0]["free_server_count"] == 2


async def test_a_user_sees_own_servers_and_nothing_else(admin: Api, customer: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/dci/v3/server", server_body(2))
    await admin.post("/dci/v3/server/2/owner", {"owner": 2})
    listed = await customer.get("/dci/v3/server")
    assert ([row["id"] for row in listed["list"]], listed["size"]) == ([2], 1)
    assert (await customer.get("/dci/v3/server?where=id EQ 1&limit=10"))["size"] == 0
    assert (await customer.get("/dci/v3/server?where=name CP '%' OR id EQ 1&orderby=owner_email&limit=5"))[
        "size"
    ] == 1
    assert (await customer.refused(404, "GET", "/dci/v3/server/1"))["code"] == 3080
    assert (await customer.refused(404, "POST", "/dci/v3/server/1/power_on"))["code"] == 3080
    assert (await customer.refused(403, "POST", "/dci/v3/server/2/owner", {"owner": 2}))["code"] == 3001
    assert (await customer.get("/dci/v3/server/2"))["bmc_connection"] is None
    assert [row["id"] for row in (await customer.get("/dci/v3/user"))["list"]] == [2]
    assert (await customer.get("/dci/v3/event?where=subject.id EQ 1 AND subject.kind EQ 'server'"))[
        "size"
    ] == 0
    await customer.post("/dci/v3/server/2", {"notes": "mine"})
    await customer.refused(403, "POST", "/dci/v3/server/2", {"name": "mine"})


async def test_a_protected_server_refuses_what_would_hurt(admin: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/dci/v3/server/1/protection", {"value": True})
    for method, path, body in [
        ("DELETE", "/dci/v3/server/1", None),
        ("POST", "/dci/v3/server/1/power_off", {}),
        ("POST", "/dci/v3/server/1/power_reset", {}),
        ("POST", "/dci/v3/server/1/maintenance", {}),
        ("POST", "/dci/v3/server/1/bmc", {"driver": "ipmi", "host": "192.0.2.1"}),
        ("POST", "/dci/v3/server/1", {"name": "other"}),
    ]:
        assert (await admin.refused(403, method, path, body))["code"] == 3001, path
    await admin.post("/dci/v3/server/1/protection", {"value": False})
    await admin.delete("/dci/v3/server/1")


async def test_a_bmc_password_is_stored_sealed_and_never_shown(admin: Api, services: Services) -> None:
    from sqlalchemy import select

    from rackhand.servers.model import BmcAccess

    bmc = {"driver": "ipmi", "host": "192.0.2.1", "user": "ADMIN", "password": "swordfish"}
    await admin.post("/dci/v3/server", server_body(1, bmc=bmc))
    async with services.db.read() as session:
        stored = (await session.scalars(select(BmcAccess))).one()
    assert "swordfish" not in stored.password
    for path in ("server", "server/1", "server/1/bmc", "event"):
        assert "swordfish" not in (await admin.call("GET", f"/dci/v3/{path}")).text
    shown = await admin.get("/dci/v3/server/1/bmc")
    assert (shown["has_password"], shown["port"]) == (True, 623)
    # The same host and user keep the password, another host does not.
    await admin.post("/dci/v3/server/1/bmc", {"driver": "ipmi", "host": "192.0.2.1", "user": "ADMIN"})
    assert (await admin.get("/dci/v3/server/1/bmc"))["has_password"] is True
    await admin.post("/dci/v3/server/1/bmc", {"driver": "ipmi", "host": "192.0.2.2", "user": "ADMIN"})
    assert (await admin.get("/dci/v3/server/1/bmc"))["has_password"] is False


async def test_import_adds_good_lines_and_reports_bad_ones(admin: Api) -> None:
    await admin.post("/dci/v3/rack", {"name": "A-01"})
    text = (
        "name,configuration,rack,unit,nics,bmc_driver,bmc_host,bmc_user,bmc_password\n"
        "a,x-64Gb-1x960SSD,A-01,1,00:00:5e:00:53:01 00:00:5e:00:53:02,ipmi,192.0.2.1,ADMIN,secret\n"
        "b,x-64Gb-1x960SSD,A-01,1,00:00:5e:00:53:03,,,,\n"
        "c,x-64Gb-1x960SSD,B-01,1,,,,,\n"
        "d,x-64Gb-1x960SSD,A-01,2,nonsense,,,,\n"
    )
    report = (await admin.post("/dci/v3/server/import", {"csv": text}))["list"]
    assert [line["status"] for line in report] == ["added", "refused", "refused", "refused"]
    assert "unit" in report[1]["reason"]
    assert "B-01" in report[2]["reason"]
    assert "MAC" in report[3]["reason"]
    listed = await admin.get("/dci/v3/server")
    assert [row["name"] for row in listed["list"]] == ["a"]
    assert [nic["mac"] for nic in listed["list"][0]["nics"]] == ["00:00:5e:00:53:01", "00:00:5e:00:53:02"]
    rows = {"servers": [server_body(9), {"name": ""}], "dry_run": True}
    assert [line["status"] for line in (await admin.post("/dci/v3/server/import", rows))["list"]] == [
        "added",
        "refused",
    ]
    assert (await admin.get("/dci/v3/server"))["size"] == 1


async def test_places_are_created_changed_and_deleted_when_empty(admin: Api) -> None:
    rack = (await admin.post("/dci/v3/rack", {"name": "A-01", "size": 20}))["id"]
    await admin.post("/dci/v3/server", server_body(1, rack_id=rack, unit=12))
    shown = await admin.get(f"/dci/v3/rack/{rack}")
    assert (shown["device_count"], shown["free_units"], shown["devices"][0]["unit"]) == (1, 19, 12)
    await admin.refused(409, "POST", f"/dci/v3/rack/{rack}", {"size": 10})
    await admin.refused(409, "DELETE", f"/dci/v3/rack/{rack}")
    await admin.refused(409, "DELETE", "/dci/v3/location/1")
    await admin.post("/dci/v3/server/1", {"rack": None})
    await admin.delete(f"/dci/v3/rack/{rack}")
    await admin.post("/dci/v3/location/1", {"name": "ams2"})
    assert (await admin.get("/dci/v3/location"))["list"][0]["name"] == "ams2"


async def test_names_units_macs_and_bmc_addresses_are_unique(admin: Api) -> None:
    bmc = {"driver": "ipmi", "host": "192.0.2.1"}
    rack = (await admin.post("/dci/v3/rack", {"name": "A-01"}))["id"]
    await admin.post("/dci/v3/server", server_body(1, bmc=bmc, rack_id=rack, unit=1))
    clashes: list[tuple[dict[str, Any], str]] = [
        ({"name": "srv-1"}, "this name"),
        ({"nics": [{"mac": "0000.5E00.5301"}]}, "MAC"),
        ({"bmc": bmc}, "BMC address"),
        ({"rack_id": rack, "unit": 1}, "unit"),
    ]
    for changes, words in clashes:
        error = await admin.refused(409, "POST", "/dci/v3/server", server_body(2, **changes))
        assert words in error["msg"], error
    assert (await admin.get("/dci/v3/server"))["size"] == 1


async def test_a_page_costs_the_same_statements_whatever_its_size(admin: Api, services: Services) -> None:
    for number in range(1, 41):
        await admin.post("/dci/v3/server", server_body(number))
    counts = []
    for limit in (1, 40):
        with statements(services) as seen:
            await admin.get(f"/dci/v3/server?limit={limit}")
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 13


async def test_the_mac_address_of_another_server_is_a_conflict_in_a_rack_too(admin: Api) -> None:
    await admin.post("/dci/v3/rack", {"name": "A-01"})
    for number in (1, 2):
        await admin.post("/dci/v3/server", server_body(number, rack=1, unit=number))
    taken = {"mac": "00:00:5e:00:53:02"}
    for path, body in (("/dci/v3/server/1/nic", taken), ("/dci/v3/server/1", {"nics": [taken]})):
        assert "MAC" in (await admin.refused(409, "POST", path, body))["msg"], path
    assert [nic["mac"] for nic in (await admin.get("/dci/v3/server/1"))["nics"]] == ["00:00:5e:00:53:01"]


async def test_a_busy_server_is_given_to_nobody(admin: Api, customer: Api) -> None:
    bmc = {"driver": "redfish", "host": "192.0.2.1", "settings": {"scheme": "http"}}
    await admin.post("/dci/v3/server", server_body(1, bmc=bmc))
    task = (await admin.post("/dci/v3/server/1/power_on"))["task"]
    error = await admin.refused(409, "POST", "/dci/v3/server/1/owner", {"owner": 2})
    assert (error["code"], error["value"]["task"]) == (2423, task)
    assert await admin.post(f"/dci/v3/server/1/operation/{task}/cancel") == {"id": 1, "task": task}
    await admin.refused(404, "POST", f"/dci/v3/server/2/operation/{task}/cancel")
    await admin.finished(task, timeout=60)
    await admin.post("/dci/v3/server/1/owner", {"owner": 2})


async def test_available_servers_are_found_on_every_page(admin: Api) -> None:
    for number in (1, 2):
        await admin.post("/dci/v3/server", server_body(number))
    await admin.post("/dci/v3/server/1/owner", {"owner": 1})
    for page in ("", "&limit=5", "&orderby=is_available&limit=0,1"):
        found = await admin.get(f"/dci/v3/server?where=is_available EQ true{page}")
        assert ([row["id"] for row in found["list"]], found["size"]) == ([2], 1), page
