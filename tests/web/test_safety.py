"""What other sites, other customers and nasty names cannot do."""

import re
from html import unescape
from html.parser import HTMLParser

import httpx
import pytest
from starlette.routing import Route

from rackhand.app import Services
from rackhand.web.console import ROUTES
from tests.conftest import Api, server_body
from tests.web.conftest import HOST, Browser, text_of
from tests.web.inventory import NASTY, fill

OPEN = {"/login", "/logout", "/preference", "/static/{name:path}"}
FOR_CUSTOMERS = {
    ("GET", "/"), ("GET", "/servers"), ("GET", "/servers.csv"), ("GET", "/servers/{id:int}"),
    ("GET", "/servers/{id:int}/state"),
    ("GET", "/servers/{id:int}/traffic"), ("GET", "/servers/{id:int}/graphs"), ("POST", "/servers/{id:int}/power"),
    ("POST", "/servers/{id:int}/notes"), ("POST", "/servers/{id:int}/addresses"),
    ("POST", "/servers/{id:int}/operations"), ("GET", "/tasks"), ("GET", "/tasks/{id:int}"),
    ("POST", "/tasks/{id:int}/cancel"), ("GET", "/addresses"), ("GET", "/addresses/{id:int}"),
    ("POST", "/addresses/{id:int}"), ("GET", "/vlans"), ("GET", "/events"), ("GET", "/search"),
    ("GET", "/account"), ("POST", "/account"), ("POST", "/account/password"), ("POST", "/account/keys"),
    ("POST", "/account/tokens"), ("GET", "/servers/{id:int}/install"), ("POST", "/servers/{id:int}/install"),
    ("POST", "/servers/{id:int}/rescue"), ("GET", "/servers/{id:int}/console"),
    ("GET", "/servers/{id:int}/console/recording"), ("POST", "/servers/{id:int}/console/input"),
}  # fmt: skip


def routes() -> list[tuple[str, str]]:
    """Every method and path of the console."""
    return [
        ("POST" if "POST" in (route.methods or ()) else "GET", route.path)
        for route in ROUTES
        if isinstance(route, Route)
    ]


def numbered(path: str, number: int = 1) -> str:
    return path.replace("{id:int}", str(number))


async def test_every_page_asks_strangers_to_sign_in(admin: Api, stranger: Browser) -> None:
    for method, path in routes():
        if path in OPEN:
            continue
        answer = (
            await stranger.get(numbered(path), follow=False)
            if method == "GET"
            else await stranger.post(numbered(path))
        )
        assert answer.status_code == 303, (method, path, answer.status_code)
        assert answer.headers["location"].startswith("/login"), (method, path)


async def test_every_page_says_what_it_may_load_and_that_nobody_frames_it(
    services: Services, admin: Api, operator: Browser
) -> None:
    await fill(services, admin)
    for method, path in routes():
        if method != "GET" or "static" in path:
            continue
        answer = await operator.get(numbered(path))
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


