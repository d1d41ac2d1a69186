"""Taking servers back; the judge is what stands on their disks and which VLAN their ports are in."""

import pytest

from rackhand.power.poller import Poller
from rackhand.tasks.operation import Tools
from tests.conftest import PASSWORD
from tests.deploy.conftest import Deploying
from tests.deploy.test_wipe import media, remembers

SSD = 1


async def _rented(deploying: Deploying, number: int) -> int:
    """Give a server to a customer who runs it; gives the customer's id."""
    api = deploying.api
    user = await api.post(
        "/dci/v3/user", {"email": "tenant@example.com", "password": PASSWORD, "role": "@user"}
    )
    await api.post(f"/dci/v3/server/{number}/owner", {"owner": user["id"]})
    task = await deploying.finish(number, "power_on")
    assert task["status"] == "complete"
    return int(user["id"])


async def _vlans(deploying: Deploying, number: int) -> set[tuple[str, int]]:
    ports = (await deploying.server(number))["switch_connection"]
    return {(port["admin_status"], port["vlan"]) for port in ports if not port["is_ipmi_connection"]}


async def test_a_used_server_is_wiped_before_anybody_else_gets_it(deploying: Deploying) -> None:
    api = deploying.api
    tenant = await _rented(deploying, SSD)
    vlan = await api.post("/dci/v3/vlan", {"vid": 31, "purpose": "parking"})
    answer = await api.delete(f"/dci/v3/server/{SSD}/owner")
    assert answer["id"] == SSD
    row = await deploying.server(SSD)
    assert (row["owner"], row["operation"]["name"]) == (None, "release")
    stock = await api.get(f"/dci/v3/server?where=is_available EQ true AND id EQ {SSD}")
    assert stock["size"] == 0
    error = await api.refused(409, "POST", f"/dci/v3/server/{SSD}/owner", {"owner": tenant})
    assert error["value"]["task"] == answer["task"]
    # The switch knows no VLAN 31: the last step must not fail silently.
    task = await api.finished(answer["task"], timeout=90)
    assert task["status"] == "fail"
    assert "31" in task["error"]["msg"]
    assert not any(remembers(medium) for medium in media(deploying, SSD))

    await api.delete(f"/dci/v3/vlan/{vlan['id']}")
    assert (await deploying.server(SSD))["quarantine_reason"] is None  # wiped it is


async def test_a_released_server_is_in_stock_again_off_and_out_of_the_customers_vlan(
    deploying: Deploying,
) -> None:
    api = deploying.api
    tenant = await _rented(deploying, SSD)
    customers = (await api.get("/dci/v3/vlan?where=vid EQ 20"))["list"][0]
    await api.post(f"/dci/v3/vlan/{customers['id']}", {"purpose": "customer", "owner": tenant})
    assert (await deploying.finish(SSD, "port", {"vlan": 20}))["status"] == "complete"
    await api.post("/ip/v3/ipnet", {"name": "198.51.100.0/24"})
    given = await api.post(f"/dci/v3/server/{SSD}/ip", {"ip_name": "198.51.100.7", "domain": "a.example.com"})
    assert (await api.finished(given["task"]))["status"] == "complete"
    assert (await deploying.finish(SSD, "suspend"))["status"] == "complete"
    answer = await api.delete(f"/dci/v3/server/{SSD}/owner")
    task = await api.finished(answer["task"], timeout=90)
    assert task["status"] == "complete", task
    assert not any(remembers(medium) for medium in media(deploying, SSD))
    assert 20 not in {vlan for _, vlan in await _vlans(deploying, SSD)}
    assert {status for status, _ in await _vlans(deploying, SSD)} == {"up"}
    row = await deploying.server(SSD)
    assert (row["status"], row["state"], row["power_status"]) == ("free", "active", "off")
    assert row["ip"] == []
    (address,) = (await api.get("/dci/v3/ip?where=name EQ '198.51.100.7'"))["list"]
    assert address["server"] is None or address["server"] == ""
    await api.refused(409, "POST", f"/dci/v3/server/{SSD}/ip", {"ip_name": "198.51.100.7"})
    assert (await api.get(f"/dci/v3/server?where=is_available EQ true AND id EQ {SSD}"))["size"] == 1
    (erasure,) = (await api.get(f"/dci/v3/server/{SSD}/erasure"))["list"]
    assert erasure["is_proven"] is True


async def test_what_cannot_be_wiped_is_quarantined_with_the_reason(deploying: Deploying) -> None:
    api = deploying.api
    await _rented(deploying, SSD)
    deploying.rack.control.fault_on(deploying.machine(SSD).name, "disk_keeps", value=2)
    answer = await api.delete(f"/dci/v3/server/{SSD}/owner")
    assert (await api.finished(answer["task"], timeout=90))["status"] == "fail"
    row = await deploying.server(SSD)
    assert (row["owner"], row["status"]) == (None, "quarantined")
    assert "marks are still there" in row["quarantine_reason"]


async def test_a_server_that_was_never_on_is_free_at_once(deploying: Deploying) -> None:
    api = deploying.api
    user = await api.post(
        "/dci/v3/user", {"email": "tenant@example.com", "password": PASSWORD, "role": "@user"}
    )
    services = deploying.services
    tools = Tools(services.db, services.vault, services.doors, services.settings)
    await Poller(tools, holder="tests").sweep()
    row = await deploying.server(SSD)
    assert row["power_status"] == "off"
    for _ in range(2):
        await api.post(f"/dci/v3/server/{SSD}/owner", {"owner": user["id"]})
        assert await api.delete(f"/dci/v3/server/{SSD}/owner") == {"id": SSD}
    assert (await deploying.server(SSD))["status"] == "free"


@pytest.mark.parametrize("policy", ["none", "fast"])
async def test_the_location_says_how_servers_are_cleared(deploying: Deploying, policy: str) -> None:
    api = deploying.api
    await api.post("/dci/v3/location/1", {"clear_on_release": policy})
    assert (await api.get("/dci/v3/location/1"))["clear_on_release"] == policy
    await api.refused(400, "POST", "/dci/v3/location/1", {"clear_on_release": "burn"})
    await _rented(deploying, SSD)
    answer = await api.delete(f"/dci/v3/server/{SSD}/owner")
    if policy == "none":
        assert answer == {"id": SSD}
    else:
        task = await api.finished(answer["task"], timeout=90)
        assert task["status"] == "complete", task
    assert (await deploying.server(SSD))["owner"] is None
