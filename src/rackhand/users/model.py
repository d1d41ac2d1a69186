"""Tables of accounts and of everything that lets somebody in."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rackhand.db import Base, Id


class Role(StrEnum):
    """What an account may do: everything, or use its own servers."""

    ADMIN = "@admin"
    USER = "@user"


class AccountState(StrEnum):
    """Whether an account may sign in."""

    ACTIVE = "active"
    BLOCKED = "blocked"


class TokenKind(StrEnum):
    """A session slides forward while it is used; an API token ends when it was said to."""

    SESSION = "session"
    API = "api"


class User(Base):
    """An account; `email` is kept in lower case."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    full_name: Mapped[str] = mapped_column(default="")
    phone_number: Mapped[str] = mapped_column(default="")
    password_hash: Mapped[str]
    role: Mapped[str]
    state: Mapped[str] = mapped_column(default=AccountState.ACTIVE)
    vlans_per_user: Mapped[int] = mapped_column(default=5)
    created_at: Mapped[datetime]

    def __repr__(self) -> str:
        return f"User({self.id}, {self.email!r})"

    @property
    def is_admin(self) -> bool:
        """Whether the account may do everything."""
        return self.role == Role.ADMIN


class Token(Base):
    """A bearer token; only its hash is kept."""

    __tablename__ = "token"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    kind: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    user: Mapped[User] = relationship()


class LoginKey(Base):
    """A key that is exchanged for a session once, soon after it was made."""

    __tablename__ = "login_key"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    expires_at: Mapped[datetime]


class SshKey(Base):
    """A public key that a user may have put on installed servers."""

    __tablename__ = "ssh_key"
    __table_args__ = (UniqueConstraint("user_id", "fingerprint"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    public_key: Mapped[str]
    fingerprint: Mapped[str]
    created_at: Mapped[datetime]


class SignInFailure(Base):
    """A refused sign-in; `email` is what was typed, known or not."""

    __tablename__ = "sign_in_failure"
    __table_args__ = (
        Index(None, "email", "at"),
        Index(None, "address", "at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    email: Mapped[str]
    address: Mapped[str]
    at: Mapped[datetime]


class KnownAddress(Base):
    """An address from which an account has signed in: guesses made elsewhere never lock it out."""

    __tablename__ = "known_address"
    __table_args__ = (UniqueConstraint("user_id", "address"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    address: Mapped[str]
    last_seen_at: Mapped[datetime]


class AuthSetting(Base):
    """A setting that is changed through the API, such as `token_ttl` in minutes."""

    __tablename__ = "auth_setting"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
