"""The process that is killed: the real product over a real database; asks for an operation or goes on with one."""

import asyncio
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from rackhand import app, logs
from rackhand.boot import first_boot, task_secrets
from rackhand.boot.model import BootReservation, TaskSecret
from rackhand.events.service import SYSTEM
from rackhand.hardware import drivers
from rackhand.power.model import Outlet
from rackhand.servers import queries
from rackhand.servers.model import Server
from rackhand.settings import Settings
from rackhand.switches.model import SwitchPort
from rackhand.tasks.model import ACTIVE, Task
from tests.prove.points import Points

PATIENCE = 150.0  # of a busy machine


async def run(order: dict[str, Any]) -> dict[str, Any]:
    """Ask for `operation` (when given) and stay until no task is active; tell how that ended and what was passed."""
    logs.configure("warning", as_json=False)
    passed: list[str] = []
    points = Points(order.get("kill_at"), lambda point: None if point in passed else passed.append(point))
    wrapped = {operation.name: points.operation(operation) for operation in app.OPERATIONS}
    app.OPERATIONS = tuple(wrapped.values())  # type: ignore[assignment]  # the crash injector
    app.Engine = points.engine()  # type: ignore[attr-defined]
    drivers.DRIVERS.update(points.bmc_drivers())  # type: ignore[attr-defined]  # a dict
    drivers.SWITCH_DRIVERS.update(points.switch_drivers())  # type: ignore[attr-defined]
    drivers.PDU_DRIVERS.update(points.pdu_drivers())  # type: ignore[attr-defined]
    settings = Settings(
        data=Path(order["data"]),
        database_url=order["database_url"],
        boot_listen=order["boot_listen"],
        boot_patience=10.0,
        agent_patience=30.0,
    )
    async with app.open_services(settings, polls=False) as services, app.serve_boot(services):
        if name := order.get("operation"):
            async with services.db.write() as session:
                server = await queries.for_task(session, order["server"])
                assert server is not None
                params = wrapped[name].params.model_validate(order["params"])
                task = await services.engine.enqueue(
                    session, wrapped[name], server, actor=SYSTEM, params=params
                )
                if order.get("secrets"):
                    nonce = await first_boot.expect(session, task.id)
                    kept = {**order["secrets"], "nonce": nonce}
                    await task_secrets.keep(session, services.vault, task.id, kept)
        async with asyncio.timeout(PATIENCE):
            while True:
                async with services.db.read() as session:
                    if not (await session.scalars(select(Task.id).where(Task.status.in_(ACTIVE)))).all():
                        break
                await asyncio.sleep(0.05)
        async with services.db.read() as session:
            last = (await session.scalars(select(Task).order_by(Task.id.desc()).limit(1))).one()
            flags = (await session.scalars(select(SwitchPort.flag).where(SwitchPort.flag.is_not(None)))).all()
            outlets = (await session.scalars(select(Outlet.flag).where(Outlet.flag.is_not(None)))).all()
            reserved = await session.scalar(select(func.count()).select_from(BootReservation))
            kept_secrets = await session.scalar(select(func.count()).select_from(TaskSecret))
            server = await session.get(Server, last.subject_id)
            return {
                "status": last.status,
                "error": last.error,
                "points": passed,
                "flags": list(flags),
                "outlet_flags": list(outlets),
                "reservations": reserved,
                "secrets": kept_secrets,
                "os_template": server.os_template if server else None,
            }


def main(order: dict[str, Any], answers: "Connection[dict[str, Any], None]") -> None:
    """Run an order in a process of its own and send its answer, unless the process is killed before."""
    answers.send(asyncio.run(run(order)))
