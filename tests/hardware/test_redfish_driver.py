"""The Redfish driver against sushy-tools, and against a service with the faults that sushy-tools lacks."""

import asyncio
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

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
from rackhand.hardware.redfish import RedfishBmc, parse_thermal_and_power
from tests.hardware.bmcs import FaultyRedfish, free_port, serving


def bmc_of(endpoint: Endpoint, **settings: str) -> RedfishBmc:
    return RedfishBmc(replace(endpoint, settings={**endpoint.settings, **settings}), asyncio.Semaphore(8))


async def test_sushy_system_is_switched_on(sushy: Endpoint) -> None:
    """The fake driver of sushy-tools takes 1 to 11 s for it."""
    bmc = bmc_of(sushy)
    assert await bmc.power_state() is PowerState.OFF
    await bmc.set_power(PowerAction.ON)
    for _ in range(300):
        if await bmc.power_state() is PowerState.ON:
            break
        await asyncio.sleep(0.05)
    assert await bmc.power_state() is PowerState.ON
    await bmc.close()


async def test_sushy_system_boots_from_the_network_with_the_mode_asked_for(sushy: Endpoint) -> None:
    """sushy-tools reports every override as continuous."""
    bmc = bmc_of(sushy)
    await bmc.set_boot_device(BootDevice.PXE, mode=BootMode.LEGACY)
    assert await bmc.boot_override() == BootOverride(BootDevice.PXE, BootMode.LEGACY, persistent=True)
    await bmc.set_boot_device(BootDevice.DISK, mode=BootMode.UEFI, persistent=True)
    assert await bmc.boot_override() == BootOverride(BootDevice.DISK, BootMode.UEFI, persistent=True)
    await bmc.close()


async def test_sushy_system_refuses_what_it_does_not_list(sushy: Endpoint) -> None:
    bmc = bmc_of(sushy)
    with pytest.raises(Unsupported, match="'BiosSetup', only from: Pxe, Cd, Hdd"):
        await bmc.set_boot_device(BootDevice.SETUP)
    with pytest.raises(Unsupported, match="cannot PowerCycle, only: On, ForceOff"):
        await bmc.set_power(PowerAction.CYCLE)
    await bmc.close()


async def test_sushy_chassis_has_readings_and_a_light(sushy: Endpoint) -> None:
    bmc = bmc_of(sushy)
    sensors = await bmc.sensors()
    assert {(sensor.unit, sensor.status) for sensor in sensors} == {("°C", "ok"), ("RPM", "ok")}
    assert all(sensor.name and sensor.value is not None for sensor in sensors)
    await bmc.identify(on=True)
    assert (await bmc._system())["IndicatorLED"] == "Blinking"
    await bmc.identify(on=False)
    assert (await bmc._system())["IndicatorLED"] == "Off"
    await bmc.close()


async def test_sushy_system_is_found_by_its_id(sushy: Endpoint) -> None:
    bmc = bmc_of(sushy, system_id="27946b59-9e44-4fa7-8e91-f3527a1ef094")
    assert await bmc.power_state() is PowerState.OFF
    await bmc.close()
    bmc = bmc_of(sushy, system_id="2")
    with pytest.raises(Unsupported, match="no system '2'"):
        await bmc.power_state()
    await bmc.close()


async def test_one_session_serves_all_requests_and_is_deleted_at_the_end(faulty: FaultyRedfish) -> None:
    bmc = bmc_of(faulty.endpoint)
    for _ in range(3):
        assert await bmc.power_state() is PowerState.OFF
    assert len(faulty.sessions) == 1
    await bmc.close()
    assert (faulty.log.count("login"), faulty.log.count("logout"), faulty.sessions) == (1, 1, set())


async def test_expired_session_is_replaced_once(faulty: FaultyRedfish) -> None:
    bmc = bmc_of(faulty.endpoint)
    await bmc.power_state()
    faulty.sessions.clear()
    assert await bmc.power_state() is PowerState.OFF
    assert faulty.log.count("login") == 2
    await bmc.close()


