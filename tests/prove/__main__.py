"""Runs the whole matrix on both databases and prints `N of N`."""

import sys
import tempfile
import time
from pathlib import Path

from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import RackThread
from tests.postgres import running_postgres
from tests.prove.matrix import CASES, Bench, run_matrix
from tests.prove.outlets import OUTLET_CASES, mains_rack

TIME_SCALE = 30.0


def main() -> int:
    """Prove everything; return the exit status."""
    held = total = 0
    started = time.monotonic()
    with running_postgres() as postgres, tempfile.TemporaryDirectory() as directory:
        for name, config, cases in (
            ("machines", demo_rack(2, time_scale=TIME_SCALE), CASES),
            ("outlets", mains_rack(time_scale=TIME_SCALE), OUTLET_CASES),
        ):
            for database, url in (("sqlite", ""), ("postgresql", postgres.new_database())):
                with RackThread(config) as rack:
                    bench = Bench(rack, Path(directory) / f"{name}-{database}", url)
                    for combination, wrong in run_matrix(bench, cases):
                        total += 1
                        held += wrong is None
                        verdict = "ok" if wrong is None else f"WRONG ({wrong})"
                        print(f"{database}: {combination}: {verdict}", flush=True)
    print(f"{held} of {total} held, {time.monotonic() - started:.0f} s")
    return 0 if held == total else 1


if __name__ == "__main__":
    sys.exit(main())
