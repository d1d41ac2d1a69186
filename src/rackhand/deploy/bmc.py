"""Setting up the BMC of a server in a diagnosis: a user of ours, an address of a pool, and the access to it.

The agent does it from inside of the machine and reads it back. The access is stored when this program has signed in
with it over the network, and not before; until then, and when nothing comes of it, the one of before counts. Nothing
of this ends a diagnosis: what went wrong stands in its findings.
"""

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.boot import agents, task_secrets
from rackhand.db import utcnow
from rackhand.deploy import findings
from rackhand.deploy.steps import ask_agent, lock_task
from rackhand.errors import RackhandError
from rackhand.events.service import SYSTEM, record
from rackhand.hardware.connect import open_bmc
from rackhand.hardware.drivers import DRIVERS
from rackhand.hardware.errors import AuthFailed, HardwareError, Retryable
from rackhand.hardware.interfaces import Endpoint
from rackhand.ipam import bmc_addresses
from rackhand.servers import queries, service
from rackhand.servers.bmc import endpoint_of
from rackhand.servers.model import Server
from rackhand.tasks.operation import Done, StepContext, StepFailed, Wait
from rackhand.vault import SecretUnreadable

log = structlog.get_logger()

USER = "rackhand"
PASSWORD = "bmc_password"  # noqa: S105  # the name under which a task keeps it
PASSWORD_LENGTH = 16  # what BMCs of before IPMI 2.0 take as well
ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))
SIGN_IN_TRIES = 3  # few enough for BMCs that lock an account
LOOK_EVERY = timedelta(seconds=3)
NOT_ASKED = "not asked for"

Json = dict[str, Any]


def make_password() -> str:
    """A password of letters and digits, with one of each kind, for BMCs that insist on it."""
    while True:
        password = "".join(secrets.choice(ALPHABET) for _ in range(PASSWORD_LENGTH))
        kinds = (str.islower, str.isupper, str.isdigit)
        if all(any(map(kind, password)) for kind in kinds):
            return password


# --- steps


async def choose_bmc_access(ctx: StepContext, server: Server) -> Done:
    """Keep a password and, of the pool, an address for the BMC. Safe to repeat: a task chooses once."""
    if not ctx.params.set_up_bmc:
        return Done(NOT_ASKED)
    if "bmc" in ctx.memo:
        return Done()
    chosen: Json = {"address": None, "was": None}
    problem = ""
    async with ctx.tools.db.write() as session:
        await lock_task(session, ctx.task_id)
        kept = await task_secrets.read(session, ctx.tools.vault, ctx.task_id)
        if PASSWORD not in kept:
            password = _own_password(ctx, server) or make_password()
            await task_secrets.keep(session, ctx.tools.vault, ctx.task_id, {PASSWORD: password})
        inventory = await agents.last_command(session, ctx.task_id, "take_inventory")
        found = findings.parse(findings.Inventory, inventory.result if inventory else None).bmc
        if found is not None:
            chosen["was"] = found.model_dump(include={"address", "netmask", "gateway", "is_static"})
        if ctx.params.bmc_pool:
            try:
                address = await bmc_addresses.take_for_bmc(
                    session, server, pool_id=ctx.params.bmc_pool, task_id=ctx.task_id, actor=SYSTEM
                )
            except RackhandError as error:
                problem = str(error)
            else:
                chosen["address"] = {
                    "address": address.name, "netmask": address.netmask, "gateway": address.gateway,
                    "is_static": True,
                }  # fmt: skip
    if problem:
        return await _flag(ctx, problem)
    await ctx.remember(bmc=chosen)
    return Done(chosen["address"]["address"] if chosen["address"] else "the BMC keeps its address")


def _own_password(ctx: StepContext, server: Server) -> str:
    """The password of the access where that is our user's already: then it stays valid whatever happens."""
    if server.bmc is None or server.bmc.user != USER or server.bmc.refused_at is not None:
        return ""
    try:
        password = endpoint_of(server.bmc, ctx.tools.vault).password
    except SecretUnreadable:
        return ""
    return password if len(password) <= PASSWORD_LENGTH else ""


