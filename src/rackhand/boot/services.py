"""What the boot listener works with."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from rackhand.boot.board import CommandBoard
from rackhand.boot.files import BootFiles
from rackhand.db import Database
from rackhand.settings import Settings
from rackhand.tasks.engine import Engine
from rackhand.vault import Vault


@dataclass(frozen=True)
class BootServices:
    """`app.state.boot` of the boot listener."""

    settings: Settings
    db: Database
    vault: Vault
    engine: Engine
    board: CommandBoard
    files: BootFiles
    stopping: asyncio.Event


async def current_boot(request: Request) -> BootServices:
    """The services of this process."""
    boot: BootServices = request.app.state.boot
    return boot


CurrentBoot = Annotated[BootServices, Depends(current_boot)]
