"""The drivers in one table: what an operator can choose, and what each choice can be told."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from rackhand.hardware.interfaces import BmcDriver, Endpoint, PduDriver, SwitchDriver
from rackhand.hardware.ipmi import IpmiBmc, IpmiSettings
from rackhand.hardware.pdu_snmp import PduSettings, SnmpPdu
from rackhand.hardware.redfish import RedfishBmc, RedfishSettings
from rackhand.hardware.snmp import SnmpSettings
from rackhand.hardware.switch_cli import CliSettings, CliSwitch
from rackhand.hardware.switch_snmp import SnmpSwitch


class Device(Protocol):
    """What all drivers have in common."""

    async def close(self) -> None:
        """End the session with the device; never raises for a device that is gone."""


DeviceT_co = TypeVar("DeviceT_co", bound=Device, covariant=True)


@dataclass(frozen=True)
class Driver(Generic[DeviceT_co]):
    """A way to speak to a kind of device.

    *connect* takes the endpoint and the slots that bound what runs at once; it sends nothing yet. *has_console* says
    whether a BMC may give a serial console through it.
    """

    title: str
    port: int
    connect: Callable[[Endpoint, asyncio.Semaphore], DeviceT_co]
    settings: type[BaseModel]
    has_console: bool = False


DRIVERS: Mapping[str, Driver[BmcDriver]] = {  # of BMCs
    "ipmi": Driver(title="IPMI 2.0", port=623, connect=IpmiBmc, settings=IpmiSettings, has_console=True),
    "redfish": Driver(title="Redfish", port=443, connect=RedfishBmc, settings=RedfishSettings),
}
SWITCH_DRIVERS: Mapping[str, Driver[SwitchDriver]] = {
    "snmp": Driver(title="SNMP", port=161, connect=SnmpSwitch, settings=SnmpSettings),
    "cli": Driver(title="Command line (SSH)", port=22, connect=CliSwitch, settings=CliSettings),
}
PDU_DRIVERS: Mapping[str, Driver[PduDriver]] = {
    "snmp": Driver(title="SNMP", port=161, connect=SnmpPdu, settings=PduSettings),
}


class InvalidSettings(ValueError):
    """A driver does not exist or does not take these settings; `str()` is a sentence for the operator."""


@dataclass(frozen=True)
class SettingField:
    """One setting as a form shows it: *kind* is `text`, `integer`, `number`, `boolean` or `choice`."""

    name: str
    kind: str
    default: str
    description: str
    choices: tuple[str, ...]
    secret: bool


def driver_of(name: str, table: Mapping[str, Driver[DeviceT_co]]) -> Driver[DeviceT_co]:
    """Return the driver called *name*; raise `InvalidSettings` when there is none."""
    if name not in table:
        raise InvalidSettings(f"The driver {name!r} is unknown. Known: {', '.join(table)}.")
    return table[name]


def setting_fields(driver: str, table: Mapping[str, Driver[Device]] = DRIVERS) -> tuple[SettingField, ...]:
    """Return the settings of *driver* in the order of a form."""
    model = driver_of(driver, table).settings
    properties: dict[str, dict[str, Any]] = model.model_json_schema()["properties"]
    kinds = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}
    return tuple(
        SettingField(
            name=name,
            kind="choice" if "enum" in shape else kinds[shape["type"]],
            default=_as_text(shape["default"]),
            description=shape["description"],
            choices=tuple(shape.get("enum", ())),
            secret=model.model_fields[name].annotation is SecretStr,
        )
        for name, shape in properties.items()
    )


def validate_settings(
    driver: str, settings: Mapping[str, object], table: Mapping[str, Driver[Device]] = DRIVERS
) -> dict[str, str]:
    """Return what was given as texts for `Endpoint.settings`; raise `InvalidSettings` naming each bad one.

    Secret ones come back as they are: whoever stores them seals them.
    """
    try:
        model = driver_of(driver, table).settings.model_validate(dict(settings))
    except ValidationError as error:
        raise InvalidSettings(" ".join(_sentence(driver, problem) for problem in error.errors())) from error
    return {name: _as_text(getattr(model, name)) for name in type(model).model_fields if name in settings}


def _sentence(driver: str, problem: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"The driver {driver!r} has no setting {name!r}."
    return f"The setting {name!r}: {problem['msg']}." if name else f"The settings: {problem['msg']}."


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
