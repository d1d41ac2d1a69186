import asyncio, time
import pytest
from statistics import median
from sqlalchemy import insert, text
from tests.conftest import *
from tests.ipam.conftest import anonymous
from rackhand.ipam import allocation, places, free
from rackhand.ipam.model import *
from rackhand.db import utcnow
from rackhand.events.service import SYSTEM

def rows(start, n):
    base = int(allocation.parse_address("10.0.0.0"))
    return [dict(userspace_id=1, network_id=1, server_id=1, name=str(allocation.address_at(4, base + k)), key=allocation.key_of(allocation.address_at(4, base + k)),
      version=4, prefix_length=32, status="allocated", status_info={}, domain="", ptr="", note="", is_main=False, created_at=utcnow()) for k in range(start, start+n)]

@pytest.mark.timeout(500)
async def test_bench(admin, services):
    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/ip/v3/ipnet", {"name": "10.0.0.0/8"})
    async def p50(path, n=15):
        ts=[]
        for _ in range(n):
            t=time.perf_counter(); await admin.get(path); ts.append(time.perf_counter()-t)
        return round(median(ts)*1000,1)
    pages=("/dci/v3/ip?limit=100","/dci/v3/ip?orderby=name&limit=100","/dci/v3/ip?where=ipnet EQ 1&limit=100", "/dci/v3/ip?where=name EQ '10.0.1.1'&limit=100", "/dci/v3/server?limit=1")
    for n in (1000, 249000):
        async with services.db.write() as s:
            data=rows(1 if n==1000 else 1001, n)
            for at in range(0, n, 10000): await s.execute(insert(Address), data[at:at+10000])
        print(services.db.engine.dialect.name, n, {p: await p50(p, 3 if "server" in p else 15) for p in pages})
    async with services.db.write() as s:
        for k in range(1000):
            await places.add_network(s, name=f"172.{16+k//256}.{k%256}.0/24", gateway=None, vlan="", note="", userspace_id=None, location_id=None, actor=SYSTEM)
    print("ipnet 1001 with 250k in one", await p50("/ip/v3/ipnet", 5))
    print("ipnet limit 100", await p50("/ip/v3/ipnet?limit=100,100", 5))
