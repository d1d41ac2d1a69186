"""Whether a history of calls that overlapped in time could have happened one after the other (Wing and Gong's search).

A network is a set of hosts. An allocation gives the lowest one that is free, or is refused when there is none; a
release makes one free. Each call must seem to happen at one moment between its begin and its end. Networks have nothing
in common, so each history is that of one network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Act(StrEnum):
    """What a call did, as its caller was told."""

    ALLOCATED = "allocated"
    RELEASED = "released"
    REFUSED = "refused"


@dataclass(frozen=True)
class Call:
    """A call with the moments of its begin and its end; *host* counts from 0, and is -1 for a refusal."""

    began: float
    ended: float
    act: Act
    host: int = -1


class Undecided(Exception):
    """The search took too many steps."""


def is_linearizable(calls: Sequence[Call], hosts: int, *, most_steps: int = 2_000_000) -> bool:
    """Search for an order of *calls* that fits a network of *hosts* that is empty at first.

    Calls are tried in the order of their ends, which is nearly the order that they were committed in.
    """
    ordered = sorted(calls, key=lambda call: call.ended)
    everything = (1 << len(ordered)) - 1
    done, held = 0, 0  # sets as bits: calls that have happened, hosts that are taken
    seen: set[tuple[int, int]] = set()
    trail: list[
        tuple[int, int, int]
    ] = []  # done and held before a step, and where to look on when it was wrong
    start = steps = 0
    while done != everything:
        steps += 1
        if steps > most_steps:
            raise Undecided(f"{len(calls)} calls, {steps} steps")
        found = _next(ordered, done, held, hosts, start, seen)
        if found is None:
            if not trail:
                return False
            done, held, start = trail.pop()
            continue
        index, then = found
        trail.append((done, held, index + 1))
        done, held, start = done | 1 << index, then, 0
        seen.add((done, held))
    return True


def _next(
    ordered: Sequence[Call], done: int, held: int, hosts: int, start: int, seen: set[tuple[int, int]]
) -> tuple[int, int] | None:
    """The first call from *start* on that may happen now, and the hosts that are taken then."""
    # The first to end of those that are left: whatever began after that cannot come before it.
    first = next(call for index, call in enumerate(ordered) if not done >> index & 1)
    for index in range(start, len(ordered)):
        call = ordered[index]
        if done >> index & 1 or call.began > first.ended:
            continue
        then = after(call, held, hosts)
        if then is not None and (done | 1 << index, then) not in seen:
            return index, then
    return None


def after(call: Call, held: int, hosts: int) -> int | None:
    """The hosts that are taken after *call*; None when it cannot happen while *held* are."""
    lowest = (~held & held + 1).bit_length() - 1
    match call.act:
        case Act.ALLOCATED:
            return held | 1 << call.host if call.host == lowest < hosts else None
        case Act.RELEASED:
            return held & ~(1 << call.host) if held >> call.host & 1 else None
        case Act.REFUSED:
            return held if lowest >= hosts else None
