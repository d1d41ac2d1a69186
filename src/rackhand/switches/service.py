"""The rules of switches, cables and VLANs, and writing down what was seen of ports."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from rackhand.db import Base, utcnow
from rackhand.errors import Busy, Conflict, Forbidden, Invalid, NotFound
from rackhand.events.service import SYSTEM, Actor, Subject, record
from rackhand.hardware.drivers import SWITCH_DRIVERS
from rackhand.hardware.interfaces import LearntMac, Neighbour, Port, SwitchInfo
from rackhand.servers import access
from rackhand.servers.access import AccessGiven
from rackhand.servers.model import Location, Nic, Rack, Server
from rackhand.servers.service import refuse_protected, subject_of
from rackhand.switches.model import Connection, ConnectionKind, Switch, SwitchPort, Vlan, VlanPurpose
from rackhand.switches.wiring import Learnt, seen_macs
from rackhand.tasks.engine import active_task_of
from rackhand.users.model import User
from rackhand.vault import Vault

SUBJECT = "switch"


def switch_subject(switch: Switch) -> Subject:
    """A switch as the subject of an event; administrators see it."""
    return Subject(SUBJECT, switch.id, switch.name)


# --- switches


async def add_switch(
    session: AsyncSession, *, values: Mapping[str, Any], given: AccessGiven, vault: Vault, actor: Actor
) -> Switch:
    """Add a switch; its ports come with a discovery."""
    switch = Switch(
        **values, created_at=utcnow(), settings={}, driver="", host="", port=0, user="", generation=0
    )
    access.set_access(switch, given, vault, SWITCH_DRIVERS)
    await _check_place(session, switch)
    await _save(session, switch)
    record(
        session,
        "switch.created",
        f"Switch {switch.name} was added.",
        subject=switch_subject(switch),
        actor=actor,
    )
    return switch


async def edit_switch(
    session: AsyncSession,
    switch: Switch,
    *,
    values: Mapping[str, Any],
    given: AccessGiven | None,
    vault: Vault,
    actor: Actor,
) -> None:
    """Change what is given; a new access forgives a refused login."""
    for name, value in values.items():
        setattr(switch, name, value)
    if given is not None:
        access.set_access(switch, given, vault, SWITCH_DRIVERS)
    await _check_place(session, switch)
    await _save(session, switch)
    changed = sorted([*values, *(["access"] if given else [])])
    record(session, "switch.changed", f"Switch {switch.name} was changed: {', '.join(changed)}.",
           subject=switch_subject(switch), actor=actor)  # fmt: skip


async def delete_switch(session: AsyncSession, switch: Switch, *, actor: Actor) -> None:
    """Delete a switch into which nothing is plugged; its ports and their traffic go with it."""
    await refuse_busy_switch(session, switch)
    subject = switch_subject(switch)
    try:
        async with session.begin_nested():
            await session.delete(switch)
            await session.flush()
    except IntegrityError as error:
        raise Conflict(f"Switch {switch.name} has connections. Delete them first.") from error
    record(session, "switch.deleted", f"Switch {subject.name} was deleted.", subject=subject, actor=actor)


async def refuse_busy_switch(session: AsyncSession, switch: Switch) -> None:
    """Raise `Busy` while a task works on the switch."""
    running = await active_task_of(session, SUBJECT, switch.id)
    if running is not None:
        raise Busy(f"Switch {switch.id}", running.id, running.name, running.status)


async def _check_place(session: AsyncSession, switch: Switch) -> None:
    rack = None
    if switch.rack_id is not None:
        with session.no_autoflush:
            rack = await session.get(Rack, switch.rack_id)
        if rack is None:
            raise NotFound(f"There is no rack {switch.rack_id}.")
    if switch.location_id is None:
        switch.location_id = rack.location_id if rack else await _only_location(session)
    elif rack is not None and rack.location_id != switch.location_id:
        raise Invalid(f"rack_id: rack {rack.name} stands in location {rack.location_id}.")
    elif rack is None:
        with session.no_autoflush:
            if await session.get(Location, switch.location_id) is None:
                raise NotFound(f"There is no location {switch.location_id}.")
    if switch.unit is not None and rack is None:
        raise Invalid("unit: say the rack as well.")
    if rack is not None and switch.unit is not None and switch.unit > rack.size:
        raise Invalid(f"unit: rack {rack.name} has {rack.size} units, got {switch.unit}.")


async def _only_location(session: AsyncSession) -> int:
    with session.no_autoflush:
        ids = (await session.scalars(select(Location.id).order_by(Location.id).limit(2))).all()
    if len(ids) != 1:
        raise Invalid(
            "location_id: say which one, there is more than one." if ids else "Add a location first."
        )
    return ids[0]


_CLASHES = (
    (("switch.name", "uq_switch_name"), "There is a switch of this name already."),
    (("switch.host", "uq_switch_host"), "There is a switch with this address already."),
    (("connection.port_id", "uq_connection_port_id"), "Something is plugged into this port already."),
    (
        ("connection.nic_id", "uq_connection_nic_id"),
        "This network interface is plugged into another port already.",
    ),
    (("uq_vlan_purpose", "vlan.purpose"), "The location has a VLAN for this purpose already."),
    (
        ("vlan.location_id, vlan.vid", "uq_vlan_location_id"),
        "The location has a VLAN of this number already.",
    ),
)


async def _save(session: AsyncSession, row: Base) -> None:
    try:
        async with session.begin_nested():
            session.add(row)
            await session.flush()
    except IntegrityError as error:
        message = str(error.orig)
        words = next((words for marks, words in _CLASHES if any(mark in message for mark in marks)), None)
        raise Conflict(words or "That exists already.") from error


# --- ports


async def data_ports(
    session: AsyncSession, server_id: int, connection_ids: Sequence[int] = ()
) -> Sequence[SwitchPort]:
    """The ports of a server's data connections, with their switch and connection; all, or those that are named."""
    query = (
        select(SwitchPort)
        .join(Connection, Connection.port_id == SwitchPort.id)
        .where(Connection.server_id == server_id, Connection.kind == ConnectionKind.DATA)
        .options(selectinload(SwitchPort.switch), selectinload(SwitchPort.connection))
        .order_by(SwitchPort.switch_id, SwitchPort.if_index)
    )
    if connection_ids:
        query = query.where(Connection.id.in_(connection_ids))
    return (await session.scalars(query)).all()


