"""Every route, one by one: none is open by accident, none shows a user what is not its own, all are described."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from rackhand.app import Services, create_app
from tests.conftest import PASSWORD, Api, server_body

# What needs no session: signing in, and what a single-use key opens.
PUBLIC = {
    ("POST", "/auth/v4/public/token"),
    ("POST", "/auth/v3/auth"),
    ("POST", "/auth/v4/public/key"),
    ("POST", "/auth/v4/public/auth_by_key"),
    ("POST", "/auth/v3/auth_by_key"),
    ("GET", "/auth/key-v4/{key}"),
    ("POST", "/auth/v4/public/token/{token}/change_password"),
    ("POST", "/auth/v4/public/token/{token}/invite_user"),
}
# What is no part of the API: health, metrics, its description.
PRODUCT = {
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
    ("GET", "/swagger"),
    ("GET", "/swagger/"),
    ("GET", "/api/swagger"),
    ("GET", "/api/swagger/"),
    ("GET", "/swagger/openapi.json"),
    ("HEAD", "/swagger/openapi.json"),
}
# Objects that belong to nobody and that every user may see.
SHARED = {("GET", "/dci/v3/location/{id}")}
# What a user may do without naming an object.
USERS_OWN = {("POST", "/auth/v4/token")}

# Keys of every body, so that no call is refused for what it lacks; calls ignore what they do not know.
BODY = {
    "name": "192.0.2.77", "domain": "x.example.com",
    "email": "x@example.com", "password": "long enough", "old_password": PASSWORD, "key": "x",
    "ssh_pub_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmTk1NqMcYuI8Gsy8WEgQeEeqMIgOUnVFPpH7lZrvXD", "owner": 2,
    "clear_hdd": "none", "os_template_id": 1, "vid": 77, "device_name": "x", "action": "start", "outlet": 1,
    "value": True, "reason": "x", "mac": "00:00:5e:00:53:99", "driver": "ipmi", "host": "192.0.2.9",
}  # fmt: skip


@dataclass(frozen=True)
class Route:
    """A method and a path of the application."""

    method: str
    path: str
    description: str

    @property
    def key(self) -> tuple[str, str]:
        """As the lists above spell it."""
        return self.method, self.path

    @property
    def names_an_object(self) -> bool:
        """Whether the path has a number in it."""
        return "{" in self.path

    def with_number(self, number: int) -> str:
        """The path of object *number*."""
        return re.sub(r"{[^}]+}", str(number), self.path)


@pytest.fixture
def routes(services: Services) -> list[Route]:
    found = []
    for context in iter_route_contexts(create_app(services).routes):
        for method in sorted(getattr(context, "methods", None) or ()):
            about = getattr(context, "description", None) or getattr(context.endpoint, "__doc__", None) or ""
            found.append(Route(method, str(context.path), about))
    assert len(found) > 60
    return found


async def test_only_the_listed_routes_need_no_token(routes: list[Route], anonymous: Api) -> None:
    assert {route.key for route in routes} >= PUBLIC | PRODUCT
    for route in routes:
        if route.key in PUBLIC | PRODUCT:
            continue
        answer = await anonymous.call(
            route.method, route.with_number(1), {} if route.method != "GET" else None
        )
        shown: Any = (
            answer.status_code,
            answer.headers["content-type"],
            answer.json().get("error", {}).get("code"),
        )
        assert shown == (401, "application/json", 1000), (route, answer.text)


async def test_a_user_gets_at_nothing_that_is_not_its_own(
    routes: list[Route], admin: Api, customer: Api
) -> None:
    bmc = {"driver": "ipmi", "host": "127.0.0.1", "port": 9, "user": "a", "password": "b"}
    await admin.post("/dci/v3/rack", {"name": "A-01"})
    await admin.post(
        "/dci/v3/server", server_body(1, bmc=bmc, disks=[{"kind": "SSD", "size_gb": 960}], rack=1)
    )
    await admin.post("/dci/v3/server/1/power_on")
    await admin.post("/auth/v4/user/1/sshkey", BODY)
    before = await admin.get("/dci/v3/user/1"), (await admin.get("/dci/v3/server/1"))["name"]
    for route in routes:
        if route.key in PUBLIC | PRODUCT | SHARED or not route.names_an_object:
            continue
        answer = await customer.call(
            route.method, route.with_number(1), None if route.method == "GET" else BODY
        )
        assert answer.status_code in {403, 404}, (route, answer.status_code, answer.text)
        assert answer.json()["error"]["code"] in {3001, 3080}, (route, answer.text)
    assert (await admin.get("/dci/v3/user/1"), (await admin.get("/dci/v3/server/1"))["name"]) == before


async def test_a_user_adds_nothing_to_the_inventory(routes: list[Route], customer: Api) -> None:
    for route in routes:
        if route.key in PUBLIC | PRODUCT | USERS_OWN or route.names_an_object or route.method == "GET":
            continue
        answer = await customer.call(route.method, route.path, BODY)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, 3001), (route, answer.text)


async def test_every_call_is_described(routes: list[Route], services: Services) -> None:
    described = create_app(services).openapi()["paths"]
    for route in routes:
        if route.key in PRODUCT:
            continue
        assert route.description.strip().endswith((".", ")")), route
        call = described[route.path][route.method.lower()]
        assert call["summary"], route
        assert call["description"], route
        assert call["tags"], route


# What cannot be asked on the rack of `make docs`: it opens a session once, is no JSON, or takes minutes to come about.
WITHOUT_EXAMPLE = {
    ("get", "/ip/v3/export"),
    ("get", "/auth/key-v4/{key}"),
    ("get", "/dci/v3/event/stream"),
    ("get", "/dci/v3/server/{id}/console/stream"),
    ("get", "/dci/v3/server/{id}/console/log/{name}/cast"),
    ("get", "/dci/v3/server/{id}/erasure/{erasure_id}"),
    ("get", "/dci/v3/server/{id}/erasure/{erasure_id}/pdf"),
}


async def test_every_route_shows_an_example_of_its_answer(services: Services) -> None:
    document = create_app(services).openapi()
    lacking = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
            schema = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            fields = document["components"]["schemas"].get(schema, {}).get("properties", {})
            is_shown = "example" in content or any("examples" in field for field in fields.values())
            if method == "get" and not is_shown and (method, path) not in WITHOUT_EXAMPLE:
                lacking.append((method, path))
    assert lacking == []
