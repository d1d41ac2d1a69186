"""Addresses, networks and pools through the API."""

import asyncio
from collections import Counter
from datetime import timedelta
from time import perf_counter
from typing import Any

import pytest
from sqlalchemy import select, update

from rackhand.app import Services
from rackhand.db import utcnow
from rackhand.ipam import allocation, queries
from rackhand.ipam.model import Address, FreeSpan, Network
from rackhand.tasks.model import Task
from tests.conftest import Api, server_body, statements


@pytest.fixture
async def site(admin: Api) -> Api:
    """Three servers, a network with eleven usable addresses in a public pool."""
    for number in (1, 2, 3):
        await admin.post("/dci/v3/server", server_body(number, domain=f"srv-{number}.example.com"))
    await admin.post("/ip/v3/ipnet", {"name": "192.0.2.0/28", "gateway": "192.0.2.1"})
    await admin.post("/ip/v3/userspace/public/ippool", {"name": "public"})
    await admin.post("/ip/v3/ippool/1/range", {"name": "192.0.2.0/28"})
    return admin


async def allocate(api: Api, server: int, **body: object) -> Any:
    """Allocate and wait; the row of the address."""
    answer = await api.post(f"/dci/v3/server/{server}/ip", body)
    task = await api.finished(answer["task"])
    assert task["status"] == "complete", task
    return await api.get(f"/dci/v3/ip/{answer['id']}")


async def remove(api: Api, server: int, address: int, **body: object) -> None:
    answer = _json(await api.call("DELETE", f"/dci/v3/server/{server}/ip/{address}", body))
    assert (await api.finished(answer["task"]))["status"] == "complete"


def _json(response: Any) -> Any:
    assert response.is_success, response.text
    return response.json()


async def free_spans_are_right(services: Services) -> bool:
    """Whether the index of free addresses is what follows from networks and addresses."""
    async with services.db.read() as session:
        for network in (await session.scalars(select(Network))).all():
            nested = (await session.scalars(select(Network).where(Network.parent_id == network.id))).all()
            taken = (await session.scalars(select(Address).where(Address.network_id == network.id))).all()
            rows = await session.scalars(select(FreeSpan).where(FreeSpan.network_id == network.id))
            usable = allocation.usable(
                network.network, network.gateway_address, [child.span for child in nested]
            )
            wanted = list(allocation.subtract(usable, [address.span for address in taken]))
            found = sorted(row.span for row in rows)
            assert found == wanted, (network.cidr, found, wanted)
    return True


# --- which address


async def test_addresses_are_given_lowest_first_and_never_the_gateway(site: Api, services: Services) -> None:
    first = await allocate(site, 1)
    assert (first["name"], first["domain"], first["ippool"]) == ("192.0.2.2", "srv-1.example.com", 1)
    assert (await allocate(site, 1, ip_net=1, domain="other.example.com"))["domain"] == "other.example.com"
    assert (await allocate(site, 2, ip_pool=1))["name"] == "192.0.2.4"
    assert (await allocate(site, 2, ip_name="192.0.2.9"))["name"] == "192.0.2.9"
    assert (await allocate(site, 2, ip_name="", ip_net=0, ip_pool=0, family=""))["name"] == "192.0.2.5"
    assert await free_spans_are_right(services)


async def test_an_exact_address_must_be_free_and_fit_what_else_is_said(site: Api) -> None:
    await allocate(site, 1, ip_name="192.0.2.5")
    await site.post("/ip/v3/ipnet", {"name": "198.51.100.0/24"})
    await site.post("/ip/v3/ippool", {"name": "second"})
    await site.post("/ip/v3/ippool/2/range", {"name": "198.51.100.0-198.51.100.9"})
    for status, body, words in [
        (409, {"ip_name": "192.0.2.5"}, "192.0.2.5 is taken by server 1"),
        (409, {"ip_name": "192.0.2.1"}, "192.0.2.1 is the gateway of network 192.0.2.0/28"),
        (409, {"ip_name": "192.0.2.0"}, "network or broadcast"),
        (409, {"ip_name": "192.0.2.15"}, "network or broadcast"),
        (400, {"ip_name": "192.0.2.6", "ip_net": 2}, "192.0.2.6 is not in network 198.51.100.0/24"),
        (400, {"ip_name": "192.0.2.6", "ip_pool": 2}, "192.0.2.6 is not in pool 2"),
        (400, {"ip_name": "192.0.2.6", "family": "ipv6"}, "192.0.2.6 is IPv4"),
        (400, {"ip_name": "192.0.2.6", "userspace": 1, "family": "ipv5"}, "expected ipv4 or ipv6"),
        (400, {"ip_name": "192.0.2.600"}, "expected an IP address"),
        (404, {"ip_name": "203.0.113.1"}, "holds 203.0.113.1"),
        (404, {"ip_net": 9}, "no network 9"),
        (404, {"ip_pool": 9}, "no pool 9"),
        (404, {"userspace": 9}, "no user space 9"),
        (400, {"ip_net": 1, "family": "ipv6"}, "192.0.2.0/28 is IPv4"),
        (409, {"ip_pool": 1, "family": "ipv6"}, "no IPv6 addresses"),
        (409, {"family": "ipv6"}, "No pool with IPv6 addresses serves server 2"),
        (400, {"ip_pool": [1]}, "ip_pool"),
    ]:
        error = await site.refused(status, "POST", "/dci/v3/server/2/ip", body)
        assert words in error["msg"], (body, error)
    assert (await site.get("/dci/v3/server/2/ip"))["size"] == 0
    assert (await site.get("/dci/v3/task"))["size"] == 1