async def test_service_that_denies_its_own_sessions_is_no_wrong_password(faulty: FaultyRedfish) -> None:
    faulty.deny_sessions = True
    bmc = bmc_of(faulty.endpoint)
    with pytest.raises(Refused, match="its own fresh session"):
        await bmc.power_state()
    assert faulty.log.count("login") == 2
    await bmc.close()


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_wrong_password_costs_one_login(faulty: FaultyRedfish, status: int) -> None:
    faulty.login_status = status
    bmc = bmc_of(replace(faulty.endpoint, password="wrong"))
    with pytest.raises(AuthFailed, match=r"refused the account 'admin': The account is wrong\."):
        await bmc.power_state()
    assert faulty.failed_logins == 1
    await bmc.close()


async def test_service_without_sessions_gets_basic_authentication(faulty: FaultyRedfish) -> None:
    faulty.has_sessions = False
    bmc = bmc_of(faulty.endpoint)
    assert await bmc.power_state() is PowerState.OFF
    await bmc.close()
    bmc = bmc_of(replace(faulty.endpoint, password="wrong"))
    with pytest.raises(AuthFailed, match="refused the account"):
        await bmc.power_state()
    assert faulty.failed_logins == 1
    await bmc.close()


@pytest.mark.parametrize(("weak", "races"), [(False, 0), (False, 1), (False, 2), (True, 0)])
async def test_boot_device_is_set_though_others_write_too(
    faulty: FaultyRedfish, *, weak: bool, races: int
) -> None:
    faulty.weak, faulty.races = weak, races
    bmc = bmc_of(faulty.endpoint)
    await bmc.set_boot_device(BootDevice.PXE, mode=BootMode.UEFI)
    assert faulty.boot == {
        "BootSourceOverrideEnabled": "Once",
        "BootSourceOverrideTarget": "Pxe",
        "BootSourceOverrideMode": "UEFI",
    }
    assert await bmc.boot_override() == BootOverride(BootDevice.PXE, BootMode.UEFI)
    await bmc.set_boot_device(BootDevice.NONE)
    assert await bmc.boot_override() == BootOverride(BootDevice.NONE)
    await bmc.close()


async def test_endless_race_is_a_refusal_in_the_words_of_the_service(faulty: FaultyRedfish) -> None:
    faulty.races = 9
    bmc = bmc_of(faulty.endpoint)
    with pytest.raises(Refused, match=r"with 412: Somebody else wrote\."):
        await bmc.set_boot_device(BootDevice.PXE)
    await bmc.close()


async def test_reset_type_comes_from_the_action_info(faulty: FaultyRedfish) -> None:
    bmc = bmc_of(faulty.endpoint)
    await bmc.set_power(PowerAction.ON)
    assert (faulty.log[-1], faulty.power) == ("ForceOn", "On")
    with pytest.raises(Unsupported, match="cannot GracefulShutdown, only: ForceOn, ForceOff, ForceRestart"):
        await bmc.set_power(PowerAction.SOFT_OFF)
    await bmc.set_power(PowerAction.OFF)
    with pytest.raises(Refused, match=r"with 409: The system is off already\."):
        await bmc.set_power(PowerAction.OFF)
    await bmc.close()


async def test_power_between_on_and_off_is_unknown(faulty: FaultyRedfish) -> None:
    faulty.power = "PoweringOn"
    bmc = bmc_of(faulty.endpoint)
    assert await bmc.power_state() is PowerState.UNKNOWN
    await bmc.close()


async def test_sensors_collection_is_read_in_one_request(faulty: FaultyRedfish) -> None:
    bmc = bmc_of(faulty.endpoint)
    assert await bmc.sensors() == [
        Sensor("Inlet", 21.5, "°C", "ok"),
        Sensor("Fan 1", 4200.0, "RPM", "warning"),
        Sensor("PSU 2", None, "W", "unavailable"),
    ]
    await bmc.close()


