"""Runs the measurements and prints their table; exit code 1 says that a target was missed."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import addresses, lists, power, sweep, switches
from tests.bench.databases import NAMES, opened
from tests.bench.figures import Report, heading, machine

PARTS = ("lists", "idle", "addresses", "power", "switches", "sweep")
QUICK_ADDRESSES = addresses.Sizes(
    allocations=80, taken=200, crowd=16, few=100, many=400, networks=20, requests=10
)
QUICK_SWITCHES = switches.Sizes(switches=2, ports=4, year_ports=1, bills=2)
QUICK = lists.Sizes(few=100, many=400, usual=400, export=400, requests=12)


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
                if "lists" in asked.parts:
                    lists.measure(report, backend, folder, QUICK if asked.quick else lists.Sizes())
                if "idle" in asked.parts:
                    lists.measure_idle(report, backend, folder, settle=0.2 if asked.quick else 5)
                if "addresses" in asked.parts:
                    addresses.measure(
                        report, backend, folder, QUICK_ADDRESSES if asked.quick else addresses.Sizes()
                    )
                if "power" in asked.parts:
                    power.measure(report, backend, folder, machines=2 if asked.quick else 20)
                if "switches" in asked.parts:
                    switches.measure(
                        report, backend, folder, QUICK_SWITCHES if asked.quick else switches.Sizes()
                    )
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
