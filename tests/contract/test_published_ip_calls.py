"""Every published call about addresses, with paths, headers and bodies as printed in the documentation."""

from typing import Any

import httpx
import pytest

from tests.conftest import Api, server_body


@pytest.fixture
async def call(admin: Api) -> Any:
    """Call as the documentation prints it: three headers, the body as curl sends it with -d."""

    async def send(method: str, path: str, data: str | None = None) -> httpx.Response:
        headers = {
            "Cookie": f"ses6={admin.token}",
            "x-xsrf-token": str(admin.token),
            "isp-box-instance": "true",
        }
        if data is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        response = await admin.http.request(method, f"/api/{path}", content=data, headers=headers)
        assert response.headers["content-type"] == "application/json"
        return response

    return send


@pytest.fixture
async def site(admin: Api) -> Api:
    """A server, a network and a pool."""
    await admin.post("/dci/v3/server", server_body(1, domain="srv-1.example.com"))
    network = {"name": "192.0.2.0/24", "gateway": "192.0.2.1", "note": "first", "vlan": "100"}
    assert await admin.post("/vm/v3/userspace/public/ipnet", network) == {"id": 1}
    assert await admin.post("/ip/v3/userspace/public/ippool", {"name": "public", "note": "all"}) == {"id": 1}
    await admin.post("/vm/v3/ippool/1/range", {"name": "192.0.2.10-192.0.2.19"})
    return admin


PRINTED = (
    '{"domain":"domain_name","family":"ipv4","ip_name":"192.0.2.10","ip_net":1,"ip_pool":1,'
    '"set_as_main_ipv4":true,"userspace":1}'
)


async def test_allocation_lists_and_removal_of_an_address(call: Any, site: Api) -> None:
    answer = await call("POST", "dci/v3/server/1/ip", PRINTED)
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "task": 1})
    found = await site.get("/vm/v3/task?where=consul_id EQ 1")
    assert [(row["id"], row["name"], row["subject"]["id"]) for row in found["list"]] == [
        (1, "allocate_ip", 1)
    ]
    row = (await call("GET", "dci/v3/ip")).json()["list"][0]
    assert row["status"] in {"allocating", "allocated"}
    assert (await site.finished(1))["status"] == "complete"

    for path in ("dci/v3/ip", "dci/v3/server/1/ip"):
        listed = (await call("GET", path)).json()
        assert listed["size"] == 1
        assert isinstance(listed["last_notify"], int)
        published = (
            "domain",
            "family",
            "gateway",
            "id",
            "name",
            "network",
            "server",
            "status",
            "status_info",
        )
        assert {key: listed["list"][0][key] for key in published} == {
            "domain": "domain_name", "family": "ipv4", "gateway": "192.0.2.1", "id": 1, "name": "192.0.2.10",
            "network": "192.0.2.0/24", "server": "srv-1", "status": "allocated", "status_info": {},
        }  # fmt: skip
    assert (await call("GET", "dci/v3/server/1")).json()["ip"] == [
        {
            "domain": "domain_name", "family": "ipv4", "gateway": "192.0.2.1", "id": 1, "name": "192.0.2.10",
            "network": "192.0.2.0/24", "status": "allocated", "status_info": {}, "mask": 24, "prefix": 32,
            "is_main": True,
        }
    ]  # fmt: skip

    answer = await call("POST", "dci/v3/server/1/ip/1", "{}")
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "task": 2})
    assert (await site.finished(2))["status"] == "complete"
    assert (await call("GET", "dci/v3/server/1/ip")).json()["list"] == []
    assert (await call("GET", "dci/v3/server/1")).json()["ip"] == []


async def test_removal_by_delete(call: Any, site: Api) -> None:
    await site.finished((await call("POST", "dci/v3/server/1/ip", PRINTED)).json()["task"])
    answer = await call("DELETE", "dci/v3/server/1/ip/1")
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "task": 2})
    assert (await site.finished(2))["status"] == "complete"


