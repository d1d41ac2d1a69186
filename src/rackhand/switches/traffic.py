"""From counters to a bill, in whole numbers, so that anybody gets the same result from the exported samples.

A *sample* is a reading of two counters. Two samples that follow each other make an *interval*. Rules:

- Octets of an interval are the difference of the counters. A 32-bit counter that went down while the switch kept
  running has wrapped once, and 2^32 is added. Any other counter that went down was reset: nobody knows what passed in
  such an interval, it is marked `reset` and counts nowhere.
- An interval of more than `GAP_SECONDS` is marked `gap`: its octets count in the volume, for the counters went on, but
  it gives no sample to a percentile, for nobody knows how the octets were spread.
- Intervals that begin in the same five minutes of the clock (`begin // 300`) make one rate of a port:
  `octets * 8 // seconds`, in bit/s.
- The 95th percentile of n rates sorted upwards is the one at place `ceil(0.95 * n)`, counted from 1.
"""

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

INTERVAL_SECONDS = 300
GAP_SECONDS = 600
DAY_SECONDS = 86_400
UPTIME_WRAPS = (1 << 32) // 100  # sysUpTime counts hundredths in 32 bits: 497 days
NARROW = 32  # bits of the counters of ifTable
_TWO_64 = 1 << 64


class Mark(StrEnum):
    """What is wrong with an interval."""

    OK = ""
    GAP = "gap"
    RESET = "reset"


class Method(StrEnum):
    """How one number is made of two directions."""

    IN = "in"
    OUT = "out"
    SUM = "sum"  # percentile of in + out of each interval
    MAX = "max"  # the greater of the two percentiles


class Sample(NamedTuple):
    """Counters of a port at a moment: *octets_in* is what the port received; *uptime* of the switch in seconds."""

    at: int
    octets_in: int
    octets_out: int
    uptime: int
    bits: int


class Interval(NamedTuple):
    """What passed between two samples; octets are 0 when the interval is marked as reset."""

    begin: int
    end: int
    octets_in: int
    octets_out: int
    mark: Mark

    @property
    def seconds(self) -> int:
        """Its length, at least 1."""
        return self.end - self.begin or 1


@dataclass(frozen=True)
class Bill:
    """Volume in octets and rates in bit/s over a time; percentiles are None without a single good interval."""

    octets_in: int
    octets_out: int
    average_in: int
    average_out: int
    percentile_95: dict[str, int | None]
    intervals: int
    gaps: int
    gap_seconds: int
    resets: int


def intervals_of(samples: Sequence[Sample]) -> Iterator[Interval]:
    """The intervals between *samples*, which are in order of time."""
    for before, after in itertools.pairwise(samples):
        seconds = after.at - before.at
        octets_in, octets_out = after.octets_in - before.octets_in, after.octets_out - before.octets_out
        if octets_in < 0 or octets_out < 0 or after.uptime < before.uptime or before.bits != after.bits:
            has_restarted = after.uptime < before.uptime and before.uptime + seconds < UPTIME_WRAPS
            if (
                has_restarted
                or before.bits != after.bits
                or (after.bits != NARROW and min(octets_in, octets_out) < 0)
            ):
                yield Interval(before.at, after.at, 0, 0, Mark.RESET)
                continue
            octets_in += (octets_in < 0) << NARROW
            octets_out += (octets_out < 0) << NARROW
        mark = Mark.GAP if seconds > GAP_SECONDS else Mark.OK
        yield Interval(before.at, after.at, octets_in, octets_out, mark)


def percentile_95(rates: Iterable[int]) -> int | None:
    """The rate below which 95 % of the time was spent; None of nothing."""
    ordered = sorted(rates)
    if not ordered:
        return None
    return ordered[(95 * len(ordered) + 99) // 100 - 1]


def bill_of(ports: Sequence[Sequence[Interval]]) -> Bill:
    """The bill of some ports together.

    Rates of ports are added where they are of the same five minutes, so that a server with two links is billed for what
    it used at the same time.
    """
    rates: dict[int, tuple[int, int]] = {}
    octets_in = octets_out = gaps = gap_seconds = resets = 0
    begin, end = None, None
    for intervals in ports:
        slots: dict[int, tuple[int, int, int]] = {}
        for each in intervals:
            begin = each.begin if begin is None else min(begin, each.begin)
            end = each.end if end is None else max(end, each.end)
            octets_in += each.octets_in
            octets_out += each.octets_out
            if each.mark is Mark.OK:
                was_in, was_out, was_seconds = slots.get(each.begin // INTERVAL_SECONDS, (0, 0, 0))
                slots[each.begin // INTERVAL_SECONDS] = (
                    was_in + each.octets_in,
                    was_out + each.octets_out,
                    was_seconds + each.seconds,
                )
            elif each.mark is Mark.GAP:
                gaps += 1
                gap_seconds += each.seconds
            else:
                resets += 1
        for slot, (slot_in, slot_out, length) in slots.items():
            rate_in, rate_out = rates.get(slot, (0, 0))
            rates[slot] = (rate_in + slot_in * 8 // length, rate_out + slot_out * 8 // length)
    seconds = max(1, (end or 0) - (begin or 0))
    high_in = percentile_95(rate for rate, _ in rates.values())
    high_out = percentile_95(rate for _, rate in rates.values())
    return Bill(
        octets_in=octets_in,
        octets_out=octets_out,
        average_in=octets_in * 8 // seconds,
        average_out=octets_out * 8 // seconds,
        percentile_95={
            Method.IN: high_in,
            Method.OUT: high_out,
            Method.SUM: percentile_95(rate_in + rate_out for rate_in, rate_out in rates.values()),
            Method.MAX: None if high_in is None or high_out is None else max(high_in, high_out),
        },
        intervals=len(rates),
        gaps=gaps,
        gap_seconds=gap_seconds,
        resets=resets,
    )


def pack(samples: Sequence[Sample]) -> bytes:
    """Samples as bytes, without loss: columns of differences, which compress well."""
    numbers: list[int] = []
    for column in zip(*samples, strict=True):
        numbers += [(value - before) % _TWO_64 for before, value in itertools.pairwise((0, *column))]
    return zlib.compress(struct.pack(f"<I{len(numbers)}Q", len(samples), *numbers), 9)


def unpack(packed: bytes) -> list[Sample]:
    """What `pack` was given."""
    blob = zlib.decompress(packed)
    (count,) = struct.unpack_from("<I", blob)
    columns = [
        [
            total % _TWO_64
            for total in itertools.accumulate(struct.unpack_from(f"<{count}Q", blob, 4 + 8 * count * place))
        ]
        for place in range(len(Sample._fields))
    ]
    return list(map(Sample._make, zip(*columns, strict=True)))


def signed(counter: int) -> int:
    """An unsigned 64-bit counter as a database keeps it."""
    return counter - _TWO_64 if counter >= _TWO_64 // 2 else counter


def unsigned(stored: int) -> int:
    """What `signed` was given."""
    return stored % _TWO_64
