"""`rackhand rack` with a verb, against a rack that runs."""

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from rackhand.cli.main import app
from rackhand.sim.machine import Power
from rackhand.sim.rack import RackThread, demo_rack


@pytest.fixture(scope="module")
def shared_rack() -> Iterator[RackThread]:
    with RackThread(demo_rack(4, time_scale=600)) as rack:
        yield rack


@pytest.fixture
def rack(shared_rack: RackThread) -> RackThread:
    shared_rack.control.reset()
    return shared_rack


def run(rack: RackThread, *words: str) -> Result:
    return CliRunner().invoke(app, ["rack", *words, "--control", rack.control_url])


def row(result: Result, name: str) -> list[str]:
    """Return the words of the line that begins with *name*."""
    return next(line.split() for line in result.output.splitlines() if line.startswith(f"{name} "))


def test_status_shows_every_device(rack: RackThread) -> None:
    seen = run(rack, "status")
    assert seen.exit_code == 0
    assert row(seen, "node-004") == ["node-004", "off", "off"]
    assert row(seen, "sw-2") == ["sw-2", "24", "8", "answers"]
    assert row(seen, "pdu-1b") == ["pdu-1b", "apc_rpdu2", "24", "24", "answers"]


def test_faults_are_listed_with_what_they_are_for(rack: RackThread) -> None:
    seen = run(rack, "faults")
    assert row(seen, "ignore_vlan")[1] == "switch"
    assert row(seen, "lock_out")[1:6] == ["machine", "1", "to", "100", "bad"]


@pytest.mark.parametrize(
    ("device", "fault"), [("node-001", "slow"), ("sw-1", "ignore_vlan"), ("pdu-2a", "ignore_outlet")]
)
def test_fault_of_any_device_is_switched(rack: RackThread, device: str, fault: str) -> None:
    on = run(rack, "fault", device, fault, "on", "--times", "3")
    assert f"{fault} (" in on.output
    assert "3 times" in on.output
    assert f"{fault} (" in run(rack, "status").output
    assert run(rack, "fault", device, fault, "off").output == f"Faults of {device}: none\n"
    assert "3 times" not in run(rack, "status").output


def test_value_of_a_fault(rack: RackThread) -> None:
    assert "stuck_outlet (7)" in run(rack, "fault", "pdu-1a", "stuck_outlet", "on", "--value", "7").output
    refused = run(rack, "fault", "pdu-1a", "stuck_outlet", "on", "--value", "0")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "Fault stuck_outlet takes 1 to 1000 number of the outlet.\n",
    )


def test_cords_and_button(rack: RackThread) -> None:
    assert row(run(rack, "button", "node-001"), "node-001")[:3] == ["node-001", "on", "post"]
    assert row(run(rack, "mains", "node-001", "off", "--feed", "a"), "node-001")[-1] == "a"
    assert rack.control.machine("node-001").power is Power.ON
    run(rack, "button", "node-001", "--hold")
    assert rack.control.machine("node-001").power is Power.OFF
    run(rack, "mains", "node-001", "off")
    assert not rack.control.machine("node-001").mains
    run(rack, "mains", "node-001", "on")
    assert rack.control.machine("node-001").lost_feeds == []


def test_cables_and_restart(rack: RackThread) -> None:
    assert (
        run(rack, "swap", "sw-1", "1", "20").output == "Ethernet1/1: nothing\nEthernet1/20: node-001 eth0\n"
    )
    assert run(rack, "restart", "sw-1").exit_code == 0
    assert rack.control.log(device="sw-1")[-1].action == "restarted"


def test_log_of_one_device(rack: RackThread) -> None:
    before = rack.control.last_event()
    run(rack, "button", "node-001")
    run(rack, "button", "node-002")
    seen = run(rack, "log", "--machine", "node-002", "--after", str(before))
    assert "power_button_pressed hold=False" in seen.output
    assert "node-001" not in seen.output
    assert run(rack, "log", "--device", "sw-2", "--after", str(before)).output == ""


@pytest.mark.parametrize("words", [("mains", "none", "off"), ("button", "none"), ("log", "--device", "none")])
def test_device_that_there_is_none_of(rack: RackThread, words: tuple[str, ...]) -> None:
    seen = run(rack, *words)
    assert (seen.exit_code, seen.output[:8]) == (1, "There is")


def test_no_rack() -> None:
    seen = CliRunner().invoke(app, ["rack", "status", "--control", "http://127.0.0.1:1"])
    assert seen.exit_code == 1
    assert "No rack answers at http://127.0.0.1:1" in seen.stderr
