"""Reverse names: published, changed and taken away on real name servers; never in the way of an address."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from rackhand.app import Services
from rackhand.db import utcnow
from rackhand.dns.interfaces import PtrChange
from rackhand.hardware.errors import Refused
from rackhand.ipam import dns_sync
from rackhand.ipam.dns_sync import PtrSweep
from rackhand.ipam.model import DnsServer, PtrRecord
from rackhand.tasks.model import Task
from rackhand.tasks.operation import Tools
from tests.conftest import Api, server_body
from tests.dns import servers
from tests.dns.servers import NameServer

V4, V6, PART = "2.0.192.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa", "0-15.100.51.198.in-addr.arpa"
V6_NAME = f"1.{'0.' * 23}{V6}"


@pytest.fixture(scope="module", params=["powerdns", "bind"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    run = servers.powerdns if request.param == "powerdns" else servers.bind
    with run(tmp_path_factory.mktemp("dns") / "data", V4, V6, PART) as running:
        yield running


@pytest.fixture(scope="module")
def powerdns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    with servers.powerdns(tmp_path_factory.mktemp("dns") / "data", V4, V6, PART) as running:
        yield running


async def prepare(api: Api, daemon: NameServer, *zones: Mapping[str, object]) -> None:
    """Two servers with names, networks for all zones, the name server, and zones of it."""
    for number in (1, 2):
        await api.post("/dci/v3/server", server_body(number, domain=f"srv-{number}.example.com"))
    for name in ("192.0.2.0/24", "2001:db8::/64", "198.51.100.0/28"):
        await api.post("/ip/v3/ipnet", {"name": name})
    await api.post("/dci/v3/dns_server", {"name": "ns1", **daemon.access})
    for zone in zones:
        await api.post("/dci/v3/dns_zone", {"dns_server": 1, "ttl": 300, **zone})


async def done(api: Api, answer: Any) -> Any:
    task = await api.finished(answer["task"])
    assert task["status"] == "complete", task
    return task


async def allocate(api: Api, server: int, **body: object) -> Any:
    """Allocate, wait for the task, and give the row of the address."""
    answer = await api.post(f"/dci/v3/server/{server}/ip", body)
    await done(api, answer)
    return await api.get(f"/dci/v3/ip/{answer['id']}")


def sweep_of(services: Services) -> PtrSweep:
    tools = Tools(services.db, services.vault, services.doors, services.settings)
    return PtrSweep(tools, holder="test")


async def all_due(services: Services) -> None:
    """Have what waits for another try be due now."""
    async with services.db.write() as session:
        await session.execute(update(PtrRecord).values(try_at=utcnow() - timedelta(seconds=1)))


@contextmanager
def stopped(daemon: NameServer) -> Iterator[None]:
    daemon.stop()
    try:
        yield
    finally:
        daemon.start()


async def test_names_come_and_go_with_addresses(admin: Api, daemon: NameServer) -> None:
    part = {"name": PART, "network": "198.51.100.0/28"}
    await prepare(admin, daemon, {"name": f"{V4}."}, {"name": V6}, part)
    row = await allocate(admin, 1, ip_net=1)
    assert (row["name"], row["domain"], row["status_info"]) == ("192.0.2.1", "srv-1.example.com", {})
    assert daemon.says(f"1.{V4}", "srv-1.example.com")
    task = await admin.get("/dci/v3/task/1")
    assert [(step["name"], step["status"], step["message"]) for step in task["steps"]] == [
        ("allocate_address", "done", "192.0.2.1"),
        ("tell_name_server", "done", "1.2.0.192.in-addr.arpa says srv-1.example.com"),
    ]
    # A name of its own, which stands above the domain.
    answer = await admin.post(f"/vm/v3/ip/{row['id']}/ptr", {"domain": "Mail.Example.com."})
    assert (await done(admin, answer))["name"] == "set_ptr"
    assert (await admin.get(f"/ip/v3/ip/{row['id']}"))["ptr"] == "mail.example.com"
    assert daemon.says(f"1.{V4}", "mail.example.com")
    assert "task" not in await admin.post(f"/dci/v3/ip/{row['id']}", {"domain": "other.example.com"})
    await done(admin, await admin.post(f"/vm/v3/ip/{row['id']}/ptr", {"domain": ""}))
    assert daemon.says(f"1.{V4}", "other.example.com")
    path = f"/dci/v3/server/1/ip/{row['id']}"
    await done(admin, await admin.post(path, {"domain": "third.example.com"}))
    assert daemon.says(f"1.{V4}", "third.example.com")

    sixth = await allocate(admin, 2, ip_net=2)
    assert sixth["name"] == "2001:db8::1"
    assert daemon.says(V6_NAME, "srv-2.example.com")
    await allocate(admin, 2, ip_net=3)
    assert daemon.says(f"1.{PART}", "srv-2.example.com")
    assert (await admin.get("/dci/v3/dns_zone"))["list"][0]["names"] == 1

    await done(admin, await admin.post(path, {}))
    assert daemon.says(f"1.{V4}")
    await done(admin, await admin.delete(f"/dci/v3/server/2/ip/{sixth['id']}"))
    assert daemon.says(V6_NAME)
    assert [each["ip_addr"] for each in (await admin.get("/dci/v3/dns_record"))["list"]] == ["198.51.100.1"]
    kinds = [each["kind"] for each in (await admin.get("/dci/v3/event?where=kind CP 'ip.ptr%'"))["list"]]
    assert kinds == ["ip.ptr_published"] * 6 + ["ip.ptr_removed"] * 2


async def test_a_name_server_that_is_gone_is_shown_and_tried_again(
    admin: Api, services: Services, powerdns: NameServer
) -> None:
    await prepare(admin, powerdns, {"name": V4})
    sweep = sweep_of(services)
    with stopped(powerdns):
        row = await allocate(admin, 1, ip_net=1, set_as_main_ipv4=True)
        info = row["status_info"]["ptr"]
        assert (row["status"], row["is_main"], info["status"], info["name"]) == (
            "allocated", True, "failed", "srv-1.example.com",
        )  # fmt: skip
        assert "cannot be reached" in info["error"]
        assert info["next_try_at"] > "2"
        other = await allocate(admin, 2, ip_net=1)
        server = await admin.get("/dci/v3/dns_server/1")
        assert ("cannot be reached" in server["error"], server["seen_at"]) == (True, None)
        assert (await admin.get("/dci/v3/dns_zone/1"))["failed"] == 2
        assert await sweep.sweep() == 0  # not before its time
        await all_due(services)
        assert await sweep.sweep() == 2
        found = (await admin.get("/dci/v3/dns_record?where=state EQ 'failed'"))["list"]
        assert [each["attempts"] for each in found] == [2, 2]
        # Gone before it was ever published: there is nothing left to say of it.
        await done(admin, await admin.delete(f"/dci/v3/server/2/ip/{other['id']}"))
    await all_due(services)
    assert await sweep.sweep() == 2
    row = await admin.get(f"/dci/v3/ip/{row['id']}")
    assert row["status_info"] == {}
    assert powerdns.says(f"1.{V4}", "srv-1.example.com")
    assert powerdns.says(f"2.{V4}")
    assert [each["state"] for each in (await admin.get("/dci/v3/dns_record"))["list"]] == ["published"]
    server = await admin.get("/dci/v3/dns_server/1")
    assert (server["error"], server["error_at"], server["seen_at"] is not None) == (None, None, True)
    kinds = [each["kind"] for each in (await admin.get("/dci/v3/event?where=kind CP 'ip.ptr%'"))["list"]]
    # One each, however often it was tried.
    assert sorted(kinds) == ["ip.ptr_failed"] * 3 + ["ip.ptr_published", "ip.ptr_removed"]
    await done(admin, await admin.delete(f"/dci/v3/server/1/ip/{row['id']}"))


async def test_an_address_that_goes_on_to_another_server_ends_with_the_name_of_that_one(
    admin: Api, services: Services, powerdns: NameServer
) -> None:
    await prepare(admin, powerdns, {"name": V4})
    row = await allocate(admin, 1, ip_net=1)
    with stopped(powerdns):
        await done(
            admin,
            (await admin.call("DELETE", f"/dci/v3/server/1/ip/{row['id']}", {"quarantine_hours": 0})).json(),
        )
        again = await allocate(admin, 2, ip_net=1)
        assert again["name"] == row["name"]
    await all_due(services)
    await sweep_of(services).sweep()
    assert powerdns.says(f"1.{V4}", "srv-2.example.com")
    assert await sweep_of(services).sweep() == 0
    await done(admin, await admin.delete(f"/dci/v3/server/2/ip/{again['id']}"))
    assert powerdns.says(f"1.{V4}")


async def test_a_new_zone_publishes_what_is_there_and_one_that_goes_is_forgotten(
    admin: Api, services: Services, powerdns: NameServer
) -> None:
    await prepare(admin, powerdns)
    rows = [await allocate(admin, number, ip_net=1) for number in (1, 2)]
    assert all(not row["status_info"] for row in rows)
    await admin.post("/dci/v3/ip", {"name": "192.0.2.200", "domain": "kept.example.com"})
    await admin.post("/dci/v3/ip", {"name": "192.0.2.201"})
    await admin.post("/dci/v3/dns_zone", {"name": V4, "dns_server": 1})
    assert await sweep_of(services).sweep() == 3
    assert powerdns.says(f"1.{V4}", "srv-1.example.com")
    assert powerdns.says(f"2.{V4}", "srv-2.example.com")
    assert powerdns.says(f"200.{V4}", "kept.example.com")
    assert powerdns.says(f"201.{V4}")
    # An address that is no server's, and a server that a task holds: the sweep tells of them.
    address = (await admin.get("/dci/v3/ip?where=name EQ '192.0.2.201'"))["list"][0]["id"]
    assert "task" not in await admin.post(f"/dci/v3/ip/{address}/ptr", {"domain": "late.example.com"})
    async with services.db.write() as session:
        await session.execute(update(Task).where(Task.id == 1).values(status="running"))
    assert "task" not in await admin.post(f"/dci/v3/ip/{rows[0]['id']}/ptr", {"domain": "busy.example.com"})
    assert await sweep_of(services).sweep() == 2
    assert powerdns.says(f"201.{V4}", "late.example.com")
    assert powerdns.says(f"1.{V4}", "busy.example.com")
    # Somebody meddles; publishing anew puts it right.
    async with dns_sync.open_name_server(_tools(services), await _server(services)) as name_server:
        await name_server.apply(PtrChange(V4, f"2.{V4}", "wrong.example.com", 60))
    assert await admin.post("/dci/v3/dns_zone/1/publish", {}) == {"id": 1, "names": 4}
    await sweep_of(services).sweep()
    assert powerdns.says(f"2.{V4}", "srv-2.example.com")
    await admin.refused(409, "DELETE", "/dci/v3/dns_server/1")
    await admin.delete(f"/dci/v3/ip/{address}")
    await sweep_of(services).sweep()
    assert powerdns.says(f"201.{V4}")
    await admin.delete("/dci/v3/dns_zone/1")
    assert (await admin.get("/dci/v3/dns_record"))["size"] == 0
    assert powerdns.says(f"2.{V4}", "srv-2.example.com")
    await admin.delete("/dci/v3/dns_server/1")


def _tools(services: Services) -> Tools:
    return Tools(services.db, services.vault, services.doors, services.settings)


async def _server(services: Services) -> DnsServer:
    async with services.db.read() as session:
        return await session.get_one(DnsServer, 1)


async def test_of_nested_zones_the_smallest_holds_an_address(
    admin: Api, services: Services, powerdns: NameServer
) -> None:
    await prepare(admin, powerdns, {"name": V4})
    await allocate(admin, 1, ip_net=1)
    await admin.post("/dci/v3/dns_zone", {"name": V4, "network": "192.0.2.0/30", "dns_server": 1, "ttl": 60})
    assert [row["names"] for row in (await admin.get("/dci/v3/dns_zone"))["list"]] == [0, 1]
    await allocate(admin, 1, ip_name="192.0.2.9")
    await sweep_of(services).sweep()
    assert [row["names"] for row in (await admin.get("/dci/v3/dns_zone"))["list"]] == [1, 1]
    await admin.delete("/dci/v3/dns_zone/2")
    found = (await admin.get("/dci/v3/dns_record?orderby=ip_addr"))["list"]
    assert [(row["ip_addr"], row["zone"]["id"], row["state"]) for row in found] == [
        ("192.0.2.1", 1, "pending"),
        ("192.0.2.9", 1, "published"),
    ]
    for server, address in ((1, 1), (1, 2)):
        await done(admin, await admin.delete(f"/dci/v3/server/{server}/ip/{address}"))


async def test_a_domain_that_is_no_host_name_is_shown_and_stops_nothing(
    admin: Api, powerdns: NameServer
) -> None:
    await prepare(admin, powerdns, {"name": V4})
    row = await allocate(admin, 1, ip_net=1, domain="-x-.example.com")
    assert row["status_info"]["ptr"] == {
        "status": "failed",
        "name": "-x-.example.com",
        "error": "'-x-.example.com' is no host name.",
    }
    assert (await admin.get("/dci/v3/dns_record"))["size"] == 0
    error = await admin.refused(400, "POST", f"/dci/v3/ip/{row['id']}/ptr", {"domain": "-x-.example.com"})
    assert "is no host name" in error["msg"]


class Liar:
    """A name server that takes every change and makes none."""

    def __init__(self) -> None:
        self.taken: list[PtrChange] = []

    async def ptr(self, _zone: str, _name: str) -> tuple[str, ...]:
        return ("old.example.com",)

    async def apply(self, change: PtrChange) -> None:
        self.taken.append(change)

    async def close(self) -> None:
        pass


async def test_a_name_server_that_takes_a_change_and_does_not_make_it_is_found_out(
    admin: Api, services: Services, powerdns: NameServer
) -> None:
    await prepare(admin, powerdns)
    await allocate(admin, 1, ip_net=1)
    await admin.post("/dci/v3/dns_zone", {"name": V4, "dns_server": 1})
    liar = Liar()
    with pytest.raises(Refused, match="yet it says old"):
        await dns_sync.follow(_tools(services), 1, holder="test", name_server=liar)
    assert [change.target for change in liar.taken] == ["srv-1.example.com"]
    info = (await admin.get("/dci/v3/ip/1"))["status_info"]["ptr"]
    assert info["error"] == (
        "The change of 1.2.0.192.in-addr.arpa to srv-1.example.com was taken, and yet it says old.example.com."
    )


class Slow(Liar):
    """A name server that tells when it was asked, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.says: tuple[str, ...] = ()

    async def ptr(self, _zone: str, _name: str) -> tuple[str, ...]:
        self.asked.set()
        await self.may_answer.wait()
        return self.says

    async def apply(self, change: PtrChange) -> None:
        await super().apply(change)
        self.says = (change.target,) if change.target else ()


