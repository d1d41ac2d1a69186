"""Arithmetic of addresses, compared with plain sets of numbers."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackhand.ipam import allocation
from rackhand.ipam.allocation import Span

SMALL = 60


def spans(version: int = 4) -> st.SearchStrategy[list[Span]]:
    pair = st.tuples(st.integers(0, SMALL), st.integers(0, SMALL)).map(sorted)
    return st.lists(pair.map(lambda ends: Span(version, ends[0], ends[1])), max_size=8)


def numbers(found: list[Span]) -> set[int]:
    return {number for span in found for number in range(span.first, span.last + 1)}


def apart(found: list[Span]) -> list[Span]:
    """The same addresses in spans that do not overlap."""
    kept: list[Span] = []
    for span in found:
        kept.extend(allocation.subtract([span], kept))
    return sorted(kept)


@given(spans(), spans())
def test_subtract_leaves_what_is_not_taken(have: list[Span], taken: list[Span]) -> None:
    left = list(allocation.subtract(apart(have), taken))
    assert numbers(left) == numbers(have) - numbers(taken)
    assert left == sorted(left)
    assert allocation.count(left) == len(numbers(left))


@given(spans(), spans(6))
def test_families_do_not_take_from_each_other(have: list[Span], taken: list[Span]) -> None:
    assert list(allocation.subtract(apart(have), taken)) == apart(have)


@given(spans(), spans())
def test_lowest_block_of_one_address_is_the_lowest_number(have: list[Span], limits: list[Span]) -> None:
    found = allocation.lowest_block(apart(have), 32, limits)
    both = numbers(have) & numbers(limits)
    assert (None if found is None else found.first) == (min(both) if both else None)
    assert found is None or found.size == 1


@given(spans(), st.integers(27, 32))
def test_lowest_block_of_a_prefix_is_aligned_and_inside(have: list[Span], prefix_length: int) -> None:
    size = 1 << (32 - prefix_length)
    free = apart(have)
    fits = [
        first
        for span in free
        for first in range(0, SMALL + 1, size)
        if span.first <= first and first + size - 1 <= span.last
    ]
    found = allocation.lowest_block(free, prefix_length)
    assert found == (Span(4, min(fits), min(fits) + size - 1) if fits else None)


@given(st.integers(0, SMALL), st.integers(0, SMALL), st.data())
def test_split_leaves_the_rest(first: int, size: int, data: st.DataObject) -> None:
    span = Span(4, first, first + size)
    start = data.draw(st.integers(span.first, span.last))
    block = Span(4, start, data.draw(st.integers(start, span.last)))
    pieces = allocation.split(span, block)
    assert numbers(list(pieces)) == numbers([span]) - numbers([block])


@given(st.integers(0, 2**32 - 1), st.integers(20, 32), st.data())
def test_usable_has_no_service_address_and_no_gateway(number: int, length: int, data: st.DataObject) -> None:
    network = ip_network(f"{ip_address(number)}/{length}", strict=False)
    hosts = {int(host) for host in network.hosts()}
    gateway = ip_address(data.draw(st.sampled_from(sorted(hosts))))
    assert numbers(allocation.usable(network, None)) == hosts
    assert numbers(allocation.usable(network, gateway)) == hosts - {int(gateway)}


@pytest.mark.parametrize("length", [32, 48, 64, 126])
def test_ipv6_networks_of_any_size_keep_only_the_routers_address(length: int) -> None:
    network = ip_network(f"2001:db8::/{length}")
    (span,) = allocation.usable(network, None)
    assert (span.first_address, span.size) == (ip_address("2001:db8::1"), 2 ** (128 - length) - 1)


def test_networks_of_two_and_one_address_hand_out_all() -> None:
    for text in ("192.0.2.0/31", "192.0.2.0/32", "2001:db8::/127", "2001:db8::/128"):
        network = ip_network(text)
        assert allocation.count(allocation.usable(network, None)) == network.num_addresses


@given(st.lists(st.ip_addresses()))
def test_keys_sort_by_family_and_number_and_come_back(addresses: list[allocation.IPAddress]) -> None:
    keys = sorted(allocation.key_of(address) for address in addresses)
    by_number = sorted(addresses, key=lambda address: (address.version, int(address)))
    assert [allocation.address_of(key) for key in keys] == by_number


@given(st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_ranges_are_read_as_they_are_written(one: allocation.IPAddress, other: allocation.IPAddress) -> None:
    first, last = sorted((int(one), int(other)))
    span = Span(6, first, last)
    assert allocation.parse_range(str(span)) == span
    assert allocation.parse_range(f" {span.first_address} - {span.last_address} ") == span


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("192.0.2.9-192.0.2.1", "comes after"),
        ("192.0.2.9-2001:db8::1", "two families"),
        ("192.0.2.256", "expected an IP address"),
        ("192.0.2.5/24", "the network is 192.0.2.0/24"),
        ("192.0.2.0/33", "expected a network"),
        ("fe80::1%eth0", "zone"),
        ("", "expected an IP address"),
        ("192.0.2.1-", "expected an IP address"),
    ],
)
def test_what_is_no_range_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        allocation.parse_range(text)


@pytest.mark.parametrize("text", ["192.0.2.0", "x/24", "192.0.2.0/", "fe80::%eth0/64"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|zone"):
        allocation.parse_network(text)
