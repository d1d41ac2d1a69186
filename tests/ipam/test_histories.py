"""A recorded history of very many clients is one that could have happened call by call."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from time import perf_counter

import httpx
import pytest

from rackhand.app import Services
from rackhand.events.service import SYSTEM
from rackhand.servers import service as servers
from tests.conftest import Api
from tests.ipam.histories import Act, Call, is_linearizable
from tests.ipam.test_api import free_spans_are_right

CLIENTS = 256
CALLS = 5
SECONDS = 90.0
LARGE = IPv4Network("192.0.2.0/24")
SMALL = [IPv4Network(f"198.51.100.{16 * number}/28") for number in range(8)]


@pytest.mark.parametrize(
    ("calls", "is_possible"),
    [
        ([Call(0, 1, Act.ALLOCATED, 0), Call(2, 3, Act.ALLOCATED, 1), Call(4, 5, Act.REFUSED)], True),
        ([Call(0, 1, Act.ALLOCATED, 0), Call(2, 3, Act.ALLOCATED, 0)], False),  # given twice
        ([Call(0, 3, Act.ALLOCATED, 1), Call(1, 2, Act.ALLOCATED, 0)], True),
        ([Call(0, 1, Act.ALLOCATED, 1), Call(2, 3, Act.ALLOCATED, 0)], False),  # not the lowest
        ([Call(0, 1, Act.ALLOCATED, 0), Call(2, 3, Act.REFUSED)], False),  # one was left
        ([Call(0, 1, Act.ALLOCATED, 0), Call(2, 9, Act.ALLOCATED, 1), Call(3, 4, Act.REFUSED)], True),
        (
            [Call(0, 1, Act.ALLOCATED, 0), Call(2, 6, Act.RELEASED, 0), Call(3, 4, Act.ALLOCATED, 0),
             Call(5, 7, Act.ALLOCATED, 1)],
            True,
        ),
        (
            [Call(0, 1, Act.ALLOCATED, 0), Call(5, 6, Act.RELEASED, 0), Call(3, 4, Act.ALLOCATED, 0)],
            False,  # taken again before it was free
        ),
        ([Call(0, 1, Act.RELEASED, 0)], False),
    ],
)  # fmt: skip
def test_the_checker_tells_possible_histories_from_others(calls: list[Call], is_possible: bool) -> None:  # noqa: FBT001
    assert is_linearizable(calls, 2) is is_possible


@dataclass
class Client:
    """Allocates from one network for one server and gives addresses back, as its dice fall; notes what it is told."""

    api: Api
    number: int
    network_id: int
    network: IPv4Network
    stops_at: float
    calls: list[tuple[Call, int]] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    async def work(self) -> None:
        dice = random.Random(self.number)  # noqa: S311
        held: list[tuple[int, int]] = []
        for _ in range(CALLS):
            if perf_counter() > self.stops_at:
                return
            if held and dice.random() < 0.45:
                await self.release(*held.pop(dice.randrange(len(held))))
            elif (found := await self.allocate()) is not None:
                held.append(found)

    async def allocate(self) -> tuple[int, int] | None:
        """Give the number of the address, and that of the task which says for ever which address it was."""
        path = f"/dci/v3/server/{self.number}/ip"
        began, response, ended = await self.call("POST", path, {"ip_net": self.network_id})
        answer = response.json()
        if response.status_code == 200:
            self.calls.append((Call(began, ended, Act.ALLOCATED), answer["task"]))
            return answer["id"], answer["task"]
        if response.status_code == 409 and "has no free address" in response.text:
            self.calls.append((Call(began, ended, Act.REFUSED), 0))
        else:
            self.odd.append(response.text)
        return None

    async def release(self, address_id: int, task_id: int) -> None:
        path = f"/dci/v3/server/{self.number}/ip/{address_id}"
        began, response, ended = await self.call("DELETE", path, {"quarantine_hours": 0})
        self.calls.append((Call(began, ended, Act.RELEASED), task_id))
        if response.status_code != 200:
            self.odd.append(response.text)

    async def call(self, method: str, path: str, body: object) -> tuple[float, httpx.Response, float]:
        """Call, and again where a slow machine says that nothing was changed; the history shows whether that is so."""
        while True:
            began = perf_counter()
            response = await self.api.call(method, path, body)
            if response.status_code != 503:
                return began, response, perf_counter()

    def history(self, names: Mapping[int, str]) -> list[Call]:
        """The calls with their hosts, by the names that the tasks say."""
        base = int(self.network.network_address) + 1
        return [
            replace(call, host=int(IPv4Address(names[task])) - base) if task else call
            for call, task in self.calls
        ]


@pytest.mark.timeout(300)
async def test_what_256_clients_saw_could_have_happened_one_after_the_other(
    admin: Api, services: Services
) -> None:
    async with services.db.write() as session:
        for number in range(1, CLIENTS + 1):
            values = {"name": f"srv-{number}", "is_new": False}
            await servers.add_server(session, values=values, bmc=None, vault=services.vault, actor=SYSTEM)
    networks = {}
    for network in (LARGE, *SMALL):
        networks[(await admin.post("/ip/v3/ipnet", {"name": str(network)}))["id"]] = network
    stops_at = perf_counter() + SECONDS
    clients = []
    for number in range(1, CLIENTS + 1):
        network_id = 1 if number % 2 else 2 + number // 2 % len(SMALL)
        clients.append(Client(admin, number, network_id, networks[network_id], stops_at))
    await asyncio.gather(*(client.work() for client in clients))
    assert [odd for client in clients for odd in client.odd] == []
    tasks = (await admin.get("/dci/v3/task?where=name EQ 'allocate_ip'"))["list"]
    names = {task["id"]: task["steps"][0]["message"] for task in tasks}
    acts = Counter(call.act for client in clients for call, _ in client.calls)
    assert min(acts[act] for act in Act) > 10, acts
    for network_id, network in networks.items():
        calls = [
            call for client in clients if client.network_id == network_id for call in client.history(names)
        ]
        assert is_linearizable(calls, network.num_addresses - 2), network
    assert await free_spans_are_right(services)
    held = acts[Act.ALLOCATED] - acts[Act.RELEASED]
    assert (await admin.get("/dci/v3/ip?limit=1"))["size"] == held
