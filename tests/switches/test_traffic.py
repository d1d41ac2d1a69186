"""From counters to a bill: the arithmetic, and a second implementation that has to agree with it."""

import math
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rackhand.switches.traffic import (
    UPTIME_WRAPS,
    Interval,
    Mark,
    Sample,
    bill_of,
    intervals_of,
    pack,
    percentile_95,
    signed,
    unpack,
    unsigned,
)

U64 = st.integers(0, 2**64 - 1)
SAMPLES = st.lists(
    st.builds(
        Sample, st.integers(0, 2**33), U64, U64, st.integers(0, UPTIME_WRAPS), st.sampled_from([32, 64])
    ),
    max_size=40,
)


def after(
    seconds: int, octets_in: int, octets_out: int, *, uptime: int | None = None, bits: int = 64
) -> Sample:
    return Sample(seconds, octets_in, octets_out, seconds if uptime is None else uptime, bits)


@given(SAMPLES)
def test_packing_loses_nothing(samples: list[Sample]) -> None:
    assert unpack(pack(samples)) == samples


@given(U64)
def test_a_counter_survives_the_database(counter: int) -> None:
    assert -(2**63) <= signed(counter) < 2**63
    assert unsigned(signed(counter)) == counter


def test_a_day_of_samples_takes_little_space() -> None:
    octets, samples = 0, []
    for slot in range(288):
        octets += (slot * 7919) % 3_000_000_000
        samples.append(after(slot * 300 + slot % 3, octets, octets // 3))
    assert len(pack(samples)) < 288 * 12


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=500))
def test_the_percentile_is_the_smallest_rate_that_95_in_100_do_not_exceed(rates: list[int]) -> None:
    found = percentile_95(rates)
    assert found is not None
    assert sum(rate <= found for rate in rates) >= Fraction(95, 100) * len(rates)
    assert sum(rate < found for rate in rates) < Fraction(95, 100) * len(rates)


def test_intervals_tell_resets_gaps_and_wraps_apart() -> None:
    samples = [
        after(0, 100, 100),
        after(300, 700, 100),  # fine
        after(600, 50, 200),  # a 64-bit counter went down: reset
        after(900, 80, 220, uptime=5),  # the switch restarted
        after(2000, 90, 230, uptime=1105),  # nothing was read for 1,100 seconds
    ]
    marks = [each.mark for each in intervals_of(samples)]
    assert marks == [Mark.OK, Mark.RESET, Mark.RESET, Mark.GAP]
    wrapped = [after(0, 2**32 - 100, 5, bits=32), after(300, 50, 9, bits=32)]
    assert list(intervals_of(wrapped)) == [Interval(0, 300, 150, 4, Mark.OK)]
    restarted = [
        after(0, 2**32 - 100, 5, bits=32),
        after(
            300,
            50,
            9,
            bits=32,
            uptime=0,
        ),
    ]
    assert [each.mark for each in intervals_of([after(1000, 9, 9, bits=32), restarted[1]])] == [Mark.RESET]
    old = [after(0, 10, 10, uptime=UPTIME_WRAPS - 100), after(300, 20, 20, uptime=200)]
    assert [each.mark for each in intervals_of(old)] == [Mark.OK]  # sysUpTime itself went round


def test_a_gap_counts_in_the_volume_and_not_in_the_percentile() -> None:
    samples = [
        after(0, 0, 0),
        after(300, 3000, 300),
        after(3900, 9_000_000, 600),
        after(4200, 9_003_000, 900),
    ]
    bill = bill_of([list(intervals_of(samples))])
    assert (bill.octets_in, bill.octets_out) == (9_003_000, 900)
    assert bill.percentile_95 == {"in": 80, "out": 8, "sum": 88, "max": 80}
    assert (bill.intervals, bill.gaps, bill.gap_seconds, bill.resets) == (2, 1, 3600, 0)


def test_links_of_a_server_are_added_where_they_were_used_at_the_same_time() -> None:
    first = [after(0, 0, 0), after(300, 300_000, 0), after(600, 300_000, 0)]
    second = [after(5, 0, 0), after(305, 0, 0), after(605, 300_000, 0)]
    bill = bill_of([list(intervals_of(first)), list(intervals_of(second))])
    assert bill.percentile_95["in"] == 8000  # 16,000 would be the sum of two highs that never met


def test_nothing_is_billed_for_nothing() -> None:
    bill = bill_of([[], []])
    assert (bill.octets_in, bill.percentile_95["max"], bill.intervals) == (0, None, 0)


@given(
    st.lists(
        st.tuples(st.integers(290, 310), st.integers(0, 10**11), st.integers(0, 10**11)),
        min_size=1,
        max_size=300,
    )
)
def test_an_independent_reckoning_gives_the_same_bill(steps: list[tuple[int, int, int]]) -> None:
    at = octets_in = octets_out = 0
    samples = [after(0, 0, 0)]
    for seconds, received, sent in steps:
        at, octets_in, octets_out = at + seconds, octets_in + received, octets_out + sent
        samples.append(after(at, octets_in, octets_out))
    bill = bill_of([list(intervals_of(samples))])
    assert (bill.octets_in, bill.octets_out) == (octets_in, octets_out)

    slots: dict[int, list[int]] = {}
    for first, second in pairwise(samples):
        slot = slots.setdefault(first.at // 300, [0, 0])
        slot[0] += second.octets_in - first.octets_in
        slot[1] += second.at - first.at
    rates = sorted(octets * 8 // seconds for octets, seconds in slots.values())
    assert bill.percentile_95["in"] == rates[math.ceil(Fraction(95, 100) * len(rates)) - 1]
