"""How a switch or a PDU is reached: the columns, the sealing, and the way to an endpoint.

(A BMC belongs to one server and has a table of its own, `BmcAccess`.)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from rackhand.errors import Invalid
from rackhand.hardware import drivers
from rackhand.hardware.drivers import Device, Driver
from rackhand.hardware.interfaces import Endpoint
from rackhand.vault import Vault


class DeviceAccess:
    """Columns of a table of devices.

    `credentials` is one sealed JSON object: the password and every secret setting of the driver. `generation` counts
    how often the access was set; `refused_at` stops all requests until it is set again.
    """

    driver: Mapped[str]
    host: Mapped[str]
    port: Mapped[int]
    user: Mapped[str] = mapped_column(default="")
    credentials: Mapped[str] = mapped_column(default="")
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    generation: Mapped[int] = mapped_column(default=0)
    refused_at: Mapped[datetime | None]
    refusal: Mapped[str | None]


@dataclass(frozen=True)
class AccessGiven:
    """What somebody says of an access; None of `password` and secrets that are not named keep what is stored."""

    driver: str
    host: str
    port: int | None
    user: str
    password: str | None
    settings: Mapping[str, Any]


def purpose_of(row: DeviceAccess) -> str:
    """What sealed credentials are bound to."""
    return f"{row.__tablename__}.credentials"  # type: ignore[attr-defined]  # a mapped class


def set_access(
    row: DeviceAccess, given: AccessGiven, vault: Vault, table: Mapping[str, Driver[Device]]
) -> None:
    """Check *given* against its driver in *table* and write it into *row*.

    What was stored of secrets stays only for the same host, driver and user: it must not be sent elsewhere.
    Raises `Invalid`.
    """
    try:
        driver = drivers.driver_of(given.driver, table)
        secret_names = {field.name for field in drivers.setting_fields(given.driver, table) if field.secret}
        is_same = (row.driver, row.host, row.user) == (given.driver, given.host, given.user)
        kept = open_credentials(row, vault) if is_same else {}
        asked = {**{name: value for name, value in kept.items() if name in secret_names}, **given.settings}
        checked = drivers.validate_settings(given.driver, asked, table)
    except drivers.InvalidSettings as error:
        raise Invalid(f"driver and settings: {error}") from error
    secrets = {name: value for name, value in checked.items() if name in secret_names and value}
    password = kept.get("password", "") if given.password is None else given.password
    if password:
        secrets["password"] = password
    row.driver, row.host, row.user = given.driver, given.host, given.user
    row.port = given.port or driver.port
    row.settings = {name: value for name, value in checked.items() if name not in secret_names}
    row.credentials = vault.seal(json.dumps(secrets), purpose=purpose_of(row)) if secrets else ""
    row.generation += 1
    row.refused_at = row.refusal = None


def open_credentials(row: DeviceAccess, vault: Vault) -> dict[str, str]:
    """The secrets of an access by name; raises `SecretUnreadable`."""
    if not row.credentials:
        return {}
    opened: dict[str, str] = json.loads(vault.open(row.credentials, purpose=purpose_of(row)))
    return opened


def endpoint_of(row: DeviceAccess, vault: Vault) -> Endpoint:
    """Open the sealed secrets; the value must not be kept longer than the conversation."""
    secrets = open_credentials(row, vault)
    return Endpoint(
        driver=row.driver,
        host=row.host,
        port=row.port,
        user=row.user,
        password=secrets.pop("password", ""),
        settings={**row.settings, **secrets},
        generation=row.generation,
    )
