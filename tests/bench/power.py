"""Power calls: when the answer comes, and when the BMC hears of it."""

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rackhand.settings import Settings
from rackhand.sim.client import RackControl
from rackhand.sim.config import BmcKind, RackConfig
from rackhand.sim.events import Action
from rackhand.sim.rack import demo_rack
from tests.bench import inventory
from tests.bench.databases import Backend
from tests.bench.figures import Figure, Report, p50
from tests.bench.lists import SERVER
from tests.bench.processes import Client, racking, serving

PACKET_SECONDS = 30.0


class Wire:
    """Passes datagrams on between the manager and one BMC, and notes when the first one came by."""

    def __init__(self, bmc: tuple[str, int]) -> None:
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.port: int = self.front.getsockname()[1]
        self._bmc = bmc
        self._lines: dict[tuple[str, int], socket.socket] = {}
        self._first: float | None = None
        self._noted = threading.Event()

    def listen(self) -> None:
        """Wait for a first packet again."""
        self._noted.clear()
        self._first = None

    def first_packet(self) -> float:
        """When the first packet since `listen` came."""
        if not self._noted.wait(PACKET_SECONDS) or self._first is None:
            raise RuntimeError("The BMC was never asked.")
        return self._first

    def pass_on(self, arrived: socket.socket) -> list[socket.socket]:
        """Move a datagram; return the sockets that are new."""
        data, sender = arrived.recvfrom(65535)
        now = time.perf_counter()
        if arrived is not self.front:
            caller = next(caller for caller, line in self._lines.items() if line is arrived)
            self.front.sendto(data, caller)
            return []
        if self._first is None:
            self._first = now
            self._noted.set()
        fresh = []
        if sender not in self._lines:
            line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            line.connect(self._bmc)
            self._lines[sender] = line
            fresh.append(line)
        self._lines[sender].send(data)
        return fresh

    def close(self) -> None:
        """Close all sockets."""
        for line in (self.front, *self._lines.values()):
            line.close()


@contextlib.contextmanager
def _wired(bmcs: list[tuple[str, int]]) -> Iterator[list[Wire]]:
    wires = [Wire(bmc) for bmc in bmcs]
    by_socket = {wire.front: wire for wire in wires}
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            for arrived in select.select(list(by_socket), [], [], 0.2)[0]:
                with contextlib.suppress(ConnectionError):
                    wire = by_socket[arrived]
                    by_socket.update(dict.fromkeys(wire.pass_on(arrived), wire))

    thread = threading.Thread(target=run, name="wires", daemon=True)
    thread.start()
    try:
        yield wires
    finally:
        is_over.set()
        thread.join()
        for wire in wires:
            wire.close()


def measure(report: Report, backend: Backend, folder: Path, *, machines: int) -> None:
    """Switch every machine on and off, one call after the other, while the operations before still run."""
    data = folder / f"{backend.name}-power"
    asked = demo_rack(2 * machines, time_scale=20.0)
    ipmi = tuple(machine for machine in asked.machines if machine.bmc.kind is BmcKind.IPMI)
    with (
        backend.database() as url,
        racking(replace(asked, machines=ipmi, switches=(), pdus=(), cables=())) as rack,
    ):
        token = inventory.prepare(Settings(data=data, database_url=url), 0)
        with (
            _wired([(machine.bmc.host, machine.bmc.port) for machine in rack.machines]) as wires,
            serving(data, url, "--no-poll") as served,
        ):
            client = Client(served.port, token)
            server_ids = _add_servers(client, rack, wires)
            answers, packets = _switch_all(client, server_ids, wires)
            client.close()
            _check_log(rack)
    words = f"power call ({len(answers)} calls, embedded worker)"
    report.add(
        Figure(backend.name, f"{words}: to the answer, median", p50(answers), "ms", below=50),
        Figure(
            backend.name, f"{words}: to the first packet at the BMC, median", p50(packets), "ms", below=300
        ),
        Figure(backend.name, f"{words}: to the first packet, slowest", max(packets) * 1000, "ms"),
    )


def _add_servers(client: Client, rack: RackConfig, wires: list[Wire]) -> list[int]:
    ids = []
    for machine, wire in zip(rack.machines, wires, strict=True):
        bmc = {"driver": "ipmi", "host": "127.0.0.1", "port": wire.port, "user": machine.bmc.user,
               "password": machine.bmc.password}  # fmt: skip
        added = json.loads(
            client.send("POST", SERVER, {"name": machine.name, "is_new": False, "bmc": bmc, "location_id": 1})
        )
        ids.append(int(added["id"]))
    return ids


def _switch_all(client: Client, server_ids: list[int], wires: list[Wire]) -> tuple[list[float], list[float]]:
    answers, packets = [], []
    for action in ("power_on", "power_off"):
        tasks = []
        for server_id, wire in zip(server_ids, wires, strict=True):
            wire.listen()
            called = time.perf_counter()
            answer = client.send("POST", f"{SERVER}/{server_id}/{action}", {})
            answers.append(time.perf_counter() - called)
            packets.append(wire.first_packet() - called)
            tasks.append(int(json.loads(answer)["task"]))
        for task in tasks:
            _finish(client, task)
    return answers, packets


def _finish(client: Client, task_id: int) -> None:
    for _ in range(600):
        task = json.loads(client.get(f"/api/dci/v3/task/{task_id}"))
        if task["finished_at"] is not None:
            if task["status"] != "complete":
                raise RuntimeError(f"Task {task_id} failed: {task}")
            return
        time.sleep(0.1)
    raise RuntimeError(f"Task {task_id} does not end.")


def _check_log(rack: RackConfig) -> None:
    """The machines' own log must tell of each call once, or what was measured was no power call."""
    control = RackControl(f"http://{rack.control_host}:{rack.control_port}")
    done = [event.action for event in control.log()]
    control.close()
    for action in (Action.POWERED_ON, Action.POWERED_OFF):
        if done.count(action) != len(rack.machines):
            raise RuntimeError(
                f"{action} stands {done.count(action)} times in the log of {len(rack.machines)} machines."
            )
