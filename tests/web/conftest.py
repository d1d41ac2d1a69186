"""A browser without a window: it keeps cookies, follows redirects, and says where its forms come from."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from rackhand.app import Services, create_app
from tests.conftest import ADMIN, PASSWORD, Api

HOST = "rackhand.example.com"
CUSTOMER = "customer@example.com"


@dataclass
class Browser:
    """A person at the console."""

    http: httpx.AsyncClient

    async def open(self, path: str, *, status: int = 200, **headers: str) -> str:
        """The page at *path*, where redirects lead."""
        response = await self.http.get(path, headers=_sent(headers), follow_redirects=True)
        assert response.status_code == status, (path, response.status_code, text_of(response.text)[:2000])
        return response.text

    async def get(self, path: str, *, follow: bool = True, **headers: str) -> httpx.Response:
        """The answer itself."""
        return await self.http.get(path, headers=_sent(headers), follow_redirects=follow)

    async def post(
        self, path: str, fields: Mapping[str, Any] | None = None, **headers: str
    ) -> httpx.Response:
        """Send a form of a page of ours, without following where that leads."""
        sent = {"sec-fetch-site": "same-origin", **_sent(headers)}
        return await self.http.post(path, data=dict(fields or {}), headers=sent, follow_redirects=False)

    async def submit(self, path: str, fields: Mapping[str, Any] | None = None) -> str:
        """Send a form that is accepted; the page that follows."""
        response = await self.post(path, fields)
        assert response.status_code == 303, (path, response.status_code, text_of(response.text)[:2000])
        return await self.open(response.headers["location"])

    async def refused(self, path: str, fields: Mapping[str, Any] | None = None, *, status: int = 400) -> str:
        """Send a form that is refused; the page that says why."""
        response = await self.post(path, fields)
        assert response.status_code == status, (path, response.status_code, text_of(response.text)[:2000])
        return response.text

    async def sign_in(self, email: str, password: str = PASSWORD) -> "Browser":
        """The same browser, signed in."""
        response = await self.post("/login", {"email": email, "password": password})
        assert response.status_code == 303, response.text
        return self


def _sent(headers: Mapping[str, str]) -> dict[str, str]:
    return {"accept": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}


def text_of(html: str) -> str:
    """What a person reads of a page, on one line."""
    parts: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            parts.append(data)

    Reader().feed(re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL))
    return " ".join(" ".join(parts).split())


def open_browser(services: Services) -> httpx.AsyncClient:
    """A fresh one."""
    transport = httpx.ASGITransport(create_app(services), client=("192.0.2.20", 40000))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}")


@pytest.fixture
async def stranger(services: Services) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    async with open_browser(services) as http:
        yield Browser(http)


@pytest.fixture
async def operator(services: Services, admin: Api) -> AsyncIterator[Browser]:
    """An administrator's browser."""
    async with open_browser(services) as http:
        yield await Browser(http).sign_in(ADMIN)


@pytest.fixture
async def renter(services: Services, customer: Api) -> AsyncIterator[Browser]:
    """A customer's browser."""
    async with open_browser(services) as http:
        yield await Browser(http).sign_in(CUSTOMER)
