"""The control API: what a person at the rack could see and do, faults, and the log. JSON over HTTP, for tests and the demo."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, Protocol, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rackhand.sim import wire
from rackhand.sim.bmc import Bmc
from rackhand.sim.config import BmcKind, RackConfig
from rackhand.sim.events import Action, EventLog, Source
from rackhand.sim.faults import FAULTS, BadFault, Fault

MOST_EVENTS = 10_000
USUAL_EVENTS = 1_000

Body = TypeVar("Body", bound=wire.Strict)


class ControlledRack(Protocol):
    """What the control API needs of a rack."""

    config: RackConfig
    bmcs: dict[str, Bmc]
    log: EventLog


class Refused(Exception):  # noqa: N818  # an answer, not an accident
    """The request is answered with *status* and one sentence."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def control_app(rack: ControlledRack) -> Starlette:
    """Return the application that controls *rack*."""
    app = Starlette(
        routes=ROUTES,
        exception_handlers={Refused: _answer_refused, BadFault: _answer_bad_fault, HTTPException: _answer_http_error},
    )
    app.state.rack = rack
    return app


def machine_view(bmc: Bmc) -> wire.MachineView:
    """Return a machine as it really is."""
    config, machine = bmc.config, bmc.machine
    address = config.bmc
    override = machine.override
    return wire.MachineView(
        name=config.name,
        serial=config.serial,
        model=config.model,
        configuration=config.configuration,
        rack=config.rack,
        unit=config.unit,
        height=config.height,
        power=machine.power,
        phase=machine.phase,
        mains=machine.has_mains,
        lost_feeds=sorted(machine.lost_feeds),
        boot_override=override
        and wire.OverrideView(device=override.device, mode=override.mode, persistent=override.persistent),
        booted_from=machine.booted_from,
        identify=machine.identify,
        macs=[nic.mac for nic in config.nics],
        bmc=wire.BmcAddress(
            kind=address.kind,
            host=address.host,
            port=address.port,
            url=bmc_url(address.kind, address.host, address.port, tls=bmc.tls),
            user=address.user,
            password=address.password,
        ),
        bmc_answers=not bmc.is_silent,
        faults={
            fault: wire.ActiveFault(value=value, times=times) for fault, (value, times) in bmc.faults.all_on().items()
        },
    )


def bmc_url(kind: BmcKind, host: str, port: int, *, tls: bool) -> str:
    """Return a BMC's address as one word."""
    scheme = "ipmi" if kind is BmcKind.IPMI else "https" if tls else "http"
    return f"{scheme}://{host}:{port}"
