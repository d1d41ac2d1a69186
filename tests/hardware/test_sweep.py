"""Sweeps over many BMCs: whoever is dead, busy or shut is an error of its own and delays nobody."""

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rackhand.hardware.connect import open_bmc
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import AuthFailed, HardwareError, Timeout, Unreachable
from rackhand.hardware.interfaces import Endpoint, PowerAction, PowerState
from rackhand.hardware.sweep import power_states
from tests.hardware.bmcs import FaultyRedfish, IpmiSim, await_answer, free_port, start_ipmi_sim


@pytest.fixture
def sims(tmp_path: Path) -> Iterator[list[IpmiSim]]:
    """Three BMCs with one account at three addresses, and a fourth at the first address and another port."""
    port = free_port(socket.SOCK_DGRAM)
    hosts = ["127.0.3.1", "127.0.3.2", "127.0.3.3"]
    sims = [start_ipmi_sim(tmp_path / host, host, port) for host in hosts]
    sims.append(start_ipmi_sim(tmp_path / "fourth", hosts[0], free_port(socket.SOCK_DGRAM)))
    try:
        for sim in sims:
            await_answer(sim)
        yield sims
    finally:
        for sim in sims:
            sim.process.kill()
            sim.process.wait()


def kinds(found: dict[int, PowerState | HardwareError]) -> dict[int, object]:
    return {
        number: state if isinstance(state, PowerState) else type(state) for number, state in found.items()
    }


async def test_every_bmc_has_its_own_answer(doors: Doors, sims: list[IpmiSim], faulty: FaultyRedfish) -> None:
    faulty.power = "On"
    async with open_bmc(doors, sims[3].endpoint) as bmc:
        await bmc.set_power(PowerAction.ON)
    found = await power_states(
        doors,
        {
            **{number: sim.endpoint for number, sim in enumerate(sims)},
            10: replace(sims[0].endpoint, host="127.0.3.9"),
            11: replace(sims[0].endpoint, host="bmc.invalid"),
            12: replace(sims[1].endpoint, host="127.0.3.1,127.0.3.2"),
            20: faulty.endpoint,
            21: replace(faulty.endpoint, port=free_port()),
            30: Endpoint("telnet", "h", 23),
        },
    )
    assert {number: str(found[number]) for number in (0, 1, 2, 3, 20)} == {
        0: "off",
        1: "off",
        2: "off",
        3: "on",
        20: "on",
    }
    assert kinds({number: found[number] for number in (10, 11, 12, 21)}) == dict.fromkeys(
        (10, 11, 12, 21), Unreachable
    )
    assert str(found[30]).startswith("The settings of the access to h:23 are wrong")


async def test_dead_bmcs_cost_one_timeout_together(doors: Doors, sims: list[IpmiSim]) -> None:
    endpoints = {
        number: replace(sims[0].endpoint, host=f"127.0.3.{number}", settings=sims[0].endpoint.settings)
        for number in range(1, 61)
    }
    started = time.monotonic()
    found = await power_states(doors, endpoints)
    assert time.monotonic() - started < 30  # one after the other they would take minutes
    assert kinds(found) == {number: PowerState.OFF if number <= 3 else Unreachable for number in endpoints}


async def test_living_bmc_is_free_while_the_dead_are_waited_for(doors: Doors, sims: list[IpmiSim]) -> None:
    dead = replace(sims[0].endpoint, host="127.0.3.9")
    sweep = asyncio.create_task(power_states(doors, {1: sims[0].endpoint, 2: dead}))
    await asyncio.sleep(0.05)
    async with open_bmc(doors, sims[0].endpoint) as bmc:
        assert await bmc.power_state() is PowerState.OFF
    assert not sweep.done()
    await sweep


async def test_busy_bmc_is_waited_for_and_delays_no_other(doors: Doors, sims: list[IpmiSim]) -> None:
    endpoints = {number: sim.endpoint for number, sim in enumerate(sims[:3])}
    async with open_bmc(doors, endpoints[1]):
        sweep = asyncio.create_task(power_states(doors, endpoints))
        for _ in range(100):
            await asyncio.sleep(0.02)
            if sims[2].log:
                break
        assert (len(sims[0].log), len(sims[1].log), len(sims[2].log)) == (1, 0, 1)
    assert kinds(await sweep) == dict.fromkeys(endpoints, PowerState.OFF)


async def test_refused_credential_is_remembered_and_the_bmc_hears_nothing_more(
    doors: Doors, sims: list[IpmiSim], faulty: FaultyRedfish
) -> None:
    endpoints = {number: replace(sim.endpoint, password="wrong") for number, sim in enumerate(sims)}
    endpoints[9] = replace(faulty.endpoint, password="wrong")
    assert kinds(await power_states(doors, endpoints)) == dict.fromkeys(endpoints, AuthFailed)
    for sim in sims:
        sim.process.kill()
        sim.process.wait()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((endpoints[0].host, endpoints[0].port))
        listener.setblocking(False)  # the name of the parameter is no keyword
        started = time.monotonic()
        found = await power_states(doors, endpoints)
        assert time.monotonic() - started < 5
        with pytest.raises(BlockingIOError):
            listener.recv(1024)
    assert kinds(found) == dict.fromkeys(endpoints, AuthFailed)
    assert faulty.failed_logins == 1


async def test_bmc_that_falls_silent_is_a_timeout_and_never_off(doors: Doors, faulty: FaultyRedfish) -> None:
    faulty.slow = 5
    endpoint = replace(faulty.endpoint, settings={"scheme": "http", "timeout_seconds": "1"})
    found = await power_states(doors, {1: endpoint})
    assert kinds(found) == {1: Timeout}


async def test_bmc_that_cannot_tell_its_power_is_an_error_and_never_off(
    doors: Doors, sims: list[IpmiSim]
) -> None:
    (sims[1].folder / "broken").touch()
    found = await power_states(doors, {number: sim.endpoint for number, sim in enumerate(sims[:3])})
    assert kinds(found) == {0: PowerState.OFF, 1: Timeout, 2: PowerState.OFF}


async def test_sweep_of_nothing_finds_nothing(doors: Doors) -> None:
    assert await power_states(doors, {}) == {}
