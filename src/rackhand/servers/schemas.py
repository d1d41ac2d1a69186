"""The inventory on the wire; the only place for its odd spellings (api-facts 5.1)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, StringConstraints

from rackhand.db import AnyRow
from rackhand.http import words
from rackhand.http.wire import Body, BodyId, stored_json, wire_time
from rackhand.servers.queries import Related

Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")]
Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f]*$")]
Notes = Annotated[str, StringConstraints(max_length=16384, pattern=r"^[^\x00]*$")]
_MAC = re.compile(r"[0-9a-f]{12}")
MAX_UNIT = 100


def _mac(value: str) -> str:
    digits = value.lower().translate(str.maketrans("", "", ":-. "))
    if not _MAC.fullmatch(digits):
        raise ValueError(f"expected a MAC address such as 00:00:5e:00:53:01, got {value[:40]!r}")
    if int(digits[:2], 16) & 1 or digits == "0" * 12:
        raise ValueError(f"{value[:40]} is no address of one interface")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


Mac = Annotated[str, AfterValidator(_mac)]
Port = Annotated[int, Field(ge=1, le=65535)]
Clearing = Literal["none", "fast", "full"]


class NicBody(Body):
    """A network interface."""

    mac: Mac = Field(examples=["00:00:5e:00:53:01"])
    name: Text = Field("", examples=["eth0"])
    speed_mbit: int | None = Field(None, ge=0, le=10_000_000, examples=[10000])


class DiskBody(Body):
    """A drive; `kind` is HDD, SSD or NVMe."""

    name: Text = Field("", examples=["nvme0n1"])
    kind: Text = Field("", examples=["NVMe"])
    size_gb: int = Field(ge=0, le=10**9, examples=[1024])
    model: Text = ""
    serial: Text = ""


class BmcBody(Body):
    """Access to a BMC; without `port` the driver's usual one; `password` is stored encrypted and never shown."""

    driver: Text = Field(examples=["ipmi"], validation_alias=AliasChoices("driver", "type"))
    host: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:\-]+$")] = (
        Field(examples=["192.0.2.11"], validation_alias=AliasChoices("host", "ip", "address"))
    )
    port: Port | None = None
    user: Text = Field("", examples=["ADMIN"], validation_alias=AliasChoices("user", "username", "login"))
    password: SecretStr | None = Field(None, max_length=255)
    settings: dict[str, Any] = Field(default_factory=dict)


def _rack(value: object) -> object:
    """`3`, `{"id": 3}` and null."""
    return value.get("id") if isinstance(value, dict) else value


class ServerBody(Body):
    """What a server may be given."""

    name: Name = Field(examples=["srv-12"])
    domain: Text = Field("", examples=["srv-12.example.com"])
    configuration: Annotated[str, StringConstraints(max_length=255)] | None = Field(
        None, examples=["i9-9900K-64Gb-2x1024NVMe"]
    )
    type: Text = ""
    model: Text = ""
    serial: Text = ""
    barcode: Text = ""
    notes: Notes = ""
    location_id: BodyId | None = Field(None, validation_alias=AliasChoices("location_id", "location"))
    rack_id: Annotated[BodyId | None, BeforeValidator(_rack)] = Field(
        None, validation_alias=AliasChoices("rack_id", "rack")
    )
    unit: int | None = Field(None, ge=1, le=MAX_UNIT)
    is_new: bool = True
    maintenance: bool = False
    is_protected: bool = False
    efi: bool = True
    nics: list[NicBody] = Field(default_factory=list, max_length=64)
    disks: list[DiskBody] = Field(default_factory=list, max_length=256)
    bmc: BmcBody | None = Field(None, validation_alias=AliasChoices("bmc", "bmc_connection"))


class EditServer(Body):
    """What to change of a server; absent keys stay as they are. `nics` and `disks` replace the whole list."""

    name: Name | None = None
    domain: Text | None = None
    configuration: Annotated[str, StringConstraints(max_length=255)] | None = None
    type: Text | None = None
    model: Text | None = None
    serial: Text | None = None
    barcode: Text | None = None
    notes: Notes | None = None
    location_id: BodyId | None = Field(None, validation_alias=AliasChoices("location_id", "location"))
    rack_id: Annotated[BodyId | None, BeforeValidator(_rack)] = Field(
        None, validation_alias=AliasChoices("rack_id", "rack")
    )
    unit: int | None = Field(None, ge=1, le=MAX_UNIT)
    is_new: bool | None = None
    maintenance: bool | None = None
    is_protected: bool | None = None
    efi: bool | None = None
    nics: list[NicBody] | None = Field(None, max_length=64)
    disks: list[DiskBody] | None = Field(None, max_length=256)
    bmc: BmcBody | None = Field(None, validation_alias=AliasChoices("bmc", "bmc_connection"))


class OwnerBody(Body):
    """The account that gets the server."""

    owner: BodyId = Field(examples=[3])


class SwitchBody(Body):
    """Whether something holds."""

    value: bool = Field(
        default=True, validation_alias=AliasChoices("value", "maintenance", "is_protected", "protected")
    )