async def ports_by_id(session: AsyncSession, port_ids: Sequence[int]) -> Sequence[SwitchPort]:
    """Ports with their switch and connection."""
    query = (
        select(SwitchPort)
        .where(SwitchPort.id.in_(port_ids))
        .order_by(SwitchPort.switch_id, SwitchPort.if_index)
    )
    query = query.options(selectinload(SwitchPort.switch), selectinload(SwitchPort.connection))
    return (await session.scalars(query)).all()


def _port_values(seen: Port) -> dict[str, Any]:
    return {
        "name": seen.name,
        "description": seen.description,
        "alias": seen.alias,
        "mac": seen.mac,
        "speed_mbit": seen.speed_mbit,
        "admin_status": seen.admin_status,
        "oper_status": seen.oper_status,
        "vlan": seen.access_vlan,
        "is_missing": False,
        "seen_at": utcnow(),
    }


async def flag_port(session: AsyncSession, port_id: int, words: str) -> None:
    """Mark a port whose state is not known until it is seen again."""
    await session.execute(update(SwitchPort).where(SwitchPort.id == port_id).values(flag=words))


async def save_port(session: AsyncSession, port_id: int, seen: Port) -> None:
    """Write down a port that was read and is as it should be."""
    await session.execute(
        update(SwitchPort).where(SwitchPort.id == port_id).values(**_port_values(seen), flag=None)
    )


