"""PDUs on the wire; the only place for their odd spellings (api-facts 5.1, 8)."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, StringConstraints

from rackhand.db import AnyRow
from rackhand.hardware.interfaces import OutletAction
from rackhand.http.wire import Body, BodyId, wire_time
from rackhand.power.energy import Usage
from rackhand.servers.access import AccessGiven
from rackhand.servers.schemas import MAX_UNIT, Name, Notes, Port, Text

Host = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:\-]+$")]
Feed = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[A-Za-z0-9]{1,8}$")]
WH_PER_KWH = 1000


def _rack(value: object) -> object:
    """`3`, `{"id": 3}` and null."""
    return value.get("id") if isinstance(value, dict) else value


def _action(value: object) -> object:
    """`on`, `ON`, `power_on`, `reboot`: PDUs and their drivers call it differently."""
    words = {
        "power_on": "on",
        "up": "on",
        "power_off": "off",
        "down": "off",
        "reboot": "cycle",
        "reset": "cycle",
    }
    return words.get(value.lower(), value.lower()) if isinstance(value, str) else value


class PduBody(Body):
    """A PDU and how it is reached. `password` is the SNMP community or the password; it is never shown."""

    name: Name = Field(examples=["pdu-a1-a"])
    model: Text = ""
    serial: Text = ""
    barcode: Text = ""
    notes: Notes = ""
    location_id: BodyId | None = Field(None, validation_alias=AliasChoices("location_id", "location"))
    rack_id: Annotated[BodyId | None, BeforeValidator(_rack)] = Field(
        None, validation_alias=AliasChoices("rack_id", "rack")
    )
    unit: int | None = Field(None, ge=1, le=MAX_UNIT)
    driver: Text = Field(
        "snmp", examples=["snmp"], validation_alias=AliasChoices("driver", "type", "handler")
    )
    host: Host = Field(examples=["192.0.2.31"], validation_alias=AliasChoices("host", "ip", "address"))
    port: Port | None = None
    user: Text = Field("", validation_alias=AliasChoices("user", "username", "login"))
    password: SecretStr | None = Field(
        None, max_length=255, validation_alias=AliasChoices("password", "community")
    )
    settings: dict[str, Any] = Field(default_factory=dict)


class EditPdu(Body):
    """What to change of a PDU; with any of the access' keys the whole access is set anew."""

    name: Name | None = None
    model: Text | None = None
    serial: Text | None = None
    barcode: Text | None = None
    notes: Notes | None = None
    location_id: BodyId | None = Field(None, validation_alias=AliasChoices("location_id", "location"))
    rack_id: Annotated[BodyId | None, BeforeValidator(_rack)] = Field(
        None, validation_alias=AliasChoices("rack_id", "rack")
    )
    unit: int | None = Field(None, ge=1, le=MAX_UNIT)
    driver: Text | None = Field(None, validation_alias=AliasChoices("driver", "type", "handler"))
    host: Host | None = Field(None, validation_alias=AliasChoices("host", "ip", "address"))
    port: Port | None = None
    user: Text | None = Field(None, validation_alias=AliasChoices("user", "username", "login"))
    password: SecretStr | None = Field(
        None, max_length=255, validation_alias=AliasChoices("password", "community")
    )
    settings: dict[str, Any] | None = None


ACCESS_KEYS = {"driver", "host", "port", "user", "password", "settings"}


def access_given(body: PduBody) -> AccessGiven:
    """The access in the body of a new PDU."""
    password = body.password.get_secret_value() if body.password else None
    return AccessGiven(body.driver, body.host, body.port, body.user, password, body.settings)


class OutletBody(Body):
    """What an outlet is to do: `on`, `off` or `cycle`. `problem`: null ends a flag that an operator has looked into."""

    action: Annotated[OutletAction | None, BeforeValidator(_action)] = Field(
        None, examples=["on"], validation_alias=AliasChoices("action", "power_status")
    )
    problem: None = None


class OutletDeviceBody(Body):
    """Something that is no server, plugged into an outlet."""

    device_name: Name = Field(examples=["sw-a1"], validation_alias=AliasChoices("device_name", "name"))
    notes: Notes = ""


class PduConnectionBody(Body):
    """A cord of a server: the outlet by its id, or by PDU and its number or name; without `feed` the next letter."""

    outlet_id: BodyId | None = Field(
        None, examples=[14], validation_alias=AliasChoices("outlet_id", "port_id", "outlet")
    )
    pdu: BodyId | None = Field(None, validation_alias=AliasChoices("pdu", "pdu_id"))
    port_identity: Annotated[str, Field(max_length=255, coerce_numbers_to_str=True)] | None = Field(
        None, validation_alias=AliasChoices("port_identity", "index", "port")
    )
    feed: Feed | None = Field(None, examples=["a"])
    notes: Notes = ""


