"""Accounts: the table, one account, and everybody's own: password, SSH keys, tokens."""

from typing import Any

from starlette.responses import Response

from rackhand.errors import Invalid, Unauthenticated
from rackhand.http.lists import ListParams
from rackhand.ipam import api as ipam_api
from rackhand.ipam import queries as ipam
from rackhand.ipam import schemas as ipam_schemas
from rackhand.servers import queries as servers
from rackhand.users import api, queries, schemas
from rackhand.users.model import AccountState, Role
from rackhand.web.listing import Filter, Listing
from rackhand.web.page import Page
from rackhand.web.routing import SIGNED_IN, change, show
from rackhand.web.texts import gettext
from rackhand.web.words import badge_text

SHOWN_SERVERS = 20


async def show_users(page: Page) -> Response:
    """The table of accounts."""
    filters = [
        Filter("role", gettext("Role"), [(role.value, badge_text(role, "role")) for role in Role], "role EQ {}"),
        Filter("state", gettext("State"), [(state.value, badge_text(state, "account")) for state in AccountState],
               "state EQ {}"),
    ]  # fmt: skip
    sorts = ("email", "full_name", "role", "state", "server_count", "created_at")
    listing = Listing(page, ("email", "full_name", "phone_number"), sorts, filters, order="email")
    found = await queries.page(page.session, listing.params, visible_to=page.user)
    return page.render("users/list.html", listing=listing, rows=found.rows, size=found.size)


async def show_user(page: Page, id: int, *, login_link: str = "") -> Response:
    """One account."""
    row = await queries.row_by_id(page.session, id, visible_to=page.user)
    user = row[0]
    mine = await servers.page(
        page.session,
        ListParams(f"owner EQ {id}", "name", str(SHOWN_SERVERS)),
        visible_to=page.user,
        parts=(),
    )
    return page.render(
        "users/one.html",
        user=user,
        servers=mine,
        quota=await ipam.quota_of(page.session, id),
        keys=await queries.ssh_keys_of(page.session, user),
        tokens=await queries.tokens_of(page.session, user),
        current=page.request.state.token.id,
        login_link=login_link,
        roles=[(role.value, badge_text(role, "role")) for role in Role],
    )


async def show_new_user(page: Page) -> Response:
    """The form of a new account."""
    roles = [(role.value, badge_text(role, "role")) for role in Role]
    return page.render(
        "users/new.html", form=page.form({"role": Role.USER, "vlans_per_user": 5}), roles=roles
    )


async def add_user(page: Page) -> Response:
    """Add an account."""
    given: dict[str, Any] = page.given("email", "full_name", "phone_number", "role")
    given["password"] = page.typed.get("password", "")
    if (vlans := page.number("vlans_per_user")) is not None:
        given["vlans_per_user"] = vlans
    body = schemas.CreateUser.model_validate(given)
    answer = await api.create_user(session=page.session, _admin=page.user, actor=page.actor, body=body)
    return page.go(f"/users/{answer.id}", "added")


async def edit_user(page: Page, id: int) -> Response:
    """Change an account; a blank field of a name empties it."""
    given: dict[str, Any] = {name: page.typed.get(name, "").strip() for name in ("full_name", "phone_number")}
    given |= page.given("email", "role")
    if (vlans := page.number("vlans_per_user")) is not None:
        given["vlans_per_user"] = vlans
    body = schemas.EditUser.model_validate(given)
    common: dict[str, Any] = {"id": id, "session": page.session, "actor": page.actor}
    await api.edit_user(**common, viewer=page.user, body=body)
    quota = {name: number for name in ("ipv4", "ipv6") if (number := page.number(name)) is not None}
    if quota:
        quota_body = ipam_schemas.QuotaBody.model_validate(quota)
        await ipam_api.set_quota(**common, _admin=page.user, body=quota_body)
    return page.go(f"/users/{id}", "saved")