async def save_discovery(
    session: AsyncSession, switch_id: int, info: SwitchInfo, ports: Sequence[Port]
) -> int:
    """Write down all ports of a switch; return how many are new. What a task is changing keeps its flag."""
    known = {
        port.if_index: port
        for port in await session.scalars(select(SwitchPort).where(SwitchPort.switch_id == switch_id))
    }
    new = 0
    for seen in ports:
        port = known.pop(seen.index, None)
        if port is None:
            new += 1
            session.add(SwitchPort(switch_id=switch_id, if_index=seen.index, **_port_values(seen)))
        else:
            for name, value in _port_values(seen).items():
                setattr(port, name, value)
    for port in known.values():
        port.is_missing = True
    await session.execute(
        update(Switch)
        .where(Switch.id == switch_id)
        .values(description=info.description[:1000], seen_at=utcnow(), error=None, error_at=None)
    )
    return new


async def edit_port(
    session: AsyncSession, port: SwitchPort, *, values: Mapping[str, Any], actor: Actor
) -> None:
    """Change what an operator says of a port: whether it is an uplink; `problem` null ends a flag."""
    for name, value in values.items():
        setattr(port, name, value)
    subject = Subject(SUBJECT, port.switch_id, port.switch.name)
    record(session, "switch.port_changed", f"{port.switch.name} port {port.name} was changed: {', '.join(values)}.",
           subject=subject, actor=actor, data=dict(values))  # fmt: skip


# --- cables


async def connect(
    session: AsyncSession,
    *,
    port: SwitchPort,
    kind: ConnectionKind,
    server: Server | None,
    nic: Nic | None,
    device_name: str = "",
    notes: str = "",
    do_not_collect_traffic: bool = False,
    actor: Actor,
) -> Connection:
    """Write down a cable."""
    if server is not None:
        refuse_protected(server, "changes of its connections")
        if server.location_id != port.switch.location_id:
            raise Invalid(f"Switch {port.switch.name} stands in another location than server {server.name}.")
    if nic is not None and (server is None or nic.server_id != server.id):
        raise NotFound(f"The server has no network interface {nic.id}.")
    if port.is_uplink and kind is not ConnectionKind.DEVICE:
        raise Conflict(f"{port.switch.name} port {port.name} is an uplink. Take that off first.")
    connection = Connection(
        port_id=port.id,
        kind=kind,
        server_id=server.id if server else None,
        nic_id=nic.id if nic else None,
        device_name=device_name,
        notes=notes,
        do_not_collect_traffic=do_not_collect_traffic,
        created_at=utcnow(),
    )
    await _save(session, connection)
    what = f"server {server.name}" if server else device_name or "a device"
    words = f"{port.switch.name} port {port.name} was connected with {what} ({kind})."
    subject = subject_of(server) if server else Subject(SUBJECT, port.switch_id, port.switch.name)
    record(
        session, "connection.created", words, subject=subject, actor=actor, data={"connection": connection.id}
    )
    return connection


async def edit_connection(
    session: AsyncSession, connection: Connection, server: Server, *, values: Mapping[str, Any], actor: Actor
) -> None:
    """Change a cable's NIC, notes or whether its traffic is collected."""
    if set(values) - {"notes", "do_not_collect_traffic"}:
        refuse_protected(server, "changes of its connections")
    if values.get("nic_id") is not None:
        nic = await session.get(Nic, values["nic_id"])
        if nic is None or nic.server_id != server.id:
            raise NotFound(f"Server {server.id} has no network interface {values['nic_id']}.")
    for name, value in values.items():
        setattr(connection, name, value)
    await _save(session, connection)
    words = f"Connection {connection.id} of server {server.name} was changed: {', '.join(sorted(values))}."
    record(session, "connection.changed", words, subject=subject_of(server), actor=actor, data=dict(values))


