"""The agent's life: say hello, ask for something to do, do it, hand over what came of it, until told to restart.

It is patient: a manager that is away is asked again with growing pauses, for as long as it takes. When the manager does
not know this boot any more, there is nothing left to wait for: the machine restarts from its disk.
"""

import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from rackhand.agent.commands import Outcome, Report, execute
from rackhand.agent.host import Host, HostError, KernelLine
from rackhand.agent.journal import Journal
from rackhand.agent.protocol import VERSION, Command, Json, Manager, ManagerAway, Misunderstood, SessionOver

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
UNKNOWN_FOR = 600.0  # seconds without being known, after which the machine goes back to its disk
STATE = Path("/run/rackhand-agent")

T = TypeVar("T")
Rest = Callable[[float], None]


def run(host: Host, line: KernelLine, manager: Manager, *, journal: Journal, rest: Rest = time.sleep) -> None:
    """Serve *manager* until the machine is told to restart or to switch off; *rest* waits between attempts."""
    greeting = _greeting(host, line)
    unknown_since = time.monotonic()
    while True:
        try:
            _patiently(lambda: manager.hello(greeting), rest)
        except (SessionOver, Misunderstood) as error:
            _say(str(error))
            if time.monotonic() - unknown_since >= UNKNOWN_FOR:
                _say("Going back to the disk.")
                host.reboot()
                return
            rest(PAUSES[-1])
            continue
        try:
            _serve(host, manager, journal, rest)
        except SessionOver as error:
            _say(str(error))
            unknown_since = time.monotonic()
            rest(PAUSES[0])
        else:
            return


def _greeting(host: Host, line: KernelLine) -> Json:
    try:
        board = host.board()
        serial, uuid = board.serial, board.uuid
    except HostError:
        serial = uuid = ""
    return {
        "protocol": VERSION,
        "nonce": line.nonce,
        "boot_id": host.boot_id(),
        "macs": [nic.mac for nic in host.nics()],
        "serial": serial,
        "uuid": uuid,
        "boot_mode": host.boot_mode(),
    }


def _serve(host: Host, manager: Manager, journal: Journal, rest: Rest) -> None:
    """Do one command after the other, until one of them ends this boot."""
    while True:
        command = _patiently(manager.next_command, rest)
        if command is None:
            continue
        outcome, then = _do_once(host, manager, journal, command)
        try:
            _patiently(partial(manager.result, command, outcome), rest)
        except Misunderstood as error:
            refusal = Outcome(ok=False, error=f"The manager refused the outcome: {error}").as_json()
            _patiently(partial(manager.result, command, refusal), rest)
        if then is not None:
            then()
            return


def _do_once(
    host: Host, manager: Manager, journal: Journal, command: Command
) -> tuple[Json, Callable[[], None] | None]:
    known = journal.outcome(command.id)
    if known is not None:
        return known, None
    try:
        journal.begin(command.id)
    except ValueError as error:
        return Outcome(ok=False, error=str(error)).as_json(), None
    outcome = execute(host, command, Report(manager, command))
    journal.end(command.id, outcome.as_json())
    return outcome.as_json(), outcome.then


def _patiently(request: Callable[[], T], rest: Rest) -> T:
    """Repeat *request* while the manager is away. Agents that lost it together do not come back together."""
    attempt = 0
    while True:
        try:
            return request()
        except ManagerAway as away:
            _say(str(away))
            pause = PAUSES[min(attempt, len(PAUSES) - 1)]
            rest(away.retry_after or pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
            attempt += 1


def _say(words: str) -> None:
    print(f"rackhand-agent: {words}", file=sys.stderr, flush=True)  # noqa: T201  # the ramdisk's console


def main() -> None:
    """Run on the machine that was booted."""
    from rackhand.agent.linux import LinuxHost

    line = KernelLine.parse(Path("/proc/cmdline").read_text())
    run(LinuxHost(), line, Manager(line.url), journal=Journal(STATE / "journal"))


if __name__ == "__main__":
    main()
