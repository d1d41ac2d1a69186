"""A system that starts from the disks of a simulated machine, and what it does at its first boot.

What firmware and boot loader find is read from the disks alone. Disks that nobody here has divided hold the system of
whoever used the machine before: it starts, and is not known. A system that was installed here goes through what
cloud-init does: it reads its seed once, takes its name, keys and addresses from it, and says that it runs.
"""

import asyncio
import email
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlencode

from rackhand.sim.config import BootMode
from rackhand.sim.events import Action, Source
from rackhand.sim.filesystems import SECTOR, Contents, Tree, read_boot_code, read_table
from rackhand.sim.machine import Machine
from rackhand.sim.medium import Medium
from rackhand.sim.storage import EFI_LOADER, MENU

SEED = "/var/lib/cloud/seed/nocloud"
INSTANCE = "/var/lib/cloud/data/instance-id"
KEYS = "/root/.ssh/authorized_keys"
SHADOW = "/etc/shadow"
NETWORK = "/etc/netplan/50-cloud-init.yaml"
HTTP_SECONDS = 10.0
TRY_EVERY = 5.0  # simulated
MULTIPART = "MIME-Version:"

Value = dict[str, Any]


class NotBootable(Exception):
    """Firmware, boot loader or kernel find nothing to start; the message says what is missing."""


@dataclass
class InstalledSystem:
    """A system that can start: its root, and all file systems that it finds. Its files are as it sees them itself."""

    root: Tree
    trees: Sequence[Tree]

    def text(self, path: str) -> str:
        """The content of a file, empty when there is none."""
        tree, inside = self._place(path)
        return tree.text(inside) or ""

    def names(self, folder: str) -> list[str]:
        """The files below a folder that is in one file system."""
        tree, inside = self._place(folder)
        return [f"{folder}{name.removeprefix(inside)}" for name in tree.names(inside)]

    def write(self, path: str, content: str) -> None:
        """Write a file; `save` brings it to the disks."""
        tree, inside = self._place(path)
        tree.files[inside] = content

    def save(self) -> None:
        """Bring everything that was written to the disks."""
        for tree in self._mounts().values():
            tree.save()

    def _mounts(self) -> dict[str, Tree]:
        by_uuid = {tree.uuid: tree for tree in self.trees}
        found = {"/": self.root}
        for line in (self.root.text("/etc/fstab") or "").splitlines():
            what, at, *_ = [*line.split(), "", ""]
            tree = by_uuid.get(what.removeprefix("UUID="))
            if tree is not None and at.startswith("/"):
                found[at] = tree
        return found

    def _place(self, path: str) -> tuple[Tree, str]:
        mounts = self._mounts()
        at = max((at for at in mounts if path.startswith(at.rstrip("/") + "/")), key=len)
        return mounts[at], path if at == "/" else path.removeprefix(at)

    @property
    def name(self) -> str:
        """What it calls itself."""
        for line in self.text("/etc/os-release").splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip('"')
        return "unknown"

    @property
    def host_name(self) -> str:
        """The name that it has taken."""
        return self.text("/etc/hostname").strip()

    @property
    def ssh_keys(self) -> list[str]:
        """Who gets in by key."""
        return self.text(KEYS).splitlines()

    @property
    def password_hash(self) -> str:
        """The hash of root's password, empty when there is none."""
        return self.text(SHADOW).partition(":")[2].strip()

    @property
    def network(self) -> Value:
        """Its network configuration."""
        return dict(json.loads(self.text(NETWORK) or "{}"))

    def seed(self) -> Mapping[str, str]:
        """The files of NoCloud by name: of its folder, else of the partition that is labelled so."""
        found = {path.rpartition("/")[2]: self.text(path) for path in self.names(f"{SEED}/")}
        if found:
            return found
        labelled = next((tree for tree in self.trees if tree.label.upper() == "CIDATA"), None)
        return (
            {}
            if labelled is None
            else {path.lstrip("/"): labelled.text(path) or "" for path in labelled.files}
        )


def find_system(media: Sequence[Medium], mode: BootMode) -> InstalledSystem | None:
    """What starts: a system that was installed here, or None for one that nobody knows. Raises `NotBootable`."""
    contents = Contents(media)
    trees = {tree.uuid: tree for tree in contents.trees()}
    why = ["there is no disk"] if not media else []
    for number, medium in enumerate(media):
        name = medium.config.name
        if not any(medium.read(0, SECTOR)):
            why.append(f"{name} is empty")
            continue
        if read_table(medium) is None:
            return None
        boots = _loader_of(contents, medium, number, mode)
        if boots is None:
            why.append(f"{name} has no boot loader for {mode}")
            continue
        try:
            return _load(trees, boots, contents)
        except NotBootable as error:
            why.append(f"{name}: {error}")
    raise NotBootable("; ".join(why))


def _loader_of(contents: Contents, medium: Medium, number: int, mode: BootMode) -> str | None:
    """The file system that the loader of a disk loads from."""
    if mode is BootMode.LEGACY:
        code = read_boot_code(medium)
        return None if code is None else str(code["starts"])
    for (disk, part), space in contents.slices.items():
        if disk == number and contents.roles[disk, part] == "efi":
            tree = next((tree for tree in contents.trees() if tree.space == space), None)
            return None if tree is None else tree.text(EFI_LOADER)
    return None


