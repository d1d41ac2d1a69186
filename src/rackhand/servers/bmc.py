"""The BMC of a server: from the stored, sealed access to an open conversation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import update

from rackhand.db import utcnow
from rackhand.hardware.connect import open_bmc
from rackhand.hardware.errors import AuthFailed, Unsupported
from rackhand.hardware.interfaces import Bmc, Endpoint
from rackhand.servers.model import BmcAccess, Server
from rackhand.tasks.operation import Tools
from rackhand.vault import SecretUnreadable, Vault

PASSWORD_PURPOSE = "bmc_access.password"  # noqa: S105  # the name of a column


def endpoint_of(access: BmcAccess, vault: Vault) -> Endpoint:
    """Open the sealed password; the value must not be kept longer than the conversation."""
    password = vault.open(access.password, purpose=PASSWORD_PURPOSE) if access.password else ""
    return Endpoint(
        driver=access.driver,
        host=access.host,
        port=access.port,
        user=access.user,
        password=password,
        settings=access.settings,
        generation=access.generation,
    )


@asynccontextmanager
async def open_server_bmc(tools: Tools, server: Server) -> AsyncIterator[Bmc]:
    """Talk to the BMC of *server* (its `bmc` must be loaded), one conversation at a time.

    A refused login is written down, and nobody logs in again until the access is changed or checked.
    """
    access = server.bmc
    if access is None:
        raise Unsupported(f"Server {server.id} has no BMC access. Add one: POST server/{server.id}/bmc.")
    if access.refused_at is not None:
        raise AuthFailed(
            f"The BMC at {access.host}:{access.port} refused user {access.user!r} on"
            f" {access.refused_at:%Y-%m-%d %H:%M:%S} UTC. Correct the access: POST server/{server.id}/bmc."
        )
    try:
        async with open_bmc(tools.doors, endpoint_of(access, tools.vault)) as bmc:
            yield bmc
    except SecretUnreadable as error:
        raise Unsupported(
            f"{error} Restart this process after a key rotation, or set the BMC access anew."
        ) from error
    except AuthFailed as error:
        await mark_refused(tools, [access.id], str(error))
        raise AuthFailed(
            f"The BMC at {access.host}:{access.port} refused user {access.user!r}. Correct the user or the password:"
            f" POST server/{server.id}/bmc. It is not asked again before, so that the account is not locked."
        ) from error


async def mark_refused(tools: Tools, access_ids: list[int], words: str) -> None:
    """Write down that logins were refused."""
    async with tools.db.write() as session:
        await session.execute(
            update(BmcAccess).where(BmcAccess.id.in_(access_ids)).values(refused_at=utcnow(), refusal=words)
        )
