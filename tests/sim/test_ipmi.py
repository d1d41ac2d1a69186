"""The IPMI face, judged by stock ipmitool and ipmipower."""

import time

import pytest

from rackhand.sim.config import MachineConfig
from rackhand.sim.machine import BootDevice, Phase, Power
from rackhand.sim.rack import RackThread
from tests.sim.tools import Result, ipmipower, ipmitool


@pytest.mark.parametrize("suite", [3, 17])
def test_ipmitool_switches_a_machine_on_and_off(
    rack: RackThread, ipmi_machine: MachineConfig, suite: int
) -> None:
    assert ipmitool(ipmi_machine, "power", "status", suite=suite) == Result(0, "Chassis Power is off")
    assert ipmitool(ipmi_machine, "power", "on", suite=suite) == Result(0, "Chassis Power Control: Up/On")
    assert ipmitool(ipmi_machine, "power", "status", suite=suite) == Result(0, "Chassis Power is on")
    assert rack.control.machine(ipmi_machine.name).power is Power.ON
    assert ipmitool(ipmi_machine, "power", "off", suite=suite).status == 0
    assert rack.control.machine(ipmi_machine.name).power is Power.OFF


@pytest.mark.parametrize("options", [[], ["-I", "3"], ["-I", "17"], ["-l", "operator"]])
def test_ipmipower_needs_no_workaround(ipmi_machine: MachineConfig, options: list[str]) -> None:
    host = ipmi_machine.bmc.host
    assert ipmipower(ipmi_machine, *options, "--stat") == Result(0, f"{host}: off")
    assert ipmipower(ipmi_machine, *options, "--on") == Result(0, f"{host}: ok")
    assert ipmipower(ipmi_machine, *options, "--stat") == Result(0, f"{host}: on")
    assert ipmipower(ipmi_machine, *options, "--off", "--wait-until-off") == Result(0, f"{host}: ok")


def test_every_power_command_is_logged_as_what_it_did(
    rack: RackThread, ipmi_machine: MachineConfig, start: int
) -> None:
    name = ipmi_machine.name
    ipmipower(ipmi_machine, "--on")
    rack.control.wait_for(name, lambda machine: machine.phase is Phase.RUNNING)
    ipmipower(ipmi_machine, "--reset")
    rack.control.wait_for(name, lambda machine: machine.phase is Phase.RUNNING)
    ipmipower(ipmi_machine, "--cycle")
    rack.control.wait_for(name, lambda machine: machine.phase is Phase.RUNNING)
    ipmipower(ipmi_machine, "--soft")
    rack.control.wait_for(name, lambda machine: machine.power is Power.OFF)
    ipmipower(ipmi_machine, "--off")
    logged = [
        (event.source.value, event.action.value)
        for event in rack.control.log(after=start, device=name)
        if "session" not in event.action and "login" not in event.action
    ]
    assert logged == [
        ("ipmi", "powered_on"),
        ("machine", "booted"),
        ("ipmi", "reset"),
        ("machine", "booted"),
        ("ipmi", "powered_off"),
        ("machine", "powered_on"),
        ("machine", "booted"),
        ("ipmi", "soft_off_requested"),
        ("machine", "powered_off"),
        ("ipmi", "power_unchanged"),
    ]


@pytest.mark.parametrize("command", ["reset", "cycle", "soft"])
def test_a_machine_that_is_off_refuses_what_makes_no_sense(ipmi_machine: MachineConfig, command: str) -> None:
    answer = ipmitool(ipmi_machine, "power", command)
    assert answer.status != 0
    assert "not supported in present state" in answer.output


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ([], "8004000000"),
        (["options=persistent"], "c004000000"),
        (["options=efiboot"], "a004000000"),
        (["options=efiboot,persistent"], "e004000000"),
    ],
)
def test_all_boot_flags_are_read_back(ipmi_machine: MachineConfig, options: list[str], flags: str) -> None:
    assert ipmitool(ipmi_machine, "chassis", "bootdev", "pxe", *options).status == 0
    answer = ipmitool(ipmi_machine, "chassis", "bootparam", "get", "5")
    assert f"Boot parameter data: {flags}" in answer.output


@pytest.mark.parametrize("device", ["pxe", "disk", "cdrom", "bios"])
def test_boot_device_is_used_once(rack: RackThread, ipmi_machine: MachineConfig, device: str) -> None:
    assert ipmitool(ipmi_machine, "chassis", "bootdev", device).status == 0
    ipmitool(ipmi_machine, "power", "on")
    machine = rack.control.wait_for(ipmi_machine.name, lambda machine: machine.phase is Phase.RUNNING)
    assert machine.booted_from == {"bios": BootDevice.SETUP}.get(device, device)
    assert machine.boot_override is None


