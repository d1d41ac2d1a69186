"""Has the name servers say what is wanted: look, act, read back.

What is wanted stands in a row, so a task, the sweep and a second worker may all come; one of them holds the row at a
time, for longer than its talk with the name server can take.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

import structlog
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import Database, utcnow
from rackhand.dns.drivers import DNS_DRIVERS
from rackhand.dns.interfaces import NameServer, PtrChange
from rackhand.events.service import SYSTEM, Subject, record
from rackhand.hardware.errors import (
    AuthFailed,
    HardwareError,
    Refused,
    Retryable,
    Timeout,
    Unreachable,
    Unsupported,
)
from rackhand.ipam import dns
from rackhand.ipam.model import Address, DnsServer, DnsZone, PtrRecord, PtrState
from rackhand.servers.access import endpoint_of
from rackhand.servers.model import Server
from rackhand.tasks.lease import LEASE, hold_lease
from rackhand.tasks.operation import Tools
from rackhand.vault import SecretUnreadable

log = structlog.get_logger()

TALK_SECONDS = 20.0
HELD = timedelta(seconds=60)
RETRY_SECONDS = (30, 60, 120, 300, 900, 3600)
SWEEP_SECONDS = 5.0
AT_ONCE = 8
BATCH = 500
SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class _Held:
    """One wish that this process alone follows now."""

    record_id: int
    holder: str
    generation: int
    server: DnsServer
    change: PtrChange


# --- one address


async def follow(tools: Tools, record_id: int, *, holder: str, name_server: NameServer | None = None) -> str:
    """Make the name server say what is wanted of one address, and see that it does; the words say how that went.

    A name server that does not follow is tried again by the sweep: that is no error of the caller. Safe to repeat, and
    to be cut off at any moment. *holder* is who asks; the same one goes on with what it began before it was cut off.
    """
    while True:
        held = await _hold(tools.db, record_id, holder)
        if held is None:
            return "nothing is left to do here"
        error: HardwareError | None = None
        words = ""
        try:
            words = await _talk(tools, held, name_server)
        except HardwareError as failed:
            error = failed
        is_last = await _let_go(tools.db, held, error)
        if error is not None and name_server is not None:
            raise error
        if is_last:
            return words if error is None else f"{error} It is tried again."


async def _talk(tools: Tools, held: _Held, name_server: NameServer | None) -> str:
    try:
        async with asyncio.timeout(TALK_SECONDS):
            if name_server is not None:
                return await _make_so(name_server, held.change)
            async with open_name_server(tools, held.server) as opened:
                return await _make_so(opened, held.change)
    except TimeoutError as error:
        raise Timeout(f"DNS server {held.server.name} did not answer within {TALK_SECONDS:g} s.") from error


async def _make_so(name_server: NameServer, change: PtrChange) -> str:
    wanted = () if change.target is None else (change.target,)
    says = change.target or "no name"
    if await name_server.ptr(change.zone, change.name) == wanted:
        return f"{change.name} says {says} already"
    await name_server.apply(change)
    found = await name_server.ptr(change.zone, change.name)
    if found != wanted:
        raise Refused(
            f"The change of {change.name} to {says} was taken, and yet it says {', '.join(found) or 'nothing'}."
        )
    return f"{change.name} says {says}"


@asynccontextmanager
async def open_name_server(
    tools: Tools, server: DnsServer, slots: asyncio.Semaphore | None = None
) -> AsyncIterator[NameServer]:
    """Talk to a name server."""
    try:
        endpoint = endpoint_of(server, tools.vault)
        name_server = DNS_DRIVERS[server.driver].connect(endpoint, slots or asyncio.Semaphore(AT_ONCE))
    except SecretUnreadable as error:
        raise Unsupported(f"{error} Set the access of DNS server {server.name} anew.") from error
    except ValueError as error:
        raise Unsupported(f"The access to DNS server {server.name} is wrong: {error}.") from error
    try:
        yield name_server
    finally:
        await name_server.close()


async def _hold(db: Database, record_id: int, holder: str) -> _Held | None:
    """Take a wish that is not followed yet; None when there is none, or another one is at it."""
    now = utcnow()
    is_free = or_(PtrRecord.held_until.is_(None), PtrRecord.held_until < now, PtrRecord.holder == holder)
    take = (
        update(PtrRecord)
        .where(PtrRecord.id == record_id, PtrRecord.state != PtrState.PUBLISHED, is_free)
        .values(holder=holder, held_until=now + HELD)
        .returning(PtrRecord.generation)
    )
    async with db.write() as session:
        generation = await session.scalar(take)
        found = await dns.change_of(session, record_id) if generation is not None else None
    return None if found is None or generation is None else _Held(record_id, holder, generation, *found)


async def _let_go(db: Database, held: _Held, error: HardwareError | None) -> bool:
    """Write down how it went; False when something else is wanted by now."""
    async with db.write() as session:
        query = select(PtrRecord).where(PtrRecord.id == held.record_id).with_for_update()
        wish = (await session.scalars(query)).one_or_none()
        await _note_server(session, held.server.id, error)
        if wish is None or wish.holder != held.holder:
            return True
        if wish.generation != held.generation:
            return False
        wish.holder = wish.held_until = None
        if error is None:
            await _settle(session, wish)
        else:
            await _postpone(session, wish, error)
    return True


async def _settle(session: AsyncSession, wish: PtrRecord) -> None:
    subject = await _subject_of(session, wish)
    if wish.attempts:
        await dns.show(session, wish.userspace_id, wish.key, None)
    if wish.target:
        wish.state, wish.published_at, wish.attempts, wish.error = PtrState.PUBLISHED, utcnow(), 0, None
        record(session, "ip.ptr_published", f"The reverse name of {wish.name} is {wish.target}.", subject=subject,
               actor=SYSTEM)  # fmt: skip
        return
    record(session, "ip.ptr_removed", f"{wish.name} has no reverse name.", subject=subject, actor=SYSTEM)
    await session.execute(delete(PtrRecord).where(PtrRecord.id == wish.id))


async def _postpone(session: AsyncSession, wish: PtrRecord, error: HardwareError) -> None:
    pause = RETRY_SECONDS[min(wish.attempts, len(RETRY_SECONDS) - 1)]
    wish.state, wish.error = PtrState.FAILED, str(error)[:500]
    wish.attempts, wish.try_at = wish.attempts + 1, utcnow() + timedelta(seconds=pause)
    info = {"status": "failed", "name": wish.target, "error": wish.error, "attempts": wish.attempts,
            "next_try_at": f"{wish.try_at:%Y-%m-%d %H:%M:%S}"}  # fmt: skip
    await dns.show(session, wish.userspace_id, wish.key, info)
    if wish.attempts == 1:
        words = f"The reverse name of {wish.name} is not set yet: {error}"
        record(session, "ip.ptr_failed", words, subject=await _subject_of(session, wish), actor=SYSTEM)


async def _subject_of(session: AsyncSession, wish: PtrRecord) -> Subject:
    query = (
        select(Address.id, Server.owner_id)
        .outerjoin(Server, Server.id == Address.server_id)
        .where(Address.userspace_id == wish.userspace_id, Address.key == wish.key)
    )
    found = (await session.execute(query)).one_or_none()
    return Subject("ip", found.id if found else None, wish.name, found.owner_id if found else None)


async def _note_server(session: AsyncSession, server_id: int, error: HardwareError | None) -> None:
    now = utcnow()
    this = update(DnsServer).where(DnsServer.id == server_id)
    if error is not None:
        since = func.coalesce(DnsServer.error_at, now)
        await session.execute(this.values(error=str(error)[:500], error_at=since))
        return
    is_old = or_(
        DnsServer.seen_at.is_(None), DnsServer.seen_at < now - SEEN_EVERY, DnsServer.error.is_not(None)
    )
    await session.execute(this.where(is_old).values(seen_at=now, error=None, error_at=None))


# --- all that is due


class PtrSweep:
    """Follows what no task did, and what failed; one process at a time holds the lease."""

    def __init__(self, tools: Tools, *, holder: str) -> None:
        self._tools = tools
        self._holder = holder

    async def run(self) -> None:
        """Sweep until cancelled."""
        renew_at, is_mine = 0.0, False
        while True:
            try:
                if monotonic() >= renew_at:
                    is_mine = await hold_lease(self._tools.db, "reverse names", self._holder)
                    renew_at = monotonic() + LEASE.total_seconds() / 3
                if is_mine:
                    await self.sweep()
            except Exception:
                log.exception("reverse name sweep failed")
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> int:
        """Follow what is due; return how much that was. Servers that are gone cost one timeout together."""
        now = utcnow()
        query = (
            select(DnsZone.dns_server_id, PtrRecord.id)
            .join(DnsZone, DnsZone.id == PtrRecord.zone_id)
            .where(
                PtrRecord.state != PtrState.PUBLISHED,
                PtrRecord.try_at <= now,
                or_(PtrRecord.held_until.is_(None), PtrRecord.held_until < now),
            )
            .order_by(PtrRecord.try_at)
            .limit(BATCH)
        )
        due: dict[int, list[int]] = {}
        async with self._tools.db.read() as session:
            for server_id, record_id in await session.execute(query):
                due.setdefault(server_id, []).append(record_id)
            servers = {server_id: await session.get_one(DnsServer, server_id) for server_id in due}
        await asyncio.gather(*(self._follow_all(servers[server_id], ids) for server_id, ids in due.items()))
        return sum(len(ids) for ids in due.values())

    async def _follow_all(self, server: DnsServer, record_ids: Sequence[int]) -> None:
        """Talk to one name server; when it does not answer at all, the rest waits for the next try."""
        left = list(reversed(record_ids))
        gone: HardwareError | None = None
        in_a_row = 0

        async def work(name_server: NameServer) -> None:
            nonlocal gone, in_a_row
            while left and gone is None:
                try:
                    await follow(self._tools, left.pop(), holder=self._holder, name_server=name_server)
                    in_a_row = 0
                except HardwareError as error:
                    # One name may be refused, and a server be busy for a moment; each says so itself.
                    in_a_row += isinstance(error, Retryable)
                    if isinstance(error, Unreachable | AuthFailed) or in_a_row >= AT_ONCE:
                        gone = error

        try:
            async with open_name_server(self._tools, server) as name_server:
                await asyncio.gather(*(work(name_server) for _ in range(min(AT_ONCE, len(left)))))
        except HardwareError as error:
            gone = error
        if gone is not None and left:
            async with self._tools.db.write() as session:
                query = select(PtrRecord).where(PtrRecord.id.in_(left), PtrRecord.state != PtrState.PUBLISHED)
                for wish in (await session.scalars(query.with_for_update())).all():
                    await _postpone(session, wish, gone)
                await _note_server(session, server.id, gone)
