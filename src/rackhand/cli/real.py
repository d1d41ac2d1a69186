"""Verbs with machines that really boot."""

import asyncio
import shutil
from pathlib import Path

from rackhand.app import open_services, run_server, serve_boot
from rackhand.boot.debian import BuildFailed
from rackhand.boot.ramdisk import build_ramdisk
from rackhand.cli.demo import BMC_PORT, CONTROL_PORT, fill
from rackhand.settings import Settings
from rackhand.sim.real.rack import NotPossibleHere, real_rack_config, running_real_rack, serve_real_rack

DEMO_MACHINES = 4  # BIOS with SATA disks and UEFI with NVMe, each with an IPMI and a Redfish BMC


async def run_real_rack(data: Path, *, machines: int, base_port: int, control_port: int) -> None:
    """Run a rack of real machines until cancelled."""
    config = real_rack_config(machines, base_port=base_port, control_port=control_port)
    try:
        await serve_real_rack(config, data / "machines")
    except NotPossibleHere as error:
        raise SystemExit(str(error)) from error


async def run_real_demo(settings: Settings, *, reset: bool) -> None:
    """Run a rack of real machines and the whole product, which boots them, until a signal asks to stop."""
    if reset and settings.data.exists():
        shutil.rmtree(settings.data)
    settings.data.mkdir(parents=True, exist_ok=True)
    config = real_rack_config(DEMO_MACHINES, base_port=BMC_PORT, control_port=CONTROL_PORT)
    try:
        async with running_real_rack(config, settings.data / "machines") as real:
            print("The ramdisk, which takes some minutes the first time …", flush=True)
            await asyncio.to_thread(build_ramdisk, settings.data / "boot" / "ramdisk")
            async with (
                open_services(settings.model_copy(update=real.settings)) as services,
                serve_boot(services),
            ):
                await fill(services, real.rack.config)
                print(f"Real machines: {len(config.machines)}, {real.accelerator.words}")
                print(
                    f"Their disks and consoles: {settings.data / 'machines'}; control API {real.rack.control_url}"
                )
                await run_server(services)
    except (NotPossibleHere, BuildFailed) as error:
        raise SystemExit(str(error)) from error
