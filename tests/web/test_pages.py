"""Pages as people use them: links lead somewhere, forms keep what was typed, buttons do what they say."""

import re
from collections.abc import Iterator
from html import unescape

import pytest

from rackhand.app import Services
from rackhand.deploy import images
from rackhand.deploy.os_model import ImageFormat, ImageState
from rackhand.web.listing import span_of
from tests.conftest import Api, statements
from tests.web.conftest import Browser, text_of
from tests.web.inventory import fill

MAX_PAGES = 400
PAGES = (
    "/", "/servers", "/servers?q=srv", "/servers?status=broken", "/servers/1", "/servers/1/state",
    "/servers/1/setup", "/tasks", "/racks", "/racks/1", "/networks", "/networks/1", "/pools", "/pools/1",
    "/addresses", "/switches", "/switches/1", "/vlans", "/systems",
    "/pdus", "/pdus/1", "/servers/1/install", "/users", "/users/1", "/events", "/locations",
    "/account", "/search?q=s", "/servers/1/traffic",
)  # fmt: skip


def links_of(page: str) -> Iterator[str]:
    """Where a page leads inside of the console."""
    for found in re.findall(r'(?:href|hx-get|data-href)="(/[^"]*)"', page):
        link = unescape(found).partition("#")[0]
        if link and not link.startswith(("/static/", "/swagger", "/api/", "//")):
            yield link


async def crawl(browser: Browser) -> set[str]:
    """Open everything that can be reached by links, but each form of a query once."""
    waiting, seen, shapes = ["/"], {"/"}, set[str]()
    while waiting and len(seen) < MAX_PAGES:
        path = waiting.pop()
        page = await browser.open(path)
        for link in links_of(page):
            shape = re.sub(r"=[^&]*", "", re.sub(r"/\d+", "/1", link)) if "?" in link else link
            if link not in seen and shape not in shapes:
                seen.add(link)
                shapes.add(shape)
                waiting.append(link)
    return seen


async def test_every_link_leads_to_a_page(
    services: Services, admin: Api, operator: Browser, customer: Api
) -> None:
    await fill(services, admin)
    await admin.post("/dci/v3/server/1/owner", {"owner": 2})
    await admin.post("/dci/v3/server/1/ip", {})
    seen = await crawl(operator)
    assert {"/servers/1/edit", "/networks/1", "/switches/1/edit", "/users/2", "/tasks/1", "/account"} <= seen
    assert len(seen) > 60
    renter = await Browser(operator.http).sign_in("customer@example.com")
    seen = await crawl(renter)
    assert {"/servers/1", "/addresses/1", "/account", "/servers/1/traffic"} <= seen
    assert not any(link.startswith(("/users", "/racks", "/networks", "/switches", "/pools")) for link in seen)


async def test_pages_take_as_many_statements_however_much_there_is(
    services: Services, admin: Api, operator: Browser
) -> None:
    await fill(services, admin, servers=2)
    await admin.post("/dci/v3/server/1/ip", {})  # a page without rows counts in a statement of its own
    before = await count(services, operator)
    for number in range(3, 12):
        await admin.post(
            "/dci/v3/server", {"name": f"srv-{number}", "rack": 1, "unit": number, "configuration": "x"}
        )
        await admin.post(f"/dci/v3/server/{number}/ip", {})
        await admin.post("/dci/v3/user", {"email": f"u{number}@example.com", "password": "long enough"})
        await admin.post("/dci/v3/rack", {"name": f"B-{number}"})
        await admin.post("/dci/v3/ipnet", {"name": f"203.0.113.{number * 16}/28"})
        await admin.post("/dci/v3/ippool", {"name": f"pool {number}"})
    after = await count(services, operator)
    assert after == before
    assert max(after.values()) <= 24, after


async def count(services: Services, browser: Browser) -> dict[str, int]:
    found = {}
    for path in PAGES:
        with statements(services) as seen:
            await browser.open(path)
        found[path] = len(seen)
    return found


async def test_an_empty_installation_says_what_to_do_first(operator: Browser) -> None:
    for path, words in {
        "/": "No servers yet",
        "/servers": "No servers yet",
        "/racks": "No racks yet",
        "/networks": "No networks yet",
        "/pools": "No pools yet",
        "/addresses": "No address is in use",
        "/switches": "No switches yet",
        "/vlans": "No VLANs yet",
        "/tasks": "Nothing was asked for yet",
    }.items():
        assert words in text_of(await operator.open(path)), path
    assert "Nothing fits this filter" in text_of(await operator.open("/servers?status=free"))