async def test_one_follows_a_wish_at_a_time_and_sees_that_something_else_is_wanted_by_now(
    admin: Api, services: Services, powerdns: NameServer
) -> None:
    await prepare(admin, powerdns)
    await admin.post("/dci/v3/ip", {"name": "192.0.2.200", "domain": "a.example.com"})
    await admin.post("/dci/v3/dns_zone", {"name": V4, "dns_server": 1})
    slow = Slow()
    first = asyncio.create_task(dns_sync.follow(_tools(services), 1, holder="one", name_server=slow))
    await slow.asked.wait()
    words = await dns_sync.follow(_tools(services), 1, holder="two", name_server=slow)
    assert words == "nothing is left to do here"
    assert await sweep_of(services).sweep() == 0
    await admin.post("/dci/v3/ip/1/ptr", {"domain": "b.example.com"})
    slow.may_answer.set()
    assert await first == "200.2.0.192.in-addr.arpa says b.example.com"
    assert [change.target for change in slow.taken] == ["a.example.com", "b.example.com"]
    # One that was cut off is followed on by the same task at once, and by others when its time is over.
    await admin.post("/dci/v3/ip/1/ptr", {"domain": "c.example.com"})
    async with services.db.write() as session:
        held = {"holder": "task", "held_until": utcnow() + timedelta(seconds=60)}
        await session.execute(update(PtrRecord).values(**held))
    assert await sweep_of(services).sweep() == 0
    assert (await dns_sync.follow(_tools(services), 1, holder="task", name_server=slow)).endswith(
        "c.example.com"
    )
    async with services.db.read() as session:
        assert (await session.scalar(select(func.count()).where(PtrRecord.holder.is_not(None)))) == 0


