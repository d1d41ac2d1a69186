"""Networks, pools, ranges and addresses as lines: written to a table, and read from one with a report per line.

A line is a mapping with a `kind`. User spaces, pools, locations, racks and servers are named, not numbered, so that a
file fits another installation; what is exported can be imported into an empty one as it is.
"""

import csv
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.errors import Invalid, NotFound, RackhandError
from rackhand.events.service import Actor, record_all
from rackhand.ipam import dns, places, queries, service, spaces
from rackhand.ipam.model import Address, AddressStatus, Network, Pool, Range, Userspace
from rackhand.ipam.schemas import AddressLine, NetworkLine, PoolLine, RangeLine
from rackhand.servers.model import Location, Rack, Server
from rackhand.users.model import User

COLUMNS = (
    "kind", "userspace", "name", "gateway", "vlan", "note", "location", "rack", "is_public", "pool", "server", "status",
    "domain", "ptr", "is_main",
)  # fmt: skip
MAX_LINES = 20_000
PIECE, PIECE_BYTES = 5_000, 65_536
Line = Mapping[str, object]


# --- writing


async def lines(session: AsyncSession, kinds: Iterable[str]) -> AsyncIterator[Line]:
    """Every network, pool, range and address of *kinds*, in the order in which they can be read again."""
    wanted = set(kinds)
    for kind, write in _WRITERS.items():
        if kind in wanted:
            async for line in write(session):
                yield {"kind": kind, **line}


async def _networks(session: AsyncSession) -> AsyncIterator[Line]:
    # A network comes before those that lie in it.
    query = (
        select(Network, Userspace.name.label("userspace"), Location.name.label("location"))
        .join(Userspace, Userspace.id == Network.userspace_id)
        .outerjoin(Location, Location.id == Network.location_id)
        .order_by(Network.userspace_id, Network.first, Network.prefix_length)
    )
    for network, userspace, location in await session.execute(query):
        yield {"userspace": userspace, "name": network.cidr, "gateway": network.gateway, "vlan": network.vlan,
               "note": network.note, "location": location or ""}  # fmt: skip


async def _pools(session: AsyncSession) -> AsyncIterator[Line]:
    query = (
        select(Pool, Userspace.name, Location.name, Rack.name)
        .join(Userspace, Userspace.id == Pool.userspace_id)
        .outerjoin(Location, Location.id == Pool.location_id)
        .outerjoin(Rack, Rack.id == Pool.rack_id)
        .order_by(Pool.id)
    )
    for pool, userspace, location, rack in await session.execute(query):
        yield {"userspace": userspace, "name": pool.name, "note": pool.note, "location": location or "",
               "rack": rack or "", "is_public": pool.is_public}  # fmt: skip


async def _ranges(session: AsyncSession) -> AsyncIterator[Line]:
    query = (
        select(Range.name, Userspace.name, Pool.name)
        .join(Pool, Pool.id == Range.pool_id)
        .join(Userspace, Userspace.id == Range.userspace_id)
        .order_by(Range.pool_id, Range.first)
    )
    for name, userspace, pool in await session.execute(query):
        yield {"userspace": userspace, "name": name, "pool": pool}


async def _addresses(session: AsyncSession) -> AsyncIterator[Line]:
    """Addresses of servers, and those that are kept back; a quarantine is a matter of here and now."""
    query = (
        select(
            Address.id, Address.name, Address.note, Address.status, Address.domain, Address.ptr, Address.is_main,
            Userspace.name.label("userspace"), Server.name.label("server"), Pool.name.label("pool"),
        )
        .join(Userspace, Userspace.id == Address.userspace_id)
        .outerjoin(Server, Server.id == Address.server_id)
        .outerjoin(Pool, Pool.id == Address.pool_id)
        .where(Address.status != AddressStatus.QUARANTINED)
        .order_by(Address.id)
        .limit(PIECE)
    )  # fmt: skip
    last = 0
    while rows := (await session.execute(query.where(Address.id > last))).all():
        for row in rows:
            yield {"userspace": row.userspace, "name": row.name, "note": row.note, "pool": row.pool or "",
                   "server": row.server or "", "status": row.status, "domain": row.domain, "ptr": row.ptr,
                   "is_main": row.is_main}  # fmt: skip
        last = rows[-1].id


