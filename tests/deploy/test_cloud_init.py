"""What an installed system is told."""

import email
import json
from typing import Any

import pytest

from rackhand.deploy.cloud_init import (
    FirstBootWork,
    Identity,
    NetworkAddress,
    fill_macros,
    network_config,
    seed_files,
)

MAC = "00:00:5e:00:53:01"


def config_of(text: str) -> Any:
    assert text.startswith("#cloud-config\n")
    return json.loads(text.removeprefix("#cloud-config\n"))


def seed(identity: Identity, work: FirstBootWork | None = None) -> dict[str, str]:
    return seed_files(identity, work or FirstBootWork(), mac=MAC, addresses=[], resolvers=[])


def test_a_system_with_password_and_keys() -> None:
    files = seed(Identity("i-1", "web.example.com", "$6$x$y", ["ssh-ed25519 AAAA"]))
    assert json.loads(files["meta-data"]) == {"instance-id": "i-1", "local-hostname": "web"}
    assert config_of(files["user-data"]) == {
        "preserve_hostname": False,
        "hostname": "web",
        "fqdn": "web.example.com",
        "manage_etc_hosts": True,
        "disable_root": False,
        "ssh_pwauth": True,
        "users": [{"name": "root", "lock_passwd": False, "ssh_authorized_keys": ["ssh-ed25519 AAAA"]}],
        "chpasswd": {
            "expire": False,
            "users": [{"name": "root", "password": "$6$x$y", "type": "hash"}],
        },
    }
    assert json.loads(files["network-config"]) == {
        "version": 2,
        "ethernets": {"eth0": {"match": {"macaddress": MAC}, "set-name": "eth0", "dhcp4": True}},
    }


def test_without_a_password_nobody_signs_in_by_one() -> None:
    config = config_of(seed(Identity("i-1", "web", "", ["ssh-ed25519 AAAA"]))["user-data"])
    assert (config["ssh_pwauth"], config["users"][0]["lock_passwd"]) == (False, True)
    assert "chpasswd" not in config


def test_scripts_run_in_order_and_then_the_system_reports() -> None:
    work = FirstBootWork(["echo one", "", "#!/bin/bash\necho two"], report_url="http://192.0.2.1/x")
    config = config_of(seed(Identity("i-1", "web"), work)["user-data"])
    assert [file["content"] for file in config["write_files"]] == [
        "#!/bin/sh\necho one",
        "#!/bin/bash\necho two",
    ]
    assert config["runcmd"] == [[file["path"]] for file in config["write_files"]]
    assert config["phone_home"]["url"] == "http://192.0.2.1/x"
    assert config["phone_home"]["tries"] > 1


@pytest.mark.parametrize(
    ("user_data", "kind"),
    [
        ("#cloud-config\npackages: [nginx]\n", "text/cloud-config"),
        ("#!/bin/sh\ntrue\n", "text/x-shellscript"),
        ("#include\nhttp://192.0.2.1/\n", "text/x-include-url"),
    ],
)
def test_the_owners_own_data_comes_behind_ours(user_data: str, kind: str) -> None:
    text = seed(Identity("i-1", "web"), FirstBootWork(user_data=user_data))["user-data"]
    parts = [part for part in email.message_from_string(text).walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in parts] == ["text/cloud-config", kind]
    payloads = [part.get_payload(decode=True) for part in parts]
    assert isinstance(payloads[0], bytes)
    assert payloads[0].startswith(b"#cloud-config\n")
    assert payloads[1] == user_data.encode()


def test_a_gateway_outside_of_the_network_is_on_the_link() -> None:
    addresses = [
        NetworkAddress("192.0.2.10/32", "192.0.2.1"),
        NetworkAddress("2001:db8::10/64", "2001:db8::1"),
    ]
    nic = network_config(MAC, addresses, ["192.0.2.53"])["ethernets"]["eth0"]
    assert nic["routes"] == [
        {"to": "0.0.0.0/0", "via": "192.0.2.1", "on-link": True},
        {"to": "::/0", "via": "2001:db8::1"},
    ]
    assert nic["nameservers"] == {"addresses": ["192.0.2.53"]}


def test_macros_that_are_not_known_stay() -> None:
    text = "echo ($HOSTNAME) ($OTHER) $HOSTNAME (${HOSTNAME})"
    assert fill_macros(text, {"HOSTNAME": "web"}) == "echo web ($OTHER) $HOSTNAME (${HOSTNAME})"
