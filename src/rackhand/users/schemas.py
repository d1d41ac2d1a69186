"""Bodies and rows of the auth service and of accounts."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    StrictInt,
    StrictStr,
    StringConstraints,
)

from rackhand.db import AnyRow, utcnow
from rackhand.http import words
from rackhand.http.wire import Body, BodyId, wire_time
from rackhand.users.model import Role as UserRole
from rackhand.users.model import SshKey, Token, User
from rackhand.users.service import MAX_PASSWORD, MAX_VLANS
from rackhand.users.tokens import IssuedToken

Text = Annotated[str, StringConstraints(max_length=255)]
Password = Annotated[SecretStr, Field(max_length=MAX_PASSWORD, examples=["correct horse"])]


def _role(word: str) -> UserRole:
    if word.lower() not in words.ROLES:
        raise ValueError(f"expected @admin or @user, got {word[:40]!r}")
    return UserRole(words.ROLES[word.lower()])


def _first(value: object) -> object:
    """`["@admin"]`, `"[@admin]"` and `"@admin"` mean the same."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value.strip("[]") if isinstance(value, str) else value


def _unless_blank(value: object) -> object:
    """A blank role leaves the role as it is: it must not make an administrator a user."""
    return None if _first(value) == "" else value


RoleWord = Annotated[str, StringConstraints(max_length=40), BeforeValidator(_first), AfterValidator(_role)]


def _moment(value: object) -> object:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("expected YYYY-MM-DD HH:MM:SS")  # noqa: TRY004  # pydantic answers only this one
    moment = datetime.fromisoformat(value.strip())
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError("the calendar ends before") from error


Moment = Annotated[datetime | None, BeforeValidator(_moment)]


class Credentials(Body):
    """E-mail address and password."""

    email: Text = Field(examples=["operator@example.com"])
    password: Password


class KeyBody(Body):
    """A single-use key."""

    key: Text


class CreateApiToken(Body):
    """A token for a program; without `expires_at` it lasts until it is revoked."""

    expires_at: Moment = Field(None, examples=["2030-01-01 00:00:00"])
    description: Text = Field("", examples=["billing"])


class TokenTtl(Body):
    """Minutes that an unused session lasts."""

    value: StrictStr | StrictInt = Field(examples=["60"])


class CreateUser(Body):
    """A new account."""

    email: Text = Field(examples=["admin@example.com"])
    full_name: Text = Field("", examples=["name"])
    password: Password
    phone_number: Text = Field("", examples=["phone"])
    role: RoleWord = Field(UserRole.USER, validation_alias=AliasChoices("role", "roles"), examples=["@user"])
    vlans_per_user: int = Field(5, ge=0, le=MAX_VLANS)


class EditUser(Body):
    """What to change of an account; absent keys stay as they are."""

    email: Text | None = None
    full_name: Text | None = None
    password: Password | None = None
    phone_number: Text | None = None
    role: Annotated[RoleWord | None, BeforeValidator(_unless_blank)] = Field(
        None, validation_alias=AliasChoices("role", "roles")
    )
    vlans_per_user: int | None = Field(None, ge=0, le=MAX_VLANS)


class ChangePassword(Body):
    """A new password; a user who changes its own says the old one too."""

    password: Password
    old_password: Password | None = None


class AddSshKey(Body):
    """A public key in OpenSSH's form."""

    name: Text = Field(examples=["laptop"])
    ssh_pub_key: Annotated[str, StringConstraints(max_length=16384)] = Field(
        validation_alias=AliasChoices("ssh_pub_key", "public_key"),
        examples=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ… laptop"],
    )


class TokenAnswer(BaseModel):
    """A session or token, shown this once."""

    id: BodyId
    token: str = Field(examples=["E6900A56BE7DF0FB28ED7BE7"])
    expires_at: str | None = Field(examples=["2030-01-01 00:00:00"])
    expires_in: int | None = Field(examples=[3600])
    confirmed: bool = True

    @classmethod
    def of(cls, issued: IssuedToken) -> "TokenAnswer":
        """As answered on sign-in."""
        left = (
            None
            if issued.expires_at is None
            else max(0, round((issued.expires_at - utcnow()).total_seconds()))
        )
        return cls(
            id=issued.id,
            token=issued.token,
            expires_at=wire_time(issued.expires_at),
            expires_in=left,
            confirmed=True,
        )


class SessionAnswer(BaseModel):
    """The older answer to a sign-in."""

    session: str


class KeyAnswer(BaseModel):
    """A key for one sign-in within the hour."""

    key: str


def user_row(row: AnyRow) -> dict[str, object]:
    """An account of `dci/v3/user`: `roles` is a string there, as published."""
    user: User = row[0]
    return {
        "id": user.id,
        "email": user.email,
        "server_count": row.server_count,
        "roles": f"[{user.role}]",
        "vlans_per_user": user.vlans_per_user,
        "full_name": user.full_name,
        "phone_number": user.phone_number,
        "state": user.state,
        "created_at": wire_time(user.created_at),
    }


def account_row(row: AnyRow) -> dict[str, object]:
    """An account of `vm/v3/account`: `roles` is an array there."""
    return {**user_row(row), "roles": [row[0].role]}


def token_row(token: Token) -> dict[str, object]:
    """A token without its secret."""
    return {
        "id": token.id,
        "kind": token.kind,
        "description": token.description,
        "address": token.address,
        "created_at": wire_time(token.created_at),
        "last_used_at": wire_time(token.last_used_at),
        "expires_at": wire_time(token.expires_at),
    }


def ssh_key_row(key: SshKey) -> dict[str, object]:
    """A public key."""
    return {
        "id": key.id,
        "name": key.name,
        "ssh_pub_key": key.public_key,
        "fingerprint": key.fingerprint,
        "created_at": wire_time(key.created_at),
    }
