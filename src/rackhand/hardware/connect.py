"""The way to a BMC for everything outside of this package."""

import contextlib
from collections.abc import AsyncIterator

from rackhand.hardware.door import Doors
from rackhand.hardware.interfaces import Bmc, Endpoint


@contextlib.asynccontextmanager
async def open_bmc(doors: Doors, endpoint: Endpoint) -> AsyncIterator[Bmc]:
    """Hold the BMC behind *endpoint* for the time of the block; others who want it wait.

    Keep the block short: ask, act, leave. Raise `AuthFailed` at once, without asking the BMC, when it has
    refused this user and password before.
    """
    async with doors.conversation(endpoint) as bmc:
        yield bmc