async def disconnect(
    session: AsyncSession, connection: Connection, *, server: Server | None, actor: Actor
) -> None:
    """Forget a cable."""
    if server is not None:
        refuse_protected(server, "changes of its connections")
        running = await active_task_of(session, "server", server.id)
        if running is not None:
            raise Busy(f"Server {server.id}", running.id, running.name, running.status)
    (port,) = await ports_by_id(session, [connection.port_id])
    subject = subject_of(server) if server else Subject(SUBJECT, port.switch_id, port.switch.name)
    await session.delete(connection)
    words = f"The connection of {port.switch.name} port {port.name} was deleted."
    record(
        session, "connection.deleted", words, subject=subject, actor=actor, data={"connection": connection.id}
    )


async def learn_wiring(
    session: AsyncSession,
    switch_id: int,
    macs: Sequence[LearntMac],
    neighbours: Sequence[Neighbour],
    *,
    connects: bool,
    task_id: int,
) -> list[dict[str, object]]:
    """Find known NICs among what a switch has heard, one row each; *connects* writes the new cables down.

    A port on which several known NICs are heard is an uplink or a hub and proves nothing; neither does a NIC that is
    heard on several ports.
    """
    ports = {
        port.if_index: port
        for port in await session.scalars(
            select(SwitchPort)
            .where(SwitchPort.switch_id == switch_id)
            .options(selectinload(SwitchPort.connection), selectinload(SwitchPort.switch))
        )
    }
    heard: dict[str, set[int]] = {}
    for mac, index in seen_macs(Learnt("", {}, macs, neighbours)):
        heard.setdefault(mac, set()).add(index)
    nics = (
        await session.execute(
            select(Nic, Server)
            .join(Server, Server.id == Nic.server_id)
            .where(Nic.mac.in_(heard))
            .order_by(Nic.id)
        )
    ).all()
    crowd: dict[int, int] = {}
    for nic, _ in nics:
        for index in heard[nic.mac]:
            crowd[index] = crowd.get(index, 0) + 1
    taken = set(
        await session.scalars(
            select(Connection.nic_id).where(Connection.nic_id.in_([nic.id for nic, _ in nics]))
        )
    )
    found: list[dict[str, object]] = []
    for nic, server in nics:
        for index in sorted(heard[nic.mac]):
            port = ports.get(index)
            if port is None:
                continue
            verdict = _verdict(port, nic, crowd[index], len(heard[nic.mac]), is_taken=nic.id in taken)
            if verdict == "new" and connects and server.location_id == port.switch.location_id:
                await connect(
                    session, port=port, kind=ConnectionKind.DATA, server=server, nic=nic, actor=SYSTEM,
                    notes=f"learnt by task {task_id}",
                )  # fmt: skip
                verdict = "connected"
            row = {
                "port_id": port.id,
                "port": port.name,
                "mac": nic.mac,
                "server": server.id,
                "verdict": verdict,
            }
            found.append(row)
    return found


def _verdict(port: SwitchPort, nic: Nic, crowd: int, places: int, *, is_taken: bool) -> str:
    if port.connection is not None and port.connection.nic_id == nic.id:
        return "as written down"
    if port.is_uplink or crowd > 1:
        return "behind an uplink"
    if port.connection is not None or is_taken:
        return "contradicts the record"
    return "new" if places == 1 else "heard on several ports"


async def set_suspended(session: AsyncSession, server_id: int, *, is_suspended: bool) -> None:
    """Write down whether a server is cut off."""
    await session.execute(update(Server).where(Server.id == server_id).values(is_suspended=is_suspended))


# --- VLANs