async def test_pools_are_chosen_by_rack_then_location_then_public(site: Api) -> None:
    rack = (await site.post("/dci/v3/rack", {"name": "A-01"}))["id"]
    await site.post("/dci/v3/server/1", {"rack_id": rack, "unit": 1})
    await site.post("/ip/v3/ipnet", {"name": "198.51.100.0/24"})
    for name, scope in [
        ("other public", {}),
        ("of the rack", {"rack_id": rack}),
        ("of ams1", {"location_id": 1}),
    ]:
        number = (await site.post("/ip/v3/ippool", {"name": name, **scope}))["id"]
        await site.post(f"/ip/v3/ippool/{number}/range", {"name": f"198.51.100.{number * 10}"})
    assert (await allocate(site, 1))["name"] == "198.51.100.30"
    assert (await allocate(site, 2))["name"] == "198.51.100.40"
    # What is full is passed over.
    assert (await allocate(site, 1))["name"] == "192.0.2.2"
    await site.refused(409, "DELETE", f"/dci/v3/rack/{rack}")


async def test_a_network_of_another_location_is_not_used(site: Api) -> None:
    await site.post("/dci/v3/location", {"name": "fra1"})
    await site.post("/ip/v3/ipnet/1", {"location_id": 2})
    assert (await site.refused(409, "POST", "/dci/v3/server/1/ip", {"ip_net": 1}))["msg"].startswith(
        "Network 192.0.2.0/28 is of location 2"
    )
    await site.refused(409, "POST", "/dci/v3/server/1/ip", {"ip_name": "192.0.2.2"})
    await site.refused(409, "POST", "/dci/v3/server/1/ip", {"ip_pool": 1})


async def test_ipv6_is_given_from_a_network_too_large_to_count(site: Api, services: Services) -> None:
    net = (await site.post("/ip/v3/ipnet", {"name": "2001:db8::/32", "gateway": "fe80::1"}))["id"]
    pool = (await site.post("/ip/v3/ippool", {"name": "v6 public"}))["id"]
    await site.post(f"/ip/v3/ippool/{pool}/range", {"name": "2001:db8::/32"})
    assert (await allocate(site, 1, family="ipv6"))["name"] == "2001:db8::1"
    row = await allocate(site, 1, ip_name="2001:DB8:0::ffff", set_as_main_ipv4=False)
    assert (row["name"], row["family"], row["is_main"]) == ("2001:db8::ffff", "ipv6", False)
    prefix = await allocate(site, 1, ip_pool=pool, prefix=64)
    assert (prefix["name"], prefix["prefix"]) == ("2001:db8:0:1::/64", 64)
    error = await site.refused(409, "POST", "/dci/v3/server/2/ip", {"ip_name": "2001:db8:0:1::5"})
    assert "2001:db8:0:1::/64 is allocated" in error["msg"]
    await site.refused(409, "POST", "/dci/v3/server/2/ip", {"ip_name": "2001:db8::/48"})
    found = (await site.get(f"/ip/v3/ipnet/{net}"), await site.get(f"/ip/v3/ippool/{pool}"))
    assert (found[0]["family"], found[0]["size"]) == (10, str(2**96))
    assert (found[0]["using_ip"], found[0]["total_ip"]) == (str(2**64 + 2), str(2**96 - 1))
    assert (found[1]["using_ipv6"], found[1]["total_ipv6"]) == (str(2**64 + 2), str(2**96 - 1))
    assert (found[1]["using_ipv4"], found[1]["using_ip"]) == ("0", str(2**64 + 2))
    assert [row["name"] for row in (await site.get("/dci/v3/ip?orderby=name desc"))["list"]] == [
        "2001:db8:0:1::/64",
        "2001:db8::ffff",
        "2001:db8::1",
    ]
    assert await free_spans_are_right(services)
    error = await site.refused(
        400, "POST", "/dci/v3/server/1/ip", {"family": "ipv6", "set_as_main_ipv4": True}
    )
    assert "is no IPv4 address" in error["msg"]


