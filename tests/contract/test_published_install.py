"""The published call that installs a system, with path, headers and body as printed in the documentation."""

import json
from typing import Any

import httpx
import pytest

from tests.conftest import Api, server_body
from tests.deploy.systems import KEY, PASSWORD, add_template

BMC = {"driver": "ipmi", "host": "127.0.0.1", "port": 9, "user": "a", "password": "b"}


@pytest.fixture
async def call(admin: Api) -> Any:
    """Call as the documentation prints it: three headers, the body as curl sends it with -d."""
    disks = [{"kind": "SSD", "size_gb": 480, "serial": f"S{number}"} for number in range(2)]
    await admin.post("/dci/v3/server", server_body(1, bmc=BMC, disks=disks))
    await add_template(admin)

    async def send(**values: object) -> httpx.Response:
        headers = {
            "Cookie": f"ses6={admin.token}",
            "x-xsrf-token": str(admin.token),
            "isp-box-instance": "true",
            "content-type": "application/x-www-form-urlencoded",
        }
        printed = {"hdd_raid": "raid1", "os_template_id": 1, "password": PASSWORD, "ssh_pub_keys": [KEY]}
        body = json.dumps({**printed, **values})
        path = "/api/dci/v3/server/1/operation_os"
        response = await admin.http.request("POST", path, content=body, headers=headers)
        assert response.headers["content-type"] == "application/json"
        return response

    return send


async def test_os_installation(call: Any, admin: Api) -> None:
    answer = await call()
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "task": 1})
    found = await admin.get("/vm/v3/task?where=consul_id EQ 1")
    assert [(row["id"], row["name"]) for row in found["list"]] == [(1, "operation_os")]
    operation = (await admin.get("/dci/v3/server/1"))["operation"]
    assert (operation["id"], operation["name"]) == (1, "operation_os")
    await admin.post("/dci/v3/task/1/abort")
    assert (await admin.finished(1))["status"] in {"canceled", "fail"}


async def test_the_words_for_raid(call: Any, admin: Api) -> None:
    """Published is a placeholder; levels are taken by their names and by their numbers."""
    for task, word in enumerate(("none", "", "RAID1", "1", 1, "raid0", 0), 1):
        answer = await call(hdd_raid=word)
        assert (answer.status_code, answer.json()) == (200, {"id": 1, "task": task}), word
        await admin.post(f"/dci/v3/task/{task}/abort")
        await admin.finished(task)
    for word in ("raid", "raid3", None, True, ["1"]):
        answer = await call(hdd_raid=word)
        assert answer.status_code == 400, word
        assert "hdd_raid" in answer.json()["error"]["msg"]
