"""The IPMI driver against OpenIPMI's `ipmi_sim`, a BMC that is not ours."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rackhand.hardware import processes
from rackhand.hardware.errors import AuthFailed, Refused, Timeout, Unreachable, Unsupported
from rackhand.hardware.interfaces import (
    BootDevice,
    BootMode,
    BootOverride,
    Endpoint,
    PowerAction,
    PowerState,
    Sensor,
)
from rackhand.hardware.ipmi import DeviceId, IpmiBmc, ipmipower_config, parse_boot_flags, parse_sensors
from tests.hardware.bmcs import PASSWORD, IpmiSim, free_port


def bmc_of(endpoint: Endpoint, **settings: str) -> IpmiBmc:
    return IpmiBmc(replace(endpoint, settings={**endpoint.settings, **settings}), asyncio.Semaphore(8))


def command_lines() -> Iterator[tuple[str, bytes]]:
    """Everything that other users can read of a process, and its environment."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                seen = (folder / "cmdline").read_bytes()
                yield seen.decode(errors="replace"), seen + (folder / "environ").read_bytes()
            except OSError:
                continue


async def test_power_follows_what_is_asked(ipmi_sim: IpmiSim) -> None:
    bmc = bmc_of(ipmi_sim.endpoint)
    assert await bmc.power_state() is PowerState.OFF
    await bmc.set_power(PowerAction.ON)
    assert await bmc.power_state() is PowerState.ON
    await bmc.set_power(PowerAction.OFF)
    assert await bmc.power_state() is PowerState.OFF


@pytest.mark.parametrize(
    ("action", "asked"),
    [(PowerAction.RESET, "set reset 1"), (PowerAction.SOFT_OFF, "set shutdown 1")],
)
async def test_every_action_reaches_the_chassis(ipmi_sim: IpmiSim, action: PowerAction, asked: str) -> None:
    await bmc_of(ipmi_sim.endpoint).set_power(action)
    assert asked in ipmi_sim.log


@pytest.mark.parametrize(
    ("device", "word"), [(BootDevice.PXE, "pxe"), (BootDevice.DISK, "default"), (BootDevice.SETUP, "bios")]
)
async def test_boot_device_reaches_the_chassis(ipmi_sim: IpmiSim, device: BootDevice, word: str) -> None:
    await bmc_of(ipmi_sim.endpoint).set_boot_device(device, mode=BootMode.UEFI)
    assert f"set boot {word}" in ipmi_sim.log


async def test_boot_override_that_the_bmc_does_not_mark_valid_is_none(ipmi_sim: IpmiSim) -> None:
    """`ipmi_sim` loses the valid bit, and so does a BMC whose 60 s are over."""
    bmc = bmc_of(ipmi_sim.endpoint)
    await bmc.set_boot_device(BootDevice.PXE)
    assert await bmc.boot_override() == BootOverride(BootDevice.NONE)


@pytest.mark.parametrize(
    ("answer", "override"),
    [
        ("0105800400 0000", BootOverride(BootDevice.PXE, BootMode.LEGACY)),
        ("0105e00800 0000", BootOverride(BootDevice.DISK, BootMode.UEFI, persistent=True)),
        ("0105a02000 0000", BootOverride(BootDevice.CDROM, BootMode.UEFI)),
        ("0105800000 0000", BootOverride(BootDevice.NONE)),
        ("0105000400 0000", BootOverride(BootDevice.NONE)),
    ],
)
def test_boot_flags_are_read_as_the_specification_says(answer: str, override: BootOverride) -> None:
    assert parse_boot_flags(bytes.fromhex(answer)) == override


def test_boot_flags_of_an_unknown_device_are_no_guess() -> None:
    with pytest.raises(Unsupported, match="0xf"):
        parse_boot_flags(bytes.fromhex("0105803c000000"))


async def test_identify_reaches_the_chassis(ipmi_sim: IpmiSim) -> None:
    bmc = bmc_of(ipmi_sim.endpoint)
    await bmc.identify(on=True)
    await bmc.identify(on=False)
    assert [line for line in ipmi_sim.log if "identify" in line] == ["set identify 0 1", "set identify 0 0"]


