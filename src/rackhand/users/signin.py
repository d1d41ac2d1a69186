"""Signing in with a password, slow for those who guess, open for the right person from elsewhere."""

import contextlib
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import Database, utcnow
from rackhand.errors import TooManyRequests, Unauthenticated
from rackhand.events.service import Actor, Subject, record
from rackhand.users import tokens
from rackhand.users.model import AccountState, KnownAddress, SignInFailure, User
from rackhand.users.passwords import Queue, password_fits

WINDOW = timedelta(minutes=15)
PER_ACCOUNT_AND_ADDRESS = 5
PER_ADDRESS = 30
# Guesses at one account from everywhere: past this, only addresses that it is known to use may try.
PER_ACCOUNT = 50
REFUSED = "The e-mail address or the password is wrong."


async def sign_in(
    db: Database, *, email: str, password: str, address: str, request_id: str | None
) -> tokens.IssuedToken:
    """Check the password and open a session.

    The hash is computed between two transactions: it takes long, on purpose.
    """
    email = email.strip().lower()
    async with db.read() as session:
        user = (await session.scalars(select(User).where(User.email == email))).one_or_none()
        await _refuse_guessers(session, user, email=email, address=address)
    compared = user.password_hash if user else None
    fits = await password_fits(password, compared, queue=Queue.STRANGERS)
    async with db.write() as session:
        # Guesses that arrive together all pass the first look; they were written down before this one.
        await _refuse_guessers(session, user, email=email, address=address)
        user = (await session.scalars(select(User).where(User.email == email))).one_or_none()
        if user is None or not fits or user.password_hash != compared or user.state != AccountState.ACTIVE:
            session.add(SignInFailure(email=email, address=address, at=utcnow()))
            subject = Subject("user", user.id if user else None, email)
            record(session, "user.sign_in_refused", f"Sign-in as {email} was refused.", subject=subject,
                   actor=Actor(address=address, request_id=request_id))  # fmt: skip
        else:
            await _remember_address(session, user, address)
            own = (SignInFailure.email == email, SignInFailure.address == address)
            await session.execute(delete(SignInFailure).where(*own))
            actor = Actor(user.id, user.email, address, request_id)
            record(
                session,
                "user.signed_in",
                f"{user.email} signed in.",
                subject=Subject("user", user.id, user.email),
                actor=actor,
            )
            return await tokens.open_session(session, user, address=address)
    raise Unauthenticated(REFUSED)


async def _refuse_guessers(session: AsyncSession, user: User | None, *, email: str, address: str) -> None:
    recent = SignInFailure.at > utcnow() - WINDOW
    by_account = SignInFailure.email == email
    by_address = SignInFailure.address == address
    counts = select(
        func.count().filter(by_account & by_address).label("both"),
        func.count().filter(by_address).label("address"),
        func.count().filter(by_account).label("account"),
    ).where(recent, by_account | by_address)
    failures = (await session.execute(counts)).one()
    known = False
    if user is not None and failures.account >= PER_ACCOUNT:
        query = select(KnownAddress.id).where(
            KnownAddress.user_id == user.id, KnownAddress.address == address
        )
        known = (await session.execute(query)).first() is not None
    if (
        failures.both >= PER_ACCOUNT_AND_ADDRESS
        or failures.address >= PER_ADDRESS
        or (failures.account >= PER_ACCOUNT and not known)
    ):
        raise TooManyRequests(
            "Too many refused sign-ins. Wait 15 minutes, or sign in from an address used before.",
            retry_after=int(WINDOW.total_seconds()),
        )


async def _remember_address(session: AsyncSession, user: User, address: str) -> None:
    query = select(KnownAddress).where(KnownAddress.user_id == user.id, KnownAddress.address == address)
    known = (await session.scalars(query)).one_or_none()
    if known is None:
        # Of two that sign in at once from a new address, one adds it.
        with contextlib.suppress(IntegrityError):
            async with session.begin_nested():
                session.add(KnownAddress(user_id=user.id, address=address, last_seen_at=utcnow()))
    else:
        known.last_seen_at = utcnow()


async def forget_old_failures(session: AsyncSession) -> None:
    """Delete refused sign-ins that count no more."""
    await session.execute(delete(SignInFailure).where(SignInFailure.at < utcnow() - WINDOW))
