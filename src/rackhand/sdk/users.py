"""Accounts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict, Unpack

from rackhand.sdk.calls import Call, Done, Listing, deleting, getting, given, listing, path_of, posting

PATH = "dci/v3/user"
Role = Literal["@admin", "@user"]


@dataclass(frozen=True)
class User:
    """An account; `roles` is a text here, as published: `[@user]`."""

    id: int
    email: str
    roles: str = ""
    server_count: int = 0
    vlans_per_user: int = 0
    full_name: str = ""
    phone_number: str = ""
    state: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True)
class Account:
    """The account that is signed in."""

    id: int
    email: str
    roles: tuple[str, ...] = ()
    full_name: str = ""
    state: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether everything may be seen and done."""
        return "@admin" in self.roles


class UserChanges(TypedDict, total=False):
    """What an account may be given."""

    email: str
    password: str
    full_name: str
    phone_number: str
    role: Role
    vlans_per_user: int


def find(*, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0) -> Listing[User]:
    """List accounts; a user sees only its own."""
    return listing(PATH, User, where=where, orderby=orderby, limit=limit, offset=offset)


def get(id: int) -> Call[User]:
    """Show an account."""
    return getting(path_of(PATH, id), User)


def create(
    email: str, password: str, *, role: Role = "@user", full_name: str = "", phone_number: str = ""
) -> Call[Done]:
    """Add an account."""
    names = given(full_name=full_name, phone_number=phone_number)
    return posting(PATH, Done, {"email": email, "password": password, "role": role, **names})


def edit(id: int, **changes: Unpack[UserChanges]) -> Call[Done]:
    """Change an account."""
    return posting(path_of(PATH, id), Done, changes)


def delete(id: int) -> Call[Done]:
    """Delete an account that owns no server."""
    return deleting(path_of(PATH, id), Done)


def block(user: int | str) -> Call[Done]:
    """Keep an account out, by number or e-mail address; its sessions end at once."""
    return posting(path_of(PATH, user, "block"), Done)


def unblock(user: int | str) -> Call[Done]:
    """Let an account in again."""
    return posting(path_of(PATH, user, "unblock"), Done)


def set_password(user: int | str, password: str, *, old_password: str | None = None) -> Call[Done]:
    """Set a password; who changes its own says the old one too."""
    return posting(path_of(PATH, user, "password"), Done, given(password=password, old_password=old_password))
