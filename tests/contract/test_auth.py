"""The calls of the auth service as clients make them, and every way in which they carry a token."""

import asyncio
import re
from datetime import timedelta
from urllib.parse import quote

import pytest
from sqlalchemy import update

from rackhand.app import Services
from rackhand.db import utcnow
from rackhand.users.model import LoginKey, Token
from tests.conftest import ADMIN, PASSWORD, Api
from tests.users.callers import caller, everything_stored, send, set_age

WHOAMI = "/api/auth/v4/whoami"
CHANGE = "/api/auth/v3/user/1/key"
BOX = ("isp-box-instance", "true")


async def test_signing_in_answers_201_with_a_token(admin: Api, anonymous: Api) -> None:
    response = await anonymous.call(
        "POST", "/api/auth/v4/public/token", {"email": ADMIN, "password": PASSWORD}
    )
    body = response.json()
    assert (response.status_code, response.headers["content-type"]) == (201, "application/json")
    assert set(body) == {"id", "token", "expires_at", "expires_in", "confirmed"}
    assert (body["id"], body["expires_in"], body["confirmed"]) == (2, 3600, True)
    assert re.fullmatch("[0-9A-F]{24}", body["token"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", body["expires_at"])
    assert "set-cookie" not in response.headers
    assert (await anonymous.with_token(body["token"]).get(WHOAMI))["email"] == ADMIN


async def test_signing_in_by_v3_answers_a_session(admin: Api, anonymous: Api) -> None:
    response = await anonymous.call("POST", "/api/auth/v3/auth", {"email": ADMIN, "password": PASSWORD})
    assert response.status_code == 200
    assert list(response.json()) == ["session"]
    session = response.json()["session"]
    assert await anonymous.with_token(session).get(WHOAMI)
    assert await anonymous.with_token(session).delete(f"/auth/v3/session/{session}") == {"id": 2}
    await anonymous.with_token(session).refused(401, "GET", WHOAMI)


async def test_no_answer_to_a_sign_in_holds_the_word_error(admin: Api, anonymous: Api) -> None:
    credentials = {"email": ADMIN, "password": PASSWORD}
    answers = [
        await anonymous.call("POST", path, credentials) for path in ("/auth/v4/public/token", "/auth/v3/auth")
    ]
    for path in ("/auth/v4/public/key", "/auth/v4/public/auth_by_key", "/auth/v3/auth_by_key"):
        key = (await admin.post("/auth/v4/user/1/key"))["key"]
        answers.append(await anonymous.call("POST", path, {"key": key}))
    answers.append(await admin.call("POST", "/auth/v4/token", {"description": "billing"}))
    answers.extend(
        [await admin.call("GET", path) for path in (WHOAMI, "/auth/v4/self/session", "/auth/v4/token")]
    )
    for answer in answers:
        assert answer.is_success, answer.text
        assert "error" not in answer.text.lower(), answer.text


async def test_a_wrong_password_and_an_unknown_user_are_told_apart_by_nothing(
    admin: Api, anonymous: Api
) -> None:
    wrong = {"email": ADMIN, "password": "wrong"}
    unknown = {"email": "nobody@example.com", "password": PASSWORD}
    for path in ("/auth/v4/public/token", "/auth/v3/auth"):
        first = await anonymous.refused(401, "POST", path, wrong)
        second = await anonymous.refused(401, "POST", path, unknown)
        assert first == second == {"code": 1000, "msg": "The e-mail address or the password is wrong."}


async def test_letter_case_of_an_address_does_not_matter(admin: Api, anonymous: Api) -> None:
    assert await anonymous.sign_in(" Operator@Example.COM ")


@pytest.mark.parametrize("made_at", ["v4", "v3"])
async def test_a_key_made_by_number_or_address_signs_in_once(made_at: str, admin: Api, customer: Api) -> None:
    for user in ("2", quote("customer@example.com", safe="")):
        answer = await admin.post(f"/auth/{made_at}/user/{user}/key")
        assert list(answer) == ["key"]
        calls = [customer.call("POST", "/auth/v4/public/key", answer) for _ in range(4)]
        answers = await asyncio.gather(*calls)
        assert sorted(answer.status_code for answer in answers) == [201, 401, 401, 401]
        token = next(answer.json()["token"] for answer in answers if answer.status_code == 201)
        assert (await admin.with_token(token).get(WHOAMI))["id"] == 2
        assert next(answer.json() for answer in answers if answer.status_code == 401)["error"]["code"] == 1000


async def test_a_key_is_good_for_an_hour(admin: Api, services: Services) -> None:
    key = await admin.post("/auth/v4/user/1/key")
    async with services.db.write() as session:
        await session.execute(update(LoginKey).values(expires_at=utcnow() - timedelta(seconds=1)))
    await admin.refused(401, "POST", "/auth/v4/public/key", key)
    assert "expired" in (await admin.refused(401, "POST", "/auth/v4/public/key", key))["msg"]


async def test_keys_are_made_by_administrators_and_not_for_other_administrators(
    admin: Api, customer: Api
) -> None:
    await customer.refused(403, "POST", "/auth/v4/user/2/key")
    await customer.refused(403, "POST", "/auth/v4/user/1/key")
    await admin.post("/dci/v3/user", {"email": "second@example.com", "password": PASSWORD, "role": "@admin"})
    await admin.refused(403, "POST", "/auth/v4/user/3/key")
    await admin.refused(404, "POST", "/auth/v4/user/99/key")
    await admin.refused(404, "POST", "/auth/v4/user/nobody@example.com/key")


async def test_a_browser_enters_with_a_key_once(admin: Api, services: Services) -> None:
    key = (await admin.post("/auth/v4/user/1/key"))["key"]
    async with caller(services) as browser:
        entered = await browser.call("GET", f"/auth/key-v4/{key}")
        assert (entered.status_code, entered.headers["location"]) == (302, "/")
        cookie = entered.headers["set-cookie"]
        assert re.match("ses6=[0-9A-F]{24}; ", cookie)
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert (await browser.get(WHOAMI))["email"] == ADMIN  # with the cookie that was set
    async with caller(services) as browser:
        refused = await browser.call("GET", f"/auth/key-v4/{key}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, 1000)
        assert "set-cookie" not in refused.headers


async def test_a_long_lived_token_is_made_listed_and_revoked(admin: Api, services: Services) -> None:
    body = {"expires_at": "2090-01-02 03:04:05", "description": "billing"}
    response = await admin.call("POST", "/auth/v4/token", body)
    made = response.json()
    assert response.status_code == 201
    assert (made["expires_at"], made["confirmed"]) == ("2090-01-02 03:04:05", True)
    program = admin.with_token(made["token"])
    assert (await program.get(WHOAMI))["id"] == 1
    assert made["token"] not in await everything_stored(services)
    listed = await admin.get("/auth/v4/token")
    assert listed["size"] == 2
    row = next(row for row in listed["list"] if row["id"] == made["id"])
    assert (row["kind"], row["description"], row["expires_at"]) == ("api", "billing", "2090-01-02 03:04:05")
    assert made["token"] not in str(listed)
    assert (await admin.get("/auth/v4/user/1/token"))["list"] == listed["list"]
    assert await admin.delete(f"/auth/v4/token/{made['id']}") == {"id": made["id"]}
    await program.refused(401, "GET", WHOAMI)
    await admin.refused(404, "DELETE", f"/auth/v4/token/{made['id']}")


async def test_a_token_without_an_end_does_not_slide_and_one_with_an_end_ends(
    admin: Api, services: Services
) -> None:
    endless = await admin.post("/auth/v4/token")
    assert (endless["expires_at"], endless["expires_in"]) == (None, None)
    ending = await admin.post("/auth/v4/token", {"expires_at": "2090-01-01 00:00:00"})
    await set_age(services, tokens=timedelta(minutes=5))
    assert await admin.with_token(ending["token"]).get(WHOAMI)
    row = (await admin.get("/auth/v4/token"))["list"][0]
    assert (row["id"], row["expires_at"]) == (ending["id"], "2090-01-01 00:00:00")
    async with services.db.write() as session:
        await session.execute(update(Token).where(Token.id == ending["id"]).values(expires_at=utcnow()))
    assert (await admin.with_token(ending["token"]).refused(401, "GET", WHOAMI))["code"] == 1000


async def test_an_end_that_is_no_moment_to_come_is_refused(admin: Api) -> None:
    ends: tuple[object, ...] = (
        "2001-01-01 00:00:00",
        "soon",
        "2090-13-01",
        "9999-12-31T23:59:59-23:59",
        4102444800,
        True,
        [],
        {},
    )
    for end in ends:
        assert (await admin.refused(400, "POST", "/auth/v4/token", {"expires_at": end}))["code"] == 2400, end
    assert (await admin.get("/auth/v4/token"))["size"] == 1


async def test_signing_out_ends_this_session_and_no_other(admin: Api) -> None:
    other = await admin.sign_in(ADMIN)
    assert await other.delete(f"/auth/v4/token/{other.token}") == {"id": 2}
    await other.refused(401, "GET", WHOAMI)
    assert await admin.get(WHOAMI)


async def test_a_user_revokes_its_own_tokens_only(admin: Api, customer: Api) -> None:
    own = await customer.post("/auth/v4/token")
    for name in (admin.token, "1"):
        assert (await customer.refused(404, "DELETE", f"/auth/v4/token/{name}"))["code"] == 3080
    await customer.refused(404, "GET", "/auth/v4/user/1/token")
    assert [row["id"] for row in (await customer.get("/auth/v4/token"))["list"]] == [own["id"], own["id"] - 1]
    assert await customer.delete(f"/auth/v4/token/{own['token']}") == {"id": own["id"]}
    await admin.delete(f"/auth/v4/token/{own['id'] - 1}")
    await customer.refused(401, "GET", WHOAMI)


async def test_the_session_in_use_and_its_user_are_shown(admin: Api) -> None:
    session = await admin.get("/auth/v4/self/session")
    assert {name: session[name] for name in ("id", "kind", "user", "email", "roles", "confirmed")} == {
        "id": 1, "kind": "session", "user": 1, "email": ADMIN, "roles": ["@admin"], "confirmed": True,
    }  # fmt: skip
    user = await admin.get(WHOAMI)
    assert (user["id"], user["email"], user["roles"], user["state"]) == (1, ADMIN, ["@admin"], "active")


async def test_token_ttl_is_set_in_minutes_by_administrators(admin: Api, customer: Api) -> None:
    assert await admin.get("/auth/v4/setting/token_ttl") == {"name": "token_ttl", "value": "60"}
    assert await admin.post("/auth/v4/setting/token_ttl", {"value": "5"}) == {
        "name": "token_ttl",
        "value": "5",
    }
    answer = await admin.post("/auth/v4/public/token", {"email": ADMIN, "password": PASSWORD})
    assert answer["expires_in"] == 300
    assert (await admin.post("/auth/v4/setting/token_ttl", {"value": 120}))["value"] == "120"
    wrong: tuple[object, ...] = ("0", -1, "1.5", "", "1e3", None, True, [], 525_601, "9" * 400)
    for value in wrong:
        await admin.refused(400, "POST", "/auth/v4/setting/token_ttl", {"value": value})
    await customer.refused(403, "POST", "/auth/v4/setting/token_ttl", {"value": "5"})
    assert (await admin.get("/auth/v4/setting/token_ttl"))["value"] == "120"


async def test_a_session_slides_while_it_is_used_and_ends_when_it_is_not(
    admin: Api, services: Services
) -> None:
    soon = utcnow() + timedelta(minutes=1)
    async with services.db.write() as session:
        await session.execute(update(Token).values(expires_at=soon))
    await admin.get(WHOAMI)
    used_a_moment_ago = await admin.get("/auth/v4/self/session")
    assert used_a_moment_ago["expires_at"] == soon.strftime("%Y-%m-%d %H:%M:%S")
    await set_age(services, tokens=timedelta(minutes=2))
    await admin.get(WHOAMI)
    assert (await admin.get("/auth/v4/self/session"))["expires_at"] > used_a_moment_ago["expires_at"]
    async with services.db.write() as session:
        await session.execute(update(Token).values(expires_at=utcnow()))
    assert (await admin.refused(401, "GET", WHOAMI))["code"] == 1000


async def test_many_readers_with_an_idle_session_do_not_wait_for_each_other(
    admin: Api, services: Services
) -> None:
    await set_age(services, tokens=timedelta(minutes=2))
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(admin.call("GET", "/dci/v3/user") for _ in range(60)))
    assert {answer.status_code for answer in answers} == {200}


# api-facts 2.1, row by row: the headers, and what a GET and a POST with them answer.
CARRIED: dict[str, tuple[list[tuple[str, str]], int, int]] = {
    "x-xsrf-token alone": ([("x-xsrf-token", "T")], 200, 200),
    "x-xsrf-token in capitals": ([("X-XSRF-TOKEN", "T")], 200, 200),
    "cookie and x-xsrf-token": ([("Cookie", "ses6=T"), ("x-xsrf-token", "T")], 200, 200),
    "cookie, x-xsrf-token and box": ([("Cookie", "ses6=T"), ("x-xsrf-token", "T"), BOX], 200, 200),
    "cookie alone": ([("Cookie", "ses6=T")], 200, 403),
    "cookie and box": ([("Cookie", "ses6=T"), BOX], 200, 200),
    "cookie and box in capitals": ([("COOKIE", "ses6=T"), ("ISP-Box-Instance", "true")], 200, 200),
    "cookie and an empty x-xsrf-token": ([("Cookie", "ses6=T"), ("x-xsrf-token", "")], 200, 403),
    "ISP-Session and x-xsrf-token": ([("ISP-Session", "T"), ("x-xsrf-token", "T")], 200, 200),
    "ISP-Session alone": ([("ISP-Session", "T")], 200, 200),
    "cookie, ISP-Session and x-xsrf-token": (
        [("Cookie", "ses6=T"), ("ISP-Session", "T"), ("x-xsrf-token", "T")], 200, 200
    ),
    "header ses6 and x-xsrf-token": ([("ses6", "T"), ("x-xsrf-token", "T")], 200, 200),
    "header ses6 alone": ([("ses6", "T")], 200, 200),
    "another cookie and x-xsrf-token": ([("Cookie", "session=T"), ("x-xsrf-token", "T")], 200, 200),
    "another cookie alone": ([("Cookie", "session=T"), BOX], 401, 401),
    "unknown cookies around": ([("Cookie", "lang6=en; _ga=GA1.2.3; ses6=T; theme=dark"), BOX], 200, 200),
    "a cookie with JSON before": ([("Cookie", 'consent={"a":[1,2],"b":"c d"}; ses6=T'), BOX], 200, 200),
    "a nameless cookie before": ([("Cookie", "nonsense; =; ses6=T"), BOX], 200, 200),
    "a cookie named with brackets before": ([("Cookie", "a[0]=1; b@c=é; ses6=T"), BOX], 200, 200),
    "no space between cookies": ([("Cookie", "lang6=en;ses6=T"), BOX], 200, 200),
    "several Cookie headers": ([("Cookie", "lang6=en"), ("Cookie", "ses6=T"), ("Cookie", "x=y"), BOX], 200, 200),
    "a quoted cookie": ([("Cookie", 'ses6="T"'), BOX], 200, 200),
    "an empty cookie and ISP-Session": ([("Cookie", "ses6="), ("ISP-Session", "T")], 200, 200),
    "nothing": ([], 401, 401),
    "box alone": ([BOX], 401, 401),
    "a wrong token": ([("x-xsrf-token", "E6900A56BE7DF0FB28ED7BE7")], 401, 401),
    "a wrong token before a right cookie": ([("x-xsrf-token", "x"), ("Cookie", "ses6=T")], 401, 401),
    "a token that is no ASCII": ([("x-xsrf-token", "\xe9\xff")], 401, 401),
    "internal-auth from afar": ([("internal-auth", "on")], 401, 401),
}  # fmt: skip


async def test_every_way_to_carry_a_token_is_understood(admin: Api) -> None:
    for name, (headers, get_status, post_status) in CARRIED.items():
        filled = [(key, value.replace("T", str(admin.token))) for key, value in headers]
        encoded = [(key.encode(), value.encode("latin-1")) for key, value in filled]
        got = await admin.http.request("GET", WHOAMI, headers=encoded)
        posted = await admin.http.request("POST", CHANGE, headers=encoded, content="{}")
        assert (got.status_code, posted.status_code) == (get_status, post_status), (
            name,
            got.text,
            posted.text,
        )
        for answer in (got, posted):
            assert answer.headers["content-type"] == "application/json", name
            code = {200: None, 401: 1000, 403: 3001}[answer.status_code]
            assert answer.json().get("error", {}).get("code") == code, name


async def test_a_delete_with_nothing_but_a_cookie_is_refused(admin: Api) -> None:
    cookie = ("Cookie", f"ses6={admin.token}")
    refused = await send(admin, "DELETE", f"/auth/v4/token/{admin.token}", cookie)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, 3001)
    assert (await send(admin, "DELETE", f"/auth/v4/token/{admin.token}", cookie, BOX)).status_code == 200


async def test_internal_auth_works_from_this_machine_when_it_is_switched_on(
    admin: Api, services: Services
) -> None:
    on = ("internal-auth", "on")
    for address, is_on, status in [
        ("127.0.0.1", True, 200),
        ("::1", True, 200),
        ("127.0.0.1", False, 401),
        ("192.0.2.10", True, 401),
        ("10.0.0.1", True, 401),
        ("2001:db8::1", True, 401),
        ("localhost.example.com", True, 401),
    ]:
        async with caller(services, address, internal_auth=is_on) as inside:
            assert (await send(inside, "GET", WHOAMI, on)).status_code == status, (address, is_on)
            assert (await send(inside, "POST", CHANGE, on, body="{}")).status_code == status, (address, is_on)
    async with caller(services, "127.0.0.1", internal_auth=True) as inside:
        session = (await send(inside, "GET", "/auth/v4/self/session", on)).json()
        assert (session["id"], session["kind"], session["roles"]) == (0, "internal", ["@admin"])
        assert (await send(inside, "GET", WHOAMI, ("internal-auth", "off"))).status_code == 401
        for header in ("x-forwarded-for", "x-real-ip", "forwarded", "via"):
            proxied = await send(inside, "GET", WHOAMI, on, (header, "127.0.0.1"))
            assert proxied.status_code == 401, header


async def test_a_password_is_set_with_a_key_by_the_calls_of_an_invitation(admin: Api, customer: Api) -> None:
    for name in ("change_password", "invite_user"):
        key = (await admin.post("/auth/v4/user/2/key"))["key"]
        path = f"/auth/v4/public/token/{key}/{name}"
        assert await admin.with_token(None).post(path, {"password": f"new {name}", "lang": "en"}) == {"id": 2}
        await customer.refused(401, "GET", WHOAMI)
        assert await admin.sign_in("customer@example.com", f"new {name}")
        await admin.with_token(None).refused(401, "POST", path, {"password": "again"})
    for other in ("x", customer.token, admin.token):  # a session is no key
        path = f"/auth/v4/public/token/{other}/change_password"
        await admin.with_token(None).refused(401, "POST", path, {"password": "longer"})
