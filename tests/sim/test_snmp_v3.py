"""SNMPv3 of the virtual rack: signed and encrypted, judged by net-snmp and by pysnmp."""

import dataclasses
from collections.abc import Iterator

import pytest
from pysnmp.hlapi.v3arch import asyncio as pysnmp

from rackhand.sim.config import AuthProtocol, RackConfig, SnmpConfig, SnmpUser
from rackhand.sim.events import Source
from rackhand.sim.rack import RackThread, demo_rack
from tests.sim.tools import Result, snmp

SYS_NAME = "1.3.6.1.2.1.1.5.0"
ALIAS = "1.3.6.1.2.1.31.1.1.1.18.10101"


def with_protocol(protocol: AuthProtocol) -> RackConfig:
    config = demo_rack(2)
    user = SnmpUser("rackhand", "signs-with-this", "encrypts-with-this", protocol)
    switches = tuple(
        dataclasses.replace(switch, snmp=dataclasses.replace(switch.snmp, user=user))
        for switch in config.switches
    )
    return dataclasses.replace(config, switches=switches)


@pytest.fixture(scope="module", params=list(AuthProtocol))
def secure_rack(request: pytest.FixtureRequest) -> Iterator[RackThread]:
    with RackThread(with_protocol(request.param)) as rack:
        yield rack


def run(tool: str, agent: SnmpConfig, *arguments: str, **other: str) -> Result:
    """Run a tool over v3 as the agent's user, or with *other* words for net-snmp's options."""
    assert agent.user is not None
    user = agent.user
    words = {"u": user.name, "l": "authPriv", "a": str(user.auth), "A": user.auth_password}
    words |= {"x": "AES", "X": user.privacy_password, **other}
    options = [part for name, word in words.items() for part in (f"-{name}", word)]
    return snmp(tool, agent, *arguments, options=("-v3", *options))


def test_reads_walks_and_writes(secure_rack: RackThread) -> None:
    agent = secure_rack.config.switches[0].snmp
    assert run("snmpget", agent, SYS_NAME).output.endswith('"sw-1"')
    plain = snmp("snmpbulkwalk", agent, "1.3.6.1.2.1.17").output
    assert run("snmpbulkwalk", agent, "1.3.6.1.2.1.17").output == plain
    assert run("snmpset", agent, ALIAS, "s", "core").status == 0
    assert run("snmpget", agent, ALIAS).output.endswith('"core"')
    assert "wrongLength" in run("snmpset", agent, ALIAS, "s", "x" * 65).output


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"A": "another-secret"}, "Authentication failure"),
        ({"X": "another-secret"}, "Decryption error"),
        ({"u": "nobody"}, "Unknown user name"),
        ({"l": "noAuthNoPriv"}, "Unsupported security level"),
        ({"l": "authNoPriv"}, "Unsupported security level"),
    ],
)
def test_who_does_not_know_the_keys_is_told_what_is_wrong(
    secure_rack: RackThread, other: dict[str, str], words: str
) -> None:
    agent = secure_rack.config.switches[0].snmp
    assert words in run("snmpset", agent, ALIAS, "s", "stranger", **other).output
    assert "stranger" not in run("snmpget", agent, ALIAS).output


async def test_client_that_knew_the_switch_before_its_restart_learns_anew() -> None:
    with RackThread(with_protocol(AuthProtocol.SHA)) as rack:
        agent = rack.config.switches[0].snmp
        assert agent.user is not None
        engine = pysnmp.SnmpEngine()
        user = pysnmp.UsmUserData(
            agent.user.name,
            agent.user.auth_password,
            agent.user.privacy_password,
            authProtocol=pysnmp.USM_AUTH_HMAC96_SHA,
            privProtocol=pysnmp.USM_PRIV_CFB128_AES,
        )
        target = await pysnmp.UdpTransportTarget.create((agent.host, agent.port))

        async def name() -> str:
            wanted = pysnmp.ObjectType(pysnmp.ObjectIdentity(SYS_NAME))
            failure, status, _, found = await pysnmp.get_cmd(
                engine, user, target, pysnmp.ContextData(), wanted
            )
            assert not failure, failure
            assert not status
            return str(found[0][1])

        assert await name() == "sw-1"
        assert rack.rack is not None
        rack.rack.switches["sw-1"].restart(Source.CONTROL)
        assert await name() == "sw-1"
        engine.close_dispatcher()
