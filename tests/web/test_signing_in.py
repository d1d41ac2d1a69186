"""Who gets in, and where that leads."""

import httpx
import pytest

from rackhand.app import Services
from rackhand.users import tokens
from tests.conftest import ADMIN, PASSWORD, Api
from tests.web.conftest import Browser, text_of


async def test_a_stranger_signs_in_and_is_where_he_wanted_to_be(admin: Api, stranger: Browser) -> None:
    answer = await stranger.get("/servers?q=a+b&sort=-name", follow=False)
    assert answer.status_code == 303
    login = answer.headers["location"]
    assert login == "/login?next=%2Fservers%3Fq%3Da%2Bb%26sort%3D-name"
    assert "Sign in" in text_of(await stranger.open(login))
    answer = await stranger.post(login, {"email": ADMIN, "password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/servers?q=a+b&sort=-name")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "operator@example.com" in await stranger.open("/servers?q=a+b&sort=-name")
    assert (await stranger.get("/login", follow=False)).headers["location"] == "/"


async def test_a_wrong_password_keeps_the_address_and_shows_no_password(
    admin: Api, stranger: Browser
) -> None:
    page = await stranger.refused("/login?next=/racks", {"email": ADMIN, "password": "hunter2"}, status=401)
    assert "The e-mail address or the password is wrong." in text_of(page)
    assert f'value="{ADMIN}"' in page
    assert "hunter2" not in page
    assert 'action="/login?next=/racks"' in page


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example.com/",
        "//evil.example.com",
        "/\\evil.example.com",
        "\\\\evil.example.com",
        "javascript:alert(1)",
        "/\t/evil.example.com",
        "evil.example.com",
        "https:evil.example.com",
        "///evil.example.com",
        "/servers\r\nset-cookie: a=b",
    ],
)
async def test_nobody_is_sent_to_another_site(admin: Api, stranger: Browser, wanted: str) -> None:
    target = str(httpx.URL("/login", params={"next": wanted}))
    answer = await stranger.post(target, {"email": ADMIN, "password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    answer = await stranger.post("/preference", {"theme": "dark", "back": wanted})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_too_many_guesses_are_told_to_wait(admin: Api, stranger: Browser) -> None:
    for _ in range(5):
        await stranger.refused("/login", {"email": ADMIN, "password": "no"}, status=401)
    page = await stranger.refused("/login", {"email": ADMIN, "password": PASSWORD}, status=429)
    assert "Too many refused sign-ins" in text_of(page)


async def test_signing_out_ends_the_session_for_the_api_too(
    services: Services, operator: Browser, anonymous: Api
) -> None:
    token = operator.http.cookies["ses6"]
    assert (await anonymous.with_token(token).get("/auth/v4/whoami"))["email"] == ADMIN
    page = await operator.submit("/logout")
    assert "You are signed out." in text_of(page)
    assert (await operator.get("/", follow=False)).headers["location"] == "/login"
    await anonymous.with_token(token).refused(401, "GET", "/auth/v4/whoami")
    async with services.db.read() as session:
        assert await tokens.find(session, token) is None


async def test_an_open_page_notices_that_the_session_is_over(operator: Browser) -> None:
    await operator.submit("/logout")
    answer = await operator.get("/tasks", follow=False, hx_request="true")
    assert (answer.status_code, answer.headers["hx-refresh"]) == (401, "true")


async def test_theme_and_language_are_remembered(operator: Browser) -> None:
    page = await operator.submit("/preference", {"theme": "dark", "back": "/racks"})
    assert 'data-bs-theme="dark"' in page
    page = await operator.submit("/preference", {"language": "ru", "back": "/racks"})
    assert '<html lang="ru"' in page


async def test_the_language_of_the_browser_counts_until_one_is_chosen(operator: Browser) -> None:
    assert '<html lang="ru"' in await operator.open("/", accept_language="de;q=0.9, ru-RU;q=0.8, en;q=0.1")
    assert '<html lang="en"' in await operator.open("/", accept_language="de, fr;q=broken")
    await operator.post("/preference", {"language": "en"})
    assert '<html lang="en"' in await operator.open("/", accept_language="ru")
