"""Switches on the wire; the only place for their odd spellings (api-facts 5.1, 8)."""

from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, StringConstraints

from rackhand.db import AnyRow
from rackhand.hardware.interfaces import AdminStatus
from rackhand.http.wire import Body, BodyId, wire_time
from rackhand.servers.access import AccessGiven
from rackhand.servers.schemas import MAX_UNIT, Mac, Name, Notes, Port, Text
from rackhand.switches.model import ConnectionKind, VlanPurpose

Host = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:\-]+$")]
Vid = Annotated[int, Field(ge=1, le=4094)]
MAX_SPEED = 1_000_000


def _rack(value: object) -> object:
    """`3`, `{"id": 3}` and null."""
    return value.get("id") if isinstance(value, dict) else value


class SwitchBody(Body):
    """A switch and how it is reached. `password` is the SNMP community or the password; it is never shown."""

    name: Name = Field(examples=["sw-a1"])
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
    host: Host = Field(examples=["192.0.2.21"], validation_alias=AliasChoices("host", "ip", "address"))
    port: Port | None = None
    user: Text = Field("", validation_alias=AliasChoices("user", "username", "login"))
    password: SecretStr | None = Field(
        None, max_length=255, validation_alias=AliasChoices("password", "community")
    )
    settings: dict[str, Any] = Field(default_factory=dict)


class EditSwitch(Body):
    """What to change of a switch; with any of the access' keys the whole access is set anew."""

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


def access_given(body: SwitchBody) -> AccessGiven:
    """The access in the body of a new switch."""
    password = body.password.get_secret_value() if body.password else None
    return AccessGiven(body.driver, body.host, body.port, body.user, password, body.settings)


class PortBody(Body):
    """What a port is to be, and what an operator says of it; absent keys stay as they are.

    `is_uplink` is only written down. `admin_status`, `vlan` (a number) and `speed_mbit` (0: automatic) are set on the
    switch by a task. `problem`: null ends a flag that an operator has looked into.
    """

    is_uplink: bool | None = None
    problem: None = None
    admin_status: AdminStatus | None = Field(None, examples=["up"])
    vlan: Vid | None = Field(None, validation_alias=AliasChoices("vlan", "vid"), examples=[120])
    speed_mbit: int | None = Field(None, ge=0, le=MAX_SPEED)
    ignore_wiring: bool = False


class SuspendBody(Body):
    """`ignore_wiring` (administrators) acts although the switches have heard something else than is written down."""

    ignore_wiring: bool = Field(False, examples=[False])


class ServerPortsBody(SuspendBody):
    """What data ports of a server are to be: all, or those of some `connections`.

    `vlan` is the number of a VLAN of the location, `vlan_id` its id.
    """

    vlan: Vid | None = Field(None, validation_alias=AliasChoices("vlan", "vid"), examples=[120])
    vlan_id: BodyId | None = None
    speed_mbit: int | None = Field(None, ge=0, le=MAX_SPEED, examples=[1000])
    admin_status: AdminStatus | None = Field(None, examples=["up"])
    connections: list[BodyId] = Field(
        default_factory=list, max_length=64, validation_alias=AliasChoices("connections", "connection_ids")
    )


class ConnectionBody(Body):
    """A cable: the port by its id, or by switch and name; the NIC by its id or MAC address."""

    port_id: BodyId | None = Field(None, examples=[14])
    switch: BodyId | None = Field(None, validation_alias=AliasChoices("switch", "switch_id"))
    port: Text | None = Field(None, validation_alias=AliasChoices("port", "port_name", "description"))
    nic_id: BodyId | None = Field(None, validation_alias=AliasChoices("nic_id", "nic"))
    mac: Mac | None = None
    kind: ConnectionKind | None = None
    is_ipmi_connection: bool = False
    do_not_collect_traffic: bool = False
    notes: Notes = ""

    @property
    def wanted_kind(self) -> ConnectionKind:
        """`kind`, or what `is_ipmi_connection` means."""
        return self.kind or (ConnectionKind.BMC if self.is_ipmi_connection else ConnectionKind.DATA)


class EditConnection(Body):
    """What to change of a cable."""

    nic_id: BodyId | None = Field(None, validation_alias=AliasChoices("nic_id", "nic"))
    do_not_collect_traffic: bool | None = None
    notes: Notes | None = None


class DeviceConnectionBody(Body):
    """Something that is no server, plugged into a port."""

    device_name: Name = Field(examples=["pdu-a1-a"], validation_alias=AliasChoices("device_name", "name"))
    notes: Notes = ""


class DiscoverBody(Body):
    """`connect`: network interfaces that are heard on one free port are connected with it."""

    connect: bool = Field(False, examples=[True])


