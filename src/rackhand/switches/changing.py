"""Changing ports, each change seen: look at the wiring, apply, read back, and put back what was when the switch lies.

Steps of operations call this. A task remembers what a port was before it touches it, under `before` in its memo. With
`dry_run` the same questions are asked and nothing is sent: the result then lists what would be sent.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from rackhand.hardware.interfaces import AdminStatus, OperStatus, Port, PortChange
from rackhand.hardware.interfaces import Switch as SwitchDevice
from rackhand.servers.model import Server
from rackhand.switches import queries, service
from rackhand.switches.devices import open_switch_of
from rackhand.switches.model import SwitchPort
from rackhand.switches.wiring import Cable, Learnt, contradictions
from rackhand.tasks.operation import Done, StepContext, StepFailed

READ_BACK_SECONDS = 10.0  # a switch that writes its configuration first shows the change late
READ_EVERY = 0.5


class PortWish(BaseModel):
    """What ports are to be; None leaves a value as it is.

    `connection_ids` are some of the server's data connections, all of them when it is empty; `port_ids` are ports of a
    switch, for tasks on a switch.
    """

    admin_status: AdminStatus | None = None
    access_vlan: int | None = None
    speed_mbit: int | None = None
    connection_ids: list[int] = []
    port_ids: list[int] = []
    ignore_wiring: bool = False
    dry_run: bool = False

    def changes_for(self, port: Port) -> list[PortChange]:
        """What is left to change of *port*."""
        changes = []
        if self.access_vlan is not None and port.access_vlan != self.access_vlan:
            changes.append(PortChange(port.index, access_vlan=self.access_vlan))
        if self.speed_mbit is not None and port.speed_mbit != self.speed_mbit:
            changes.append(PortChange(port.index, speed_mbit=self.speed_mbit))
        if self.admin_status is not None and port.admin_status != self.admin_status:
            changes.append(PortChange(port.index, admin_status=self.admin_status))
        return changes

    def is_met_by(self, port: Port) -> bool:
        """Whether *port* shows what was wished; the speed of a port without a link cannot be read."""
        return not [
            change
            for change in self.changes_for(port)
            if change.speed_mbit is None or port.oper_status is OperStatus.UP
        ]

    def words(self) -> str:
        """The wish as an operator reads it."""
        parts = []
        if self.admin_status is not None:
            parts.append(f"admin status {self.admin_status}")
        if self.access_vlan is not None:
            parts.append(f"VLAN {self.access_vlan}")
        if self.speed_mbit is not None:
            parts.append(f"{self.speed_mbit} Mbit/s")
        return " and ".join(parts)


def state_words(port: Port) -> str:
    """A port as an operator reads it."""
    return f"admin status {port.admin_status}, link {port.oper_status}, VLAN {port.access_vlan}"


async def compare_wiring(ctx: StepContext, server: Server, wish: PortWish) -> Done:
    """Compare the record of cables with what the switches have learnt; touches nothing."""
    async with ctx.tools.db.read() as session:
        ports = await service.data_ports(session, server.id, wish.connection_ids)
        macs = await queries.nic_macs(session, [port.connection.nic_id for port in ports if port.connection])
    if not ports:
        raise StepFailed(
            f"Server {server.id} has no data connection. Add one: POST server/{server.id}/switch_connection."
        )
    if wish.ignore_wiring:
        return Done("not compared, as asked")
    learnt = await _learnt(ctx, ports)
    heard = {entry.mac for each in learnt.values() for entry in each.macs}
    async with ctx.tools.db.read() as session:
        owners = await queries.owners_of_macs(session, heard, besides=server.id)
    cables = [
        Cable(
            port.switch_id, port.if_index, macs.get(port.connection.nic_id or 0) if port.connection else None
        )
        for port in ports
    ]
    found = contradictions(cables, learnt, owners)
    if found:
        raise StepFailed(
            f"The wiring is not as written down, so nothing was changed. {' '.join(found)}"
            " Correct the connection, or ask again with `ignore_wiring`."
        )
    return Done()


async def _learnt(ctx: StepContext, ports: Sequence[SwitchPort]) -> dict[int, Learnt]:
    learnt = {}
    for switch in {port.switch_id: port.switch for port in ports}.values():
        async with open_switch_of(ctx.tools, switch) as device:
            macs, neighbours = await device.mac_table(), await device.neighbours()
        async with ctx.tools.db.read() as session:
            names = await queries.port_names(session, switch.id)
        learnt[switch.id] = Learnt(switch.name, names, macs, neighbours)
    return learnt


async def have_ports(ctx: StepContext, ports: Sequence[SwitchPort], wish: PortWish) -> Done:
    """Have every port as wished, seen; safe to repeat. Raises `StepFailed` naming both states when a switch lies."""
    touched = 0
    for port in ports:
        async with open_switch_of(ctx.tools, port.switch) as device:
            now = await device.port(port.if_index)
            changes = wish.changes_for(now)
            if wish.dry_run:
                await _plan(ctx, port, [await device.commands(change) for change in changes])
                continue
            if changes:
                touched += 1
                await _remember(ctx, port, now, wish)
                for change in changes:
                    await _note_sent(ctx, port, await device.apply(change))
                now = await _read_back(device, port.if_index, wish)
        if not wish.is_met_by(now):
            raise StepFailed(
                f"{_name(port)} accepted the change and did not make it: wanted {wish.words()},"
                f" shown is {state_words(now)}."
            )
        await _save(ctx, port, now)
    if wish.dry_run:
        return Done("dry run: nothing was sent")
    return Done("" if touched else f"already {wish.words()}")


async def _read_back(device: SwitchDevice, index: int, wish: PortWish) -> Port:
    waited = 0.0
    while True:
        port = await device.port(index)
        if wish.is_met_by(port) or waited >= READ_BACK_SECONDS:
            return port
        await asyncio.sleep(READ_EVERY)
        waited += READ_EVERY


async def _remember(ctx: StepContext, port: SwitchPort, now: Port, wish: PortWish) -> None:
    """Keep what the port was, before anything is sent; a second call finds the first value."""
    before = dict(ctx.memo.get("before", {}))
    if str(port.id) not in before:
        was = PortWish(
            admin_status=now.admin_status if wish.admin_status is not None else None,
            access_vlan=now.access_vlan if wish.access_vlan is not None else None,
            speed_mbit=now.speed_mbit if wish.speed_mbit is not None else None,
        )
        before[str(port.id)] = was.model_dump(mode="json")
        await ctx.remember(before=before)
    await _flag(ctx, port, f"Task {ctx.task_id} is changing it to {wish.words()}.")


async def _note_sent(ctx: StepContext, port: SwitchPort, commands: Sequence[str]) -> None:
    sent = ctx.memo.get("result", {}).get("sent", [])
    row = {"switch": port.switch.name, "port": port.name, "commands": list(commands)}
    await ctx.remember(result={"sent": [*sent, row]})


async def _plan(ctx: StepContext, port: SwitchPort, commands: Sequence[Sequence[str]]) -> None:
    plan = ctx.memo.get("result", {}).get("would_send", [])
    rows = [{"switch": port.switch.name, "port": port.name, "commands": list(each)} for each in commands]
    await ctx.remember(result={"would_send": [*plan, *rows]})


async def _flag(ctx: StepContext, port: SwitchPort, words: str) -> None:
    async with ctx.tools.db.write() as session:
        await service.flag_port(session, port.id, words)


async def _save(ctx: StepContext, port: SwitchPort, seen: Port) -> None:
    async with ctx.tools.db.write() as session:
        await service.save_port(session, port.id, seen)


def _name(port: SwitchPort) -> str:
    return f"{port.switch.name} port {port.name}"


async def put_back(ctx: StepContext) -> None:
    """Have every port that was touched as it was before. Safe to repeat."""
    before: dict[str, dict[str, Any]] = ctx.memo.get("before", {})
    async with ctx.tools.db.read() as session:
        ports = await service.ports_by_id(session, [int(port_id) for port_id in before])
    failed = []
    for port in ports:
        wish = PortWish.model_validate(before[str(port.id)])
        async with open_switch_of(ctx.tools, port.switch) as device:
            for change in wish.changes_for(await device.port(port.if_index)):
                await device.apply(change)
            seen = await _read_back(device, port.if_index, wish)
        if wish.is_met_by(seen):
            await _save(ctx, port, seen)
        else:
            words = f"{_name(port)} was to be put back to {wish.words()} and shows {state_words(seen)}."
            await _flag(ctx, port, words)
            failed.append(words)
    if failed:
        raise StepFailed(" ".join(failed))
