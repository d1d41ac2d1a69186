"""The rules of accounts."""

import base64
import binascii
import hashlib
import re
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import utcnow
from rackhand.errors import Conflict, Forbidden, Invalid, NotFound
from rackhand.events.service import Actor, Subject, record
from rackhand.users import tokens
from rackhand.users.model import AccountState, Role, SshKey, User
from rackhand.users.passwords import hash_password

# The published example sets a password of four characters.
MIN_PASSWORD = 4
MAX_PASSWORD = 1024
MAX_VLANS = 4094
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")
KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-")


def normalise_email(text: str) -> str:
    """An address in lower case; only its form is checked."""
    email = text.strip().lower()
    if not _EMAIL.fullmatch(email):
        raise Invalid(f"email: {text[:80]!r} is no e-mail address.")
    return email


def check_password(password: str) -> str:
    """Refuse passwords that are too short to mean it or too long to hash."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Invalid(f"password: expected {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
    return password


def subject_of(user: User) -> Subject:
    """An account as the subject of an event; it sees its own."""
    return Subject("user", user.id, user.email, owner_id=user.id)


async def create_user(
    session: AsyncSession,
    *,
    email: str,
    password: str,
    role: Role,
    actor: Actor,
    full_name: str = "",
    phone_number: str = "",
    vlans_per_user: int = 5,
) -> User:
    """Add an account; a known address is a conflict."""
    user = User(
        email=normalise_email(email),
        full_name=full_name,
        phone_number=phone_number,
        password_hash=await hash_password(check_password(password)),
        role=role,
        state=AccountState.ACTIVE,
        vlans_per_user=vlans_per_user,
        created_at=utcnow(),
    )
    await _save(session, user)
    record(
        session,
        "user.created",
        f"Account {user.email} was created as {role}.",
        subject=subject_of(user),
        actor=actor,
    )
    return user


async def edit_user(
    session: AsyncSession,
    user: User,
    *,
    actor: Actor,
    email: str | None = None,
    full_name: str | None = None,
    phone_number: str | None = None,
    role: Role | None = None,
    vlans_per_user: int | None = None,
) -> None:
    """Change what is given; losing the administrator's role ends the account's sessions."""
    changed = []
    if role is not None and role != user.role:
        await _keep_an_admin(session, user, actor, "lose the administrator's role")
        user.role = role
        await tokens.revoke_all(session, user)
        changed.append("role")
    if email is not None and (email := normalise_email(email)) != user.email:
        user.email = email
        changed.append("email")
    for name, value in (
        ("full_name", full_name),
        ("phone_number", phone_number),
        ("vlans_per_user", vlans_per_user),
    ):
        if value is not None and value != getattr(user, name):
            setattr(user, name, value)
            changed.append(name)
    await _save(session, user)
    if changed:
        message = f"Account {user.email}: {', '.join(changed)} changed."
        record(session, "user.edited", message, subject=subject_of(user), actor=actor)


async def set_password(
    session: AsyncSession, user: User, password: str, *, actor: Actor, keep_token: int | None = None
) -> None:
    """Change a password; every other session of the account ends. One administrator cannot change another's."""
    if user.is_admin and actor.user_id not in {None, user.id}:
        raise Forbidden("An administrator cannot change the password of another one.")
    user.password_hash = await hash_password(check_password(password))
    await tokens.revoke_all(session, user, except_id=keep_token)
    record(
        session,
        "user.password_changed",
        f"The password of {user.email} was changed.",
        subject=subject_of(user),
        actor=actor,
    )


async def block(session: AsyncSession, user: User, *, actor: Actor) -> None:
    """Keep an account out and end its sessions; safe to repeat."""
    if user.state == AccountState.BLOCKED:
        return
    await _keep_an_admin(session, user, actor, "be blocked")
    user.state = AccountState.BLOCKED
    await tokens.revoke_all(session, user)
    record(
        session, "user.blocked", f"Account {user.email} was blocked.", subject=subject_of(user), actor=actor
    )


