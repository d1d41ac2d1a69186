"""Name servers, reverse zones and reverse names on the wire."""

from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, StringConstraints
from sqlalchemy import Row

from rackhand.http.wire import Body, BodyId, wire_time
from rackhand.ipam.model import DnsServer
from rackhand.ipam.schemas import AddressText, Name, Note, OptionalId, Text, none_for_empty

Host = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=253, pattern=r"^[^\s/]+$")
]
Port = Annotated[int, Field(ge=1, le=65535)]
Ttl = Annotated[int, Field(ge=1, le=2**31 - 1)]

ACCESS_KEYS = {"driver", "host", "port", "user", "password", "settings"}


class DnsServerBody(Body):
    """A name server and how it is reached. `password` is the API key, or the TSIG secret; it is never shown."""

    name: Name = Field(examples=["ns1"])
    note: Note = ""
    driver: Text = Field(examples=["powerdns"], validation_alias=AliasChoices("driver", "type"))
    host: Host = Field(examples=["192.0.2.53"], validation_alias=AliasChoices("host", "ip", "address"))
    port: Port | None = None
    user: Text = Field("", validation_alias=AliasChoices("user", "key_name"))
    password: SecretStr | None = Field(
        None, max_length=1024, validation_alias=AliasChoices("password", "api_key", "secret")
    )
    settings: dict[str, Any] = Field(default_factory=dict)


class EditDnsServer(Body):
    """What to change of a name server; with any of the access' keys the whole access is set anew."""

    name: Name | None = None
    note: Note | None = None
    driver: Text | None = Field(None, validation_alias=AliasChoices("driver", "type"))
    host: Host | None = Field(None, validation_alias=AliasChoices("host", "ip", "address"))
    port: Port | None = None
    user: Text | None = Field(None, validation_alias=AliasChoices("user", "key_name"))
    password: SecretStr | None = Field(
        None, max_length=1024, validation_alias=AliasChoices("password", "api_key", "secret")
    )
    settings: dict[str, Any] | None = None


class DnsZoneBody(Body):
    """A reverse zone. `network` is for a part of it, and for zones of RFC 2317, whose names do not say it."""

    name: AddressText = Field(
        examples=["2.0.192.in-addr.arpa"], validation_alias=AliasChoices("name", "zone")
    )
    network: Annotated[AddressText | None, BeforeValidator(none_for_empty)] = Field(
        None, examples=["192.0.2.0/24"]
    )
    dns_server: BodyId = Field(examples=[1], validation_alias=AliasChoices("dns_server", "dns_server_id"))
    ttl: Ttl = 3600
    userspace: OptionalId = None


class EditDnsZone(Body):
    """What to change of a zone; its names are then published anew."""

    dns_server: BodyId | None = Field(None, validation_alias=AliasChoices("dns_server", "dns_server_id"))
    ttl: Ttl | None = None


def dns_server_row(server: DnsServer) -> dict[str, object]:
    """A name server; its secrets are never shown."""
    return {
        "id": server.id,
        "name": server.name,
        "note": server.note,
        "driver": server.driver,
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "has_password": bool(server.credentials),
        "settings": server.settings,
        "seen_at": wire_time(server.seen_at),
        "error": server.error,
        "error_at": wire_time(server.error_at),
        "created_at": wire_time(server.created_at),
    }


def dns_zone_row(row: Row[Any]) -> dict[str, object]:
    """A zone with the numbers of its names."""
    zone = row[0]
    return {
        "id": zone.id,
        "name": zone.name,
        "network": zone.cidr,
        "dns_server": {"id": zone.dns_server_id, "name": row.server_name},
        "userspace": zone.userspace_id,
        "ttl": zone.ttl,
        "names": row.names,
        "failed": row.failed,
        "created_at": wire_time(zone.created_at),
    }


def ptr_row(row: Row[Any]) -> dict[str, object]:
    """What a name server is to say of an address, and whether it does."""
    wish = row[0]
    return {
        "id": wish.id,
        "ip_addr": wish.name,
        "target": wish.target,
        "state": wish.state,
        "error": wish.error,
        "attempts": wish.attempts,
        "next_try_at": None if wish.state == "published" else wire_time(wish.try_at),
        "published_at": wire_time(wish.published_at),
        "changed_at": wire_time(wish.changed_at),
        "zone": {"id": wish.zone_id, "name": row.zone_name},
        "dns_server": {"id": row.server_id, "name": row.server_name},
        "userspace": wish.userspace_id,
    }
