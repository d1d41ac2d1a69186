"""Runs the whole matrix on both databases and prints `N of N`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import RackThread
from tests.postgres import running_postgres
from tests.prove.matrix import CASES, Bench, run_matrix
from tests.prove.outlets import OUTLET_CASES, mains_rack

TIME_SCALE = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove everything, or the operations that are named; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    parser.add_argument("operations", nargs="*", help="names of operations, such as power_on")
    named = set(parser.parse_args(arguments).operations)
    held = total = 0
    started = time.monotonic()
    with running_postgres() as postgres, tempfile.TemporaryDirectory() as directory:
        for name, config, cases in (
            ("machines", demo_rack(2, time_scale=TIME_SCALE), CASES),
            ("outlets", mains_rack(time_scale=TIME_SCALE), OUTLET_CASES),
        ):
            chosen = tuple(case for case in cases if not named or case.operation in named)
            if not chosen:
                continue
            for database, url in (("sqlite", ""), ("postgresql", postgres.new_database())):
                with RackThread(config) as rack:
                    bench = Bench(rack, Path(directory) / f"{name}-{database}", url)
                    for combination, wrong in run_matrix(bench, chosen):
                        total += 1
                        held += wrong is None
                        verdict = "ok" if wrong is None else f"WRONG ({wrong})"
                        print(f"{database}: {combination}: {verdict}", flush=True)
    print(f"{held} of {total} held, {time.monotonic() - started:.0f} s")
    return 0 if held == total else 1


if __name__ == "__main__":
    sys.exit(main())