async def set_up_bmc(ctx: StepContext, _server: Server) -> Done | Wait:
    """Have the agent set the BMC up from inside of the machine. Safe to repeat."""
    if "bmc" not in ctx.memo:
        return Done(_why_not(ctx))
    if not ctx.memo.get("is_bmc_touched"):
        await ctx.remember(is_bmc_touched=True)
    args = {"user": USER, "lan": ctx.memo["bmc"]["address"], task_secrets.SECRETS: [PASSWORD]}
    try:
        answer = await ask_agent(ctx, "set_up_bmc", args, words="the set-up of the BMC")
        if isinstance(answer, Wait):
            return answer
        done = findings.parse(findings.BmcSetUp, answer)
    except StepFailed as error:
        return await _flag(ctx, str(error))
    await ctx.remember(bmc_done=done.model_dump())
    if done.problem:
        return await _flag(ctx, done.problem)
    return Done(f"user {done.user} in slot {done.slot}, at {done.lan.address}")


async def sign_in_to_bmc(ctx: StepContext, server: Server) -> Done | Wait:
    """Sign in with the new access over the network, and store it. Safe to repeat.

    When that does not work, the BMC is put back to where it was, and the access of before goes on.
    """
    if not ctx.memo.get("is_bmc_touched") or _is_as_before(ctx, server):
        return await _give_up(ctx, server)
    if not ctx.memo.get("is_bmc_lost"):
        outcome = await _try_to_store(ctx, server)
        if outcome is not None:
            return outcome
        await ctx.remember(is_bmc_lost=True)
    if not ctx.memo.get("is_bmc_back"):
        wait = await _put_back(ctx, server)
        if wait is not None:
            return wait
        await ctx.remember(is_bmc_back=True)
    if server.bmc is not None and server.bmc.user == USER:
        outcome = await _try_to_store(ctx, server)  # its password may be the new one
        if outcome is not None:
            return outcome
    return await _give_up(ctx, server)


def _is_as_before(ctx: StepContext, server: Server) -> bool:
    """Whether the set-up failed and the access of before is as good as it was."""
    if "bmc_problem" not in ctx.memo or server.bmc is None or server.bmc.user == USER:
        return False
    done = ctx.memo.get("bmc_done")
    return done is None or done["lan"]["address"] == (ctx.memo["bmc"]["was"] or {}).get("address")


async def _give_up(ctx: StepContext, server: Server) -> Done:
    if ctx.memo.get("is_bmc_touched") and not ctx.memo.get("is_bmc_settled"):
        await release_bmc_address(ctx, server)
        await ctx.remember(is_bmc_settled=True)
    return Done(_why_not(ctx))


async def settle_bmc(ctx: StepContext, server: Server) -> None:
    """Find out which access is valid when a task ends in the middle of it, before its power is taken back.

    Safe to repeat. An address that the BMC may have taken or not stays kept back.
    """
    if not ctx.memo.get("is_bmc_touched") or ctx.memo.get("is_bmc_settled"):
        return
    outcome = await _try_to_store(ctx, server)
    if isinstance(outcome, Wait):
        raise Retryable(f"Waiting for {outcome.reason}.")
    if outcome is None:
        await _keep_in_doubt(ctx, server)
    await ctx.remember(is_bmc_settled=True)


async def release_bmc_address(ctx: StepContext, server: Server) -> None:
    """Give back an address that the BMC was not given after all. Safe to repeat."""
    async with ctx.tools.db.write() as session:
        await lock_task(session, ctx.task_id)
        await bmc_addresses.release_unused(session, server_id=server.id, ended_task=ctx.task_id)


def problems_of(ctx: StepContext) -> Sequence[str]:
    """What went wrong, for the findings."""
    problem = ctx.memo.get("bmc_problem")
    return [f"The BMC was not set up: {problem}".rstrip(".")] if problem else []


