"""Images over the API: uploaded, checked, converted, resumed, signed, deleted."""

import asyncio
import base64
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rackhand.app import Services
from rackhand.deploy import images
from rackhand.events.service import SYSTEM
from rackhand.sim.images import disk_image, tar_image
from tests.conftest import Api
from tests.deploy.systems import SYSTEM as NAME
from tests.deploy.systems import add_image, add_template

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


def run(*arguments: str | Path) -> None:
    """Run qemu-img."""
    subprocess.run(["/usr/bin/qemu-img", *arguments], check=True, capture_output=True)


def served(services: Services) -> list[Path]:
    folder = images.served_folder(services.settings)
    return sorted(folder.iterdir()) if folder.exists() else []


async def test_an_uploaded_image_is_looked_through_and_served(admin: Api, services: Services) -> None:
    content = tar_image(NAME)
    digest = hashlib.sha256(content).hexdigest()
    image = await add_image(admin, content=content, sha256=digest.upper())
    shown = await admin.get(f"/dci/v3/os_image/{image}")
    assert {key: shown[key] for key in ("name", "state", "format", "system", "size", "sha256")} == {
        "name": "example-12",
        "state": "ready",
        "format": "tar.zst",
        "system": NAME,
        "size": len(content),
        "sha256": digest,
    }
    assert shown["unpacked_size"] > 0
    assert [path.read_bytes() for path in served(services)] == [content]
    assert list((services.settings.data / "incoming").iterdir()) == []
    listed = await admin.get("/dci/v3/os_image?where=state EQ 'ready'")
    assert [row["id"] for row in listed["list"]] == [image]


async def test_an_upload_that_broke_off_goes_on(admin: Api, services: Services) -> None:
    content = tar_image(NAME)
    image = (await admin.post("/dci/v3/os_image", {"name": "x"}))["id"]

    async def half() -> Any:
        yield content[:100]
        raise ConnectionResetError

    headers = {"x-xsrf-token": admin.token or ""}
    broken = await admin.http.request(
        "POST", f"/dci/v3/upload/os_image/{image}", content=half(), headers=headers
    )
    assert broken.status_code == 503
    shown = await admin.get(f"/dci/v3/os_image/{image}")
    assert (shown["state"], shown["received"]) == ("receiving", 100)
    error = await admin.refused(409, "POST", f"/dci/v3/upload/os_image/{image}?offset=150", content[150:])
    assert error["value"] == {"received": 100}
    await admin.post(f"/dci/v3/upload/os_image/{image}?offset=100", content[100:])
    assert (await admin.get(f"/dci/v3/os_image/{image}"))["state"] == "ready"
    assert [path.read_bytes() for path in served(services)] == [content]
    await admin.refused(409, "POST", f"/dci/v3/upload/os_image/{image}", content)


@pytest.mark.parametrize(
    ("content", "body", "words"),
    [
        (tar_image(NAME), {"sha256": "0" * 64}, "announced was 0000"),
        (b"no zstd at all", {}, "cannot be read as tar.zst"),
        (tar_image(NAME)[:200], {}, "cannot be read as tar.zst"),
        (tar_image(NAME, without="boot/"), {}, "no kernel"),
        (b"\0" * 1024, {"format": "raw"}, "no boot sector"),
        (b"\0" * 1024, {"format": "qcow2"}, "qemu-img"),
    ],
    ids=["checksum", "not zstd", "cut short", "no kernel", "no disk", "not qcow2"],
)
async def test_a_file_that_is_no_image_is_refused_and_not_served(
    admin: Api, services: Services, content: bytes, body: dict[str, str], words: str
) -> None:
    image = (await admin.post("/dci/v3/os_image", {"name": "x", **body}))["id"]
    error = await admin.refused(400, "POST", f"/dci/v3/upload/os_image/{image}", content)
    assert words in error["msg"]
    shown = await admin.get(f"/dci/v3/os_image/{image}")
    assert (shown["state"], shown["received"]) == ("broken", 0)
    assert words in shown["problem"]
    assert served(services) == []
    await admin.post("/dci/v3/os_template", {"name": "t", "image_id": image})
    assert (await admin.get("/dci/v3/os_template/1"))["state"] == "image_broken"


async def test_a_broken_image_can_be_uploaded_anew(admin: Api) -> None:
    image = (await admin.post("/dci/v3/os_image", {"name": "x"}))["id"]
    await admin.refused(400, "POST", f"/dci/v3/upload/os_image/{image}", b"nothing")
    await admin.post(f"/dci/v3/upload/os_image/{image}", tar_image(NAME))
    shown = await admin.get(f"/dci/v3/os_image/{image}")
    assert shown["state"] == "ready"
    assert "problem" not in shown


async def test_a_raw_disk_is_kept_compressed(admin: Api, services: Services) -> None:
    content = disk_image(NAME)
    image = await add_image(admin, content=content, format="raw")
    shown = await admin.get(f"/dci/v3/os_image/{image}")
    assert (shown["format"], shown["unpacked_size"]) == ("raw.zst", len(content))
    assert [zstd.decompress(path.read_bytes()) for path in served(services)] == [content]


@needs_qemu
async def test_a_qcow2_is_converted(admin: Api, services: Services, tmp_path: Path) -> None:
    raw, qcow2 = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(disk_image(NAME))
    await asyncio.to_thread(run, "convert", "-O", "qcow2", raw, qcow2)
    image = await add_image(admin, content=qcow2.read_bytes(), format="qcow2")
    assert (await admin.get(f"/dci/v3/os_image/{image}"))["format"] == "raw.zst"
    assert [zstd.decompress(path.read_bytes()) for path in served(services)] == [raw.read_bytes()]


