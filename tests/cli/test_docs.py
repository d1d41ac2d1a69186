"""docs/cli.md: its commands are those there are, and so are its exit codes."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from rackhand.cli.calling import Exit
from rackhand.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
LINES = [
    line.split(" || ")[0]
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("rackhand ")
]
GROUPS = ("server", "task", "ip", "template")


def verbs(group: Any) -> dict[str, Any]:
    """The verbs of a group; empty for what is none."""
    return getattr(group, "commands", {})


@pytest.mark.parametrize("line", LINES)
def test_commands_are_understood(line: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(line)[1:]
    while verbs(command):
        command = verbs(command)[words.pop(0)]
    command.make_context(line, words).close()  # an option that there is not would be refused here


def test_every_verb_is_described() -> None:
    commands = verbs(typer.main.get_command(app))
    for name in GROUPS:
        rows = "".join(line for line in PAGE.splitlines() if line.startswith(f"| `{name} "))
        assert verbs(commands[name])
        assert [verb for verb in verbs(commands[name]) if not re.search(rf"[` ]{verb}[` ]", rows)] == []


def test_exit_codes() -> None:
    described = [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert described == sorted(each.value for each in Exit)
