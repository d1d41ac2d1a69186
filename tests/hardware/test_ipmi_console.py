"""The serial console through `ipmitool`, against the virtual rack and OpenIPMI's `ipmi_sim`."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rackhand.hardware.connect import open_bmc
from rackhand.hardware.door import Doors
from rackhand.hardware.errors import AuthFailed, Refused, Unreachable, Unsupported
from rackhand.hardware.interfaces import Console, Endpoint
from rackhand.sim.config import BmcKind, MachineConfig
from rackhand.sim.rack import RackThread, demo_rack
from tests.hardware.bmcs import await_answer, start_ipmi_sim
from tests.sim import tools


@pytest.fixture(scope="module")
def shared_rack() -> Iterator[RackThread]:
    with RackThread(demo_rack(time_scale=600)) as rack:
        yield rack


@pytest.fixture
def rack(shared_rack: RackThread) -> RackThread:
    shared_rack.control.reset()
    return shared_rack


@pytest.fixture
def machine(rack: RackThread) -> MachineConfig:
    found = tools.first(rack.config, BmcKind.IPMI)
    rack.control.press_power_button(found.name)
    rack.control.wait_for(found.name, lambda machine: machine.phase == "running")
    return found


def endpoint_of(machine: MachineConfig, password: str | None = None) -> Endpoint:
    bmc = machine.bmc
    return Endpoint(
        bmc.kind, bmc.host, bmc.port, bmc.user, password or bmc.password, {"timeout_seconds": "3"}
    )


@contextlib.asynccontextmanager
async def opened(doors: Doors, endpoint: Endpoint) -> AsyncIterator[Console]:
    async with open_bmc(doors, endpoint) as bmc:
        console = await bmc.console()
    try:
        yield console
    finally:
        await console.close()


async def read_until(console: Console, words: bytes) -> bytes:
    said = b""
    async with asyncio.timeout(10):
        while words not in said:
            came = await console.read()
            assert came, f"ended: {said!r}"
            said += came
    return said


async def test_what_is_typed_comes_back_and_the_life_of_the_machine_is_seen(
    rack: RackThread, machine: MachineConfig, doors: Doors
) -> None:
    async with opened(doors, endpoint_of(machine)) as console:
        await console.write(b"\r")
        await read_until(console, b"login: ")
        await console.write(b"root\r")
        assert b"root" in await read_until(console, b"Password: ")
        await console.write(b"secret\r")
        assert b"secret" not in await read_until(console, b":~# ")
        await console.write(b"~.\x1eecho ~ & \x1e.\r")  # nothing of it is for ipmitool
        assert b"~.echo ~ & .\r\n" in await read_until(console, b":~# ")
        await asyncio.to_thread(rack.control.press_power_button, machine.name, hold=True)
        await asyncio.to_thread(rack.control.press_power_button, machine.name)
        said = await read_until(console, b"Booting from disk")
        assert machine.serial.encode() in said
    closed = await asyncio.to_thread(rack.control.wait_for_event, machine.name, "console_closed", after=0)
    assert closed.detail["user"] == machine.bmc.user


async def test_much_output_comes_whole(rack: RackThread, machine: MachineConfig, doors: Doors) -> None:
    async with opened(doors, endpoint_of(machine)) as console:
        await console.write(b"root\r\r")
        await read_until(console, b":~# ")
        for number in range(40):
            await console.write(b"echo %d %s\r" % (number, b"x" * 200))
            said = await read_until(console, b"# ")
            assert said.count(b"x" * 200) == 2


async def test_other_calls_are_answered_while_the_console_is_open(
    machine: MachineConfig, doors: Doors
) -> None:
    async with opened(doors, endpoint_of(machine)), open_bmc(doors, endpoint_of(machine)) as bmc:
        assert await bmc.power_state() == "on"


async def test_a_console_that_another_session_has_is_refused_until_it_is_freed(
    machine: MachineConfig, doors: Doors
) -> None:
    async with opened(doors, endpoint_of(machine)) as console:
        with pytest.raises(Refused, match="already active"):
            async with opened(doors, endpoint_of(machine)):
                pass
        async with open_bmc(doors, endpoint_of(machine)) as bmc:
            await bmc.free_console()
            await bmc.free_console()
        await console.write(b"x")  # ipmitool looks at nothing but the answer to what it sends
        async with asyncio.timeout(30):
            while await console.read():
                pass
        assert "SOL" in await console.close()
        async with opened(doors, endpoint_of(machine)) as other:
            await other.write(b"\r")
            await read_until(other, b"login: ")


async def test_a_bmc_that_restarts_under_an_open_console_is_noticed_when_something_is_typed(
    rack: RackThread, machine: MachineConfig, doors: Doors
) -> None:
    async with opened(doors, endpoint_of(machine)) as console:
        await asyncio.to_thread(rack.control.fault_on, machine.name, "unplugged")
        await console.write(b"x")
        async with asyncio.timeout(60):
            while await console.read():
                pass
        assert await console.close()


async def test_wrong_password_is_refused_and_not_tried_again(machine: MachineConfig, doors: Doors) -> None:
    wrong = endpoint_of(machine, "wrong")
    for _ in range(2):
        with pytest.raises(AuthFailed):
            async with opened(doors, wrong):
                pass


async def test_nobody_there_is_said(doors: Doors) -> None:
    with pytest.raises(Unreachable):
        async with opened(doors, Endpoint("ipmi", "127.0.0.1", 9, "admin", "x", {"timeout_seconds": "1"})):
            pass


async def test_redfish_says_that_it_has_none(rack: RackThread, doors: Doors) -> None:
    machine = tools.first(rack.config, BmcKind.REDFISH)
    with pytest.raises(Unsupported, match="no serial console"):
        async with opened(doors, endpoint_of(machine)):
            pass


def command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return found


async def test_the_password_is_on_no_command_line(machine: MachineConfig, doors: Doors) -> None:
    async with opened(doors, endpoint_of(machine)):
        port = str(machine.bmc.port).encode()
        mine = [line for line in command_lines() if b"ipmitool" in line and port in line.split(b"\0")]
    assert mine
    assert not any(machine.bmc.password.encode() in line.split(b"\0") for line in mine)


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A system that repeats everything in capitals."""
    while data := await reader.read(4096):
        writer.write(data.upper())
        await writer.drain()


