"""The measurements themselves, at small sizes: they run, find what they expect and judge."""

import subprocess
import sys

import pytest

from tests.bench.figures import Figure

LINES = {
    "lists": [
        "the same, ratio of the p50 (400 to 100)",
        "lists per second of processor time",
        "where owner_email EQ one, orderby name: p50",
        "export of 400 rows in one answer: growth of memory, peak",
    ],
    "addresses": [
        "allocations per second over HTTP, 8 connections, 1 `serve`",
        "allocations per second by `request_allocation`, 8 at once",
        "errors other than 'exhausted'",
        "the 200th allocation from it: p50",
        "list of 100 of 400 addresses: p50",
        "list of 20 networks with counters: p50",
    ],
    "pages": ["the overview: p50", "events, free text that nothing has: processor time"],
    "power": ["to the answer, median", "to the first packet at the BMC, median"],
    "sweep": ["sweep of 10 BMCs, 2 dead"],
}


@pytest.mark.parametrize("part", LINES)
def test_part_prints_its_figures_and_the_exit_code_tells_of_missed_targets(part: str) -> None:
    command = [sys.executable, "-m", "tests.bench", "--quick", "--databases", "sqlite", "--parts", part]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in LINES[part] if line not in done.stdout] == [], done.stdout + done.stderr
    assert "load average" in done.stdout
    assert done.returncode == (1 if "FAIL" in done.stdout else 0), done.stdout + done.stderr


def test_figure_is_judged_by_its_target() -> None:
    assert [
        Figure("sqlite", "ratio", 1.5, "x", at_most=1.5).is_met,
        Figure("sqlite", "export", 5.0, "s", below=5).is_met,
        Figure("sqlite", "lists", 40.0, "/s", at_least=40).is_met,
        Figure("sqlite", "length", 40.0, "MiB").is_met,
    ] == [True, False, True, None]
