"""The machine on real iron: what Linux and the programs of the ramdisk say of it."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

from rackhand.agent import linux_bmc, linux_rescue, lldp
from rackhand.agent.download import HttpStream, Stream
from rackhand.agent.host import (
    BmcFacts,
    Board,
    Controller,
    Cpu,
    Disk,
    HostError,
    MemoryModule,
    Neighbour,
    Nic,
    PciDevice,
    Rescue,
)
from rackhand.agent.linux_disks import find_disks
from rackhand.agent.linux_storage import LinuxStorage
from rackhand.agent.storage import Storage
from rackhand.agent.tools import clean, fields_of, number, read_line, run

DMI = Path("/sys/class/dmi/id")
NET = Path("/sys/class/net")
PCI = Path("/sys/bus/pci/devices")
ETHERNET = "1"  # ARPHRD_ETHER, linux/if_arp.h
LINK_SECONDS = 5.0
COPY_BYTES = 64 * 1024 * 1024
# What firmware says when nobody has filled a field in.
PLACEHOLDERS = re.compile(
    r"to be filled by o\.?e\.?m\.?|default string|not (specified|applicable|available)|n/?a|none|unknown|"
    r"(system|base board|chassis) (serial number|manufacturer|product name|version)|0+|0123456789|x+|empty|oem",
    re.IGNORECASE,
)
_SIZES = {"kB": 1 / 1024, "KB": 1 / 1024, "MB": 1, "GB": 1024, "TB": 1024 * 1024}


class LinuxHost:
    """See `Host`."""

    def boot_id(self) -> str:
        """See `Host`."""
        return read_line("/proc/sys/kernel/random/boot_id")

    def boot_mode(self) -> str:
        """See `Host`."""
        return "uefi" if Path("/sys/firmware/efi").is_dir() else "bios"

    def board(self) -> Board:
        """See `Host`."""
        return Board(
            manufacturer=_dmi("sys_vendor"), product=_dmi("product_name"), serial=_dmi("product_serial"),
            uuid=_dmi("product_uuid").lower(), board_manufacturer=_dmi("board_vendor"),
            board_model=_dmi("board_name"), board_serial=_dmi("board_serial"), bios_vendor=_dmi("bios_vendor"),
            bios_version=_dmi("bios_version"), bios_date=_dmi("bios_date"),
        )  # fmt: skip

    def cpus(self) -> list[Cpu]:
        """See `Host`."""
        return parse_cpuinfo(Path("/proc/cpuinfo").read_text(errors="replace"))

    def memory_mib(self) -> int:
        """See `Host`."""
        found = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        return int(found[1]) // 1024 if found else 0

    def memory_modules(self) -> list[MemoryModule]:
        """See `Host`."""
        return parse_memory(run("dmidecode", "--type", "17"))

    def nics(self) -> list[Nic]:
        """See `Host`."""
        names = sorted(_physical_nics(), key=_natural)
        for name in names:
            run("ip", "link", "set", "dev", name, "up")  # the kernel tells of a link on such alone
        end = time.monotonic() + LINK_SECONDS
        while time.monotonic() < end and not all(_has_link(name) for name in names):
            time.sleep(0.2)
        return [_nic(name) for name in names]

    def pci(self) -> list[PciDevice]:
        """See `Host`."""
        return [
            PciDevice(
                address=path.name,
                kind=read_line(path / "class").removeprefix("0x")[:4],
                vendor=read_line(path / "vendor").removeprefix("0x"),
                device=read_line(path / "device").removeprefix("0x"),
                driver=_driver(path),
            )
            for path in sorted(PCI.iterdir() if PCI.is_dir() else ())
        ]

    def disks(self) -> Sequence[Disk]:
        """See `Host`."""
        return find_disks()

    def storage(self) -> Storage:
        """See `Host`."""
        return LinuxStorage()

    def open_url(self, url: str, offset: int) -> Stream:
        """See `Host`."""
        return HttpStream(url, offset)

    def start_rescue(self, rescue: Rescue) -> None:
        """See `Host`."""
        linux_rescue.start_rescue(rescue)

    def take_addresses(self, rescue: Rescue) -> None:
        """See `Host`."""
        linux_rescue.take_addresses(rescue)

    def bmc(self) -> BmcFacts | None:
        """See `Host`."""
        return linux_bmc.read_facts() if linux_bmc.is_there() else None

    def controller(self) -> Controller | None:
        """See `Host`."""
        return linux_bmc.LinuxController() if linux_bmc.is_there() else None

    def neighbours(self) -> list[Neighbour]:
        """See `Host`."""
        return lldp.listen([name for name in sorted(_physical_nics(), key=_natural) if _has_link(name)])

    def memory_speed(self, seconds: float) -> float:
        """See `Host`."""
        source, target = bytearray(COPY_BYTES), memoryview(bytearray(COPY_BYTES))
        copied, begin = 0, time.monotonic()
        while (spent := time.monotonic() - begin) < seconds:
            target[:] = source
            copied += COPY_BYTES
        return copied / 1e6 / spent

    def reboot(self) -> None:
        """See `Host`."""
        _sysrq("b")

    def power_off(self) -> None:
        """See `Host`."""
        _sysrq("o")

    def now(self) -> float:
        """See `Host`."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """See `Host`."""
        time.sleep(seconds)


def _sysrq(letter: str) -> None:
    """Have the kernel act at once; there is no service in the ramdisk that had to be stopped before."""
    run("sync")
    try:
        Path("/proc/sysrq-trigger").write_text(letter)
    except OSError as error:
        raise HostError(f"/proc/sysrq-trigger: {error}") from error


def _dmi(name: str) -> str:
    text = read_line(DMI / name)
    return "" if PLACEHOLDERS.fullmatch(text) else text


def parse_cpuinfo(text: str) -> list[Cpu]:
    """One value per package of /proc/cpuinfo."""
    packages: dict[str, dict[str, str]] = {}
    for block in text.split("\n\n"):
        fields = {
            key.strip(): value.strip()
            for key, _, value in (line.partition(":") for line in block.splitlines())
        }
        if "processor" in fields:
            packages.setdefault(fields.get("physical id", "0"), fields)
    return [
        Cpu(
            model=clean(fields.get("model name", "")),
            cores=number(fields.get("cpu cores", "")) or 1,
            threads=number(fields.get("siblings", "")) or 1,
            mhz=int(float(fields["cpu MHz"])) if fields.get("cpu MHz") else None,
        )
        for _, fields in sorted(packages.items())
    ]


def parse_memory(text: str) -> list[MemoryModule]:
    """Read `dmidecode --type 17`; empty slots are left out."""
    modules = []
    for block in text.split("Memory Device\n")[1:]:
        fields = dict(fields_of(block.partition("\n\n")[0]))
        amount, _, unit = fields.get("Size", "").partition(" ")
        if not amount.isdigit() or unit not in _SIZES:
            continue
        speed = (
            fields.get("Configured Memory Speed")
            or fields.get("Configured Clock Speed")
            or fields.get("Speed", "")
        )
        modules.append(
            MemoryModule(
                slot=fields.get("Locator", ""),
                size_mib=int(int(amount) * _SIZES[unit]),
                kind=_said(fields, "Type"),
                speed_mts=number(speed.partition(" ")[0]),
                manufacturer=_said(fields, "Manufacturer"),
                part=_said(fields, "Part Number"),
                serial=_said(fields, "Serial Number"),
            )
        )
    return modules


def _said(fields: dict[str, str], name: str) -> str:
    text = fields.get(name, "")
    return "" if PLACEHOLDERS.fullmatch(text) else text


def _physical_nics() -> list[str]:
    return [
        path.name
        for path in (NET.iterdir() if NET.is_dir() else ())
        if (path / "device").exists() and read_line(path / "type") == ETHERNET
    ]


def _has_link(name: str) -> bool:
    return read_line(NET / name / "carrier") == "1"


def _nic(name: str) -> Nic:
    path = NET / name
    link = _has_link(name)
    speed = number(read_line(path / "speed")) if link else None
    ids = [read_line(path / "device" / part).removeprefix("0x") for part in ("vendor", "device")]
    return Nic(
        name=name,
        mac=read_line(path / "address").lower(),
        link=link,
        speed_mbit=speed if speed and speed > 0 else None,
        driver=_driver(path / "device"),
        model=":".join(ids) if all(ids) else "",
    )


def _driver(path: Path) -> str:
    """The driver that a device is bound to; empty without one."""
    return (path / "driver").resolve().name if (path / "driver").exists() else ""


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort `eth10` behind `eth2`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]
