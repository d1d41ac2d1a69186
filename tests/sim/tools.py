"""Stock clients against a rack: ipmitool, ipmipower and Redfish over httpx."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from rackhand.sim.config import BmcKind, MachineConfig, RackConfig, SnmpConfig

TOOL_SECONDS = 20


@dataclass(frozen=True)
class Result:
    """What a tool printed, both streams together, and its exit status."""

    status: int
    output: str


def first(config: RackConfig, kind: BmcKind) -> MachineConfig:
    return next(machine for machine in config.machines if machine.bmc.kind is kind)


def ipmitool(
    machine: MachineConfig,
    *command: str,
    suite: int = 3,
    user: str | None = None,
    password: str | None = None,
    privilege: str = "ADMINISTRATOR",
    tries: int = 4,
) -> Result:
    """Run ipmitool without any workaround."""
    bmc = machine.bmc
    return _run(
        ["ipmitool", "-I", "lanplus", "-C", str(suite), "-L", privilege, "-N", "1", "-R", str(tries), "-E"],
        ["-H", bmc.host, "-p", str(bmc.port), "-U", user or bmc.user, *command],
        IPMI_PASSWORD=password or bmc.password,
    )


def ipmipower(machine: MachineConfig, *options: str, password: str | None = None) -> Result:
    """Run FreeIPMI's ipmipower without any workaround. The simulated password may stand on the command line."""
    bmc = machine.bmc
    return _run(
        ["ipmipower", "-D", "LAN_2_0", "--session-timeout", "6000", *options],
        ["-h", f"{bmc.host}:{bmc.port}", "-u", bmc.user, "-p", password or bmc.password],
    )


def snmp(
    tool: str, agent: SnmpConfig, *arguments: str, community: str | None = None, options: tuple[str, ...] = ()
) -> Result:
    """Run one of net-snmp's tools over v2c, one try; `snmpset` uses the write community. Numbers in, numbers out."""
    usual = agent.write_community if tool == "snmpset" else agent.read_community
    return _run(
        [tool, "-v2c", "-c", community or usual, "-OnqtU", "-t", "3", "-r", "0", *options],
        [f"{agent.host}:{agent.port}", *arguments],
        MIBS="",
    )


def walk(agent: SnmpConfig, oid: str, *, tool: str = "snmpwalk") -> dict[str, str]:
    """Return what stands below *oid*: the rest of each object's number, and its value."""
    found = {}
    for line in snmp(tool, agent, oid).output.splitlines():
        name, _, value = line.partition(" ")
        assert name.startswith(f".{oid}."), line
        found[name.removeprefix(f".{oid}.")] = value.strip('" ')
    return found


def redfish(machine: MachineConfig, *, password: str | None = None, timeout: float = 5) -> httpx.Client:
    """Return a client that signs each request with basic authentication."""
    bmc = machine.bmc
    return httpx.Client(
        base_url=f"http://{bmc.host}:{bmc.port}",
        auth=(bmc.user, password or bmc.password),
        timeout=timeout,
        trust_env=False,
    )


def eventually(attempt: Callable[[], object], *, but_for: type[Exception], seconds: float = 10) -> None:
    """Repeat *attempt* until it raises *but_for* no more."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            attempt()
        except but_for:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def system_path(machine: MachineConfig) -> str:
    return f"/redfish/v1/Systems/{machine.bmc.system_id}"


def reset(client: httpx.Client, machine: MachineConfig, kind: str) -> httpx.Response:
    return client.post(f"{system_path(machine)}/Actions/ComputerSystem.Reset", json={"ResetType": kind})


def error_key(response: httpx.Response) -> str:
    """Return the message key of a Redfish error, checking the envelope."""
    error = response.json()["error"]
    assert error["@Message.ExtendedInfo"][0]["MessageId"] == error["code"]
    return str(error["code"].rpartition(".")[2])


def _run(options: list[str], more: list[str], **environment: str) -> Result:
    done = subprocess.run(
        [*options, *more],
        capture_output=True,
        text=True,
        timeout=TOOL_SECONDS,
        check=False,
        env={**os.environ, **environment},
    )
    said = (done.stdout + done.stderr).strip().splitlines()
    # What net-snmp says besides when it runs for the first time on a machine.
    return Result(
        done.returncode, "\n".join(line for line in said if not line.startswith("Created directory: "))
    )
