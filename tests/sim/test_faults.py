"""Every fault, felt through the protocol that the manager would use."""

import time

import httpx
import pytest

from rackhand.sim.config import MachineConfig
from rackhand.sim.faults import FAULTS, Fault
from rackhand.sim.machine import Phase, Power
from rackhand.sim.rack import RackThread
from tests.sim import tools
from tests.sim.rmcp_client import CHASSIS_ON, NoSession, RmcpClient
from tests.sim.tools import error_key, ipmipower, ipmitool, reset, system_path

SESSIONS = "/redfish/v1/SessionService/Sessions"


def run_to_os(rack: RackThread, machine: MachineConfig) -> None:
    rack.control.press_power_button(machine.name)
    rack.control.wait_for(machine.name, lambda seen: seen.phase is Phase.RUNNING)


def actions(rack: RackThread, machine: MachineConfig, after: int) -> list[str]:
    return [event.action.value for event in rack.control.log(after=after, device=machine.name)]


def test_table_describes_every_fault(rack: RackThread) -> None:
    assert set(FAULTS) == set(Fault)
    for fault in rack.control.faults():
        assert fault.doc.endswith(".")
        assert fault.low <= fault.default <= fault.high


def test_dropped_override_is_accepted_and_not_set_over_ipmi(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    rack.control.fault_on(ipmi_machine.name, Fault.DROP_OVERRIDE, times=1)
    assert ipmitool(ipmi_machine, "chassis", "bootdev", "pxe").status == 0
    assert "0000000000" in ipmitool(ipmi_machine, "chassis", "bootparam", "get", "5").output
    assert "boot_override_dropped" in actions(rack, ipmi_machine, start)
    assert ipmitool(ipmi_machine, "chassis", "bootdev", "pxe").status == 0
    assert "8004000000" in ipmitool(ipmi_machine, "chassis", "bootparam", "get", "5").output


def test_dropped_override_is_accepted_and_not_set_over_redfish(
    rack: RackThread, redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    rack.control.fault_on(redfish_machine.name, Fault.DROP_OVERRIDE)
    answer = redfish.patch(system_path(redfish_machine), json={"Boot": {"BootSourceOverrideTarget": "Pxe"}})
    assert answer.status_code == 200
    assert rack.control.machine(redfish_machine.name).boot_override is None


def test_stale_power_state(
    rack: RackThread, ipmi_machine: MachineConfig, redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    for machine in (ipmi_machine, redfish_machine):
        rack.control.fault_on(machine.name, Fault.STALE_POWER, value=1e6)
        rack.control.press_power_button(machine.name)
        assert rack.control.machine(machine.name).power is Power.ON
    assert ipmipower(ipmi_machine, "--stat").output.endswith(": off")
    assert redfish.get(system_path(redfish_machine)).json()["PowerState"] == "Off"
    rack.control.fault_on(ipmi_machine.name, Fault.STALE_POWER, value=0)
    assert ipmipower(ipmi_machine, "--stat").output.endswith(": on")


def test_session_slots_run_out(
    rack: RackThread, ipmi_machine: MachineConfig, redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    for machine in (ipmi_machine, redfish_machine):
        rack.control.fault_on(machine.name, Fault.SESSION_SLOTS, value=1)
    with RmcpClient(ipmi_machine).sign_in():
        assert ipmitool(ipmi_machine, "power", "status", tries=1).status != 0
    login = {"UserName": redfish_machine.bmc.user, "Password": redfish_machine.bmc.password}
    assert redfish.post(SESSIONS, json=login).status_code == 201
    refused = redfish.post(SESSIONS, json=login)
    assert (refused.status_code, error_key(refused)) == (503, "SessionLimitExceeded")
    assert int(refused.headers["retry-after"]) > 0


def test_third_bad_login_locks_the_account_over_ipmi(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    rack.control.fault_on(ipmi_machine.name, Fault.LOCK_OUT)
    for _ in range(3):
        with RmcpClient(ipmi_machine) as client, pytest.raises(NoSession):
            client.sign_in(password="wrong")
    assert ipmitool(ipmi_machine, "power", "status", tries=1).status != 0
    assert actions(rack, ipmi_machine, start).count("user_locked") == 1
    tools.eventually(lambda: RmcpClient(ipmi_machine).sign_in().close(), but_for=NoSession)


def test_bad_logins_of_a_stock_tool_lock_the_account_too(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    rack.control.fault_on(ipmi_machine.name, Fault.LOCK_OUT, value=2)
    for _ in range(2):
        assert "password invalid" in ipmipower(ipmi_machine, "--stat", password="wrong").output
    rack.control.wait_for_event(ipmi_machine.name, "user_locked", after=start)


def test_third_bad_login_locks_the_account_over_redfish(
    rack: RackThread, redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    rack.control.fault_on(redfish_machine.name, Fault.LOCK_OUT)
    with tools.redfish(redfish_machine, password="wrong") as stranger:
        assert [stranger.get("/redfish/v1/Systems").status_code for _ in range(4)] == [401, 401, 401, 403]
    assert redfish.get("/redfish/v1/Systems").status_code == 403

    def sign_in() -> None:
        redfish.get("/redfish/v1/Systems").raise_for_status()

    tools.eventually(sign_in, but_for=httpx.HTTPStatusError)


def test_without_the_fault_no_number_of_bad_logins_locks(
    redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    with tools.redfish(redfish_machine, password="wrong") as stranger:
        assert {stranger.get("/redfish/v1/Systems").status_code for _ in range(6)} == {401}
    assert redfish.get("/redfish/v1/Systems").status_code == 200


def test_slow_answers_come_late(
    rack: RackThread, ipmi_machine: MachineConfig, redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    for machine in (ipmi_machine, redfish_machine):
        rack.control.fault_on(machine.name, Fault.SLOW, value=0.15)
    started = time.monotonic()
    assert redfish.get("/redfish/v1").status_code == 200
    assert time.monotonic() - started > 0.14
    started = time.monotonic()
    assert ipmipower(ipmi_machine, "--stat").status == 0
    assert time.monotonic() - started > 0.14 * 5  # a session takes at least so many exchanges


def test_client_that_does_not_wait_is_done_but_once(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    with RmcpClient(ipmi_machine).sign_in() as client:
        rack.control.fault_on(ipmi_machine.name, Fault.SLOW, value=0.2)
        client.socket.send(client.build(*CHASSIS_ON))
        assert client.send(*CHASSIS_ON, same_request=True) == (0, b"")
    done = actions(rack, ipmi_machine, start)
    assert done.count("powered_on") == 1
    assert "power_unchanged" not in done


def test_unplugged_bmc_is_silent_while_the_machine_runs_on(
    rack: RackThread, ipmi_machine: MachineConfig, redfish_machine: MachineConfig
) -> None:
    for machine in (ipmi_machine, redfish_machine):
        rack.control.press_power_button(machine.name)
        rack.control.fault_on(machine.name, Fault.UNPLUGGED)
    assert ipmitool(ipmi_machine, "power", "status", tries=1).status != 0
    with tools.redfish(redfish_machine, timeout=0.3) as client, pytest.raises(httpx.ReadTimeout):
        client.get("/redfish/v1")
    for machine in (ipmi_machine, redfish_machine):
        assert rack.control.machine(machine.name).power is Power.ON
        rack.control.fault_off(machine.name, Fault.UNPLUGGED)
    assert ipmipower(ipmi_machine, "--stat").output.endswith(": on")
    with tools.redfish(redfish_machine) as client:
        assert client.get("/redfish/v1").status_code == 200


@pytest.mark.parametrize(("value", "low", "high"), [(0, 90, 240), (600, 600, 600)])
def test_bmc_reset_takes_as_long_as_it_takes(
    rack: RackThread, ipmi_machine: MachineConfig, start: int, value: float, low: float, high: float
) -> None:
    rack.control.fault_on(ipmi_machine.name, Fault.BMC_RESET_TIME, value=value)
    assert ipmitool(ipmi_machine, "mc", "reset", "cold").status == 0
    seconds = rack.control.wait_for_event(ipmi_machine.name, "bmc_reset", after=start).detail["seconds"]
    assert isinstance(seconds, float)
    assert low <= seconds <= high
    rack.control.wait_for_event(ipmi_machine.name, "bmc_ready", after=start)
    assert ipmipower(ipmi_machine, "--stat").status == 0


def test_ignored_power_command_is_accepted_and_not_done(
    rack: RackThread,
    ipmi_machine: MachineConfig,
    redfish_machine: MachineConfig,
    redfish: httpx.Client,
    start: int,
) -> None:
    for machine in (ipmi_machine, redfish_machine):
        rack.control.fault_on(machine.name, Fault.IGNORE_POWER)
    assert ipmipower(ipmi_machine, "--on").output.endswith(": ok")
    assert reset(redfish, redfish_machine, "On").status_code == 204
    for machine in (ipmi_machine, redfish_machine):
        assert rack.control.machine(machine.name).power is Power.OFF
        assert "power_ignored" in actions(rack, machine, start)


def test_ignored_soft_off_is_asked_for_and_not_obeyed(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    run_to_os(rack, ipmi_machine)
    rack.control.fault_on(ipmi_machine.name, Fault.IGNORE_SOFT_OFF, times=1)
    assert ipmipower(ipmi_machine, "--soft").output.endswith(": ok")
    assert "soft_off_requested" in actions(rack, ipmi_machine, start)
    assert rack.control.machine(ipmi_machine.name).phase is Phase.RUNNING
    ipmipower(ipmi_machine, "--soft")
    rack.control.wait_for(ipmi_machine.name, lambda machine: machine.power is Power.OFF)


def test_refused_power_command_is_an_error(
    rack: RackThread, ipmi_machine: MachineConfig, redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    for machine in (ipmi_machine, redfish_machine):
        rack.control.fault_on(machine.name, Fault.REFUSE_POWER)
    assert ipmitool(ipmi_machine, "power", "on").status != 0
    refused = reset(redfish, redfish_machine, "On")
    assert (refused.status_code, error_key(refused)) == (400, "ActionNotSupported")
    for machine in (ipmi_machine, redfish_machine):
        assert rack.control.machine(machine.name).power is Power.OFF


def test_bmc_is_busy_during_post_and_no_longer(
    rack: RackThread, ipmi_machine: MachineConfig, redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    for machine in (ipmi_machine, redfish_machine):
        rack.control.fault_on(machine.name, Fault.BUSY_WHILE_POST)
    rack.control.press_power_button(redfish_machine.name)
    busy = redfish.patch(system_path(redfish_machine), json={"Boot": {"BootSourceOverrideTarget": "Pxe"}})
    assert (busy.status_code, error_key(busy)) == (503, "ServiceTemporarilyUnavailable")
    assert redfish.get(system_path(redfish_machine)).status_code == 200
    with RmcpClient(ipmi_machine).sign_in() as client:
        rack.control.press_power_button(ipmi_machine.name)
        assert client.send(0x00, 0x02, b"\x00")[0] == 0xC0
        assert client.send(0x00, 0x01, b"")[0] == 0
    rack.control.wait_for(ipmi_machine.name, lambda machine: machine.phase is Phase.RUNNING)
    assert ipmipower(ipmi_machine, "--off").output.endswith(": ok")


def test_garbage_is_survived(
    rack: RackThread, ipmi_machine: MachineConfig, redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    for machine in (ipmi_machine, redfish_machine):
        rack.control.fault_on(machine.name, Fault.GARBAGE, times=1)
    nonsense = redfish.get("/redfish/v1")
    assert nonsense.status_code == 200
    with pytest.raises(ValueError, match="utf-8"):
        nonsense.json()
    assert redfish.get("/redfish/v1").json()["Id"] == "RootService"
    assert ipmitool(ipmi_machine, "power", "status").status == 0  # at the second try
    assert rack.control.machine(ipmi_machine.name).faults == {}


def test_power_cut_takes_machine_and_bmc_down_and_gives_them_back(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    run_to_os(rack, ipmi_machine)
    cut = rack.control.fault_on(ipmi_machine.name, Fault.POWER_CUT)
    assert (cut.mains, cut.power, cut.bmc_answers) == (False, Power.OFF, False)
    assert ipmitool(ipmi_machine, "power", "status", tries=1).status != 0
    back = rack.control.fault_off(ipmi_machine.name, Fault.POWER_CUT)
    assert (back.mains, back.power) == (True, Power.ON)  # the restore policy is "previous"
    rack.control.wait_for(ipmi_machine.name, lambda machine: machine.bmc_answers)
    assert ipmipower(ipmi_machine, "--stat").output.endswith(": on")
    done = [action for action in actions(rack, ipmi_machine, start) if action.startswith(("mains", "power"))]
    assert done == [
        "power_button_pressed",
        "powered_on",
        "mains_lost",
        "powered_off",
        "mains_restored",
        "powered_on",
    ]


def test_wrong_password_in_our_books(
    rack: RackThread,
    ipmi_machine: MachineConfig,
    redfish_machine: MachineConfig,
    redfish: httpx.Client,
    start: int,
) -> None:
    for machine in (ipmi_machine, redfish_machine):
        rack.control.fault_on(machine.name, Fault.WRONG_PASSWORD)
    assert "password invalid" in ipmipower(ipmi_machine, "--stat").output
    assert redfish.get("/redfish/v1/Systems").status_code == 401
    assert "login_refused" in actions(rack, redfish_machine, start)
    rack.control.fault_off(redfish_machine.name, Fault.WRONG_PASSWORD)
    assert redfish.get("/redfish/v1/Systems").status_code == 200


def test_lost_packets_make_the_tool_repeat_itself(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    rack.control.fault_on(
        ipmi_machine.name, Fault.SESSION_SLOTS, value=64
    )  # a lost goodbye leaves its slot taken
    rack.control.fault_on(ipmi_machine.name, Fault.DROP_PACKETS, value=0.15)
    for _ in range(5):
        assert ipmipower(ipmi_machine, "--retransmission-timeout", "100", "--on").output.endswith(": ok")
    done = actions(rack, ipmi_machine, start)
    assert done.count("powered_on") == 1
    assert "fault_struck" in done


def test_lost_request_is_not_done_but_lost_answer_is(
    rack: RackThread, redfish_machine: MachineConfig
) -> None:
    rack.control.fault_on(redfish_machine.name, Fault.DROP_PACKETS, value=0.5)
    seen = set()
    with tools.redfish(redfish_machine, timeout=0.1) as client:
        for _ in range(60):
            start = rack.control.last_event()
            try:
                client.patch(system_path(redfish_machine), json={"LocationIndicatorActive": True})
            except httpx.ReadTimeout:
                is_done = "identify_on" in actions(rack, redfish_machine, start)
                seen.add(is_done)
            if seen == {True, False}:
                break
    assert seen == {True, False}


def test_machine_goes_down_only_with_its_last_feed(rack: RackThread, ipmi_machine: MachineConfig) -> None:
    run_to_os(rack, ipmi_machine)
    assert rack.control.pull_mains(ipmi_machine.name, feed="a").power is Power.ON
    assert rack.control.pull_mains(ipmi_machine.name).power is Power.OFF
    assert rack.control.restore_mains(ipmi_machine.name, feed="b").power is Power.ON