def test_power_resource_gives_volts_and_watts() -> None:
    resource = {
        "Voltages": [{"Name": "12V", "ReadingVolts": 12.1, "Status": {"Health": "OK"}}],
        "PowerControl": [{"Name": "System", "PowerConsumedWatts": 344}],
        "Fans": [{"FanName": "Fan 1", "Reading": 40, "ReadingUnits": "Percent"}],
    }
    assert parse_thermal_and_power(resource) == [
        Sensor("Fan 1", 40.0, "%", "ok"),
        Sensor("12V", 12.1, "V", "ok"),
        Sensor("System", 344.0, "W", "ok"),
    ]


async def test_light_is_switched_where_the_system_has_one(faulty: FaultyRedfish) -> None:
    bmc = bmc_of(faulty.endpoint)
    await bmc.identify(on=True)
    assert faulty.light
    await bmc.close()


async def test_bmc_reset_takes_the_type_that_the_manager_lists_and_signs_in_anew(
    faulty: FaultyRedfish,
) -> None:
    bmc = bmc_of(faulty.endpoint)
    await bmc.reset_bmc()
    assert faulty.log[-1] == "GracefulRestart"
    assert await bmc.power_state() is PowerState.OFF
    assert faulty.log.count("login") == 2
    await bmc.close()


async def test_slow_service_is_waited_for_and_then_given_up(faulty: FaultyRedfish) -> None:
    bmc = bmc_of(faulty.endpoint, timeout_seconds="1")
    faulty.slow = 0.7
    assert await bmc.power_state() is PowerState.OFF
    faulty.slow = 8
    started = time.monotonic()
    with pytest.raises(Timeout, match="within 1 s"):
        await bmc.power_state()
    assert time.monotonic() - started < 6
    await bmc.close()


async def test_service_that_is_starting_may_be_asked_again(faulty: FaultyRedfish) -> None:
    faulty.broken = 1
    bmc = bmc_of(faulty.endpoint)
    with pytest.raises(Timeout, match=r"with 503: The service is starting\."):
        await bmc.power_state()
    assert await bmc.power_state() is PowerState.OFF
    await bmc.close()


async def test_closed_port_is_unreachable() -> None:
    bmc = bmc_of(Endpoint("redfish", "127.0.0.1", free_port(), settings={"scheme": "http"}))
    with pytest.raises(Unreachable, match="cannot be reached"):
        await bmc.power_state()
    await bmc.close()


async def test_answers_of_something_else_are_no_redfish() -> None:
    async def page(_: object) -> HTMLResponse:
        return HTMLResponse("<h1>Router</h1>")

    async with serving(Starlette(routes=[Route("/redfish/v1/", page)])) as port:
        bmc = bmc_of(Endpoint("redfish", "127.0.0.1", port, settings={"scheme": "http"}))
        with pytest.raises(Unsupported, match="with a JSON object"):
            await bmc.power_state()
        await bmc.close()


async def test_session_is_never_carried_to_another_host() -> None:
    async def root(_: object) -> JSONResponse:
        return JSONResponse(
            {"RedfishVersion": "1.6.0", "Systems": {"@odata.id": "https://elsewhere.invalid/"}}
        )

    async with serving(Starlette(routes=[Route("/redfish/v1/", root)])) as port:
        bmc = bmc_of(Endpoint("redfish", "127.0.0.1", port, settings={"scheme": "http"}))
        with pytest.raises(Unsupported, match="where a path belongs"):
            await bmc.power_state()
        await bmc.close()


async def test_certificate_is_checked_unless_told_otherwise(faulty: FaultyRedfish, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=bmc",
    ]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)  # noqa: ASYNC221
    async with serving(faulty.app, ssl_keyfile=key, ssl_certfile=certificate) as port:
        endpoint = replace(faulty.endpoint, port=port, settings={})
        bmc = bmc_of(endpoint)
        with pytest.raises(Refused, match=r"certificate that is not trusted.*set `verify_tls` to `false`"):
            await bmc.power_state()
        await bmc.close()
        bmc = bmc_of(endpoint, verify_tls="false")
        assert await bmc.power_state() is PowerState.OFF
        await bmc.close()
