"""The rack as a whole: ports, restart, size."""

import asyncio
import dataclasses
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rackhand.sim.client import AsyncRackControl
from rackhand.sim.machine import BootDevice, Phase, Power
from rackhand.sim.rack import RackThread, demo_rack, running_rack, serve_rack
from tests.sim.tools import ipmipower, snmp

MEASURE = """
import time
from rackhand.sim.rack import RackThread, demo_rack
started = time.monotonic()
with RackThread(demo_rack(1000)) as rack:
    seconds = time.monotonic() - started
    assert len(rack.control.machines()) == 1000
    size = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(seconds, int(size.split()[1]) / 1024)
"""


def test_restart_keeps_what_machines_were_doing(tmp_path: Path) -> None:
    state, log = tmp_path / "state" / "rack.json", tmp_path / "rack.jsonl"
    config = demo_rack(4, time_scale=600)
    with RackThread(config, state_file=state, log_file=log) as rack:
        assert ipmipower(rack.config.machine("node-001"), "--on").status == 0
        rack.control.wait_for("node-001", lambda machine: machine.phase is Phase.RUNNING)
        rack.control.pull_mains("node-003")
        rack.control.pull_mains("node-004", feed="b")
        last = rack.control.last_event()
    with RackThread(config, state_file=state, log_file=log) as rack:
        machines = {machine.name: machine for machine in rack.control.machines()}
        assert (machines["node-001"].power, machines["node-001"].booted_from) == (Power.ON, BootDevice.DISK)
        assert machines["node-002"].power is Power.OFF
        assert (machines["node-003"].mains, machines["node-003"].bmc_answers) == (False, False)
        assert machines["node-004"].lost_feeds == ["b"]
        assert rack.control.last_event() == last
        rack.control.press_power_button("node-002")
    numbers = [json.loads(line)["seq"] for line in log.read_text().splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers[-1] > last


def test_restart_keeps_ports_vlans_cables_and_outlets(tmp_path: Path) -> None:
    state = tmp_path / "rack.json"
    config = demo_rack(4, time_scale=600)
    outlet = "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5"
    with RackThread(config, state_file=state) as rack:
        switch, pdu = rack.config.switch("sw-1").snmp, rack.config.pdu("pdu-1a").snmp
        rack.control.press_power_button("node-002")
        rack.control.wait_for("node-002", lambda machine: machine.phase is Phase.RUNNING)
        assert snmp("snmpset", switch, "1.3.6.1.2.1.2.2.1.7.10102", "i", "2").status == 0
        assert snmp("snmpset", switch, "1.3.6.1.2.1.17.7.1.4.5.1.1.3", "u", "10").status == 0
        assert snmp("snmpset", switch, "1.3.6.1.2.1.17.7.1.4.3.1.5.40", "i", "4").status == 0
        rack.control.swap_cables("sw-1", 1, 24)
        assert snmp("snmpset", pdu, f"{outlet}.1", "i", "2").status == 0
        before = rack.control.switch("sw-1")
        energy = rack.control.pdu("pdu-1b").outlet(2).energy_kwh
    with RackThread(config, state_file=state) as rack:
        after = rack.control.switch("sw-1")
        assert after.vlans == before.vlans
        for port, earlier in zip(after.ports, before.ports, strict=True):
            assert port.octets_in >= earlier.octets_in
            kept = {"number", "admin_up", "link", "pvid", "vlan", "device", "plug"}
            assert port.model_dump(include=kept) == earlier.model_dump(include=kept)
        assert after.uptime >= before.uptime
        assert not rack.control.pdu("pdu-1a").outlet(1).delivers
        assert rack.control.machine("node-001").lost_feeds == ["a"]
        assert rack.control.pdu("pdu-1b").outlet(2).energy_kwh >= energy > 0


def test_outlet_that_was_rebooting_comes_on_after_the_restart(tmp_path: Path) -> None:
    state = tmp_path / "rack.json"
    config = demo_rack(2, time_scale=1)
    with RackThread(config, state_file=state) as rack:
        pdu = rack.config.pdu("pdu-1a").snmp
        assert snmp("snmpset", pdu, "1.3.6.1.4.1.318.1.1.26.9.2.4.1.5.1", "i", "3").status == 0
        assert rack.control.pdu("pdu-1a").outlet(1).rebooting
    with RackThread(dataclasses.replace(config, time_scale=600), state_file=state) as rack:
        rack.control.wait_for("node-001", lambda machine: machine.lost_feeds == [])
        assert rack.control.pdu("pdu-1a").outlet(1).delivers


def test_state_is_saved_while_the_rack_runs(tmp_path: Path) -> None:
    state = tmp_path / "rack.json"
    with RackThread(demo_rack(2), state_file=state) as rack:
        rack.control.press_power_button("node-001")

        def is_saved(_machine: object) -> bool:
            return state.exists() and json.loads(state.read_text())["node-001"]["phase"] == "post"

        rack.control.wait_for("node-001", is_saved)


def test_unreadable_state_is_put_aside(tmp_path: Path) -> None:
    state = tmp_path / "rack.json"
    state.write_text('{"node-001": {"phase": "burning"}}')
    with RackThread(demo_rack(2), state_file=state) as rack:
        assert rack.control.machine("node-001").power is Power.OFF
    assert "burning" in (tmp_path / "rack.json.bad").read_text()


def test_log_goes_on_after_a_line_that_a_crash_cut_short(tmp_path: Path) -> None:
    log = tmp_path / "rack.jsonl"
    with RackThread(demo_rack(1), log_file=log) as rack:
        rack.control.press_power_button("node-001")
        last = rack.control.last_event()
    log.write_bytes(log.read_bytes() + b'{"seq": 9')
    with RackThread(demo_rack(1), log_file=log) as rack:
        assert rack.control.last_event() == last
        rack.control.press_power_button("node-001")
    lines = log.read_text().splitlines()
    assert json.loads(lines[-1])["seq"] > last


def test_port_that_is_taken_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with (
            pytest.raises(OSError, match=f"Cannot listen on 127.0.0.1:{port}"),
            RackThread(demo_rack(1, base_port=port)),
        ):
            pass


def test_fixed_ports_follow_each_other() -> None:
    config = demo_rack(3, base_port=20_000, control_port=19_999)
    assert [machine.bmc.port for machine in config.machines] == [20_000, 20_001, 20_002]
    assert config.control_port == 19_999


def test_equal_arguments_give_an_equal_rack() -> None:
    assert demo_rack(300) == demo_rack(300)
    config = demo_rack(300)
    macs = [nic.mac for machine in config.machines for nic in machine.nics]
    assert len(set(macs)) == len(macs) == 600
    tops: dict[str, int] = {}
    for machine in config.machines:
        assert machine.unit > tops.get(machine.rack, 0)
        tops[machine.rack] = machine.unit + machine.height - 1
    assert max(tops.values()) <= min(cabinet.units for cabinet in config.racks)
    assert set(tops) == {cabinet.name for cabinet in config.racks}


async def test_rack_runs_in_the_loop_of_the_caller() -> None:
    async with running_rack(demo_rack(2, time_scale=600)) as rack:
        async with AsyncRackControl(rack.control_url) as control:
            await control.press_power_button("node-002")
            await control.wait_for_event("node-002", "booted")
        assert rack.machines["node-002"].booted_from is BootDevice.DISK
        control_port = rack.config.control_port
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", control_port), timeout=1):  # noqa: PT011
        pass


async def test_serving_prints_where_things_are_and_ends_when_cancelled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = asyncio.create_task(serve_rack(dataclasses.replace(demo_rack(2), time_scale=10.0)))
    printed = ""
    while "node-002" not in printed:
        await asyncio.sleep(0.02)
        printed += capsys.readouterr().out
    assert "Control API  http://127.0.0.1:" in printed
    assert "ipmi://127.0.0.1:" in printed
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_thousand_machines_start_in_five_seconds_and_150_mib() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=60
    )
    seconds, mib = map(float, done.stdout.splitlines()[-1].split())
    assert seconds < 5
    assert mib < 150