# --- races


async def test_twenty_at_once_get_twenty_addresses_or_are_told_that_none_is_left(
    admin: Api, services: Services
) -> None:
    await admin.post("/ip/v3/ipnet", {"name": "192.0.2.0/28", "gateway": "192.0.2.1"})
    await admin.post("/ip/v3/userspace/public/ippool", {"name": "public"})
    await admin.post("/ip/v3/ippool/1/range", {"name": "192.0.2.0/28"})
    for number in range(1, 21):
        await admin.post("/dci/v3/server", server_body(number))
    bodies: list[dict[str, object]] = [{}, {"ip_net": 1}, {"ip_pool": 1}, {"ip_pool": 1, "family": "ipv4"}]
    calls = [admin.call("POST", f"/dci/v3/server/{number}/ip", bodies[number % 4]) for number in range(1, 21)]
    responses = await asyncio.gather(*calls)
    assert Counter(response.status_code for response in responses) == {200: 13, 409: 7}
    for response in responses:
        if response.status_code == 200:
            assert (await admin.finished(response.json()["task"]))["status"] == "complete"
        else:
            assert "free" in response.json()["error"]["msg"]
    names = [row["name"] for row in (await admin.get("/dci/v3/ip?orderby=name"))["list"]]
    assert names == [f"192.0.2.{host}" for host in range(2, 15)]
    assert (await admin.get("/ip/v3/ipnet/1"))["using_ip"] == "13"
    assert await free_spans_are_right(services)


async def test_of_many_who_want_one_exact_address_one_gets_it(site: Api) -> None:
    calls = [
        site.call("POST", f"/dci/v3/server/{number}/ip", {"ip_name": "192.0.2.7"}) for number in (1, 2, 3)
    ]
    statuses = sorted(response.status_code for response in await asyncio.gather(*calls))
    assert statuses == [200, 409, 409]


async def test_a_busy_server_is_refused_with_the_number_of_its_task(site: Api, services: Services) -> None:
    calls = [site.call("POST", "/dci/v3/server/1/ip", {}) for _ in range(4)]
    responses = await asyncio.gather(*calls)
    for response in responses:
        if response.status_code != 200:
            assert response.status_code == 409
            assert "is busy: task" in response.json()["error"]["msg"]
    given = [response.json() for response in responses if response.status_code == 200]
    for answer in given:
        await site.finished(answer["task"])
    assert (await site.get("/dci/v3/server/1/ip"))["size"] == len(given) >= 1
    assert await free_spans_are_right(services)


# --- removal


async def test_a_removed_address_rests_and_is_then_given_again(site: Api, services: Services) -> None:
    first = await allocate(site, 1)
    await remove(site, 1, first["id"])
    row = await site.get(f"/ip/v3/ip/{first['id']}")
    assert (row["status"], row["server"], row["domain"]) == ("quarantined", "", "")
    assert row["quarantined_until"] > "2"
    assert (await allocate(site, 2))["name"] == "192.0.2.3"
    error = await site.refused(409, "POST", "/dci/v3/server/3/ip", {"ip_name": first["name"]})
    assert "quarantined until" in error["msg"]
    taken = await allocate(site, 3, ip_name=first["name"], ignore_quarantine=True)
    assert taken["name"] == first["name"]
    await remove(site, 3, taken["id"])
    for _ in range(11):
        await allocate(site, 2)
    await site.refused(409, "POST", "/dci/v3/server/3/ip", {})
    async with services.db.write() as session:
        await session.execute(
            update(Address)
            .where(Address.quarantined_until.is_not(None))
            .values(quarantined_until=utcnow() - timedelta(seconds=1))
        )
    assert (await allocate(site, 3))["name"] == first["name"]
    assert await free_spans_are_right(services)


