"""Inventory: everything that a machine says of itself, as JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from rackhand.agent.host import Disk, Host, HostError

T = TypeVar("T")

Json = dict[str, Any]


def take_inventory(host: Host) -> Json:
    """Ask for everything once.

    The keys are the names of `host`'s values: `board`, `boot_mode`, `cpus`, `memory_mib`, `memory_modules`, `nics`,
    `disks` (each with `smart` and `hidden_areas`), `pci`, `bmc`, `neighbours`. What a part of the machine did not
    tell is empty, and `problems` says why.
    """
    asking = _Asking()
    board, bmc = asking.one(host.board), asking.one(host.bmc)
    return {
        "board": asdict(board) if board else {},
        "boot_mode": host.boot_mode(),
        "cpus": [asdict(cpu) for cpu in asking.many(host.cpus)],
        "memory_mib": asking.one(host.memory_mib) or 0,
        "memory_modules": [asdict(module) for module in asking.many(host.memory_modules)],
        "nics": [asdict(nic) for nic in asking.many(host.nics)],
        "disks": [_disk(disk, asking) for disk in asking.many(host.disks)],
        "pci": [asdict(device) for device in asking.many(host.pci)],
        "bmc": asdict(bmc) if bmc else None,
        "neighbours": [asdict(neighbour) for neighbour in asking.many(host.neighbours)],
        "problems": asking.problems,
    }


class _Asking:
    """Asks, and keeps what went wrong instead of raising it."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def one(self, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except HostError as error:
            self.problems.append(str(error))
            return None

    def many(self, question: Callable[[], Sequence[T]]) -> Sequence[T]:
        return self.one(question) or ()


def describe_disk(disk: Disk) -> Json:
    """What identifies a disk."""
    return {
        "name": disk.name,
        "kind": disk.kind,
        "model": disk.model,
        "serial": disk.serial,
        "firmware": disk.firmware,
        "size_bytes": disk.size_bytes,
        "sector_bytes": disk.sector_bytes,
    }


def _disk(disk: Disk, asking: _Asking) -> Json:
    smart = asking.one(disk.smart)
    return {
        **describe_disk(disk),
        "smart": asdict(smart) if smart else None,
        "hidden_areas": [asdict(area) for area in asking.many(disk.hidden_areas)],
    }
