"""Import and export: a report per line, and what is exported is imported as it was."""

import csv
import io
import json
from typing import Any

from rackhand.app import Services
from tests.conftest import Api, server_body
from tests.ipam.test_api import free_spans_are_right

FILE = """kind,userspace,name,gateway,vlan,note,location,rack,is_public,pool,server,status,domain,ptr,is_main
network,public,192.0.2.0/24,192.0.2.1,100,"first, and last",ams1,,,,,,,,
network,public,192.0.2.64/26,,,,,,,,,,,,
network,private,192.0.2.0/24,,,,,,,,,,,,
network,public,2001:db8::/32,fe80::1,,,,,,,,,,,
pool,public,public,,,for all,,,1,,,,,,
pool,public,of A-01,,,,,A-01,0,,,,,,
range,public,192.0.2.10-192.0.2.19,,,,,,,public,,,,,
range,public,2001:db8::/64,,,,,,,public,,,,,
address,public,192.0.2.10,,,,,,,public,srv-1,allocated,a.example.com,,0
address,public,192.0.2.11,,,kept,,,,public,srv-1,allocated,b.example.com,ptr.example.com,1
address,public,192.0.2.70,,,,,,,,srv-2,allocated,c.example.com,,1
address,public,2001:db8:0:1::/64,,,,,,,,srv-2,allocated,c.example.com,,0
address,public,192.0.2.200,,,the router,,,,,,special,r.example.com,,
address,private,192.0.2.10,,,,,,,,srv-2,allocated,d.example.com,,0
"""


async def site(api: Api) -> None:
    await api.post("/dci/v3/rack", {"name": "A-01"})
    for number in (1, 2):
        await api.post("/dci/v3/server", server_body(number))


async def exported(api: Api, form: str = "csv", **query: str) -> Any:
    asked = "&".join(f"{key}={value}" for key, value in {"format": form, **query}.items())
    response = await api.call("GET", f"/ip/v3/export?{asked}")
    assert response.status_code == 200, response.text
    return response.text if form == "csv" else response.json()


def as_lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


async def test_what_is_exported_is_imported_as_it_was(admin: Api, services: Services) -> None:
    await site(admin)
    report = (await admin.post("/ip/v3/import", {"csv": FILE}))["list"]
    assert [(row["line"], row["reason"]) for row in report if row["status"] != "added"] == []
    assert await free_spans_are_right(services)
    rows = {row["name"]: row for row in (await admin.get("/dci/v3/ip?where=userspace EQ 1"))["list"]}
    assert (rows["192.0.2.11"]["is_main"], rows["192.0.2.11"]["ptr"], rows["192.0.2.11"]["note"]) == (
        True,
        "ptr.example.com",
        "kept",
    )
    assert (rows["192.0.2.70"]["ipnet_name"], rows["192.0.2.10"]["ippool"]) == ("192.0.2.64/26", 1)
    text = await exported(admin)
    assert {json.dumps(line) for line in as_lines(text)} == {
        json.dumps({**line, **({"is_main": "0"} if line["status"] == "special" else {})})
        for line in as_lines(FILE)
    }
    as_json = await exported(admin, "json")
    assert len(as_json["lines"]) == 14
    # Everything away again, and back from both forms.
    for form in ({"csv": text}, as_json):
        await empty(admin)
        report = (await admin.post("/ip/v3/import", form))["list"]
        assert [(row["line"], row["reason"]) for row in report if row["status"] != "added"] == []
        assert await exported(admin) == text
    assert await free_spans_are_right(services)
    found = await exported(admin, kind="pool,range")
    assert {line["kind"] for line in as_lines(found)} == {"pool", "range"}
    error = await admin.refused(400, "GET", "/ip/v3/export?kind=pool,thing")
    assert "'thing'" in error["msg"]


