"""The page of a serial console, in a real browser: what is typed comes back, and stays when the page is loaded anew."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from rackhand.cli.demo import CUSTOMER, DEFAULT_ADMIN
from tests.web.site import CHROMIUM, PHONE, Site, complaints_of, running_site
from tests.web.test_browser import violations

pytestmark = [
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's package chromium"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]
PATIENCE = 60_000  # milliseconds
IPMI, REDFISH = "/servers/1", "/servers/2"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Server 1 is the customer's and runs."""
    async with running_site(tmp_path_factory.mktemp("site"), machines=4) as running:
        page = await running.sign_in(DEFAULT_ADMIN)
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        await page.goto(IPMI)
        if await page.locator("#f-owner").count():
            await page.fill("#f-owner", CUSTOMER)
            await page.click("text=Give the server")
        machine = running.rack.machines["node-001"]
        if machine.phase != "running":
            await page.click("#power button:has-text('Switch on')")
            await expect(page.locator("#tasks .list-group-item").first).to_contain_text("Done")
        await page.context.close()
        yield running


async def open_console(site: Site, email: str, **window: object) -> Page:
    page = await site.sign_in(email, **window)  # type: ignore[arg-type]  # sizes and themes
    page.set_default_timeout(PATIENCE)
    await page.goto(IPMI)
    await page.get_by_role("link", name="Console", exact=True).click()
    await expect(page.locator("[data-status]")).to_have_text("Open")
    return page


async def test_a_customer_types_and_an_administrator_sees_it(site: Site) -> None:
    customer = await open_console(site, CUSTOMER)
    screen = customer.locator(".xterm-rows")
    await customer.keyboard.press("Enter")
    await expect(screen).to_contain_text("login:")
    await customer.keyboard.type("root\r")
    await expect(screen).to_contain_text("Password:")
    await customer.keyboard.type("secret\r")
    await expect(screen).to_contain_text(":~#")
    await customer.keyboard.type("echo héllo wörld\r")
    await expect(screen).to_contain_text("~# echo héllo wörld")
    admin = await open_console(site, DEFAULT_ADMIN)
    await expect(admin.locator(".xterm-rows")).to_contain_text("héllo wörld")
    await customer.reload()
    await expect(screen).to_contain_text("héllo wörld")
    assert "secret" not in await screen.inner_text()
    await admin.click("[data-aloud]")
    await expect(admin.locator(".xterm-accessibility")).to_contain_text("héllo wörld")
    for page in (customer, admin):
        assert await violations(page) == []
        assert complaints_of(page) == []
    await admin.click("text=End for all")
    await admin.locator("#confirm-yes").click()
    await expect(admin.locator("body")).to_contain_text("The console was ended.")
    await expect(customer.locator("[data-status]")).to_contain_text("An administrator ended it")
    await expect(admin.locator("#recordings tbody tr")).to_have_count(1)
    await admin.fill("#recordings input[name=search]", "LOGIN:")
    await admin.press("#recordings input[name=search]", "Enter")
    await expect(admin.locator("#recordings")).to_contain_text("node-001 login: root")
    await admin.click("#recordings >> text=Replay")
    await expect(admin.locator(".xterm-rows")).to_contain_text("héllo wörld")
    await expect(admin.locator("[data-status]")).to_have_text("The recording is over.")
    await admin.get_by_role("link", name="Text of").first.click()
    await expect(admin.locator("table")).to_contain_text("user 2 types")
    assert await violations(admin) == []
    assert complaints_of(admin) == []
    for page in (customer, admin):
        await page.context.close()


async def test_colours_and_a_full_screen_of_a_firmware_are_drawn(site: Site) -> None:
    page = await open_console(site, DEFAULT_ADMIN, theme="dark")
    console = site.rack.bmcs["node-001"].console
    console._send(
        "\x1b[2J\x1b[H\x1b[44;37m Setup \x1b[0m\x1b[5;10H\x1b[38;2;200;120;0mtrue colour\x1b[0m\x1b[24;1HF10"
    )
    row = page.locator(".xterm-rows > div").nth(4)
    await expect(row).to_contain_text("true colour")
    await expect(page.locator(".xterm-rows > div").nth(23)).to_contain_text("F10")
    word = page.locator(".xterm-rows span", has_text="true colour")
    assert await word.evaluate("element => getComputedStyle(element).color") == "rgb(200, 120, 0)"
    setup = page.locator(".xterm-rows span", has_text="Setup").first
    assert await setup.evaluate("element => getComputedStyle(element).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert await violations(page) == []
    assert complaints_of(page) == []
    await page.context.close()


async def test_on_a_phone_and_where_there_is_none(site: Site) -> None:
    page = await open_console(site, CUSTOMER, size=PHONE)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    await page.context.close()
    page = await site.sign_in(DEFAULT_ADMIN, size=PHONE)
    await page.goto(f"{REDFISH}/console")
    await expect(page.locator("body")).to_contain_text("This server has no serial console")
    assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert complaints_of(page) == []
