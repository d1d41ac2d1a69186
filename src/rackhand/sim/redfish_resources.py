"""The Redfish resources of a machine as JSON objects: pure functions from the BMC to what a GET answers."""

from typing import Final

from rackhand.sim.bmc import Bmc, PowerCommand
from rackhand.sim.config import BootMode, DiskKind, Privilege
from rackhand.sim.machine import BootDevice, Phase, Power, Reading, SensorKind

Json = dict[str, object]

ROOT: Final = "/redfish/v1"
CHASSIS_ID: Final = "1"
MANAGER_ID: Final = "BMC"
RESET_TYPES: Final = {
    "On": PowerCommand.ON,
    "ForceOn": PowerCommand.ON,
    "ForceOff": PowerCommand.OFF,
    "GracefulShutdown": PowerCommand.SOFT_OFF,
    "ForceRestart": PowerCommand.RESET,
    "GracefulRestart": PowerCommand.RESET,
    "PowerCycle": PowerCommand.CYCLE,
    "PushPowerButton": PowerCommand.PRESS_BUTTON,
    "Nmi": PowerCommand.NMI,
}
MANAGER_RESET_TYPES: Final = ("GracefulRestart", "ForceRestart")
BOOT_TARGETS: Final = {
    "Pxe": BootDevice.PXE,
    "Hdd": BootDevice.DISK,
    "Cd": BootDevice.CDROM,
    "BiosSetup": BootDevice.SETUP,
}
BOOT_TARGET_NAMES: Final = {device: name for name, device in BOOT_TARGETS.items()}
BOOT_MODES: Final = {"UEFI": BootMode.UEFI, "Legacy": BootMode.LEGACY}
BOOT_MODE_NAMES: Final = {mode: name for name, mode in BOOT_MODES.items()}
ROLES: Final = {Privilege.ADMIN: "Administrator", Privilege.OPERATOR: "Operator", Privilege.USER: "ReadOnly"}
BOOT_PROGRESS: Final = {
    Phase.OFF: "None",
    Phase.CYCLING: "None",
    Phase.POST: "SystemHardwareInitializationComplete",
    Phase.NETBOOT: "OSBootStarted",
    Phase.RUNNING: "OSRunning",
    Phase.NO_SYSTEM: "OSBootStarted",
    Phase.STOPPING: "OSRunning",
}
HEALTHY: Final = {"State": "Enabled", "Health": "OK"}


def system_path(bmc: Bmc) -> str:
    """Return where the one system is; its id differs between vendors."""
    return f"{ROOT}/Systems/{bmc.config.bmc.system_id}"


def service_root(bmc: Bmc) -> Json:
    """Return the service root, which is readable without signing in."""
    return {
        "@odata.type": "#ServiceRoot.v1_15_0.ServiceRoot",
        "@odata.id": f"{ROOT}/",
        "Id": "RootService",
        "Name": "Root Service",
        "RedfishVersion": "1.15.0",
        "UUID": str(bmc.config.uuid),
        "Vendor": bmc.config.manufacturer,
        "Product": "Virtual BMC",
        "ProtocolFeaturesSupported": {"FilterQuery": False, "SelectQuery": False, "ExcerptQuery": False},
        "Systems": link(f"{ROOT}/Systems"),
        "Chassis": link(f"{ROOT}/Chassis"),
        "Managers": link(f"{ROOT}/Managers"),
        "SessionService": link(f"{ROOT}/SessionService"),
        "AccountService": link(f"{ROOT}/AccountService"),
        "Links": {"Sessions": link(f"{ROOT}/SessionService/Sessions")},
    }


