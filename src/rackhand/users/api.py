"""Routes of the auth service (v4 and the older v3) and of accounts."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from rackhand.errors import Forbidden, Invalid, NotFound, Unauthenticated
from rackhand.events.queries import last_notify
from rackhand.events.service import Actor, Subject, record
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import Body, IdAnswer, ListAnswer, ObjectId, json_response, list_response
from rackhand.users import queries, service, signin, tokens
from rackhand.users.auth import SESSION_COOKIE, Admin, CurrentActor, CurrentUser, client_address, request_id
from rackhand.users.model import Role, Token, User
from rackhand.users.passwords import password_fits
from rackhand.users.schemas import (
    AddSshKey,
    ChangePassword,
    CreateApiToken,
    CreateUser,
    Credentials,
    EditUser,
    KeyAnswer,
    KeyBody,
    SessionAnswer,
    TokenAnswer,
    TokenTtl,
    account_row,
    ssh_key_row,
    token_row,
    user_row,
)

# Signing in computes a hash for long, so it handles its transactions itself.
sign_in_router = APIRouter(tags=["auth"])
router = APIRouter(tags=["auth"], route_class=TransactionRoute)
user_router = APIRouter(prefix="/dci/v3", tags=["users"], route_class=TransactionRoute)
account_router = APIRouter(prefix="/vm/v3", tags=["users"], route_class=TransactionRoute)

Params = Annotated[ListParams, Depends(list_params)]


async def _sign_in(request: Request, body: Credentials) -> tokens.IssuedToken:
    return await signin.sign_in(
        request.app.state.services.db,
        email=body.email,
        password=body.password.get_secret_value(),
        address=client_address(request),
        request_id=request_id(request),
    )


@sign_in_router.post("/auth/v4/public/token", status_code=201)
async def create_session(request: Request, body: Credentials) -> TokenAnswer:
    """Sign in with a password."""
    return TokenAnswer.of(await _sign_in(request, body))


@sign_in_router.post("/auth/v3/auth")
async def create_session_v3(request: Request, body: Credentials) -> SessionAnswer:
    """Sign in with a password, older answer."""
    return SessionAnswer(session=(await _sign_in(request, body)).token)


async def _exchange_key(request: Request, session: Session, key: str) -> tokens.IssuedToken:
    user = await tokens.use_login_key(session, key)
    address = client_address(request)
    actor = Actor(user.id, user.email, address, request_id(request))
    record(
        session,
        "user.signed_in",
        f"{user.email} signed in with a key.",
        subject=Subject("user", user.id, user.email),
        actor=actor,
    )
    return await tokens.open_session(session, user, address=address)


@router.post("/auth/v4/public/key", status_code=201)
@router.post("/auth/v4/public/auth_by_key", status_code=201)
async def exchange_key(request: Request, session: Session, body: KeyBody) -> TokenAnswer:
    """Exchange a single-use key for a session."""
    return TokenAnswer.of(await _exchange_key(request, session, body.key))


@router.post("/auth/v3/auth_by_key")
async def exchange_key_v3(request: Request, session: Session, body: KeyBody) -> SessionAnswer:
    """Exchange a single-use key for a session, older answer."""
    return SessionAnswer(session=(await _exchange_key(request, session, body.key)).token)


@sign_in_router.get("/auth/key-v4/{key}", response_class=RedirectResponse, status_code=302)
async def enter_with_key(request: Request, key: str) -> Response:
    """Sign a browser in by a link and show the console."""
    async with request.app.state.services.db.write() as session:
        issued = await _exchange_key(request, session, key)
    response = RedirectResponse("/", 302)
    secure = request.url.scheme == "https"
    response.set_cookie(SESSION_COOKIE, issued.token, httponly=True, samesite="lax", secure=secure, path="/")
    return response


@router.post("/auth/v4/user/{user}/key")
@router.post("/auth/v3/user/{user}/key")
async def create_key(
    user: str, session: Session, admin: Admin, actor: CurrentActor, _body: Body | None = None
) -> KeyAnswer:
    """Make a key with which somebody signs in as that user once, within the hour."""
    found = await queries.by_id_or_email(session, user, visible_to=admin)
    if found.is_admin and found.id != admin.id:
        raise Forbidden("An administrator cannot sign in as another one.")
    key = await tokens.create_login_key(session, found)
    message = f"A login key for {found.email} was made."
    record(session, "user.key_created", message, subject=service.subject_of(found), actor=actor)
    return KeyAnswer(key=key)


@router.post("/auth/v4/token", status_code=201)
async def create_token(
    request: Request, session: Session, user: CurrentUser, actor: CurrentActor, body: CreateApiToken
) -> TokenAnswer:
    """Make a long-lived token for a program."""
    issued = await tokens.create_api_token(
        session,
        user,
        expires_at=body.expires_at,
        description=body.description,
        address=client_address(request),
    )
    message = f"API token {issued.id} of {user.email} was made."
    record(session, "user.token_created", message, subject=service.subject_of(user), actor=actor)
    return TokenAnswer.of(issued)


@router.get("/auth/v4/token", response_model=ListAnswer)
async def list_own_tokens(session: Session, user: CurrentUser) -> Response:
    """List your sessions and tokens."""
    rows = [token_row(token) for token in await queries.tokens_of(session, user)]
    return list_response(rows, len(rows), await last_notify(session))


@router.get("/auth/v4/user/{user}/token", response_model=ListAnswer)
async def list_tokens(user: str, session: Session, viewer: CurrentUser) -> Response:
    """List the sessions and tokens of an account."""
    found = await queries.by_id_or_email(session, user, visible_to=viewer)
    rows = [token_row(token) for token in await queries.tokens_of(session, found)]
    return list_response(rows, len(rows), await last_notify(session))


@router.delete("/auth/v4/token/{token}")
@router.delete("/auth/v3/session/{token}")
async def delete_token(token: str, session: Session, user: CurrentUser, actor: CurrentActor) -> IdAnswer:
    """Sign out, or revoke a token: by its text, or by its number."""
    found = await tokens.find(session, token)
    if found is None and token.isascii() and token.isdigit() and len(token) < 19:  # noqa: PLR2004  # 64 bit
        found = await session.get(Token, int(token))
    if found is None or not (user.is_admin or found.user_id == user.id):
        raise NotFound("There is no such session or token.")
    await tokens.revoke(session, found.id)
    record(
        session,
        "user.token_revoked",
        f"Token {found.id} was revoked.",
        subject=Subject("user", found.user_id, "", found.user_id),
        actor=actor,
    )
    return IdAnswer(id=found.id)


@router.get("/auth/v4/self/session", response_model=dict[str, Any])
async def show_session(request: Request, user: CurrentUser) -> Response:
    """Show the session in use."""
    token: Token | None = request.state.token
    row = token_row(token) if token else {"id": 0, "kind": "internal"}
    return json_response(
        {**row, "user": user.id, "email": user.email, "roles": [user.role], "confirmed": True}
    )


@router.get("/auth/v4/whoami", response_model=dict[str, Any])
async def whoami(user: CurrentUser, session: Session) -> Response:
    """Show who you are."""
    return json_response(account_row(await queries.row_by_id(session, user.id, visible_to=user)))


@router.post("/auth/v4/setting/token_ttl", response_model=dict[str, Any])
async def set_token_ttl(session: Session, _admin: Admin, actor: CurrentActor, body: TokenTtl) -> Response:
    """Set the minutes that an unused session lasts; sessions in use get it with their next call."""
    ttl = await tokens.set_token_ttl(session, body.value)
    minutes = str(int(ttl.total_seconds() // 60))
    record(
        session,
        "setting.changed",
        f"Sessions last {minutes} minutes.",
        subject=Subject("setting", None, tokens.TTL_SETTING),
        actor=actor,
    )
    return json_response({"name": tokens.TTL_SETTING, "value": minutes})


@router.get("/auth/v4/setting/token_ttl", response_model=dict[str, Any])
async def show_token_ttl(session: Session, _admin: Admin) -> Response:
    """Show the minutes that an unused session lasts."""
    ttl = await tokens.token_ttl(session)
    return json_response({"name": tokens.TTL_SETTING, "value": str(int(ttl.total_seconds() // 60))})


@router.post("/auth/v4/public/token/{token}/change_password")
@router.post("/auth/v4/public/token/{token}/invite_user")
async def change_password_by_token(
    request: Request, token: str, session: Session, body: ChangePassword
) -> IdAnswer:
    """Set the password of the account that a single-use key belongs to (invitation, first sign-in).

    A session is no such key: whoever stole one could keep the account.
    """
    user = await tokens.use_login_key(session, token)
    actor = Actor(user.id, user.email, client_address(request), request_id(request))
    await service.set_password(session, user, body.password.get_secret_value(), actor=actor)
    return IdAnswer(id=user.id)


# --- accounts, in the spelling of each service


@user_router.get("/user", response_model=ListAnswer)
async def list_users(session: Session, viewer: CurrentUser, params: Params) -> Response:
    """List accounts; a user sees only its own."""
    page = await queries.page(session, params, visible_to=viewer)
    return list_response([user_row(row) for row in page.rows], page.size, await last_notify(session))


@account_router.get("/account", response_model=ListAnswer)
@router.get("/auth/v4/user", response_model=ListAnswer)
async def list_accounts(session: Session, viewer: CurrentUser, params: Params) -> Response:
    """List accounts with `roles` as an array."""
    page = await queries.page(session, params, visible_to=viewer)
    return list_response([account_row(row) for row in page.rows], page.size, await last_notify(session))


@user_router.get("/user/{id}", response_model=dict[str, Any])
async def get_user(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """Show an account."""
    return json_response(user_row(await queries.row_by_id(session, id, visible_to=viewer)))


@account_router.get("/account/{id}", response_model=dict[str, Any])
async def get_account(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """Show an account with `roles` as an array."""
    return json_response(account_row(await queries.row_by_id(session, id, visible_to=viewer)))


@router.get("/auth/v4/user/{user}", response_model=dict[str, Any])
async def get_auth_user(user: str, session: Session, viewer: CurrentUser) -> Response:
    """Show an account by number or e-mail address."""
    found = await queries.by_id_or_email(session, user, visible_to=viewer)
    return json_response(account_row(await queries.row_by_id(session, found.id, visible_to=viewer)))


@user_router.post("/user")
@account_router.post("/account")
@router.post("/auth/v4/user")
async def create_user(session: Session, _admin: Admin, actor: CurrentActor, body: CreateUser) -> IdAnswer:
    """Add an account."""
    user = await service.create_user(
        session,
        email=body.email,
        password=body.password.get_secret_value(),
        role=Role(body.role),
        full_name=body.full_name,
        phone_number=body.phone_number,
        vlans_per_user=body.vlans_per_user,
        actor=actor,
    )
    return IdAnswer(id=user.id)


@user_router.post("/user/{id}")
@account_router.post("/account/{id}")
async def edit_user(
    id: ObjectId, session: Session, viewer: CurrentUser, actor: CurrentActor, body: EditUser
) -> IdAnswer:
    """Change an account; a user may change its own name and telephone number."""
    user = await queries.by_id(session, id, visible_to=viewer)
    return await _edit(session, user, viewer, actor, body)


@router.post("/auth/v4/user/{user}")
async def edit_auth_user(
    user: str, session: Session, viewer: CurrentUser, actor: CurrentActor, body: EditUser
) -> IdAnswer:
    """Change an account by number or e-mail address."""
    found = await queries.by_id_or_email(session, user, visible_to=viewer)
    return await _edit(session, found, viewer, actor, body)


async def _edit(session: Session, user: User, viewer: User, actor: Actor, body: EditUser) -> IdAnswer:
    if not viewer.is_admin and (body.email, body.role, body.vlans_per_user, body.password) != (None,) * 4:
        raise Forbidden(
            "You may change your name and telephone number here, and your password at …/password."
        )
    if body.password is not None:
        await service.set_password(session, user, body.password.get_secret_value(), actor=actor)
    await service.edit_user(
        session,
        user,
        email=body.email,
        full_name=body.full_name,
        phone_number=body.phone_number,
        role=None if body.role is None else Role(body.role),
        vlans_per_user=body.vlans_per_user,
        actor=actor,
    )
    return IdAnswer(id=user.id)


@user_router.delete("/user/{id}")
@account_router.delete("/account/{id}")
async def delete_user(id: ObjectId, session: Session, admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete an account that owns no server."""
    await service.delete_user(session, await queries.by_id(session, id, visible_to=admin), actor=actor)
    return IdAnswer(id=id)


