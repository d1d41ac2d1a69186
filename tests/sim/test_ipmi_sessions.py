"""Sessions of the IPMI face: repetition, slots, and datagrams that nobody should send."""

import contextlib
import random
import socket

import pytest

from rackhand.sim.config import MachineConfig
from rackhand.sim.rack import RackThread
from rackhand.sim.rmcp import Status
from tests.sim.rmcp_client import CHASSIS_ON, CHASSIS_STATUS, CLOSE, NoSession, RmcpClient
from tests.sim.tools import eventually


def count(rack: RackThread, machine: MachineConfig, action: str, *, after: int) -> int:
    return sum(event.action == action for event in rack.control.log(after=after, device=machine.name))


def test_same_datagram_twice_is_done_once_and_answered_twice(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    with RmcpClient(ipmi_machine).sign_in() as client:
        datagram = client.build(*CHASSIS_ON)
        assert client.exchange(datagram) == client.exchange(datagram)
    assert count(rack, ipmi_machine, "powered_on", after=start) == 1
    assert count(rack, ipmi_machine, "power_unchanged", after=start) == 0


def test_same_request_in_a_new_datagram_is_done_once(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    with RmcpClient(ipmi_machine).sign_in() as client:
        assert client.send(*CHASSIS_ON) == (0, b"")
        assert client.send(*CHASSIS_ON, same_request=True) == (0, b"")
        assert count(rack, ipmi_machine, "power_unchanged", after=start) == 0
        assert client.send(*CHASSIS_ON) == (0, b"")
    assert count(rack, ipmi_machine, "powered_on", after=start) == 1
    assert count(rack, ipmi_machine, "power_unchanged", after=start) == 1


def test_reading_twice_is_never_answered_from_memory(rack: RackThread, ipmi_machine: MachineConfig) -> None:
    with RmcpClient(ipmi_machine).sign_in() as client:
        assert client.send(*CHASSIS_STATUS)[1][0] & 1 == 0
        rack.control.press_power_button(ipmi_machine.name)
        assert client.send(*CHASSIS_STATUS, same_request=True)[1][0] & 1 == 1


def test_repeated_open_request_takes_one_slot(ipmi_machine: MachineConfig) -> None:
    with RmcpClient(ipmi_machine) as client:
        assert client.open() == client.open()
        client.sign_in()


def test_repeated_handshake_messages_are_answered_again(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    with RmcpClient(ipmi_machine) as client:
        client.sign_in(repeat=True)
        assert client.send(*CHASSIS_STATUS)[0] == 0
    assert count(rack, ipmi_machine, "login_accepted", after=start) == 1


def test_strangers_cannot_restart_the_handshake_of_an_active_session(ipmi_machine: MachineConfig) -> None:
    with RmcpClient(ipmi_machine).sign_in() as client, RmcpClient(ipmi_machine) as stranger:
        stranger.session_id = client.session_id
        with pytest.raises(NoSession) as refusal:
            stranger.sign_in()
        assert refusal.value.status == Status.INVALID_SESSION_ID
        assert client.send(*CHASSIS_STATUS)[0] == 0


def test_asking_for_too_much_privilege_is_no_bad_password(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    rack.control.fault_on(ipmi_machine.name, "lock_out", value=1)
    with RmcpClient(ipmi_machine) as client, pytest.raises(NoSession) as refusal:
        client.sign_in(role=5)
    assert refusal.value.status == Status.UNAUTHORIZED_ROLE
    assert count(rack, ipmi_machine, "login_refused", after=start) == 1
    RmcpClient(ipmi_machine).sign_in().close()


def test_fifth_session_is_refused_until_one_closes(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RmcpClient(ipmi_machine).sign_in()) for _ in range(4)]
        fifth = stack.enter_context(RmcpClient(ipmi_machine))
        with pytest.raises(NoSession) as refusal:
            fifth.open()
        assert refusal.value.status == Status.NO_RESOURCES
        assert count(rack, ipmi_machine, "session_refused", after=start) == 1
        clients[0].send(*CLOSE)
        fifth.sign_in()
        clients[0].socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            clients[0].send(*CHASSIS_STATUS)


def test_client_that_vanishes_keeps_its_slot_until_it_times_out(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    rack.control.fault_on(ipmi_machine.name, "session_slots", value=1)
    RmcpClient(ipmi_machine).sign_in().close()
    with RmcpClient(ipmi_machine) as client:
        with pytest.raises(NoSession):
            client.open()
        eventually(client.open, but_for=NoSession)
        client.sign_in()
    closed = rack.control.wait_for_event(ipmi_machine.name, "session_closed", after=start)
    assert closed.detail["why"] == "idle"


def test_wrong_password_is_refused_at_the_last_step(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    with RmcpClient(ipmi_machine) as client, pytest.raises(NoSession) as refusal:
        client.sign_in(password="wrong")
    assert refusal.value.status == Status.INVALID_INTEGRITY
    assert count(rack, ipmi_machine, "login_refused", after=start) == 1


def test_sessions_do_not_survive_a_reset_of_the_bmc(rack: RackThread, ipmi_machine: MachineConfig) -> None:
    with RmcpClient(ipmi_machine, timeout=0.3).sign_in() as client:
        assert client.send(0x06, 0x02, b"")[0] == 0
        rack.control.wait_for(ipmi_machine.name, lambda machine: machine.bmc_answers)
        with pytest.raises(TimeoutError):
            client.send(*CHASSIS_STATUS)


def test_nothing_is_answered_to_forged_and_broken_datagrams(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    with RmcpClient(ipmi_machine, timeout=0.2).sign_in() as client:
        good = client.build(*CHASSIS_ON)
        seeded = random.Random(1)  # noqa: S311  # the same damage every time
        for _ in range(300):
            broken = bytearray(good)
            broken[seeded.randrange(6, len(good))] ^= 1 << seeded.randrange(8)
            client.socket.send(bytes(broken))
            client.socket.send(good[: seeded.randrange(len(good))])
            client.socket.send(seeded.randbytes(seeded.randrange(80)))
        with pytest.raises(TimeoutError):
            client.socket.recv(2048)
        assert count(rack, ipmi_machine, "powered_on", after=start) == 0
        client.socket.settimeout(2)
        assert client.read(client.exchange(good)) == (0, b"")


def test_presence_ping_is_answered(ipmi_machine: MachineConfig) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(
            bytes.fromhex("0600ff06000011be80420000"), (ipmi_machine.bmc.host, ipmi_machine.bmc.port)
        )
        pong = client.recv(100)
    assert pong[8:10] == b"\x40\x42"
    assert pong[-8] & 0x80
