"""The way to a PDU: from the stored, sealed access to an open conversation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import update

from rackhand.db import utcnow
from rackhand.hardware.connect import open_pdu
from rackhand.hardware.errors import AuthFailed, Unsupported
from rackhand.hardware.interfaces import Pdu as PduDevice
from rackhand.power.model import Pdu
from rackhand.servers.access import endpoint_of
from rackhand.tasks.operation import Tools
from rackhand.vault import SecretUnreadable


@asynccontextmanager
async def open_pdu_of(tools: Tools, pdu: Pdu) -> AsyncIterator[PduDevice]:
    """Talk to *pdu*, one conversation at a time; a refused login is written down and not repeated."""
    if pdu.refused_at is not None:
        raise AuthFailed(
            f"PDU {pdu.name} at {pdu.host}:{pdu.port} refused the login on"
            f" {pdu.refused_at:%Y-%m-%d %H:%M:%S} UTC. Correct the access: POST pdu/{pdu.id}."
        )
    try:
        async with open_pdu(tools.doors, endpoint_of(pdu, tools.vault)) as device:
            yield device
    except SecretUnreadable as error:
        raise Unsupported(
            f"{error} Restart this process after a key rotation, or set the access of PDU {pdu.name} anew."
        ) from error
    except AuthFailed as error:
        async with tools.db.write() as session:
            await session.execute(
                update(Pdu).where(Pdu.id == pdu.id).values(refused_at=utcnow(), refusal=str(error))
            )
        raise AuthFailed(
            f"PDU {pdu.name} at {pdu.host}:{pdu.port} refused the login: {error}"
            f" Correct the access: POST pdu/{pdu.id}."
        ) from error
