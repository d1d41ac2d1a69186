"""Runs the measurements and prints their table; exit code 1 says that a target was missed."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import addresses, lists, pages, power, sweep, switches
from tests.bench.databases import NAMES, Backend, opened
from tests.bench.figures import Report, heading, machine

QUICK_ADDRESSES = addresses.Sizes(
    allocations=80, taken=200, crowd=16, few=100, many=400, networks=20, requests=10
)
# How each part that has a database is measured: the sizes that targets are meant for, and small ones.
PER_DATABASE: Mapping[str, tuple[Callable[[Report, Backend, Path, Any], None], Any, Any]] = {
    "lists": (
        lists.measure,
        lists.Sizes(),
        lists.Sizes(few=100, many=400, usual=400, export=400, requests=12),
    ),
    "idle": (lambda *where: lists.measure_idle(*where[:3], settle=where[3]), 5.0, 0.2),
    "addresses": (addresses.measure, addresses.Sizes(), QUICK_ADDRESSES),
    "pages": (pages.measure, pages.Sizes(), pages.Sizes(servers=80, addresses=400, tasks=100, requests=2)),
    "power": (lambda *where: power.measure(*where[:3], machines=where[3]), 20, 2),
    "switches": (
        switches.measure,
        switches.Sizes(),
        switches.Sizes(switches=2, ports=4, year_ports=1, bills=2),
    ),
}
PARTS = (*PER_DATABASE, "sweep")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for."""
    asked = _parser().parse_args(arguments)
    report = Report()
    print(machine())
    print(
        "Lists: `rackhand serve` in its own process, one client over TCP. BMCs: the virtual rack in its own process."
    )
    if asked.quick:
        print("Quick: small sizes, which prove that the measurements work and nothing about the product.")
    print(heading())
    with tempfile.TemporaryDirectory(prefix="rackhand-bench-") as name:
        folder = Path(name)
        for database in asked.databases:
            with opened(database) as backend:
                for part, (measure, full, quick) in PER_DATABASE.items():
                    if part in asked.parts:
                        measure(report, backend, folder, quick if asked.quick else full)
        if "sweep" in asked.parts:
            if asked.quick:
                sweep.measure(report, bmcs=10, settings={"timeout_seconds": "1"})
            else:
                sweep.measure(report, bmcs=500)
    print(machine())
    judged = sum(figure.is_met is not None for figure in report.figures)
    print(f"{judged - len(report.missed)} of {judged} targets met.")
    return 1 if report.missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, for a test of the measurements themselves"
    )
    parser.add_argument("--databases", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
