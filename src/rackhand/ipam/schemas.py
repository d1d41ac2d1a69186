"""Address management on the wire; the only place for its odd spellings (api-facts 6)."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from sqlalchemy import Row

from rackhand.dns import names
from rackhand.http.wire import Body, BodyId, wire_time
from rackhand.ipam.model import PUBLIC, Network, Pool, Range, Userspace
from rackhand.ipam.queries import FAMILY_WORDS, Counters

Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")]
Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f]*$")]
Domain = Annotated[str, StringConstraints(strip_whitespace=True, max_length=253, pattern=r"^[^\x00-\x20/]*$")]
AddressText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=90)]
Note = Annotated[str, StringConstraints(max_length=16384, pattern=r"^[^\x00]*$")]

FAMILY_NAMES = {4: "ipv4", 6: "ipv6"}
FAMILY_NUMBERS = {4: 2, 6: 10}  # AF_INET and AF_INET6 of Linux
MAX_QUOTA = 10**6
YEAR_HOURS = 8760


def _none_for_zero(value: object) -> object:
    """0 and an empty text are how callers leave out a number."""
    return None if isinstance(value, int | str) and value in {0, "", "0"} else value


def none_for_empty(value: object) -> object:
    """An empty text is how callers leave out a value."""
    return None if isinstance(value, str) and not value.strip() else value


def _family(value: object) -> object:
    if value is None or value == "":
        return None
    version = FAMILY_WORDS.get(str(value).lower())
    if version is None:
        raise ValueError(f"expected ipv4 or ipv6, got {str(value)[:40]!r}")
    return version


def _flag(value: object) -> object:
    """A boolean; some callers send the number of an address, which means yes."""
    return bool(value) if isinstance(value, int) or value is None else value


def _vlan(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


OptionalId = Annotated[BodyId | None, BeforeValidator(_none_for_zero)]
Vlan = Annotated[Text, BeforeValidator(_vlan)]


class AllocateBody(Body):
    """What address a server gets: `ip_name`, else the next of `ip_net`, of `ip_pool`, or of the pools that serve it.

    0 and empty texts mean not given. `prefix` asks for a whole prefix instead of one address.
    """

    domain: Domain | None = Field(None, examples=["srv-12.example.com"])
    family: Annotated[int | None, BeforeValidator(_family)] = Field(None, examples=["ipv4"])
    ip_name: Annotated[AddressText | None, BeforeValidator(none_for_empty)] = Field(
        None, examples=["192.0.2.10"]
    )
    ip_net: OptionalId = Field(None, examples=[1])
    ip_pool: OptionalId = Field(None, examples=[1])
    set_as_main_ipv4: Annotated[bool, BeforeValidator(_flag)] = False
    userspace: OptionalId = Field(None, examples=[1])
    prefix: int | None = Field(None, ge=1, le=128, examples=[64])
    ignore_quarantine: bool = False


class ServerAddressBody(Body):
    """Empty: remove the address. With `domain` or `set_as_main_ipv4`: change it instead."""

    domain: Domain | None = None
    set_as_main_ipv4: Annotated[bool | None, BeforeValidator(_flag)] = None
    quarantine_hours: int | None = Field(None, ge=0, le=YEAR_HOURS)


class EditAddress(Body):
    """What to change of an address; `note` is for administrators."""

    domain: Domain | None = None
    note: Note | None = None


def _host_name(text: str) -> str:
    return names.host_name(text) if text else ""


class PtrBody(Body):
    """The reverse name of an address; when it is empty, the domain is its reverse name."""

    domain: Annotated[Domain, AfterValidator(_host_name)] = Field(
        examples=["srv-12.example.com"], validation_alias=AliasChoices("domain", "ptr", "name")
    )


class KeepBackBody(Body):
    """An address, or a prefix, that nobody is to get."""

    name: AddressText = Field(
        examples=["192.0.2.2"], validation_alias=AliasChoices("name", "ip_addr", "ip_name")
    )
    userspace: OptionalId = None
    domain: Domain = ""
    note: Note = ""


class NetworkBody(Body):
    """A network."""

    name: AddressText = Field(
        examples=["192.0.2.0/24"], validation_alias=AliasChoices("name", "cidr", "network")
    )
    gateway: Annotated[AddressText | None, BeforeValidator(none_for_empty)] = Field(
        None, examples=["192.0.2.1"]
    )
    vlan: Vlan = Field("", examples=["100"])
    note: Note = ""
    userspace: OptionalId = None
    location_id: OptionalId = Field(None, validation_alias=AliasChoices("location_id", "location"))


class EditNetwork(Body):
    """What to change of a network; absent keys stay as they are."""

    gateway: AddressText | None = None
    vlan: Vlan | None = None
    note: Note | None = None
    location_id: OptionalId = Field(None, validation_alias=AliasChoices("location_id", "location"))


class PoolBody(Body):
    """A pool; with `rack_id` or `location_id` it serves the servers there."""

    name: Name = Field(examples=["public"])
    note: Note = ""
    is_public: bool | None = None
    userspace: OptionalId = None
    location_id: OptionalId = Field(None, validation_alias=AliasChoices("location_id", "location"))
    rack_id: OptionalId = Field(None, validation_alias=AliasChoices("rack_id", "rack"))


class EditPool(Body):
    """What to change of a pool; absent keys stay as they are."""

    name: Name | None = None
    note: Note | None = None
    is_public: bool | None = None
    location_id: OptionalId = Field(None, validation_alias=AliasChoices("location_id", "location"))
    rack_id: OptionalId = Field(None, validation_alias=AliasChoices("rack_id", "rack"))


class RangeBody(Body):
    """Addresses of a pool: `first-last`, a network, or one address."""

    name: AddressText = Field(
        examples=["192.0.2.10-192.0.2.99"], validation_alias=AliasChoices("name", "range")
    )


class UserspaceBody(Body):
    """A user space."""

    name: Name = Field(examples=["private"])
    note: Note = ""


# --- lines of an import


def _flag_of_text(value: object) -> object:
    """CSV has no booleans."""
    return value.strip().lower() if isinstance(value, str) else value


Flag = Annotated[bool, BeforeValidator(_flag_of_text)]


class _Line(BaseModel):
    """A line; columns of other kinds may be there, and must be empty. Names stand for numbers."""

    model_config = ConfigDict(extra="forbid")

    userspace: Name = PUBLIC
    name: AddressText

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        """Leave out what is empty: a table has every column in every line."""
        return (
            {key: value for key, value in data.items() if value not in {None, ""}}
            if isinstance(data, dict)
            else data
        )


class NetworkLine(_Line):
    """A network."""

    gateway: AddressText | None = None
    vlan: Vlan = ""
    note: Note = ""
    location: Name | None = None


class PoolLine(_Line):
    """A pool without ranges."""

    name: Name
    note: Note = ""
    is_public: Flag = False
    location: Name | None = None
    rack: Name | None = None


class RangeLine(_Line):
    """A range of a pool."""

    pool: Name


class AddressLine(_Line):
    """An address or a prefix: of a server, else one that nobody is to get."""

    server: Name | None = None
    pool: Name | None = None
    status: Text = ""
    domain: Domain = ""
    ptr: Domain = ""
    note: Note = ""
    is_main: Flag = False


class ImportBody(Body):
    """Lines as CSV with a header, or as objects. With `dry_run` nothing is kept."""

    model_config = ConfigDict(extra="ignore", str_max_length=None)

    csv: str | None = Field(None, examples=["kind,name,gateway\nnetwork,192.0.2.0/24,192.0.2.1\n"])
    lines: list[dict[str, Any]] | None = Field(
        None, examples=[[{"kind": "network", "name": "192.0.2.0/24", "gateway": "192.0.2.1"}]]
    )
    dry_run: bool = False


class QuotaBody(Body):
    """How many addresses a user may take itself."""

    ipv4: int | None = Field(None, ge=0, le=MAX_QUOTA, examples=[4])
    ipv6: int | None = Field(None, ge=0, le=MAX_QUOTA, examples=[16])


# --- answers


def server_address_row(row: Row[Any]) -> dict[str, object]:
    """An address in the row of its server (api-facts 5.1)."""
    return {
        "domain": row.domain,
        "family": FAMILY_NAMES[row.version],
        "gateway": row.gateway,
        "id": row.id,
        "name": row.name,
        "network": row.cidr,
        "status": row.status,
        "status_info": row.status_info,
        "mask": row.mask,
        "prefix": row.prefix_length,
        "is_main": row.is_main,
    }


def address_row(row: Row[Any], *, for_admin: bool) -> dict[str, object]:
    """An address with the keys of every route that lists them (api-facts 6.1)."""
    answer = server_address_row(row) | {
        "server": row.server_name or "",
        "server_id": row.server_id,
        "ip_addr": row.name,
        "ipnet": row.network_id,
        "ipnet_name": row.cidr,
        "ippool": row.pool_id,
        "ptr": row.ptr,
        "userspace": row.userspace_id,
    }
    if for_admin:
        answer |= {"note": row.note, "vlan": row.vlan, "quarantined_until": wire_time(row.quarantined_until)}
    return answer


def network_row(network: Network, counters: Counters) -> dict[str, object]:
    """A network; the counters are texts because those of IPv6 exceed 64 bits."""
    return {
        "id": network.id,
        "name": network.cidr,
        "family": FAMILY_NUMBERS[network.version],
        "mask": network.prefix_length,
        "gateway": network.gateway,
        "userspace": network.userspace_id,
        "vlan": network.vlan,
        "note": network.note,
        "size": str(network.span.size),
        "using_ip": str(counters.used),
        "total_ip": str(counters.total),
        "parent": network.parent_id,
        "location_id": network.location_id,
    }


def pool_row(pool: Pool, counters: Mapping[int, Counters]) -> dict[str, object]:
    """A pool; `is_public` is a text as published, `"1"` or `"0"`."""
    return {
        "id": pool.id,
        "name": pool.name,
        "userspace": pool.userspace_id,
        "note": pool.note,
        "is_public": "1" if pool.is_public else "0",
        "using_ip": str(counters[4].used + counters[6].used),
        "using_ipv4": str(counters[4].used),
        "using_ipv6": str(counters[6].used),
        "total_ip": str(counters[4].total + counters[6].total),
        "total_ipv4": str(counters[4].total),
        "total_ipv6": str(counters[6].total),
        "location_id": pool.location_id,
        "rack_id": pool.rack_id,
    }


def range_row(row: Range) -> dict[str, object]:
    """A range of a pool."""
    return {
        "id": row.id,
        "name": row.name,
        "ippool": row.pool_id,
        "userspace": row.userspace_id,
        "family": FAMILY_NUMBERS[row.version],
        "first": str(row.span.first_address),
        "last": str(row.span.last_address),
        "size": str(row.span.size),
    }


def userspace_row(row: Userspace) -> dict[str, object]:
    """A user space."""
    return {"id": row.id, "name": row.name, "note": row.note}