async def test_a_refused_form_keeps_what_was_typed_with_the_reason_beside_the_field(
    services: Services, admin: Api, operator: Browser
) -> None:
    await fill(services, admin)
    fields = {"name": "srv-2", "domain": "new.example.com", "unit": "99", "rack_id": "1", "notes": "typed",
              "location_id": "1", "configuration": "abc"}  # fmt: skip
    page = await operator.refused("/servers/1/edit", fields)
    assert "rack A-01 srv has 42 units, got 99" in text_of(page)
    assert re.search(
        r'id="f-unit"[^>]*value="99"[^>]*aria-invalid="true"[^>]*aria-describedby="h-unit"', page
    )
    assert 'value="new.example.com"' in page
    assert ">typed</textarea>" in page
    page = await operator.refused("/servers/1/edit", {**fields, "unit": "1"}, status=409)
    assert "There is a server of this name already." in text_of(page)
    assert (await admin.get("/dci/v3/server/1"))["name"] == "srv-1"
    page = await operator.submit("/servers/1/edit", {**fields, "unit": "1", "name": "renamed", "efi": "on"})
    assert "Saved." in text_of(page)
    row = await admin.get("/dci/v3/server/1")
    assert (row["name"], row["domain"], row["unit"], row["notes"]) == (
        "renamed",
        "new.example.com",
        1,
        "typed",
    )


async def test_a_notice_is_shown_once(operator: Browser) -> None:
    assert "Added." in text_of(await operator.submit("/locations/new", {"name": "fra1"}))
    assert "Added." not in text_of(await operator.open("/locations"))


async def test_power_is_switched_and_a_stale_button_says_what_changed(
    services: Services, admin: Api, operator: Browser
) -> None:
    await fill(services, admin)
    page = text_of(await operator.submit("/servers/1/power", {"action": "on"}))
    assert "The task was started." in page
    assert "Power on" in page
    page = text_of(await operator.refused("/servers/1/power", {"action": "reset"}, status=409))
    assert "Nothing was changed" in page
    assert re.search(r"Server 1 is busy: task \d+ \(power_on\)", page)
    task = (await admin.get("/dci/v3/task?limit=1&orderby=id desc"))["list"][0]["id"]
    page = text_of(await operator.open(f"/tasks/{task}"))
    assert "Stop the task" in page
    page = text_of(await operator.submit(f"/tasks/{task}/cancel"))
    assert "asked to stop" in page or "Cancelled" in page
    await operator.refused("/servers/1/power", {"action": "explode"}, status=400)


async def test_a_server_is_given_and_taken_back(
    services: Services, admin: Api, operator: Browser, customer: Api
) -> None:
    await fill(services, admin)
    page = await operator.refused("/servers/1/owner", {"_form": "owner", "owner": "nobody@example.com"})
    assert "There is no user" in text_of(page)
    assert 'value="nobody@example.com"' in page
    page = text_of(await operator.submit("/servers/1/owner", {"owner": "customer@example.com"}))
    assert "Rented, and nothing is known to be wrong." in page
    assert (await customer.get("/dci/v3/server/1"))["name"] == "srv-1"
    renter = await Browser(operator.http).sign_in("customer@example.com")
    page = text_of(await renter.open("/servers/1"))
    assert "Ready for use." in page
    assert "your provider" in page
    await renter.submit("/servers/1/notes", {"notes": "mine <b>", "domain": "my.example.com"})
    assert (await customer.get("/dci/v3/server/1"))["notes"] == "mine <b>"
    await renter.refused("/servers/1/set-state", {"action": "protect"}, status=403)


@pytest.mark.parametrize("action", ["maintain", "protect", "quarantine"])
async def test_states_are_set_and_ended(
    services: Services, admin: Api, operator: Browser, action: str
) -> None:
    await fill(services, admin)
    ended = {"maintain": "end_maintenance", "protect": "end_protection", "quarantine": "end_quarantine"}[
        action
    ]
    if action == "quarantine":
        await operator.refused("/servers/1/set-state", {"action": action, "_form": "quarantine"})
    before = await admin.get("/dci/v3/server/1")
    await operator.submit("/servers/1/set-state", {"action": action, "reason": "disk 2"})
    during = await admin.get("/dci/v3/server/1")
    assert (during["maintenance"], during["is_protected"], during["quarantine_reason"]) == (
        action == "maintain", action == "protect", "disk 2" if action == "quarantine" else None,
    )  # fmt: skip
    await operator.submit("/servers/1/set-state", {"action": ended})
    assert await admin.get("/dci/v3/server/1") == before


