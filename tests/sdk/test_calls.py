"""The client against the product: every resource, with the blocking client and the awaiting one."""

import itertools
import threading
from datetime import UTC, datetime, timedelta

import pytest

from rackhand.sdk import (
    AsyncClient,
    Busy,
    Call,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    KeyReused,
    NotFound,
    NotSignedIn,
    TaskCancelled,
    TaskFailed,
    TimedOut,
    addresses,
    auth,
    events,
    networks,
    pdus,
    pools,
    quote,
    servers,
    switches,
    tasks,
    templates,
    users,
)
from tests.conftest import ADMIN, PASSWORD
from tests.served import ServedProduct

CUSTOMER = "customer@example.com"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f laptop"
numbers = itertools.count(100)


def new_server(client: Client) -> int:
    """A server without a BMC."""
    number = next(numbers)
    nic: servers.NicValues = {"mac": f"00:00:5e:00:53:{number:02x}"}
    return client.run(servers.create(name=f"srv-{number}", is_new=False, nics=[nic])).id


def test_rows_are_values_with_types(client: Client) -> None:
    page = client.run(servers.find(where="name EQ 'node-001'"))
    assert page.size == 1
    server = page.rows[0]
    assert server == client.run(servers.get(server.id))
    assert (server.name, server.domain, server.unit) == ("node-001", "node-001.example.com", 1)
    assert server.created_at is not None
    assert abs(datetime.now(UTC) - server.created_at) < timedelta(hours=1)
    assert server.rack == servers.Place(1, "rack-1")
    assert server.bmc is not None
    assert server.bmc.host == "127.0.0.1"
    assert server.disks[0].size_gb == 480
    assert server.operation == servers.LastOperation(0, "ok")


def test_each_goes_over_all_pages(client: Client) -> None:
    everything = [server.id for server in client.each(servers.find(orderby="-id"), page_size=2)]
    assert everything == sorted(everything, reverse=True)
    assert len(everything) == client.run(servers.find(limit=1)).size
    few = servers.find(orderby="-id", limit=3, offset=1)
    assert [server.id for server in client.each(few, page_size=2)] == everything[1:4]
    assert [server.id for server in client.run(few).rows] == everything[1:4]
    assert [server.id for server in client.run(servers.find(orderby="-id", offset=2)).rows] == everything[2:]
    assert list(client.each(servers.find(where="name EQ 'none'"))) == []


def test_raw_answer_is_what_came(client: Client) -> None:
    raw = client.run(servers.find(limit=1).raw())
    assert set(raw) == {"list", "size", "last_notify"}
    assert len(raw["list"]) == 1
    assert "traffic_month" in raw["list"][0]


def test_server_comes_and_goes(client: Client) -> None:
    server = new_server(client)
    client.run(servers.edit(server, notes="it is new", unit=None))
    where = f"notes EQ {quote('it is new')}"
    assert client.run(servers.find(where=where)).size == 1
    client.run(servers.set_maintenance(server, value=True))
    client.run(servers.quarantine(server, "disk 2 is loud"))
    shown = client.run(servers.get(server))
    assert (shown.maintenance, shown.quarantine_reason, shown.status) == (
        True,
        "disk 2 is loud",
        "quarantined",
    )
    client.run(servers.end_quarantine(server))
    client.run(servers.set_maintenance(server, value=False))
    client.run(servers.set_protection(server, value=True))
    with pytest.raises(Forbidden, match="protected"):
        client.run(servers.delete(server))
    client.run(servers.set_protection(server, value=False))
    client.run(servers.delete(server))
    with pytest.raises(NotFound) as caught:
        client.run(servers.get(server))
    refused = caught.value
    assert (refused.status, refused.code) == (404, 3080)
    assert refused.message == str(refused) == f"There is no server {server}."
    assert refused.request_id


