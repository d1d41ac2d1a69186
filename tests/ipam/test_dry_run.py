"""A dry run changes nothing and tells the rows that the real call then writes, no more and no less."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import select, text, update

from rackhand.app import Services, create_app
from rackhand.db import Base
from rackhand.http.dry_run import OUR_TABLES, SECRET_COLUMNS, _shown
from rackhand.tasks.model import Task
from tests.conftest import Api, server_body

Rows = dict[tuple[str, object], dict[str, object]]

# What differs between two runs of one call: moments, and names made of nothing.
FLEETING = {"uuid", "request_id"}
ZONE = "2.0.192.in-addr.arpa"

Call = tuple[str, str, dict[str, object]]
STORY: tuple[Call, ...] = (
    ("POST", "/ip/v3/ipnet", {"name": "192.0.2.0/24", "gateway": "192.0.2.1"}),
    ("POST", "/ip/v3/ippool", {"name": "public", "is_public": True}),
    ("POST", "/ip/v3/ippool/1/range", {"name": "192.0.2.10-192.0.2.20"}),
    ("POST", "/ip/v3/userspace/public/ipnet", {"name": "192.0.0.0/16"}),
    ("POST", "/ip/v3/userspace", {"name": "private"}),
    ("POST", "/ip/v3/userspace/public/ippool", {"name": "second"}),
    ("POST", "/dci/v3/user/1/ip_quota", {"ipv4": 5}),
    ("POST", "/dci/v3/server/1/ip", {"ip_pool": 1}),
    ("POST", "/dci/v3/server/1/ip", {"ip_net": 1, "set_as_main_ipv4": True}),
    ("POST", "/dci/v3/server/1/ip", {"ip_name": "192.0.2.77", "domain": "x.example.com"}),
    ("POST", "/dci/v3/ip", {"name": "192.0.2.200", "note": "the router"}),
    ("POST", "/ip/v3/ipnet", {"name": "192.0.2.64/27"}),
    ("POST", "/ip/v3/ipnet/1", {"gateway": "192.0.2.5", "vlan": "100"}),
    ("POST", "/ip/v3/ippool/1", {"note": "all"}),
    ("POST", "/dci/v3/server/1/ip/1", {"domain": "y.example.com", "set_as_main_ipv4": True}),
    ("POST", "/dci/v3/ip/1", {"domain": "z.example.com", "note": "first"}),
    ("POST", "/vm/v3/ip/1/ptr", {"domain": "ptr.example.com"}),
    (
        "POST",
        "/dci/v3/dns_server",
        {"name": "ns1", "driver": "powerdns", "host": "127.0.0.1", "port": 9, "password": "sesame"},
    ),
    ("POST", "/dci/v3/dns_zone", {"name": ZONE, "dns_server": 1}),
    ("POST", "/dci/v3/dns_zone/1", {"ttl": 60}),
    ("POST", "/dci/v3/dns_zone/1/publish", {}),
    ("POST", "/dci/v3/dns_server/1", {"note": "the first"}),
    ("POST", "/ip/v3/import", {"lines": [
        {"kind": "address", "name": "192.0.2.90", "server": "srv-1"}, {"kind": "address", "name": "192.0.2.1"},
        {"kind": "address", "name": "192.0.2.90"}, {"kind": "network", "name": "2001:db8::/32"},
    ]}),
    ("DELETE", "/dci/v3/dns_zone/1", {}),
    ("DELETE", "/dci/v3/dns_server/1", {}),
    ("POST", "/dci/v3/server/1/ip/1", {}),
    ("DELETE", "/dci/v3/server/1/ip/2", {"quarantine_hours": 0}),
    ("DELETE", "/dci/v3/ip/1", {}),
    ("DELETE", "/ip/v3/ipnet/2", {}),
    ("DELETE", "/ip/v3/range/1", {}),
    ("DELETE", "/ip/v3/ippool/2", {}),
    ("DELETE", "/ip/v3/userspace/2", {}),
)  # fmt: skip


async def everything(services: Services) -> Rows:
    """All rows of all tables, as an answer would spell them."""
    found: Rows = {}
    async with services.db.read() as session:
        for table in Base.metadata.sorted_tables:
            if table.name in OUR_TABLES | {"worker_slot", "sweep_lease"}:
                continue
            for row in (await session.execute(select(table))).mappings():
                values = {name: _shown(value) for name, value in row.items() if name not in SECRET_COLUMNS}
                found[table.name, tuple(row[key.name] for key in table.primary_key)] = values
    return found


def changes(before: Rows, after: Rows) -> list[dict[str, Any]]:
    """What was written, as a dry run tells it."""
    inserted = [("insert", key) for key in after if key not in before]
    changed = [("update", key) for key in after if key in before and before[key] != after[key]]
    deleted = [("delete", key) for key in before if key not in after]
    return [
        {"table": key[0], "change": change, "row": (before if change == "delete" else after)[key]}
        for change, key in [*inserted, *changed, *deleted]
    ]


def comparable(row: Mapping[str, Any]) -> tuple[str, str, frozenset[tuple[str, str]]]:
    """A row without what differs from run to run; of one that is gone it counts which one it was."""
    if row["change"] == "delete":
        return row["table"], row["change"], frozenset({("id", repr(row["row"].get("id")))})
    values = {
        name: json.dumps(value, sort_keys=True, default=str)
        for name, value in row["row"].items()
        if value is not None
        and name not in FLEETING
        and not name.endswith(("_at", "_until"))
        and name != "at"
    }
    return row["table"], row["change"], frozenset(values.items())


async def sequences(services: Services) -> list[tuple[str, int, bool]]:
    """Where PostgreSQL's sequences stand: a dry run takes numbers of them that are not given back."""
    if services.db.is_sqlite:
        return []
    async with services.db.read() as session:
        names = (await session.execute(text("SELECT sequencename FROM pg_sequences"))).scalars().all()
        found = []
        for name in names:
            row = (await session.execute(text(f'SELECT last_value, is_called FROM "{name}"'))).one()  # noqa: S608
            found.append((name, row.last_value, row.is_called))
        return found