@needs_qemu
async def test_a_qcow2_that_reads_another_file_is_refused(admin: Api, tmp_path: Path) -> None:
    """It would otherwise carry files of the manager away."""
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"secret" * 1000)
    qcow2 = tmp_path / "disk.qcow2"
    await asyncio.to_thread(run, "create", "-f", "qcow2", "-b", secret, "-F", "raw", qcow2)
    image = (await admin.post("/dci/v3/os_image", {"name": "x", "format": "qcow2"}))["id"]
    error = await admin.refused(400, "POST", f"/dci/v3/upload/os_image/{image}", qcow2.read_bytes())
    assert "builds on another file" in error["msg"]


async def test_an_image_in_use_is_not_deleted(admin: Api, services: Services) -> None:
    image = await add_image(admin)
    template = await add_template(admin, image=image)
    error = await admin.refused(409, "DELETE", f"/dci/v3/os_image/{image}")
    assert "Example 12" in error["msg"]
    assert len(served(services)) == 1
    await admin.delete(f"/dci/v3/os_template/{template}")
    assert await admin.delete(f"/dci/v3/os_image/{image}") == {"id": image}
    assert served(services) == []
    await admin.refused(404, "GET", f"/dci/v3/os_image/{image}")


async def test_names_are_unique_and_can_be_changed(admin: Api) -> None:
    first = await add_image(admin)
    second = (await admin.post("/dci/v3/os_image", {"name": "y"}))["id"]
    await admin.refused(409, "POST", f"/dci/v3/os_image/{second}", {"name": "example-12"})
    await admin.post(f"/dci/v3/os_image/{first}", {"name": "z", "notes": "old"})
    shown = await admin.get(f"/dci/v3/os_image/{first}")
    assert (shown["name"], shown["notes"]) == ("z", "old")


async def test_images_are_the_operators(admin: Api, customer: Api) -> None:
    image = await add_image(admin)
    for method, path in (
        ("GET", "os_image"),
        ("GET", f"os_image/{image}"),
        ("POST", "os_image"),
        ("DELETE", f"os_image/{image}"),
        ("POST", f"upload/os_image/{image}"),
    ):
        await customer.refused(403, method, f"/dci/v3/{path}", None if method != "POST" else {"name": "x"})


async def test_a_file_of_this_machine_is_taken(services: Services, tmp_path: Path) -> None:
    """As `rackhand image import` does."""
    path = tmp_path / "image.tar.zst"
    path.write_bytes(tar_image(NAME))
    async with services.db.write() as session:
        image = await images.add_image(
            session,
            services.settings,
            name="x",
            source_format="tar.zst",
            sha256="",
            minisig="",
            notes="",
            actor=SYSTEM,
        )
        image_id = image.id
    checked = await images.take_file(services.db, services.settings, image_id, path, actor=SYSTEM)
    assert checked.system == NAME
    assert path.exists()


# --- signatures


class Signer:
    """A key pair of minisign, and what `minisign -S` writes with it."""

    def __init__(self, key_id: bytes = b"ABCDEFGH") -> None:
        self._key = Ed25519PrivateKey.generate()
        self._id = key_id
        public = self._key.public_key().public_bytes_raw()
        self.public = base64.b64encode(b"Ed" + key_id + public).decode()

    def sign(self, content: bytes, comment: str = "timestamp:1") -> str:
        signature = self._key.sign(hashlib.blake2b(content).digest())
        both = self._key.sign(signature + comment.encode())
        lines = [
            "untrusted comment: signature",
            base64.b64encode(b"ED" + self._id + signature).decode(),
            f"trusted comment: {comment}",
            base64.b64encode(both).decode(),
        ]
        return "\n".join(lines) + "\n"


async def test_images_must_be_signed_where_keys_are_named(admin: Api, services: Services) -> None:
    signer, other, content = Signer(), Signer(b"HGFEDCBA"), tar_image(NAME)
    services.settings.image_keys.append(signer.public)
    error = await admin.refused(400, "POST", "/dci/v3/os_image", {"name": "unsigned"})
    assert "minisig" in error["msg"]
    image = await add_image(admin, name="signed", content=content, minisig=signer.sign(content))
    assert (await admin.get(f"/dci/v3/os_image/{image}"))["signed_by"] == "4847464544434241"
    for name, minisig, words in (
        ("foreign", other.sign(content), "not trusted"),
        ("wrong", signer.sign(b"something else"), "does not fit"),
        (
            "comment",
            signer.sign(content).replace("timestamp:1", "timestamp:2"),
            "does not fit",
        ),
    ):
        wrong = (await admin.post("/dci/v3/os_image", {"name": name, "minisig": minisig}))["id"]
        error = await admin.refused(400, "POST", f"/dci/v3/upload/os_image/{wrong}", content)
        assert words in error["msg"]
    assert len(served(services)) == 1


@pytest.mark.parametrize("minisig", ["x", "a\nb\nc\nd", "u\nRWQ=\ntrusted comment: x\nAAAA\n"])
async def test_a_signature_that_is_none_is_refused_at_once(admin: Api, minisig: str) -> None:
    error = await admin.refused(400, "POST", "/dci/v3/os_image", {"name": "x", "minisig": minisig})
    assert "minisig" in error["msg"]