_WRITERS: Mapping[str, Callable[[AsyncSession], AsyncIterator[Line]]] = {
    "network": _networks,
    "pool": _pools,
    "range": _ranges,
    "address": _addresses,
}
KINDS = tuple(_WRITERS)


async def as_csv(found: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    """CSV with a header, in pieces; booleans are `1` and `0`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    async for line in found:
        values = ("" if value is None else value for value in (line.get(name) for name in COLUMNS))
        writer.writerow(int(value) if isinstance(value, bool) else value for value in values)
        if out.tell() > PIECE_BYTES:
            yield out.getvalue().encode()
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode()


async def as_json(found: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    """The body of an import, in pieces."""
    piece, separator = bytearray(b'{"lines":['), b""
    async for line in found:
        piece += separator + json.dumps(line, ensure_ascii=False).encode()
        separator = b","
        if len(piece) > PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]}")


# --- reading


def read_csv(text: str) -> Iterator[dict[str, Any]]:
    """Read CSV with a header line; empty cells are values that are not given."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        for line in reader:
            if None in line or None in line.values():
                yield {"_problem": f"expected {len(reader.fieldnames or ())} columns"}
                continue
            yield {name.strip(): value.strip() for name, value in line.items() if value.strip()}
    except csv.Error as error:
        raise Invalid(f"csv: {error} near line {reader.line_num}.") from error


@dataclass(frozen=True)
class _Names:
    """What lines name, by its name."""

    viewer: User
    actor: Actor
    spaces: dict[str, int]
    locations: Mapping[str, int]
    racks: Mapping[str, int]
    servers: Mapping[str, int]
    pools: dict[tuple[int, str], int]

    def of(self, kind: str, known: Mapping[str, int], name: str | None) -> int | None:
        """The number of what is called *name*; None when nothing is named."""
        if not name:
            return None
        if name not in known:
            raise NotFound(f"{kind}: there is none called {name[:60]!r}, or more than one.")
        return known[name]


async def read_lines(
    session: AsyncSession, given: Iterable[Mapping[str, Any]], *, viewer: User, actor: Actor
) -> list[dict[str, object]]:
    """Add each line by itself: one that is refused leaves nothing, the others are added. User spaces are made."""
    names = await _names(session, viewer, actor)
    report: list[dict[str, object]] = []
    for number, line in enumerate(given, 1):
        if number > MAX_LINES:
            raise Invalid(f"More than {MAX_LINES:,} lines; send them in parts.")
        entry: dict[str, object] = {"line": number, "kind": line.get("kind"), "name": line.get("name")}
        try:
            async with session.begin_nested():
                entry |= {"status": "added", "id": await _add(session, line, names)}
        except RackhandError as refused:
            entry |= {"status": "refused", "reason": refused.message}
        except ValidationError as refused:
            problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in refused.errors()[:5]]
            entry |= {"status": "refused", "reason": "; ".join(problems)}
        report.append(entry)
    return report


async def _names(session: AsyncSession, viewer: User, actor: Actor) -> _Names:
    async def by_name(model: type[Userspace | Location | Rack | Server]) -> dict[str, int]:
        # Racks of two locations may have one name.
        query = (
            select(model.name, func.max(model.id).label("id")).group_by(model.name).having(func.count() == 1)
        )
        return {row.name: row.id for row in await session.execute(query)}

    await spaces.public_userspace(session)
    pools = await session.execute(select(Pool.userspace_id, Pool.name, Pool.id))
    return _Names(
        viewer=viewer,
        actor=actor,
        spaces=await by_name(Userspace),
        locations=await by_name(Location),
        racks=await by_name(Rack),
        servers=await by_name(Server),
        pools={(space_id, name): number for space_id, name, number in pools},
    )


