"""SNMPv2-MIB, the system group (RFC 3418): the same on every device."""

from collections.abc import Callable
from dataclasses import dataclass

from rackhand.sim import ber
from rackhand.sim.ber import Oid
from rackhand.sim.mib import Column, Table

SCALAR: Oid = (0,)
SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)
EXAMPLE_ENTERPRISE: Oid = (1, 3, 6, 1, 4, 1, 32473)  # for documentation, RFC 5612


@dataclass(frozen=True)
class System:
    """What a device says of itself; *uptime* in seconds; *services* are the layers that it works on, RFC 3418."""

    description: str
    object_id: Oid
    uptime: Callable[[], float]
    name: str
    location: str
    services: int


def system_group(system: System) -> Table[System]:
    """Return the system group of a device."""
    return Table(
        entry=SYSTEM,
        columns={
            1: Column(lambda row: ber.octets(row.description)),
            2: Column(lambda row: ber.object_id(row.object_id)),
            3: Column(lambda row: ber.timeticks(row.uptime())),
            4: Column(lambda _row: ber.octets("noc@example.com")),
            5: Column(lambda row: ber.octets(row.name)),
            6: Column(lambda row: ber.octets(row.location)),
            7: Column(lambda row: ber.integer(row.services)),
        },
        rows=lambda: {SCALAR: system},
    )
