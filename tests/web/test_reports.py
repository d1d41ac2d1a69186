"""Graphs and certificates on the pages of a server: what there is, and who sees how much of it."""

import json
import re
import time
from datetime import UTC, datetime
from html import unescape

from sqlalchemy import update

from rackhand.app import Services
from rackhand.db import utcnow
from rackhand.deploy.model import Erasure, SigningKey
from rackhand.events.model import Event
from rackhand.power import samples
from rackhand.power.energy import Sample
from rackhand.power.model import OutletConnection
from tests.conftest import Api
from tests.web.conftest import Browser, text_of
from tests.web.inventory import fill

FIVE_MINUTES = 300


async def measure(services: Services, *, readings: int) -> None:
    """Have the outlet of the first server measure 90 W until now; it was plugged in long before."""
    now = int(time.time())
    async with services.db.write() as session:
        await session.execute(update(OutletConnection).values(created_at=datetime(2026, 1, 1, tzinfo=UTC)))
        before = None
        for number in range(readings):
            at = now - (readings - 1 - number) * FIVE_MINUTES
            sample = Sample(at, 1000 + 8 * number, 90)
            await samples.save_readings(session, [samples.Reading(1, 1, 0, before, sample)])
            before = sample


def points_of(page: str) -> list[list[object]]:
    """The last graph of a page."""
    found = re.findall(r'data-series="([^"]*)"', page)
    points: list[list[object]] = json.loads(unescape(found[-1])) if found else []
    return points


async def test_energy_stands_beside_traffic(services: Services, admin: Api, operator: Browser) -> None:
    await fill(services, admin)
    await measure(services, readings=13)
    page = await operator.open("/servers/1/traffic?period=day")
    assert {point[1] for point in points_of(page)} == {90}
    text = text_of(page)
    assert "Energy 0.1 kWh On average 90 W At most 90 W Outlets 1" in text
    assert "No samples in this time" in text  # of traffic
    assert 'href="/api/dci/v3/server/1/energy/samples?format=csv&amp;period=day"' in page
    assert "Energy" not in text_of(await operator.open("/servers/2/traffic?period=day"))
    small = await operator.open("/servers/1/graphs")
    assert "Power draw of a day" in small
    assert "Traffic of a day" not in small
    assert 'hx-get="/servers/1/graphs"' in await operator.open("/servers/1")


async def test_customers_see_no_energy_of_who_had_the_server_before(
    services: Services, admin: Api, customer: Api, renter: Browser
) -> None:
    await fill(services, admin)
    await measure(services, readings=13)
    await admin.post("/dci/v3/server/1/owner", {"owner": 2})
    given = datetime.fromtimestamp(time.time() - 4 * FIVE_MINUTES, UTC)
    async with services.db.write() as session:
        await session.execute(update(Event).where(Event.kind == "server.owner_given").values(at=given))
    assert len(points_of(await renter.open("/servers/1/traffic?period=day"))) in {4, 5}
    answer = await customer.get("/dci/v3/server/1/energy?period=day")
    exported = await customer.get("/dci/v3/server/1/energy/samples?period=day")
    assert answer["energy_wh"] < 13 * 8 - 8
    assert len(exported["list"]) in {4, 5}
    assert (await admin.get("/dci/v3/server/1/energy?period=day"))["energy_wh"] == 12 * 8
    await renter.open("/servers/2/graphs", status=404)
    await renter.open("/servers/2/traffic", status=404)


async def test_wipes_stand_on_the_page_with_their_certificates(
    services: Services, admin: Api, operator: Browser, renter: Browser
) -> None:
    await fill(services, admin)
    await admin.post("/dci/v3/server/1/owner", {"owner": 2})
    assert "Wipes of its disks" not in await operator.open("/servers/1")
    async with services.db.write() as session:
        disks = [{"name": "nvme0n1", "serial": "<b>SN-7"}]
        session.add(SigningKey(id="k", public_key="cHVibGlj", sealed_private_key="", created_at=utcnow()))
        for number, (level, is_proven, signature) in enumerate(
            [("full", True, "c2ln"), ("fast", True, None), ("full", False, None)], 1
        ):
            session.add(
                Erasure(server_id=1, task_id=number, level=level, is_proven=is_proven, document={"disks": disks},
                        key_id="k" if signature else None, signature=signature, created_at=utcnow())
            )  # fmt: skip
    page = await operator.open("/servers/1")
    text = text_of(page)
    assert "not proven full wipe" in text
    assert "done ends only" in text
    assert "proven full wipe" in text
    assert "nvme0n1 <b>SN-7" in text
    assert re.findall(r'href="(/api/dci/v3/server/1/erasure/[^"]*)"', page) == [
        "/api/dci/v3/server/1/erasure/1",
        "/api/dci/v3/server/1/erasure/1/pdf",
    ]
    assert (await operator.get("/api/dci/v3/server/1/erasure/1")).json()["signature"]["value"] == "c2ln"
    assert "Wipes of its disks" not in await renter.open("/servers/1")


async def test_the_filtered_table_comes_as_csv(
    services: Services, admin: Api, operator: Browser, customer: Api, renter: Browser
) -> None:
    await fill(services, admin)
    await admin.post("/dci/v3/server/1/owner", {"owner": 2})
    await admin.post("/dci/v3/server/1/ip", {})
    await admin.post("/dci/v3/server/2", {"notes": "=1+1"})
    assert 'href="/servers.csv?status=allocated"' in await operator.open("/servers?status=allocated&page=1")
    answer = await operator.get("/servers.csv?status=allocated&sort=-name")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    head, *lines = answer.text.removeprefix("\ufeff").splitlines()
    assert head == (
        "id,name,domain,configuration,model,serial,power,addresses,state,customer,location,rack,unit,notes"
    )
    assert [line.split(",")[1] for line in lines] == ["srv-1"]
    assert "198.51.100.10,allocated,customer@example.com" in lines[0]
    assert "'=1+1" in (await operator.get("/servers.csv?q=srv-2")).text
    own = (await renter.get("/servers.csv")).text.splitlines()
    assert own[0].endswith("power,addresses")
    assert len(own) == 2
    assert (await operator.get("/servers.csv?where=nonsense+EQ+1")).status_code == 400