async def test_sensors_have_values_and_units(ipmi_sim: IpmiSim) -> None:
    assert await bmc_of(ipmi_sim.endpoint).sensors() == [Sensor("Inlet Temp", 35.0, "°C", "ok")]


def test_sensor_without_a_reading_has_no_value() -> None:
    text = (
        "FAN1,8400,RPM,ok\nP2-DIMM,no reading,ns,\nVBAT,disabled,ns\nCPU Temp,97,degrees C,cr\nFAN2,na,,ns\n"
    )
    assert parse_sensors(text) == [
        Sensor("FAN1", 8400.0, "RPM", "ok"),
        Sensor("P2-DIMM", None, "", "unavailable"),
        Sensor("CPU Temp", 97.0, "°C", "critical"),
        Sensor("FAN2", None, "", "unavailable"),
    ]


async def test_device_id_names_maker_product_and_firmware(ipmi_sim: IpmiSim) -> None:
    assert await bmc_of(ipmi_sim.endpoint).device_id() == DeviceId(0x1291, 0x0F02, "9.08")


async def test_bmc_reset_is_accepted(ipmi_sim: IpmiSim) -> None:
    await bmc_of(ipmi_sim.endpoint).reset_bmc()


@pytest.mark.parametrize("user", ["admin", "nobody"])
async def test_wrong_account_is_told_apart_by_both_programs(ipmi_sim: IpmiSim, user: str) -> None:
    bmc = bmc_of(replace(ipmi_sim.endpoint, user=user, password="wrong"))
    with pytest.raises(AuthFailed, match=f"refused the account '{user}'"):
        await bmc.power_state()
    with pytest.raises(AuthFailed, match=f"refused the account '{user}'"):
        await bmc.device_id()
    with pytest.raises(AuthFailed, match=f"refused the account '{user}'"):
        await bmc.sensors()


async def test_dead_host_is_unreachable_for_both_programs() -> None:
    endpoint = Endpoint("ipmi", "127.0.0.1", free_port(socket.SOCK_DGRAM), "admin", PASSWORD)
    bmc = bmc_of(endpoint, timeout_seconds="1")
    with pytest.raises(Unreachable, match="does not answer"):
        await bmc.power_state()
    with pytest.raises(Unreachable):
        await bmc.device_id()


@pytest.mark.parametrize("host", ["bmc.invalid", "10.0.0.1,10.0.0.2", "-h", ""])
async def test_host_that_is_none_is_unreachable_for_both_programs(host: str) -> None:
    bmc = bmc_of(Endpoint("ipmi", host, 623, "admin", PASSWORD), timeout_seconds="1")
    with pytest.raises(Unreachable):
        await bmc.power_state()
    with pytest.raises(Unreachable):
        await bmc.device_id()


async def test_too_little_privilege_is_a_refusal(ipmi_sim: IpmiSim) -> None:
    bmc = bmc_of(ipmi_sim.endpoint, privilege="user")
    assert await bmc.power_state() is PowerState.OFF
    with pytest.raises(Refused, match="operator privilege"):
        await bmc.set_power(PowerAction.ON)
    with pytest.raises(Refused, match="Insufficient privilege level"):
        await bmc.set_boot_device(BootDevice.PXE)


async def test_command_that_the_bmc_does_not_know_is_unsupported(ipmi_sim: IpmiSim) -> None:
    with pytest.raises(Unsupported, match="0xc1"):
        await bmc_of(ipmi_sim.endpoint, privilege="admin").raw(0x06, 0x77)


async def test_refusal_that_ipmipower_keeps_to_itself_is_told_with_its_code(ipmi_sim: IpmiSim) -> None:
    (ipmi_sim.folder / "broken").touch()
    bmc = bmc_of(ipmi_sim.endpoint)
    with pytest.raises(Refused, match="0xff"):
        await bmc.set_power(PowerAction.RESET)
    with pytest.raises(Refused, match="0xff"):
        await bmc.power_state()