class QuarantineBody(Body):
    """Why a server must not be given away."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)] = Field(
        examples=["disk 2 failed its wipe"]
    )


class ImportBody(Body):
    """Servers to add: rows as in `POST server`, or CSV text with a header line of the same names."""

    servers: list[dict[str, Any]] | None = Field(None, max_length=20_000)
    csv: Annotated[str, StringConstraints(max_length=4 * 1024 * 1024)] | None = None
    dry_run: bool = False


class LocationBody(Body):
    """A location; `clear_on_release` says how disks are cleared when a server is taken back."""

    name: Name = Field(examples=["ams1"])
    notes: Notes = ""
    clear_on_release: Clearing = "full"


class EditLocation(Body):
    """What to change of a location."""

    name: Name | None = None
    notes: Notes | None = None
    clear_on_release: Clearing | None = None


class RackBody(Body):
    """A rack; without `location_id` it stands in the only location."""

    name: Name = Field(examples=["A-01"])
    size: int = Field(42, ge=1, le=MAX_UNIT)
    notes: Notes = ""
    location_id: BodyId | None = None


class EditRack(Body):
    """What to change of a rack."""

    name: Name | None = None
    size: int | None = Field(None, ge=1, le=MAX_UNIT)
    notes: Notes | None = None


# --- answers


def server_rows(rows: Sequence[AnyRow], related: Related, *, for_admin: bool) -> Iterator[dict[str, object]]:
    """Full rows, one after the other."""
    for row in rows:
        yield server_row(row, related, for_admin=for_admin)


def server_row(row: AnyRow, related: Related, *, for_admin: bool) -> dict[str, object]:
    """A server with all that is known of it; how to reach its BMC is for administrators."""
    answer: dict[str, object] = {
        "id": row.id,
        "name": row.name,
        "domain": row.domain,
        "configuration": row.configuration,
        "status": row.status,
        "state": "suspended" if row.is_suspended else "active",
        "state_info": row.quarantine_reason or "",
        "operation": _operation(row),
        "os_template": stored_json(row.os_template),
        "hardware_info": stored_json(row.hardware_info),
        "perform_info": stored_json(row.perform_info),
        "settings": {"efi": row.efi},
        "power_status": row.power_state,
        "power_status_at": wire_time(row.power_state_at),
        "power_status_info": row.power_error or "",
        "power_unreachable_since": wire_time(row.power_error_at),
        "owner": row.owner_id,
        "owner_email": row.owner_email,
        "is_new": row.is_new,
        "location_id": row.location_id,
        "location": {"id": row.location_id, "name": row.location_name},
        "rack": _rack_of(row),
        "unit": row.unit,
        "barcode": row.barcode,
        "serial": row.serial,
        "model": row.model,
        "type": row.type,
        "maintenance": row.maintenance,
        "is_protected": row.is_protected,
        "quarantine_reason": row.quarantine_reason,
        "diagnostics_message": row.diagnostics_error,
        "notes": row.notes,
        "nics": [nic_row(nic) for nic in related.nics.get(row.id, ())],
        "disks": [disk_row(disk) for disk in related.disks.get(row.id, ())],
        "bmc_connection": _bmc_of(row) if for_admin else None,
        "created_at": wire_time(row.created_at),
        "ip": [],
        "switch_connection": [],
        "pdu_connection": None,
        "pdu_connections": [],
    }
    for part, values in related.parts:
        answer.update(values.get(row.id, part.defaults))
    return answer


def _operation(row: AnyRow) -> dict[str, object]:
    """The last operation; a server that never had one says `ok`, for that is what billing waits for (api-facts 4)."""
    if row.last_task_id is None:
        return {"id": 0, "name": None, "status": "ok", "status_info": {}, "progress_info": []}
    info = {"message": row.task_error} if row.task_error else {}
    progress = [{"name": row.task_waiting_for}] if row.task_waiting_for else []
    status = words.OPERATION_STATUS.get(row.task_status, "ok")  # forgotten tasks ended long ago
    return {
        "id": row.last_task_id,
        "name": row.task_name,
        "status": status,
        "status_info": info,
        "progress_info": progress,
    }


def _rack_of(row: AnyRow) -> dict[str, object] | None:
    """Never null where a configuration is set: a client reads its name unguarded (api-facts 5.1)."""
    if row.rack_id is None:
        return {"id": None, "name": ""} if row.configuration else None
    return {"id": row.rack_id, "name": row.rack_name}


def _bmc_of(row: AnyRow) -> dict[str, object] | None:
    if row.bmc_driver is None:
        return None
    return {
        "driver": row.bmc_driver,
        "host": row.bmc_host,
        "port": row.bmc_port,
        "user": row.bmc_user,
        "refused_at": wire_time(row.bmc_refused_at),
    }


def nic_row(nic: Any) -> dict[str, object]:
    """A network interface."""
    return {"id": nic.id, "mac": nic.mac, "name": nic.name, "speed_mbit": nic.speed_mbit}


def disk_row(disk: Any) -> dict[str, object]:
    """A drive."""
    return {
        "id": disk.id,
        "name": disk.name,
        "kind": disk.kind,
        "size_gb": disk.size_gb,
        "model": disk.model,
        "serial": disk.serial,
    }


def location_row(row: AnyRow) -> dict[str, object]:
    """A location."""
    location = row[0]
    return {
        "id": location.id,
        "name": location.name,
        "notes": location.notes,
        "clear_on_release": location.clear_on_release,
        "server_count": row.server_count,
        "created_at": wire_time(location.created_at),
    }


def rack_row(row: AnyRow) -> dict[str, object]:
    """A rack."""
    rack = row[0]
    return {
        "id": rack.id,
        "name": rack.name,
        "size": rack.size,
        "notes": rack.notes,
        "location_id": rack.location_id,
        "device_count": row.device_count,
        "free_units": rack.size - row.used_units,
        "created_at": wire_time(rack.created_at),
    }


def stock_row(row: AnyRow) -> Mapping[str, object]:
    """A configuration in stock, as published."""
    return {"configuration": row.configuration, "free_server_count": row.free_server_count}
