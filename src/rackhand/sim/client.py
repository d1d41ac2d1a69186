"""Clients of the control API, for tests and the command line: one that waits, one for async code."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import httpx
from pydantic import TypeAdapter

from rackhand.sim.events import Action
from rackhand.sim.faults import Fault
from rackhand.sim.wire import (
    BootServer,
    EventView,
    FaultDescription,
    LogPage,
    MachineView,
    PduView,
    SwitchView,
)

TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.02
PAGE = 1000

T = TypeVar("T")


class ControlError(Exception):
    """The rack refused a request; the message is its sentence, *status* the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class _Call(Generic[T]):
    """A request, and what its answer is."""

    method: str
    path: str
    answer: TypeAdapter[T]
    body: dict[str, object] | None = None
    query: dict[str, str | int] | None = None

    def read(self, response: httpx.Response) -> T:
        if response.is_error:
            raise ControlError(response.status_code, _sentence(response))
        return self.answer.validate_json(response.content)


MACHINE = TypeAdapter(MachineView)
MACHINES = TypeAdapter(list[MachineView])
SWITCH = TypeAdapter(SwitchView)
SWITCHES = TypeAdapter(list[SwitchView])
PDU = TypeAdapter(PduView)
PDUS = TypeAdapter(list[PduView])
FAULT_TABLE = TypeAdapter(list[FaultDescription])
LOG = TypeAdapter(LogPage)
BOOT_SERVER = TypeAdapter(BootServer)


def _machines() -> _Call[list[MachineView]]:
    return _Call("GET", "/machines", MACHINES)


def _machine(name: str) -> _Call[MachineView]:
    return _Call("GET", f"/machines/{name}", MACHINE)


def _faults() -> _Call[list[FaultDescription]]:
    return _Call("GET", "/faults", FAULT_TABLE)


def _fault_on(name: str, fault: Fault | str, value: float | None, times: int | None) -> _Call[MachineView]:
    body: dict[str, object] = {"value": value, "times": times}
    return _Call("PUT", f"/machines/{name}/faults/{fault}", MACHINE, body)


def _fault_off(name: str, fault: Fault | str) -> _Call[MachineView]:
    return _Call("DELETE", f"/machines/{name}/faults/{fault}", MACHINE)


def _set_mains(name: str, feed: str | None, *, on: bool) -> _Call[MachineView]:
    return _Call("PUT", f"/machines/{name}/mains", MACHINE, {"on": on, "feed": feed})


def _press_power_button(name: str, *, hold: bool) -> _Call[MachineView]:
    return _Call("POST", f"/machines/{name}/power_button", MACHINE, {"hold": hold})


def _set_boot_server(url: str, vlan: int | None) -> _Call[BootServer]:
    return _Call("PUT", "/boot_server", BOOT_SERVER, {"url": url, "vlan": vlan})


def _set_traffic(name: str, nic: str, sends: float, receives: float) -> _Call[MachineView]:
    body: dict[str, object] = {"nic": nic, "sends": sends, "receives": receives}
    return _Call("PUT", f"/machines/{name}/traffic", MACHINE, body)


def _switches() -> _Call[list[SwitchView]]:
    return _Call("GET", "/switches", SWITCHES)


def _switch(name: str) -> _Call[SwitchView]:
    return _Call("GET", f"/switches/{name}", SWITCH)


def _switch_fault_on(
    name: str, fault: Fault | str, value: float | None, times: int | None
) -> _Call[SwitchView]:
    body: dict[str, object] = {"value": value, "times": times}
    return _Call("PUT", f"/switches/{name}/faults/{fault}", SWITCH, body)


def _switch_fault_off(name: str, fault: Fault | str) -> _Call[SwitchView]:
    return _Call("DELETE", f"/switches/{name}/faults/{fault}", SWITCH)


def _swap_cables(name: str, port: int, other: int) -> _Call[SwitchView]:
    return _Call("POST", f"/switches/{name}/swap_cables", SWITCH, {"port": port, "other": other})


def _restart_switch(name: str) -> _Call[SwitchView]:
    return _Call("POST", f"/switches/{name}/restart", SWITCH, {})


def _pdus() -> _Call[list[PduView]]:
    return _Call("GET", "/pdus", PDUS)


def _pdu(name: str) -> _Call[PduView]:
    return _Call("GET", f"/pdus/{name}", PDU)


def _pdu_fault_on(name: str, fault: Fault | str, value: float | None, times: int | None) -> _Call[PduView]:
    body: dict[str, object] = {"value": value, "times": times}
    return _Call("PUT", f"/pdus/{name}/faults/{fault}", PDU, body)


def _pdu_fault_off(name: str, fault: Fault | str) -> _Call[PduView]:
    return _Call("DELETE", f"/pdus/{name}/faults/{fault}", PDU)


def _log(after: int, device: str | None, limit: int) -> _Call[LogPage]:
    query: dict[str, str | int] = {"after": after, "limit": limit}
    if device is not None:
        query["device"] = device
    return _Call("GET", "/log", LOG, query=query)


