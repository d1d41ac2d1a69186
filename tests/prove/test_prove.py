"""A row of the matrix in the suite; `make prove` runs all of it."""

from pathlib import Path

import pytest

from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import RackThread
from tests.prove.matrix import CASES, Bench, run_matrix
from tests.prove.outlets import OUTLET_CASES, mains_rack


@pytest.mark.timeout(300)
@pytest.mark.parametrize("operation", ["power_on", "suspend"])
def test_an_operation_survives_a_kill_at_every_point(tmp_path: Path, operation: str) -> None:
    case = next(case for case in CASES if case.operation == operation)
    with RackThread(demo_rack(2, time_scale=30.0)) as rack:
        found = list(run_matrix(Bench(rack, tmp_path / "data", ""), (case,)))
    assert len(found) >= 6
    assert [(name, wrong) for name, wrong in found if wrong is not None] == []


@pytest.mark.timeout(300)
def test_mains_survive_a_kill_at_every_point(tmp_path: Path) -> None:
    with RackThread(mains_rack(time_scale=30.0)) as rack:
        found = list(run_matrix(Bench(rack, tmp_path / "data", ""), OUTLET_CASES[:1]))
    assert len(found) >= 6
    assert [(name, wrong) for name, wrong in found if wrong is not None] == []