def _load(trees: Mapping[str, Tree], boots: str, contents: Contents) -> InstalledSystem:
    """GRUB, then the kernel."""
    problems = f" ({'; '.join(contents.problems)})" if contents.problems else ""
    boot = trees.get(boots)
    if boot is None:
        raise NotBootable(f"the boot loader does not find its files{problems}")
    menu = boot.text(MENU) or boot.text(f"/boot{MENU}")
    if menu is None:
        raise NotBootable("the boot loader has no menu")
    root = trees.get(menu.partition("=")[2].strip())
    if root is None:
        raise NotBootable(f"the kernel does not find its root{problems}")
    if root.text("/etc/os-release") is None:
        raise NotBootable("there is no system at the root")
    return InstalledSystem(root, list(trees.values()))


class DiskBoot:
    """One run of an installed system, in a thread, until the machine loses its power or is reset."""

    def __init__(
        self,
        machine: Machine,
        system: InstalledSystem,
        *,
        is_reached: Callable[[str], bool],
    ) -> None:
        """*is_reached* says whether a port has a link into a network of customers, from where the world is reached."""
        self._machine = machine
        self._system = system
        self._is_reached = is_reached
        self._loop = asyncio.get_running_loop()
        self._dead = threading.Event()

    def start(self) -> None:
        """See `machine.NetworkBoot`."""
        threading.Thread(target=self._run, name=f"{self._machine.config.name} system", daemon=True).start()

    def stop(self) -> None:
        """See `machine.NetworkBoot`."""
        self._dead.set()

    def _run(self) -> None:
        if not self._rest(self._machine.config.system_seconds):
            return
        seed = self._system.seed()
        instance = _json(seed.get("meta-data", "")).get("instance-id", "")
        is_first = bool(instance) and self._system.text(INSTANCE) != instance
        configs = _cloud_configs(seed.get("user-data", "")) if is_first else []
        if is_first:
            self._apply(instance, configs, _json(seed.get("network-config", "")))
        addresses = [
            address
            for nic in self._system.network.get("ethernets", {}).values()
            for address in nic.get("addresses", ())
        ]
        self._record(
            Action.SYSTEM_STARTED,
            system=self._system.name,
            host_name=self._system.host_name,
            addresses=" ".join(addresses),
            first=is_first,
        )
        report = next((config["phone_home"] for config in configs if "phone_home" in config), None)
        if report is not None:
            self._phone_home(report, instance)

    def _apply(self, instance: str, configs: Sequence[Value], network: Value) -> None:
        write, keys = self._system.write, list[str]()
        for config in configs:
            write(
                "/etc/hostname", str(config.get("fqdn") or config.get("hostname") or self._system.host_name)
            )
            for user in config.get("users", ()):
                if isinstance(user, dict) and user.get("name") == "root":
                    keys += user.get("ssh_authorized_keys", ())
            for entry in config.get("chpasswd", {}).get("users", ()):
                if entry.get("type") == "hash":
                    write(SHADOW, f"{entry['name']}:{entry['password']}")
            for file in config.get("write_files", ()):
                write(file["path"], file["content"])
        write(KEYS, "".join(f"{key}\n" for key in keys))
        write(NETWORK, json.dumps(network))
        write(INSTANCE, instance)
        if not self._dead.is_set():
            self._system.save()

    def _phone_home(self, report: Value, instance: str) -> None:
        """Tell where it was asked to, as often as it was asked to, over a network that is set up and has a link."""
        form = {
            "instance_id": instance,
            "hostname": self._system.host_name.partition(".")[0],
            "fqdn": self._system.host_name,
            "pub_key_ed25519": f"ssh-ed25519 {instance} root@{self._system.host_name}",
        }
        body = urlencode({name: form.get(name, "N/A") for name in report.get("post", form)}).encode()
        for _ in range(int(report.get("tries", 1))):
            if self._has_network():
                request = urllib.request.Request(str(report["url"]), body, method="POST")  # noqa: S310  # http
                try:
                    urllib.request.urlopen(request, timeout=HTTP_SECONDS).close()  # noqa: S310
                except (urllib.error.URLError, OSError):
                    pass
                else:
                    return
            if not self._rest(TRY_EVERY):
                return

    def _has_network(self) -> bool:
        """Whether a NIC that the system has set up, by its own address, reaches anything."""
        nics = {nic.mac: nic.name for nic in self._machine.config.nics}
        for settings in self._system.network.get("ethernets", {}).values():
            name = nics.get(settings.get("match", {}).get("macaddress", ""))
            if name and (settings.get("dhcp4") or settings.get("routes")) and self._is_reached(name):
                return True
        return False

    def _rest(self, seconds: float) -> bool:
        """Wait so many simulated seconds; False when the machine died meanwhile."""
        return not self._dead.wait(seconds / self._machine.clock.scale)

    def _record(self, action: Action, **detail: str | bool) -> None:
        machine = self._machine

        def record() -> None:
            if not self._dead.is_set():
                machine.log.append(machine.config.name, Source.MACHINE, action, **detail)

        try:
            self._loop.call_soon_threadsafe(record)
        except RuntimeError:  # the rack is closed
            self._dead.set()


def _json(text: str) -> Value:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _cloud_configs(text: str) -> list[Value]:
    """The parts of user data that are cloud-config, in order; other parts are scripts that nothing here runs."""
    if not text.startswith(MULTIPART):
        return [_json(text.removeprefix("#cloud-config"))] if text.startswith("#cloud-config") else []
    return [
        _json(_content(part).removeprefix("#cloud-config"))
        for part in email.message_from_string(text).walk()
        if part.get_content_type() == "text/cloud-config"
    ]


def _content(part: Message) -> str:
    payload = part.get_payload(decode=True)
    return payload.decode() if isinstance(payload, bytes) else ""