@router.delete("/auth/v4/user/{user}")
async def delete_auth_user(user: str, session: Session, admin: Admin, actor: CurrentActor) -> IdAnswer:
    """Delete an account, by number or e-mail address."""
    found = await queries.by_id_or_email(session, user, visible_to=admin)
    user_id = found.id
    await service.delete_user(session, found, actor=actor)
    return IdAnswer(id=user_id)


@user_router.post("/user/{user}/block")
@account_router.post("/account/{user}/block")
@router.post("/auth/v4/user/{user}/suspend")
async def block_user(
    user: str, session: Session, admin: Admin, actor: CurrentActor, _body: Body | None = None
) -> IdAnswer:
    """Keep an account out; its sessions end at once."""
    found = await queries.by_id_or_email(session, user, visible_to=admin)
    await service.block(session, found, actor=actor)
    return IdAnswer(id=found.id)


@user_router.post("/user/{user}/unblock")
@account_router.post("/account/{user}/unblock")
@router.post("/auth/v4/user/{user}/resume")
async def unblock_user(
    user: str, session: Session, admin: Admin, actor: CurrentActor, _body: Body | None = None
) -> IdAnswer:
    """Let an account in again."""
    found = await queries.by_id_or_email(session, user, visible_to=admin)
    await service.unblock(session, found, actor=actor)
    return IdAnswer(id=found.id)