def system(bmc: Bmc) -> Json:
    """Return the computer system."""
    config = bmc.config
    path = system_path(bmc)
    return {
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "@odata.id": path,
        "Id": config.bmc.system_id,
        "Name": config.name,
        "SystemType": "Physical",
        "Manufacturer": config.manufacturer,
        "Model": config.model,
        "SKU": config.configuration,
        "SerialNumber": config.serial,
        "UUID": str(config.uuid),
        "HostName": "",
        "BiosVersion": "2.4.1",
        "Status": HEALTHY,
        "PowerState": "On" if bmc.power_state() is Power.ON else "Off",
        "PowerRestorePolicy": {"always-off": "AlwaysOff", "previous": "LastState", "always-on": "AlwaysOn"}[
            config.restore_policy
        ],
        "IndicatorLED": "Blinking" if bmc.machine.identify else "Off",
        "LocationIndicatorActive": bmc.machine.identify,
        "BootProgress": {"LastState": BOOT_PROGRESS[bmc.machine.phase]},
        "Boot": boot(bmc),
        "ProcessorSummary": {
            "Count": config.cpus,
            "CoreCount": config.cores,
            "Model": config.cpu,
            "Status": HEALTHY,
        },
        "MemorySummary": {
            "TotalSystemMemoryGiB": config.memory_gib,
            "Status": {**HEALTHY, "HealthRollup": "OK"},
        },
        "EthernetInterfaces": link(f"{path}/EthernetInterfaces"),
        "Storage": link(f"{path}/Storage"),
        "Links": {
            "Chassis": [link(f"{ROOT}/Chassis/{CHASSIS_ID}")],
            "ManagedBy": [link(f"{ROOT}/Managers/{MANAGER_ID}")],
        },
        "Actions": {
            "#ComputerSystem.Reset": {
                "target": f"{path}/Actions/ComputerSystem.Reset",
                "ResetType@Redfish.AllowableValues": list(RESET_TYPES),
            }
        },
    }


def boot(bmc: Bmc) -> Json:
    """Return the boot override; its mode is the configured one when the override names none."""
    override = bmc.machine.override
    mode = bmc.config.boot_mode if override is None or override.mode is None else override.mode
    enabled = "Disabled" if override is None else "Continuous" if override.persistent else "Once"
    return {
        "BootSourceOverrideEnabled": enabled,
        "BootSourceOverrideTarget": "None" if override is None else BOOT_TARGET_NAMES[override.device],
        "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", *BOOT_TARGETS],
        "BootSourceOverrideMode": BOOT_MODE_NAMES[mode],
        "BootSourceOverrideMode@Redfish.AllowableValues": list(BOOT_MODES),
    }


def ethernet_interfaces(bmc: Bmc) -> list[Json]:
    """Return the network ports of the host."""
    return [
        {
            "@odata.type": "#EthernetInterface.v1_9_0.EthernetInterface",
            "@odata.id": f"{system_path(bmc)}/EthernetInterfaces/{nic.name}",
            "Id": nic.name,
            "Name": nic.name,
            "MACAddress": nic.mac.upper(),
            "PermanentMACAddress": nic.mac.upper(),
            "SpeedMbps": nic.speed_mbit,
            "Status": HEALTHY,
        }
        for nic in bmc.config.nics
    ]


def storage(bmc: Bmc) -> list[Json]:
    """Return the one storage subsystem."""
    path = f"{system_path(bmc)}/Storage/1"
    return [
        {
            "@odata.type": "#Storage.v1_15_0.Storage",
            "@odata.id": path,
            "Id": "1",
            "Name": "Storage",
            "Status": HEALTHY,
            "Drives": [link(f"{path}/Drives/{disk.name}") for disk in bmc.config.disks],
            "Drives@odata.count": len(bmc.config.disks),
        }
    ]