async def empty(api: Api) -> None:
    for row in (await api.get("/dci/v3/ip"))["list"]:
        if row["server_id"]:
            path = f"/dci/v3/server/{row['server_id']}/ip/{row['id']}"
            assert (await api.call("DELETE", path, {"quarantine_hours": 0})).status_code == 200
        else:
            await api.delete(f"/dci/v3/ip/{row['id']}")
    for row in (await api.get("/ip/v3/ippool"))["list"]:
        await api.delete(f"/ip/v3/ippool/{row['id']}")
    for row in reversed((await api.get("/ip/v3/ipnet"))["list"]):
        await api.delete(f"/ip/v3/ipnet/{row['id']}")


async def test_each_line_is_judged_by_itself(admin: Api, services: Services) -> None:
    await site(admin)
    lines = [
        {"kind": "network", "name": "192.0.2.0/28"},
        {"kind": "network", "name": "192.0.2.0/28"},
        {"kind": "network", "name": "192.0.2.1/28"},
        {"kind": "address", "name": "192.0.2.5", "server": "srv-1"},
        {"kind": "address", "name": "192.0.2.5", "server": "srv-2"},
        {"kind": "address", "name": "192.0.2.6", "server": "nobody"},
        {"kind": "address", "name": "198.51.100.1", "server": "srv-1"},
        {"kind": "address", "name": "192.0.2.7", "server": "srv-1", "status": "special"},
        {"kind": "range", "name": "192.0.2.5", "pool": "none"},
        {"kind": "pool", "name": "p", "is_public": "maybe"},
        {"kind": "pool", "name": "p", "gateway": "192.0.2.1"},
        {"kind": "thing", "name": "x"},
        {"name": "x"},
        {"kind": "address", "name": "192.0.2.8"},
    ]
    report = (await admin.post("/ip/v3/import", {"lines": lines}))["list"]
    assert [row["line"] for row in report if row["status"] == "added"] == [1, 4, 14]
    for number, words in [
        (2, "is there already"),
        (3, "host bits"),
        (5, "192.0.2.5 is taken by server 1"),
        (6, "server: there is none called 'nobody'"),
        (7, "No network of user space 1 holds 198.51.100.1"),
        (8, "an address of a server is allocated"),
        (9, "pool: there is none called 'none'"),
        (10, "is_public"),
        (11, "gateway: Extra inputs are not permitted"),
        (12, "expected one of network, pool, range, address, got 'thing'"),
        (13, "kind"),
    ]:
        assert words in report[number - 1]["reason"], report[number - 1]
    events = (await admin.get("/dci/v3/event?where=kind CP 'ip%'"))["list"]
    assert sorted(row["kind"] for row in events) == [
        "ip.allocated",
        "ip.kept_back",
        "ip.main",
        "ipnet.created",
    ]
    assert await free_spans_are_right(services)


async def test_a_dry_import_reports_the_same_and_keeps_nothing(admin: Api) -> None:
    await site(admin)
    dry = (await admin.post("/ip/v3/import", {"csv": FILE, "dry_run": True}))["list"]
    assert {row["status"] for row in dry} == {"added"}
    assert (await admin.get("/ip/v3/ipnet"))["size"] == (await admin.get("/dci/v3/ip"))["size"] == 0
    assert [space["name"] for space in (await admin.get("/ip/v3/userspace"))["list"]] in ([], ["public"])
    real = (await admin.post("/ip/v3/import", {"csv": FILE}))["list"]
    assert [(row["line"], row["status"]) for row in real] == [(row["line"], row["status"]) for row in dry]


async def test_a_file_that_is_no_table_is_refused_whole(admin: Api, customer: Api) -> None:
    assert "csv" in (await admin.refused(400, "POST", "/ip/v3/import", {"csv": 'kind,name\n"network'}))["msg"]
    report = (await admin.post("/ip/v3/import", {"csv": "kind,name\nnetwork\n"}))["list"]
    assert "expected 2 columns" in report[0]["reason"]
    for body in ({}, {"csv": "kind,name\n", "lines": []}):
        assert (await admin.refused(400, "POST", "/ip/v3/import", body))["msg"] == "Give `csv` or `lines`."
    await customer.refused(403, "POST", "/ip/v3/import", {"lines": []})
    await customer.refused(403, "GET", "/ip/v3/export")
