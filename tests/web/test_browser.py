"""The console in a real browser: an operator's story, a customer's on a phone, and what people who cannot see meet.

One demo and one browser serve all of it.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from rackhand.cli.demo import CUSTOMER, DEFAULT_ADMIN
from tests.web.site import AXE, CHROMIUM, PHONE, Site, complaints_of, running_site

pytestmark = [
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's package chromium"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]
PATIENCE = 60_000  # milliseconds; a busy machine needs some of them
FOR_OPERATORS = (
    "/", "/servers", "/servers/1", "/servers/1/edit", "/servers/1/bmc", "/servers/1/setup", "/servers/new",
    "/servers/import?example=1", "/servers/1/traffic", "/tasks", "/tasks/1", "/racks", "/racks/1", "/networks",
    "/networks/1", "/networks/2", "/networks/new", "/pools", "/pools/1", "/addresses", "/switches",
    "/switches/1?port=1", "/switches/new", "/vlans", "/systems", "/systems/new",
    "/pdus", "/pdus/1", "/pdus/new", "/servers/1/install", "/users", "/users/2", "/users/new", "/locations",
    "/locations/1", "/events", "/account", "/search?q=node", "/nothing",
)  # fmt: skip
FOR_CUSTOMERS = ("/", "/servers/3", "/addresses", "/tasks", "/events", "/account")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


async def confirm(page: Page) -> None:
    """Answer the question that a dangerous button asks."""
    await expect(page.locator("#confirm")).to_be_visible()
    await page.locator("#confirm-yes").click()


async def test_an_operator_gives_a_server_away_and_switches_it_on(site: Site) -> None:
    page = await site.sign_in(DEFAULT_ADMIN)
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    await page.click("text=Racks")
    await page.locator("svg.rack a[aria-label*='node-003']").first.click()
    await expect(page.locator("h1")).to_have_text("node-003")
    await page.fill("#f-owner", CUSTOMER)
    await page.click("text=Give the server")
    await expect(page.locator("#server-state")).to_contain_text("Rented")
    await page.click("#power button:has-text('Switch on')")
    # The page follows the task by itself.
    await expect(page.locator("#server-state")).to_contain_text("On")
    await expect(page.locator("#tasks .list-group-item").first).to_contain_text("Done")
    await page.click("#power button:has-text('Reset')")
    await page.locator("#confirm button[value=no]").click()
    await expect(page.locator("#confirm")).to_be_hidden()
    await page.click("#power button:has-text('Reset')")
    await confirm(page)
    await page.click("text=Follow the task")
    await expect(page.locator("table")).to_contain_text("Switch the server on")
    await expect(page.locator("#task")).to_contain_text("Finished")
    await page.keyboard.press("/")
    await page.keyboard.type("node-003")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("node-003")
    times = await page.locator("time[data-time=relative]").all_inner_texts()
    assert times
    assert not any("UTC" in text for text in times)
    assert complaints_of(page) == []


async def test_many_servers_are_chosen_and_looked_at_first(site: Site) -> None:
    page = await site.sign_in(DEFAULT_ADMIN)
    await page.goto("/servers?sort=-name")
    bar = page.locator("[data-chosen-bar]")
    await expect(bar).to_be_hidden()
    await page.check("[data-check-all]")
    await expect(bar).to_contain_text("12 chosen")
    await page.select_option("select[name=action]", "maintain")
    await page.click("text=Look at what would happen")
    await expect(page.locator("h1")).to_contain_text("what would happen to 12 servers")
    await page.go_back()
    await page.select_option("select[name=power]", "off")
    await page.wait_for_url("**/servers?**power=off**")
    assert complaints_of(page) == []


async def test_a_customer_on_a_phone(site: Site) -> None:
    await give_third_server(site)
    page = await site.sign_in(CUSTOMER, size=PHONE, theme="dark")
    page.set_default_timeout(PATIENCE)
    await page.click("text=node-003")
    await page.click("#power button:has-text('Shut down')")
    await confirm(page)
    await expect(page.locator("#server-state")).to_contain_text("Off", timeout=PATIENCE)
    await page.click("button[aria-controls=sections]")
    await page.locator("#sections a:has-text('Your account')").click()
    await expect(page.locator("h1")).to_have_text("Your account")
    for path in FOR_CUSTOMERS:
        await page.goto(path)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE[0], (path, width)
    assert complaints_of(page) == []


async def test_operators_pages_fit_a_phone(site: Site) -> None:
    page = await site.sign_in(DEFAULT_ADMIN, size=PHONE)
    for path in FOR_OPERATORS:
        await page.goto(path)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE[0], (path, width)


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_pages_are_for_everybody(site: Site, theme: str) -> None:
    await give_third_server(site)
    for email, paths in ((DEFAULT_ADMIN, FOR_OPERATORS), (CUSTOMER, FOR_CUSTOMERS)):
        page = await site.sign_in(email, theme=theme)
        wrong = {}
        for path in paths:
            await page.goto(path)
            if found := await violations(page):
                wrong[path] = found
        assert wrong == {}
        assert [text for text in complaints_of(page) if "404" not in text] == []
        await page.context.close()


async def give_third_server(site: Site) -> None:
    """Make the customer the owner of server 3; the first test does it by hand."""
    page = await site.sign_in(DEFAULT_ADMIN)
    await page.goto("/servers/3")
    if await page.locator("#f-owner").count():
        await page.fill("#f-owner", CUSTOMER)
        await page.click("text=Give the server")
        await expect(page.locator("#server-state")).to_contain_text("Rented", timeout=PATIENCE)
    await page.context.close()


async def violations(page: Page) -> list[str]:
    """What axe-core finds on a page by the rules of WCAG 2 A and AA."""
    await page.evaluate(AXE.read_text())
    found: dict[str, Any] = await page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})"
    )
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]} ({len(each['nodes'])})"
        for each in found["violations"]
    ]
