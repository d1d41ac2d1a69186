"""The part of a form that says how a device is reached: BMC, switch or PDU, by the table of its drivers."""

from collections.abc import Mapping
from typing import Any

from rackhand.hardware.drivers import Driver, setting_fields
from rackhand.web.page import Page


def access_of(page: Page, table: Mapping[str, Driver[Any]]) -> dict[str, Any]:
    """An access as it was typed; settings that are left as usual are left out."""
    driver = page.typed.get("driver", "")
    settings: dict[str, str] = {}
    for each in setting_fields(driver, table) if driver in table else ():
        name = f"{driver}.{each.name}"
        text = page.typed.get(name, "false" if each.kind == "boolean" else "").strip()
        text = "true" if text == "on" else text
        if text and text != each.default:
            settings[each.name] = text
    return {
        "driver": driver,
        "host": page.typed.get("host", "").strip(),
        "port": page.number("port"),
        "user": page.typed.get("user", ""),
        "password": page.typed.get("password") or None,
        "settings": settings,
    }


def initial_access(row: Any) -> dict[str, Any]:
    """A stored access as the form shows it; secrets are never shown."""
    shown = {"driver": row.driver, "host": row.host, "port": row.port, "user": row.user}
    return shown | {f"{row.driver}.{name}": value for name, value in row.settings.items()}
