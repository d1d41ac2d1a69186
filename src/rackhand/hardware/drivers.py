"""The drivers in one table: what an operator can choose, and what each choice can be told."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from rackhand.hardware.interfaces import BmcDriver, Endpoint
from rackhand.hardware.ipmi import IpmiBmc, IpmiSettings
from rackhand.hardware.redfish import RedfishBmc, RedfishSettings


@dataclass(frozen=True)
class Driver:
    """A way to speak to a BMC; *bmc* takes the endpoint and the slots that bound what runs at once."""

    title: str
    port: int
    bmc: Callable[[Endpoint, asyncio.Semaphore], BmcDriver]
    settings: type[BaseModel]


DRIVERS: Mapping[str, Driver] = {
    "ipmi": Driver(title="IPMI 2.0", port=623, bmc=IpmiBmc, settings=IpmiSettings),
    "redfish": Driver(title="Redfish", port=443, bmc=RedfishBmc, settings=RedfishSettings),
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


def driver_of(name: str) -> Driver:
    """Return the driver called *name*; raise `InvalidSettings` when there is none."""
    if name not in DRIVERS:
        raise InvalidSettings(f"The driver {name!r} is unknown. Known: {', '.join(DRIVERS)}.")
    return DRIVERS[name]


def setting_fields(driver: str) -> tuple[SettingField, ...]:
    """Return the settings of *driver* in the order of a form."""
    model = driver_of(driver).settings
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


def validate_settings(driver: str, settings: Mapping[str, object]) -> dict[str, str]:
    """Return what was given as texts for `Endpoint.settings`; raise `InvalidSettings` naming each bad one."""
    try:
        model = driver_of(driver).settings.model_validate(dict(settings))
    except ValidationError as error:
        raise InvalidSettings(" ".join(_sentence(driver, problem) for problem in error.errors())) from error
    return {name: _as_text(getattr(model, name)) for name in type(model).model_fields if name in settings}


def _sentence(driver: str, problem: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"The driver {driver!r} has no setting {name!r}."
    return f"The setting {name!r}: {problem['msg']}."


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
