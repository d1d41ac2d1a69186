"""From readings of outlets to energy and power, in whole numbers: anybody gets the same from the exported samples.

A *sample* is the energy counter of an outlet in Wh and its power in W at one moment; each may be missing. Rules:

- Two samples of an outlet that have a counter and follow each other make an *interval*; its energy is the difference.
  A counter that went down was reset: nobody knows what passed, the interval is marked `reset` and counts nowhere.
- An interval of more than `GAP_SECONDS` is marked `gap`; its energy counts, for the counter went on.
- The power of an outlet in five minutes of the clock (`at // 300`) is the mean of its readings then, rounded down. The
  power of a server is the sum of its outlets'. Five minutes in which an outlet has no reading, although it has one
  before and one after, are incomplete: they count neither in the average nor in the peak.
- The average is the mean of all complete five minutes, rounded down.
"""

import itertools
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

SLOT_SECONDS = 300
GAP_SECONDS = 600
DAY_SECONDS = 86_400
_MISSING = (1 << 64) - 1
_TWO_64 = 1 << 64


class Mark(StrEnum):
    """What is wrong with an interval."""

    OK = ""
    GAP = "gap"
    RESET = "reset"


class Sample(NamedTuple):
    """A reading of an outlet at a moment, Unix time; None is what it does not measure."""

    at: int
    energy_wh: int | None
    watts: int | None


class Interval(NamedTuple):
    """What passed between two samples; 0 when the counter was reset."""

    begin: int
    end: int
    energy_wh: int
    mark: Mark


@dataclass(frozen=True)
class Usage:
    """Energy and power over a time; None without a single reading. *peak_at* is when its five minutes begin."""

    energy_wh: int | None
    average_watts: int | None
    peak_watts: int | None
    peak_at: int | None
    slots: int
    incomplete: int
    gaps: int
    gap_seconds: int
    resets: int


def intervals_of(samples: Sequence[Sample]) -> Iterator[Interval]:
    """The intervals between *samples*, which are in order of time."""
    counted = [(each.at, each.energy_wh) for each in samples if each.energy_wh is not None]
    for (begin, first), (end, second) in itertools.pairwise(counted):
        if second < first:
            yield Interval(begin, end, 0, Mark.RESET)
        else:
            mark = Mark.GAP if end - begin > GAP_SECONDS else Mark.OK
            yield Interval(begin, end, second - first, mark)


def watts_of(samples: Sequence[Sample]) -> dict[int, int]:
    """The power of one outlet by five minutes (`at // 300`)."""
    read: dict[int, list[int]] = {}
    for each in samples:
        if each.watts is not None:
            read.setdefault(each.at // SLOT_SECONDS, []).append(each.watts)
    return {slot: sum(found) // len(found) for slot, found in read.items()}


@dataclass(frozen=True)
class Measured:
    """What an outlet measured: its intervals, and its power by five minutes."""

    intervals: Sequence[Interval]
    watts: Mapping[int, int]


def measured(samples: Sequence[Sample]) -> Measured:
    """Reckon once what graphs, totals and single outlets are made of."""
    return Measured(list(intervals_of(samples)), watts_of(samples))


def power_of(outlets: Sequence[Measured]) -> tuple[dict[int, int], int]:
    """The power of some outlets together by five minutes, and how many five minutes are incomplete."""
    total: dict[int, int] = {}
    for outlet in outlets:
        for slot, watts in outlet.watts.items():
            total[slot] = total.get(slot, 0) + watts
    incomplete: set[int] = set()
    for outlet in outlets:
        first, last = min(outlet.watts, default=0), max(outlet.watts, default=0)
        if len(outlet.watts) <= last - first:
            incomplete.update(slot for slot in total.keys() - outlet.watts.keys() if first < slot < last)
    for slot in incomplete:
        del total[slot]
    return total, len(incomplete)


def usage_of(outlets: Sequence[Measured]) -> Usage:
    """What some outlets used together."""
    power, incomplete = power_of(outlets)
    peak = max(power.values(), default=None)
    intervals = [each for outlet in outlets for each in outlet.intervals]
    gaps = [each.end - each.begin for each in intervals if each.mark is Mark.GAP]
    return Usage(
        energy_wh=sum(each.energy_wh for each in intervals) if intervals else None,
        average_watts=sum(power.values()) // len(power) if power else None,
        peak_watts=peak,
        peak_at=None
        if peak is None
        else min(slot for slot, watts in power.items() if watts == peak) * SLOT_SECONDS,
        slots=len(power),
        incomplete=incomplete,
        gaps=len(gaps),
        gap_seconds=sum(gaps),
        resets=sum(each.mark is Mark.RESET for each in intervals),
    )


def pack(samples: Sequence[Sample]) -> bytes:
    """Samples as bytes, without loss: columns of differences, which compress well."""
    numbers: list[int] = []
    for column in zip(*samples, strict=True):
        known = (_MISSING if value is None else value for value in column)
        numbers += [(value - before) % _TWO_64 for before, value in itertools.pairwise((0, *known))]
    return zlib.compress(struct.pack(f"<I{len(numbers)}Q", len(samples), *numbers), 9)


def unpack(packed: bytes) -> list[Sample]:
    """What `pack` was given."""
    blob = zlib.decompress(packed)
    (count,) = struct.unpack_from("<I", blob)
    at, energy, watts = (
        [
            total % _TWO_64
            for total in itertools.accumulate(struct.unpack_from(f"<{count}Q", blob, 4 + 8 * count * place))
        ]
        for place in range(3)
    )
    return [Sample(*row) for row in zip(at, map(_known, energy), map(_known, watts), strict=True)]


def _known(value: int) -> int | None:
    return None if value == _MISSING else value