def test_power_and_progress(client: Client) -> None:
    seen: list[tasks.Task] = []
    started = client.run(servers.power_reset(1))
    task = client.wait(started, timeout=30, progress=seen.append)
    assert task.succeeded
    assert seen[-1] == task
    assert task.done_share == 1.0
    assert task.subject == tasks.Subject("server", 1, "node-001")
    assert all(0 <= each.done_share <= 1 for each in seen)
    assert client.run(servers.power(1)).power_status == "on"
    with pytest.raises(Conflict, match="on"):
        client.run(servers.power_on(1))
    client.wait(client.run(servers.power_off(1, soft=True, hard_after=5)), timeout=60)
    assert client.run(tasks.find(where=f"id EQ {task.id}")).rows == (client.run(tasks.get(task.id)),)


def test_task_that_is_stopped(client: Client, product: ServedProduct) -> None:
    client.wait(client.run(servers.power_reset(2)), timeout=30)
    product.control.fault_on("node-002", "ignore_power")
    try:
        started = client.run(servers.power_off(2))
        with pytest.raises(TimedOut, match="still") as slow:
            client.wait(started, timeout=0.3)
        assert slow.value.task.id == started.task
        with pytest.raises(Busy) as busy:
            client.run(servers.power_off(2))
        assert busy.value.task == started.task
        client.run(tasks.cancel(started.task))
        with pytest.raises(TaskCancelled, match="was cancelled at switch_off_chassis") as caught:
            client.wait(started.task, timeout=60)
        assert isinstance(caught.value, TaskFailed)
        assert caught.value.task.state == "cancelled"
    finally:
        product.control.fault_off("node-002", "ignore_power")


def test_task_that_fails_says_where_and_why(client: Client, product: ServedProduct) -> None:
    shown = client.run(servers.get(6))
    assert shown.bmc is not None
    access: servers.BmcValues = {
        "driver": "redfish", "host": shown.bmc.host, "port": shown.bmc.port, "user": shown.bmc.user,
        "password": "wrong", "settings": {"scheme": "http"},
    }  # fmt: skip
    client.run(servers.edit(6, bmc=access))
    with pytest.raises(TaskFailed) as caught:
        client.wait(client.run(servers.power_reset(6)), timeout=60)
    failed = caught.value
    assert failed.step is not None
    assert failed.step.status == "failed"
    assert failed.words
    assert str(failed) == f"Task {failed.task.id} (power_reset) failed at {failed.step.name}: {failed.words}"
    assert not isinstance(failed, TaskCancelled)
    client.run(servers.edit(6, bmc={**access, "password": f"bmc-{shown.serial}"}))


def test_owner_addresses_and_ports(client: Client) -> None:
    customer = client.run(users.find(where=f"email EQ {quote(CUSTOMER)}")).rows[0]
    client.run(servers.give(3, customer.id))
    added = client.run(addresses.add(3, family="ipv4", domain="web.example.com", make_main=True))
    client.wait(added, timeout=30)
    address = client.run(addresses.get(added.id))
    assert (address.server_id, address.domain, address.family) == (3, "web.example.com", "ipv4")
    assert address.is_main
    assert [each.id for each in client.each(addresses.of_server(3))] == [address.id]
    assert client.run(servers.get(3)).addresses[0].name == address.name
    changed = client.run(addresses.set_ptr(address.id, "host.example.com"))
    if changed.task is not None:
        client.wait(changed, timeout=30)
    assert (
        client.run(addresses.find(where=f"name EQ {quote(address.name)}")).rows[0].ptr == "host.example.com"
    )
    client.wait(client.run(servers.suspend(3)), timeout=30)
    assert client.run(servers.get(3)).state == "suspended"
    client.wait(client.run(servers.resume(3)), timeout=30)
    client.wait(client.run(addresses.remove(3, address.id, quarantine_hours=0)), timeout=30)
    client.wait(client.run(servers.power_reset(3)), timeout=30)
    taken = client.run(servers.take(3))
    assert taken.task is not None
    client.wait(taken, timeout=120)
    again = client.run(servers.take(3))
    assert again.task is None
    with pytest.raises(ValueError, match="no task"):
        client.wait(again)


