"""The BMC of real iron, through the kernel's interface and `ipmitool` (1.8.19).

Passwords are typed when it asks for them: what stands in a program's arguments can be read by every other program.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from rackhand.agent.host import BmcFacts, BmcLan, BmcUser, HostError
from rackhand.agent.tools import clean, fields_of, run

DEVICES = ("/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0")
CHANNELS = range(1, 12)  # IPMI 2.0, table 6-1: what is neither the IPMB nor reserved
LAN = "802.3 LAN"
ALWAYS = "always available"
NOWHERE = "0.0.0.0"  # noqa: S104  # what a BMC without an address says
FREE_NAMES = ("", "(Empty User)")  # HPE's word for it
ADMINISTRATOR = "4"
PASSWORD_BYTES = "16"  # noqa: S105  # IPMI 2.0, 22.30: what BMCs of before 2.0 store as well


def is_there() -> bool:
    """Whether the kernel has found a BMC."""
    return any(Path(device).exists() for device in DEVICES)


def read_facts() -> BmcFacts:
    """Ask the BMC what it is; one without a network has no address."""
    info = run("ipmitool", "mc", "info")
    try:
        network = run("ipmitool", "lan", "print")
    except HostError:
        network = ""
    return parse_bmc(info, network)


def parse_bmc(info: str, lan: str) -> BmcFacts:
    """Read `ipmitool mc info` and `ipmitool lan print`."""
    said, network = dict(fields_of(info)), dict(fields_of(lan))
    place = parse_lan(lan)
    return BmcFacts(
        address=place.address,
        mac=network.get("MAC Address", "").lower(),
        firmware=said.get("Firmware Revision", ""),
        manufacturer=said.get("Manufacturer Name", ""),
        netmask=place.netmask,
        gateway=place.gateway,
        is_static=place.is_static if network.get("IP Address Source") else None,
    )


def parse_lan(text: str) -> BmcLan:
    """Read `ipmitool lan print`."""
    said = dict(fields_of(text))
    place = ("IP Address", "Subnet Mask", "Default Gateway IP")
    address, netmask, gateway = (said.get(name, "").replace(NOWHERE, "") for name in place)
    return BmcLan(address, netmask, gateway, is_static=said.get("IP Address Source") == "Static Address")


def parse_user_names(text: str) -> dict[int, str]:
    """Read `ipmitool -c user list`."""
    rows = [row for row in csv.reader(text.splitlines()) if len(row) > 1 and row[0].isdigit()]
    names = {int(row[0]): clean(row[1]) for row in rows}
    return {slot: "" if name in FREE_NAMES else name for slot, name in names.items()}


def parse_user(text: str) -> BmcUser:
    """Read `ipmitool channel getaccess`; not every BMC tells whether a user is enabled."""
    said = dict(fields_of(text))
    return BmcUser(
        name=said.get("User Name", ""),
        is_enabled=said.get("Enable Status", "") != "disabled",
        has_lan=said.get("IPMI Messaging") == "enabled",
        is_administrator=said.get("Privilege Level") == "ADMINISTRATOR",
    )


@dataclass(frozen=True)
class LinuxController:
    """See `Controller`; *tool* is the program and where it finds the BMC."""

    tool: tuple[str, ...] = ("ipmitool",)

    def lan_channel(self) -> int | None:
        """See `Controller`."""
        for channel in CHANNELS:
            try:
                said = dict(fields_of(self._run("channel", "info", str(channel))))
            except HostError:
                continue  # there is no such channel
            if said.get("Channel Medium Type") == LAN:
                return channel
        return None

    def user_names(self, channel: int) -> dict[int, str]:
        """See `Controller`."""
        return parse_user_names(self._run("-c", "user", "list", str(channel)))

    def user(self, channel: int, slot: int) -> BmcUser:
        """See `Controller`."""
        return parse_user(self._run("channel", "getaccess", str(channel), str(slot)))

    def set_user_name(self, slot: int, name: str) -> None:
        """See `Controller`."""
        self._run("user", "set", "name", str(slot), name)

    def set_user_password(self, slot: int, password: str) -> None:
        """See `Controller`."""
        self._run("user", "set", "password", str(slot), answers=f"{password}\n" * 2)

    def has_password(self, slot: int, password: str) -> bool | None:
        """See `Controller`; the status says nothing of why a test failed."""
        typed = f"{password}\n"
        said = run(*self.tool, "user", "test", str(slot), PASSWORD_BYTES, answers=typed, accept=(0, 1, 255))
        if "password incorrect" in said:
            return False
        return True if "Success" in said else None

    def make_administrator(self, channel: int, slot: int) -> None:
        """See `Controller`."""
        self._run(
            "channel", "setaccess", str(channel), str(slot), "callin=on", "ipmi=on", "link=on",
            f"privilege={ADMINISTRATOR}",
        )  # fmt: skip
        self._run("user", "enable", str(slot))

    def has_lan_access(self, channel: int) -> bool:
        """See `Controller`."""
        lines = [line.partition(":") for line in self._run("channel", "info", str(channel)).splitlines()]
        modes = [clean(value) for name, _, value in lines if name.strip() == "Access Mode"]
        return bool(modes) and set(modes) == {ALWAYS}

    def enable_lan_access(self, channel: int) -> None:
        """See `Controller`."""
        self._run("lan", "set", str(channel), "access", "on")

    def lan(self, channel: int) -> BmcLan:
        """See `Controller`."""
        return parse_lan(self._run("lan", "print", str(channel)))

    def set_lan(self, channel: int, lan: BmcLan) -> None:
        """See `Controller`."""
        if not lan.is_static:
            self._set_lan(channel, "ipsrc", "dhcp")
            return
        self._set_lan(channel, "ipsrc", "static")
        self._set_lan(channel, "ipaddr", lan.address)
        self._set_lan(channel, "netmask", lan.netmask)
        if lan.gateway:
            self._set_lan(channel, "defgw", "ipaddr", lan.gateway)

    def _set_lan(self, channel: int, *words: str) -> None:
        self._run("lan", "set", str(channel), *words)

    def _run(self, *words: str, answers: str | None = None) -> str:
        return run(*self.tool, *words, answers=answers)
