"""A running rack: every machine, its protocol faces and the control API in one process and one event loop."""

import asyncio
import contextlib
import dataclasses
import resource
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
import uvicorn
from starlette.types import ASGIApp

from rackhand.sim.bmc import Bmc, BmcState
from rackhand.sim.bmc_ports import MovedPort, Serve, bind
from rackhand.sim.certificate import write_certificate
from rackhand.sim.client import RackControl
from rackhand.sim.clock import ScaledClock
from rackhand.sim.config import BmcConfig, BmcKind, BmcUser, MachineConfig, RackConfig, SnmpConfig
from rackhand.sim.control import control_app
from rackhand.sim.demo import demo_rack
from rackhand.sim.events import Event, EventLog
from rackhand.sim.faults import DeviceKind, Faults
from rackhand.sim.ipmi import IpmiFace
from rackhand.sim.machine import Machine, MachineState
from rackhand.sim.netboot import BootNetwork
from rackhand.sim.network import Network
from rackhand.sim.pdu import Feeds, Pdu, PduState
from rackhand.sim.pdu_mib import pdu_mib
from rackhand.sim.redfish import RedfishApp
from rackhand.sim.snmp import SnmpFace
from rackhand.sim.state import Keeper, Kept, StateFile
from rackhand.sim.switch import Switch, SwitchState
from rackhand.sim.switch_mib import switch_mib
from rackhand.sim.views import bmc_url

__all__ = [
    "BmcConfig",
    "BmcKind",
    "BmcUser",
    "MachineConfig",
    "Rack",
    "RackConfig",
    "RackThread",
    "demo_rack",
    "running_rack",
    "serve_rack",
]

SPARE_FILES = 512  # file descriptors besides one per machine: connections, files, the loop
START_SECONDS = 30

log = structlog.get_logger()


class Rack:
    """All devices of a running rack. *config* holds the ports that are really used."""

    def __init__(self, config: RackConfig, events: EventLog) -> None:
        clock = ScaledClock(config.time_scale)
        self.config = config
        self.log = events
        self.boot_network = BootNetwork(config.boot_url, config.provisioning_vlan)
        self.machines: dict[str, Machine] = {}
        self.bmcs: dict[str, Bmc] = {}
        for machine_config in config.machines:
            name = machine_config.name
            machine = Machine(machine_config, clock=clock, log=events, faults=Faults(name, events))
            self.machines[name] = machine
            self.bmcs[name] = Bmc(machine)
            self.boot_network.attach(machine)
        self.boot_network.bmcs = self.bmcs
        self.switches = {
            switch.name: Switch(
                switch, clock=clock, log=events, faults=Faults(switch.name, events, DeviceKind.SWITCH)
            )
            for switch in config.switches
        }
        self.pdus = {
            pdu.name: Pdu(pdu, clock=clock, log=events, faults=Faults(pdu.name, events, DeviceKind.PDU))
            for pdu in config.pdus
        }
        self.feeds = Feeds(self.pdus.values(), self.machines, events)
        self.network = Network(config.cables, self.switches, self.bmcs, self.pdus, events)
        if config.cables:
            self.boot_network.vlan_of = self.network.vlan_of
        events.watch(self._tell_console)

    def _tell_console(self, event: Event) -> None:
        bmc = self.bmcs.get(event.device)
        if bmc is not None:
            bmc.console.tell(event)

    @property
    def control_url(self) -> str:
        """Where the control API is."""
        return f"http://{self.config.control_host}:{self.config.control_port}"


@contextlib.asynccontextmanager
async def running_rack(
    config: RackConfig, state_file: Path | None = None, *, log_file: Path | None = None
) -> AsyncIterator[Rack]:
    """Run a rack until the block ends.

    With *state_file* machines continue as they were when the rack was last stopped, and are saved there.
    With *log_file* every event is also appended there, one JSON object a line. Raises OSError when a port is
    taken.
    """
    _allow_open_files(len(config.machines) + len(config.switches) + len(config.pdus) + SPARE_FILES)
    async with contextlib.AsyncExitStack() as stack:
        sockets = stack.enter_context(_bound_sockets(config))
        events = EventLog(log_file)
        stack.callback(events.close)
        rack = Rack(sockets.config, events)
        _start_devices(rack, state_file, stack)
        await _serve_ipmi(rack, sockets, stack)
        await _serve_redfish(rack, sockets, stack)
        await _serve_snmp(rack, sockets, stack)
        await stack.enter_async_context(_serving(control_app(rack), [sockets.control]))
        log.info("rack is up", machines=len(rack.machines), control=rack.control_url)
        yield rack


async def serve_rack(
    config: RackConfig, state_file: Path | None = None, *, log_file: Path | None = None
) -> None:
    """Run a rack and print where things are, until cancelled."""
    async with running_rack(config, state_file, log_file=log_file) as rack:
        print("\n".join(directory(rack)), flush=True)  # noqa: T201  # this is what the verb is for
        await asyncio.Event().wait()


