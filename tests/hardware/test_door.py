"""Doors: one conversation at a time, sessions shared, and no second wrong password."""

import asyncio
import socket
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from rackhand.hardware.connect import open_bmc
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import AuthFailed, Unsupported
from rackhand.hardware.interfaces import Endpoint, PowerState
from tests.hardware.bmcs import FaultyRedfish, IpmiSim, Relay, free_port


async def test_conversations_with_one_bmc_do_not_overlap(doors: Doors, faulty: FaultyRedfish) -> None:
    inside = most = 0

    async def talk() -> None:
        nonlocal inside, most
        async with open_bmc(doors, faulty.endpoint) as bmc:
            inside += 1
            most = max(most, inside)
            await bmc.power_state()
            inside -= 1

    await asyncio.gather(*(talk() for _ in range(5)))
    assert (most, faulty.log.count("login")) == (1, 1)


async def test_session_outlives_the_conversation_and_ends_when_idle(faulty: FaultyRedfish) -> None:
    doors = Doors(spacing=timedelta(0), idle=timedelta(milliseconds=50))
    for _ in range(2):
        async with open_bmc(doors, faulty.endpoint) as bmc:
            await bmc.power_state()
    assert len(faulty.sessions) == 1
    for _ in range(100):
        await asyncio.sleep(0.02)
        if not faulty.sessions:
            break
    assert (faulty.sessions, faulty.log.count("login"), faulty.log.count("logout")) == (set(), 1, 1)
    async with open_bmc(doors, faulty.endpoint) as bmc:
        assert await bmc.power_state() is PowerState.OFF
    await doors.close()
    assert faulty.sessions == set()


async def test_requests_to_one_bmc_keep_their_distance(faulty: FaultyRedfish) -> None:
    doors = Doors(spacing=timedelta(milliseconds=40))
    started = time.monotonic()
    async with open_bmc(doors, faulty.endpoint) as bmc:
        for _ in range(5):
            await bmc.power_state()
    assert time.monotonic() - started >= 4 * 0.04
    await doors.close()


@pytest.mark.parametrize("has_sessions", [True, False])
async def test_refused_credential_is_not_tried_again(
    doors: Doors, faulty: FaultyRedfish, *, has_sessions: bool
) -> None:
    faulty.has_sessions = has_sessions
    wrong = replace(faulty.endpoint, password="wrong")
    for _ in range(3):
        with pytest.raises(AuthFailed, match="refused the account"):
            async with open_bmc(doors, wrong) as bmc:
                await bmc.power_state()
    assert faulty.failed_logins == 1
    asked = len(faulty.log)
    with pytest.raises(AuthFailed, match="not asked again until"):
        async with open_bmc(doors, wrong):
            pytest.fail("the door is shut")
    assert len(faulty.log) == asked


async def test_many_at_once_cost_one_wrong_login(doors: Doors, faulty: FaultyRedfish) -> None:
    wrong = replace(faulty.endpoint, password="wrong")

    async def talk() -> None:
        async with open_bmc(doors, wrong) as bmc:
            await bmc.power_state()

    answers = await asyncio.gather(*(talk() for _ in range(8)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [AuthFailed] * 8
    assert faulty.failed_logins == 1


async def test_new_credential_opens_the_door_and_the_old_one_stays_refused(
    doors: Doors, faulty: FaultyRedfish
) -> None:
    wrong = replace(faulty.endpoint, password="wrong")
    for endpoint in (wrong, replace(wrong, password="worse"), wrong):
        with pytest.raises(AuthFailed):
            async with open_bmc(doors, endpoint) as bmc:
                await bmc.power_state()
    async with open_bmc(doors, faulty.endpoint) as bmc:
        assert await bmc.power_state() is PowerState.OFF
    assert faulty.failed_logins == 2


async def test_forgiven_bmc_is_asked_again(doors: Doors, faulty: FaultyRedfish) -> None:
    wrong = replace(faulty.endpoint, password="wrong")
    for _ in range(2):
        with pytest.raises(AuthFailed):
            async with open_bmc(doors, wrong) as bmc:
                await bmc.power_state()
        doors.forgive(wrong)
    assert faulty.failed_logins == 2


async def test_doors_keep_no_password(doors: Doors, ipmi_sim: IpmiSim) -> None:
    wrong = replace(ipmi_sim.endpoint, password="open-sesame")
    with pytest.raises(AuthFailed):
        async with open_bmc(doors, wrong) as bmc:
            await bmc.power_state()
    door = doors.door(wrong)
    assert "open-sesame" not in repr(door)
    assert all(b"open-sesame" not in fingerprint for fingerprint in door.refused)


async def test_ipmi_bmc_is_reached_through_its_door(doors: Doors, ipmi_sim: IpmiSim) -> None:
    async with open_bmc(doors, ipmi_sim.endpoint) as bmc:
        assert await bmc.power_state() is PowerState.OFF


@pytest.mark.parametrize(
    "endpoint",
    [Endpoint("telnet", "h", 23), Endpoint("ipmi", "h", 623, settings={"cipher_suite": "0"})],
)
async def test_endpoint_that_no_driver_takes_is_unsupported(doors: Doors, endpoint: Endpoint) -> None:
    with pytest.raises(Unsupported, match="settings of the access to h:"):
        async with open_bmc(doors, endpoint):
            pytest.fail("there is no such driver")


@pytest.mark.parametrize("question", ["power_state", "boot_override", "sensors"])
async def test_wrong_ipmi_password_costs_two_logins_at_most(
    doors: Doors, ipmi_sim: IpmiSim, question: str
) -> None:
    """`sensors` needs a second one to tell a wrong password from a dead host."""
    relay = Relay(ipmi_sim.endpoint)
    port = free_port(socket.SOCK_DGRAM)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", port))
    wrong = replace(ipmi_sim.endpoint, port=port, password="wrong")
    for _ in range(3):
        with pytest.raises(AuthFailed):
            async with open_bmc(doors, wrong) as bmc:
                await getattr(bmc, question)()
    assert relay.logins == (2 if question == "sensors" else 1)
    relay.close()