async def test_an_administrator_can_leave_the_quarantine_out_or_end_it(site: Api, services: Services) -> None:
    first = await allocate(site, 1)
    await remove(site, 1, first["id"], quarantine_hours=0)
    await site.refused(404, "GET", f"/ip/v3/ip/{first['id']}")
    again = await allocate(site, 1)
    assert (again["name"], again["id"] > first["id"]) == (first["name"], True)
    await site.refused(409, "DELETE", f"/ip/v3/ip/{again['id']}")
    await remove(site, 1, again["id"])
    await site.delete(f"/ip/v3/ip/{again['id']}")
    assert (await allocate(site, 1))["name"] == first["name"]
    assert await free_spans_are_right(services)


async def test_somebody_elses_address_is_not_removed(site: Api) -> None:
    row = await allocate(site, 1)
    error = await site.refused(404, "POST", f"/dci/v3/server/2/ip/{row['id']}", {})
    assert error["msg"] == f"Server 2 has no address {row['id']}."
    await site.refused(404, "DELETE", "/dci/v3/server/1/ip/99")
    await site.refused(409, "DELETE", "/dci/v3/server/1")
    assert (await site.get("/dci/v3/server/1/ip"))["size"] == 1


async def test_a_body_with_a_domain_changes_the_address_instead_of_removing_it(site: Api) -> None:
    row = await allocate(site, 1)
    second = await allocate(site, 1)
    assert (row["is_main"], second["is_main"]) == (True, False)
    path = f"/dci/v3/server/1/ip/{second['id']}"
    assert await site.post(path, {"domain": "a.example.com", "set_as_main_ipv4": True}) == {
        "id": second["id"]
    }
    assert [(each["name"], each["is_main"]) for each in (await site.get("/dci/v3/server/1"))["ip"]] == [
        ("192.0.2.3", True),
        ("192.0.2.2", False),
    ]
    # The main address goes, the other one takes its place.
    await remove(site, 1, second["id"])
    assert (await site.get(path.rpartition("/")[0]))["list"][0]["is_main"] is True


async def test_owner_release_leaves_addresses_with_the_server(site: Api, customer: Api) -> None:
    await site.post("/dci/v3/server/1/owner", {"owner": 2})
    await allocate(site, 1)
    await site.delete("/dci/v3/server/1/owner")
    assert (await site.get("/dci/v3/server/1/ip"))["size"] == 1
    assert (await customer.get("/dci/v3/ip"))["size"] == 0


# --- the task


async def test_the_task_of_an_allocation_is_finished_when_the_call_is_answered(site: Api) -> None:
    answer = await site.post("/dci/v3/server/1/ip", {"ip_net": 1, "set_as_main_ipv4": True})
    task = await site.get(f"/dci/v3/task/{answer['task']}")
    assert (task["name"], task["status"], task["state"], task["subject"]["name"]) == (
        "allocate_ip",
        "complete",
        "succeeded",
        "srv-1",
    )
    first = task["steps"][0]
    assert (first["name"], first["status"], first["message"]) == ("allocate_address", "done", "192.0.2.2")
    assert task["created_at"] == task["started_at"] == task["finished_at"]
    assert first["started_at"] == first["finished_at"] == task["created_at"]
    server = await site.get("/dci/v3/server/1")
    assert (server["operation"]["id"], server["operation"]["status"]) == (answer["task"], "ok")
    assert server["is_new"] is False
    found = await site.get(f"/dci/v3/event?where=task EQ {answer['task']}")
    assert [(row["kind"], row["subject"]["kind"]) for row in found["list"]] == [
        ("task.queued", "server"),
        ("ip.allocated", "ip"),
        ("ip.main", "ip"),
        ("task.succeeded", "server"),
    ]
    refused = await site.refused(409, "POST", f"/dci/v3/task/{answer['task']}/abort", {})
    assert refused["msg"] == f"Task {answer['task']} is over: succeeded."


async def test_a_server_that_a_task_holds_is_left_alone(site: Api, services: Services) -> None:
    row = await allocate(site, 1)
    async with services.db.write() as session:
        await session.execute(update(Task).where(Task.id == 1).values(status="running"))
    for method, path, body in [
        ("POST", "/dci/v3/server/1/ip", {}),
        ("POST", f"/dci/v3/server/1/ip/{row['id']}", {}),
        ("POST", f"/dci/v3/server/1/ip/{row['id']}", {"domain": "x.example.com"}),
        ("DELETE", f"/dci/v3/server/1/ip/{row['id']}", None),
    ]:
        error = await site.refused(409, method, path, body)
        assert (error["code"], error["value"]["task"]) == (2423, 1), path
    assert (await site.get("/dci/v3/server/1/ip"))["size"] == 1


# --- users