async def test_list_of_networks(call: Any, site: Api) -> None:
    await site.finished((await call("POST", "dci/v3/server/1/ip", PRINTED)).json()["task"])
    row = (await call("GET", "ip/v3/ipnet")).json()["list"][0]
    published = (
        "id", "name", "family", "mask", "gateway", "userspace", "vlan", "note", "size", "using_ip", "total_ip",
    )  # fmt: skip
    assert {key: row[key] for key in published} == {
        "id": 1, "name": "192.0.2.0/24", "family": 2, "mask": 24, "gateway": "192.0.2.1", "userspace": 1,
        "vlan": "100", "note": "first", "size": "256", "using_ip": "1", "total_ip": "253",
    }  # fmt: skip


async def test_list_of_pools(call: Any, site: Api) -> None:
    await site.finished((await call("POST", "dci/v3/server/1/ip", PRINTED)).json()["task"])
    row = (await call("GET", "ip/v3/ippool")).json()["list"][0]
    published = (
        "id", "name", "userspace", "note", "is_public", "using_ip", "using_ipv4", "using_ipv6", "total_ip",
        "total_ipv4", "total_ipv6",
    )  # fmt: skip
    assert {key: row[key] for key in published} == {
        "id": 1, "name": "public", "userspace": 1, "note": "all", "is_public": "1", "using_ip": "1", "using_ipv4": "1",
        "using_ipv6": "0", "total_ip": "10", "total_ipv4": "10", "total_ipv6": "0",
    }  # fmt: skip


async def test_calls_that_clients_of_the_sister_product_make(call: Any, site: Api) -> None:
    assert (await call("POST", "vm/v3/ipnet/1", '{"note":"changed"}')).json() == {"id": 1}
    found = (await call("GET", "ip/v3/ipnet?where=name+CP+'192.0.2.0/24'")).json()["list"]
    assert [(row["id"], row["note"]) for row in found] == [(1, "changed")]
    assert (await call("GET", "ip/v3/ipnet?where=id+EQ+1")).json()["list"] == found
    assert (await call("POST", "ip/v3/ippool/1", '{"name":"other","note":""}')).json() == {"id": 1}
    pool = (await call("GET", "ip/v3/ippool/1")).json()
    assert (pool["name"], pool["note"]) == ("other", "")
    assert (await call("GET", "ip/v3/ippool?where=name+CP+'other'")).json()["list"][0]["id"] == 1
    ranges = (await call("GET", "vm/v3/range?where=ippool EQ 1")).json()["list"]
    assert [(row["id"], row["name"]) for row in ranges] == [(1, "192.0.2.10-192.0.2.19")]
    await site.finished((await call("POST", "dci/v3/server/1/ip", PRINTED)).json()["task"])
    assert (await call("POST", "vm/v3/ip/1/ptr", '{"domain":"srv-1.example.com"}')).json() == {"id": 1}
    assert (await site.get("/ip/v3/ip/1"))["ptr"] == "srv-1.example.com"
    # Free addresses have no row: clients look for the gaps.
    for path in ("dci/v3/ipmgr/ip", "ip/v3/ip"):
        where = "where=ipnet EQ 1 AND status NE 'extended' AND NOT domain CP '%extended.%'&orderby=name&limit=0,512"
        rows = (await call("GET", f"{path}?{where}")).json()["list"]
        assert [(row["ipnet_name"], row["ip_addr"], row["name"]) for row in rows] == [
            ("192.0.2.0/24", "192.0.2.10", "192.0.2.10")
        ]
    assert (await call("GET", "dci/v3/ip?where=((network EQ 1))")).json()["size"] == 1
    await site.finished((await call("DELETE", "dci/v3/server/1/ip/1")).json()["task"])
    assert (await call("DELETE", "ip/v3/range/1")).json() == {"id": 1}
    assert (await call("DELETE", "ip/v3/ippool/1")).json() == {"id": 1}
    assert (await call("DELETE", "ip/v3/ipnet/1")).json() == {"id": 1}
