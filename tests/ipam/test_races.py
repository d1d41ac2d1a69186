"""Many at once on the same networks: nothing is given twice, nothing is lost, nothing ends in an internal error."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import event, select, text

from rackhand.app import Services
from rackhand.errors import Conflict, NotFound
from rackhand.events.service import SYSTEM
from rackhand.ipam import places, service
from rackhand.ipam.model import Address, Network
from rackhand.users.model import User
from tests.conftest import Api, server_body
from tests.ipam.test_api import free_spans_are_right

WORKERS = 8
ROUNDS = 15
NESTED = ["192.0.2.8/29", "192.0.2.16/28", "192.0.2.16/30", "198.51.100.8/29", "192.0.0.0/16"]


@dataclass
class Storm:
    """Allocations, removals and changes of networks, in a random order that the seed decides."""

    services: Services
    given: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    async def work(self, number: int) -> None:
        dice = random.Random(number)  # noqa: S311
        wanted = [
            service.Wanted(),
            service.Wanted(network_id=1),
            service.Wanted(network_id=2),
            service.Wanted(name=f"192.0.2.{dice.randrange(32)}"),
        ]
        acts = [
            *(self.allocate(number, each) for each in [*wanted, wanted[0]] for _ in range(ROUNDS // 8)),
            *(self.release(number) for _ in range(ROUNDS // 3)),
            *(self.nest(dice.choice(NESTED)) for _ in range(ROUNDS // 5)),
            *(self.unnest(dice) for _ in range(ROUNDS // 5)),
        ]
        dice.shuffle(acts)
        for act in acts:
            try:
                await act
            except (Conflict, NotFound) as error:
                self.outcomes[str(error)[:20]] += 1
            else:
                self.outcomes["done"] += 1

    async def allocate(self, number: int, wanted: service.Wanted) -> None:
        async with self.services.db.write() as session:
            viewer = await session.get_one(User, 1)
            server = await service.held_server(session, number, visible_to=viewer)
            address = await service.allocate(session, server, wanted=wanted, viewer=viewer)
        self.given[address.name] += 1
        assert self.given[address.name] == 1, address.name

    async def release(self, number: int) -> None:
        async with self.services.db.write() as session:
            viewer = await session.get_one(User, 1)
            server = await service.held_server(session, number, visible_to=viewer)
            query = select(Address.id).where(Address.server_id == number).order_by(Address.id).limit(1)
            address_id = await session.scalar(query)
            if address_id is None:
                return
            name = (await session.get_one(Address, address_id)).name
            self.given[name] -= 1  # before the commit: the next may get it in the same moment
            await service.release(session, server, address_id, quarantine=timedelta(hours=number % 2))

    async def nest(self, name: str) -> None:
        async with self.services.db.write() as session:
            places_of = {"userspace_id": None, "location_id": None}
            await places.add_network(
                session, name=name, gateway=None, vlan="", note="", **places_of, actor=SYSTEM
            )

    async def unnest(self, dice: random.Random) -> None:
        async with self.services.db.write() as session:
            ids = (await session.scalars(select(Network.id).where(Network.id > 2))).all()
            if ids:
                await places.delete_network(session, dice.choice(ids), actor=SYSTEM)


@pytest.mark.timeout(300)
async def test_a_storm_of_changes_keeps_the_books_right(admin: Api, services: Services) -> None:
    for number in range(1, WORKERS + 1):
        await admin.post("/dci/v3/server", server_body(number))
    await admin.post("/ip/v3/userspace/public/ippool", {"name": "public"})
    for name in ("192.0.2.0/27", "198.51.100.0/28"):
        await admin.post("/ip/v3/ipnet", {"name": name})
        await admin.post("/ip/v3/ippool/1/range", {"name": name})
    storm = Storm(services)
    await asyncio.gather(*[storm.work(number) for number in range(1, WORKERS + 1)])
    assert storm.outcomes["done"] > sum(storm.outcomes.values()) / 3, storm.outcomes
    assert await free_spans_are_right(services)
    async with services.db.read() as session:
        rows = (await session.scalars(select(Address))).all()
    assert {row.name for row in rows if row.server_id} == {
        name for name, number in storm.given.items() if number
    }


async def test_a_network_is_deleted_under_the_lock_of_the_parent_that_it_has_by_then(
    admin: Api, services: Services
) -> None:
    for name in ("192.0.2.0/24", "192.0.2.8/29"):
        await admin.post("/ip/v3/ipnet", {"name": name})
    locked: list[object] = []

    def note(_connection: object, _cursor: object, statement: str, params: object, *_more: object) -> None:
        if (
            "FOR NO KEY UPDATE" in statement
            and "FROM ip_network" in statement
            and isinstance(params, Mapping)
        ):
            locked.extend(params.values())

    async def delete() -> None:
        async with services.db.write() as session:
            await places.delete_network(session, 2, actor=SYSTEM)

    async with services.db.write() as nesting:
        await places.add_network(
            nesting, name="192.0.2.0/28", gateway=None, vlan="", note="", userspace_id=None, location_id=None,
            actor=SYSTEM,
        )  # fmt: skip
        event.listen(services.db.engine.sync_engine, "before_cursor_execute", note)
        deletion = asyncio.create_task(delete())
        await asyncio.sleep(0.05)
    await deletion
    event.remove(services.db.engine.sync_engine, "before_cursor_execute", note)
    assert await free_spans_are_right(services)
    if not services.db.is_sqlite:  # where only one writes at a time
        assert locked == [3, 2]


async def test_an_index_that_is_wrong_is_repaired_and_gives_nothing_twice(
    admin: Api, services: Services
) -> None:
    await admin.post("/dci/v3/server", server_body(1))
    await admin.post("/ip/v3/ipnet", {"name": "192.0.2.0/29"})
    answer = await admin.post("/dci/v3/server/1/ip", {"ip_net": 1})
    await admin.finished(answer["task"])
    async with services.db.write() as session:
        await session.execute(text("UPDATE ip_free_span SET first = (SELECT key FROM ip_address)"))
    answer = await admin.post("/dci/v3/server/1/ip", {"ip_net": 1})
    assert (await admin.get(f"/dci/v3/ip/{answer['id']}"))["name"] == "192.0.2.2"
    assert await free_spans_are_right(services)
