"""The agent against a manager that comes and goes; the host is a machine of the virtual rack."""

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rackhand.agent import commands, main
from rackhand.agent.commands import Report
from rackhand.agent.host import Host, KernelLine
from rackhand.agent.journal import INTERRUPTED, Journal
from rackhand.agent.protocol import Manager
from rackhand.sim.clock import Timer
from rackhand.sim.config import MachineConfig
from rackhand.sim.demo import demo_rack
from rackhand.sim.events import EventLog
from rackhand.sim.faults import Faults
from rackhand.sim.host import SimulatedHost
from rackhand.sim.machine import Machine
from rackhand.sim.medium import Medium

NONCE = "nonce-1"


class LookedAtClock:
    """A second passes with every look at it."""

    scale = 1e6

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        self.time += 1.0
        return self.time

    def call_later(self, _seconds: float, _callback: Callable[[], None]) -> Timer:
        raise AssertionError("nothing of this machine has a timer")


class Rebooting(SimulatedHost):
    """Counts instead of restarting."""

    reboots = 0

    def reboot(self) -> None:
        self.reboots += 1


def host() -> Rebooting:
    config: MachineConfig = demo_rack(1).machines[0]
    log = EventLog()
    machine = Machine(config, clock=LookedAtClock(), log=log, faults=Faults(config.name, log))
    return Rebooting(
        machine=machine,
        media=tuple(Medium(disk) for disk in config.disks),
        dead=threading.Event(),
        on_loop=lambda step: step(),
        has_link=lambda _nic: True,
    )


@dataclass
class Script:
    """A manager that answers by a script: each entry is used once; a number is an HTTP status."""

    answers: dict[str, list[Any]]
    seen: list[tuple[str, Any, str | None]] = field(default_factory=list)

    def verbs(self) -> list[str]:
        return [verb for verb, _, _ in self.seen]

    def bodies(self, wanted: str) -> list[Any]:
        return [body for verb, body, _ in self.seen if verb == wanted]


@pytest.fixture
def serving() -> Iterator[Callable[[Script, int], int]]:
    """Start a manager on a port (0 for any) and give the port; all are closed at the end."""
    servers: list[socketserver.BaseServer] = []

    def start(script: Script, port: int = 0) -> int:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: object) -> None:
                pass

            def do_POST(self) -> None:
                verb = self.path.rpartition("/")[2]
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                script.seen.append((verb, body, self.headers["authorization"]))
                queue = script.answers.get(verb, [])
                answer = queue.pop(0) if queue else {}
                if answer is None:  # the answer is lost on the way
                    self.close_connection = True
                    return
                status, content = (
                    (answer, {"error": {"msg": "no"}}) if isinstance(answer, int) else (200, answer)
                )
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def run(
    host: Rebooting, port: int, *, journal: Journal | None = None, rests: list[float] | None = None
) -> None:
    line = KernelLine(f"http://127.0.0.1:{port}", NONCE)
    rested = [] if rests is None else rests
    main.run(host, line, Manager(line.url), journal=journal or Journal(), rest=rested.append)


def command(kind: str, number: int = 1, **args: Any) -> dict[str, Any]:
    return {"command": {"id": f"7.step.{number}", "kind": kind, "args": args}}


REBOOT = command("reboot", 99)


def test_it_says_hello_works_and_hands_the_outcome_over(serving: Any) -> None:
    script = Script({"hello": [{"token": "T"}], "next": [{"command": None}, command("inventory"), REBOOT]})
    machine = host()
    run(machine, serving(script))
    assert script.verbs() == ["hello", "next", "next", "log", "log", "result", "next", "result"]
    assert [body["lines"][0].partition(" after")[0] for body in script.bodies("log")] == [
        "inventory: begun",
        "inventory: done",
    ]
    (greeting,) = script.bodies("hello")
    assert (greeting["nonce"], greeting["boot_id"], greeting["serial"]) == (
        NONCE,
        machine.boot_id(),
        "RV00001",
    )
    assert greeting["macs"] == [nic.mac for nic in machine.machine.config.nics]
    assert {authorization for verb, _, authorization in script.seen if verb != "hello"} == {"Bearer T"}
    first, second = script.bodies("result")
    assert (first["command"], first["ok"]) == ("7.step.1", True)
    assert first["result"]["board"]["serial"] == "RV00001"
    assert (second["command"], second["ok"]) == ("7.step.99", True)
    assert machine.reboots == 1


def test_it_waits_longer_and_longer_for_a_manager_that_is_away(serving: Any) -> None:
    script = Script(
        {"hello": [503, 503, 503, {"token": "T"}], "next": [500, None, REBOOT], "result": [None, 502, {}]}
    )
    rests: list[float] = []
    run(host(), serving(script), rests=rests)
    assert script.verbs().count("hello") == 4
    assert len(script.bodies("result")) >= 2
    assert {json.dumps(body) for body in script.bodies("result")} == {json.dumps(script.bodies("result")[0])}
    assert rests[:3] == sorted(rests[:3])
    assert 0.25 <= rests[0] <= 0.5
    assert 1.0 <= rests[2] <= 2.0


