"""The demo on free ports, with a browser in front of it: for stories and for screenshots."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from rackhand.app import Services, create_app, open_services, serve_boot
from rackhand.cli.demo import CUSTOMER, DEFAULT_ADMIN, fill
from rackhand.events.service import SYSTEM
from rackhand.http.protocol import RackhandHttpProtocol
from rackhand.settings import Settings
from rackhand.sim.demo import PROVISIONING_VLAN, demo_rack
from rackhand.sim.netboot import write_stub_ramdisk
from rackhand.sim.rack import Rack, running_rack
from rackhand.users import queries as users
from rackhand.users import service
from tests.conftest import PASSWORD

CHROMIUM = "/usr/bin/chromium"
DESKTOP, PHONE = (1360, 900), (390, 844)
AXE = Path(__file__).parent / "vendor" / "axe.min.js"


@dataclass
class Site:
    """A demo that runs, and a browser."""

    url: str
    services: Services
    browser: Browser
    rack: Rack

    async def sign_in(
        self, email: str, *, size: tuple[int, int] = DESKTOP, theme: str = "light", locale: str = "en-GB"
    ) -> Page:
        """Open a window as somebody; it complains about everything that the page complains about."""
        context: BrowserContext = await self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if theme == "dark" else "light",
            locale=locale,
            timezone_id="Europe/Berlin",
            base_url=self.url,
        )
        page = await context.new_page()
        complaints: list[str] = []
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.complaints = complaints  # type: ignore[attr-defined]  # travels with the page
        await page.goto("/login")
        await page.fill("#email", email)
        await page.fill("#password", PASSWORD)
        await page.press("#password", "Enter")
        await page.wait_for_url(self.url + "/")
        return page


def complaints_of(page: Page) -> list[str]:
    """Errors in the page's console, among them whatever the security policy blocked."""
    found: list[str] = page.complaints  # type: ignore[attr-defined]
    return found


@asynccontextmanager
async def running_site(
    data: Path, *, machines: int = 12, time_scale: float = 20.0, cabinets: int | None = None
) -> AsyncIterator[Site]:
    """Run the demo and a browser until the block ends."""
    write_stub_ramdisk(data)
    settings = Settings(data=data, listen="127.0.0.1:0", boot_listen="127.0.0.1:0", poll_interval=10)
    config = demo_rack(machines, time_scale=time_scale, cabinets=cabinets)
    async with (
        running_rack(config, data / "rack.json") as rack,
        open_services(settings) as services,
        serve_boot(services) as boot_url,
        async_playwright() as playwright,
    ):
        rack.boot_network.url, rack.boot_network.vlan = boot_url or "", PROVISIONING_VLAN
        await fill(services, rack.config)
        async with services.db.write() as session:
            for email in (DEFAULT_ADMIN, CUSTOMER):
                viewer = await users.by_id(session, 1)
                user = await users.by_id_or_email(session, email, visible_to=viewer)
                await service.set_password(session, user, PASSWORD, actor=SYSTEM)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(services), port=0, http=RackhandHttpProtocol, ws="none", lifespan="off",
                access_log=False, log_config=None,
            )
        )  # fmt: skip
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
            await asyncio.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield Site(f"http://127.0.0.1:{port}", services, browser, rack)
        finally:
            await browser.close()
            services.stopping.set()
            server.should_exit = True
            await serving
