"""What an inventory makes of a server: its configuration in the API's spelling, its facts, and what has changed.

Arithmetic on JSON that an agent has sent (`rackhand.agent.inventory`); nothing here reads or writes a database.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

GB = 10**9
KINDS = ("NVMe", "SSD", "HDD")
# What vendors write around the name by which a processor is sold.
_NOISE = re.compile(
    r"\((?:R|TM|C)\)|@.*|\bwith\b.*|\bCPU\b|\bProcessor\b|\b\d+-Core\b|\b\d+th Gen\b", re.IGNORECASE
)
_REVISION = re.compile(r"v\d+", re.IGNORECASE)


def configuration_of(inventory: Json) -> str:
    """Write `[<n>x]<CPU>-<RAM>Gb[-[<n>x]<size><kind>...]` (api-facts 5.1); empty when no processor was found.

    Disks are sorted, so that the kernel's order of them does not make another configuration.
    """
    cpus = inventory.get("cpus") or []
    if not cpus:
        return ""
    name = cpu_name(str(cpus[0].get("model", "")))
    disks = Counter(
        (str(disk["kind"]), int(disk["size_bytes"]) // GB) for disk in inventory.get("disks") or []
    )
    order = sorted(
        disks, key=lambda disk: (KINDS.index(disk[0]) if disk[0] in KINDS else len(KINDS), disk[1])
    )
    parts = [_times(len(cpus), name), f"{memory_gib(inventory)}Gb"]
    parts += [_times(disks[kind, size], f"{size}{kind}") for kind, size in order]
    return "-".join(parts)


def _times(number: int, name: str) -> str:
    return f"{number}x{name}" if number > 1 else name


def cpu_name(model: str) -> str:
    """Shorten a processor's name to the part that tells it from others of its family: `E-2146G`, `7313P`."""
    words = _NOISE.sub(" ", model).split()
    numbered = [number for number, word in enumerate(words) if any(letter.isdigit() for letter in word)]
    if not numbered:
        return "-".join(words) or "CPU"
    last = numbered[-1]
    if _REVISION.fullmatch(words[last]) and last > 0:
        return words[last - 1] + words[last]
    return words[last]


def memory_gib(inventory: Json) -> int:
    """The memory that is plugged in; where the firmware tells nothing, what the kernel sees, rounded up to 2 GiB."""
    modules = sum(int(module["size_mib"]) for module in inventory.get("memory_modules") or [])
    if modules:
        return round(modules / 1024)
    return -(-int(inventory.get("memory_mib") or 0) // 2048) * 2


def hardware_info(inventory: Json) -> dict[str, Any]:
    """The published field: `motherboard.model` is what clients read (api-facts 5.1), the rest is ours."""
    board = inventory.get("board") or {}
    return {
        "motherboard": {
            "manufacturer": board.get("board_manufacturer", ""),
            "model": board.get("board_model", ""),
            "serial": board.get("board_serial", ""),
        },
        "system": {
            "manufacturer": board.get("manufacturer", ""),
            "model": board.get("product", ""),
            "serial": board.get("serial", ""),
            "uuid": board.get("uuid", ""),
        },
        "bios": {
            "vendor": board.get("bios_vendor", ""),
            "version": board.get("bios_version", ""),
            "date": board.get("bios_date", ""),
        },
        "boot_mode": inventory.get("boot_mode", ""),
        "cpus": inventory.get("cpus") or [],
        "memory": {"total_gib": memory_gib(inventory), "modules": inventory.get("memory_modules") or []},
        "disks": inventory.get("disks") or [],
        "nics": inventory.get("nics") or [],
        "pci": inventory.get("pci") or [],
        "bmc": inventory.get("bmc"),
        "neighbours": inventory.get("neighbours") or [],
        "problems": inventory.get("problems") or [],
    }


@dataclass(frozen=True)
class Change:
    """A difference between two diagnoses; a *loss* is something that was there and is not, or is less."""

    what: str
    was: str
    now: str
    is_loss: bool

    def as_json(self) -> dict[str, object]:
        """As it is shown."""
        return {"what": self.what, "was": self.was, "now": self.now, "is_loss": self.is_loss}

    def __str__(self) -> str:
        if not self.now:
            return f"{self.what} is gone: {self.was}"
        return (
            f"{self.what}: {self.now} instead of {self.was}"
            if self.was
            else f"{self.what} is new: {self.now}"
        )


def changes_between(before: Json, after: Json) -> list[Change]:
    """Compare two `hardware_info`; nothing when there was none before."""
    if not before.get("cpus"):
        return []
    changes = [
        *_of_parts("Disk", before["disks"], after["disks"], key="serial", words=_disk),
        *_of_parts("Network interface", before["nics"], after["nics"], key="mac", words=_nic),
    ]
    cpus = _cpus(before), _cpus(after)
    if cpus[0] != cpus[1]:
        changes.append(Change("Processors", *cpus, is_loss=len(after["cpus"]) < len(before["cpus"])))
    was, now = before["memory"]["total_gib"], after["memory"]["total_gib"]
    if was != now:
        changes.append(Change("Memory", f"{was} GiB", f"{now} GiB", is_loss=now < was))
    for what, part, key in (
        ("System serial number", "system", "serial"),
        ("Motherboard", "motherboard", "model"),
        ("Motherboard serial number", "motherboard", "serial"),
        ("BIOS", "bios", "version"),
    ):
        old, new = str(before[part].get(key, "")), str(after[part].get(key, ""))
        if old != new:
            changes.append(Change(what, old, new, is_loss=False))
    return changes


def _of_parts(
    what: str, before: Sequence[Json], after: Sequence[Json], *, key: str, words: Any
) -> list[Change]:
    old, new = ({str(part.get(key, "")): part for part in parts} for parts in (before, after))
    gone = [Change(what, words(part), "", is_loss=True) for name, part in old.items() if name not in new]
    come = [Change(what, "", words(part), is_loss=False) for name, part in new.items() if name not in old]
    return gone + come


def _disk(disk: Json) -> str:
    size = int(disk["size_bytes"]) // GB
    return f"{disk['kind']} {size} GB, {disk.get('model', '')}, serial {disk.get('serial', '')}"


def _nic(nic: Json) -> str:
    return f"{nic.get('name', '')} {nic['mac']}"


def _cpus(info: Json) -> str:
    return ", ".join(
        _times(number, name) for name, number in Counter(str(cpu["model"]) for cpu in info["cpus"]).items()
    )


def complaints(info: Json, changes: Sequence[Change]) -> list[str]:
    """What speaks against giving this machine to a customer: sentences without a full stop."""
    words = [str(change) for change in changes if change.is_loss]
    words += [
        f"Disk {disk['name']} (serial {disk['serial']}) reports that it is failing"
        for disk in info["disks"]
        if (disk.get("smart") or {}).get("healthy") is False
    ]
    words += [
        f"Storage controller {device['address']} has no driver in the ramdisk, so its disks cannot be seen"
        for device in info["pci"]
        if device["kind"].startswith("01") and not device.get("driver")
    ]
    serials = Counter(disk["serial"] for disk in info["disks"] if disk["serial"])
    words += [
        f"Serial number {serial} was found on {times} disks" for serial, times in serials.items() if times > 1
    ]
    return words
