"""The Redfish face, judged by httpx and by sushy."""

import json
import ssl

import httpx
import pytest
import sushy
from sushy import auth, exceptions

from rackhand.sim.config import BmcKind, MachineConfig
from rackhand.sim.machine import BootDevice, Phase, Power
from rackhand.sim.rack import RackThread, demo_rack
from tests.sim import tools
from tests.sim.tools import error_key, reset, system_path

RESET_TYPES = [
    "On",
    "ForceOn",
    "ForceOff",
    "GracefulShutdown",
    "ForceRestart",
    "GracefulRestart",
    "PowerCycle",
    "PushPowerButton",
    "Nmi",
]


@pytest.fixture
def driver(redfish_machine: MachineConfig) -> sushy.Sushy:
    bmc = redfish_machine.bmc
    basic = auth.BasicAuth(bmc.user, bmc.password)
    return sushy.Sushy(f"http://{bmc.host}:{bmc.port}/redfish/v1", auth=basic)


def only_system(driver: sushy.Sushy) -> sushy.resources.system.system.System:
    (system,) = driver.get_system_collection().get_members()
    return system


def test_every_link_of_the_service_leads_somewhere(redfish: httpx.Client) -> None:
    seen: set[str] = set()
    waiting = ["/redfish/v1/"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        response = redfish.get(path)
        assert response.status_code == 200, path
        assert response.json()["@odata.id"].rstrip("/") == path.rstrip("/")
        links = json.dumps(response.json()).split('"@odata.id": "')[1:]
        waiting += (
            {link.split('"')[0] for link in links if "#" not in link.split('"')[0]} - seen - set(waiting)
        )
    assert len(seen) > 15


def test_sushy_reads_the_system(driver: sushy.Sushy, redfish_machine: MachineConfig) -> None:
    system = only_system(driver)
    assert system.identity == redfish_machine.bmc.system_id
    assert system.serial_number == redfish_machine.serial
    assert system.power_state is sushy.PowerState.OFF
    assert system.memory_summary.size_gib == redfish_machine.memory_gib
    assert {mac.lower() for mac in system.ethernet_interfaces.summary} == {
        nic.mac for nic in redfish_machine.nics
    }
    assert len(system.storage.get_members()[0].drives) == len(redfish_machine.disks)
    assert system.get_allowed_reset_system_values() == {sushy.ResetType(name) for name in RESET_TYPES}
    (chassis,) = driver.get_chassis_collection().get_members()
    assert chassis.power.power_supplies[0].identity == "0"
    assert chassis.thermal.temperatures[0].name == "Inlet Temp"
    (manager,) = driver.get_manager_collection().get_members()
    assert manager.firmware_version == "3.10"


def test_sushy_boots_a_machine_from_the_network_once(
    rack: RackThread, driver: sushy.Sushy, redfish_machine: MachineConfig
) -> None:
    system = only_system(driver)
    system.set_system_boot_options(
        target=sushy.BootSource.PXE,
        enabled=sushy.BootSourceOverrideEnabled.ONCE,
        mode=sushy.BootSourceOverrideMode.UEFI,
    )
    system.refresh()
    assert system.boot.target is sushy.BootSource.PXE
    assert system.boot.enabled is sushy.BootSourceOverrideEnabled.ONCE
    system.reset_system(sushy.ResetType.ON)
    machine = rack.control.wait_for(redfish_machine.name, lambda machine: machine.phase is Phase.RUNNING)
    assert machine.booted_from is BootDevice.PXE
    system.refresh(force=True)
    assert system.power_state is sushy.PowerState.ON
    assert system.boot.enabled is sushy.BootSourceOverrideEnabled.DISABLED


def test_sushy_switches_the_light_and_resets_the_bmc(
    rack: RackThread, driver: sushy.Sushy, redfish_machine: MachineConfig, start: int
) -> None:
    only_system(driver).set_indicator_led(sushy.IndicatorLED.BLINKING)
    assert rack.control.machine(redfish_machine.name).identify
    (manager,) = driver.get_manager_collection().get_members()
    manager.reset_manager(sushy.ResetType.FORCE_RESTART)
    rack.control.wait_for_event(redfish_machine.name, "bmc_ready", after=start)
    driver.get_system_collection()


def test_sushy_signs_in_and_out_with_a_session(redfish_machine: MachineConfig, redfish: httpx.Client) -> None:
    bmc = redfish_machine.bmc
    session = auth.SessionAuth(bmc.user, bmc.password)
    driver = sushy.Sushy(f"http://{bmc.host}:{bmc.port}/redfish/v1", auth=session)
    assert redfish.get("/redfish/v1/SessionService/Sessions").json()["Members@odata.count"] == 1
    only_system(driver)
    session.close()
    assert redfish.get("/redfish/v1/SessionService/Sessions").json()["Members@odata.count"] == 0


def test_sushy_is_told_when_the_password_is_wrong(redfish_machine: MachineConfig) -> None:
    bmc = redfish_machine.bmc
    with pytest.raises(exceptions.AccessError):
        sushy.Sushy(
            f"http://{bmc.host}:{bmc.port}/redfish/v1", auth=auth.SessionAuth(bmc.user, "wrong")
        ).get_system_collection()


@pytest.mark.parametrize(
    ("kind", "when_off", "when_on"),
    [
        ("On", ["powered_on"], None),
        ("ForceOn", ["powered_on"], ["power_unchanged"]),
        ("ForceOff", None, ["powered_off"]),
        ("GracefulShutdown", None, ["soft_off_requested", "powered_off"]),
        ("ForceRestart", None, ["reset"]),
        ("GracefulRestart", None, ["reset"]),
        ("PowerCycle", None, ["powered_off", "powered_on"]),
        (
            "PushPowerButton",
            ["power_button_pressed", "powered_on"],
            ["power_button_pressed", "soft_off_requested"],
        ),
        ("Nmi", None, ["nmi_sent"]),
    ],
)
@pytest.mark.parametrize("is_on", [False, True])
def test_reset_types(
    rack: RackThread,
    redfish_machine: MachineConfig,
    redfish: httpx.Client,
    kind: str,
    when_off: list[str] | None,
    when_on: list[str] | None,
    *,
    is_on: bool,
) -> None:
    name = redfish_machine.name
    if is_on:
        rack.control.press_power_button(name)
        rack.control.wait_for(name, lambda machine: machine.phase is Phase.RUNNING)
    start = rack.control.last_event()
    answer = reset(redfish, redfish_machine, kind)
    expected = when_on if is_on else when_off
    if expected is None:
        assert (answer.status_code, error_key(answer)) == (409, "ResourceInUse")
        expected = ["power_refused"]
    else:
        assert answer.status_code == 204
        rack.control.wait_for_event(name, expected[-1], after=start)
    actions = [event.action for event in rack.control.log(after=start, device=name)]
    assert actions[: len(expected) + 1] == ["login_accepted", *expected]


@pytest.mark.parametrize(
    ("boot", "status", "enabled", "target", "mode"),
    [
        ({"BootSourceOverrideTarget": "Pxe"}, 200, "Once", "Pxe", "Legacy"),
        (
            {"BootSourceOverrideEnabled": "Continuous", "BootSourceOverrideTarget": "Cd"},
            200,
            "Continuous",
            "Cd",
            "Legacy",
        ),
        (
            {"BootSourceOverrideTarget": "Hdd", "BootSourceOverrideMode": "UEFI"},
            200,
            "Once",
            "Hdd",
            "UEFI",
        ),
        ({"BootSourceOverrideEnabled": "Disabled"}, 200, "Disabled", "None", "Legacy"),
        ({"BootSourceOverrideTarget": "None"}, 200, "Disabled", "None", "Legacy"),
        ({"BootSourceOverrideTarget": "Floppy"}, 400, "Once", "BiosSetup", "Legacy"),
        ({"BootSourceOverrideEnabled": "Twice"}, 400, "Once", "BiosSetup", "Legacy"),
        ({"BootSourceOverrideMode": "DOS"}, 400, "Once", "BiosSetup", "Legacy"),
        ({"BootSourceOverrideTarget": ["Pxe"]}, 400, "Once", "BiosSetup", "Legacy"),
        ({"UefiTargetBootSourceOverride": "x"}, 400, "Once", "BiosSetup", "Legacy"),
        ("Pxe", 400, "Once", "BiosSetup", "Legacy"),
    ],
)
def test_boot_override_is_patched_and_read_back(
    redfish_machine: MachineConfig,
    redfish: httpx.Client,
    boot: object,
    status: int,
    enabled: str,
    target: str,
    mode: str,
) -> None:
    path = system_path(redfish_machine)
    redfish.patch(path, json={"Boot": {"BootSourceOverrideTarget": "BiosSetup"}}).raise_for_status()
    assert redfish.patch(path, json={"Boot": boot}).status_code == status
    shown = redfish.get(path).json()["Boot"]
    assert (
        shown["BootSourceOverrideEnabled"],
        shown["BootSourceOverrideTarget"],
        shown["BootSourceOverrideMode"],
    ) == (enabled, target, mode)


def test_patch_with_an_old_etag_changes_nothing(
    redfish_machine: MachineConfig, redfish: httpx.Client
) -> None:
    path = system_path(redfish_machine)
    old = redfish.get(path)
    assert old.json()["@odata.etag"] == old.headers["etag"]
    boot = {"Boot": {"BootSourceOverrideTarget": "Pxe"}}
    changed = redfish.patch(path, json=boot, headers={"If-Match": old.headers["etag"]})
    assert changed.status_code == 200
    light = {"LocationIndicatorActive": True}
    late = redfish.patch(path, json=light, headers={"If-Match": old.headers["etag"]})
    assert (late.status_code, error_key(late)) == (412, "PreconditionFailed")
    assert redfish.patch(path, json=light, headers={"If-Match": changed.headers["etag"]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b"{", "MalformedJSON"),
        (b"\xff", "MalformedJSON"),
        (b"[]", "UnrecognizedRequestBody"),
        (b'{"PowerState": "On"}', "PropertyNotWritable"),
        (b'{"Nonsense": 1}', "PropertyUnknown"),
        (b'{"IndicatorLED": "Green"}', "PropertyValueNotInList"),
        (b'{"LocationIndicatorActive": "yes"}', "PropertyValueNotInList"),
    ],
)
def test_bad_patch_is_answered_in_the_words_of_the_registry(
    redfish_machine: MachineConfig, redfish: httpx.Client, body: bytes, key: str
) -> None:
    answer = redfish.patch(system_path(redfish_machine), content=body)
    assert (answer.status_code, error_key(answer)) == (400, key)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({}, "PropertyMissing"),
        ({"ResetType": "Explode"}, "PropertyValueNotInList"),
        ({"ResetType": 1}, "PropertyValueNotInList"),
    ],
)
def test_bad_reset_is_refused(
    redfish_machine: MachineConfig, redfish: httpx.Client, body: dict[str, object], key: str
) -> None:
    answer = redfish.post(f"{system_path(redfish_machine)}/Actions/ComputerSystem.Reset", json=body)
    assert (answer.status_code, error_key(answer)) == (400, key)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/redfish/v1/Systems/another", 404),
        ("GET", "/redfish/v1/Nothing", 404),
        ("GET", "/elsewhere", 404),
        ("PUT", "/redfish/v1/Systems", 405),
        ("GET", "/redfish/v1/SessionService/Sessions/none", 404),
        ("DELETE", "/redfish/v1/SessionService/Sessions/none", 404),
    ],
)
def test_what_is_not_there_is_an_error_of_the_registry(
    redfish: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = redfish.request(method, path)
    assert answer.status_code == status
    assert error_key(answer)


def test_only_the_root_and_signing_in_are_open_to_strangers(redfish_machine: MachineConfig) -> None:
    bmc = redfish_machine.bmc
    with httpx.Client(base_url=f"http://{bmc.host}:{bmc.port}", trust_env=False) as stranger:
        assert stranger.get("/redfish").json() == {"v1": "/redfish/v1/"}
        assert stranger.get("/redfish/v1").status_code == 200
        refused = stranger.get("/redfish/v1/Systems")
        assert (refused.status_code, error_key(refused)) == (401, "NoValidSession")
        assert refused.headers["www-authenticate"].startswith("Basic")
        for headers in ({"X-Auth-Token": "0"}, {"Authorization": "Basic !"}, {"Authorization": "Bearer x"}):
            assert stranger.get("/redfish/v1/Systems", headers=headers).status_code == 401
        login = {"UserName": bmc.user, "Password": bmc.password}
        answer = stranger.post("/redfish/v1/SessionService/Sessions", json=login)
        assert answer.status_code == 201
        token = {"X-Auth-Token": answer.headers["x-auth-token"]}
        assert stranger.get("/redfish/v1/Systems", headers=token).status_code == 200
        assert stranger.delete(answer.headers["location"], headers=token).status_code == 204
        assert stranger.get("/redfish/v1/Systems", headers=token).status_code == 401


def test_viewer_may_look_and_not_touch(rack: RackThread, redfish_machine: MachineConfig) -> None:
    viewer = redfish_machine.bmc.more_users[0]
    with tools.redfish(redfish_machine) as client:
        client.auth = httpx.BasicAuth(viewer.name, viewer.password)
        assert client.get(system_path(redfish_machine)).status_code == 200
        answer = reset(client, redfish_machine, "On")
        assert (answer.status_code, error_key(answer)) == (403, "InsufficientPrivilege")
    assert rack.control.machine(redfish_machine.name).power is Power.OFF


def test_machines_do_not_share_sessions_or_state(rack: RackThread) -> None:
    one, other = [machine for machine in rack.config.machines if machine.bmc.kind is BmcKind.REDFISH][:2]
    address = f"http://{other.bmc.host}:{other.bmc.port}"
    with tools.redfish(one) as client, httpx.Client(base_url=address, trust_env=False) as stranger:
        login = {"UserName": one.bmc.user, "Password": one.bmc.password}
        token = client.post("/redfish/v1/SessionService/Sessions", json=login).headers["x-auth-token"]
        assert stranger.get("/redfish/v1/Systems", headers={"X-Auth-Token": token}).status_code == 401
        reset(client, one, "On")
    assert rack.control.machine(one.name).power is Power.ON
    assert rack.control.machine(other.name).power is Power.OFF


def test_tls_with_a_self_signed_certificate() -> None:
    with RackThread(demo_rack(2, tls=True)) as rack:
        machine = tools.first(rack.config, BmcKind.REDFISH)
        bmc = machine.bmc
        assert rack.control.machine(machine.name).bmc.url == f"https://127.0.0.1:{bmc.port}"
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://127.0.0.1:{bmc.port}/redfish/v1", trust_env=False)
        trusting = ssl.create_default_context(cadata=ssl.get_server_certificate(("127.0.0.1", bmc.port)))
        assert httpx.get(f"https://127.0.0.1:{bmc.port}/redfish/v1", verify=trusting).status_code == 200