async def test_the_access_of_a_name_server_is_checked_and_its_secret_never_shown(
    admin: Api, customer: Api, powerdns: NameServer
) -> None:
    await prepare(admin, powerdns, {"name": V4})
    assert servers.API_KEY not in (await admin.call("GET", "/dci/v3/dns_server")).text
    row = await admin.get("/dci/v3/dns_server/1")
    assert (row["driver"], row["has_password"], row["settings"]) == ("powerdns", True, {})
    drivers = (await admin.get("/dci/v3/dns_driver"))["list"]
    assert [(each["name"], each["port"]) for each in drivers] == [("powerdns", 8081), ("rfc2136", 53)]
    for body, words in [
        ({"name": "x", "driver": "nothing", "host": "192.0.2.53"}, "'nothing' is unknown"),
        ({"name": "x", "driver": "powerdns", "host": "192.0.2.53", "settings": {"x": 1}}, "no setting 'x'"),
        ({"name": "x", "driver": "powerdns"}, "host"),
    ]:
        assert words in (await admin.refused(400, "POST", "/dci/v3/dns_server", body))["msg"]
    await admin.refused(409, "POST", "/dci/v3/dns_server", {"name": "ns1", **powerdns.access})
    for body, words in [
        ({"name": "example.com", "dns_server": 1}, "is no reverse zone"),
        ({"name": PART, "dns_server": 1}, "say which network"),
        ({"name": V4, "network": "198.51.100.0/24", "dns_server": 1}, "does not hold"),
        ({"name": V4, "network": "192.0.2.1/24", "dns_server": 1}, "host bits"),
    ]:
        assert words in (await admin.refused(400, "POST", "/dci/v3/dns_zone", body))["msg"]
    await admin.refused(404, "POST", "/dci/v3/dns_zone", {"name": V6, "dns_server": 9})
    error = await admin.refused(409, "POST", "/dci/v3/dns_zone", {"name": V4, "dns_server": 1})
    assert "a zone for 192.0.2.0/24" in error["msg"]
    for path in ("dns_server", "dns_server/1", "dns_zone", "dns_zone/1", "dns_driver", "dns_record"):
        await customer.refused(403, "GET", f"/dci/v3/{path}")
    # A wrong key fails no allocation; a right one is tried at once.
    await admin.post("/dci/v3/dns_server/1", {"password": "wrong"})
    row = await allocate(admin, 1, ip_net=1)
    assert "refused the API key" in row["status_info"]["ptr"]["error"]
    await admin.post("/dci/v3/dns_server/1", {"password": servers.API_KEY, "name": "ns2"})
    found = (await admin.get("/dci/v3/dns_record"))["list"][0]
    assert (found["state"], found["dns_server"]["name"]) == ("failed", "ns2")


async def test_the_due_names_follow_when_the_access_was_corrected(
    admin: Api, services: Services, powerdns: NameServer
) -> None:
    await prepare(admin, powerdns, {"name": V4})
    await admin.post("/dci/v3/dns_server/1", {"password": "wrong"})
    rows = [await allocate(admin, number, ip_net=1) for number in (1, 2)]
    await admin.post("/dci/v3/dns_server/1", {"password": servers.API_KEY})
    assert await sweep_of(services).sweep() == 2
    states = [(row["state"], row["error"]) for row in (await admin.get("/dci/v3/dns_record"))["list"]]
    assert states == [("published", None)] * 2
    for host in (1, 2):
        assert powerdns.says(f"{host}.{V4}", f"srv-{host}.example.com")
    for server, row in enumerate(rows, 1):
        await done(admin, await admin.delete(f"/dci/v3/server/{server}/ip/{row['id']}"))
