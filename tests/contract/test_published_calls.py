"""Every published call of this part of the API, with paths, headers and bodies as printed in the documentation."""

from typing import Any

import httpx
import pytest

from rackhand.app import Services
from tests.conftest import Api, server_body


@pytest.fixture
async def call(admin: Api) -> Any:
    """Call as the documentation prints it: three headers, the body as curl sends it with -d."""

    async def send(method: str, path: str, data: str | None = None) -> httpx.Response:
        headers = {
            "Cookie": f"ses6={admin.token}",
            "x-xsrf-token": str(admin.token),
            "isp-box-instance": "true",
        }
        if data is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        response = await admin.http.request(method, f"/api/dci/v3/{path}", content=data, headers=headers)
        assert response.headers["content-type"] == "application/json"
        return response

    return send


async def test_stock_of_free_servers(call: Any, admin: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1, configuration="i9-9900K-64Gb-2x1024NVMe"))
    answer = (await call("GET", "server/configuration")).json()
    assert answer["list"] == [{"configuration": "i9-9900K-64Gb-2x1024NVMe", "free_server_count": 1}]


async def test_list_of_servers_and_one_server_give_the_same_full_object(call: Any, admin: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    listed = (await call("GET", "server")).json()
    assert listed["size"] == 1
    one = (await call("GET", "server/1")).json()
    assert one == listed["list"][0]
    types = {
        "id": int, "name": str, "domain": str, "configuration": str, "state": str, "state_info": str,
        "operation": dict, "os_template": type(None), "hardware_info": dict, "perform_info": dict, "settings": dict,
        "ip": list, "switch_connection": list, "pdu_connection": type(None), "power_status": str,
        "owner": type(None), "owner_email": type(None), "is_new": bool, "location_id": int, "barcode": str,
        "rack": dict, "unit": type(None), "maintenance": bool, "is_protected": bool, "notes": str, "type": str,
        "bmc_connection": type(None),
    }  # fmt: skip
    assert {name: type(one[name]) for name in types} == types
    assert one["operation"] == {"id": 0, "name": None, "status": "ok", "status_info": {}, "progress_info": []}
    assert one["settings"] == {"efi": True}


async def test_list_of_users(call: Any) -> None:
    answer = (await call("GET", "user")).json()
    published = {
        key: answer["list"][0][key] for key in ("id", "email", "server_count", "roles", "vlans_per_user")
    }
    assert published == {
        "id": 1, "email": "operator@example.com", "server_count": 0, "roles": "[@admin]", "vlans_per_user": 5,
    }  # fmt: skip


async def test_adding_a_user_with_the_printed_body(call: Any) -> None:
    body = '{"email":"admin@example.com","full_name":"name","password":"pass","phone_number":"phone","role":"level"}'
    answer = await call("POST", "user", body)
    assert (answer.status_code, answer.json()) == (200, {"id": 2})


async def test_owner_is_given_and_taken(call: Any, admin: Api) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    assert (await call("POST", "server/1/owner", '{"owner":1}')).json() == {"id": 1}
    assert (await admin.get("/dci/v3/server/1"))["owner_email"] == "operator@example.com"
    assert (await call("DELETE", "server/1/owner")).json() == {"id": 1}
    assert (await admin.get("/dci/v3/server/1"))["owner"] is None


@pytest.mark.parametrize("name", ["power_on", "power_off", "power_reset"])
async def test_power_calls_answer_id_and_task_and_the_task_exists_at_once(
    name: str, call: Any, admin: Api, services: Services
) -> None:
    bmc = {"driver": "ipmi", "host": "127.0.0.1", "port": 9, "user": "a", "password": "b"}
    await admin.post("/dci/v3/server", server_body(1, bmc=bmc))
    if name == "power_off":
        async with services.db.write() as session:
            from sqlalchemy import update

            from rackhand.servers.model import Server

            await session.execute(update(Server).values(power_state="on"))
    answer = await call("POST", f"server/1/{name}", "{}")
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "task": 1})
    found = await admin.get("/vm/v3/task?where=consul_id EQ 1")
    assert [(row["id"], row["consul_id"], row["name"]) for row in found["list"]] == [(1, 1, name)]
    await admin.post("/dci/v3/task/1/abort")
    assert (await admin.finished(1))["status"] in {"canceled", "fail"}