async def test_a_user_sees_and_changes_addresses_of_its_own_servers_alone(site: Api, customer: Api) -> None:
    await site.post("/dci/v3/server/2/owner", {"owner": 2})
    other, own = await allocate(site, 1), await allocate(site, 2)
    assert [row["id"] for row in (await customer.get("/dci/v3/ip"))["list"]] == [own["id"]]
    assert (await customer.get(f"/dci/v3/ip?where=id EQ {other['id']} OR server_id EQ 1&limit=5"))[
        "size"
    ] == 0
    assert (await customer.get("/dci/v3/server/2"))["ip"][0]["name"] == own["name"]
    assert "note" not in (await customer.get(f"/dci/v3/ip/{own['id']}"))
    for method, path, body in [
        ("GET", f"/dci/v3/ip/{other['id']}", None),
        ("POST", f"/dci/v3/ip/{other['id']}", {"domain": "x"}),
        ("POST", f"/vm/v3/ip/{other['id']}/ptr", {"domain": "x"}),
        ("GET", "/dci/v3/server/1/ip", None),
        ("POST", "/dci/v3/server/1/ip", {}),
        ("POST", f"/dci/v3/server/1/ip/{other['id']}", {}),
        ("DELETE", f"/dci/v3/server/1/ip/{other['id']}", None),
        ("DELETE", f"/dci/v3/server/2/ip/{other['id']}", None),
        ("GET", "/dci/v3/user/1/ip_quota", None),
    ]:
        assert (await customer.refused(404, method, path, body))["code"] == 3080, path
    for service_name in ("ip", "vm", "dci"):
        for method, path, body in [
            ("GET", "ipnet", None),
            ("GET", "ipnet/1", None),
            ("POST", "ipnet", {"name": "198.51.100.0/24"}),
            ("POST", "userspace/public/ipnet", {"name": "198.51.100.0/24"}),
            ("POST", "ipnet/1", {"note": "x"}),
            ("DELETE", "ipnet/1", None),
            ("GET", "ippool", None),
            ("GET", "ippool/1", None),
            ("POST", "ippool", {"name": "x"}),
            ("POST", "userspace/public/ippool", {"name": "x"}),
            ("POST", "ippool/1", {"name": "x"}),
            ("DELETE", "ippool/1", None),
            ("GET", "ippool/1/range", None),
            ("POST", "ippool/1/range", {"name": "192.0.2.1"}),
            ("GET", "range", None),
            ("GET", "range/1", None),
            ("DELETE", "range/1", None),
            ("GET", "userspace", None),
            ("POST", "userspace", {"name": "x"}),
            ("DELETE", "userspace/1", None),
            ("POST", "ip", {"name": "192.0.2.9"}),
            ("DELETE", f"ip/{own['id']}", None),
            ("POST", f"ip/{own['id']}", {"note": "x"}),
        ]:
            error = await customer.refused(403, method, f"/{service_name}/v3/{path}", body)
            assert error["code"] == 3001, path
    await customer.post(f"/dci/v3/ip/{own['id']}", {"domain": "mine.example.com"})
    await customer.post(f"/dci/v3/ip/{own['id']}/ptr", {"domain": "mine.example.com"})
    await customer.refused(403, "DELETE", f"/dci/v3/server/2/ip/{own['id']}", {"quarantine_hours": 0})
    await remove(customer, 2, own["id"])


async def test_a_user_takes_addresses_of_public_pools_within_its_quota(site: Api, customer: Api) -> None:
    for number in (2, 3):
        await site.post(f"/dci/v3/server/{number}/owner", {"owner": 2})
    await site.post("/ip/v3/ipnet", {"name": "198.51.100.0/24"})
    await site.post("/ip/v3/ippool", {"name": "ours"})
    await site.post("/ip/v3/ippool/2/range", {"name": "198.51.100.0/24"})
    assert (await customer.refused(403, "POST", "/dci/v3/server/2/ip", {}))["code"] == 3001
    await site.post("/dci/v3/user/2/ip_quota", {"ipv4": 2})
    assert (await customer.get("/dci/v3/user/2/ip_quota"))["ipv4"] == 2
    await customer.refused(404, "POST", "/dci/v3/server/2/ip", {"ip_pool": 2})
    await customer.refused(403, "POST", "/dci/v3/server/2/ip", {"ip_net": 1})
    await customer.refused(403, "POST", "/dci/v3/server/2/ip", {"ip_name": "198.51.100.7"})
    assert (await allocate(customer, 2))["name"] == "192.0.2.2"
    assert (await allocate(customer, 2, ip_name="192.0.2.9"))["name"] == "192.0.2.9"
    error = await customer.refused(403, "POST", "/dci/v3/server/3/ip", {"ip_pool": 1})
    assert "2 IPv4 addresses" in error["msg"]
    # Billing gives what it likes.
    await allocate(site, 3)


