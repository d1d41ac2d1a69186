"""The way to a device for everything outside of this package.

Each block holds the device alone; others who want it wait. Keep it short: ask, act, leave. `AuthFailed` is raised
at once, without asking the device, when it has refused this user and password before.
"""

import contextlib
from collections.abc import AsyncIterator

from rackhand.hardware.door import Doors
from rackhand.hardware.drivers import DRIVERS, PDU_DRIVERS, SWITCH_DRIVERS
from rackhand.hardware.interfaces import Bmc, Endpoint, Pdu, Switch


@contextlib.asynccontextmanager
async def open_bmc(doors: Doors, endpoint: Endpoint) -> AsyncIterator[Bmc]:
    """Hold the BMC behind *endpoint* for the time of the block."""
    async with doors.conversation(endpoint, DRIVERS) as bmc:
        yield bmc


@contextlib.asynccontextmanager
async def open_switch(doors: Doors, endpoint: Endpoint) -> AsyncIterator[Switch]:
    """Hold the switch behind *endpoint* for the time of the block."""
    async with doors.conversation(endpoint, SWITCH_DRIVERS) as switch:
        yield switch


@contextlib.asynccontextmanager
async def open_pdu(doors: Doors, endpoint: Endpoint) -> AsyncIterator[Pdu]:
    """Hold the PDU behind *endpoint* for the time of the block."""
    async with doors.conversation(endpoint, PDU_DRIVERS) as pdu:
        yield pdu