def drives(bmc: Bmc) -> list[Json]:
    """Return the drives."""
    return [
        {
            "@odata.type": "#Drive.v1_17_0.Drive",
            "@odata.id": f"{system_path(bmc)}/Storage/1/Drives/{disk.name}",
            "Id": disk.name,
            "Name": disk.name,
            "Model": disk.model,
            "SerialNumber": disk.serial,
            "CapacityBytes": disk.size_bytes,
            "MediaType": "HDD" if disk.kind is DiskKind.HDD else "SSD",
            "Protocol": "NVMe" if disk.kind is DiskKind.NVME else "SATA",
            "Status": HEALTHY,
        }
        for disk in bmc.config.disks
    ]


def chassis(bmc: Bmc) -> Json:
    """Return the chassis."""
    path = f"{ROOT}/Chassis/{CHASSIS_ID}"
    return {
        "@odata.type": "#Chassis.v1_23_0.Chassis",
        "@odata.id": path,
        "Id": CHASSIS_ID,
        "Name": "Computer System Chassis",
        "ChassisType": "RackMount",
        "Manufacturer": bmc.config.manufacturer,
        "Model": bmc.config.model,
        "SerialNumber": bmc.config.serial,
        "PowerState": "On" if bmc.power_state() is Power.ON else "Off",
        "IndicatorLED": "Blinking" if bmc.machine.identify else "Off",
        "LocationIndicatorActive": bmc.machine.identify,
        "Status": HEALTHY,
        "Power": link(f"{path}/Power"),
        "Thermal": link(f"{path}/Thermal"),
        "Links": {
            "ComputerSystems": [link(system_path(bmc))],
            "ManagedBy": [link(f"{ROOT}/Managers/{MANAGER_ID}")],
        },
    }


def power(bmc: Bmc) -> Json:
    """Return what the chassis draws."""
    path = f"{ROOT}/Chassis/{CHASSIS_ID}/Power"
    controls: list[Json] = [
        {
            "@odata.id": f"{path}#/PowerControl/{index}",
            "MemberId": str(index),
            "Name": reading.name,
            "PowerConsumedWatts": reading.value,
            "PowerCapacityWatts": reading.critical,
            "Status": HEALTHY,
        }
        for index, reading in enumerate(_readings(bmc, SensorKind.POWER))
    ]
    supplies: list[Json] = [
        {
            "@odata.id": f"{path}#/PowerSupplies/{index}",
            "MemberId": str(index),
            "Name": f"PSU {feed}",
            "LineInputVoltage": 0 if feed in bmc.machine.lost_feeds else 230,
            "Status": {"State": "Enabled", "Health": "Critical" if feed in bmc.machine.lost_feeds else "OK"},
        }
        for index, feed in enumerate(bmc.config.feeds)
    ]
    return {
        "@odata.type": "#Power.v1_7_0.Power",
        "@odata.id": path,
        "Id": "Power",
        "Name": "Power",
        "PowerControl": controls,
        "PowerSupplies": supplies,
    }


def thermal(bmc: Bmc) -> Json:
    """Return temperatures and fans."""
    path = f"{ROOT}/Chassis/{CHASSIS_ID}/Thermal"
    temperatures: list[Json] = [
        {
            "@odata.id": f"{path}#/Temperatures/{index}",
            "MemberId": str(index),
            "Name": reading.name,
            "ReadingCelsius": reading.value,
            "UpperThresholdNonCritical": reading.warning,
            "UpperThresholdCritical": reading.critical,
            "Status": _status(reading),
        }
        for index, reading in enumerate(_readings(bmc, SensorKind.TEMPERATURE))
    ]
    fans: list[Json] = [
        {
            "@odata.id": f"{path}#/Fans/{index}",
            "MemberId": str(index),
            "Name": reading.name,
            "Reading": reading.value,
            "ReadingUnits": "RPM",
            "LowerThresholdNonCritical": reading.warning,
            "LowerThresholdCritical": reading.critical,
            "Status": _status(reading),
        }
        for index, reading in enumerate(_readings(bmc, SensorKind.FAN))
    ]
    return {
        "@odata.type": "#Thermal.v1_7_0.Thermal",
        "@odata.id": path,
        "Id": "Thermal",
        "Name": "Thermal",
        "Temperatures": temperatures,
        "Fans": fans,
    }


