"""The certificate as a page: what is attached to it is the signed document itself."""

import json
import re
import zlib
from typing import Any

import pytest

from rackhand.deploy import certificates
from rackhand.deploy.certificate_pdf import pdf_of
from tests.deploy.conftest import Deploying


def streams_of(pdf: bytes) -> list[bytes]:
    """What stands in the streams of a PDF, unpacked."""
    found = []
    for packed in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        try:
            found.append(zlib.decompress(packed))
        except zlib.error:
            found.append(packed)
    return found


def certificate_of(pdf: bytes) -> bytes:
    (attached,) = [each for each in streams_of(pdf) if each.startswith(b"{")]
    return attached


async def test_the_page_carries_what_was_signed(deploying: Deploying) -> None:
    task = await deploying.finish(1, "operation_clear_hdd", {"clear_hdd": "full"})
    (row,) = (await deploying.api.get("/dci/v3/server/1/erasure"))["list"]
    path = f"/dci/v3/server/1/erasure/{row['id']}"
    answer = await deploying.api.call("GET", f"{path}/pdf")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    attached = certificate_of(answer.content)
    assert json.loads(attached) == await deploying.api.get(path)
    assert certificates.verify(attached)["task"] == task["id"]
    printed = b"".join(streams_of(answer.content))
    for disk in row["disks"]:
        assert disk["serial"].encode() in printed
    assert (await deploying.api.call("GET", f"{path}/pdf")).content == answer.content
    await deploying.api.refused(404, "GET", f"/dci/v3/server/2/erasure/{row['id']}/pdf")


@pytest.mark.parametrize("name", ["сервер", "node-001", "x" * 255, "naïve\u2028"])
def test_any_name_can_be_printed(name: str) -> None:
    disk: dict[str, Any] = {
        "name": "sda", "serial": "", "model": "", "size_bytes": 0, "method": None, "category": None, "samples": 0,
    }  # fmt: skip
    document = {
        "product": "rackhand", "server": {"name": name, "model": name, "serial": name}, "task": 1, "requested_by": None,
        "started_at": "2026-01-01 00:00:00", "finished_at": "2026-01-01 00:00:00", "disks": [disk] * 60,
    }  # fmt: skip
    signature = {"algorithm": "Ed25519", "key": "0", "public_key": "k", "value": "v"}
    pdf = pdf_of({"document": document, "signature": signature})
    assert json.loads(certificate_of(pdf))["document"]["server"]["name"] == name
