"""An installation and rescue through to their ends, and killed where it matters most; `make prove` kills everywhere."""

from pathlib import Path

import pytest

from rackhand.sim.demo import demo_rack
from rackhand.sim.rack import RackThread
from tests.prove.matrix import Bench
from tests.prove.systems import InstallCase


@pytest.mark.timeout(600)
def test_an_installation_survives_kills_around_the_writing_of_disks(tmp_path: Path) -> None:
    with RackThread(demo_rack(2, time_scale=300.0)) as rack:
        bench, case, machine = Bench(rack, tmp_path / "data", ""), InstallCase(), rack.config.machines[1]
        bench.prepare()
        points = bench.points_of(case, machine)
        chosen = ["write_image:returned-wait", "configure_system:returned-done", "boot_from_disk:acted"]
        assert set(chosen) <= set(points)
        assert {point: bench.prove(case, machine, point) for point in chosen} == dict.fromkeys(chosen)