# --- networks and pools


async def test_nested_networks_share_nothing_and_the_same_one_twice_is_refused(
    site: Api, services: Services
) -> None:
    await allocate(site, 1, ip_name="192.0.2.9")
    error = await site.refused(409, "POST", "/ip/v3/ipnet", {"name": "192.0.2.0/28"})
    assert "Network 192.0.2.0/28 is there already" in error["msg"]
    # An address in use would become its broadcast address, or its gateway.
    await site.refused(409, "POST", "/ip/v3/ipnet", {"name": "192.0.2.8/30", "gateway": "192.0.2.9"})
    inner = (await site.post("/ip/v3/ipnet", {"name": "192.0.2.8/30", "gateway": "192.0.2.10"}))["id"]
    outer = (await site.post("/ip/v3/ipnet", {"name": "192.0.0.0/16"}))["id"]
    rows = {row["name"]: row for row in (await site.get("/ip/v3/ipnet"))["list"]}
    assert {name: row["parent"] for name, row in rows.items()} == {
        "192.0.0.0/16": None,
        "192.0.2.0/28": outer,
        "192.0.2.8/30": 1,
    }
    assert (rows["192.0.2.8/30"]["using_ip"], rows["192.0.2.8/30"]["total_ip"]) == ("1", "1")
    assert (rows["192.0.2.0/28"]["using_ip"], rows["192.0.2.0/28"]["total_ip"]) == ("0", "9")
    assert rows["192.0.0.0/16"]["total_ip"] == str(2**16 - 2 - 16)
    assert (await site.get("/dci/v3/ip?where=ipnet_name EQ '192.0.2.8/30'"))["list"][0][
        "gateway"
    ] == "192.0.2.10"
    assert await free_spans_are_right(services)
    await site.refused(409, "DELETE", f"/ip/v3/ipnet/{inner}")
    await remove(site, 1, 1)
    await site.delete(f"/ip/v3/ipnet/{inner}")
    await site.delete("/ip/v3/ipnet/1")
    await site.delete(f"/ip/v3/ipnet/{outer}")
    assert (await site.get("/ip/v3/ipnet"))["list"] == []


async def test_user_spaces_hold_the_same_network_twice(site: Api) -> None:
    space = (await site.post("/ip/v3/userspace", {"name": "private"}))["id"]
    net = (await site.post(f"/ip/v3/userspace/{space}/ipnet", {"name": "192.0.2.0/28"}))["id"]
    await allocate(site, 1, ip_name="192.0.2.5")
    row = await allocate(site, 2, ip_name="192.0.2.5", userspace=space)
    assert (row["ipnet"], row["userspace"]) == (net, space)
    assert (
        "user space 1"
        in (await site.refused(400, "POST", "/dci/v3/server/1/ip", {"ip_net": 1, "userspace": space}))["msg"]
    )
    await site.refused(409, "DELETE", f"/ip/v3/userspace/{space}")
    await site.refused(409, "POST", "/ip/v3/userspace", {"name": "private"})
    await remove(site, 2, row["id"], quarantine_hours=0)
    await site.delete(f"/ip/v3/ipnet/{net}")
    await site.delete(f"/ip/v3/userspace/{space}")


async def test_networks_that_make_no_sense_are_refused(site: Api) -> None:
    for body, words in [
        ({"name": "198.51.100.5/24"}, "the network is 198.51.100.0/24"),
        ({"name": "198.51.100.0"}, "expected a network"),
        ({"name": "198.51.100.0/24", "gateway": "192.0.2.1"}, "192.0.2.1 is not in network 198.51.100.0/24"),
        ({"name": "198.51.100.0/24", "gateway": "198.51.100.255"}, "network or broadcast address"),
        ({"name": "2001:db8::/64", "gateway": "2001:db9::1"}, "is not in network"),
        ({"name": "198.51.100.0/24", "gateway": "x"}, "expected an IP address"),
        ({}, "name"),
    ]:
        error = await site.refused(400, "POST", "/ip/v3/ipnet", body)
        assert words in error["msg"], error
    await site.refused(404, "POST", "/ip/v3/ipnet", {"name": "198.51.100.0/24", "userspace": 7})
    await site.refused(404, "POST", "/ip/v3/ipnet", {"name": "198.51.100.0/24", "location_id": 7})
    await site.refused(400, "POST", "/ip/v3/ipnet/1", {"note": None})