async def test_a_preview_of_many_changes_nothing_and_the_deed_does(
    services: Services, admin: Api, operator: Browser
) -> None:
    await fill(services, admin)
    await admin.post("/dci/v3/server/2/protection")
    chosen = {"action": "maintain", "ids": "1,2,3"}
    answer = await operator.post("/servers/bulk", chosen)
    page = text_of(answer.text)
    assert "Into maintenance: what would happen to 2 servers" in page
    assert "Server 2 is protected from maintenance" in page
    rows = (await admin.get("/dci/v3/server"))["list"]
    assert [row["maintenance"] for row in rows] == [False, False, False]
    answer = await operator.post("/servers/bulk", {**chosen, "confirm": "yes"})
    assert "Into maintenance: asked of 2 servers" in text_of(answer.text)
    rows = (await admin.get("/dci/v3/server"))["list"]
    assert [row["maintenance"] for row in rows] == [True, False, True]
    answer = await operator.post("/servers/bulk", {"action": "on", "all": "on", "where": "name CP 'srv-%'"})
    assert "Switch on: what would happen to 3 servers" in text_of(answer.text)
    assert (await admin.get("/dci/v3/task?where=name EQ 'power_on'"))["size"] == 0
    await operator.refused("/servers/bulk", {"action": "on"})


async def test_servers_come_out_of_a_spreadsheet(admin: Api, operator: Browser) -> None:
    await admin.post("/dci/v3/rack", {"name": "A-01"})
    lines = "name\track\tunit\tnics\nsrv-1\tA-01\t1\t00:00:5e:00:53:01\nsrv-2\tA-01\t1\t00:00:5e:00:53:02\n"
    answer = await operator.post("/servers/import", {"csv": lines, "action": "look"})
    page = text_of(answer.text)
    assert "1 lines can be added, 1 cannot" in page
    assert "This unit of the rack is taken." in page
    assert (await admin.get("/dci/v3/server"))["size"] == 0
    answer = await operator.post("/servers/import", {"csv": lines, "action": "add"})
    assert "1 servers were added" in text_of(answer.text)
    assert (await admin.get("/dci/v3/server"))["list"][0]["nics"][0]["mac"] == "00:00:5e:00:53:01"
    await operator.refused("/servers/import", {"csv": " "})


async def test_a_server_is_added_by_the_guided_form(admin: Api, operator: Browser) -> None:
    fields = {"name": "srv-9", "driver": "ipmi", "host": "127.0.0.1", "port": "9", "user": "admin",
              "password": "swordfish", "macs": "00:00:5e:00:53:09 no-mac", "efi": "on"}  # fmt: skip
    page = await operator.refused("/servers/new", fields)
    assert "expected a MAC address" in text_of(page)
    assert 'value="127.0.0.1"' in page
    assert "swordfish" not in page
    page = text_of(await operator.submit("/servers/new", {**fields, "macs": "00-00-5E-00-53-09"}))
    assert "srv-9 comes into service" in page
    assert "It is being asked." in page
    row = await admin.get("/dci/v3/server/1")
    assert (row["nics"][0]["mac"], row["bmc_connection"]["port"]) == ("00:00:5e:00:53:09", 9)
    page = await operator.refused(
        "/servers/1/operations", {"action": "wipe", "clear_hdd": "full", "confirm": "srv"}
    )
    assert "type srv-9 to have its disks wiped" in text_of(page)
    assert (await admin.get("/dci/v3/task"))["size"] == 0


async def test_networks_pools_and_addresses(services: Services, admin: Api, operator: Browser) -> None:
    await operator.submit("/networks/new", {"name": "198.51.100.0/28", "gateway": "198.51.100.1"})
    page = await operator.refused("/networks/new", {"name": "198.51.100.0/28", "note": "again"}, status=409)
    assert "is there already" in text_of(page)
    assert ">again</textarea>" in page
    await operator.submit("/pools/new", {"name": "public", "is_public": "on"})
    await operator.refused("/pools/1/ranges", {"range": "198.51.100.4-x"})
    await operator.submit("/pools/1/ranges", {"range": "198.51.100.4-198.51.100.9"})
    await admin.post("/dci/v3/server", {"name": "srv-1"})
    await operator.submit("/servers/1/addresses", {"family": "ipv4"})
    await operator.submit("/addresses", {"name": "198.51.100.14", "note": "router"})
    page = await operator.open("/networks/1")
    states = dict(re.findall(r"<title>(198\.51\.100\.\d+): ([^<]+)</title>", page))
    assert states["198.51.100.1"] == "network, broadcast or gateway"
    assert states["198.51.100.4"] == "in use srv-1"
    assert states["198.51.100.14"] == "kept back router"
    assert states["198.51.100.5"] == "free"
    assert len(states) == 16
    await operator.submit("/addresses/1", {"domain": "a.example.com", "ptr": "ptr.example.com", "note": "n"})
    address = await admin.get("/dci/v3/ip/1")
    assert (address["domain"], address["ptr"], address["note"]) == ("a.example.com", "ptr.example.com", "n")
    await operator.submit("/networks/new", {"name": "2001:db8::/48"})
    page = await operator.open("/networks/2")
    assert page.count('class="cell ') == 256
    assert "One square is 2^72 addresses." in text_of(page)


