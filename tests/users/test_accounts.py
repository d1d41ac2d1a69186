"""Accounts: who may do what to whom."""

import asyncio
from urllib.parse import quote

import pytest

from rackhand.app import Services
from tests.conftest import ADMIN, PASSWORD, Api, server_body
from tests.users.callers import everything_stored

WHOAMI = "/auth/v4/whoami"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmTk1NqMcYuI8Gsy8WEgQeEeqMIgOUnVFPpH7lZrvXD"


def new(email: str, **changes: object) -> dict[str, object]:
    return {"email": email, "password": PASSWORD, **changes}


async def add_admin(admin: Api, email: str = "second@example.com") -> Api:
    """A second administrator, signed in."""
    await admin.post("/dci/v3/user", new(email, role="@admin"))
    return await admin.sign_in(email)


async def test_an_account_is_shown_the_same_in_the_spelling_of_each_service(admin: Api) -> None:
    body = new("A.B@Example.com", full_name="A. B.", phone_number="+31 20", role="@user", vlans_per_user=7)
    assert await admin.post("/dci/v3/user", body) == {"id": 2}
    shown = await admin.get("/dci/v3/user/2")
    assert shown == {
        "id": 2, "email": "a.b@example.com", "server_count": 0, "roles": "[@user]", "vlans_per_user": 7,
        "full_name": "A. B.", "phone_number": "+31 20", "state": "active", "created_at": shown["created_at"],
    }  # fmt: skip
    for path in ("/vm/v3/account/2", "/auth/v4/user/2", f"/auth/v4/user/{quote('a.b@example.com')}"):
        assert await admin.get(path) == {**shown, "roles": ["@user"]}, path
    for path in ("/dci/v3/user", "/vm/v3/account", "/auth/v4/user"):
        for where in ("email CP 'a.b@example.com'", "(email EQ 'a.b@example.com')"):
            listed = await admin.get(f"{path}?where={where}")
            assert ([row["id"] for row in listed["list"]], listed["size"]) == ([2], 1)


async def test_roles_are_understood_in_every_spelling(admin: Api) -> None:
    spellings: list[tuple[dict[str, object], str]] = [
        ({"role": "@admin"}, "[@admin]"), ({"role": "admin"}, "[@admin]"), ({"role": "ADMIN"}, "[@admin]"),
        ({"roles": ["@admin"]}, "[@admin]"), ({"roles": "[@admin]"}, "[@admin]"), ({"role": "@user"}, "[@user]"),
        ({"role": "user"}, "[@user]"), ({"role": "level"}, "[@user]"), ({}, "[@user]"),
        ({"roles": ["user"]}, "[@user]"),
    ]  # fmt: skip
    for number, (role, shown) in enumerate(spellings):
        made = await admin.post("/dci/v3/user", new(f"r{number}@example.com", **role))
        assert (await admin.get(f"/dci/v3/user/{made['id']}"))["roles"] == shown, role
    wrong_roles: tuple[object, ...] = ("root", "@operator", 5, ["@admin", "@user"], [], {})
    for wrong in wrong_roles:
        await admin.refused(400, "POST", "/dci/v3/user", new("wrong@example.com", role=wrong))


async def test_an_account_is_edited_in_every_service(admin: Api) -> None:
    await admin.post("/dci/v3/user", new("a@example.com"))
    assert await admin.post("/dci/v3/user/2", {"full_name": "First"}) == {"id": 2}
    assert await admin.post("/vm/v3/account/2", {"phone_number": "112", "email": "B@example.com"}) == {
        "id": 2
    }
    assert await admin.post("/auth/v4/user/b@example.com", {"roles": ["@admin"], "vlans_per_user": 0}) == {
        "id": 2
    }
    shown = await admin.get("/dci/v3/user/2")
    assert (shown["email"], shown["full_name"], shown["phone_number"]) == ("b@example.com", "First", "112")
    assert (shown["roles"], shown["vlans_per_user"]) == ("[@admin]", 0)
    before = (await admin.get("/dci/v3/user"))["last_notify"]
    await admin.post("/dci/v3/user/2", {"full_name": "First"})
    assert (await admin.get("/dci/v3/user"))["last_notify"] == before