def test_boot_device_none_clears_the_override(rack: RackThread, ipmi_machine: MachineConfig) -> None:
    ipmitool(ipmi_machine, "chassis", "bootdev", "pxe")
    assert rack.control.machine(ipmi_machine.name).boot_override is not None
    ipmitool(ipmi_machine, "chassis", "bootdev", "none")
    assert rack.control.machine(ipmi_machine.name).boot_override is None


def test_identify_light(rack: RackThread, ipmi_machine: MachineConfig) -> None:
    assert ipmitool(ipmi_machine, "chassis", "identify", "force").status == 0
    assert rack.control.machine(ipmi_machine.name).identify
    assert ipmitool(ipmi_machine, "chassis", "identify", "0").status == 0
    assert not rack.control.machine(ipmi_machine.name).identify


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["mc", "info"], "IPMI Version              : 2.0"),
        (["mc", "guid"], "System GUID"),
        (["mc", "selftest"], "Selftest: passed"),
        (["chassis", "status"], "Power Restore Policy : previous"),
        (["sdr"], "Inlet Temp       | 2"),
        (["sdr", "list", "full"], "Exhaust Temp"),
        (["sdr", "elist"], "Pwr Consumption"),
        (["sensor"], "| 42.000    | 47.000"),
        (["sensor", "get", "Fan1"], "Lower Critical        : 600.000"),
        (["fru", "print"], "Product Serial        : RV00001"),
        (["lan", "print", "1"], "RMCP+ Cipher Suites     : 3,17"),
        (["lan", "print", "1"], "MAC Address             : 02:bc:00:00:00:00"),
        (["user", "list", "1"], "2   admin            true    true       true       ADMINISTRATOR"),
        (["user", "summary", "1"], "Enabled User Count  : 2"),
        (["sel", "info"], "Entries          : 0"),
        (["channel", "info", "1"], "Channel Medium Type   : 802.3 LAN"),
        (["session", "info", "active"], ""),
    ],
)
def test_ipmitool_reads(
    rack: RackThread, ipmi_machine: MachineConfig, command: list[str], words: str
) -> None:
    rack.control.press_power_button(ipmi_machine.name)
    answer = ipmitool(ipmi_machine, *command)
    assert words in answer.output
    assert answer.status == 0 or command[0] == "session"  # session information is not offered


def test_cipher_suites_are_found_without_being_named(ipmi_machine: MachineConfig) -> None:
    answer = ipmitool(ipmi_machine, "channel", "getciphers", "ipmi", "1")
    assert answer.status == 0
    assert [line.split()[0] for line in answer.output.splitlines()[1:]] == ["3", "17"]


def test_other_cipher_suites_are_refused(ipmi_machine: MachineConfig) -> None:
    assert ipmitool(ipmi_machine, "power", "status", suite=8, tries=1).status != 0


def test_viewer_may_look_and_not_touch(rack: RackThread, ipmi_machine: MachineConfig) -> None:
    viewer = ipmi_machine.bmc.more_users[0]

    def ask(command: str, privilege: str) -> Result:
        return ipmitool(
            ipmi_machine,
            "power",
            command,
            user=viewer.name,
            password=viewer.password,
            privilege=privilege,
            tries=1,
        )

    assert ask("status", "USER").output == "Chassis Power is off"
    assert "Insufficient privilege" in ask("on", "USER").output
    assert rack.control.machine(ipmi_machine.name).power is Power.OFF
    assert ask("status", "ADMINISTRATOR").status != 0


@pytest.mark.parametrize("user", ["admin", "nobody"])
def test_bad_login_is_refused_and_logged(
    rack: RackThread, ipmi_machine: MachineConfig, start: int, user: str
) -> None:
    assert ipmitool(ipmi_machine, "power", "status", user=user, password="wrong", tries=1).status != 0
    event = rack.control.wait_for_event(ipmi_machine.name, "login_refused", after=start)
    assert event.detail["user"] == user
    actions = [event.action for event in rack.control.log(after=start, device=ipmi_machine.name)]
    assert "login_accepted" not in actions


def test_bmc_reset_silences_the_bmc_and_not_the_machine(
    rack: RackThread, ipmi_machine: MachineConfig
) -> None:
    rack.control.press_power_button(ipmi_machine.name)
    assert ipmitool(ipmi_machine, "mc", "reset", "cold").status == 0
    machine = rack.control.machine(ipmi_machine.name)
    assert (machine.power, machine.bmc_answers) == (Power.ON, False)
    rack.control.wait_for_event(ipmi_machine.name, "bmc_ready")
    assert ipmitool(ipmi_machine, "power", "status").output == "Chassis Power is on"


def test_clients_in_quick_succession_find_free_sessions(ipmi_machine: MachineConfig) -> None:
    started = time.monotonic()
    for _ in range(10):
        assert ipmipower(ipmi_machine, "--stat").status == 0
    assert time.monotonic() - started < 30
