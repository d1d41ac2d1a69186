"""What the manager can ask of a machine: a closed table of typed commands. Nothing from the network is run as text."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rackhand.agent.bmc import set_bmc_lan, set_up_bmc
from rackhand.agent.host import Host, HostError, Rescue
from rackhand.agent.install import configure_system, write_image
from rackhand.agent.inventory import take_inventory
from rackhand.agent.protocol import Command, Manager, ManagerAway, Misunderstood, SessionOver
from rackhand.agent.speed import measure_speed
from rackhand.agent.wipe import wipe_disks

REPORT_EVERY = 2.0
PULSE_EVERY = 20.0

Json = dict[str, Any]


class Unwanted(Exception):
    """The manager does not want the command any more."""


NO_REASON_TO_STOP = (ManagerAway, Misunderstood, SessionOver)


class Report:
    """Tells the manager how far a command is, not too often; one that does not listen is no reason to stop.

    Within `pulsing` it tells the last word again while the command says nothing: making an initial ramdisk can take
    minutes on a slow machine, and an agent that is silent for long is taken for dead.
    """

    def __init__(self, manager: Manager, command: Command) -> None:
        self._manager = manager
        self._command = command
        self._turn = threading.Lock()
        self._next = 0.0
        self._last: tuple[int | None, str] = (None, command.kind)
        self._is_wanted = True

    def __call__(self, percent: int | None, message: str) -> None:
        """Raise `Unwanted` when the manager says so."""
        with self._turn:
            self._last = (percent, message)
            if time.monotonic() >= self._next:
                self._send()
        if not self._is_wanted:
            raise Unwanted

    def note(self, words: str) -> None:
        """Tell a line for the log, or do without when the manager is away."""
        with self._turn, contextlib.suppress(*NO_REASON_TO_STOP):
            self._manager.log([words])

    @contextlib.contextmanager
    def pulsing(self) -> Iterator[None]:
        """Be heard at least every `PULSE_EVERY` seconds until the end of the block."""
        is_over = threading.Event()
        pulse = threading.Thread(target=self._pulse, args=(is_over,), name="pulse", daemon=True)
        pulse.start()
        try:
            yield
        finally:
            is_over.set()
            pulse.join()

    def _pulse(self, is_over: threading.Event) -> None:
        while not is_over.wait(PULSE_EVERY):
            with self._turn:
                if time.monotonic() >= self._next + PULSE_EVERY - REPORT_EVERY:
                    self._send()

    def _send(self) -> None:
        with contextlib.suppress(*NO_REASON_TO_STOP):
            self._is_wanted = self._manager.progress(self._command, *self._last)
        self._next = time.monotonic() + REPORT_EVERY


Work = Callable[[Host, Mapping[str, Any], Report], "Json | Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What came of a command, as it goes to the manager; *then* is done when the manager has it."""

    ok: bool
    result: Json | None = None
    error: str | None = None
    then: Callable[[], None] | None = None

    def as_json(self) -> Json:
        """What is sent and kept."""
        return {"ok": self.ok, "result": self.result, "error": self.error}


def _inventory(host: Host, _args: Mapping[str, Any], _report: Report) -> Json:
    return take_inventory(host)


def _speed_test(host: Host, _args: Mapping[str, Any], report: Report) -> Json:
    return measure_speed(host, report)


def _rescue(host: Host, args: Mapping[str, Any], _report: Report) -> Outcome:
    """Let the customer in, and stay until `seconds` are over; then the machine restarts from its disk by itself.

    The manager forgets this boot, and is out of reach when the ports are back in the customer's network: nothing else
    than the power or this bound ends it.
    """
    names = ("ssh_keys", "mac", "addresses", "gateways", "resolvers")
    rescue = Rescue(args["password_hash"], **{name: args[name] for name in names})
    seconds = float(args["seconds"])
    host.start_rescue(rescue)

    def stay() -> None:
        host.take_addresses(rescue)
        host.pause(seconds)
        host.reboot()

    return Outcome(ok=True, result={}, then=stay)


WORK: Mapping[str, Work] = {
    "inventory": _inventory,
    "speed_test": _speed_test,
    "set_up_bmc": set_up_bmc,
    "set_bmc_lan": set_bmc_lan,
    "wipe": wipe_disks,
    "write_image": write_image,
    "configure_system": configure_system,
    "rescue": _rescue,
}
ENDINGS: Mapping[str, Callable[[Host], None]] = {
    "reboot": lambda host: host.reboot(),
    "power_off": lambda host: host.power_off(),
}


def execute(host: Host, command: Command, report: Report) -> Outcome:
    """Do *command*; whatever goes wrong is its outcome."""
    if (ending := ENDINGS.get(command.kind)) is not None:
        return Outcome(ok=True, result={}, then=lambda: ending(host))
    work = WORK.get(command.kind)
    if work is None:
        return Outcome(ok=False, error=f"This agent has no command {command.kind!r}.")
    begin = time.monotonic()
    report.note(f"{command.kind}: begun")
    outcome = _work(work, host, command, report)
    report.note(f"{command.kind}: {outcome.error or 'done'} after {time.monotonic() - begin:.1f} s")
    return outcome


def _work(work: Work, host: Host, command: Command, report: Report) -> Outcome:
    try:
        with report.pulsing():
            done = work(host, command.args, report)
        return done if isinstance(done, Outcome) else Outcome(ok=True, result=done)
    except Unwanted:
        return Outcome(ok=False, error="It was not wanted any more.")
    except HostError as error:
        return Outcome(ok=False, error=str(error))
    except (KeyError, TypeError, ValueError) as error:
        return Outcome(ok=False, error=f"{command.kind}: the arguments are wrong: {error!r}")