def test_operations_on_whole_machines(client: Client) -> None:
    # An installation is in docs/client.md, a wipe among the verbs of the command line.
    template = client.run(templates.find(where="name EQ 'Example Linux 12'")).rows[0]
    assert client.run(templates.get(template.id)) == template
    with pytest.raises(Invalid, match="hdd_raid"):
        client.run(servers.install(5, template.id, ssh_keys=[KEY], raid="raid7"))  # type: ignore[arg-type]  # refused
    rescue = client.run(servers.rescue(5))
    assert rescue.password
    assert rescue.password not in repr(rescue)
    client.wait(rescue.task, timeout=100)
    client.wait(client.run(servers.end_rescue(5)), timeout=100)
    client.wait(client.run(servers.diagnose(6)), timeout=100)
    assert client.run(servers.get(6)).hardware


def test_networks_and_pools(client: Client) -> None:
    network = client.run(networks.create("192.0.2.0/25", gateway="192.0.2.1")).id
    client.run(networks.edit(network, note="for tests"))
    shown = client.run(networks.get(network))
    assert (shown.name, shown.note, shown.size) == ("192.0.2.0/25", "for tests", 128)
    assert network in [each.id for each in client.each(networks.find())]
    pool = client.run(pools.create("tests", is_public=False)).id
    client.run(pools.edit(pool, name="for tests"))
    added = client.run(pools.add_range(pool, "192.0.2.10-192.0.2.19")).id
    kept = client.run(pools.get(pool))
    assert (kept.name, kept.is_public, kept.total_ip) == ("for tests", False, 10)
    assert [each.size for each in client.run(pools.ranges(pool)).rows] == [10]
    back = client.run(addresses.keep_back("192.0.2.30", note="a printer")).id
    client.run(addresses.edit(back, note="two printers"))
    client.run(addresses.free(back))
    client.run(pools.delete_range(added))
    client.run(pools.delete(pool))
    client.run(networks.delete(network))


def test_users(client: Client, product: ServedProduct) -> None:
    user = client.run(users.create("renter@example.com", PASSWORD, full_name="A renter")).id
    client.run(users.edit(user, vlans_per_user=2))
    shown = client.run(users.get(user))
    assert (shown.email, shown.full_name, shown.roles, shown.vlans_per_user) == (
        "renter@example.com",
        "A renter",
        "[@user]",
        2,
    )
    with Client(product.url, email="renter@example.com", password=PASSWORD) as renter:
        assert not renter.run(auth.whoami()).is_admin
        with pytest.raises(NotFound):
            renter.run(servers.get(1))
        with pytest.raises(Forbidden):
            renter.run(switches.find())
    client.run(users.set_password("renter@example.com", "another password"))
    client.run(users.block(user))
    with (
        Client(product.url, email="renter@example.com", password="another password") as renter,
        pytest.raises(NotSignedIn),
    ):
        renter.run(auth.whoami())
    client.run(users.unblock("renter@example.com"))
    client.run(users.delete(user))


def test_devices(client: Client) -> None:
    switch = client.run(switches.find(orderby="id")).rows[0]
    assert client.run(switches.get(switch.id)) == switch
    client.wait(client.run(switches.discover(switch.id)), timeout=30)
    port = next(each for each in client.each(switches.ports(switch.id), page_size=10) if each.server is None)
    changed = client.run(switches.set_port(switch.id, port.id, admin_status="down", dry_run=True))
    assert client.wait(changed, timeout=30).result
    pdu = client.run(pdus.find(orderby="id")).rows[0]
    assert client.run(pdus.get(pdu.id)).outlet_count == pdu.outlet_count > 0
    outlet = next(each for each in client.each(pdus.outlets(pdu.id)) if each.server is None)
    client.wait(client.run(pdus.set_outlet(pdu.id, outlet.id, "off")), timeout=30)
    shown = {each.id: each.power_status for each in client.run(pdus.outlets(pdu.id)).rows}
    assert shown[outlet.id] == "off"
    client.run(switches.edit(switch.id, notes="in the first rack"))
    client.run(pdus.edit(pdu.id, notes="feeds a"))
    client.wait(client.run(pdus.discover(pdu.id)), timeout=30)