async def _add(session: AsyncSession, line: Mapping[str, Any], names: _Names) -> int:
    if problem := line.get("_problem"):
        raise Invalid(problem)
    kind = str(line.get("kind", ""))
    if kind not in _READERS:
        raise Invalid(f"kind: expected one of {', '.join(_READERS)}, got {kind[:40]!r}.")
    body, add = _READERS[kind]
    values = body.model_validate({key: value for key, value in line.items() if key != "kind"})
    return await add(session, values, names)


async def _space(session: AsyncSession, name: str, names: _Names) -> int:
    if name not in names.spaces:
        space = await places.add_userspace(session, name=name, note="", actor=names.actor)
        names.spaces[name] = space.id
    return names.spaces[name]


async def _add_network(session: AsyncSession, line: NetworkLine, names: _Names) -> int:
    network = await places.add_network(
        session,
        name=line.name,
        gateway=line.gateway,
        vlan=line.vlan,
        note=line.note,
        userspace_id=await _space(session, line.userspace, names),
        location_id=names.of("location", names.locations, line.location),
        actor=names.actor,
    )
    return network.id


async def _add_pool(session: AsyncSession, line: PoolLine, names: _Names) -> int:
    space_id = await _space(session, line.userspace, names)
    pool = await places.add_pool(
        session,
        name=line.name,
        note=line.note,
        is_public=line.is_public,
        userspace_id=space_id,
        location_id=names.of("location", names.locations, line.location),
        rack_id=names.of("rack", names.racks, line.rack),
        actor=names.actor,
    )
    names.pools[space_id, line.name] = pool.id
    return pool.id


async def _pool_of(session: AsyncSession, name: str, userspace: str, names: _Names) -> Pool:
    found = names.pools.get((await _space(session, userspace, names), name))
    if found is None:
        raise NotFound(f"pool: there is none called {name[:60]!r} in user space {userspace}.")
    return await queries.pool_by_id(session, found)


async def _add_range(session: AsyncSession, line: RangeLine, names: _Names) -> int:
    pool = await _pool_of(session, line.pool, line.userspace, names)
    return (await places.add_range(session, pool, line.name, actor=names.actor)).id


async def _add_address(session: AsyncSession, line: AddressLine, names: _Names) -> int:
    space_id = await _space(session, line.userspace, names)
    if not line.server:
        if line.status not in {"", AddressStatus.SPECIAL}:
            raise Invalid(
                f"status: an address without a server is {AddressStatus.SPECIAL}, not {line.status}."
            )
        address = await service.keep_back(
            session,
            name=line.name,
            userspace_id=space_id,
            domain=line.domain,
            note=line.note,
            actor=names.actor,
        )
        return await _name(session, address, line)
    if line.status not in {"", AddressStatus.ALLOCATED}:
        raise Invalid(f"status: an address of a server is {AddressStatus.ALLOCATED}, not {line.status}.")
    server_id = names.of("server", names.servers, line.server)
    pool = await _pool_of(session, line.pool, line.userspace, names) if line.pool else None
    server = await service.held_server(session, server_id or 0, visible_to=names.viewer)
    wanted = service.Wanted(
        name=line.name, userspace_id=space_id, domain=line.domain, pool_id=pool.id if pool else None
    )
    given = await service.allocate(
        session, server, wanted=wanted, make_main=line.is_main, viewer=names.viewer
    )
    await record_all(session, service.told_of_allocation(given, server, names.actor))
    return await _name(session, await session.get_one(Address, given.id), line)


async def _name(session: AsyncSession, address: Address, line: AddressLine) -> int:
    """Set what an allocation does not, and have the name server follow."""
    address.domain, address.ptr, address.note = line.domain, line.ptr, line.note
    await session.flush()
    if line.domain or line.ptr:
        await dns.want_for(session, address)
    return address.id


_Reader = tuple[type[BaseModel], Callable[[AsyncSession, Any, _Names], Awaitable[int]]]
_READERS: Mapping[str, _Reader] = {
    "network": (NetworkLine, _add_network),
    "pool": (PoolLine, _add_pool),
    "range": (RangeLine, _add_range),
    "address": (AddressLine, _add_address),
}