def test_a_command_that_comes_again_is_not_done_again(serving: Any) -> None:
    script = Script({"hello": [{"token": "T"}], "next": [command("wipe", level="full", seconds=60), REBOOT]})
    machine = host()
    journal = Journal()
    run(machine, serving(script), journal=journal)
    (first, _) = script.bodies("result")
    assert [disk["erased"] for disk in first["result"]["disks"]] == [True, True]
    assert [medium.erased for medium in machine.media] == [1, 1]
    again = Script({"hello": [{"token": "U"}], "next": [command("wipe", level="full", seconds=60), REBOOT]})
    again.answers["next"][1] = command("reboot", 100)
    run(machine, serving(again), journal=journal)
    assert again.bodies("result")[0] == first
    assert [medium.erased for medium in machine.media] == [1, 1]


def test_what_was_begun_and_cut_off_is_told_as_such(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin("7.step.1")
    journal.end("7.step.2", {"ok": True, "result": {}, "error": None})
    # The next agent of the same boot finds what the first one wrote.
    later = Journal(tmp_path / "journal")
    assert later.outcome("7.step.1") == INTERRUPTED
    assert later.outcome("7.step.2") == {"ok": True, "result": {}, "error": None}
    assert later.outcome("7.step.3") is None
    with pytest.raises(ValueError, match="is no id of a command"):
        later.begin("../7")


def test_there_is_no_command_but_those_of_the_table(serving: Any) -> None:
    wrong = [
        command("sh", 1, text="rm -rf /"),
        command("wipe", 2),
        command("wipe", 3, level="all", seconds=1),
    ]
    script = Script({"hello": [{"token": "T"}], "next": [*wrong, REBOOT]})
    machine = host()
    run(machine, serving(script))
    errors = [body["error"] for body in script.bodies("result")[:3]]
    assert errors[0] == "This agent has no command 'sh'."
    assert all(error.startswith("wipe: the arguments are wrong") for error in errors[1:])
    assert [medium.erased for medium in machine.media] == [0, 0]


def test_a_wipe_that_is_not_wanted_any_more_stops(serving: Any) -> None:
    script = Script(
        {"hello": [{"token": "T"}], "next": [command("wipe", level="full", seconds=60), REBOOT],
         "progress": [{"wanted": False}]}
    )  # fmt: skip
    machine = host()
    run(machine, serving(script))
    assert script.bodies("result")[0]["error"] == "It was not wanted any more."


def test_a_wipe_goes_on_while_nobody_listens(serving: Any) -> None:
    script = Script(
        {"hello": [{"token": "T"}], "next": [command("wipe", level="full", seconds=60), REBOOT],
         "progress": [401, 503], "log": [503, 401]}
    )  # fmt: skip
    machine = host()
    run(machine, serving(script))
    assert script.bodies("result")[0]["ok"]
    assert [medium.erased for medium in machine.media] == [1, 1]


def test_a_command_that_says_nothing_is_heard_all_the_same(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def think(_host: Host, _args: Mapping[str, Any], report: Report) -> dict[str, Any]:
        report(40, "the initial ramdisk")
        time.sleep(0.5)
        return {}

    monkeypatch.setattr(commands, "PULSE_EVERY", 0.05)
    monkeypatch.setattr(commands, "REPORT_EVERY", 0.0)
    monkeypatch.setattr(commands, "WORK", {"think": think})
    script = Script({"hello": [{"token": "T"}], "next": [command("think"), REBOOT]})
    run(host(), serving(script))
    said = script.bodies("progress")
    assert len(said) >= 3
    assert {(body["percent"], body["message"]) for body in said} == {(40, "the initial ramdisk")}


def test_a_session_that_is_over_is_begun_again(serving: Any) -> None:
    script = Script({"hello": [{"token": "T"}, {"token": "U"}], "next": [401, REBOOT]})
    run(host(), serving(script))
    assert script.verbs() == ["hello", "next", "hello", "next", "result"]
    assert script.seen[-1][2] == "Bearer U"


def test_a_boot_that_nobody_knows_goes_back_to_its_disk(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "UNKNOWN_FOR", 0.0)
    script = Script({"hello": [403]})
    machine = host()
    run(machine, serving(script))
    assert (script.verbs(), machine.reboots) == (["hello"], 1)


def test_an_outcome_that_is_refused_is_not_sent_for_ever(serving: Any) -> None:
    script = Script(
        {"hello": [{"token": "T"}], "next": [command("inventory"), REBOOT], "result": [413, {}, {}]}
    )
    run(host(), serving(script))
    first, second, _ = script.bodies("result")
    assert (first["ok"], second["ok"]) == (True, False)
    assert second["error"].startswith("The manager refused the outcome")


def test_the_kernel_line_says_where_the_manager_is() -> None:
    line = KernelLine.parse("initrd=x rackhand.url=http://192.0.2.1:8682/ rackhand.nonce=abc console=tty0\n")
    assert (line.url, line.nonce) == ("http://192.0.2.1:8682", "abc")
    assert "abc" not in repr(line)
    with pytest.raises(ValueError, match=r"rackhand\.nonce="):
        KernelLine.parse("rackhand.url=http://192.0.2.1")