async def add_vlan(
    session: AsyncSession,
    *,
    location_id: int | None,
    vid: int,
    name: str,
    purpose: VlanPurpose,
    owner_id: int | None,
    actor: Actor,
) -> Vlan:
    """Add a VLAN; one for a customer counts against its quota, `vlans_per_user`."""
    place = location_id if location_id is not None else await _only_location(session)
    if await session.get(Location, place) is None:
        raise NotFound(f"There is no location {place}.")
    await _check_vlan_owner(session, owner_id, purpose)
    vlan = Vlan(
        location_id=place, vid=vid, name=name, purpose=purpose, owner_id=owner_id, created_at=utcnow()
    )
    await _save(session, vlan)
    record(session, "vlan.created", f"VLAN {vid} was added.", subject=_vlan_subject(vlan), actor=actor)
    return vlan


async def edit_vlan(session: AsyncSession, vlan: Vlan, *, values: Mapping[str, Any], actor: Actor) -> None:
    """Change a VLAN."""
    owner_id = values.get("owner_id", vlan.owner_id)
    purpose = VlanPurpose(values.get("purpose", vlan.purpose))
    if owner_id != vlan.owner_id or purpose != vlan.purpose:
        await _check_vlan_owner(session, owner_id, purpose, besides=vlan.id)
    if vlan.vid != values.get("vid", vlan.vid) and await _ports_in(session, vlan):
        raise Conflict(f"Ports are in VLAN {vlan.vid}. Move them first.")
    for name, value in values.items():
        setattr(vlan, name, value)
    await _save(session, vlan)
    record(session, "vlan.changed", f"VLAN {vlan.vid} was changed: {', '.join(sorted(values))}.",
           subject=_vlan_subject(vlan), actor=actor, data=dict(values))  # fmt: skip


async def delete_vlan(session: AsyncSession, vlan: Vlan, *, actor: Actor) -> None:
    """Delete a VLAN in which no port is."""
    ports = await _ports_in(session, vlan)
    if ports:
        raise Conflict(f"{ports} ports are in VLAN {vlan.vid}. Move them first.")
    await session.delete(vlan)
    record(session, "vlan.deleted", f"VLAN {vlan.vid} was deleted.", subject=_vlan_subject(vlan), actor=actor)


def _vlan_subject(vlan: Vlan) -> Subject:
    return Subject("vlan", vlan.id, vlan.name or str(vlan.vid), vlan.owner_id)


async def _ports_in(session: AsyncSession, vlan: Vlan) -> int:
    """How many ports that lead to a server are in a VLAN, as they were seen last."""
    query = (
        select(func.count())
        .select_from(SwitchPort)
        .join(Connection, Connection.port_id == SwitchPort.id)
        .join(Switch, Switch.id == SwitchPort.switch_id)
        .where(
            SwitchPort.vlan == vlan.vid,
            Switch.location_id == vlan.location_id,
            Connection.server_id.is_not(None),
        )
    )
    return await session.scalar(query) or 0


async def _check_vlan_owner(
    session: AsyncSession, owner_id: int | None, purpose: VlanPurpose, *, besides: int = 0
) -> None:
    if owner_id is None:
        return
    if purpose is not VlanPurpose.CUSTOMER:
        raise Invalid(f"owner: a VLAN for {purpose} belongs to the operator.")
    owner = await session.get(User, owner_id, with_for_update=True)
    if owner is None:
        raise NotFound(f"There is no user {owner_id}.")
    count = await session.scalar(
        select(func.count()).select_from(Vlan).where(Vlan.owner_id == owner_id, Vlan.id != besides)
    )
    if (count or 0) >= owner.vlans_per_user:
        raise Conflict(
            f"{owner.email} has {count} VLANs and may have {owner.vlans_per_user} (vlans_per_user)."
        )


def refuse_vlan(server: Server, vlan: Vlan, viewer: User) -> None:
    """A user may move a port into a VLAN of its own; an administrator's VLAN must belong to the owner or to nobody."""
    if not viewer.is_admin and vlan.owner_id != viewer.id:
        raise Forbidden(f"VLAN {vlan.vid} is not yours.")
    if vlan.owner_id is not None and vlan.owner_id != server.owner_id:
        raise Conflict(f"VLAN {vlan.vid} belongs to another user than server {server.id}.")
