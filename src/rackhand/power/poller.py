"""Reads the power state of every BMC again and again, spread over the interval, in batches; and the PDUs.

A plain loop, no workflow: a reading that is lost is read again. One process per location holds the lease.
"""

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy import select

from rackhand.db import utcnow
from rackhand.hardware.errors import AuthFailed, HardwareError
from rackhand.hardware.interfaces import Endpoint
from rackhand.hardware.sweep import power_states
from rackhand.power.pdu_sweep import PduSweep
from rackhand.power.service import Observation, save_observations
from rackhand.servers.bmc import endpoint_of
from rackhand.servers.model import BmcAccess, Server
from rackhand.tasks.lease import LEASE, hold_lease
from rackhand.tasks.operation import Tools
from rackhand.vault import SecretUnreadable

log = structlog.get_logger()

SLICES = 12
SOON_SECONDS = 0.2


class Poller:
    """Sweeps a location, or all; `read_soon` puts servers first, their outlets before their BMCs."""

    def __init__(self, tools: Tools, *, holder: str, location_id: int | None = None) -> None:
        self._tools = tools
        self._holder = holder
        self._location_id = location_id
        self._soon: set[int] = set()
        self._asked = asyncio.Event()
        self.pdus = PduSweep(tools, holder=holder, read_soon=self.read_soon, location_id=location_id)

    def read_soon(self, server_id: int) -> None:
        """Have a server read in a moment, out of turn."""
        self._soon.add(server_id)
        self._asked.set()

    async def run(self) -> None:
        """Sweep until cancelled; the first round reads everything at once."""
        await asyncio.gather(self._run_rounds(), self._run_asked(), self.pdus.run())

    async def _run_rounds(self) -> None:
        pause = self._tools.settings.poll_interval / SLICES
        turn: int | None = None
        while True:
            started = asyncio.get_running_loop().time()
            try:
                if await hold_lease(self._tools.db, f"power {self._location_id or 0}", self._holder):
                    await self.sweep(part=turn)
                    turn = 0 if turn is None else (turn + 1) % SLICES
                else:
                    turn = None
            except Exception:
                log.exception("power sweep failed")
            spent = asyncio.get_running_loop().time() - started
            await asyncio.sleep(max(0.1, min(pause, LEASE.total_seconds() / 3) - spent))

    async def _run_asked(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await asyncio.sleep(SOON_SECONDS)
            asked, self._soon = self._soon, set()
            try:
                await self.pdus.sweep(server_ids=sorted(asked))
                await self.sweep(server_ids=sorted(asked))
            except Exception:
                log.exception("power reading failed")

    async def sweep(self, *, part: int | None = None, server_ids: Sequence[int] | None = None) -> int:
        """Read all servers, one slice of them, or the given ones; return how many were read."""
        query = select(Server.id, BmcAccess).join(BmcAccess, BmcAccess.server_id == Server.id)
        query = query.where(BmcAccess.refused_at.is_(None))
        if self._location_id is not None:
            query = query.where(Server.location_id == self._location_id)
        if part is not None:
            query = query.where(Server.id % SLICES == part)
        if server_ids is not None:
            query = query.where(Server.id.in_(server_ids))
        async with self._tools.db.read() as session:
            found = (await session.execute(query)).all()
        endpoints: dict[int, Endpoint] = {}
        for server_id, access in found:
            try:
                endpoints[server_id] = endpoint_of(access, self._tools.vault)
            except SecretUnreadable as error:
                log.error("bmc password unreadable", server=server_id, error=str(error))  # noqa: TRY400
        if not endpoints:
            return 0
        at = utcnow()
        answers = await power_states(self._tools.doors, endpoints)
        seen = {
            server_id: Observation(at, problem=str(answer), login_refused=isinstance(answer, AuthFailed))
            if isinstance(answer, HardwareError)
            else Observation(at, answer)
            for server_id, answer in answers.items()
        }
        async with self._tools.db.write() as session:
            changed = await save_observations(session, seen)
        log.info("power swept", servers=len(seen), changed=changed,
                 unreachable=sum(each.problem is not None for each in seen.values()))  # fmt: skip
        return len(seen)