async def test_cipher_suite_that_the_bmc_lacks_is_no_wrong_password(ipmi_sim: IpmiSim) -> None:
    bmc = bmc_of(ipmi_sim.endpoint, cipher_suite="17")
    with pytest.raises(Refused, match="BMC error"):
        await bmc.power_state()
    with pytest.raises(Unsupported, match="invalid authentication algorithm"):
        await bmc.device_id()


async def test_bmc_that_denies_the_privilege_level_is_cured_by_the_workaround(ipmi_sim: IpmiSim) -> None:
    with pytest.raises(Refused, match="privilege level cannot be obtained"):
        await bmc_of(ipmi_sim.endpoint, workaround_flags="").power_state()


async def test_password_is_in_no_command_line_and_no_environment(ipmi_sim: IpmiSim) -> None:
    (ipmi_sim.folder / "slow").touch()
    bmc = bmc_of(ipmi_sim.endpoint)
    requests: dict[str, Callable[[], Awaitable[object]]] = {
        "ipmipower": bmc.power_state,
        "ipmitool": lambda: bmc.raw(0x00, 0x01),
    }
    for name, request in requests.items():
        running = asyncio.ensure_future(request())
        met = 0
        while not running.done():
            for command, seen in command_lines():
                met += command.startswith(name)
                assert PASSWORD.encode() not in seen
            await asyncio.sleep(0.02)
        await running
        assert met, f"{name} was never seen running"


async def test_cancelled_request_leaves_no_process(ipmi_sim: IpmiSim) -> None:
    (ipmi_sim.folder / "slow").touch()
    mark = f"{ipmi_sim.endpoint.host}:{ipmi_sim.endpoint.port}"
    running = asyncio.create_task(bmc_of(ipmi_sim.endpoint).power_state())
    for _ in range(200):
        await asyncio.sleep(0.01)
        if any(mark in command for command, _ in command_lines() if command.startswith("ipmipower")):
            break
    else:
        pytest.fail("ipmipower was never seen running")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not any(mark in command for command, _ in command_lines() if command.startswith("ipmipower"))


async def test_program_that_hangs_is_killed_in_time() -> None:
    started = time.monotonic()
    with pytest.raises(Timeout, match=r"sleep did not end within 0\.2 s"):
        await processes.run(["sleep", "31.5"], secret="", slots=asyncio.Semaphore(1), seconds=0.2)
    assert time.monotonic() - started < 15
    assert not any(command.startswith("sleep\x0031.5") for command, _ in command_lines())


async def test_program_that_is_not_installed_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="'ipmi-nothing' is not installed"):
        await processes.run(["ipmi-nothing"], secret="", slots=asyncio.Semaphore(1), seconds=1)


async def test_no_more_programs_run_at_once_than_there_are_slots() -> None:
    slots = asyncio.Semaphore(2)
    started = time.monotonic()
    await asyncio.gather(
        *(processes.run(["sleep", "0.2"], secret="", slots=slots, seconds=5) for _ in range(6))
    )
    assert time.monotonic() - started >= 0.6


async def test_secret_is_readable_by_the_program_alone() -> None:
    command = ["sh", "-c", "cat $0; stat -L -c %a $0; env", processes.SECRET]
    output = await processes.run(command, secret="hush\n", slots=asyncio.Semaphore(1), seconds=5)
    secret, mode, *environment = output.out.splitlines()
    assert (secret, mode) == ("hush", "600")
    assert {line.partition("=")[0] for line in environment} <= {
        "LC_ALL",
        "PATH",
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
    }


def test_configuration_file_quotes_what_freeipmi_would_take_for_syntax() -> None:
    endpoint = Endpoint("ipmi", "h", 623, "a b", 'p"w#x\\y')
    assert ipmipower_config(endpoint) == 'username "a b"\npassword "p\\"w\\#x\\\\y"\n'
    with pytest.raises(AuthFailed, match="line break"):
        ipmipower_config(replace(endpoint, password="a\npassword b"))


def test_wrong_settings_are_refused_before_anything_is_asked() -> None:
    with pytest.raises(ValueError, match="cipher_suite"):
        bmc_of(Endpoint("ipmi", "h", 623), cipher_suite="0")
