"""A rack of machines that really boot, as a context manager around the virtual rack."""

import asyncio
import contextlib
import dataclasses
import fcntl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackhand.sim.config import BMC_PLUG, DiskConfig, MachineConfig, RackConfig
from rackhand.sim.demo import PROVISIONING_VLAN, demo_rack
from rackhand.sim.rack import Rack, directory, running_rack
from rackhand.sim.real.inband import inband_face
from rackhand.sim.real.lldp import speak
from rackhand.sim.real.needs import Accelerator, find_accelerator, missing
from rackhand.sim.real.qemu import RealMachine
from rackhand.sim.real.wires import Leg, Wires, connected
from rackhand.sim.switch import DEFAULT_VLAN

# RFC 5737 and RFC 3849. The IPv6 prefix is there because iPXE waits for a router's advertisement.
PROVISIONING = Leg("prov", PROVISIONING_VLAN, ("203.0.113.1/24", "2001:db8:113::1/64"))
# Where the rack's servers are when nobody has moved them: this computer is the gateway of the demo's networks.
CUSTOMERS = Leg("cust", DEFAULT_VLAN, ("198.51.100.1/24", "2001:db8:10::1/64"))
FIRST_LEASE, LAST_LEASE = "203.0.113.100", "203.0.113.199"
BOOT_PORT = 8682
DISK_BYTES = 3 * 1024**3
BMC_BOOT_SECONDS = 10.0
LOCKS = Path("/run/lock")


class NotPossibleHere(Exception):
    """Such a rack cannot run on this computer; the message says what is missing."""


@dataclass(frozen=True)
class RealRack:
    """A running rack of real machines."""

    rack: Rack
    wires: Wires
    accelerator: Accelerator
    machines: dict[str, RealMachine]

    @property
    def provisioning_interface(self) -> str:
        """The interface of this computer in the provisioning VLAN."""
        return self.wires.leg(PROVISIONING)

    @property
    def settings(self) -> dict[str, Any]:
        """What tells a manager on this computer to serve the provisioning network."""
        return {
            "boot_listen": f"{PROVISIONING.addresses[0].partition('/')[0]}:{BOOT_PORT}",
            "dhcp_interface": self.provisioning_interface,
            "dhcp_ranges": [f"{FIRST_LEASE}-{LAST_LEASE}/24"],
        }


def real_rack_config(
    count: int, *, base_port: int = 0, control_port: int = 0, disk_bytes: int = DISK_BYTES
) -> RackConfig:
    """The rack of the demo with *count* machines of a size that fits many times into one computer."""
    rack = demo_rack(count, base_port=base_port, control_port=control_port)
    machines = tuple(_shrink(machine, disk_bytes) for machine in rack.machines)
    return dataclasses.replace(rack, machines=machines, provisioning_vlan=PROVISIONING_VLAN)


def _shrink(machine: MachineConfig, disk_bytes: int) -> MachineConfig:
    disks: tuple[DiskConfig, ...] = tuple(
        dataclasses.replace(disk, size_bytes=disk_bytes) for disk in machine.disks
    )
    return dataclasses.replace(
        machine,
        disks=disks,
        memory_gib=1,
        cpus=1,
        cores=1,
        post_seconds=0.0,
        bmc_boot_seconds=BMC_BOOT_SECONDS,
    )


@contextlib.asynccontextmanager
async def running_real_rack(
    config: RackConfig, folder: Path, *, name: str = "rackhand", log_file: Path | None = None
) -> AsyncIterator[RealRack]:
    """Run a rack of real machines until the block ends; their disks and consoles are files in *folder*.

    *name* is that of the namespace, and begins those of this computer's interfaces. Raises `NotPossibleHere`.
    """
    if absent := missing():
        raise NotPossibleHere(absent)
    accelerator = await find_accelerator()
    nics = [
        (cable.device, cable.plug)
        for cable in config.cables
        if cable.plug != BMC_PLUG and cable.device in {machine.name for machine in config.machines}
    ]
    wires = Wires(
        name, (PROVISIONING, CUSTOMERS), {plug: f"port{place}" for place, plug in enumerate(nics, 1)}
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_alone(name))
        wires.tear_down()  # what a killed rack has left
        stack.callback(wires.tear_down)
        wires.set_up()
        rack = await stack.enter_async_context(running_rack(config, log_file=log_file))
        await stack.enter_async_context(connected(rack, wires))
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rack-")))
        machines = {
            machine.config.name: RealMachine(
                machine, folder / machine.config.name, sockets / machine.config.name, wires, accelerator
            )
            for machine in rack.machines.values()
        }
        for real in machines.values():
            real.attach()
            bmc = rack.bmcs[real.machine.config.name]
            await stack.enter_async_context(inband_face(bmc, real.bmc_socket))
            stack.push_async_callback(real.close)
        speaking = asyncio.create_task(speak(rack, wires), name="lldp")
        stack.callback(speaking.cancel)
        yield RealRack(rack, wires, accelerator, machines)


async def serve_real_rack(config: RackConfig, folder: Path) -> None:
    """Run a rack of real machines and print where things are, until cancelled."""
    async with running_real_rack(config, folder) as real:
        settings = " ".join(
            f"RACKHAND_{name.upper()}={','.join(value) if isinstance(value, list) else value}"
            for name, value in real.settings.items()
        )
        lines = [
            *directory(real.rack),
            f"Machines     {folder}, {real.accelerator.words}",
            f"Settings     {settings}",
        ]
        print("\n".join(lines), flush=True)  # noqa: T201  # this is what the verb is for
        await asyncio.Event().wait()


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keep a second rack from pulling the wires of the first out."""
    with (LOCKS / f"rack-{name}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotPossibleHere(f"A rack with the wires {name!r} is running already.") from error
        yield