async def test_a_new_gateway_is_not_handed_out_and_the_old_one_is(site: Api, services: Services) -> None:
    await allocate(site, 1)
    await site.refused(409, "POST", "/ip/v3/ipnet/1", {"gateway": "192.0.2.2"})
    await site.post("/ip/v3/ipnet/1", {"gateway": "192.0.2.14", "vlan": 7, "note": "moved"})
    row = await site.get("/ip/v3/ipnet/1")
    assert (row["gateway"], row["vlan"], row["note"], row["total_ip"]) == ("192.0.2.14", "7", "moved", "13")
    assert (await allocate(site, 1))["name"] == "192.0.2.1"
    await site.post("/ip/v3/ipnet/1", {"gateway": ""})
    assert (await site.get("/ip/v3/ipnet/1"))["total_ip"] == "14"
    assert await free_spans_are_right(services)


async def test_addresses_can_be_kept_back_and_freed(site: Api, services: Services) -> None:
    kept = (await site.post("/ip/v3/ip", {"name": "192.0.2.2", "note": "router 2"}))["id"]
    block = (await site.post("/ip/v3/ip", {"name": "192.0.2.4/30"}))["id"]
    assert (await allocate(site, 1))["name"] == "192.0.2.3"
    assert (await allocate(site, 1))["name"] == "192.0.2.8"
    await site.refused(409, "POST", "/dci/v3/server/1/ip", {"ip_name": "192.0.2.5"})
    await site.refused(409, "POST", "/ip/v3/ip", {"name": "192.0.2.3"})
    net, pool = await site.get("/ip/v3/ipnet/1"), await site.get("/ip/v3/ippool/1")
    assert (net["using_ip"], net["total_ip"]) == ("2", "8")
    assert (pool["using_ip"], pool["total_ip"]) == ("2", "8")
    await site.delete(f"/ip/v3/ip/{block}")
    await site.delete(f"/ip/v3/ip/{kept}")
    assert (await allocate(site, 1))["name"] == "192.0.2.2"
    assert await free_spans_are_right(services)


async def test_pools_and_ranges_in_use_are_not_deleted_and_do_not_overlap(site: Api) -> None:
    row = await allocate(site, 1)
    for path in ("ippool/1", "range/1"):
        assert (
            "192.0.2.2 is an address of server 1"
            in (await site.refused(409, "DELETE", f"/ip/v3/{path}"))["msg"]
        )
    error = await site.refused(409, "POST", "/ip/v3/ippool/1/range", {"name": "192.0.2.9-192.0.3.1"})
    assert "overlaps range 192.0.2.0/28" in error["msg"]
    await site.refused(400, "POST", "/ip/v3/ippool/1/range", {"name": "192.0.2.9-192.0.2.1"})
    await site.refused(409, "POST", "/ip/v3/ippool", {"name": "public"})
    second = (await site.post("/ip/v3/ippool", {"name": "second"}))["id"]
    await site.refused(409, "POST", f"/ip/v3/ippool/{second}", {"name": "public"})
    await site.post(f"/ip/v3/ippool/{second}", {"name": "third", "is_public": True})
    assert (await site.get(f"/ip/v3/ippool/{second}"))["is_public"] == "1"
    await remove(site, 1, row["id"])
    await site.delete("/ip/v3/ippool/1")
    assert (await site.get("/ip/v3/range"))["list"] == []


# --- lists


async def test_servers_are_found_by_their_addresses(site: Api) -> None:
    await allocate(site, 1)
    await allocate(site, 2)
    for where in [
        "ip.name EQ '192.0.2.3'",
        "ip.name CP '%2.3'",
        "ip.name GT '192.0.2.2' AND ip.family EQ 'ipv4'",
        "ip.network EQ '192.0.2.0/28' AND ip.domain EQ 'srv-2.example.com'",
        "NOT (ip.id IS null) AND NOT ip.name EQ '192.0.2.2'",
    ]:
        assert [row["id"] for row in (await site.get(f"/dci/v3/server?where={where}"))["list"]] == [2], where
    assert [row["id"] for row in (await site.get("/dci/v3/server?where=ip.id IS null"))["list"]] == [3]


