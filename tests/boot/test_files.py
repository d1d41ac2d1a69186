"""Kernels, ramdisks and images: ranges, no way out of the directory, and so many at once."""

import asyncio
from pathlib import Path

import httpx
import pytest

from rackhand.boot.files import BootFiles
from rackhand.errors import NotFound
from tests.boot.conftest import Booting

CONTENT = bytes(range(256)) * 1024


@pytest.fixture
def image(booting: Booting) -> str:
    folder = booting.services.settings.data / "boot" / "ramdisk"
    folder.mkdir(parents=True)
    (folder / "vmlinuz").write_bytes(CONTENT)
    (booting.services.settings.data / "boot" / "secret.keys").symlink_to("../secret.keys")
    return "/boot/file/ramdisk/vmlinuz"


async def test_a_file_comes_as_a_whole_in_parts_and_as_a_head(booting: Booting, image: str) -> None:
    whole = await booting.http.get(image)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    part = await booting.http.get(image, headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, CONTENT[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
    rest = await booting.http.get(image, headers={"range": f"bytes={len(CONTENT) - 5}-"})
    assert (rest.status_code, rest.content) == (206, CONTENT[-5:])
    assert (await booting.http.get(image, headers={"range": "bytes=99999999-"})).status_code == 416
    head = await booting.http.head(image)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(CONTENT)), b"")


@pytest.mark.parametrize(
    "path",
    ["", "nothing", "ramdisk", "../secret.keys", "ramdisk/../../secret.keys", "..%2fsecret.keys", "%2e%2e/secret.keys",
     "ramdisk//vmlinuz", "secret.keys", "/etc/passwd", ".hidden", "a/b/c/d/e"],
)  # fmt: skip
async def test_there_is_no_way_out_of_the_directory(booting: Booting, image: str, path: str) -> None:
    answer = await booting.http.get(f"/boot/file/{path}")
    assert answer.status_code == 404, (path, answer.text)


async def test_so_many_are_served_at_once_and_others_wait_their_turn(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(CONTENT)
    files = BootFiles(tmp_path, transfers=2)
    sending, most, go_on = 0, 0, asyncio.Event()

    async def app(scope: object, receive: object, send: object) -> None:
        await files.respond("image")(scope, receive, send)  # type: ignore[arg-type]  # as ASGI gives them

    async def slow_app(scope: object, receive: object, send: object) -> None:
        async def slow_send(message: object) -> None:
            nonlocal sending, most
            if message["type"] == "http.response.start":  # type: ignore[index]
                sending += 1
                most = max(most, sending)
                await go_on.wait()
            await send(message)  # type: ignore[operator]

        await app(scope, receive, slow_send)
        nonlocal sending
        sending -= 1

    transport = httpx.ASGITransport(slow_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://boot.example.com") as http:
        asked = [asyncio.create_task(http.get("/image")) for _ in range(6)]
        async with asyncio.timeout(10):
            while sending < 2:  # noqa: ASYNC110  # what is waited for is a count
                await asyncio.sleep(0.01)
        go_on.set()
        answers = await asyncio.gather(*asked)
    assert [answer.content for answer in answers] == [CONTENT] * 6
    assert most == 2


def test_names_are_plain(tmp_path: Path) -> None:
    files = BootFiles(tmp_path, transfers=1)
    with pytest.raises(NotFound):
        files.find("a b")