class RackThread:
    """A rack in a thread and an event loop of its own, for tests: `with RackThread(demo_rack()) as rack:`.

    `config` holds the real ports, `control` is a client of the control API.
    """

    control: RackControl

    def __init__(
        self,
        config: RackConfig | None = None,
        *,
        state_file: Path | None = None,
        log_file: Path | None = None,
    ) -> None:
        self._asked = demo_rack() if config is None else config
        self._state_file = state_file
        self._log_file = log_file
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="rack", daemon=True)
        self.rack: Rack | None = None

    def start(self) -> Self:
        """Start, and return when everything answers. Raises what kept the rack from starting."""
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise TimeoutError("The rack did not start.")
        if self._error is not None:
            self._thread.join()
            raise self._error
        self.control = RackControl(self.control_url)
        return self

    def stop(self) -> None:
        """Stop, and return when everything is closed."""
        self.control.close()
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_SECONDS)

    @property
    def config(self) -> RackConfig:
        """The configuration with the ports that are really used."""
        assert self.rack is not None, "not started"  # noqa: S101  # a mistake of the test
        return self.rack.config

    @property
    def control_url(self) -> str:
        """Where the control API is."""
        assert self.rack is not None, "not started"  # noqa: S101  # a mistake of the test
        return self.rack.control_url

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001  # raised again by start()
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with running_rack(self._asked, self._state_file, log_file=self._log_file) as rack:
            self.rack = rack
            self._started.set()
            await self._stop.wait()


@dataclasses.dataclass
class _Sockets:
    """Bound sockets, and the configuration with their ports in it."""

    config: RackConfig
    bmcs: dict[str, socket.socket]
    agents: dict[str, socket.socket]
    control: socket.socket


@contextlib.contextmanager
def _bound_sockets(config: RackConfig) -> Iterator[_Sockets]:
    with contextlib.ExitStack() as stack:
        bmcs: dict[str, socket.socket] = {}
        machines = []
        for machine in config.machines:
            if machine.bmc.kind is BmcKind.NONE:
                machines.append(machine)
                continue
            kind = socket.SOCK_DGRAM if machine.bmc.kind is BmcKind.IPMI else socket.SOCK_STREAM
            bound = stack.enter_context(bind(kind, machine.bmc.host, machine.bmc.port))
            bmcs[machine.name] = bound
            address = dataclasses.replace(machine.bmc, port=bound.getsockname()[1])
            machines.append(dataclasses.replace(machine, bmc=address))
        agents: dict[str, socket.socket] = {}
        switches = [
            dataclasses.replace(switch, snmp=_bind_agent(switch.name, switch.snmp, agents, stack))
            for switch in config.switches
        ]
        pdus = [
            dataclasses.replace(pdu, snmp=_bind_agent(pdu.name, pdu.snmp, agents, stack))
            for pdu in config.pdus
        ]
        control = stack.enter_context(bind(socket.SOCK_STREAM, config.control_host, config.control_port))
        port = control.getsockname()[1]
        real = dataclasses.replace(
            config,
            machines=tuple(machines),
            switches=tuple(switches),
            pdus=tuple(pdus),
            control_port=port,
        )
        yield _Sockets(real, bmcs, agents, control)


def _bind_agent(
    name: str, snmp: SnmpConfig, agents: dict[str, socket.socket], stack: contextlib.ExitStack
) -> SnmpConfig:
    bound = stack.enter_context(bind(socket.SOCK_DGRAM, snmp.host, snmp.port))
    agents[name] = bound
    return dataclasses.replace(snmp, port=bound.getsockname()[1])


def _kept(rack: Rack) -> dict[str, Kept]:
    """All devices; PDUs before the machines that they feed, and these before the switches that see their links."""
    kept: dict[str, Kept] = {
        name: Keeper(PduState, pdu.state, pdu.restore) for name, pdu in rack.pdus.items()
    }
    kept |= {
        name: Keeper(MachineState, machine.state, machine.restore) for name, machine in rack.machines.items()
    }
    kept |= {f"{name} bmc": Keeper(BmcState, bmc.state, bmc.restore) for name, bmc in rack.bmcs.items()}
    kept |= {
        name: Keeper(SwitchState, switch.state, partial(rack.network.restore, switch))
        for name, switch in rack.switches.items()
    }
    return kept


def _start_devices(rack: Rack, state_file: Path | None, stack: contextlib.AsyncExitStack) -> None:
    for machine in rack.machines.values():
        machine.return_to_start()
        stack.callback(machine.stop)
    for pdu in rack.pdus.values():
        stack.callback(pdu.stop)
    if state_file is not None:
        file = StateFile(state_file, _kept(rack))
        file.load()
        stack.callback(file.close)

        def save_soon(_event: Event) -> None:
            file.save_soon()

        rack.log.watch(save_soon)
    for pdu in rack.pdus.values():
        pdu.settle()
    for switch in rack.switches.values():
        switch.settle()