async def test_a_port_is_connected_and_shown(services: Services, admin: Api, operator: Browser) -> None:
    await fill(services, admin)
    page = await operator.open("/switches/1?port=2")
    assert "Ethernet2: link · VLAN 120" in page
    wish = {"port": "2", "action": "connect", "server": "srv-9"}
    await operator.refused("/switches/1/port?port=2", wish)
    await operator.submit("/switches/1/port?port=2", {**wish, "server": "srv-2"})
    assert "Ethernet2: link · VLAN 120 · srv-2" in await operator.open("/switches/1")
    await operator.submit(
        "/switches/1/port?port=3", {"port": "3", "action": "connect", "device_name": "pdu-1"}
    )
    await operator.submit("/switches/1/port?port=4", {"port": "4", "action": "uplink"})
    assert "Ethernet4: uplink" in await operator.open("/switches/1")
    await operator.submit("/switches/1/port?port=3", {"port": "3", "action": "disconnect"})
    rows = (await admin.get("/dci/v3/switch/1/port"))["list"]
    assert [row["server"] and row["server"]["name"] for row in rows] == ["srv-1", "srv-2", None, None]


async def test_accounts_keys_and_tokens(admin: Api, operator: Browser, anonymous: Api) -> None:
    page = await operator.refused("/users/new", {"email": "no address", "password": "x", "role": "@user"})
    assert 'value="no address"' in page
    await operator.submit(
        "/users/new", {"email": "a@example.com", "password": "long enough", "role": "@user"}
    )
    await operator.submit(
        "/users/2", {"email": "a@example.com", "full_name": "A", "ipv4": "4", "role": "@user"}
    )
    assert (await admin.get("/dci/v3/user/2/ip_quota"))["ipv4"] == 4
    answer = await operator.post("/users/2/do", {"action": "link"})
    link = re.search(r"http://rackhand\.example\.com(/auth/key-v4/[0-9a-f]+)", answer.text)
    assert link is not None
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmTk1NqMcYuI8Gsy8WEgQeEeqMIgOUnVFPpH7lZrvXD laptop"
    await operator.refused("/account/keys", {"_form": "key", "name": "l", "ssh_pub_key": "nonsense"})
    assert "laptop" in await operator.submit("/account/keys", {"name": "laptop", "ssh_pub_key": key})
    answer = await operator.post("/account/tokens", {"description": "billing", "expires_at": "2199-01-01"})
    token = re.search(r"[0-9A-F]{24}", answer.text)
    assert token is not None
    assert (await anonymous.with_token(token[0]).get("/auth/v4/whoami"))["id"] == 1
    assert token[0] not in await operator.open("/account")
    wrong = {"old_password": "no", "password": "new password", "again": "new password", "_form": "password"}
    await operator.refused("/account/password", {**wrong, "again": "other", "old_password": "correct horse"})
    await operator.submit("/users/2/do", {"action": "block"})
    assert (await admin.get("/dci/v3/user/2"))["state"] == "blocked"
    await operator.submit("/users/2/do", {"action": "delete"})
    await admin.refused(404, "GET", "/dci/v3/user/2")


async def test_a_customer_changes_the_password_and_other_sessions_end(customer: Api, renter: Browser) -> None:
    fields = {"old_password": "wrong", "password": "battery staple", "again": "battery staple"}
    page = await renter.refused("/account/password", {**fields, "_form": "password"})
    assert "The old password is wrong." in text_of(page)
    await renter.submit("/account/password", {**fields, "old_password": "correct horse"})
    await renter.open("/account")
    await customer.refused(401, "GET", "/auth/v4/whoami")


async def test_the_search_finds_by_everything(services: Services, admin: Api, operator: Browser) -> None:
    await fill(services, admin)
    await admin.post("/dci/v3/server/3/ip", {})
    for text in ("srv-3", "sn0003", "00:00:5e:00:53:03", "00-00-5E-00-53-03", "198.51.100.10"):
        answer = await operator.get(f"/search?q={text}", follow=False)
        shown = answer.headers.get("location") == "/servers/3" or "/servers/3" in answer.text
        assert shown, text
    assert "/switches/1" in await operator.open("/search?q=sw-1")
    assert "/users/1" in await operator.open("/search?q=operator")
    assert "Nothing found" in await operator.open("/search?q=zzz")


