"""The published calls of operations on servers, with paths, headers and bodies as printed in the documentation."""

from typing import Any

import httpx
import pytest

from tests.conftest import Api, server_body

BMC = {"driver": "ipmi", "host": "127.0.0.1", "port": 9, "user": "a", "password": "b"}


@pytest.fixture
async def call(admin: Api) -> Any:
    """Call as the documentation prints it: three headers, the body as curl sends it with -d."""

    async def send(path: str, data: str) -> httpx.Response:
        headers = {
            "Cookie": f"ses6={admin.token}",
            "x-xsrf-token": str(admin.token),
            "isp-box-instance": "true",
            "content-type": "application/x-www-form-urlencoded",
        }
        response = await admin.http.request("POST", f"/api/dci/v3/{path}", content=data, headers=headers)
        assert response.headers["content-type"] == "application/json"
        return response

    await admin.post("/dci/v3/server", server_body(1, bmc=BMC))
    return send


async def test_server_diagnostics(call: Any, admin: Api) -> None:
    body = '{"setup_ipmi":false,"ipmi_pool":0,"os_template_id":0,"clear_hdd":"none"}'
    answer = await call("server/1/operation_diag", body)
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "task": 1})
    found = await admin.get("/vm/v3/task?where=consul_id EQ 1")
    assert [(row["id"], row["name"]) for row in found["list"]] == [(1, "operation_diag")]
    operation = (await admin.get("/dci/v3/server/1"))["operation"]
    assert (operation["id"], operation["name"]) == (1, "operation_diag")
    assert operation["status"] in {"new", "running"}
    await admin.post("/dci/v3/task/1/abort")
    assert (await admin.finished(1))["status"] in {"canceled", "fail"}


async def test_server_disks_clearing_as_printed_clears_nothing_and_is_done(call: Any, admin: Api) -> None:
    answer = await call("server/1/operation_clear_hdd", '{"clear_hdd":"none"}')
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "task": 1})
    assert (await admin.finished(1))["status"] == "complete"
    assert (await admin.get("/dci/v3/server/1"))["operation"]["status"] == "ok"


@pytest.mark.parametrize("word", ["fast", "full", "FULL"])
async def test_the_words_for_clearing(call: Any, admin: Api, word: str) -> None:
    answer = await call("server/1/operation_clear_hdd", f'{{"clear_hdd":"{word}"}}')
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "task": 1})
    await admin.post("/dci/v3/task/1/abort")
    assert (await admin.finished(1))["status"] in {"canceled", "fail"}


async def test_other_words_for_clearing_are_refused(call: Any, admin: Api) -> None:
    for body in ('{"clear_hdd":"some"}', "{}", '{"clear_hdd":1}'):
        answer = await call("server/1/operation_clear_hdd", body)
        assert answer.status_code == 400, body
        assert "clear_hdd" in answer.json()["error"]["msg"]
    assert (await admin.get("/dci/v3/task"))["size"] == 0
