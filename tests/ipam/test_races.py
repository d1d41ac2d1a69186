"""Many at once on the same networks: nothing is given twice, nothing is lost, nothing ends in an internal error."""

import asyncio
import random
from collections import Counter

import pytest
from sqlalchemy import select, update

from rackhand.app import Services
from rackhand.errors import Conflict, NotFound
from rackhand.events.service import SYSTEM
from rackhand.ipam import places, service
from rackhand.ipam.model import Address, AddressStatus, Network
from rackhand.servers import queries as servers
from rackhand.users.model import User
from tests.conftest import Api, server_body
from tests.ipam.test_api import free_spans_are_right

WORKERS = 8
ROUNDS = 12


@pytest.mark.timeout(300)
async def test_a_storm_of_changes_keeps_the_books_right(admin: Api, services: Services) -> None:
    for number in range(1, WORKERS + 1):
        await admin.post("/dci/v3/server", server_body(number))
    for name in ("192.0.2.0/27", "198.51.100.0/28"):
        await admin.post("/ip/v3/ipnet", {"name": name})
    await admin.post("/ip/v3/userspace/public/ippool", {"name": "public"})
    for name in ("192.0.2.0/27", "198.51.100.0/28"):
        await admin.post("/ip/v3/ippool/1/range", {"name": name})
    outcomes: Counter[str] = Counter()
    given: Counter[str] = Counter()

    async def allocate(number: int, wanted: service.Wanted) -> None:
        async with services.db.write() as session:
            viewer = await session.get_one(User, 1)
            server = await servers.by_id(session, number, visible_to=viewer)
            address = await service.allocate(session, server, wanted=wanted, viewer=viewer, actor=SYSTEM)
            address.status = AddressStatus.ALLOCATED
        given[address.name] += 1
        assert given[address.name] == 1, address.name

    async def release(number: int) -> None:
        async with services.db.write() as session:
            query = select(Address).where(Address.server_id == number).order_by(Address.id).limit(1)
            found = (await session.scalars(query)).one_or_none()
            if found is None:
                return
            address_id, name = found.id, found.name
            await session.execute(update(Address).where(Address.id == address_id).values(task_id=number))
            # Before the commit: the next may get it in the same moment.
            given[name] -= 1
            quarantine = service.timedelta(hours=number % 2)
            assert await service.release(session, address_id, task_id=number, quarantine=quarantine)

    async def nest(dice: random.Random) -> None:
        name = dice.choice(
            ["192.0.2.8/29", "192.0.2.16/28", "192.0.2.16/30", "198.51.100.8/29", "192.0.0.0/16"]
        )
        async with services.db.write() as session:
            await places.add_network(
                session,
                name=name,
                gateway=None,
                vlan="",
                note="",
                userspace_id=None,
                location_id=None,
                actor=SYSTEM,
            )

    async def unnest(dice: random.Random) -> None:
        async with services.db.read() as session:
            ids = (await session.scalars(select(Network.id).where(Network.id > 2))).all()
        if ids:
            async with services.db.write() as session:
                await places.delete_network(session, dice.choice(ids), actor=SYSTEM)

    async def work(number: int) -> None:
        dice = random.Random(number)
        for _ in range(ROUNDS):
            choice = dice.random()
            try:
                if choice < 0.3:
                    await allocate(number, service.Wanted())
                elif choice < 0.5:
                    await allocate(number, service.Wanted(network_id=dice.choice([1, 2])))
                elif choice < 0.6:
                    await allocate(number, service.Wanted(name=f"192.0.2.{dice.randrange(32)}"))
                elif choice < 0.8:
                    await release(number)
                elif choice < 0.9:
                    await nest(dice)
                else:
                    await unnest(dice)
            except (Conflict, NotFound) as error:
                outcomes[str(error).split(":")[0][:30]] += 1
            else:
                outcomes["done"] += 1

    await asyncio.gather(*[work(number) for number in range(1, WORKERS + 1)])
    assert outcomes["done"] > WORKERS * ROUNDS / 3, outcomes
    assert await free_spans_are_right(services)
    async with services.db.read() as session:
        rows = (await session.scalars(select(Address))).all()
    assert {row.name for row in rows if row.server_id} == {name for name, number in given.items() if number}
