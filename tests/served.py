"""The product with its sample data behind a real port, in a thread: what programs of others talk to."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Self

import structlog
import uvicorn

from rackhand.app import Services, create_app, open_services, serve_boot
from rackhand.cli.demo import CUSTOMER, DEFAULT_ADMIN, fill
from rackhand.events.service import SYSTEM
from rackhand.http.protocol import RackhandHttpProtocol
from rackhand.settings import Settings
from rackhand.sim.client import RackControl
from rackhand.sim.demo import PROVISIONING_VLAN, demo_rack
from rackhand.sim.netboot import write_stub_ramdisk
from rackhand.sim.rack import running_rack
from rackhand.users import queries as users
from rackhand.users import service
from tests.conftest import PASSWORD

START_SECONDS = 60.0
TIME_SCALE = 600.0


class ServedProduct:
    """A virtual rack and the product over it: `with ServedProduct(directory) as product:`."""

    url: str
    control: RackControl

    def __init__(self, data: Path, *, machines: int = 6) -> None:
        self._data = data
        self._machines = machines
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run, name="product", daemon=True)

    def __enter__(self) -> Self:
        # What it logs is not what a program prints that runs beside it.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise TimeoutError("The product did not start.")
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self.control.close()
        structlog.reset_defaults()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._started.set()

    async def _serve(self) -> None:
        write_stub_ramdisk(self._data)
        settings = Settings(data=self._data, listen="127.0.0.1:0", boot_listen="127.0.0.1:0", poll_interval=5)
        config = demo_rack(self._machines, time_scale=TIME_SCALE)
        async with (
            running_rack(config, self._data / "rack.json") as rack,
            open_services(settings) as services,
            serve_boot(services) as boot_url,
        ):
            self.control = RackControl(rack.control_url)
            rack.boot_network.url, rack.boot_network.vlan = boot_url or "", PROVISIONING_VLAN
            await fill(services, rack.config)
            await _set_passwords(services)
            self._server = server = uvicorn.Server(
                uvicorn.Config(
                    create_app(services), port=0, http=RackhandHttpProtocol, ws="none", lifespan="off",
                    access_log=False, log_config=None,
                )
            )  # fmt: skip
            serving = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
                await asyncio.sleep(0.02)
            self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            self._started.set()
            while not server.should_exit:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            services.stopping.set()  # streams of events end
            await serving


async def _set_passwords(services: Services) -> None:
    async with services.db.write() as session:
        viewer = await users.by_id(session, 1)
        for email in (DEFAULT_ADMIN, CUSTOMER):
            user = await users.by_id_or_email(session, email, visible_to=viewer)
            await service.set_password(session, user, PASSWORD, actor=SYSTEM)
