"""Servers: the stock, owners, power, and operations on whole machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict, Unpack

from rackhand.sdk.addresses import Address
from rackhand.sdk.calls import (
    Call,
    Changed,
    Done,
    Listing,
    Started,
    deleting,
    getting,
    given,
    listing,
    path_of,
    posting,
)
from rackhand.sdk.rows import Key

PATH = "dci/v3/server"
Clearing = Literal["none", "fast", "full"]
RaidLevel = Literal["none", "raid0", "raid1", "raid5", "raid6", "raid10"]


@dataclass(frozen=True)
class Place:
    """A location, a rack, a template: number and name."""

    id: int | None
    name: str = ""


@dataclass(frozen=True)
class Nic:
    """A network interface."""

    id: int
    mac: str
    name: str = ""
    speed_mbit: int | None = None


@dataclass(frozen=True)
class Disk:
    """A drive; `kind` is HDD, SSD or NVMe."""

    id: int
    name: str = ""
    kind: str = ""
    size_gb: int = 0
    model: str = ""
    serial: str = ""


@dataclass(frozen=True)
class Bmc:
    """How a BMC is reached; `refused_at` is when it refused its login, since when it is left alone."""

    driver: str
    host: str
    port: int | None = None
    user: str = ""
    refused_at: datetime | None = None


@dataclass(frozen=True)
class LastOperation:
    """The last operation: `status` is new, running, ok, failed or canceled."""

    id: int
    status: str
    name: str | None = None


@dataclass(frozen=True)
class Server:
    """A server. `power_status` is on, off or unknown, as it was read at `power_status_at`."""

    id: int
    name: str
    domain: str = ""
    configuration: str | None = None
    status: str = ""
    state: str = ""
    state_info: str = ""
    operation: LastOperation | None = None
    os_template: Place | None = None
    power_status: str = "unknown"
    power_status_at: datetime | None = None
    power_status_info: str = ""
    owner: int | None = None
    owner_email: str | None = None
    is_new: bool = False
    is_protected: bool = False
    maintenance: bool = False
    quarantine_reason: str | None = None
    diagnostics_message: str | None = None
    location: Place | None = None
    rack: Place | None = None
    unit: int | None = None
    barcode: str = ""
    serial: str = ""
    model: str = ""
    type: str = ""
    notes: str = ""
    nics: tuple[Nic, ...] = ()
    disks: tuple[Disk, ...] = ()
    addresses: Annotated[tuple[Address, ...], Key("ip")] = ()
    bmc: Annotated[Bmc | None, Key("bmc_connection")] = None
    hardware: Annotated[Mapping[str, Any] | None, Key("hardware_info")] = None
    created_at: datetime | None = None


@dataclass(frozen=True)
class Stock:
    """A configuration, and how many servers of it can be taken now."""

    configuration: str
    free_server_count: int


@dataclass(frozen=True)
class Power:
    """The last reading of a power state; `power_status_info` says why there is none."""

    id: int
    power_status: str
    power_status_at: datetime | None = None
    power_status_info: str = ""
    power_unreachable_since: datetime | None = None


@dataclass(frozen=True)
class RescueStarted:
    """A rescue that starts; `password` is there when one was made up, and nowhere else."""

    id: int
    task: int
    password: str | None = field(default=None, repr=False)


class NicValues(TypedDict, total=False):
    """A network interface; `mac` is needed."""

    mac: str
    name: str
    speed_mbit: int | None


class DiskValues(TypedDict, total=False):
    """A drive; `size_gb` is needed."""

    name: str
    kind: str
    size_gb: int
    model: str
    serial: str


class BmcValues(TypedDict, total=False):
    """Access to a BMC; `driver` (ipmi or redfish) and `host` are needed."""

    driver: str
    host: str
    port: int | None
    user: str
    password: str
    settings: Mapping[str, object]


class ServerValues(TypedDict, total=False):
    """What a server may be given; `nics` and `disks` replace the whole list."""

    domain: str
    configuration: str | None
    type: str
    model: str
    serial: str
    barcode: str
    notes: str
    location_id: int
    rack_id: int | None
    unit: int | None
    is_new: bool
    maintenance: bool
    is_protected: bool
    efi: bool
    nics: Sequence[NicValues]
    disks: Sequence[DiskValues]
    bmc: BmcValues


class NewServer(ServerValues):
    """A new server."""

    name: str


class ServerChanges(ServerValues, total=False):
    """What to change of a server."""

    name: str


class PartitionValues(TypedDict, total=False):
    """A partition: where it is mounted (or `swap`), its file system, and its size, else what is left."""

    mount: str
    fs: str
    size_gib: float


# --- the inventory


def find(*, where: str = "", orderby: str = "", limit: int | None = None, offset: int = 0) -> Listing[Server]:
    """List servers; a user sees its own."""
    return listing(PATH, Server, where=where, orderby=orderby, limit=limit, offset=offset)


def stock() -> Listing[Stock]:
    """List configurations with the number of servers of each that can be taken now."""
    return listing(f"{PATH}/configuration", Stock, where="", orderby="", limit=None, offset=0)


def get(id: int) -> Call[Server]:
    """Show a server."""
    return getting(path_of(PATH, id), Server)


def create(**values: Unpack[NewServer]) -> Call[Done]:
    """Add a server."""
    return posting(PATH, Done, values)


def edit(id: int, **changes: Unpack[ServerChanges]) -> Call[Done]:
    """Change a server; a user may change `notes` and `domain` of its own."""
    return posting(path_of(PATH, id), Done, changes)


def delete(id: int) -> Call[Done]:
    """Delete a server that nobody owns."""
    return deleting(path_of(PATH, id), Done)


# --- who has it


def give(id: int, owner: int) -> Call[Done]:
    """Give a server to an account."""
    return posting(path_of(PATH, id, "owner"), Done, {"owner": owner})


def take(id: int) -> Call[Changed]:
    """Take a server back: the owner is off at once; `task` is there when its disks are wiped now."""
    return deleting(path_of(PATH, id, "owner"), Changed)


def suspend(id: int, *, ignore_wiring: bool = False, dry_run: bool = False) -> Call[Started]:
    """Cut a server off: its data ports go down, the machine keeps running."""
    return posting(path_of(PATH, id, "suspend"), Started, {"ignore_wiring": ignore_wiring}, dry_run=dry_run)


def resume(id: int, *, ignore_wiring: bool = False, dry_run: bool = False) -> Call[Started]:
    """Let a server in again: its data ports go up."""
    return posting(path_of(PATH, id, "resume"), Started, {"ignore_wiring": ignore_wiring}, dry_run=dry_run)


def set_maintenance(id: int, *, value: bool) -> Call[Done]:
    """Take a server out of stock for maintenance, or put it back."""
    return posting(path_of(PATH, id, "maintenance"), Done, {"value": value})


def set_protection(id: int, *, value: bool) -> Call[Done]:
    """Protect a server from power off, reset, deletion and changes, or end that."""
    return posting(path_of(PATH, id, "protection"), Done, {"value": value})


def quarantine(id: int, reason: str) -> Call[Done]:
    """Keep a server from being given to anybody."""
    return posting(path_of(PATH, id, "quarantine"), Done, {"reason": reason})


def end_quarantine(id: int) -> Call[Done]:
    """Let a server out of quarantine."""
    return deleting(path_of(PATH, id, "quarantine"), Done)


# --- power


def power(id: int) -> Call[Power]:
    """Show the last reading of the power state and have it read again now."""
    return getting(path_of(PATH, id, "power"), Power)


def power_on(id: int) -> Call[Started]:
    """Switch a server on that is off or unknown."""
    return posting(path_of(PATH, id, "power_on"), Started)


def power_off(id: int, *, soft: bool = False, hard_after: int | None = None) -> Call[Started]:
    """Switch a server off: at once, or softly first and hard after so many seconds."""
    return posting(path_of(PATH, id, "power_off"), Started, given(soft=soft, hard_after=hard_after))


def power_reset(id: int, *, soft: bool = False, hard_after: int | None = None) -> Call[Started]:
    """Switch a server off and on again; one that is off is switched on."""
    return posting(path_of(PATH, id, "power_reset"), Started, given(soft=soft, hard_after=hard_after))


# --- operations on the whole machine


def install(
    id: int,
    template: int,
    *,
    password: str | None = None,
    ssh_keys: Sequence[str] = (),
    raid: RaidLevel | None = None,
    domain: str | None = None,
    partitions: Sequence[PartitionValues] | None = None,
    lvm: bool | None = None,
    user_data: str | None = None,
    post_install: str | None = None,
) -> Call[Started]:
    """Install an operating system, with a password or keys for root. What the disks hold is lost."""
    body = given(
        os_template_id=template,
        password=password,
        ssh_pub_keys=list(ssh_keys),
        hdd_raid=raid,
        domain=domain,
        partitions=partitions,
        lvm=lvm,
        user_data=user_data,
        post_install=post_install,
    )
    return posting(path_of(PATH, id, "operation_os"), Started, body)


def rescue(
    id: int, *, password: str | None = None, ssh_keys: Sequence[str] = (), hours: float | None = None
) -> Call[RescueStarted]:
    """Start a server into rescue; without a password and keys a password is made up and shown this once."""
    body = given(action="start", password=password, ssh_pub_keys=list(ssh_keys), hours=hours)
    return posting(path_of(PATH, id, "operation_recovery"), RescueStarted, body)


def end_rescue(id: int) -> Call[Started]:
    """Start a server from its disk again."""
    return posting(path_of(PATH, id, "operation_recovery"), Started, {"action": "stop"})


def diagnose(id: int, *, clear: Clearing = "none") -> Call[Started]:
    """Boot a server into the diagnostics image and see what is in it; it is switched off and on for that."""
    return posting(path_of(PATH, id, "operation_diag"), Started, {"clear_hdd": clear})


def wipe(id: int, *, clear: Clearing = "full") -> Call[Started]:
    """Wipe all disks: `full` is proven by reading back, `fast` clears their ends, which is no erasure."""
    return posting(path_of(PATH, id, "operation_clear_hdd"), Started, {"clear_hdd": clear})
