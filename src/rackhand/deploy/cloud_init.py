"""What an installed system is told at its first boot: the files of cloud-init's NoCloud data source.

Text in, text out. JSON is YAML, so the files are written as JSON: no quoting of ours can go wrong. cloud-init 22.3 or
newer reads them (Debian 12, Ubuntu 20.04 and AlmaLinux 8 have it with their updates).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from ipaddress import ip_interface, ip_network
from typing import Any

SEED_FOLDER = "/var/lib/cloud/seed/nocloud"
MACRO = re.compile(r"\(\$([A-Z][A-Z0-9_]{0,63})\)")
PHONE_HOME_TRIES = 60
HOST_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
HOST_NAME = re.compile(rf"{HOST_LABEL}(\.{HOST_LABEL})*")


@dataclass(frozen=True)
class NetworkAddress:
    """An address with its prefix length, such as `192.0.2.10/24`, and the gateway of its network or empty text."""

    interface: str
    gateway: str = ""


@dataclass(frozen=True)
class Identity:
    """What the system is called and who gets in; *password_hash* in the form of crypt(3), or empty."""

    instance_id: str
    host_name: str
    password_hash: str = field(default="", repr=False)
    ssh_keys: Sequence[str] = ()


@dataclass(frozen=True)
class FirstBootWork:
    """What the system does once: scripts that run as root in this order, and its owner's own user data."""

    scripts: Sequence[str] = ()
    user_data: str = field(default="", repr=False)
    report_url: str = field(default="", repr=False)


def seed_files(
    identity: Identity,
    work: FirstBootWork,
    *,
    mac: str,
    addresses: Sequence[NetworkAddress],
    resolvers: Sequence[str],
) -> dict[str, str]:
    """The seed by file name. Without addresses the interface of *mac* asks for one by DHCP."""
    return {
        "meta-data": _json(
            {"instance-id": identity.instance_id, "local-hostname": identity.host_name.partition(".")[0]}
        ),
        "user-data": _user_data(identity, work),
        "network-config": _json(network_config(mac, addresses, resolvers)),
    }


def network_config(mac: str, addresses: Sequence[NetworkAddress], resolvers: Sequence[str]) -> dict[str, Any]:
    """cloud-init's network configuration, version 2."""
    nic: dict[str, Any] = {"match": {"macaddress": mac}, "set-name": "eth0"}
    if not addresses:
        nic["dhcp4"] = True
    else:
        nic["addresses"] = [address.interface for address in addresses]
        nic["routes"] = [route for address in addresses for route in _routes(address)]
    if resolvers:
        nic["nameservers"] = {"addresses": list(resolvers)}
    return {"version": 2, "ethernets": {"eth0": nic}}


def _routes(address: NetworkAddress) -> list[dict[str, Any]]:
    """The default route; a gateway outside of the network of the address (a /32) is on the link."""
    if not address.gateway:
        return []
    interface = ip_interface(address.interface)
    everywhere = "0.0.0.0/0" if interface.version == 4 else "::/0"  # noqa: PLR2004  # versions of IP
    route: dict[str, Any] = {"to": everywhere, "via": address.gateway}
    if ip_network(address.gateway).network_address not in interface.network:
        route["on-link"] = True
    return [route]


def _user_data(identity: Identity, work: FirstBootWork) -> str:
    """Ours, then the owner's own as another part: what both say, the latter decides."""
    ours = "#cloud-config\n" + _json(_cloud_config(identity, work))
    if not work.user_data.strip():
        return ours
    message = EmailMessage()
    message["MIME-Version"] = "1.0"
    message.make_mixed()
    for name, text in (("system", ours), ("owner", work.user_data)):
        part = EmailMessage()
        part.set_content(text, subtype=_subtype(text), cte="base64", filename=name)
        message.attach(part)
    return message.as_string()


def _subtype(text: str) -> str:
    """The MIME type by the first line, as cloud-init itself finds it for data that is in one piece."""
    marks = {"#!": "x-shellscript", "#include": "x-include-url", "#cloud-boothook": "cloud-boothook",
             "## template: jinja": "jinja2"}  # fmt: skip
    return next((kind for mark, kind in marks.items() if text.startswith(mark)), "cloud-config")


def _cloud_config(identity: Identity, work: FirstBootWork) -> dict[str, Any]:
    root: dict[str, Any] = {"name": "root", "lock_passwd": not identity.password_hash}
    if identity.ssh_keys:
        root["ssh_authorized_keys"] = list(identity.ssh_keys)
    config: dict[str, Any] = {
        "preserve_hostname": False,
        "hostname": identity.host_name.partition(".")[0],
        "fqdn": identity.host_name,
        "manage_etc_hosts": True,
        "disable_root": False,
        "ssh_pwauth": bool(identity.password_hash),
        "users": [root],
    }
    if identity.password_hash:
        config["chpasswd"] = {
            "expire": False,
            "users": [{"name": "root", "password": identity.password_hash, "type": "hash"}],
        }
    scripts = [script for script in work.scripts if script.strip()]
    if scripts:
        paths = [f"/var/lib/cloud/scripts/rackhand-{number}" for number, _ in enumerate(scripts, 1)]
        config["write_files"] = [
            {
                "path": path,
                "permissions": "0700",
                "content": script if script.startswith("#!") else f"#!/bin/sh\n{script}",
            }
            for path, script in zip(paths, scripts, strict=True)
        ]
        config["runcmd"] = [[path] for path in paths]
    if work.report_url:
        config["phone_home"] = {
            "url": work.report_url,
            "post": ["instance_id", "hostname", "fqdn", "pub_key_ed25519", "pub_key_rsa", "pub_key_ecdsa"],
            "tries": PHONE_HOME_TRIES,
        }
    return config


def fill_macros(text: str, macros: Mapping[str, str]) -> str:
    """Put values in the places of `($NAME)`; a name that is not known stays as it is."""
    return MACRO.sub(lambda found: macros.get(found[1], found[0]), text)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
