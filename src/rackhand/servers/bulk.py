"""Adding many servers at once, from CSV or JSON, with a report per line."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.errors import Invalid, RackhandError
from rackhand.events.service import Actor
from rackhand.servers import service
from rackhand.servers.model import Location, Rack
from rackhand.servers.schemas import ServerBody
from rackhand.vault import Vault

# Columns of a CSV file that build nested values; everything else is a key of `POST server`.
BMC_COLUMNS = ("driver", "host", "port", "user", "password")
MAX_LINES = 20_000


def read_csv(text: str) -> Iterator[dict[str, Any]]:
    """Read CSV text with a header line.

    `nics` holds MAC addresses, separated by spaces; `bmc_driver`, `bmc_host` and so on make the BMC access.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        for number, line in enumerate(reader, 1):
            if number > MAX_LINES:
                raise Invalid(f"csv: more than {MAX_LINES} lines; send it in parts.")
            if None in line or None in line.values():
                yield {"_problem": f"expected {len(reader.fieldnames or ())} columns"}
                continue
            yield _nested({name.strip(): value.strip() for name, value in line.items() if value.strip()})
    except csv.Error as error:
        raise Invalid(f"csv: {error} near line {reader.line_num}.") from error


def _nested(line: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = dict(line)
    if macs := row.pop("nics", row.pop("mac", None)):
        row["nics"] = [{"mac": mac} for mac in macs.split()]
    bmc = {name: row.pop(f"bmc_{name}") for name in BMC_COLUMNS if f"bmc_{name}" in row}
    if bmc:
        row["bmc"] = bmc
    return row


async def import_servers(
    session: AsyncSession,
    rows: Iterator[dict[str, Any]] | list[dict[str, Any]],
    *,
    vault: Vault,
    actor: Actor,
) -> list[dict[str, object]]:
    """Add each row by itself: one that is refused leaves nothing, the others are added.

    `rack` and `location` may be names.
    """
    locations = {row.name: row.id for row in await session.execute(select(Location.id, Location.name))}
    racks = {row.name: row.id for row in await session.execute(select(Rack.id, Rack.name))}
    report: list[dict[str, object]] = []
    for number, row in enumerate(rows, 1):
        entry: dict[str, object] = {"line": number, "name": row.get("name")}
        try:
            async with session.begin_nested():
                server = await _add(session, row, locations, racks, vault=vault, actor=actor)
            entry |= {"status": "added", "id": server.id}
        except RackhandError as refused:
            entry |= {"status": "refused", "reason": refused.message}
        except ValidationError as refused:
            problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in refused.errors()[:5]]
            entry |= {"status": "refused", "reason": "; ".join(problems)}
        report.append(entry)
    return report


async def _add(
    session: AsyncSession,
    row: dict[str, Any],
    locations: Mapping[str, int],
    racks: Mapping[str, int],
    *,
    vault: Vault,
    actor: Actor,
) -> Any:
    if problem := row.get("_problem"):
        raise Invalid(problem)
    given = dict(row)
    for key, known in (("location", locations), ("rack", racks)):
        name = given.get(key)
        if isinstance(name, str) and not name.isdigit():
            if name not in known:
                raise Invalid(f"{key}: there is none called {name[:40]!r}.")
            given[key] = known[name]
    body = ServerBody.model_validate(given)
    return await service.add_server(session, **server_values(body), vault=vault, actor=actor)


def server_values(body: ServerBody) -> dict[str, Any]:
    """The parts of a body as the service takes them."""
    return {
        "values": body.model_dump(exclude={"nics", "disks", "bmc"}),
        "nics": [nic.model_dump() for nic in body.nics],
        "disks": [disk.model_dump() for disk in body.disks],
        "bmc": None if body.bmc is None else bmc_values(body.bmc),
    }


def bmc_values(body: Any) -> dict[str, Any]:
    """A BMC access as the service takes it, the password in clear."""
    values: dict[str, Any] = body.model_dump()
    values["password"] = None if body.password is None else body.password.get_secret_value()
    return values
