"""A row of the matrix in the suite; `make prove` runs all of it."""

from pathlib import Path

import pytest

from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import RackThread
from tests.prove.matrix import CASES, Bench, run_matrix


@pytest.mark.timeout(300)
def test_power_on_survives_a_kill_at_every_point(tmp_path: Path) -> None:
    with RackThread(demo_rack(2, time_scale=30.0)) as rack:
        found = list(run_matrix(Bench(rack, tmp_path / "data", ""), CASES[:1]))
    assert len(found) >= 6
    assert [(name, wrong) for name, wrong in found if wrong is not None] == []
