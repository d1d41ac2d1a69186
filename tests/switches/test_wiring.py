"""What switches have heard, against what is written down."""

from rackhand.hardware.interfaces import LearntMac, Neighbour
from rackhand.switches.wiring import Cable, Learnt, contradictions

MINE, OTHER, UNKNOWN = "00:00:5e:00:53:01", "00:00:5e:00:53:02", "00:00:5e:00:53:99"
OWNERS = {OTHER: "srv-2"}


def sw(*heard: tuple[str, int], neighbours: tuple[Neighbour, ...] = (), name: str = "sw-1") -> Learnt:
    names = {1: "Ethernet1/1", 2: "Ethernet1/2"}
    return Learnt(name, names, [LearntMac(mac, index, 10) for mac, index in heard], neighbours)


def test_silence_and_agreement_contradict_nothing() -> None:
    cables = [Cable(1, 1, MINE)]
    assert contradictions(cables, {1: sw()}, OWNERS) == []
    assert contradictions(cables, {1: sw((MINE, 1), (OTHER, 2), (UNKNOWN, 1))}, OWNERS) == []


def test_a_nic_that_is_heard_elsewhere_is_told_with_both_ports() -> None:
    (found,) = contradictions([Cable(1, 1, MINE)], {1: sw((MINE, 2))}, OWNERS)
    assert "sw-1 port Ethernet1/1" in found
    assert "sw-1 port Ethernet1/2" in found


def test_another_server_on_the_port_is_a_contradiction() -> None:
    (found,) = contradictions([Cable(1, 1, MINE)], {1: sw((OTHER, 1))}, OWNERS)
    assert "srv-2" in found
    assert "Ethernet1/1" in found


def test_lldp_counts_as_heard() -> None:
    heard = sw(neighbours=(Neighbour(2, MINE, MINE, "srv-1"), Neighbour(1, OTHER, "eth0", "srv-9")))
    (found,) = contradictions([Cable(1, 1, MINE)], {1: heard}, OWNERS)
    assert "Ethernet1/2" in found


def test_a_cable_without_a_known_nic_is_judged_by_who_else_is_heard() -> None:
    assert contradictions([Cable(1, 1, None)], {1: sw((UNKNOWN, 1))}, OWNERS) == []
    assert len(contradictions([Cable(1, 1, None)], {1: sw((OTHER, 1))}, OWNERS)) == 1


def test_two_cables_of_a_server_may_hear_each_their_own() -> None:
    second = "00:00:5e:00:53:03"
    cables = [Cable(1, 1, MINE), Cable(2, 1, second)]
    learnt = {1: sw((MINE, 1)), 2: sw((second, 1), name="sw-2")}
    assert contradictions(cables, learnt, OWNERS) == []
    crossed = {1: sw((second, 1)), 2: sw((MINE, 1), name="sw-2")}
    assert len(contradictions(cables, crossed, OWNERS)) == 2
