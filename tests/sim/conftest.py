"""A rack of twelve machines whose minutes last a tenth of a second, put back to its start for every test."""

from collections.abc import Iterator

import httpx
import pytest

from rackhand.sim.config import BmcKind, MachineConfig
from rackhand.sim.rack import RackThread, demo_rack
from tests.sim import tools

TIME_SCALE = 600


@pytest.fixture(scope="session")
def shared_rack() -> Iterator[RackThread]:
    with RackThread(demo_rack(time_scale=TIME_SCALE)) as rack:
        yield rack


@pytest.fixture
def rack(shared_rack: RackThread) -> RackThread:
    shared_rack.control.reset()
    return shared_rack


@pytest.fixture
def ipmi_machine(rack: RackThread) -> MachineConfig:
    return tools.first(rack.config, BmcKind.IPMI)


@pytest.fixture
def redfish_machine(rack: RackThread) -> MachineConfig:
    return tools.first(rack.config, BmcKind.REDFISH)


@pytest.fixture
def redfish(redfish_machine: MachineConfig) -> Iterator[httpx.Client]:
    with tools.redfish(redfish_machine) as client:
        yield client


@pytest.fixture
def start(rack: RackThread) -> int:
    """Number of the last event before the test."""
    return rack.control.last_event()