class VlanBody(Body):
    """A VLAN; `purpose` is customer, provisioning, parking or other."""

    vid: Vid = Field(examples=[120], validation_alias=AliasChoices("vid", "vlan", "number"))
    name: Text = ""
    purpose: VlanPurpose = VlanPurpose.CUSTOMER
    location_id: BodyId | None = Field(None, validation_alias=AliasChoices("location_id", "location"))
    owner: BodyId | None = Field(None, examples=[3])


class EditVlan(Body):
    """What to change of a VLAN."""

    vid: Vid | None = None
    name: Text | None = None
    purpose: VlanPurpose | None = None
    owner: BodyId | None = None


# --- answers


def switch_row(row: AnyRow) -> dict[str, object]:
    """A switch; its secrets are never shown."""
    switch = row[0]
    return {
        "id": switch.id,
        "name": switch.name,
        "model": switch.model,
        "description": switch.description,
        "serial": switch.serial,
        "barcode": switch.barcode,
        "notes": switch.notes,
        "location_id": switch.location_id,
        "location": {"id": switch.location_id, "name": row.location_name},
        "rack": {"id": switch.rack_id, "name": row.rack_name} if switch.rack_id else None,
        "unit": switch.unit,
        "warehouse_status": "in_use" if switch.rack_id else "stored",
        "driver": switch.driver,
        "host": switch.host,
        "port": switch.port,
        "user": switch.user,
        "has_password": bool(switch.credentials),
        "settings": switch.settings,
        "refused_at": wire_time(switch.refused_at),
        "refusal": switch.refusal,
        "port_count": row.port_count,
        "used_ports": row.used_ports,
        "seen_at": wire_time(switch.seen_at),
        "error": switch.error,
        "error_at": wire_time(switch.error_at),
        "created_at": wire_time(switch.created_at),
    }


def port_row(row: AnyRow) -> dict[str, object]:
    """A port with what is plugged into it; `server` is null or has a name (api-facts 8)."""
    port = row[0]
    return {
        "id": port.id,
        "switch": port.switch_id,
        "switch_name": row.switch_name,
        "index": port.if_index,
        "name": port.name,
        "description": port.description or port.name,
        "alias": port.alias,
        "mac": port.mac,
        "speed_mbit": port.speed_mbit,
        "admin_status": port.admin_status,
        "oper_status": port.oper_status,
        "vlan": port.vlan,
        "is_uplink": port.is_uplink,
        "is_missing": port.is_missing,
        "problem": port.flag,
        "seen_at": wire_time(port.seen_at),
        "connection_id": row.connection_id,
        "kind": row.kind,
        "server": {"id": row.server_id, "name": row.server_name} if row.server_id else None,
        "device": row.device_name or None,
        "nic": {"id": row.nic_id, "mac": row.nic_mac} if row.nic_id else None,
    }


def connection_row(row: AnyRow) -> dict[str, object]:
    """A cable as seen from its server."""
    port = row[0]
    return {
        "id": row.connection_id,
        "connection_id": row.connection_id,
        "switch": port.switch_id,
        "switch_name": row.switch_name,
        "port_id": port.id,
        "port": port.name,
        "description": port.description or port.name,
        "kind": row.kind,
        "is_ipmi_connection": row.kind == ConnectionKind.BMC,
        "nic": {"id": row.nic_id, "mac": row.nic_mac} if row.nic_id else None,
        "admin_status": port.admin_status,
        "oper_status": port.oper_status,
        "vlan": port.vlan,
        "speed_mbit": port.speed_mbit,
        "do_not_collect_traffic": row.do_not_collect_traffic,
        "notes": row.connection_notes,
        "problem": port.flag,
        "seen_at": wire_time(port.seen_at),
    }


def server_connection_row(row: AnyRow) -> dict[str, object]:
    """A cable in the row of its server, as published: `id` is the port, `connection_id` the cable."""
    return {
        "id": row.port_id,
        "switch": row.switch_id,
        "switch_name": row.switch_name,
        "connection_id": row.id,
        "description": row.description or row.port_name,
        "admin_status": row.admin_status,
        "oper_status": row.oper_status,
        "do_not_collect_traffic": row.do_not_collect_traffic,
        "is_ipmi_connection": row.kind == ConnectionKind.BMC,
        "vlan": row.vlan,
        "speed_mbit": row.speed_mbit,
        "problem": row.flag,
    }


def vlan_row(row: AnyRow) -> dict[str, object]:
    """A VLAN."""
    vlan = row[0]
    return {
        "id": vlan.id,
        "vid": vlan.vid,
        "name": vlan.name,
        "purpose": vlan.purpose,
        "location_id": vlan.location_id,
        "owner": vlan.owner_id,
        "owner_email": row.owner_email,
        "created_at": wire_time(vlan.created_at),
    }
