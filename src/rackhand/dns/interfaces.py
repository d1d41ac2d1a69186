"""What a name server is to the rest of the program."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class PtrChange:
    """What the PTR records at a name are to be: one that points to *target*, or none.

    Names are absolute, in lower case and without the final dot. *ttl* is in seconds.
    """

    zone: str
    name: str
    target: str | None
    ttl: int


class NameServer(Protocol):
    """A server that holds zones. Raises the errors of `rackhand.hardware.errors`."""

    async def ptr(self, zone: str, name: str) -> tuple[str, ...]:
        """What the PTR records at *name* point to, sorted, in lower case and without final dots; empty without any."""

    async def apply(self, change: PtrChange) -> None:
        """Replace all PTR records at a name in one step. Safe to repeat."""

    async def close(self) -> None:
        """End the session; never raises for a server that is gone."""
