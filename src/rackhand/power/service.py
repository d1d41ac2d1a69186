"""Writing down what was seen of the power of servers.

`Server.power_state` is what is shown (api-facts 9): off when every outlet of the server is known to be off, else what
its BMC says; without a BMC, what its outlets say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.db import id_in
from rackhand.errors import Conflict
from rackhand.events.service import SYSTEM, Subject, record
from rackhand.hardware.interfaces import PowerState
from rackhand.power.queries import mains_of
from rackhand.servers.model import BmcAccess, Server
from rackhand.servers.service import SUBJECT


@dataclass(frozen=True)
class Observation:
    """A reading: a state, or the reason why there is none."""

    at: datetime
    state: PowerState = PowerState.UNKNOWN
    problem: str | None = None
    login_refused: bool = False


async def save_observations(session: AsyncSession, seen: Mapping[int, Observation]) -> int:
    """Write readings by server id, in a fixed number of statements; an older one never replaces a newer one.

    Gives the number of servers whose state changed; each change is an event. An unreachable BMC makes the state
    unknown, with the time since when, unless it has no mains; the last good reading keeps its time.
    """
    if not seen:
        return 0
    columns = (
        Server.id,
        Server.name,
        Server.owner_id,
        Server.power_state,
        Server.power_state_at,
        Server.power_error_at,
    )
    before = (await session.execute(select(*columns).where(Server.id.in_(seen)))).all()
    mains = await mains_of(session, list(seen))
    good, bad, refused, changed = [], [], [], 0
    for server in before:
        found = seen[server.id]
        if server.power_state_at is not None and server.power_state_at > found.at:
            continue
        is_dead = mains.get(server.id) is PowerState.OFF
        state = PowerState.OFF if is_dead else found.state
        if found.problem is None:
            good.append({"id": server.id, "power_state": state, "power_state_at": found.at,
                         "power_error": None, "power_error_at": None})  # fmt: skip
        else:
            since = server.power_error_at or found.at
            bad.append({"id": server.id, "power_state": state, "power_error": found.problem[:500],
                        "power_error_at": since})  # fmt: skip
            if found.login_refused:
                refused.append(server.id)
        if server.power_state != state:
            changed += 1
            words = (
                f"Server {server.name} is {state}."
                if found.problem is None or is_dead
                else f"The BMC of {server.name} cannot be read: {found.problem}"
            )
            subject = Subject(SUBJECT, server.id, server.name, server.owner_id)
            change = {"from": server.power_state, "to": state}
            record(session, "server.power_seen", words, subject=subject, actor=SYSTEM, data=change)
    for rows in (good, bad):
        if rows:
            await session.execute(update(Server), rows)
    if refused:
        await session.execute(
            update(BmcAccess)
            .where(BmcAccess.server_id.in_(refused), BmcAccess.refused_at.is_(None))
            .values(refused_at=max(seen[each].at for each in refused), refusal=seen[refused[0]].problem)
        )
    return changed


async def settle_mains(
    session: AsyncSession, server_ids: Sequence[int], at: datetime, *, tells: bool
) -> None:
    """Make the shown state of servers follow their outlets, of which something was written down at *at*.

    What a BMC says stands, except for a server without mains. *tells* adds an event for each change; an operation's
    task tells its story itself.
    """
    mains = await mains_of(session, server_ids)
    columns = (Server.id, Server.name, Server.owner_id, Server.power_state, Server.power_state_at)
    query = (
        select(*columns, BmcAccess.id.label("bmc_id"))
        .outerjoin(BmcAccess, BmcAccess.server_id == Server.id)
        .where(id_in(Server.id, server_ids))
    )
    rows = []
    for server in await session.execute(query):
        state = mains.get(server.id, PowerState.UNKNOWN)
        if server.bmc_id is not None and state is not PowerState.OFF:
            continue
        seen_at = server.power_state_at if state is PowerState.UNKNOWN else at
        rows.append({"id": server.id, "power_state": state, "power_state_at": seen_at})
        if tells and server.power_state != state:
            subject = Subject(SUBJECT, server.id, server.name, server.owner_id)
            change = {"from": server.power_state, "to": state}
            words = f"Server {server.name} is {state}, by its outlets."
            record(session, "server.power_seen", words, subject=subject, actor=SYSTEM, data=change)
    if rows:
        await session.execute(update(Server), rows)


async def save_state(session: AsyncSession, server_id: int, state: PowerState, at: datetime) -> None:
    """Write one reading of an operation: its task tells the story, so there is no event."""
    await session.execute(
        update(Server)
        .where(Server.id == server_id, or_(Server.power_state_at.is_(None), Server.power_state_at <= at))
        .values(power_state=state, power_state_at=at, power_error=None, power_error_at=None)
    )


def refuse_wrong_state(server: Server, wanted: PowerState) -> None:
    """Refuse to switch on what is on and off what is not on (api-facts 9).

    Raises `Conflict`; the caller has the state read again, for it may be old.
    """
    seen = f"as read at {server.power_state_at:%H:%M:%S} UTC" if server.power_state_at else "never read"
    advice = "If that is wrong, try again in a few seconds: it is being read."
    if wanted == PowerState.ON and server.power_state == PowerState.ON:
        raise Conflict(
            f"Server {server.id} is on already ({seen}). {advice}",
            value={"power_status": server.power_state},
        )
    if wanted == PowerState.OFF and server.power_state != PowerState.ON:
        words = "off already" if server.power_state == PowerState.OFF else "not known to be on"
        raise Conflict(
            f"Server {server.id} is {words} ({seen}). {advice}",
            value={"power_status": server.power_state},
        )
