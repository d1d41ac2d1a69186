"""What is measured, as a table: each figure with its target and whether it was met."""

import os
import platform
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024
TURNS = 1_000_000
WIDTHS = (10, 80, 14, 14, 6)


@dataclass(frozen=True)
class Figure:
    """A measured number; without *at_most* and *at_least* it is there to be read, not to be judged."""

    database: str
    what: str
    value: float
    unit: str
    at_most: float | None = None
    below: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None when there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.below is not None:
            return self.value < self.below
        if self.at_least is not None:
            return self.value >= self.at_least
        return None

    @property
    def target(self) -> str:
        """The target as the table shows it."""
        limits = (("≤", self.at_most), ("<", self.below), ("≥", self.at_least))
        return next((f"{sign} {limit:g} {self.unit}" for sign, limit in limits if limit is not None), "")

    def line(self) -> str:
        """One line of the table."""
        verdict = {True: "pass", False: "FAIL", None: ""}[self.is_met]
        digits = 2 if self.unit in {"x", "s"} else 1
        return _line(self.database, self.what, f"{self.value:.{digits}f} {self.unit}", self.target, verdict)


@dataclass
class Report:
    """Figures as they come in; each is printed at once, for the whole run takes minutes."""

    figures: list[Figure] = field(default_factory=list)

    def add(self, *figures: Figure) -> None:
        """Take and print figures."""
        self.figures += figures
        for figure in figures:
            print(figure.line(), flush=True)

    @property
    def missed(self) -> list[Figure]:
        """The figures whose target was not met."""
        return [figure for figure in self.figures if figure.is_met is False]


def heading() -> str:
    """The head of the table."""
    head = _line("database", "figure", "measured", "target", "")
    return f"{head}\n{'-' * len(head)}"


def machine() -> str:
    """Where the figures come from, and how busy that machine is: nothing here is true without it."""
    one, five, fifteen = os.getloadavg()
    return (
        f"{time.strftime('%Y-%m-%d %H:%M:%S')}; {len(os.sched_getaffinity(0))} CPUs ({_cpu_model()});"
        f" Python {platform.python_version()}; load average {one:.2f} {five:.2f} {fifteen:.2f};"
        f" a loop of {TURNS:,} takes {loop_seconds() * 1000:.0f} ms"
    )


def loop_seconds() -> float:
    """Processor time of a loop that is always the same: rented processors change their speed from minute to minute."""
    started, total = time.process_time(), 0
    for number in range(TURNS):
        total += number * number % 7
    return time.process_time() - started


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _line(*cells: str) -> str:
    sides = "<", "<", ">", ">", ">"
    return "  ".join(
        f"{cell:{side}{width}}" for cell, side, width in zip(cells, sides, WIDTHS, strict=True)
    ).rstrip()


def p50(seconds: Sequence[float]) -> float:
    """Median in milliseconds."""
    return statistics.median(seconds) * 1000


def own_cpu_seconds() -> float:
    """Processor time so far of this process and of the programs that it has waited for."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
