"""The drivers against the real servers."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from rackhand.dns.drivers import COMMANDS, DNS_DRIVERS
from rackhand.dns.interfaces import NameServer, PtrChange
from rackhand.hardware.errors import AuthFailed, Refused, Unreachable
from rackhand.hardware.interfaces import Endpoint
from tests.dns import servers

ZONES = ("2.0.192.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa", "64/26.100.51.198.in-addr.arpa")
NAME = "7.2.0.192.in-addr.arpa"


@pytest.fixture(scope="module", params=["powerdns", "bind"])
def daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[servers.NameServer]:
    run = servers.powerdns if request.param == "powerdns" else servers.bind
    with run(tmp_path_factory.mktemp("dns") / "data", *ZONES) as running:
        yield running


def endpoint(daemon: servers.NameServer, **changes: object) -> Endpoint:
    access = {"user": "", "settings": {}, **daemon.access, **changes}
    return Endpoint(**access)  # type: ignore[arg-type]  # as the tables say


def connect(daemon: servers.NameServer, **changes: object) -> NameServer:
    return DNS_DRIVERS[daemon.driver].connect(endpoint(daemon, **changes), asyncio.Semaphore(4))


@pytest.fixture
async def server(daemon: servers.NameServer) -> AsyncIterator[NameServer]:
    found = connect(daemon)
    yield found
    await found.close()


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (ZONES[0], NAME),
        (ZONES[1], f"f.{'0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa"),
        (ZONES[2], f"70.{ZONES[2]}"),
    ],
)
async def test_a_name_is_set_replaced_and_taken_away(
    daemon: servers.NameServer, server: NameServer, zone: str, name: str
) -> None:
    assert await server.ptr(zone, name) == ()
    for target in ("srv-1.example.com", "srv-2.example.com", "srv-2.example.com"):
        await server.apply(PtrChange(zone, name, target, 300))
        assert await server.ptr(zone, name) == (target,)
        assert daemon.says(name, target)
    for _ in range(2):
        await server.apply(PtrChange(zone, name, None, 300))
        assert await server.ptr(zone, name) == ()
        assert daemon.says(name)


async def test_a_zone_that_is_not_there_is_refused(server: NameServer) -> None:
    zone = "113.0.203.in-addr.arpa"
    with pytest.raises(Refused, match=r"113\.0\.203|Could not find|no authority|REFUSED"):
        await server.ptr(zone, f"1.{zone}")
    with pytest.raises(Refused):
        await server.apply(PtrChange(zone, f"1.{zone}", "srv-1.example.com", 300))


async def test_a_wrong_secret_is_told_as_such_and_changes_nothing(
    daemon: servers.NameServer, server: NameServer
) -> None:
    wrong = connect(daemon, password="d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmc=")
    with pytest.raises(AuthFailed):
        await wrong.apply(PtrChange(ZONES[0], NAME, "srv-9.example.com", 300))
    await wrong.close()
    assert await server.ptr(ZONES[0], NAME) == ()


async def test_an_unsigned_update_is_refused(daemon: servers.NameServer) -> None:
    unsigned = connect(daemon, user="", password="")
    with pytest.raises((AuthFailed, Refused)):
        await unsigned.apply(PtrChange(ZONES[0], NAME, "srv-9.example.com", 300))
    await unsigned.close()


async def test_a_server_that_is_gone_is_unreachable(daemon: servers.NameServer) -> None:
    gone = connect(daemon, port=1)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        await gone.ptr(ZONES[0], NAME)
    await gone.close()


def test_commands_are_spelt_as_they_are_sent() -> None:
    change = PtrChange(ZONES[2], f"70.{ZONES[2]}", "srv-1.example.com", 300)
    assert COMMANDS["rfc2136"](change) == [
        "zone 64/26.100.51.198.in-addr.arpa.",
        "update delete 70.64/26.100.51.198.in-addr.arpa. PTR",
        "update add 70.64/26.100.51.198.in-addr.arpa. 300 PTR srv-1.example.com.",
        "send",
    ]
    (line,) = COMMANDS["powerdns"](PtrChange(ZONES[2], f"70.{ZONES[2]}", None, 300))
    assert line == (
        'PATCH /zones/64=2F26.100.51.198.in-addr.arpa. {"rrsets": [{"name": "70.64/26.100.51.198.in-addr.arpa.",'
        ' "type": "PTR", "changetype": "DELETE"}]}'
    )