async def test_an_address_belongs_to_one_account(admin: Api) -> None:
    await admin.post("/dci/v3/user", new("a@example.com"))
    await admin.post("/dci/v3/user", new("b@example.com"))
    for method_path, body in [
        ("/dci/v3/user", new("a@example.com")),
        ("/vm/v3/account", new(" A@EXAMPLE.com ")),
        ("/auth/v4/user", new(ADMIN)),
        ("/dci/v3/user/3", {"email": "A@example.com", "full_name": "changed"}),
    ]:
        error = await admin.refused(409, "POST", method_path, body)
        assert error["code"] == 2409
        assert "already" in error["msg"]
    assert (await admin.get("/dci/v3/user"))["size"] == 3
    assert (await admin.get("/dci/v3/user/3"))["full_name"] == ""
    calls = [admin.call("POST", "/dci/v3/user", new("twice@example.com")) for _ in range(4)]
    assert sorted(answer.status_code for answer in await asyncio.gather(*calls)) == [200, 409, 409, 409]


async def test_what_is_no_account_is_refused(admin: Api) -> None:
    odd: tuple[dict[str, object], ...] = (
        {"email": "nobody"}, {"email": ""}, {"email": "a@b@c"}, {"email": "a b@example.com"}, {"email": None},
        {"email": "a" * 65 + "@example.com"}, {"password": "abc"}, {"password": ""}, {"password": "x" * 1025},
        {"password": None}, {"password": 1234}, {"vlans_per_user": -1}, {"vlans_per_user": 5000},
        {"vlans_per_user": "many"}, {"full_name": "x" * 256}, {"full_name": {}},
    )  # fmt: skip
    for changes in odd:
        assert (await admin.refused(400, "POST", "/dci/v3/user", new("a@example.com") | changes))[
            "code"
        ] == 2400, changes
    assert (await admin.get("/dci/v3/user"))["size"] == 1


async def test_a_blocked_account_is_out_at_once_and_comes_back_with_a_new_session(
    admin: Api, customer: Api
) -> None:
    program = customer.with_token((await customer.post("/auth/v4/token"))["token"])
    for block, unblock in [
        ("/dci/v3/user/2/block", "/dci/v3/user/2/unblock"),
        ("/vm/v3/account/2/block", "/vm/v3/account/2/unblock"),
        ("/auth/v4/user/customer@example.com/suspend", "/auth/v4/user/customer@example.com/resume"),
    ]:
        key = await admin.post("/auth/v4/user/2/key")
        assert await admin.post(block) == {"id": 2}
        assert await admin.post(block) == {"id": 2}
        assert (await admin.get("/dci/v3/user/2"))["state"] == "blocked"
        for gone in (customer, program):
            assert (await gone.refused(401, "GET", WHOAMI))["code"] == 1000
        assert await admin.post(unblock) == {"id": 2}
        await admin.refused(401, "POST", "/auth/v4/public/key", key)
        await customer.refused(401, "GET", WHOAMI)
        customer = await admin.sign_in("customer@example.com")
        program = customer.with_token((await customer.post("/auth/v4/token"))["token"])
    key = await admin.post("/auth/v4/user/2/key")
    await admin.post("/dci/v3/user/2/block")
    await admin.refused(401, "POST", "/auth/v4/public/key", key)