def manager(bmc: Bmc) -> Json:
    """Return the BMC itself."""
    path = f"{ROOT}/Managers/{MANAGER_ID}"
    return {
        "@odata.type": "#Manager.v1_18_0.Manager",
        "@odata.id": path,
        "Id": MANAGER_ID,
        "Name": "Manager",
        "ManagerType": "BMC",
        "FirmwareVersion": "3.10",
        "Model": "Virtual BMC",
        "PowerState": "On",
        "Status": HEALTHY,
        "Links": {
            "ManagerForServers": [link(system_path(bmc))],
            "ManagerForChassis": [link(f"{ROOT}/Chassis/{CHASSIS_ID}")],
        },
        "Actions": {
            "#Manager.Reset": {
                "target": f"{path}/Actions/Manager.Reset",
                "ResetType@Redfish.AllowableValues": list(MANAGER_RESET_TYPES),
            }
        },
    }


def session_service(timeout_seconds: int) -> Json:
    """Return the session service."""
    return {
        "@odata.type": "#SessionService.v1_1_9.SessionService",
        "@odata.id": f"{ROOT}/SessionService",
        "Id": "SessionService",
        "Name": "Session Service",
        "ServiceEnabled": True,
        "SessionTimeout": timeout_seconds,
        "Status": HEALTHY,
        "Sessions": link(f"{ROOT}/SessionService/Sessions"),
    }


def session(session_id: str, user: str) -> Json:
    """Return one session."""
    return {
        "@odata.type": "#Session.v1_6_0.Session",
        "@odata.id": f"{ROOT}/SessionService/Sessions/{session_id}",
        "Id": session_id,
        "Name": "User Session",
        "UserName": user,
    }


def account_service() -> Json:
    """Return the account service."""
    return {
        "@odata.type": "#AccountService.v1_13_0.AccountService",
        "@odata.id": f"{ROOT}/AccountService",
        "Id": "AccountService",
        "Name": "Account Service",
        "ServiceEnabled": True,
        "Accounts": link(f"{ROOT}/AccountService/Accounts"),
    }


def accounts(bmc: Bmc) -> list[Json]:
    """Return who may sign in."""
    return [
        {
            "@odata.type": "#ManagerAccount.v1_10_0.ManagerAccount",
            "@odata.id": f"{ROOT}/AccountService/Accounts/{number}",
            "Id": str(number),
            "Name": "User Account",
            "UserName": account.name,
            "Password": None,
            "RoleId": ROLES.get(account.privilege or Privilege.USER, "ReadOnly"),
            "Enabled": account.is_enabled,
            "Locked": bmc.is_locked(account.name),
        }
        for number, account in enumerate((each for each in bmc.accounts.values() if each.name), start=1)
    ]


def collection(path: str, kind: str, members: list[str]) -> Json:
    """Return a collection of links to *members*."""
    return {
        "@odata.type": f"#{kind}Collection.{kind}Collection",
        "@odata.id": path,
        "Name": f"{kind} Collection",
        "Members@odata.count": len(members),
        "Members": [link(member) for member in members],
    }


def link(path: str) -> Json:
    """Return a reference to another resource."""
    return {"@odata.id": path}


def _readings(bmc: Bmc, kind: SensorKind) -> list[Reading]:
    return [reading for reading in bmc.machine.readings() if reading.kind is kind]


def _status(reading: Reading) -> dict[str, str]:
    if reading.value is None:
        return {"State": "UnavailableOffline"}
    is_fan = reading.kind is SensorKind.FAN
    for limit, health in ((reading.critical, "Critical"), (reading.warning, "Warning")):
        if reading.value <= limit if is_fan else reading.value >= limit:
            return {"State": "Enabled", "Health": health}
    return dict(HEALTHY)
