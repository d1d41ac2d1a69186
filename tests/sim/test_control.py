"""The control API: bad input above all."""

import httpx
import pytest

from rackhand.sim.client import AsyncRackControl, ControlError
from rackhand.sim.config import BmcKind, MachineConfig
from rackhand.sim.machine import Power
from rackhand.sim.rack import RackThread


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/machines/none", None, 404),
        ("GET", "/elsewhere", None, 404),
        ("POST", "/machines", {}, 405),
        ("PUT", "/machines/none/faults/slow", {}, 404),
        ("PUT", "/machines/node-001/faults/none", {}, 404),
        ("DELETE", "/machines/node-001/faults/none", None, 404),
        ("PUT", "/machines/node-001/faults/slow", {"value": -1}, 400),
        ("PUT", "/machines/node-001/faults/slow", {"value": 1e9}, 400),
        ("PUT", "/machines/node-001/faults/slow", {"value": "2"}, 400),
        ("PUT", "/machines/node-001/faults/slow", {"value": True}, 400),
        ("PUT", "/machines/node-001/faults/slow", {"values": 2}, 400),
        ("PUT", "/machines/node-001/faults/slow", {"times": 0}, 400),
        ("PUT", "/machines/node-001/faults/slow", {"times": 1.5}, 400),
        ("PUT", "/machines/node-001/faults/unplugged", {"times": 1}, 400),
        ("PUT", "/machines/node-001/faults/garbage", {"value": 1}, 400),
        ("PUT", "/machines/node-001/faults/slow", [], 400),
        ("PUT", "/machines/node-001/mains", {}, 400),
        ("PUT", "/machines/node-001/mains", {"on": "yes"}, 400),
        ("PUT", "/machines/node-001/mains", {"on": True, "feed": "z"}, 400),
        ("PUT", "/machines/none/mains", {"on": True}, 404),
        ("POST", "/machines/node-001/power_button", {"hold": 1}, 400),
        ("POST", "/machines/none/power_button", {}, 404),
        ("GET", "/log?after=x", None, 400),
        ("GET", "/log?after=-1", None, 400),
        ("GET", "/log?limit=99999999", None, 400),
        ("GET", "/log?after=²", None, 400),
        ("GET", "/log?after=" + "9" * 40, None, 400),
        ("GET", "/log?device=none", None, 404),
        ("PUT", "/machines/node-001/faults/ignore_vlan", {}, 400),
        ("PUT", "/machines/none/traffic", {"nic": "eth0", "sends": 1, "receives": 1}, 404),
        ("PUT", "/machines/node-001/traffic", {"nic": "eth9", "sends": 1.0, "receives": 1.0}, 400),
        ("PUT", "/machines/node-001/traffic", {"nic": "eth0", "sends": -1.0, "receives": 1.0}, 400),
        ("GET", "/switches/none", None, 404),
        ("PUT", "/switches/none/faults/slow", {}, 404),
        ("PUT", "/switches/sw-1/faults/none", {}, 404),
        ("PUT", "/switches/sw-1/faults/power_cut", {}, 400),
        ("PUT", "/switches/sw-1/faults/slow", {"value": -1}, 400),
        ("POST", "/switches/sw-1/swap_cables", {"port": 1}, 400),
        ("POST", "/switches/sw-1/swap_cables", {"port": 1, "other": 25}, 400),
        ("POST", "/switches/sw-1/swap_cables", {"port": 1, "other": 1}, 400),
        ("POST", "/switches/none/restart", {}, 404),
        ("GET", "/pdus/none", None, 404),
        ("PUT", "/pdus/none/faults/slow", {}, 404),
        ("PUT", "/pdus/pdu-1a/faults/ignore_vlan", {}, 400),
        ("DELETE", "/pdus/pdu-1a/faults/none", None, 404),
        ("POST", "/reset", {"machine": "none"}, 404),
        ("POST", "/reset", {"machine": 1}, 400),
    ],
)
def test_bad_input_is_answered_with_a_sentence_and_changes_nothing(
    rack: RackThread, start: int, method: str, path: str, body: object, status: int
) -> None:
    answer = httpx.request(method, rack.control_url + path, json=body, trust_env=False)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert len(answer.json()["error"]) > 5
    assert rack.control.last_event() == start


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"value": NaN}', b'{"value": 1e999}', b"null"])
def test_broken_json_is_answered_with_a_sentence(rack: RackThread, body: bytes) -> None:
    answer = httpx.put(f"{rack.control_url}/machines/node-001/faults/slow", content=body, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_client_raises_the_sentence(rack: RackThread) -> None:
    with pytest.raises(ControlError, match=r"There is no machine none\.") as refusal:
        rack.control.machine("none")
    assert refusal.value.status == 404


def test_machines_are_listed_as_configured(rack: RackThread) -> None:
    machines = rack.control.machines()
    assert [machine.name for machine in machines] == [machine.name for machine in rack.config.machines]
    assert len(machines) == 12
    assert len({machine.configuration for machine in machines}) == 3
    assert len({machine.rack for machine in machines}) == 2
    assert sum(machine.bmc.kind is BmcKind.IPMI for machine in machines) == 6
    macs = [mac for machine in machines for mac in machine.macs]
    assert len(set(macs)) == len(macs)
    assert all(mac.startswith("00:00:5e:00:53:") for mac in macs)
    taken = {
        (machine.rack, unit)
        for machine in machines
        for unit in range(machine.unit, machine.unit + machine.height)
    }
    assert len(taken) == sum(machine.height for machine in machines)


def test_log_is_read_in_parts_and_by_machine(rack: RackThread, start: int) -> None:
    for name in ("node-001", "node-002", "node-001"):
        rack.control.fault_on(name, "slow")
    events = rack.control.log(after=start)
    assert [event.seq for event in events] == [start + 1, start + 2, start + 3]
    assert [event.seq for event in rack.control.log(after=start, device="node-001")] == [
        start + 1,
        start + 3,
    ]
    page = httpx.get(f"{rack.control_url}/log?after={start}&limit=1", trust_env=False).json()
    assert [event["seq"] for event in page["events"]] == [start + 1]
    assert page["last"] == start + 3


def test_reset_of_one_machine_leaves_the_others(rack: RackThread) -> None:
    for name in ("node-001", "node-002"):
        rack.control.press_power_button(name)
        rack.control.fault_on(name, "slow")
    (machine,) = rack.control.reset("node-001")
    assert (machine.name, machine.power, machine.faults) == ("node-001", Power.OFF, {})
    assert rack.control.machine("node-002").power is Power.ON


def test_switching_a_fault_off_twice_is_harmless(rack: RackThread, ipmi_machine: MachineConfig) -> None:
    rack.control.fault_on(ipmi_machine.name, "slow", value=3, times=2)
    (active,) = rack.control.machine(ipmi_machine.name).faults.values()
    assert (active.value, active.times) == (3, 2)
    rack.control.fault_off(ipmi_machine.name, "slow")
    assert rack.control.fault_off(ipmi_machine.name, "slow").faults == {}


async def test_async_client_does_the_same(rack: RackThread, start: int) -> None:
    async with AsyncRackControl(rack.control_url) as control:
        await control.press_power_button("node-003")
        booted = await control.wait_for_event("node-003", "booted", after=start)
        assert booted.detail["device"] == "disk"
        assert (await control.machine("node-003")).power is Power.ON
        await control.fault_on("node-003", "unplugged")
        assert not (await control.machine("node-003")).bmc_answers
        await control.fault_off("node-003", "unplugged")
        await control.pull_mains("node-003")
        assert not (await control.restore_mains("node-003", feed="a")).bmc_answers
        assert len(await control.machines()) == 12
        assert await control.last_event() == (await control.log(after=start))[-1].seq
        assert len(await control.faults()) > 10
        await control.set_traffic("node-003", "eth0", sends=1, receives=1)
        assert len(await control.switches()) == 2
        assert (await control.switch_fault_on("sw-1", "slow", value=1)).faults
        assert not (await control.switch_fault_off("sw-1", "slow")).faults
        assert (await control.swap_cables("sw-1", 1, 2)).port(2).plug == "eth0"
        assert (await control.restart_switch("sw-1")).uptime < (await control.switch("sw-2")).uptime
        assert len(await control.pdus()) == 4
        assert (await control.pdu_fault_on("pdu-1a", "stuck_outlet")).faults
        assert not (await control.pdu_fault_off("pdu-1a", "stuck_outlet")).faults
        assert (await control.pdu("pdu-1a")).outlet(1).machine == "node-001"
        assert len(await control.reset()) == 12
        with pytest.raises(ControlError):
            await control.machine("none")
