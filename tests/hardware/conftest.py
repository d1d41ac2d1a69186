"""The devices of `bmcs.py` and sushy-tools' emulator as fixtures."""

import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from rackhand.hardware.door import Doors
from rackhand.hardware.interfaces import Endpoint
from tests.hardware.bmcs import (
    PASSWORD,
    FaultyRedfish,
    IpmiSim,
    await_answer,
    free_port,
    serving,
    start_ipmi_sim,
)


@pytest.fixture
def ipmi_sim(tmp_path: Path) -> Iterator[IpmiSim]:
    sim = start_ipmi_sim(tmp_path / "bmc")
    try:
        await_answer(sim)
        yield sim
    finally:
        sim.process.kill()
        sim.process.wait()


@pytest.fixture
def sushy(tmp_path: Path) -> Iterator[Endpoint]:
    """sushy-tools with its fake driver: one system that is off, no accounts, no sessions."""
    port = free_port()
    config = tmp_path / "sushy.conf"
    config.write_text(f"SUSHY_EMULATOR_FAKE_DRIVER = True\nSUSHY_EMULATOR_STATE_DIR = {str(tmp_path)!r}\n")
    program = Path(sys.executable).with_name("sushy-emulator")
    process = subprocess.Popen(
        [program, "--config", config, "--interface", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/redfish/v1/")
                break
            time.sleep(0.05)
        yield Endpoint("redfish", "127.0.0.1", port, settings={"scheme": "http"})
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyRedfish]:
    service = FaultyRedfish()
    async with serving(service.app) as port:
        settings = {"scheme": "http", "timeout_seconds": "2"}
        service.endpoint = Endpoint("redfish", "127.0.0.1", port, "admin", PASSWORD, settings)
        yield service


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    doors = Doors(spacing=timedelta(0))
    yield doors
    await doors.close()
