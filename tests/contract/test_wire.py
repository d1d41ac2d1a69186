"""What holds for every call: paths, bodies, errors, lists, keys for repeated requests (api-facts 1 to 3)."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from rackhand.app import Services
from rackhand.http import idempotency
from tests.conftest import ADMIN, PASSWORD, Api, server_body
from tests.users.callers import caller, everything_stored, send

ORIGIN = "https://console.example.com"


async def test_every_spelling_of_a_path_is_one(admin: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    for path in ("/dci/v3/server/1", "/api/dci/v3/server/1", "/dci/v3/server/1/", "/api//dci/v3/server/1/"):
        assert (await admin.get(path))["id"] == 1, path
    assert (await admin.get("/api/dci/v3/server/?limit=1"))["size"] == 1
    assert await admin.post("/api/dci/v3/server/1/owner/", {"owner": 1}) == {"id": 1}


async def test_a_body_is_json_whatever_its_content_type_says(admin: Api) -> None:
    token = ("x-xsrf-token", str(admin.token))
    types = [
        None, "", "application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded",
        "text/plain", "multipart/form-data; boundary=x", "nonsense",
    ]  # fmt: skip
    for number, kind in enumerate(types):
        headers = [token] if kind is None else [token, ("content-type", kind)]
        body = f'{{"name": "ams-{number}", "notes": "a=b&c=d"}}'
        answer = await send(admin, "POST", "/dci/v3/location", *headers, body=body)
        assert (answer.status_code, answer.json()) == (200, {"id": 2 + number}), kind


async def test_an_absent_body_is_an_empty_object(admin: Api, services: Services) -> None:
    token = ("x-xsrf-token", str(admin.token))
    for body in (None, "", "  ", "{}"):
        assert (await send(admin, "POST", "/auth/v4/user/1/key", token, body=body)).status_code == 200
        assert (await send(admin, "POST", "/dci/v3/user/1", token, body=body)).json() == {"id": 1}
        missing = await send(admin, "POST", "/dci/v3/location", token, body=body)
        assert (missing.status_code, missing.json()["error"]["code"]) == (400, 2400)
    assert (await send(admin, "GET", "/dci/v3/user", token, ("content-length", "0"))).status_code == 200


async def test_every_error_is_json_in_the_envelope(admin: Api, services: Services) -> None:
    deep = "[" * 100 + "]" * 100
    for method, path, body, status, code in [
        ("GET", "/dci/v3/nothing", None, 404, 1106),
        ("POST", "/dci/v3/server/1/fly", "{}", 404, 1106),
        ("GET", "/nothing", None, 404, 1106),
        ("GET", "/swagger/assets/nothing.js", None, 404, 1106),
        ("GET", "/dci/v3/server/1", None, 404, 3080),
        ("PUT", "/dci/v3/server/1", "{}", 405, 2405),
        ("PATCH", "/dci/v3/user/1", "{}", 405, 2405),
        ("DELETE", "/dci/v3/server", None, 405, 2405),
        ("GET", "/auth/v4/public/token", None, 405, 2405),
        ("OPTIONS", "/dci/v3/server", None, 405, 2405),
        ("GET", "/dci/v3/server/one", None, 400, 2400),
        ("GET", f"/dci/v3/server/{2**63}", None, 400, 2400),
        ("GET", "/dci/v3/server/-1", None, 400, 2400),
        ("GET", "/dci/v3/server/%00", None, 400, 2400),
        ("GET", "/dci/v3/server?where=id", None, 400, 2400),
        ("GET", "/dci/v3/server?where=id EQ 1&where=id EQ 2", None, 400, 2400),
        ("GET", "/dci/v3/server?orderby=colour", None, 400, 3008),
        ("GET", "/dci/v3/server?limit=all", None, 400, 2400),
        ("POST", "/dci/v3/location", "{", 400, 2400),
        ("POST", "/dci/v3/location", "name=ams2", 400, 2400),
        ("POST", "/dci/v3/location", "[]", 400, 2400),
        ("POST", "/dci/v3/location", "null", 400, 2400),
        ("POST", "/dci/v3/location", '"name"', 400, 2400),
        ("POST", "/dci/v3/location", deep, 400, 2400),
        ("POST", "/dci/v3/location", '{"name": "\\u0000"}', 400, 2400),
        ("POST", "/dci/v3/location", '{"name": "\\ud800"}', 400, 2400),
        ("POST", "/dci/v3/location", '{"name": 5}', 400, 2400),
        ("POST", "/dci/v3/location", '{"name": null}', 400, 2400),
        ("POST", "/dci/v3/location", '{"name": ["ams2"]}', 400, 2400),
        ("POST", "/dci/v3/server/1/owner", '{"owner": "first"}', 400, 2400),
        ("POST", "/dci/v3/server/1/owner", '{"owner": -1}', 400, 2400),
        ("POST", "/dci/v3/server/1/owner", '{"owner": 1e400}', 400, 2400),
        ("POST", "/dci/v3/location", '{"name": "ams1"}', 409, 2409),
        ("DELETE", "/dci/v3/location/1", "{", 400, 2400),
    ]:
        answer = await admin.call(method, path, body)
        assert answer.status_code == status, (method, path, body, answer.text)
        assert answer.headers["content-type"] == "application/json", path
        assert set(answer.json()) == {"error"}, path
        error = answer.json()["error"]
        assert (error["code"], type(error["msg"])) == (code, str), (path, error)
        assert error["msg"], path
        assert set(error) <= {"code", "msg", "value"}, path


async def test_a_body_over_the_limit_is_refused(admin: Api, services: Services) -> None:
    async with caller(services, body_limit=1024) as http:
        api = http.with_token(admin.token)
        for size, status in ((900, 200), (1100, 413)):
            answer = await api.call("POST", "/dci/v3/location", {"name": f"ams-{size}", "notes": "x" * size})
            assert answer.status_code == status
        assert answer.json()["error"]["code"] == 2413


async def test_unknown_keys_are_ignored_by_default(admin: Api) -> None:
    assert await admin.post("/dci/v3/location", {"name": "ams2", "colour": "red", "id": 99}) == {"id": 2}
    assert await admin.post("/auth/v4/user/1/key", {"why": "billing"})


async def test_strict_mode_refuses_unknown_keys_and_takes_every_known_spelling(
    admin: Api, services: Services
) -> None:
    async with caller(services, strict_properties=True) as http:
        api = http.with_token(admin.token)
        for path, body in [
            ("/dci/v3/location", {"name": "ams2", "colour": "red"}),
            ("/auth/v4/user/1/key", {"why": "billing"}),
            ("/dci/v3/server", server_body(1, nics=[{"mac": "00:00:5e:00:53:01", "colour": "red"}])),
            ("/auth/v4/public/token", {"email": ADMIN, "password": PASSWORD, "remember": True}),
        ]:
            error = await api.refused(400, "POST", path, body)
            assert error["code"] == 3008, path
            assert body.keys() & set(error["msg"].split()) or "colour" in error["msg"], error
        role = {"email": "a@example.com", "password": PASSWORD, "roles": ["@user"]}
        assert await api.post("/auth/v4/user", role) == {"id": 2}
        bmc = {"type": "ipmi", "ip": "192.0.2.1", "username": "ADMIN", "password": "x", "settings": {}}
        assert await api.post(
            "/dci/v3/server", server_body(1, location=1, rack=None, bmc_connection=bmc)
        ) == {"id": 1}
    assert await admin.post("/dci/v3/location", {"name": "ams2", "colour": "red"})


def ids_of(document: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key in {"id", "task", "consul_id", "owner", "location_id", "size", "last_notify"} or (
                key.endswith("_id") and key != "request_id"
            ):
                yield f"{path}.{key}", value
            yield from ids_of(value, f"{path}.{key}")
    elif isinstance(document, list):
        for value in document:
            yield from ids_of(value, f"{path}[]")


async def test_ids_are_numbers_in_every_answer(admin: Api) -> None:
    bmc = {"driver": "ipmi", "host": "192.0.2.1"}
    rack = await admin.post("/dci/v3/rack", {"name": "A-01"})
    answers: list[Any] = [
        rack,
        await admin.post("/dci/v3/server", server_body(1, bmc=bmc, rack_id=1, unit=1)),
    ]
    answers.append(await admin.post("/dci/v3/server/1/owner", {"owner": 1}))
    answers.append(await admin.post("/auth/v4/public/token", {"email": ADMIN, "password": PASSWORD}))
    paths = (
        "/dci/v3/server", "/dci/v3/server/1", "/dci/v3/server/1/nic", "/dci/v3/server/1/bmc", "/dci/v3/server/1/power",
        "/dci/v3/user", "/dci/v3/user/1", "/dci/v3/location", "/dci/v3/location/1", "/dci/v3/rack", "/dci/v3/rack/1",
        "/dci/v3/event", "/dci/v3/event/1", "/dci/v3/task", "/auth/v4/whoami", "/auth/v4/self/session",
        "/auth/v4/token", "/vm/v3/account", "/vm/v3/task",
    )  # fmt: skip
    answers.extend([await admin.get(path) for path in paths])
    found = [(path, value) for answer in answers for path, value in ids_of(answer)]
    assert len(found) > 50
    for path, value in found:
        is_task = path.endswith(".task") and isinstance(value, dict)
        assert value is None or is_task or type(value) is int, (path, value)


async def test_lists_have_list_size_and_last_notify(admin: Api, customer: Api) -> None:
    for path in (
        "/dci/v3/server", "/dci/v3/server/configuration", "/dci/v3/user", "/vm/v3/account", "/auth/v4/user",
        "/dci/v3/task", "/vm/v3/task", "/dci/v3/event", "/auth/v4/token", "/auth/v3/user/2/sshkey", "/dci/v3/location",
        "/dci/v3/bmc_driver",
    ):  # fmt: skip
        for api in (admin, customer):
            answer = await api.get(path)
            assert list(answer) == ["list", "size", "last_notify"], path
            assert type(answer["list"]) is list, path
            assert answer["size"] == len(answer["list"]), path
            assert type(answer["last_notify"]) is int, path
    assert (await customer.get("/dci/v3/server"))["list"] == []


async def test_size_counts_before_the_limit_cuts(admin: Api) -> None:
    for number in range(1, 6):
        await admin.post("/dci/v3/location", {"name": f"rtm{number}"})
    answer = await admin.get("/dci/v3/location?where=name CP 'RTM%'&orderby=name desc&limit=1,2")
    assert ([row["name"] for row in answer["list"]], answer["size"]) == (["rtm4", "rtm3"], 5)
    assert (await admin.get("/dci/v3/location?limit=0"))["list"] == []
    assert (await admin.get("/dci/v3/location?limit=100,5"))["size"] == 6
    assert len((await admin.get("/dci/v3/location?limit=0,15000"))["list"]) == 6


async def test_last_notify_grows_with_every_change_and_with_nothing_else(admin: Api) -> None:
    async def last_notify() -> int:
        return int((await admin.get("/dci/v3/server"))["last_notify"])

    seen = [await last_notify()]
    assert await last_notify() == seen[0]
    for path, body in [
        ("/dci/v3/server", server_body(1)),
        ("/dci/v3/server/1", {"notes": "x"}),
        ("/dci/v3/server/1/owner", {"owner": 1}),
        ("/dci/v3/user", {"email": "a@example.com", "password": PASSWORD}),
        ("/dci/v3/location", {"name": "ams2"}),
    ]:
        await admin.post(path, body)
        seen.append(await last_notify())
    await admin.refused(409, "POST", "/dci/v3/location", {"name": "ams2"})
    assert await last_notify() == seen[-1]
    assert seen == sorted(set(seen))


async def test_unknown_query_parameters_are_ignored(admin: Api) -> None:
    plain = await admin.get("/dci/v3/user")
    assert await admin.get("/dci/v3/user?_=1700000000&colour=red&&=&limit=") == plain
    assert await admin.post("/dci/v3/user/1?notify=1", {}) == {"id": 1}


async def test_other_origins_get_in_by_configuration_only(admin: Api, services: Services) -> None:
    asks = [
        ("origin", ORIGIN),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-xsrf-token"),
    ]
    closed = await send(admin, "OPTIONS", "/api/dci/v3/server", *asks)
    assert closed.status_code == 405
    assert "access-control-allow-origin" not in closed.headers
    async with caller(services, cors_origins=[ORIGIN]) as api:
        preflight = await send(api, "OPTIONS", "/api/dci/v3/server", *asks)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        assert preflight.headers["access-control-allow-credentials"] == "true"
        assert "x-xsrf-token" in preflight.headers["access-control-allow-headers"]
        assert {"GET", "POST", "DELETE"} <= set(preflight.headers["access-control-allow-methods"].split(", "))
        stranger = [("origin", "https://evil.example"), *asks[1:]]
        refused = await send(api, "OPTIONS", "/api/dci/v3/server", *stranger)
        assert "access-control-allow-origin" not in refused.headers
        for headers in ([("origin", ORIGIN)], [("origin", ORIGIN), ("x-xsrf-token", str(admin.token))]):
            answer = await send(api, "GET", "/dci/v3/server", *headers)
            assert answer.headers["access-control-allow-origin"] == ORIGIN, answer.status_code
        answer = await send(api, "GET", "/dci/v3/server", ("origin", "https://evil.example"))
        assert "access-control-allow-origin" not in answer.headers
    async with caller(services, cors_origins=["*"]) as api:
        preflight = await send(api, "OPTIONS", "/api/dci/v3/server", *asks)
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in preflight.headers


# --- Idempotency-Key


async def test_a_repeated_request_gets_the_first_answer_again(admin: Api) -> None:
    body = {"email": "a@example.com", "password": PASSWORD}
    first = await admin.call("POST", "/dci/v3/user", body, idempotency_key="order-1")
    second = await admin.call("POST", "/api/dci/v3/user/", body, idempotency_key="order-1")
    assert (first.status_code, first.json(), "idempotency-replayed" in first.headers) == (
        200,
        {"id": 2},
        False,
    )
    assert (second.status_code, second.content) == (200, first.content)
    assert (second.headers["idempotency-replayed"], second.headers["content-type"]) == (
        "true",
        "application/json",
    )
    assert (await admin.get("/dci/v3/user"))["size"] == 2
    await admin.refused(409, "POST", "/dci/v3/user", body, idempotency_key="order-2")


async def test_a_key_that_comes_with_another_request_is_refused(admin: Api) -> None:
    await admin.post("/dci/v3/location", {"name": "ams2"}, idempotency_key="k")
    for method, path, body in [
        ("POST", "/dci/v3/location", {"name": "ams3"}),
        ("POST", "/dci/v3/rack", {"name": "ams2"}),
        ("POST", "/dci/v3/location?x=1", {"name": "ams2"}),
        ("DELETE", "/dci/v3/location/2", {}),
    ]:
        error = await admin.refused(422, method, path, body, idempotency_key="k")
        assert error["code"] == 2422
        assert "'k'" in error["msg"]
    assert (await admin.get("/dci/v3/location"))["size"] == 2


async def test_a_refused_request_can_be_tried_again_under_its_key(admin: Api) -> None:
    await admin.refused(409, "POST", "/dci/v3/location", {"name": "ams1"}, idempotency_key="k")
    await admin.refused(400, "POST", "/dci/v3/location", {"name": ""}, idempotency_key="k")
    await admin.post("/dci/v3/location/1", {"name": "ams9"})
    made = await admin.post("/dci/v3/location", {"name": "ams1"}, idempotency_key="k")
    assert (await admin.get(f"/dci/v3/location/{made['id']}"))["name"] == "ams1"


async def test_keys_of_different_callers_never_meet(admin: Api, customer: Api, anonymous: Api) -> None:
    mine = await admin.post("/auth/v4/token", {"description": "x"}, idempotency_key="k")
    theirs = await customer.post("/auth/v4/token", {"description": "x"}, idempotency_key="k")
    assert mine["token"] != theirs["token"]
    assert await anonymous.refused(401, "POST", "/auth/v4/token", {"description": "x"}, idempotency_key="k")
    other_session = await admin.sign_in(ADMIN)
    assert await other_session.post("/auth/v4/token", {"description": "x"}, idempotency_key="k") == mine


async def test_the_answer_that_is_kept_for_a_key_is_sealed(admin: Api, services: Services) -> None:
    first = await admin.call("POST", "/auth/v4/token", {"description": "billing"}, idempotency_key="k")
    second = await admin.call("POST", "/auth/v4/token", {"description": "billing"}, idempotency_key="k")
    assert (first.status_code, second.status_code, second.json()) == (201, 201, first.json())
    assert second.headers["idempotency-replayed"] == "true"
    assert (await admin.get("/auth/v4/token"))["size"] == 2
    stored = await everything_stored(services)
    assert "billing" in stored
    assert first.json()["token"] not in stored
    assert str(admin.token) not in stored


async def test_a_repeated_delete_gets_the_first_answer_again(admin: Api) -> None:
    await admin.post("/dci/v3/location", {"name": "ams2"})
    assert await admin.delete("/dci/v3/location/2", idempotency_key="k") == {"id": 2}
    again = await admin.call("DELETE", "/dci/v3/location/2", idempotency_key="k")
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (
        200,
        {"id": 2},
        "true",
    )
    await admin.refused(404, "DELETE", "/dci/v3/location/2", idempotency_key="l")


async def test_of_requests_that_arrive_together_one_does_the_work(admin: Api) -> None:
    body = {"email": "a@example.com", "password": PASSWORD}
    calls = [admin.call("POST", "/dci/v3/user", body, idempotency_key="k") for _ in range(6)]
    answers = await asyncio.gather(*calls)
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, '{"id":2}')}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 5
    assert (await admin.get("/dci/v3/user"))["size"] == 2


async def test_a_stored_answer_is_for_the_one_who_got_it(admin: Api, customer: Api) -> None:
    for path, body in [
        ("/ip/v3/userspace/public/ippool", {"name": "spare"}),
        ("/dci/v3/location", {"name": "ams2"}),
    ]:
        await admin.post(path, body, idempotency_key=path)
        await admin.with_token(None).refused(401, "POST", path, body, idempotency_key=path)
        await admin.with_token("0" * 24).refused(401, "POST", path, body, idempotency_key=path)
        await customer.refused(403, "POST", path, body, idempotency_key=path)


async def test_a_key_is_forgotten_after_a_day(
    admin: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await admin.post("/dci/v3/location", {"name": "ams2"}, idempotency_key="k") == {"id": 2}
    monkeypatch.setattr(idempotency, "LIFETIME", idempotency.LIFETIME * 0)
    assert await admin.post("/dci/v3/location", {"name": "ams3"}, idempotency_key="k") == {"id": 3}
    async with services.db.write() as session:
        await idempotency.forget_expired(session)
    monkeypatch.undo()
    assert await admin.post("/dci/v3/location", {"name": "ams4"}, idempotency_key="k") == {"id": 4}


async def test_an_empty_or_endless_key_is_refused(admin: Api) -> None:
    for key in ("", "x" * 256):
        error = await admin.refused(400, "POST", "/dci/v3/location", {"name": "ams2"}, idempotency_key=key)
        assert error["code"] == 2400
    assert await admin.post("/dci/v3/location", {"name": "ams2"}, idempotency_key="x" * 255)


async def test_a_get_takes_no_notice_of_a_key(admin: Api) -> None:
    first = await admin.get("/dci/v3/location", idempotency_key="k")
    await admin.post("/dci/v3/location", {"name": "ams2"})
    assert (await admin.get("/dci/v3/location", idempotency_key="k"))["size"] == first["size"] + 1
