"""What the manager can ask of a machine: a closed table of typed commands. Nothing from the network is run as text."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rackhand.agent.host import Host, HostError, Rescue
from rackhand.agent.install import configure_system, write_image
from rackhand.agent.inventory import take_inventory
from rackhand.agent.protocol import Command, Manager, ManagerAway, Misunderstood, SessionOver
from rackhand.agent.speed import measure_speed
from rackhand.agent.wipe import wipe_disks

REPORT_EVERY = 2.0

Json = dict[str, Any]


class Unwanted(Exception):
    """The manager does not want the command any more."""


NO_REASON_TO_STOP = (ManagerAway, Misunderstood, SessionOver)


class Report:
    """Tells the manager how far a command is, not too often; one that does not listen is no reason to stop."""

    def __init__(self, manager: Manager, command: Command) -> None:
        self._manager = manager
        self._command = command
        self._next = 0.0

    def __call__(self, percent: int | None, message: str) -> None:
        """Raise `Unwanted` when the manager says so."""
        if time.monotonic() < self._next:
            return
        try:
            wanted = self._manager.progress(self._command, percent, message)
        except NO_REASON_TO_STOP:
            wanted = True
        self._next = time.monotonic() + REPORT_EVERY
        if not wanted:
            raise Unwanted

    def note(self, words: str) -> None:
        """Tell a line for the log, or do without when the manager is away."""
        with contextlib.suppress(*NO_REASON_TO_STOP):
            self._manager.log([words])


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
        done = work(host, command.args, report)
        return done if isinstance(done, Outcome) else Outcome(ok=True, result=done)
    except Unwanted:
        return Outcome(ok=False, error="It was not wanted any more.")
    except HostError as error:
        return Outcome(ok=False, error=str(error))
    except (KeyError, TypeError, ValueError) as error:
        return Outcome(ok=False, error=f"{command.kind}: the arguments are wrong: {error!r}")
