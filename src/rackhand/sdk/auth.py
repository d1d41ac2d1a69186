"""Signing in and out, and tokens for programs."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from rackhand.sdk.calls import Call, Done, deleting, getting, given, path_of, posting
from rackhand.sdk.rows import read_row
from rackhand.sdk.users import Account


@dataclass(frozen=True)
class Session:
    """A token, shown this once; None: it lasts until it is revoked."""

    id: int
    token: str = field(repr=False)
    expires_at: datetime | None = None


def sign_in(email: str, password: str) -> Call[Session]:
    """Get a token that ends an hour after its last use; a client with e-mail and password does that by itself."""
    body = {"email": email, "password": password}
    return Call(
        "POST",
        "auth/v4/public/token",
        lambda answer: read_row(Session, answer),
        body=body,
        needs_token=False,
    )


def sign_out(token: str) -> Call[Done]:
    """Revoke a token."""
    return deleting(path_of("auth/v4/token", token), Done)


def create_token(*, description: str = "", expires_at: datetime | None = None) -> Call[Session]:
    """Make a token for a program; without *expires_at* it lasts until it is revoked."""
    until = None if expires_at is None else expires_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return posting("auth/v4/token", Session, given(description=description, expires_at=until))


def whoami() -> Call[Account]:
    """Show who is signed in."""
    return getting("auth/v4/whoami", Account)