class EditPduConnection(Body):
    """What to change of a cord."""

    feed: Feed | None = None
    notes: Notes | None = None


# --- answers


def pdu_row(row: AnyRow) -> dict[str, object]:
    """A PDU; its secrets are never shown."""
    pdu = row[0]
    return {
        "id": pdu.id,
        "name": pdu.name,
        "model": pdu.model,
        "description": pdu.description,
        "serial": pdu.serial,
        "barcode": pdu.barcode,
        "notes": pdu.notes,
        "location_id": pdu.location_id,
        "location": {"id": pdu.location_id, "name": row.location_name},
        "rack": {"id": pdu.rack_id, "name": row.rack_name} if pdu.rack_id else None,
        "unit": pdu.unit,
        "warehouse_status": "in_use" if pdu.rack_id else "stored",
        "driver": pdu.driver,
        "host": pdu.host,
        "port": pdu.port,
        "user": pdu.user,
        "has_password": bool(pdu.credentials),
        "settings": pdu.settings,
        "refused_at": wire_time(pdu.refused_at),
        "refusal": pdu.refusal,
        "outlet_count": row.outlet_count,
        "used_outlets": row.used_outlets,
        "watts": row.watts,
        "seen_at": wire_time(pdu.seen_at),
        "error": pdu.error,
        "error_at": wire_time(pdu.error_at),
        "created_at": wire_time(pdu.created_at),
    }


def outlet_row(row: AnyRow) -> dict[str, object]:
    """An outlet with what is plugged into it."""
    outlet = row[0]
    return {
        "id": outlet.id,
        "pdu": outlet.pdu_id,
        "pdu_name": row.pdu_name,
        "index": outlet.number,
        "port_identity": str(outlet.number),
        "name": outlet.name,
        "power_status": row.state,
        "watts": outlet.watts,
        "energy_kwh": kwh(outlet.energy_wh),
        "is_missing": outlet.is_missing,
        "problem": outlet.flag,
        "seen_at": wire_time(outlet.seen_at),
        "connection_id": row.connection_id,
        "server": {"id": row.server_id, "name": row.server_name} if row.server_id else None,
        "device": row.device_name or None,
        "feed": row.feed or None,
    }


def connection_row(row: AnyRow) -> dict[str, object]:
    """A cord as seen from its server."""
    outlet = row[0]
    return {
        "id": row.connection_id,
        "connection_id": row.connection_id,
        "port_id": outlet.id,
        "port_identity": str(outlet.number),
        "port_name": outlet.name,
        "pdu_id": outlet.pdu_id,
        "pdu_name": row.pdu_name,
        "feed": row.feed,
        "power_status": row.state,
        "watts": outlet.watts,
        "energy_kwh": kwh(outlet.energy_wh),
        "notes": row.connection_notes,
        "problem": outlet.flag,
        "seen_at": wire_time(outlet.seen_at),
    }


def server_connection_row(row: AnyRow) -> dict[str, object]:
    """A cord in the row of its server; the published part of this object ends after `power…`."""
    return {
        "port_id": row.outlet_id,
        "port_identity": str(row.number),
        "port_name": row.outlet_name,
        "pdu_id": row.pdu_id,
        "pdu_name": row.pdu_name,
        "connection_id": row.id,
        "power_status": row.state,
        "feed": row.feed,
        "watts": row.watts,
        "energy_kwh": kwh(row.energy_wh),
        "problem": row.flag,
    }


def usage_row(usage: Usage) -> dict[str, object]:
    """Energy and power over a time; null is what nobody measured."""
    peak_at = None if usage.peak_at is None else datetime.fromtimestamp(usage.peak_at, UTC)
    return {
        "energy_kwh": kwh(usage.energy_wh),
        "energy_wh": usage.energy_wh,
        "average_watts": usage.average_watts,
        "peak_watts": usage.peak_watts,
        "peak_at": wire_time(peak_at),
        "intervals": usage.slots,
        "incomplete": usage.incomplete,
        "gaps": usage.gaps,
        "gap_seconds": usage.gap_seconds,
        "resets": usage.resets,
    }


def kwh(energy_wh: int | None) -> float | None:
    """Kilowatt-hours; a float of so few digits is written as it is read."""
    return None if energy_wh is None else energy_wh / WH_PER_KWH
