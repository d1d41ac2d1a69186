"""`make screenshots`: pictures of the console, filled by the demo, into docs/screenshots."""

import asyncio
import os
import tempfile
from pathlib import Path

from playwright.async_api import Page

from rackhand.cli.demo import CUSTOMER, DEFAULT_ADMIN
from tests.web.life import SHOWN, live
from tests.web.site import PHONE, running_site

TARGET = Path(__file__).parents[2] / "docs" / "screenshots"
SIZE = (1440, 900)
MOST_BYTES = 2_500_000  # of all pictures: they are cloned with the code
SETTLED = 700  # milliseconds: pictures of what moves are not taken in the middle
# name: path, theme. What moves comes first.
PICTURES = {
    "task": ("/tasks/{task}", "light"),
    "overview": ("/", "light"),
    "racks": ("/racks", "light"),
    "servers": ("/servers", "light"),
    "server": (f"/servers/{SHOWN}", "light"),
    "traffic": (f"/servers/{SHOWN}/traffic?period=week", "light"),
    "network": ("/networks/1", "light"),
    "switch": ("/switches/1?port=14", "light"),
    "pdu": ("/pdus/1", "light"),
    "install": (f"/servers/{SHOWN}/install", "light"),
    "racks-dark": ("/racks", "dark"),
    "server-dark": (f"/servers/{SHOWN}", "dark"),
}
# `system-ui` is Segoe UI or San Francisco on most desks; the plain Debian that takes the pictures has Inter
# (fonts-inter), which is as wide as those.
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd"><fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
<alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
<alias binding="strong"><family>sans</family><prefer><family>Inter</family></prefer></alias></fontconfig>
"""


async def main() -> None:
    """Live a little in the demo, then take the pictures."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "fonts.conf").write_text(FONTS)
        os.environ["FONTCONFIG_FILE"] = str(folder / "fonts.conf")
        async with running_site(folder / "data", machines=84, cabinets=4) as site:
            task = await live(site)
            for theme in ("light", "dark"):
                page = await site.sign_in(DEFAULT_ADMIN, theme=theme, size=SIZE)
                for picture, (path, wanted) in PICTURES.items():
                    if wanted == theme:
                        await take(page, picture, path.format(task=task))
                await page.context.close()
            page = await site.sign_in(CUSTOMER, size=PHONE)
            await take(page, "customer-phone", f"/servers/{SHOWN}")
    size = sum(picture.stat().st_size for picture in TARGET.glob("*.png"))
    print(f"{len(PICTURES) + 1} pictures in {TARGET}, {size / 1e6:.1f} MB")  # noqa: T201  # what was asked for
    if size > MOST_BYTES:
        raise SystemExit(f"The pictures take {size} bytes, more than {MOST_BYTES}.")


async def take(page: Page, name: str, path: str) -> None:
    """Take one picture."""
    await page.goto(path)
    await page.wait_for_timeout(SETTLED)
    await page.screenshot(path=TARGET / f"{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