def test_history_and_following_it(client: Client) -> None:
    before = client.run(events.find(limit=1)).last_notify
    seen: list[events.Event] = []

    def watch() -> None:
        for event in client.follow(since=before):
            seen.append(event)
            if event.kind.startswith("server") and event.subject.id == server:
                return

    server = new_server(client)
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    watching.join(20)
    assert not watching.is_alive()
    event = seen[-1]
    assert event.actor.email == ADMIN
    assert client.run(events.get(event.id)) == event
    found = client.run(events.find(where=f"subject.kind EQ 'server' AND subject.id EQ {server}"))
    assert event in found.rows


def test_tokens(product: ServedProduct, client: Client) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    made = client.run(auth.create_token(description="billing", expires_at=until))
    assert made.token not in repr(made)
    assert made.expires_at is not None
    with Client(product.url + "/api/", token=made.token) as program:
        assert program.run(auth.whoami()).email == ADMIN
        program.run(auth.sign_out(made.token))
        with pytest.raises(NotSignedIn) as ended:
            program.run(auth.whoami())
    assert (ended.value.status, ended.value.code) == (401, 1000)


def test_session_that_ended_is_begun_anew(product: ServedProduct, client: Client) -> None:
    with Client(product.url, email=ADMIN, password=PASSWORD) as other:
        client.run(auth.sign_out(other.sign_in().token))
        assert other.run(auth.whoami()).email == ADMIN


def test_wrong_password_is_said_once(product: ServedProduct) -> None:
    with (
        Client(product.url, email="nobody@example.com", password="wrong") as stranger,
        pytest.raises(NotSignedIn) as refused,
    ):
        stranger.run(servers.find())
    assert refused.value.status == 401


def test_key_gives_the_first_answer_again(client: Client) -> None:
    call = users.create("keyed@example.com", PASSWORD)
    first = client.run(call, key="order-1")
    assert client.run(call, key="order-1") == first
    with pytest.raises(KeyReused):
        client.run(users.create("other@example.com", PASSWORD), key="order-1")
    with pytest.raises(Conflict):
        client.run(call)
    client.run(users.delete(first.id))


def test_filter_that_is_not_understood(client: Client) -> None:
    with pytest.raises(Invalid, match="colour") as caught:
        client.run(servers.find(where="colour EQ 'red'"))
    assert caught.value.code == 3008


async def test_awaiting_client_runs_the_same_calls(product: ServedProduct) -> None:
    async with AsyncClient(product.url, email=ADMIN, password=PASSWORD) as client:
        shown = [server.name async for server in client.each(servers.find(where="id LE 5"), page_size=2)]
        assert shown == [f"node-{number:03}" for number in range(1, 6)]
        seen: list[float] = []
        started = await client.run(servers.power_reset(4))
        task = await client.wait(started, timeout=30, progress=lambda each: seen.append(each.done_share))
        assert task.succeeded
        assert seen[-1] == 1.0
        with pytest.raises(NotFound):
            await client.run(servers.get(999))
        async for event in client.follow(since=0):
            assert event.id == 1
            break
        assert (await client.sign_in()).token


@pytest.mark.parametrize(
    ("value", "written"),
    [("it's", r"'it\'s'"), ("a\\b", r"'a\\b'"), (3, "3"), (True, "true"), (None, "null"), (1.5, "1.5")],
)
def test_values_in_filters(value: str | float | None, written: str) -> None:
    assert quote(value) == written


def test_secrets_show_in_no_text(product: ServedProduct) -> None:
    calls: list[Call[object]] = [
        users.create("a@example.com", "swordfish"),
        servers.install(1, 1, password="swordfish"),
        auth.sign_in("a@example.com", "swordfish"),
    ]
    assert "swordfish" not in repr(calls)


@pytest.mark.parametrize("url", ["rackhand.example.com", "ftp://rackhand.example.com", "https://"])
def test_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="Expected a URL"):
        Client(url)


def test_half_an_identity() -> None:
    with pytest.raises(ValueError, match="email and password"):
        Client("https://rackhand.example.com", email=ADMIN)