def place_of(ctx: StepContext) -> Mapping[str, Any]:
    """Where the BMC is now, for the findings; empty where it was not set up."""
    return (ctx.memo.get("bmc_done") or {}).get("lan") or {}


# --- signing in


def _ways(ctx: StepContext, server: Server, password: str) -> list[Endpoint]:
    """What to try, in this order: the driver that the server has, then IPMI; where the BMC is, then where it may be."""
    old, chosen, done = server.bmc, ctx.memo["bmc"], ctx.memo.get("bmc_done")
    wanted, was = (chosen["address"] or {}).get("address"), (chosen["was"] or {}).get("address")
    kept = was if old is None else old.host  # where it is reached as long as it is not moved
    is_moved = wanted is not None and (done is None or done["lan"]["address"] == wanted)
    hosts = [wanted, kept] if is_moved and done is None else [wanted if is_moved else kept]
    if not any(hosts) and done is not None:
        hosts = [done["lan"]["address"]]
    ipmi: tuple[str, int, Mapping[str, str]] = ("ipmi", DRIVERS["ipmi"].port, {})
    known: list[tuple[str, int, Mapping[str, str]]] = (
        [] if old is None else [(old.driver, old.port, old.settings)]
    )
    kinds = known if old is not None and old.driver == "ipmi" else [*known, ipmi]
    return [
        Endpoint(driver, host, port, USER, password, settings)
        for driver, port, settings in kinds
        for host in dict.fromkeys(filter(None, hosts))
    ]


async def _try_to_store(ctx: StepContext, server: Server) -> Done | Wait | None:
    """Sign in by one way after the other, each for as long as is waited for a BMC; None when no way is left."""
    try:
        async with ctx.tools.db.read() as session:
            kept = await task_secrets.read(session, ctx.tools.vault, ctx.task_id)
    except SecretUnreadable as error:
        await _flag(ctx, str(error))
        return None
    if PASSWORD not in kept:
        await _flag(ctx, "the password of the task is gone.")
        return None
    ways = _ways(ctx, server, kept[PASSWORD])
    trying: Json = ctx.memo.setdefault("bmc_trying", _start_trying())
    while trying["way"] < len(ways):
        way = ways[trying["way"]]
        words = f"{way.driver} at {way.host}:{way.port}"
        problem = await _sign_in(ctx, replace(way, generation=-1 - trying["tries"]))
        if problem is None:
            try:
                return await _store(ctx, server.id, way)
            except RackhandError as error:
                await _flag(ctx, str(error))
                return None
        trying["tries"] += isinstance(problem, AuthFailed)
        waited = utcnow().timestamp() - trying["since"]
        may_pass = isinstance(problem, AuthFailed | Retryable) and waited < ctx.tools.settings.bmc_patience
        if may_pass and trying["tries"] < SIGN_IN_TRIES:
            return Wait(f"the BMC to let {USER} in: {words}", every=LOOK_EVERY)
        said = [*trying["said"], f"{words}: {problem}"]
        trying |= {**_start_trying(), "way": trying["way"] + 1, "said": said}
        await ctx.remember(bmc_trying=trying)
    await _flag(ctx, f"nobody could sign in as {USER}. {' '.join(trying['said'])}")
    return None


def _start_trying() -> Json:
    return {"way": 0, "tries": 0, "since": utcnow().timestamp(), "said": []}


async def _sign_in(ctx: StepContext, endpoint: Endpoint) -> HardwareError | None:
    try:
        async with open_bmc(ctx.tools.doors, endpoint) as bmc:
            await bmc.power_state()
    except HardwareError as error:
        return error
    return None