FOREIGN: list[dict[str, str]] = [
    {"sec_fetch_site": "cross-site", "origin": "https://evil.example.net"},
    {"sec_fetch_site": "same-site", "origin": "http://shop.example.com"},
    {"sec_fetch_site": "cross-site", "origin": f"http://{HOST}"},
    {"sec_fetch_site": "", "origin": f"http://{HOST}"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_forms_of_other_sites_are_refused(
    admin: Api, operator: Browser, headers: dict[str, str]
) -> None:
    for method, path in routes():
        if method == "POST":
            answer = await operator.post(numbered(path), {"name": "x", "email": "a@example.com"}, **headers)
            assert answer.status_code == 403, (path, headers)
            assert "sent from another site" in answer.text
    assert (await admin.get("/dci/v3/rack"))["size"] == 0


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"http://{HOST}", 303),
        (f"https://{HOST}", 303),  # behind a proxy that ends TLS
        (f"http://{HOST}.evil.example.net", 403),
        (f"http://{HOST}:8080", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_old_browsers_are_judged_by_the_origin(
    admin: Api, operator: Browser, origin: str, status: int
) -> None:
    headers = {"accept": "text/html"} | ({"origin": origin} if origin else {})
    answer = await operator.http.post("/racks/new", data={"name": "A-01", "size": "42"}, headers=headers)
    assert answer.status_code == status
    assert (await admin.get("/dci/v3/rack"))["size"] == (status == 303)


async def test_customers_reach_their_own_pages_alone(services: Services, admin: Api, renter: Browser) -> None:
    await fill(services, admin)
    for method, path in routes():
        if path in OPEN or (method, path) == ("GET", "/"):
            continue
        answer = (
            await renter.get(numbered(path))
            if method == "GET"
            else await renter.post(numbered(path), {"name": "x", "action": "on"})
        )
        if (method, path) not in FOR_CUSTOMERS:
            assert answer.status_code == 403, (method, path, answer.status_code)
        elif "{id" in path:
            assert answer.status_code in {403, 404}, (method, path, answer.status_code)
        assert "SN0001" not in answer.text, path


async def test_a_customer_finds_nothing_of_others(services: Services, admin: Api, renter: Browser) -> None:
    await fill(services, admin)
    await admin.post("/dci/v3/server/2/owner", {"owner": 2})
    await admin.post("/dci/v3/server/1/ip", {})
    await admin.post("/dci/v3/server/2/ip", {"domain": "mine.example.com"})
    for path in ("/", "/servers", "/tasks", "/events", "/addresses", "/search?q=srv", "/search?q=198.51",
                 "/search?q=sw-1", "/search?q=operator", "/vlans"):  # fmt: skip
        page = text_of(await renter.open(path)).replace(f"Search: {path.partition('=')[2]} ", "")
        assert "srv-1" not in page, path
        assert "srv-3" not in page, path
        assert "sw-1" not in page, path
        assert "operator@example.com" not in page, path
    assert "srv-2" in text_of(await renter.open("/"))
    assert "mine.example.com" in text_of(await renter.open("/addresses"))
    own = text_of(await renter.open("/servers/2"))
    assert "127.0.0.1" not in own  # how its BMC is reached
    assert "Quarantine" not in own
    await renter.open("/servers/1", status=404)
    await renter.open("/servers/1/state", status=404)
    await renter.open("/addresses/1", status=404)


async def test_nasty_names_are_text_on_every_page(services: Services, admin: Api, operator: Browser) -> None:
    await fill(services, admin, name=NASTY)
    await admin.post("/dci/v3/server/1/quarantine", {"reason": NASTY})
    body = {"email": "x@example.com", "password": "long enough", "full_name": NASTY}
    await admin.post("/dci/v3/user", body)
    await admin.post("/dci/v3/server/2/owner", {"owner": 2})
    await admin.post("/dci/v3/server/2/ip", {"domain": "x'\"<b>.example.com"})
    seen = 0
    for method, path in routes():
        if method == "GET" and "static" not in path:
            answer = await operator.get(numbered(path))
            if not answer.headers["content-type"].startswith("text/html"):
                assert answer.headers["x-content-type-options"] == "nosniff", path
                continue
            seen += NASTY in unescape(answer.text)
            refuse_inline_code(answer.text, path)
    assert seen > 8
    for query in (NASTY, "' OR 1 EQ 1", "\\", "%", "'"):
        answer = await operator.get("/search?" + str(httpx.QueryParams(q=query)))
        assert answer.status_code == 200
        refuse_inline_code(answer.text, query)
        answer = await operator.get(
            "/servers?" + str(httpx.QueryParams(q=query, where=query, sort=query, page=query))
        )
        assert answer.status_code == 400
        refuse_inline_code(answer.text, query)


class Inspector(HTMLParser):
    """Finds what the policy would block, and tags that no template of ours has."""

    found: list[str]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"style", "iframe", "object", "embed"} or (tag == "script" and "src" not in given):
            self.found.append(tag)
        if tag == "img" and given.get("src") == "x":
            self.found.append("img of the name")
        self.found += [name for name in given if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action", "hx-get"):
            if re.match(r"\s*[a-z]+:|//", given.get(name) or "", re.IGNORECASE):
                self.found.append(f"{name}={given[name]}")


def refuse_inline_code(page: str, path: str) -> None:
    """Nothing on a page of ours would be blocked, and nothing of a nasty name is a tag or a template."""
    inspector = Inspector()
    inspector.found = []
    inspector.feed(page)
    assert inspector.found == [], path
    assert "alert(2)&gt;49" not in page, path


async def test_what_was_searched_for_finds_what_is_spelt_so(admin: Api, operator: Browser) -> None:
    for number, name in enumerate(["a%b", "axb", "a_b", "a'b", "a\\b"], 1):
        await admin.post("/dci/v3/server", server_body(number, name=name))
    for name in ("a%b", "a_b", "a'b", "a\\b"):
        page = await operator.open("/servers?" + str(httpx.QueryParams(q=name)))
        assert len(re.findall(r"data-href=\"/servers/\d+\"", page)) == 1, name


async def test_secrets_are_on_no_page(services: Services, admin: Api, operator: Browser) -> None:
    await fill(services, admin)
    page = await operator.refused(
        "/servers/1/bmc", {"driver": "ipmi", "host": "no host!", "user": "admin", "password": "swordfish"}
    )
    assert "swordfish" not in page
    assert "no host!" in page
    for method, path in routes():
        if method == "GET" and "static" not in path:
            assert "swordfish" not in (await operator.get(numbered(path))).text, path


async def test_odd_requests_get_a_page(admin: Api, operator: Browser) -> None:
    for path in ("/servers/999", "/servers/99999999999999999999999", "/nothing", "/servers/abc", "/tasks/7"):
        page = await operator.open(path, status=404)
        assert "<html" in page
    assert (await operator.get("/servers/1/power", follow=False)).headers["location"] == "/servers/1"
    answer = await operator.http.get("/nothing", headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 1106)
    too_long = await operator.post("/racks/new", {"name": "x" * 300, "size": "no number"})
    assert too_long.status_code == 400
    assert (
        await operator.http.post(
            "/racks/new", content=b"\xff\xfe%", headers={"sec-fetch-site": "same-origin"}
        )
    ).status_code == 400