async def test_the_stock_simulator_gives_its_console(tmp_path: Path, doors: Doors) -> None:
    line = await asyncio.start_server(shout, "127.0.0.1", 0)
    sim = start_ipmi_sim(tmp_path / "bmc", serial_port=line.sockets[0].getsockname()[1])
    try:
        await asyncio.to_thread(await_answer, sim)
        async with opened(doors, sim.endpoint) as console:
            await console.write(b"hello\r" + b"x" * 500 + b"end")
            assert b"HELLO\r" + b"X" * 500 + b"END" in await read_until(console, b"END")
            with pytest.raises(Refused):
                async with opened(doors, sim.endpoint):
                    pass
        async with opened(doors, sim.endpoint) as console:
            await console.write(b"again")
            await read_until(console, b"AGAIN")
    finally:
        sim.process.kill()
        sim.process.wait()
        line.close()


HOLDS_A_CONSOLE = """
import asyncio, sys
from rackhand.hardware.interfaces import Endpoint
from rackhand.hardware.ipmi import IpmiBmc

async def main():
    host, port, user, password = sys.argv[1:]
    console = await IpmiBmc(Endpoint("ipmi", host, int(port), user, password), asyncio.Semaphore(1)).console()
    print("open", flush=True)
    await console.read()

asyncio.run(main())
"""


def test_a_process_that_is_killed_leaves_no_session_behind(rack: RackThread, machine: MachineConfig) -> None:
    bmc = machine.bmc
    begin = rack.control.last_event()
    account = [bmc.host, str(bmc.port), bmc.user, bmc.password]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_CONSOLE, *account], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        holder.kill()
    rack.control.wait_for_event(machine.name, "console_closed", after=begin)