async def _store(ctx: StepContext, server_id: int, endpoint: Endpoint) -> Done:
    """Make an access that works the one of the server, once, and give back the address of before."""
    async with ctx.tools.db.write() as session:
        await lock_task(session, ctx.task_id)
        server = await queries.for_task(session, server_id)
        if server is None:
            raise StepFailed("The server is gone.")
        if not _is_stored(ctx, server, endpoint):
            given = {
                "driver": endpoint.driver, "host": endpoint.host, "port": endpoint.port, "user": endpoint.user,
                "password": endpoint.password, "settings": endpoint.settings,
            }  # fmt: skip
            await service.set_bmc(
                session, server, given=given, vault=ctx.tools.vault, actor=SYSTEM, task_id=ctx.task_id
            )
            await _tell(session, ctx, server, endpoint)
            await bmc_addresses.release_unused(session, server_id=server.id, ended_task=ctx.task_id)
    await ctx.remember(is_bmc_settled=True)
    return Done(f"signed in as {endpoint.user}: {endpoint.driver} at {endpoint.host}:{endpoint.port}")


def _is_stored(ctx: StepContext, server: Server, endpoint: Endpoint) -> bool:
    if server.bmc is None:
        return False
    try:
        known = endpoint_of(server.bmc, ctx.tools.vault)
    except SecretUnreadable:
        return False
    return replace(known, generation=0) == replace(endpoint, generation=0)


async def _tell(session: AsyncSession, ctx: StepContext, server: Server, endpoint: Endpoint) -> None:
    done: Mapping[str, Any] = ctx.memo.get("bmc_done") or {}
    where = f" in slot {done['slot']}" if done else ""
    words = f"The BMC of server {server.name} was set up: user {USER}{where}, address {endpoint.host}."
    data: dict[str, object] = {
        "user": USER,
        "slot": done.get("slot"),
        "address": endpoint.host,
        "driver": endpoint.driver,
    }
    record(session, "server.bmc_set_up", words, subject=service.subject_of(server), actor=SYSTEM,
           task_id=ctx.task_id, data=data)  # fmt: skip


# --- when nothing comes of it


async def _put_back(ctx: StepContext, server: Server) -> Wait | None:
    """Have the agent put the BMC back to where it was, so that the access of before works again."""
    chosen, done = ctx.memo["bmc"], ctx.memo.get("bmc_done")
    was = chosen["was"]
    if done is None or (was and done["lan"]["address"] == was["address"]):
        return None  # it is where it was
    place = {**(was or {}), "is_static": not was or was["is_static"] is not False}
    try:
        answer = await ask_agent(ctx, "set_bmc_lan", {"lan": place}, words="the BMC to be put back")
    except StepFailed as error:
        await _flag(ctx, str(error))
        await _keep_in_doubt(ctx, server)
        return None
    if isinstance(answer, Wait):
        return answer
    log.warning("a BMC was put back", task=ctx.task_id, server=server.id, address=was["address"])
    chosen = {**chosen, "address": None}
    await ctx.remember(bmc=chosen, bmc_done={**done, "lan": was}, bmc_trying=_start_trying())
    return None


async def _keep_in_doubt(ctx: StepContext, server: Server) -> None:
    """Say that the BMC may be elsewhere now, and keep its address from others."""
    address = (ctx.memo["bmc"]["address"] or {}).get("address")
    log.warning("a BMC is in doubt", task=ctx.task_id, server=server.id, address=address)
    async with ctx.tools.db.write() as session:
        await lock_task(session, ctx.task_id)
        words = f"Task {ctx.task_id} ended while the BMC of server {server.name} was set up: {ctx.memo['bmc_problem']}"
        record(session, "server.bmc_in_doubt", words, subject=service.subject_of(server), actor=SYSTEM,
               task_id=ctx.task_id)  # fmt: skip
        if address:
            await bmc_addresses.mark_doubtful(session, server.id, address)


async def _flag(ctx: StepContext, problem: str) -> Done:
    """Add to what went wrong."""
    known: str = ctx.memo.get("bmc_problem", "")
    if problem not in known:
        await ctx.remember(bmc_problem=f"{known} {problem}".strip())
    return Done(f"not set up: {problem}")


def _why_not(ctx: StepContext) -> str:
    problem = ctx.memo.get("bmc_problem")
    return f"not set up: {problem}" if problem else NOT_ASKED
