import asyncio, time
import pytest
from tests.conftest import *
from tests.ipam.conftest import anonymous
from tests.ipam.test_api import statements
from rackhand.ipam import service
from rackhand.servers.model import Server
from rackhand.db import utcnow
from rackhand.users.model import User
from rackhand.events.service import SYSTEM
from rackhand.servers import queries as sq

@pytest.mark.timeout(500)
async def test_bench(admin, services):
    await admin.post("/ip/v3/ipnet", {"name": "10.1.0.0/16", "gateway": "10.1.0.1"})
    n=512
    async with services.db.write() as s:
        for i in range(n):
            s.add(Server(name=f"s{i}", location_id=1, created_at=utcnow(), hardware_info={}, perform_info={}))
    async with statements(services) as seen:
        r = await admin.call("POST", "/dci/v3/server/400/ip", {"ip_net": 1})
    print("selects", len(seen)); 
    for x in seen: print("   ", " ".join(x.split())[:150])
    async def worker(ids, out):
        for i in ids:
            t=time.perf_counter()
            r = await admin.call("POST", f"/dci/v3/server/{i}/ip", {"ip_net": 1})
            out.append((r.status_code, time.perf_counter()-t))
    out=[]
    t=time.perf_counter()
    await asyncio.gather(*[worker(range(1+w*12, 1+w*12+12), out) for w in range(8)])
    el=time.perf_counter()-t
    print(services.db.engine.dialect.name, "8 clients api", len(out), el, len(out)/el, {c for c,_ in out})
    out=[]
    t=time.perf_counter()
    await asyncio.gather(*[worker([i], out) for i in range(101, 357)])
    el=time.perf_counter()-t
    print("256 clients", el, {c: sum(1 for x,_ in out if x==c) for c in {c for c,_ in out}})
    rows=(await admin.get("/dci/v3/ip"))
    names=[r["name"] for r in rows["list"]]
    assert len(names)==len(set(names)); print(len(names))
    # function alone
    async with services.db.read() as s:
        user = await s.get(User, 1)
        server = await sq.for_task(s, 500)
    t=time.perf_counter()
    async def one():
        for _ in range(40):
            async with services.db.write() as s:
                await service.allocate(s, server, wanted=service.Wanted(network_id=1), viewer=user, actor=SYSTEM)
    await asyncio.gather(*[one() for _ in range(8)])
    el=time.perf_counter()-t
    print("allocate() alone", 320/el)
    await asyncio.sleep(8)