async def test_an_account_that_owns_a_server_stays(admin: Api, customer: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/dci/v3/server/1/owner", {"owner": 2})
    assert (await admin.get("/dci/v3/user/2"))["server_count"] == 1
    for path in ("/dci/v3/user/2", "/vm/v3/account/2", "/auth/v4/user/2"):
        assert "owns" in (await admin.refused(409, "DELETE", path))["msg"]
    assert await customer.get(WHOAMI)
    await admin.delete("/dci/v3/server/1/owner")
    await customer.post("/auth/v3/user/2/sshkey", {"name": "laptop", "ssh_pub_key": KEY})
    await admin.post("/auth/v4/user/2/key")
    assert await admin.delete("/auth/v4/user/customer%40example.com") == {"id": 2}
    await customer.refused(401, "GET", WHOAMI)
    await admin.refused(404, "DELETE", "/dci/v3/user/2")
    assert await admin.post("/dci/v3/user", new("customer@example.com")) == {"id": 3}


async def test_an_administrator_cannot_lock_itself_out(admin: Api) -> None:
    await add_admin(admin)
    for method, path, body in [
        ("POST", "/dci/v3/user/1/block", {}),
        ("DELETE", "/dci/v3/user/1", None),
        ("POST", "/dci/v3/user/1", {"role": "@user"}),
        ("POST", "/auth/v4/user/1/suspend", {}),
        ("DELETE", f"/auth/v4/user/{ADMIN}", None),
    ]:
        assert (await admin.refused(409, method, path, body))["code"] == 2409, path
    assert (await admin.get(WHOAMI))["roles"] == ["@admin"]


@pytest.mark.parametrize("how", ["demote", "block", "delete"])
async def test_two_administrators_who_remove_each_other_at_once_do_not_both_go(how: str, admin: Api) -> None:
    def remove(api: Api, user: int) -> object:
        match how:
            case "demote":
                return api.call("POST", f"/dci/v3/user/{user}", {"role": "@user"})
            case "block":
                return api.call("POST", f"/dci/v3/user/{user}/block", {})
        return api.call("DELETE", f"/dci/v3/user/{user}")

    second = await add_admin(admin)
    answers = await asyncio.gather(remove(admin, 2), remove(second, 1))  # type: ignore[call-overload]
    assert [answer.is_success for answer in answers].count(True) == 1, [answer.text for answer in answers]
    assert {answer.status_code for answer in answers} <= {200, 401, 403, 409}
    left = await (admin if answers[0].is_success else second).get(
        "/dci/v3/user?where=role EQ '@admin' AND state EQ 'active'"
    )
    assert left["size"] == 1


async def test_a_blank_role_leaves_the_role_as_it_is(admin: Api) -> None:
    await add_admin(admin)
    for body in ({"role": ""}, {"roles": [""]}, {"role": None}):
        await admin.post("/dci/v3/user/2", body)
        assert (await admin.get("/dci/v3/user/2"))["roles"] == "[@admin]"


async def test_losing_the_role_ends_sessions(admin: Api) -> None:
    second = await add_admin(admin)
    await admin.post("/dci/v3/user/2", {"role": "@user"})
    await second.refused(401, "GET", WHOAMI)
    second = await admin.sign_in("second@example.com")
    await second.refused(403, "POST", "/dci/v3/user", new("x@example.com"))


async def test_a_password_change_ends_all_other_sessions(admin: Api, customer: Api) -> None:
    other = await customer.sign_in("customer@example.com")
    path = "/auth/v4/user/2/password"
    await customer.refused(400, "POST", path, {"password": "new password"})
    await customer.refused(401, "POST", path, {"password": "new password", "old_password": "wrong"})
    await customer.refused(400, "POST", path, {"password": "abc", "old_password": PASSWORD})
    assert await customer.post(path, {"password": "new password", "old_password": PASSWORD}) == {"id": 2}
    assert await customer.get(WHOAMI)
    await other.refused(401, "GET", WHOAMI)
    await other.refused(401, "POST", "/auth/v4/public/token", new("customer@example.com"))
    assert await admin.post("/dci/v3/user/2/password", {"password": "set by admin"}) == {"id": 2}
    await customer.refused(401, "GET", WHOAMI)
    assert await admin.sign_in("customer@example.com", "set by admin")
    assert await admin.post("/dci/v3/user/2", {"password": "set by edit"}) == {"id": 2}
    assert await admin.sign_in("customer@example.com", "set by edit")
    assert await admin.post("/vm/v3/account/1/password", {"password": "my own"}) == {"id": 1}
    assert await admin.get(WHOAMI)


async def test_an_administrator_cannot_change_the_password_of_another(admin: Api) -> None:
    second = await add_admin(admin)
    assert (await admin.refused(403, "POST", "/dci/v3/user/2/password", {"password": "taken over"}))[
        "code"
    ] == 3001
    await admin.refused(403, "POST", "/dci/v3/user/2", {"password": "taken over"})
    assert await second.get(WHOAMI)
    assert await second.sign_in("second@example.com")


async def test_passwords_are_neither_stored_nor_shown(admin: Api, services: Services) -> None:
    await admin.post("/dci/v3/user", new("a@example.com", password="swordfish 7"))
    await admin.post("/dci/v3/user/2/password", {"password": "swordfish 8"})
    assert "swordfish" not in await everything_stored(services)
    for path in ("/dci/v3/user", "/dci/v3/user/2", "/vm/v3/account/2", "/dci/v3/event"):
        text = (await admin.call("GET", path)).text
        assert "swordfish" not in text
        assert "password_hash" not in text
        assert "argon2" not in text


async def test_a_user_sees_and_changes_itself_only(admin: Api, customer: Api) -> None:
    await admin.post("/dci/v3/user", new("other@example.com"))
    for path in ("/dci/v3/user", "/vm/v3/account", "/auth/v4/user"):
        listed = await customer.get(f"{path}?where=id GT 0 OR email CP '%25'")
        assert ([row["id"] for row in listed["list"]], listed["size"]) == ([2], 1)
    for user in ("1", "3"):
        for method, path, body in [
            ("GET", f"/dci/v3/user/{user}", None),
            ("GET", f"/auth/v4/user/{user}", None),
            ("POST", f"/dci/v3/user/{user}", {"full_name": "x"}),
            ("POST", f"/auth/v4/user/{user}", {"full_name": "x"}),
            ("POST", f"/auth/v4/user/{user}/password", {"password": "long enough", "old_password": PASSWORD}),
            ("GET", f"/auth/v3/user/{user}/sshkey", None),
            ("POST", f"/auth/v3/user/{user}/sshkey", {"name": "x", "ssh_pub_key": KEY}),
            ("GET", f"/auth/v4/user/{user}/token", None),
        ]:
            assert (await customer.refused(404, method, path, body))["code"] == 3080, path
    assert (await customer.refused(404, "GET", "/auth/v4/user/other@example.com"))["code"] == 3080
    assert await customer.post("/dci/v3/user/2", {"full_name": "Me", "phone_number": "1"}) == {"id": 2}
    for forbidden in (
        {"role": "@admin"},
        {"email": "me@example.com"},
        {"vlans_per_user": 9},
        {"password": "long enough"},
    ):
        assert (await customer.refused(403, "POST", "/dci/v3/user/2", forbidden))["code"] == 3001, forbidden
    for method, path in [
        ("POST", "/dci/v3/user/2/block"), ("DELETE", "/dci/v3/user/2"), ("POST", "/auth/v4/user/2/resume"),
    ]:  # fmt: skip
        assert (await customer.refused(403, method, path))["code"] == 3001, path
    assert (await customer.refused(403, "POST", "/dci/v3/user", new("x@example.com")))["code"] == 3001
    shown = await customer.get("/dci/v3/user/2")
    assert (shown["full_name"], shown["email"], shown["roles"]) == ("Me", "customer@example.com", "[@user]")


@pytest.mark.parametrize("version", ["v3", "v4"])
async def test_public_keys_are_added_listed_and_removed(version: str, customer: Api) -> None:
    path = f"/api/auth/{version}/user/2/sshkey"
    assert (await customer.get(path))["list"] == []
    assert await customer.post(path, {"name": "laptop", "ssh_pub_key": f"  {KEY}  me@laptop \n"}) == {"id": 1}
    listed = await customer.get(path)
    assert (listed["size"], listed["list"]) == (1, [
        {"id": 1, "name": "laptop", "ssh_pub_key": f"{KEY} me@laptop", "fingerprint": listed["list"][0]["fingerprint"],
         "created_at": listed["list"][0]["created_at"]},
    ])  # fmt: skip
    assert listed["list"][0]["fingerprint"].startswith("SHA256:")
    assert (await customer.refused(409, "POST", path, {"name": "again", "ssh_pub_key": KEY}))["code"] == 2409
    for wrong in (
        "",
        "x",
        "ssh-ed25519",
        "ssh-ed25519 ===",
        "ssh-rsa " + KEY.split()[1],
        "ssh-ed25519 AAAA",
        5,
        None,
    ):
        assert (await customer.refused(400, "POST", path, {"name": "x", "ssh_pub_key": wrong}))[
            "code"
        ] == 2400, wrong
    assert await customer.delete(f"{path}/1") == {"id": 1}
    assert (await customer.refused(404, "DELETE", f"{path}/1"))["code"] == 3080


async def test_a_key_of_somebody_else_is_not_found(admin: Api, customer: Api) -> None:
    await admin.post("/auth/v4/user/1/sshkey", {"name": "mine", "public_key": KEY})
    await customer.post("/auth/v4/user/2/sshkey", {"name": "the same key", "public_key": KEY})
    await customer.refused(404, "DELETE", "/auth/v4/user/2/sshkey/1")
    await customer.refused(404, "DELETE", "/auth/v4/user/1/sshkey/1")
    await admin.refused(404, "DELETE", "/auth/v4/user/2/sshkey/1")
    assert await admin.delete("/auth/v4/user/2/sshkey/2") == {"id": 2}


async def test_odd_names_of_accounts_are_not_found(admin: Api) -> None:
    for name in ("0", "99", "9" * 30, "nobody", "%25", "1%20OR%201=1", "-1", "1.0", "%F0%9F%98%80", "..%2F1"):
        answer = await admin.call("GET", f"/auth/v4/user/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) in {(404, 3080), (404, 1106)}, name
