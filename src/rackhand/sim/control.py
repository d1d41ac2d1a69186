"""The control API, JSON over HTTP: what a person at the rack could see and do, faults, and the log."""

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
from rackhand.sim.config import RackConfig
from rackhand.sim.events import Action, EventLog, Source
from rackhand.sim.faults import FAULTS, BadFault, Fault, Faults
from rackhand.sim.netboot import BootNetwork
from rackhand.sim.network import Network
from rackhand.sim.pdu import Pdu
from rackhand.sim.switch import Switch
from rackhand.sim.views import machine_view, pdu_view, switch_view

MOST_EVENTS = 10_000
USUAL_EVENTS = 1_000

Body = TypeVar("Body", bound=wire.Strict)


class ControlledRack(Protocol):
    """What the control API needs of a rack."""

    config: RackConfig
    bmcs: dict[str, Bmc]
    switches: dict[str, Switch]
    pdus: dict[str, Pdu]
    network: Network
    log: EventLog
    boot_network: BootNetwork


class Refused(Exception):  # an answer, not an accident
    """The request is answered with *status* and one sentence."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def control_app(rack: ControlledRack) -> Starlette:
    """Return the application that controls *rack*."""
    app = Starlette(
        routes=ROUTES,
        exception_handlers={
            Refused: _answer_refused,
            BadFault: _answer_bad_fault,
            HTTPException: _answer_http_error,
        },
    )
    app.state.rack = rack
    return app


async def _show_rack(rack: ControlledRack, _request: Request) -> BaseModel:
    return wire.RackView(
        machines=len(rack.bmcs),
        switches=len(rack.switches),
        pdus=len(rack.pdus),
        time_scale=rack.config.time_scale,
        last_event=rack.log.last,
    )


async def _list_machines(rack: ControlledRack, _request: Request) -> list[wire.MachineView]:
    return [machine_view(bmc, tls=rack.config.tls) for bmc in rack.bmcs.values()]


async def _show_machine(rack: ControlledRack, request: Request) -> BaseModel:
    return machine_view(_bmc(rack, request), tls=rack.config.tls)


async def _list_faults(_rack: ControlledRack, _request: Request) -> list[wire.FaultDescription]:
    return [
        wire.FaultDescription(
            name=fault,
            doc=kind.doc,
            unit=kind.unit,
            default=kind.default,
            low=kind.low,
            high=kind.high,
            takes_times=kind.strikes,
            devices=sorted(kind.devices),
        )
        for fault, kind in FAULTS.items()
    ]


async def _switch_fault_on(rack: ControlledRack, request: Request) -> BaseModel:
    bmc, fault = _bmc(rack, request), _fault(request)
    await _switch_on(bmc.faults, fault, request)
    bmc.machine.look_at_mains(Source.CONTROL)
    return machine_view(bmc, tls=rack.config.tls)


async def _switch_fault_off(rack: ControlledRack, request: Request) -> BaseModel:
    bmc, fault = _bmc(rack, request), _fault(request)
    bmc.faults.switch_off(fault)
    bmc.machine.look_at_mains(Source.CONTROL)
    return machine_view(bmc, tls=rack.config.tls)


async def _set_mains(rack: ControlledRack, request: Request) -> BaseModel:
    bmc = _bmc(rack, request)
    setting = await _body(request, wire.MainsSetting)
    feeds = bmc.config.feeds
    if setting.feed is not None and setting.feed not in feeds:
        raise Refused(HTTPStatus.BAD_REQUEST, f"feed must be one of: {', '.join(feeds)}.")
    for feed in feeds if setting.feed is None else (setting.feed,):
        bmc.machine.set_feed(feed, Source.CONTROL, on=setting.on)
    return machine_view(bmc, tls=rack.config.tls)


async def _press_power_button(rack: ControlledRack, request: Request) -> BaseModel:
    bmc = _bmc(rack, request)
    press = await _body(request, wire.PowerButton)
    bmc.machine.press_power_button(Source.CONTROL, hold=press.hold)
    return machine_view(bmc, tls=rack.config.tls)


async def _set_boot_server(rack: ControlledRack, request: Request) -> BaseModel:
    """Say where machines boot from the network; those that do so already go on."""
    setting = await _body(request, wire.BootServer)
    rack.boot_network.url, rack.boot_network.vlan = setting.url.rstrip("/"), setting.vlan
    return setting


async def _set_traffic(rack: ControlledRack, request: Request) -> BaseModel:
    bmc = _bmc(rack, request)
    traffic = await _body(request, wire.Traffic)
    name = bmc.config.name
    if (name, traffic.nic) not in rack.network.nics:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} has no NIC {traffic.nic}.")
    rack.network.set_traffic(
        name, traffic.nic, sends=traffic.sends, receives=traffic.receives, source=Source.CONTROL
    )
    return machine_view(bmc, tls=rack.config.tls)


async def _list_switches(rack: ControlledRack, _request: Request) -> list[wire.SwitchView]:
    return [switch_view(switch, rack.network) for switch in rack.switches.values()]


async def _show_switch(rack: ControlledRack, request: Request) -> BaseModel:
    return switch_view(_switch(rack, request), rack.network)


async def _set_switch_fault(rack: ControlledRack, request: Request) -> BaseModel:
    switch = _switch(rack, request)
    await _switch_on(switch.faults, _fault(request), request)
    return switch_view(switch, rack.network)


async def _clear_switch_fault(rack: ControlledRack, request: Request) -> BaseModel:
    switch = _switch(rack, request)
    switch.faults.switch_off(_fault(request))
    return switch_view(switch, rack.network)


async def _swap_cables(rack: ControlledRack, request: Request) -> BaseModel:
    switch = _switch(rack, request)
    swap = await _body(request, wire.CableSwap)
    for number in (swap.port, swap.other):
        if number not in switch.ports:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{switch.name} has no port {number}.")
    if swap.port == swap.other:
        raise Refused(HTTPStatus.BAD_REQUEST, "The two ports are one.")
    rack.network.swap_cables(switch, switch.ports[swap.port], switch.ports[swap.other], Source.CONTROL)
    return switch_view(switch, rack.network)


async def _restart_switch(rack: ControlledRack, request: Request) -> BaseModel:
    switch = _switch(rack, request)
    switch.restart(Source.CONTROL)
    return switch_view(switch, rack.network)


async def _list_pdus(rack: ControlledRack, _request: Request) -> list[wire.PduView]:
    return [pdu_view(pdu) for pdu in rack.pdus.values()]


async def _show_pdu(rack: ControlledRack, request: Request) -> BaseModel:
    return pdu_view(_pdu(rack, request))


async def _set_pdu_fault(rack: ControlledRack, request: Request) -> BaseModel:
    pdu = _pdu(rack, request)
    await _switch_on(pdu.faults, _fault(request), request)
    return pdu_view(pdu)


async def _clear_pdu_fault(rack: ControlledRack, request: Request) -> BaseModel:
    pdu = _pdu(rack, request)
    pdu.faults.switch_off(_fault(request))
    return pdu_view(pdu)


async def _show_log(rack: ControlledRack, request: Request) -> BaseModel:
    after = _number(request, "after", usual=0, most=2**63)
    limit = _number(request, "limit", usual=USUAL_EVENTS, most=MOST_EVENTS)
    device = request.query_params.get("device")
    if device is not None and device not in (*rack.bmcs, *rack.switches, *rack.pdus):
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no device {device}.")
    events = [
        wire.EventView(
            seq=event.seq,
            time=event.time,
            device=event.device,
            source=event.source,
            action=event.action,
            detail=dict(event.detail),
        )
        for event in rack.log.after(after, device=device, limit=limit)
    ]
    return wire.LogPage(events=events, first=rack.log.first, last=rack.log.last)


async def _reset(rack: ControlledRack, request: Request) -> list[wire.MachineView]:
    """Return machines to their start: as configured, without faults. The log stays."""
    name = (await _body(request, wire.ResetRequest)).machine
    if name is not None and name not in rack.bmcs:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no machine {name}.")
    chosen = list(rack.bmcs.values()) if name is None else [rack.bmcs[name]]
    if name is None:
        for switch in rack.switches.values():
            switch.faults.switch_all_off()
        for pdu in rack.pdus.values():
            pdu.faults.switch_all_off()
            pdu.return_to_start()
    for bmc in chosen:
        bmc.faults.switch_all_off()
        bmc.machine.return_to_start()
        rack.boot_network.return_to_start(bmc.machine)
        bmc.return_to_start()
        rack.log.append(bmc.config.name, Source.CONTROL, Action.RETURNED_TO_START)
    if name is None:
        rack.network.return_to_start()
    return [machine_view(bmc, tls=rack.config.tls) for bmc in chosen]


def _bmc(rack: ControlledRack, request: Request) -> Bmc:
    name = request.path_params["machine"]
    if name not in rack.bmcs:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no machine {name}.")
    return rack.bmcs[name]


def _switch(rack: ControlledRack, request: Request) -> Switch:
    name = request.path_params["switch"]
    if name not in rack.switches:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no switch {name}.")
    return rack.switches[name]


def _pdu(rack: ControlledRack, request: Request) -> Pdu:
    name = request.path_params["pdu"]
    if name not in rack.pdus:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no PDU {name}.")
    return rack.pdus[name]


async def _switch_on(faults: Faults, fault: Fault, request: Request) -> None:
    setting = await _body(request, wire.FaultSetting)
    faults.switch_on(fault, value=setting.value, times=setting.times)


def _fault(request: Request) -> Fault:
    name = request.path_params["fault"]
    try:
        return Fault(name)
    except ValueError as error:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no fault {name}. See /faults.") from error


def _number(request: Request, name: str, *, usual: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= most):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number from 0 to {most}.")
    return int(text)


async def _body(request: Request, kind: type[Body]) -> Body:
    try:
        return kind.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        words = [
            "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".lstrip(": ") for problem in problems
            )
        ]
        raise Refused(HTTPStatus.BAD_REQUEST, words[0]) from error


def _answer_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101  # registered for this type
    return _json(wire.Problem(error=error.message), error.status)


def _answer_bad_fault(_request: Request, error: Exception) -> Response:
    return _json(wire.Problem(error=str(error)), HTTPStatus.BAD_REQUEST)


def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type
    message = f"{request.method} {request.url.path}: {error.detail}."
    return _json(wire.Problem(error=message), HTTPStatus(error.status_code), dict(error.headers or {}))


def _json(
    answer: object, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    body = TypeAdapter(type(answer)).dump_json(answer)
    return Response(body, status, headers, media_type="application/json")


Handler = Callable[[ControlledRack, Request], Awaitable[object]]


def _route(method: str, path: str, handler: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        return _json(await handler(request.app.state.rack, request))

    return Route(path, endpoint, methods=[method])


ROUTES: Final = (
    _route("GET", "/", _show_rack),
    _route("GET", "/faults", _list_faults),
    _route("GET", "/log", _show_log),
    _route("GET", "/machines", _list_machines),
    _route("GET", "/machines/{machine}", _show_machine),
    _route("PUT", "/machines/{machine}/faults/{fault}", _switch_fault_on),
    _route("DELETE", "/machines/{machine}/faults/{fault}", _switch_fault_off),
    _route("PUT", "/machines/{machine}/mains", _set_mains),
    _route("POST", "/machines/{machine}/power_button", _press_power_button),
    _route("PUT", "/machines/{machine}/traffic", _set_traffic),
    _route("GET", "/switches", _list_switches),
    _route("GET", "/switches/{switch}", _show_switch),
    _route("PUT", "/switches/{switch}/faults/{fault}", _set_switch_fault),
    _route("DELETE", "/switches/{switch}/faults/{fault}", _clear_switch_fault),
    _route("POST", "/switches/{switch}/swap_cables", _swap_cables),
    _route("POST", "/switches/{switch}/restart", _restart_switch),
    _route("GET", "/pdus", _list_pdus),
    _route("GET", "/pdus/{pdu}", _show_pdu),
    _route("PUT", "/pdus/{pdu}/faults/{fault}", _set_pdu_fault),
    _route("DELETE", "/pdus/{pdu}/faults/{fault}", _clear_pdu_fault),
    _route("PUT", "/boot_server", _set_boot_server),
    _route("POST", "/reset", _reset),
)
