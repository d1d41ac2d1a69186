"""`make screenshots`: pictures of the console, filled by the demo, into docs/screenshots."""

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Page

from rackhand.cli.demo import CUSTOMER, DEFAULT_ADMIN
from tests.web.site import PHONE, Site, running_site

TARGET = Path(__file__).parents[2] / "docs" / "screenshots"
SETTLED = 400  # milliseconds: pictures of what moves are not taken in the middle
# name: path, theme
PICTURES = {
    "overview": ("/", "light"),
    "racks": ("/racks", "light"),
    "servers": ("/servers", "light"),
    "server": ("/servers/3", "light"),
    "task": ("/tasks/{task}", "light"),
    "network": ("/networks/1", "light"),
    "switch": ("/switches/1?port=3", "light"),
    "user": ("/users/2", "light"),
    "import": ("/servers/import?example=1", "light"),
    "events": ("/events", "light"),
    "racks-dark": ("/racks", "dark"),
    "server-dark": ("/servers/3", "dark"),
}


async def main() -> None:
    """Live a little in the demo, then take the pictures."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        async with running_site(Path(name), machines=24) as site:
            task = await live(site)
            for theme in ("light", "dark"):
                page = await site.sign_in(DEFAULT_ADMIN, theme=theme)
                for picture, (path, wanted) in PICTURES.items():
                    if wanted == theme:
                        await take(page, picture, path.format(task=task))
                await page.context.close()
            page = await site.sign_in(CUSTOMER, size=PHONE)
            await take(page, "customer-phone", "/servers/3")


async def live(site: Site) -> str:
    """Give servers away, switch some on, put one into quarantine; return the number of a task of several steps."""
    page = await site.sign_in(DEFAULT_ADMIN)
    for number in (3, 4, 7, 8, 12):
        await page.goto(f"/servers/{number}")
        await page.fill("#f-owner", CUSTOMER)
        await page.click("text=Give the server")
        await page.locator("#network summary:has-text('Add an address')").click()
        await page.click("#network form[action$=addresses] button")
    await page.goto("/servers/9")
    await page.locator("summary:has-text('Quarantine')").click()
    await page.fill("#f-reason", "disk 2 failed its wipe")
    await page.click("text=Into quarantine")
    for number in (1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 14):
        await page.goto(f"/servers/{number}")
        await page.click("#power button:has-text('Switch on')")
    await page.locator("#server-state").get_by_text("On", exact=True).wait_for(timeout=60_000)
    await page.goto("/servers/3")
    await page.click("#power button:has-text('Reset')")
    await page.click("#confirm-yes")
    await page.click("text=Follow the task")
    task = page.url.rpartition("/")[2]
    await page.context.close()
    return task


async def take(page: Page, name: str, path: str) -> None:
    """Take one picture."""
    await page.goto(path)
    await page.wait_for_timeout(SETTLED)
    await page.screenshot(path=TARGET / f"{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
