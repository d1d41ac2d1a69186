"""What switches and PDUs have in common: where they stand and how they are reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict


@dataclass(frozen=True)
class Named:
    """Something by its number and name."""

    id: int | None
    name: str = ""


class DeviceValues(TypedDict, total=False):
    """What a device may be given; `password` is the SNMP community or the password, and is never shown."""

    model: str
    serial: str
    barcode: str
    notes: str
    location_id: int
    rack_id: int | None
    unit: int | None
    driver: str
    port: int
    user: str
    password: str
    settings: Mapping[str, object]


class DeviceChanges(DeviceValues, total=False):
    """What to change of a device."""

    name: str
    host: str