async def unblock(session: AsyncSession, user: User, *, actor: Actor) -> None:
    """Let an account in again; safe to repeat."""
    if user.state == AccountState.ACTIVE:
        return
    user.state = AccountState.ACTIVE
    record(
        session,
        "user.unblocked",
        f"Account {user.email} was unblocked.",
        subject=subject_of(user),
        actor=actor,
    )


async def delete_user(session: AsyncSession, user: User, *, actor: Actor) -> None:
    """Delete an account that owns nothing."""
    await _keep_an_admin(session, user, actor, "be deleted")
    subject = subject_of(user)
    try:
        async with session.begin_nested():
            await session.execute(delete(User).where(User.id == user.id))
    except IntegrityError as error:
        raise Conflict(
            f"Account {user.email} still owns servers or other objects. Release them first."
        ) from error
    session.expunge(user)
    record(session, "user.deleted", f"Account {subject.name} was deleted.", subject=subject, actor=actor)


async def _keep_an_admin(session: AsyncSession, user: User, actor: Actor, fate: str) -> None:
    if not user.is_admin:
        return
    if user.id == actor.user_id:
        raise Conflict(f"You cannot have your own account {fate}. Ask another administrator.")
    # Locked, so that of two administrators who remove each other at once the second finds the first gone.
    is_active_admin = (User.role == Role.ADMIN, User.state == AccountState.ACTIVE)
    admins = select(User.id).where(*is_active_admin).order_by(User.id).with_for_update()
    if set(await session.scalars(admins)) <= {user.id}:
        raise Conflict(f"{user.email} is the last administrator and cannot {fate}.")


async def _save(session: AsyncSession, user: User) -> None:
    email = user.email
    try:
        async with session.begin_nested():
            session.add(user)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(f"There is an account {email} already.") from error


class ParsedKey(NamedTuple):
    """A public key in its canonical text, and its SHA256 fingerprint as OpenSSH prints it."""

    text: str
    fingerprint: str


def parse_ssh_key(text: str) -> ParsedKey:
    """Read one OpenSSH public key (`type base64 comment`)."""
    words = text.split(None, 2)
    if len(words) < 2 or not words[0].startswith(KEY_TYPES):  # noqa: PLR2004  # type and key
        raise Invalid(f"ssh_pub_key: expected `ssh-ed25519 AAAA…`, got {text[:40]!r}.")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("ssh_pub_key: the second word is no base64.") from error
    # RFC 4253, 6.6: the blob begins with its type as a length-prefixed string.
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != words[0].encode() or len(blob) <= 4 + length:
        raise Invalid("ssh_pub_key: the key does not hold what its first word says.")
    comment = " ".join(words[2].split()) if len(words) > 2 else ""  # noqa: PLR2004
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return ParsedKey(f"{words[0]} {words[1]} {comment}".strip(), f"SHA256:{digest}")


async def add_ssh_key(
    session: AsyncSession, user: User, *, name: str, public_key: str, actor: Actor
) -> SshKey:
    """Keep a public key of *user*; the same key twice is a conflict."""
    parsed = parse_ssh_key(public_key)
    key = SshKey(
        user_id=user.id,
        name=name,
        public_key=parsed.text,
        fingerprint=parsed.fingerprint,
        created_at=utcnow(),
    )
    try:
        async with session.begin_nested():
            session.add(key)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(f"The key {parsed.fingerprint} is there already.") from error
    record(
        session,
        "user.ssh_key_added",
        f"SSH key {name!r} of {user.email} was added.",
        subject=subject_of(user),
        actor=actor,
    )
    return key


async def delete_ssh_key(session: AsyncSession, user: User, key_id: int, *, actor: Actor) -> None:
    """Forget a public key."""
    key = await session.get(SshKey, key_id)
    if key is None or key.user_id != user.id:
        raise NotFound(f"{user.email} has no SSH key {key_id}.")
    await session.delete(key)
    record(
        session,
        "user.ssh_key_deleted",
        f"SSH key {key.name!r} of {user.email} was deleted.",
        subject=subject_of(user),
        actor=actor,
    )