async def set_back(services: Services, stood: list[tuple[str, int, bool]]) -> None:
    """Have the next numbers be those of the dry run."""
    async with services.db.write() as session:
        for name, value, is_called in stood:
            await session.execute(
                text("SELECT setval(:name, :value, :is_called)"),
                {"name": name, "value": value, "is_called": is_called},
            )


async def test_a_dry_run_tells_the_rows_that_the_real_call_writes(admin: Api, services: Services) -> None:
    await admin.post("/dci/v3/server", server_body(1, domain="srv-1.example.com"))
    for method, path, body in STORY:
        before, stood = await everything(services), await sequences(services)
        dry = await _ok(admin, method, f"{path}?dry_run=true", body)
        assert await everything(services) == before, path
        await set_back(services, stood)
        answer = await _ok(admin, method, path, body)
        told = [comparable(row) for row in dry["rows"] if _is_change(row, before)]
        wrote = [comparable(row) for row in changes(before, await everything(services))]
        assert Counter(told) == Counter(wrote), (method, path)
        for each in (dry["answer"], answer):
            each.pop("last_notify", None)
        assert (dry["dry_run"], dry["answer"]) == (True, answer), path


def _is_change(row: Mapping[str, Any], before: Rows) -> bool:
    """A row that is written as it was is told too; nobody would see that it was."""
    known = before.get((row["table"], (row["row"].get("id"),)))
    if row["change"] != "update" or known is None:
        return True
    return any(known.get(name) != value for name, value in row["row"].items())


async def _ok(api: Api, method: str, path: str, body: dict[str, object]) -> Any:
    response = await api.call(method, path, body)
    assert response.status_code == 200, (method, path, response.text)
    return response.json()


