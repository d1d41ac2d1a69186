"""One question to many devices at once: power states of BMCs, whatever switches can tell.

Many IPMI BMCs are asked by one process, all others by concurrent requests.
"""

import asyncio
import ipaddress
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from rackhand.hardware import ipmi
from rackhand.hardware.connect import open_bmc, open_switch
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import AuthFailed, HardwareError, Timeout
from rackhand.hardware.interfaces import CounterReading, Endpoint, PowerState, Switch

Key = TypeVar("Key")
Answer = TypeVar("Answer")

TOGETHER = 128  # fewer than the slots of `Doors`, so that an operator's click never waits for a sweep
HOSTS_PER_PROCESS = 200
PATIENCE_SECONDS = 15.0  # for one BMC, waiting for its door included
SWITCHES_TOGETHER = 256  # each is one socket; dead ones cost one timeout together
SWITCH_SECONDS = 60.0  # for one switch, waiting for its door included

Found = dict[int, PowerState | HardwareError]
Asked = tuple[int, Endpoint]


async def power_states(doors: Doors, endpoints: Mapping[int, Endpoint]) -> Found:
    """Ask every BMC for its power state; what goes wrong with one is its value and touches no other.

    A BMC that does not answer is an error, never `PowerState.OFF`. One that has refused the credential before
    is not asked. Safe to run at any time: conversations that are under way are waited for.
    """
    found: Found = {}
    together = asyncio.Semaphore(TOGETHER)
    async with asyncio.TaskGroup() as tasks:
        groups, single = _plan(endpoints)
        for group in groups:
            tasks.create_task(_ask_group(doors, group, found, together, tasks))
        for number, endpoint in single:
            tasks.create_task(_ask_one(doors, number, endpoint, found, together))
    return found


async def counters(
    doors: Doors, endpoints: Mapping[Key, Endpoint]
) -> dict[Key, CounterReading | HardwareError]:
    """Read the octet counters of every switch; what goes wrong with one is its value and touches no other."""
    return await ask_switches(doors, endpoints, lambda switch: switch.counters())


async def ask_switches(
    doors: Doors, endpoints: Mapping[Key, Endpoint], question: Callable[[Switch], Awaitable[Answer]]
) -> dict[Key, Answer | HardwareError]:
    """Ask every switch, each in one conversation; what goes wrong with one is its value and touches no other."""
    found: dict[Key, Answer | HardwareError] = {}
    together = asyncio.Semaphore(SWITCHES_TOGETHER)

    async def ask(key: Key, endpoint: Endpoint) -> None:
        async with together:
            try:
                async with asyncio.timeout(SWITCH_SECONDS), open_switch(doors, endpoint) as switch:
                    found[key] = await question(switch)
            except HardwareError as error:
                found[key] = error
            except TimeoutError:
                found[key] = Timeout(f"The switch at {endpoint.address} did not answer within the sweep.")

    async with asyncio.TaskGroup() as tasks:
        for key, endpoint in endpoints.items():
            tasks.create_task(ask(key, endpoint))
    return found


def _plan(endpoints: Mapping[int, Endpoint]) -> tuple[list[Sequence[Asked]], list[Asked]]:
    """Split into groups that one `ipmipower` can ask, and the rest.

    A group shares user, password and settings. Its hosts differ, because the answers do not name the port,
    and are addresses: one name that does not resolve makes `ipmipower` ask nobody.
    """
    groups: dict[tuple[object, ...], list[Asked]] = defaultdict(list)
    met: dict[tuple[object, ...], int] = defaultdict(int)
    single = []
    for number, endpoint in endpoints.items():
        if endpoint.driver != "ipmi" or not _is_address(endpoint.host):
            single.append((number, endpoint))
            continue
        account = (endpoint.user, endpoint.password, frozenset(endpoint.settings.items()))
        met[*account, endpoint.host] += 1
        groups[*account, met[*account, endpoint.host]].append((number, endpoint))
    batches: list[Sequence[Asked]] = []
    for group in groups.values():
        if len(group) == 1:
            single += group
        else:
            batches += [group[i : i + HOSTS_PER_PROCESS] for i in range(0, len(group), HOSTS_PER_PROCESS)]
    return batches, single


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _ask_group(
    doors: Doors, group: Sequence[Asked], found: Found, together: asyncio.Semaphore, tasks: asyncio.TaskGroup
) -> None:
    """Hold the doors that are free, each until its BMC has answered, and leave the others to `_ask_one`."""
    held: dict[str, Asked] = {}
    async with together:
        try:
            for number, endpoint in group:
                try:
                    if await doors.hold_if_free(endpoint):
                        held[endpoint.host] = number, endpoint
                    else:
                        tasks.create_task(_ask_one(doors, number, endpoint, found, together))
                except AuthFailed as error:
                    found[number] = error
            if not held:
                return
            async for endpoint, state in ipmi.power_states(
                [asked[1] for asked in held.values()], doors.slots
            ):
                number, _ = held.pop(endpoint.host)
                found[number] = state
                if isinstance(state, AuthFailed):
                    doors.remember_refusal(endpoint, state)
                doors.let_go(endpoint)
            for number, endpoint in held.values():
                found[number] = Timeout(f"The BMC at {endpoint.address} gave no power state.")
        except HardwareError as error:
            found.update(dict.fromkeys((number for number, _ in held.values()), error))
        finally:
            for _, endpoint in held.values():
                doors.let_go(endpoint)


async def _ask_one(
    doors: Doors, number: int, endpoint: Endpoint, found: Found, together: asyncio.Semaphore
) -> None:
    async with together:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), open_bmc(doors, endpoint) as bmc:
                found[number] = await bmc.power_state()
        except HardwareError as error:
            found[number] = error
        except TimeoutError:
            found[number] = Timeout(f"The BMC at {endpoint.address} did not answer within the sweep.")
