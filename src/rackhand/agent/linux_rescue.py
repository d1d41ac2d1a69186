"""Rescue on real iron: the ramdisk's own SSH server, and the addresses of the customer."""

import ipaddress
import subprocess
from pathlib import Path

from rackhand.agent.host import HostError, Rescue
from rackhand.agent.tools import read_line, run

NET = Path("/sys/class/net")
HOME = Path("/root")


def start_rescue(rescue: Rescue) -> None:
    """Put keys and the password's hash in place and start the SSH server."""
    folder = HOME / ".ssh"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = folder / "authorized_keys"
    keys.write_text("".join(f"{key}\n" for key in rescue.ssh_keys))
    keys.chmod(0o600)
    if rescue.password_hash:
        _set_password(rescue.password_hash)
    run("ssh-keygen", "-A")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    by_password = "yes" if rescue.password_hash else "no"
    run("/usr/sbin/sshd", "-o", "PermitRootLogin=yes", "-o", f"PasswordAuthentication={by_password}")


def _set_password(password_hash: str) -> None:
    """By standard input: arguments can be read by everybody on the machine."""
    line = f"root:{password_hash}\n".encode()
    done = subprocess.run(["/usr/sbin/chpasswd", "--encrypted"], input=line, capture_output=True, check=False)
    if done.returncode:
        raise HostError(f"chpasswd ended with {done.returncode}.")


def take_addresses(rescue: Rescue) -> None:
    """Replace the address of the provisioning network on the interface of *rescue*."""
    if not rescue.addresses:
        return
    name = next(
        (path.name for path in NET.iterdir() if read_line(path / "address").lower() == rescue.mac), None
    )
    if name is None:
        raise HostError(f"There is no interface {rescue.mac}.")
    run("ip", "address", "flush", "dev", name, "scope", "global")
    run("ip", "link", "set", "dev", name, "up")
    for address in rescue.addresses:
        run("ip", "address", "replace", address, "dev", name)
    for gateway in rescue.gateways:
        family = "-6" if ipaddress.ip_address(gateway).version == 6 else "-4"  # noqa: PLR2004  # versions of IP
        run("ip", family, "route", "replace", "default", "via", gateway, "dev", name, "onlink")
    if rescue.resolvers:
        Path("/etc/resolv.conf").write_text("".join(f"nameserver {server}\n" for server in rescue.resolvers))
