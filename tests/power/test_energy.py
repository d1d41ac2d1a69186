"""Energy and power from samples: the rules, on samples that are made up."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackhand.power.energy import (
    GAP_SECONDS,
    Interval,
    Mark,
    Sample,
    Usage,
    intervals_of,
    measured,
    pack,
    unpack,
)
from rackhand.power.energy import usage_of as usage_of_measured


def usage_of(outlets: Sequence[Sequence[Sample]]) -> Usage:
    return usage_of_measured([measured(samples) for samples in outlets])


readings = st.one_of(st.none(), st.integers(0, 2**53))
samples_in_order = st.lists(st.tuples(st.integers(1, 90_000), readings, readings), max_size=300).map(
    lambda rows: [
        Sample(1_700_000_000 + sum(step for step, _, _ in rows[: number + 1]), energy, watts)
        for number, (_, energy, watts) in enumerate(rows)
    ]
)


@given(samples_in_order)
def test_packed_samples_are_the_same_again(samples: list[Sample]) -> None:
    assert unpack(pack(samples)) == samples


def test_a_day_of_samples_takes_little_space() -> None:
    day = [Sample(1_700_000_000 + 300 * n, 5_000_000 + 8 * n + n % 2, 95 + n % 3) for n in range(288)]
    assert len(pack(day)) < 500


def test_energy_is_the_difference_of_the_counter_and_a_reset_counts_nowhere() -> None:
    samples = [Sample(0, 100, 50), Sample(300, 108, 50), Sample(600, 3, 50), Sample(900, 10, 50)]
    assert list(intervals_of(samples)) == [
        Interval(0, 300, 8, Mark.OK),
        Interval(300, 600, 0, Mark.RESET),
        Interval(600, 900, 7, Mark.OK),
    ]
    usage = usage_of([samples])
    assert (usage.energy_wh, usage.resets, usage.gaps) == (15, 1, 0)


@pytest.mark.parametrize("seconds", [GAP_SECONDS, GAP_SECONDS + 1])
def test_energy_of_a_gap_counts_and_the_gap_is_told(seconds: int) -> None:
    usage = usage_of([[Sample(0, 100, 50), Sample(seconds, 150, 50)]])
    assert usage.energy_wh == 50
    assert (usage.gaps, usage.gap_seconds) == ((1, seconds) if seconds > GAP_SECONDS else (0, 0))


def test_a_sample_without_a_counter_makes_no_interval() -> None:
    samples = [Sample(0, 100, None), Sample(300, None, 40), Sample(600, 120, None)]
    assert list(intervals_of(samples)) == [Interval(0, 600, 20, Mark.OK)]
    assert usage_of([[Sample(0, None, 40), Sample(300, None, 60)]]).energy_wh is None


def test_power_of_two_feeds_is_added_where_both_are_known() -> None:
    first = [Sample(0, None, 50), Sample(300, None, 60), Sample(600, None, 70), Sample(900, None, 80)]
    second = [Sample(10, None, 10), Sample(310, None, 11), Sample(910, None, 13)]
    usage = usage_of([first, second])
    # The second feed has nothing to say of the third five minutes, before and after it has.
    assert (usage.slots, usage.incomplete) == (3, 1)
    assert usage.average_watts == (60 + 71 + 93) // 3
    assert (usage.peak_watts, usage.peak_at) == (93, 900)


def test_a_feed_that_was_plugged_in_later_does_not_spoil_what_was_before() -> None:
    usage = usage_of([[Sample(0, None, 50), Sample(300, None, 60)], [Sample(300, None, 20)]])
    assert (usage.slots, usage.incomplete, usage.average_watts, usage.peak_watts) == (2, 0, 65, 80)


def test_several_readings_in_five_minutes_are_one_mean() -> None:
    usage = usage_of([[Sample(0, None, 10), Sample(100, None, 11), Sample(299, None, 11)]])
    assert (usage.slots, usage.average_watts) == (1, 10)


def test_nothing_measured_is_nothing_known() -> None:
    usage = usage_of([[], []])
    assert (usage.energy_wh, usage.average_watts, usage.peak_watts, usage.peak_at) == (None, None, None, None)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 3_000)), min_size=2, max_size=100))
def test_energy_of_parts_is_the_energy_of_the_whole(rows: list[tuple[int, int]]) -> None:
    counters = [sum(step for step, _ in rows[: number + 1]) for number in range(len(rows))]
    samples = [Sample(300 * n, counters[n], rows[n][1]) for n in range(len(rows))]
    middle = len(samples) // 2
    halves = [samples[: middle + 1], samples[middle:]]
    whole = usage_of([samples])
    assert whole.energy_wh == counters[-1] - counters[0]
    assert whole.energy_wh == sum(each.energy_wh for half in halves for each in intervals_of(half))