async def _serve_ipmi(rack: Rack, sockets: _Sockets, stack: contextlib.AsyncExitStack) -> None:
    for name, bmc in rack.bmcs.items():
        if bmc.config.bmc.kind is BmcKind.IPMI:
            await stack.enter_async_context(_serving_ipmi(bmc, sockets.bmcs[name]))
            _follow(bmc, socket.SOCK_DGRAM, partial(_serving_ipmi, bmc), stack)


@contextlib.asynccontextmanager
async def _serving_ipmi(bmc: Bmc, bound: socket.socket) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(partial(IpmiFace, bmc), sock=bound)
    try:
        yield
    finally:
        transport.close()


def _follow(bmc: Bmc, kind: socket.SocketKind, serve: Serve, stack: contextlib.AsyncExitStack) -> None:
    """Have the BMC answered for wherever it is moved to, and where it was when the rack was last stopped."""
    port = MovedPort(bmc, kind, serve)
    bmc.has_moved = port.follow
    port.follow()
    stack.push_async_callback(port.close)


async def _serve_snmp(rack: Rack, sockets: _Sockets, stack: contextlib.AsyncExitStack) -> None:
    loop = asyncio.get_running_loop()
    faces = {name: partial(SnmpFace, switch, switch_mib(switch)) for name, switch in rack.switches.items()}
    faces |= {name: partial(SnmpFace, pdu, pdu_mib(pdu)) for name, pdu in rack.pdus.items()}
    for name, face in faces.items():
        transport, _ = await loop.create_datagram_endpoint(face, sock=sockets.agents[name])
        stack.callback(transport.close)


async def _serve_redfish(rack: Rack, sockets: _Sockets, stack: contextlib.AsyncExitStack) -> None:
    bmcs = [bmc for bmc in rack.bmcs.values() if bmc.config.bmc.kind is BmcKind.REDFISH]
    if not bmcs:
        return
    app = RedfishApp()
    for bmc in bmcs:
        app.add(bmc.config.bmc.port, bmc)
    certificate = None
    if rack.config.tls:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rack-")))
        certificate = write_certificate(folder, {bmc.config.bmc.host for bmc in bmcs})
    listening = [sockets.bmcs[bmc.config.name] for bmc in bmcs]
    await stack.enter_async_context(_serving(app, listening, certificate=certificate))
    for bmc in bmcs:
        _follow(
            bmc,
            socket.SOCK_STREAM,
            lambda bound: _serving(app, [bound], certificate=certificate),
            stack,
        )
    stack.callback(app.stop)


class _Server(uvicorn.Server):
    """A server that leaves the signals to the program it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do not."""
        yield


@contextlib.asynccontextmanager
async def _serving(
    app: ASGIApp, sockets: list[socket.socket], *, certificate: tuple[Path, Path] | None = None
) -> AsyncIterator[None]:
    server = _Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=None if certificate is None else str(certificate[0]),
            ssl_keyfile=None if certificate is None else str(certificate[1]),
        )
    )
    task = asyncio.create_task(server.serve(sockets))
    try:
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("The server ended before it started.")
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard > soft):
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def directory(rack: Rack) -> Iterator[str]:
    """Where things are, line by line."""
    yield f"Control API  {rack.control_url}"
    yield f"{'machine':<12} {'rack':<8} {'unit':>4}  {'configuration':<14} {'BMC':<32} {'user':<8} password"
    for machine in rack.config.machines:
        bmc = machine.bmc
        url = bmc_url(bmc.kind, bmc.host, bmc.port, tls=rack.config.tls)
        yield (
            f"{machine.name:<12} {machine.rack:<8} {machine.unit:>4}  {machine.configuration:<14} {url:<32} "
            f"{bmc.user:<8} {bmc.password}"
        )
    yield f"{'device':<12} {'rack':<8} {'unit':>4}  {'model':<14} {'SNMP':<32} {'reads with':<16} writes with"
    for switch in rack.config.switches:
        yield _agent(switch.name, switch.rack, str(switch.unit), switch.model, switch.snmp)
    for pdu in rack.config.pdus:
        yield _agent(pdu.name, pdu.rack, "", pdu.kind, pdu.snmp)


def _agent(name: str, cabinet: str, unit: str, model: str, snmp: SnmpConfig) -> str:
    url = f"udp://{snmp.host}:{snmp.port}"
    return f"{name:<12} {cabinet:<8} {unit:>4}  {model:<14} {url:<32} {snmp.read_community:<16} {snmp.write_community}"