@user_router.post("/user/{user}/password")
@account_router.post("/account/{user}/password")
@router.post("/auth/v4/user/{user}/password")
async def change_password(
    request: Request,
    user: str,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    body: ChangePassword,
) -> IdAnswer:
    """Set a password; a user who changes its own says the old one too."""
    found = await queries.by_id_or_email(session, user, visible_to=viewer)
    if not viewer.is_admin:
        if body.old_password is None:
            raise Invalid("old_password: say your present password.")
        if not await password_fits(body.old_password.get_secret_value(), found.password_hash):
            raise Unauthenticated("The old password is wrong.")
    token: Token | None = request.state.token
    await service.set_password(
        session, found, body.password.get_secret_value(), actor=actor, keep_token=token.id if token else None
    )
    return IdAnswer(id=found.id)


@router.get("/auth/v3/user/{user}/sshkey", response_model=ListAnswer)
@router.get("/auth/v4/user/{user}/sshkey", response_model=ListAnswer)
async def list_ssh_keys(user: str, session: Session, viewer: CurrentUser) -> Response:
    """List the public keys of an account."""
    found = await queries.by_id_or_email(session, user, visible_to=viewer)
    rows = [ssh_key_row(key) for key in await queries.ssh_keys_of(session, found)]
    return list_response(rows, len(rows), await last_notify(session))


@router.post("/auth/v3/user/{user}/sshkey")
@router.post("/auth/v4/user/{user}/sshkey")
async def add_ssh_key(
    user: str, session: Session, viewer: CurrentUser, actor: CurrentActor, body: AddSshKey
) -> IdAnswer:
    """Add a public key to an account."""
    found = await queries.by_id_or_email(session, user, visible_to=viewer)
    key = await service.add_ssh_key(session, found, name=body.name, public_key=body.ssh_pub_key, actor=actor)
    return IdAnswer(id=key.id)


@router.delete("/auth/v3/user/{user}/sshkey/{key}")
@router.delete("/auth/v4/user/{user}/sshkey/{key}")
async def delete_ssh_key(
    user: str, key: ObjectId, session: Session, viewer: CurrentUser, actor: CurrentActor
) -> IdAnswer:
    """Remove a public key from an account."""
    found = await queries.by_id_or_email(session, user, visible_to=viewer)
    await service.delete_ssh_key(session, found, key, actor=actor)
    return IdAnswer(id=key)