async def test_tables_are_sorted_paged_and_filtered_by_the_address(admin: Api, operator: Browser) -> None:
    rows = [{"name": f"srv-{number:02}", "configuration": "a" if number % 2 else "b"} for number in range(60)]
    await admin.post("/dci/v3/server/import", {"servers": rows})

    async def names(query: str) -> list[str]:
        return re.findall(r'<a href="/servers/\d+">(srv-\d+)</a>', await operator.open(f"/servers?{query}"))

    assert await names("size=25") == [f"srv-{number:02}" for number in range(25)]
    assert await names("size=25&page=3&sort=-name") == [f"srv-{number:02}" for number in range(9, -1, -1)]
    assert await names("configuration=a&size=100") == [f"srv-{number:02}" for number in range(1, 60, 2)]
    assert await names("where=name+CP+'srv-0%25'&q=5") == ["srv-04", "srv-05"]  # 5 is a number too
    page = await operator.open("/servers?where=name+LIKE+x", status=400)
    assert re.search(r'value="name LIKE x"[^>]*aria-invalid="true"', page)


async def test_an_installation_is_asked_for_in_three_steps(
    services: Services, admin: Api, operator: Browser
) -> None:
    await fill(services, admin)
    assert "There is nothing to install yet" in text_of(await operator.open("/servers/1/install"))
    async with services.db.write() as session:
        image = await images.by_id(session, 1)
        image.state, image.format = ImageState.READY, ImageFormat.TAR_ZST
    page = text_of(await operator.open("/servers/1/install"))
    assert "1. What to install system srv" in page
    assert "2. Onto which disks nvme0n1 NVMe 960 GB" in page
    wish = {"_form": "install", "os_template_id": "1", "hdd_raid": "raid1", "domain": "web.example.com"}
    page = await operator.refused("/servers/1/install", {**wish, "password": "3vergreen-Tunnel"}, status=409)
    assert "raid1" in text_of(page)
    assert "3vergreen" not in page
    assert 'value="web.example.com"' in page
    page = await operator.refused("/servers/1/install", {**wish, "hdd_raid": "none"})
    assert "password" in text_of(page)
    await operator.submit("/systems/1", {"name": "Debian 12", "kind": "os", "boot_mode": "bios", "access": "admins",
                                         "image_id": "1", "is_enabled": "on"})  # fmt: skip
    row = await admin.get("/dci/v3/os_template/1")
    assert (row["name"], row["boot_mode"], row["access"], row["is_enabled"]) == (
        "Debian 12",
        "bios",
        "admins",
        True,
    )
    assert "does not start on this server's firmware" in await operator.open("/servers/1/install")
    assert (await admin.get("/dci/v3/task?where=name EQ 'operation_os'"))["size"] == 0


async def test_outlets_are_plugged_in(services: Services, admin: Api, operator: Browser) -> None:
    await fill(services, admin)
    await operator.submit("/pdus/1/outlet", {"outlet": "2", "action": "connect", "server": "srv-2"})
    rows = (await admin.get("/dci/v3/pdu/1/outlet"))["list"]
    assert [row["server"]["name"] for row in rows] == ["srv-1", "srv-2"]
    await operator.submit("/pdus/1/outlet", {"outlet": "2", "action": "disconnect"})
    page = await operator.submit("/pdus/1/outlet", {"outlet": "2", "action": "connect", "server": "a lamp"})
    assert "a lamp" in page


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("198.51.100", "198.51.100.0/24"),
        ("198.51.", "198.51.0.0/16"),
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.0/28", "198.51.100.0/28"),
        ("2001:db8", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1"),
        ("10", None),
        ("srv-1", None),
        ("300.1.2.3", None),
        ("web.example.com", None),
        ("00:00:5e", None),
    ],
)
def test_the_beginning_of_an_address_means_all_that_begin_so(text: str, span: str | None) -> None:
    found = span_of(text)
    assert (None if found is None else str(found)) == span


async def test_free_text_looks_at_the_newest_events_first(
    services: Services, admin: Api, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rackhand.web.events.SEARCHED", 2)
    for name in ("A-1", "A-2", "A-3"):
        await admin.post("/dci/v3/rack", {"name": name})
    page = await operator.open("/events?q=was+added")
    assert "Looked at the newest 2 events" in page
    assert "A-1" not in text_of(page)
    assert "A-1" in text_of(await operator.open("/events?q=was+added&older=on"))
    assert "Looked at" not in await operator.open("/events")
