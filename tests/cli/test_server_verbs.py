"""The verbs that call a server, over the product on a real port."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.conftest import ADMIN, PASSWORD
from tests.served import ServedProduct

CUSTOMER = "customer@example.com"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f laptop\n"


def rows(output: str) -> list[list[str]]:
    """The words of each line of a table but its head."""
    return [line.split() for line in output.splitlines()[1:]]


def document(rackhand: Run, *words: object, code: int = 0) -> Any:
    return json.loads(rackhand(*words, "--json", code=code).stdout)


def test_servers_as_a_table_and_as_json(rackhand: Run) -> None:
    listed = rackhand("server", "list", "--where", "name CP 'node-%'", "--orderby", "-id", "--limit", "2")
    assert listed.stdout.splitlines()[0].split()[:4] == ["id", "name", "status", "power"]
    assert [row[1] for row in rows(listed.stdout)] == ["node-006", "node-005"]
    assert listed.stderr == "2 of 6\n"
    answer = document(rackhand, "server", "list", "--limit", "2")
    assert set(answer) == {"list", "size", "last_notify"}
    assert len(answer["list"]) == 2


def test_server_by_number_and_by_name(rackhand: Run) -> None:
    by_number, by_name = rackhand("server", "show", 1), rackhand("server", "show", "node-001")
    assert by_number.stdout == by_name.stdout
    assert "configuration  E-2336-32Gb-2x480SSD" in by_number.stdout
    assert document(rackhand, "server", "show", "node-001")["id"] == 1


def test_server_comes_and_goes(rackhand: Run) -> None:
    words = (
        "--mac",
        "00:00:5e:00:53:f0",
        "--rack",
        1,
        "--unit",
        40,
        "--set",
        "barcode=0042",
        "--set",
        'notes="x"',
    )
    added = document(rackhand, "server", "add", "srv-f0", *words)
    shown = document(rackhand, "server", "show", added["id"])
    assert (shown["name"], shown["unit"], shown["notes"], shown["is_new"]) == ("srv-f0", 40, "x", True)
    changed = rackhand("server", "edit", "srv-f0", "--in-service", "--notes", "good", "--maintenance")
    assert "was changed: notes, maintenance, is_new" in changed.stdout
    shown = document(rackhand, "server", "show", "srv-f0")
    assert (shown["is_new"], shown["notes"], shown["maintenance"]) == (False, "good", True)
    assert "what to change" in rackhand("server", "edit", "srv-f0", code=2).stderr
    assert "--yes" in rackhand("server", "delete", "srv-f0", code=2).stderr
    rackhand("server", "delete", "srv-f0", "--yes")
    assert rackhand("server", "show", "srv-f0", code=4).stderr == "There is no server srv-f0.\n"
    assert rackhand("server", "show", 9999, code=4).stderr == "There is no server 9999.\n"


def test_two_servers_of_one_name(rackhand: Run) -> None:
    first = document(rackhand, "server", "add", "twin")["id"]
    second = rackhand("server", "add", "twin", "--json", code=None)
    if second.exit_code == 0:
        assert "say the number" in rackhand("server", "show", "twin", code=2).stderr
    rackhand("server", "delete", first, "--yes")


def test_access_to_a_bmc(rackhand: Run) -> None:
    words = ("--bmc-driver", "redfish", "--bmc-host", "192.0.2.77", "--bmc-user", "ADMIN")
    assert "RACKHAND_BMC_PASSWORD" in rackhand("server", "add", "srv-bmc", *words, code=2).stderr
    rackhand("server", "add", "srv-bmc", *words, "--bmc-password-stdin", stdin="secret\n")
    assert document(rackhand, "server", "show", "srv-bmc")["bmc_connection"]["host"] == "192.0.2.77"
    rackhand("server", "delete", "srv-bmc", "--yes")


def test_power_with_its_steps(rackhand: Run) -> None:
    assert "--yes" in rackhand("server", "power", "reset", "node-001", code=2).stderr
    seen = rackhand("server", "power", "reset", "node-001", "--yes", "--wait", "--timeout", 60)
    assert "(power_reset) is complete." in seen.stdout
    assert "(power_reset): " in seen.stderr
    refused = rackhand("server", "power", "on", 1, code=5)
    assert "on" in refused.stderr
    task = document(
        rackhand, "server", "power", "off", "node-001", "--yes", "--wait", "--soft", "--hard-after", 5
    )
    assert (task["name"], task["status"]) == ("power_off", "complete")
    started = document(rackhand, "server", "power", "on", "node-001")
    assert set(started) == {"id", "task"}
    rackhand("task", "wait", started["task"])


def test_task_that_goes_on_and_is_stopped(rackhand: Run, product: ServedProduct) -> None:
    rackhand("server", "power", "reset", "node-002", "--yes", "--wait")
    product.control.fault_on("node-002", "ignore_power")
    try:
        seen = rackhand("server", "power", "off", 2, "--yes", "--wait", "--timeout", 0.5, code=8)
        assert "is still" in seen.stderr
        assert "is busy" in rackhand("server", "power", "off", 2, "--yes", code=5).stderr
        listed = rackhand("task", "list", "--active", "--where", "subject.name EQ 'node-002'")
        number = rows(listed.stdout)[0][0]
        shown = rackhand("task", "show", number).stdout
        assert "waits for" in shown
        assert "switch_off_chassis" in shown
        assert document(rackhand, "task", "show", number)["id"] == int(number)
        assert "--yes" in rackhand("task", "cancel", number, code=2).stderr
        rackhand("task", "cancel", number, "--yes")
        ended = rackhand("task", "wait", number, "--json", code=6)
        assert json.loads(ended.stdout)["status"] == "canceled"
        assert "was cancelled at switch_off_chassis" in ended.stderr
    finally:
        product.control.fault_off("node-002", "ignore_power")


def test_owner_address_and_ports(rackhand: Run) -> None:
    assert "was given" in rackhand("server", "give", "node-003", CUSTOMER).stdout
    assert rackhand("server", "give", "node-003", "nobody@example.com", code=4).stderr
    words = ("--family", "ipv4", "--domain", "web.example.com", "--main", "--wait")
    rackhand("ip", "add", "node-003", *words)
    listed = rows(rackhand("ip", "list", "node-003").stdout)
    assert [row[2:6] for row in listed] == [["allocated", "node-003", "yes", "web.example.com"]]
    address = listed[0][1]
    assert document(rackhand, "ip", "list", "--where", f"name EQ '{address}'")["size"] == 1
    rackhand("server", "suspend", 3, "--yes", "--wait")
    assert rows(rackhand("server", "list", "--where", "id EQ 3").stdout)[0][2] == "suspended"
    rackhand("server", "resume", 3, "--wait")
    assert rackhand("ip", "remove", 3, "192.0.2.200", "--yes", code=4).stderr
    rackhand("ip", "remove", "node-003", address, "--yes", "--wait", "--quarantine-hours", 0)
    rackhand("server", "release", "node-003", "--yes", "--wait", "--timeout", 110)
    assert rackhand("server", "take", "node-003", "--yes", "--wait").stdout == "Done.\n"
    assert document(rackhand, "server", "show", 3)["owner"] is None


def test_installing_and_rescue(rackhand: Run, tmp_path: Path) -> None:
    assert "Example Linux 12" in rackhand("template", "list").stdout
    key = tmp_path / "keys.pub"
    key.write_text(f"# of an operator\n{KEY}")
    words = ("install", "node-005", "Example Linux 12", "--ssh-key", key, "--domain", "db.example.com")
    rackhand("server", *words, code=2)
    rackhand("server", *words, "--yes", "--wait", "--timeout", 110)
    assert "system         Example Linux 12" in rackhand("server", "show", 5).stdout
    assert rackhand("server", "install", 5, "none", "--ssh-key", key, "--yes", code=4).stderr
    assert "RACKHAND_SYSTEM_PASSWORD" in rackhand("server", "install", 5, 1, "--yes", code=2).stderr
    seen = rackhand("server", "rescue", "node-005", "--yes", "--json", "--wait")
    assert "Password of root: " in seen.stderr
    assert json.loads(seen.stdout)["status"] == "complete"
    rackhand("server", "rescue", "node-005", "--stop", "--yes", "--wait")


def test_diagnosing_and_wiping(rackhand: Run) -> None:
    started = document(rackhand, "server", "diagnose", "node-004", "--yes")
    rackhand("task", "cancel", started["task"], "--yes")
    rackhand("task", "wait", started["task"], "--timeout", 60, code=6)
    rackhand("server", "wipe", "node-004", "--clear", "fast", "--yes", "--wait", "--timeout", 110)
    rackhand("server", "wipe", "node-004", "--clear", "some", "--yes", code=2)


def test_events(rackhand: Run) -> None:
    lines = rackhand("events", "--limit", 3).stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == sorted(int(line.split()[0]) for line in lines)
    assert len(document(rackhand, "events", "--limit", 3)["list"]) == 3
    since = lines[-1].split()[0]
    rackhand("server", "edit", 1, "--notes", "for the log")
    assert ADMIN in rackhand("events", "--since", since).stdout
    rackhand("events", "--follow", "--where", "id EQ 1", code=2)


def test_customer_sees_its_own(product: ServedProduct, stranger: Run) -> None:
    stranger("login", product.url, "--email", CUSTOMER, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert "There is no server 1." in stranger("server", "show", 1, code=4).stderr
    assert stranger("server", "add", "mine", code=3).stderr
    assert "colour" in stranger("server", "list", "--where", "colour EQ 'red'", code=1).stderr


def started(*words: str) -> "subprocess.Popen[str]":
    """A verb that can be interrupted, wherever the tests run: what is started in the background ignores SIGINT."""
    return subprocess.Popen(
        [sys.executable, "-m", "rackhand", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # it takes no lock
    )  # fmt: skip


def test_following_events_until_interrupted(rackhand: Run) -> None:
    program = started("events", "--follow", "--since", "0", "--json")
    assert program.stdout is not None
    first = json.loads(program.stdout.readline())
    assert first == document(rackhand, "events", "--limit", 1, "--where", "id EQ 1")["list"][0]
    program.send_signal(signal.SIGINT)
    _, complaints = program.communicate(timeout=20)
    assert (program.returncode, complaints) == (0, "")


def test_interrupted_waiting_leaves_the_task_running(rackhand: Run, product: ServedProduct) -> None:
    rackhand("server", "power", "reset", "node-002", "--yes", "--wait")
    product.control.fault_on("node-002", "ignore_power")
    try:
        program = started("server", "power", "off", "node-002", "--yes", "--wait")
        assert program.stderr is not None
        number = program.stderr.readline().split()[1]
        program.send_signal(signal.SIGINT)
        _, words = program.communicate(timeout=20)
        assert program.returncode == 130
        assert words.endswith(f"Task {number} goes on: rackhand task wait {number}\n")
        assert document(rackhand, "task", "show", number)["finished_at"] is None
        rackhand("task", "cancel", number, "--yes")
        rackhand("task", "wait", number, code=6)
    finally:
        product.control.fault_off("node-002", "ignore_power")


def test_bar_on_a_terminal_and_a_question_answered_with_no(rackhand: Run) -> None:
    shown, code = on_terminal("server", "power", "reset", "node-006", "--wait", answer="y")
    assert code == 0
    assert "Switch server 6 (node-006) off and on? [y/N]: " in shown
    assert "100%" in shown or "━" in shown
    assert "is complete." in shown
    shown, code = on_terminal("server", "power", "off", "node-006", answer="n")
    assert code == 2
    assert "Nothing was done." in shown


def on_terminal(*words: str, answer: str) -> tuple[str, int]:
    """Run a verb on a terminal; what that shows."""
    leader, follower = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "rackhand", *words],
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(follower)
    shown, begin = "", time.monotonic()
    while time.monotonic() - begin < 60:
        try:
            shown += os.read(leader, 4096).decode()
        except OSError:
            break
        if answer and "[y/N]: " in shown:
            os.write(leader, f"{answer}\n".encode())
            answer = ""
    os.close(leader)
    return shown, program.wait(20)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there(shell: str) -> None:
    asked = {**os.environ, "_RACKHAND_COMPLETE": f"source_{shell}", "_TYPER_COMPLETE_TESTING": "1"}
    program = Path(sys.executable).with_name("rackhand")
    seen = subprocess.run([program], env=asked, capture_output=True, text=True, check=False, timeout=30)
    assert "_RACKHAND_COMPLETE" in seen.stdout


def test_other_verbs_do_not_load_the_client() -> None:
    program = (
        "import sys, rackhand.cli.main; print({'httpx', 'rackhand.sdk', 'sqlalchemy'} & set(sys.modules))"
    )
    seen = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert seen.stdout == "set()\n"