def _reset(machine: str | None) -> _Call[list[MachineView]]:
    return _Call("POST", "/reset", MACHINES, {"machine": machine})


class RackControl:
    """A client that waits for each answer. Every method may raise ControlError or httpx.TransportError."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False)

    def machines(self) -> list[MachineView]:
        """Return all machines as they really are."""
        return self._send(_machines())

    def machine(self, name: str) -> MachineView:
        """Return a machine as it really is."""
        return self._send(_machine(name))

    def faults(self) -> list[FaultDescription]:
        """Return the faults that there are."""
        return self._send(_faults())

    def fault_on(
        self, name: str, fault: Fault | str, *, value: float | None = None, times: int | None = None
    ) -> MachineView:
        """Switch a fault on, for good or for the next *times* times."""
        return self._send(_fault_on(name, fault, value, times))

    def fault_off(self, name: str, fault: Fault | str) -> MachineView:
        """Switch a fault off."""
        return self._send(_fault_off(name, fault))

    def pull_mains(self, name: str, *, feed: str | None = None) -> MachineView:
        """Take the power of all feeds, or of one."""
        return self._send(_set_mains(name, feed, on=False))

    def restore_mains(self, name: str, *, feed: str | None = None) -> MachineView:
        """Give the power of all feeds back, or of one."""
        return self._send(_set_mains(name, feed, on=True))

    def press_power_button(self, name: str, *, hold: bool = False) -> MachineView:
        """Press the button on the machine's front."""
        return self._send(_press_power_button(name, hold=hold))

    def set_boot_server(self, url: str, *, vlan: int | None = None) -> None:
        """Say where machines boot from the network; empty for nowhere."""
        self._send(_set_boot_server(url, vlan))

    def set_traffic(self, name: str, nic: str, *, sends: float, receives: float) -> MachineView:
        """Let a NIC send and receive so many octets in a simulated second while its machine runs."""
        return self._send(_set_traffic(name, nic, sends, receives))

    def switches(self) -> list[SwitchView]:
        """Return all switches as they really are."""
        return self._send(_switches())

    def switch(self, name: str) -> SwitchView:
        """Return a switch as it really is."""
        return self._send(_switch(name))

    def switch_fault_on(
        self, name: str, fault: Fault | str, *, value: float | None = None, times: int | None = None
    ) -> SwitchView:
        """Switch a fault of a switch on, for good or for the next *times* times."""
        return self._send(_switch_fault_on(name, fault, value, times))

    def switch_fault_off(self, name: str, fault: Fault | str) -> SwitchView:
        """Switch a fault of a switch off."""
        return self._send(_switch_fault_off(name, fault))

    def swap_cables(self, name: str, port: int, other: int) -> SwitchView:
        """Plug what is in one port of a switch into another, and the reverse."""
        return self._send(_swap_cables(name, port, other))

    def restart_switch(self, name: str) -> SwitchView:
        """Restart a switch: settings stay, counters and uptime begin at zero, a crash is over."""
        return self._send(_restart_switch(name))

    def pdus(self) -> list[PduView]:
        """Return all PDUs as they really are."""
        return self._send(_pdus())

    def pdu(self, name: str) -> PduView:
        """Return a PDU as it really is."""
        return self._send(_pdu(name))

    def pdu_fault_on(
        self, name: str, fault: Fault | str, *, value: float | None = None, times: int | None = None
    ) -> PduView:
        """Switch a fault of a PDU on, for good or for the next *times* times."""
        return self._send(_pdu_fault_on(name, fault, value, times))

    def pdu_fault_off(self, name: str, fault: Fault | str) -> PduView:
        """Switch a fault of a PDU off."""
        return self._send(_pdu_fault_off(name, fault))

    def log(self, *, after: int = 0, device: str | None = None) -> list[EventView]:
        """Return all events after number *after*."""
        events: list[EventView] = []
        while True:
            page = self._send(_log(after, device, PAGE)).events
            events += page
            if len(page) < PAGE:
                return events
            after = page[-1].seq

    def last_event(self) -> int:
        """Return the number of the newest event."""
        return self._send(_log(0, None, 0)).last

    def reset(self, machine: str | None = None) -> list[MachineView]:
        """Put all machines, or one, back to the start: no faults, power as configured. The log stays."""
        return self._send(_reset(machine))

    def wait_for_event(
        self, device: str, action: Action | str, *, after: int = 0, timeout: float = TIMEOUT_SECONDS
    ) -> EventView:
        """Return the first such event after number *after*; TimeoutError when it does not come."""
        deadline = time.monotonic() + timeout
        while True:
            found = _first(self.log(after=after, device=device), action)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"{device} did not log {action} within {timeout:g} s.")
            time.sleep(POLL_SECONDS)

    def wait_for(
        self, machine: str, condition: Callable[[MachineView], bool], *, timeout: float = TIMEOUT_SECONDS
    ) -> MachineView:
        """Return the machine as soon as *condition* holds; TimeoutError when it does not come to that."""
        deadline = time.monotonic() + timeout
        while True:
            view = self.machine(machine)
            if condition(view):
                return view
            if time.monotonic() > deadline:
                raise TimeoutError(f"{machine} is still {view}.")
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: _Call[T]) -> T:
        return call.read(self._http.request(call.method, call.path, json=call.body, params=call.query))