async def test_every_call_that_changes_something_here_is_in_the_story(services: Services) -> None:
    """A new one must be tried too."""
    shapes = {(method, _shape(path)) for method, path, _ in STORY}
    lacking = set()
    for context in iter_route_contexts(create_app(services).routes):
        module = getattr(context.endpoint, "__module__", "")
        for method in getattr(context, "methods", None) or ():
            shape = (method, _shape(str(context.path)))
            if module.startswith("rackhand.ipam.") and method != "GET" and shape not in shapes:
                lacking.add(shape)
    assert lacking == set()


def _shape(path: str) -> str:
    """A path without its service and with one word for all numbers."""
    parts = path.removeprefix("/dci/v3/ipmgr").split("/")
    parts = parts[3:] if parts[2:3] == ["v3"] else parts[1:]
    return "/".join(
        "*" if part.isdigit() or part.startswith("{") or part == "public" else part for part in parts
    )


async def test_a_call_that_would_be_refused_is_refused_dry(admin: Api, services: Services) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    before = await everything(services)
    await admin.refused(404, "POST", "/dci/v3/server/1/ip?dry_run=true", {"ip_net": 9})
    await admin.refused(400, "POST", "/ip/v3/ipnet?dry_run=true", {"name": "192.0.2.1/24"})
    await admin.refused(400, "POST", "/ip/v3/ipnet?dry_run=perhaps", {"name": "192.0.2.0/24"})
    assert await everything(services) == before
    assert (await admin.get("/ip/v3/ipnet?dry_run=true"))["size"] == 0


async def test_a_dry_run_tells_what_name_servers_will_be_sent_and_starts_no_task(
    admin: Api, services: Services
) -> None:
    await admin.post("/dci/v3/server", server_body(1, domain="srv-1.example.com"))
    await admin.post("/ip/v3/ipnet", {"name": "192.0.2.0/24"})
    access = {"driver": "rfc2136", "host": "127.0.0.1", "port": 9, "user": "key", "password": "c2VzYW1l"}
    await admin.post("/dci/v3/dns_server", {"name": "ns1", **access})
    await admin.post("/dci/v3/dns_zone", {"name": ZONE, "dns_server": 1, "ttl": 300})
    dry = await admin.post("/dci/v3/server/1/ip?dry_run=true", {"ip_net": 1})
    assert dry["commands"] == [
        {
            "dns_server": 1,
            "name": "ns1",
            "commands": [
                f"zone {ZONE}.",
                f"update delete 1.{ZONE}. PTR",
                f"update add 1.{ZONE}. 300 PTR srv-1.example.com.",
                "send",
            ],
        }
    ]
    assert "c2VzYW1l" not in str(dry)
    assert (await admin.get("/dci/v3/task"))["size"] == 0
    answer = await admin.post("/dci/v3/server/1/ip", {"ip_net": 1})
    await admin.finished(answer["task"])
    # The server is free again, and the name that was never published is still wanted to go.
    dry = await admin.delete(f"/dci/v3/server/1/ip/{answer['id']}?dry_run=true")
    assert dry["commands"][0]["commands"] == [f"zone {ZONE}.", f"update delete 1.{ZONE}. PTR", "send"]


async def test_a_dry_run_of_a_busy_server_is_refused(admin: Api, services: Services) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/ip/v3/ipnet", {"name": "192.0.2.0/24"})
    await admin.post("/dci/v3/server/1/ip", {"ip_net": 1})
    async with services.db.write() as session:
        await session.execute(update(Task).values(status="running"))
    error = await admin.refused(409, "POST", "/dci/v3/server/1/ip?dry_run=1", {"ip_net": 1})
    assert error["code"] == 2423


@pytest.mark.parametrize("flag", ["false", "0", "off"])
async def test_a_flag_that_says_no_is_a_real_call(admin: Api, flag: str) -> None:
    await admin.post(f"/ip/v3/ipnet?dry_run={flag}", {"name": "192.0.2.0/24"})
    assert (await admin.get("/ip/v3/ipnet"))["size"] == 1
