"""Speed of disks, memory and links, measured briefly and without writing anything."""

from collections.abc import Callable
from typing import Any

from rackhand.agent.host import DiskError, Host

DISK_SECONDS = 2.0
MEMORY_SECONDS = 1.0

Json = dict[str, Any]
Report = Callable[[int | None, str], None]


def measure_speed(host: Host, report: Report) -> Json:
    """Return `memory_mb_s`, `disks` with `read_mb_s` each (None where it failed, with the `error`), and `nics`."""
    report(0, "memory")
    memory = host.memory_speed(MEMORY_SECONDS)
    disks: list[Json] = []
    found = host.disks()
    for number, disk in enumerate(found):
        report(100 * (number + 1) // (len(found) + 1), disk.name)
        row: Json = {"name": disk.name, "serial": disk.serial, "read_mb_s": None}
        try:
            speed = disk.read_speed(DISK_SECONDS)
            row["read_mb_s"] = None if speed is None else round(speed, 1)
        except DiskError as error:
            row["error"] = str(error)
        disks.append(row)
    nics = [
        {"name": nic.name, "mac": nic.mac, "link": nic.link, "speed_mbit": nic.speed_mbit}
        for nic in host.nics()
    ]
    return {"memory_mb_s": round(memory, 1), "disks": disks, "nics": nics}