class AsyncRackControl:
    """The same for async code."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False)

    async def machines(self) -> list[MachineView]:
        """Return all machines as they really are."""
        return await self._send(_machines())

    async def machine(self, name: str) -> MachineView:
        """Return a machine as it really is."""
        return await self._send(_machine(name))

    async def faults(self) -> list[FaultDescription]:
        """Return the faults that there are."""
        return await self._send(_faults())

    async def fault_on(
        self, name: str, fault: Fault | str, *, value: float | None = None, times: int | None = None
    ) -> MachineView:
        """Switch a fault on, for good or for the next *times* times."""
        return await self._send(_fault_on(name, fault, value, times))

    async def fault_off(self, name: str, fault: Fault | str) -> MachineView:
        """Switch a fault off."""
        return await self._send(_fault_off(name, fault))

    async def pull_mains(self, name: str, *, feed: str | None = None) -> MachineView:
        """Take the power of all feeds, or of one."""
        return await self._send(_set_mains(name, feed, on=False))

    async def restore_mains(self, name: str, *, feed: str | None = None) -> MachineView:
        """Give the power of all feeds back, or of one."""
        return await self._send(_set_mains(name, feed, on=True))

    async def press_power_button(self, name: str, *, hold: bool = False) -> MachineView:
        """Press the button on the machine's front."""
        return await self._send(_press_power_button(name, hold=hold))

    async def set_boot_server(self, url: str, *, vlan: int | None = None) -> None:
        """Say where machines boot from the network; empty for nowhere."""
        await self._send(_set_boot_server(url, vlan))

    async def set_traffic(self, name: str, nic: str, *, sends: float, receives: float) -> MachineView:
        """Let a NIC send and receive so many octets in a simulated second while its machine runs."""
        return await self._send(_set_traffic(name, nic, sends, receives))

    async def switches(self) -> list[SwitchView]:
        """Return all switches as they really are."""
        return await self._send(_switches())

    async def switch(self, name: str) -> SwitchView:
        """Return a switch as it really is."""
        return await self._send(_switch(name))

    async def switch_fault_on(
        self, name: str, fault: Fault | str, *, value: float | None = None, times: int | None = None
    ) -> SwitchView:
        """Switch a fault of a switch on, for good or for the next *times* times."""
        return await self._send(_switch_fault_on(name, fault, value, times))

    async def switch_fault_off(self, name: str, fault: Fault | str) -> SwitchView:
        """Switch a fault of a switch off."""
        return await self._send(_switch_fault_off(name, fault))

    async def swap_cables(self, name: str, port: int, other: int) -> SwitchView:
        """Plug what is in one port of a switch into another, and the reverse."""
        return await self._send(_swap_cables(name, port, other))

    async def restart_switch(self, name: str) -> SwitchView:
        """Restart a switch: settings stay, counters and uptime begin at zero, a crash is over."""
        return await self._send(_restart_switch(name))

    async def pdus(self) -> list[PduView]:
        """Return all PDUs as they really are."""
        return await self._send(_pdus())

    async def pdu(self, name: str) -> PduView:
        """Return a PDU as it really is."""
        return await self._send(_pdu(name))

    async def pdu_fault_on(
        self, name: str, fault: Fault | str, *, value: float | None = None, times: int | None = None
    ) -> PduView:
        """Switch a fault of a PDU on, for good or for the next *times* times."""
        return await self._send(_pdu_fault_on(name, fault, value, times))

    async def pdu_fault_off(self, name: str, fault: Fault | str) -> PduView:
        """Switch a fault of a PDU off."""
        return await self._send(_pdu_fault_off(name, fault))

    async def log(self, *, after: int = 0, device: str | None = None) -> list[EventView]:
        """Return all events after number *after*."""
        events: list[EventView] = []
        while True:
            page = (await self._send(_log(after, device, PAGE))).events
            events += page
            if len(page) < PAGE:
                return events
            after = page[-1].seq

    async def last_event(self) -> int:
        """Return the number of the newest event."""
        return (await self._send(_log(0, None, 0))).last

    async def reset(self, machine: str | None = None) -> list[MachineView]:
        """Put all machines, or one, back to the start: no faults, power as configured. The log stays."""
        return await self._send(_reset(machine))

    async def wait_for_event(
        self, device: str, action: Action | str, *, after: int = 0, timeout: float = TIMEOUT_SECONDS
    ) -> EventView:
        """Return the first such event after number *after*; TimeoutError when it does not come."""
        async with asyncio.timeout(timeout):
            while True:
                found = _first(await self.log(after=after, device=device), action)
                if found is not None:
                    return found
                await asyncio.sleep(POLL_SECONDS)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: _Call[T]) -> T:
        return call.read(await self._http.request(call.method, call.path, json=call.body, params=call.query))


def _first(events: list[EventView], action: Action | str) -> EventView | None:
    return next((event for event in events if event.action == action), None)


def _sentence(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
