"""The way to a switch: from the stored, sealed access to an open conversation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import update

from rackhand.db import utcnow
from rackhand.hardware.connect import open_switch
from rackhand.hardware.errors import AuthFailed, Unsupported
from rackhand.hardware.interfaces import Switch as SwitchDevice
from rackhand.servers.access import endpoint_of
from rackhand.switches.model import Switch
from rackhand.tasks.operation import Tools
from rackhand.vault import SecretUnreadable


@asynccontextmanager
async def open_switch_of(tools: Tools, switch: Switch) -> AsyncIterator[SwitchDevice]:
    """Talk to *switch*, one conversation at a time; a refused login is written down and not repeated."""
    if switch.refused_at is not None:
        raise AuthFailed(
            f"Switch {switch.name} at {switch.host}:{switch.port} refused the login on"
            f" {switch.refused_at:%Y-%m-%d %H:%M:%S} UTC. Correct the access: POST switch/{switch.id}."
        )
    try:
        async with open_switch(tools.doors, endpoint_of(switch, tools.vault)) as device:
            yield device
    except SecretUnreadable as error:
        raise Unsupported(
            f"{error} Restart this process after a key rotation, or set the access of switch {switch.name} anew."
        ) from error
    except AuthFailed as error:
        async with tools.db.write() as session:
            await session.execute(
                update(Switch).where(Switch.id == switch.id).values(refused_at=utcnow(), refusal=str(error))
            )
        raise AuthFailed(
            f"Switch {switch.name} at {switch.host}:{switch.port} refused the login: {error}"
            f" Correct the access: POST switch/{switch.id}."
        ) from error