async def act_on_user(page: Page, id: int) -> Response:
    """Block, let in again, set a password, make a link to sign in as, delete: the button says what."""
    name = str(id)
    common: dict[str, Any] = {"user": name, "session": page.session, "admin": page.user, "actor": page.actor}
    asked = page.typed.get("action", "")
    if asked == "block":
        await api.block_user(**common)
    elif asked == "unblock":
        await api.unblock_user(**common)
    elif asked == "password":
        await _set_password(page, id)
        return page.go(f"/users/{id}", "password")
    elif asked == "link":
        answer = await api.create_key(**common)
        return await show_user(page, id, login_link=str(page.request.base_url) + f"auth/key-v4/{answer.key}")
    elif asked == "delete":
        await api.delete_user(id=id, session=page.session, admin=page.user, actor=page.actor)
        return page.go("/users", "deleted")
    else:
        raise Invalid("Say what is to be done.")
    return page.go(f"/users/{id}", "saved")


async def _set_password(page: Page, id: int) -> None:
    given = {"password": page.typed.get("password", "")}
    if old := page.typed.get("old_password"):
        given["old_password"] = old
    body = schemas.ChangePassword.model_validate(given)
    try:
        await api.change_password(
            request=page.request,
            user=str(id),
            session=page.session,
            viewer=page.user,
            actor=page.actor,
            body=body,
        )
    except Unauthenticated as wrong:
        raise Invalid(f"old_password: {wrong.message}") from wrong


# --- one's own account


async def show_account(page: Page, *, new_token: str = "") -> Response:
    """What belongs to the viewer."""
    user = page.user
    return page.render(
        "users/account.html",
        user=user,
        keys=await queries.ssh_keys_of(page.session, user),
        tokens=await queries.tokens_of(page.session, user),
        current=page.request.state.token.id,
        quota=await ipam.quota_of(page.session, user.id),
        new_token=new_token,
    )


async def edit_account(page: Page) -> Response:
    """Change one's name and telephone number."""
    body = schemas.EditUser.model_validate(
        {name: page.typed.get(name, "").strip() for name in ("full_name", "phone_number")}
    )
    await api.edit_user(id=page.user.id, session=page.session, viewer=page.user, actor=page.actor, body=body)
    return page.go("/account", "saved")


async def change_password(page: Page) -> Response:
    """Change one's password; every other session ends."""
    if not page.typed.get("old_password"):
        raise Invalid("old_password: say your present password.")
    if page.typed.get("password") != page.typed.get("again"):
        raise Invalid("again: the two passwords differ.")
    await _set_password(page, page.user.id)
    return page.go("/account", "password")


async def edit_keys(page: Page) -> Response:
    """Add an SSH key, or forget one."""
    common: dict[str, Any] = {
        "user": str(page.user.id), "session": page.session, "viewer": page.user, "actor": page.actor,
    }  # fmt: skip
    if (key_id := page.number("delete")) is not None:
        await api.delete_ssh_key(**common, key=key_id)
        return page.go("/account#keys", "deleted")
    given = {
        "name": page.typed.get("name", "").strip(),
        "ssh_pub_key": page.typed.get("ssh_pub_key", "").strip(),
    }
    await api.add_ssh_key(**common, body=schemas.AddSshKey.model_validate(given))
    return page.go("/account#keys", "added")


async def edit_tokens(page: Page) -> Response:
    """Make a token, shown this once, or revoke one."""
    common: dict[str, Any] = {"session": page.session, "user": page.user, "actor": page.actor}
    if (token_id := page.number("delete")) is not None:
        await api.delete_token(token=str(token_id), **common)
        return page.go("/account#tokens", "deleted")
    given = page.given("description", "expires_at")
    body = schemas.CreateApiToken.model_validate(given)
    issued = await api.create_token(request=page.request, **common, body=body)
    return await show_account(page, new_token=issued.token)


ROUTES = (
    show("/users", show_users),
    show("/users/new", show_new_user),
    change("/users/new", add_user, show_new_user),
    show("/users/{id:int}", show_user),
    change("/users/{id:int}", edit_user, show_user),
    change("/users/{id:int}/do", act_on_user, show_user),
    show("/account", show_account, SIGNED_IN),
    change("/account", edit_account, show_account, SIGNED_IN),
    change("/account/password", change_password, show_account, SIGNED_IN),
    change("/account/keys", edit_keys, show_account, SIGNED_IN),
    change("/account/tokens", edit_tokens, show_account, SIGNED_IN),
)