async def test_every_change_is_an_event_that_the_owner_of_the_server_sees(site: Api, customer: Api) -> None:
    await site.post("/dci/v3/server/2/owner", {"owner": 2})
    await allocate(site, 1)
    row = await allocate(site, 2)
    await remove(site, 2, row["id"])
    kinds = [
        each["kind"] for each in (await customer.get("/dci/v3/event?where=subject.kind EQ 'ip'"))["list"]
    ]
    assert kinds == ["ip.allocated", "ip.main", "ip.removed"]


async def test_lists_cost_the_same_statements_whatever_their_size(site: Api, services: Services) -> None:
    await site.post("/ip/v3/ipnet", {"name": "198.18.0.0/15"})
    for number in range(12):
        await site.post("/ip/v3/ipnet", {"name": f"198.18.{number}.0/24"})
        pool = (await site.post("/ip/v3/ippool", {"name": f"pool {number}"}))["id"]
        await site.post(f"/ip/v3/ippool/{pool}/range", {"name": f"198.18.{number}.0-198.18.{number}.99"})
    for server in (1, 2, 3):
        for _ in range(3):
            await allocate(site, server)
    for path, most in [("dci/v3/ip", 6), ("ip/v3/ipnet", 7), ("ip/v3/ippool", 8), ("dci/v3/server", 16)]:
        counts = []
        for limit in (1, 12):
            with statements(services) as seen:
                await site.get(f"/{path}?limit={limit}")
            counts.append(len(seen))
        assert counts[0] == counts[1] <= most, (path, counts)


async def explained(services: Services, statement: str) -> str:
    """How the database reads the addresses of servers 1 to 3."""
    ids: object = "[1, 2, 3]" if services.db.is_sqlite else [1, 2, 3]
    async with services.db.read() as session:
        connection = await session.connection()
        explain = "EXPLAIN QUERY PLAN " if services.db.is_sqlite else "EXPLAIN "
        parameters: Any = (
            tuple(
                ids if position == 0 else queries.MOST_SHOWN + 1 for position in range(statement.count("?"))
            )
            if services.db.is_sqlite
            else {"ids": ids, "param_1": queries.MOST_SHOWN + 1}
        )
        found = await connection.exec_driver_sql(explain + statement, parameters)
        return "\n".join(str(row[-1]) for row in found.all())


async def test_a_page_of_many_addresses_comes_fast(admin: Api, services: Services) -> None:
    from sqlalchemy import insert

    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/ip/v3/ipnet", {"name": "10.0.0.0/8"})
    base = int(allocation.parse_address("10.0.0.0"))
    rows = [
        {
            "userspace_id": 1,
            "network_id": 1,
            "server_id": 1,
            "name": str(allocation.address_at(4, base + number)),
            "key": allocation.key_of(allocation.address_at(4, base + number)),
            "version": 4,
            "prefix_length": 32,
            "status": "allocated",
            "status_info": {},
            "domain": "",
            "ptr": "",
            "note": "",
            "is_main": False,
            "created_at": utcnow(),
        }
        for number in range(1, 100_001)
    ]
    async with services.db.write() as session:
        for at in range(0, len(rows), 10_000):
            await session.execute(insert(Address), rows[at : at + 10_000])
    async with services.db.write() as session:
        from rackhand.ipam import free

        network = await free.locked_network(session, 1)
        assert network is not None
        await free.rebuild_free(session, network)
    times = {}
    for query in (
        "limit=100",
        "orderby=name desc&limit=50000,100",
        "where=ipnet EQ 1&orderby=name&limit=100",
    ):
        begin = perf_counter()
        page = await admin.get(f"/dci/v3/ip?{query}")
        times[query] = perf_counter() - begin
        assert (len(page["list"]), page["size"]) == (100, 100_000)
    begin = perf_counter()
    answer = await admin.post("/dci/v3/server/1/ip", {"ip_net": 1})
    times["allocate"] = perf_counter() - begin
    assert (await admin.get(f"/dci/v3/ip/{answer['id']}"))["name"] == "10.1.134.161"
    assert max(times.values()) < 10, times
    with statements(services) as seen:
        row = (await admin.get("/dci/v3/server?limit=10"))["list"][0]
    assert (len(row["ip"]), row["ip_is_cut"]) == (queries.MOST_SHOWN, True)
    # The main one stands first, though it is not among the lowest; what is shown is read, and nothing else.
    assert (row["ip"][0]["name"], row["ip"][0]["is_main"], row["ip"][1]["name"]) == (
        "10.1.134.161",
        True,
        "10.0.0.1",
    )
    plan = await explained(services, next(each for each in seen if "ip_address" in each))
    assert ("server_id=?" in plan) if services.db.is_sqlite else ("Limit" in plan)
