"""Arithmetic of addresses: which are free, and which of them is next. Pure: knows no database.

Addresses are whole numbers and come in spans, so that the largest IPv6 network costs what a small one costs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

IPV4, IPV6 = 4, 6
BITS = {IPV4: 32, IPV6: 128}


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Addresses from *first* to *last*, both included, of IP version *version*."""

    version: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """The number of addresses."""
        return self.last - self.first + 1

    @property
    def first_address(self) -> IPAddress:
        """The lowest address."""
        return address_at(self.version, self.first)

    @property
    def last_address(self) -> IPAddress:
        """The highest address."""
        return address_at(self.version, self.last)

    @property
    def first_key(self) -> bytes:
        """The lowest address as it is stored."""
        return key_of(self.first_address)

    @property
    def last_key(self) -> bytes:
        """The highest address as it is stored."""
        return key_of(self.last_address)

    def __contains__(self, other: "Span") -> bool:
        return self.version == other.version and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: "Span") -> bool:
        """Whether an address is in both."""
        return self.version == other.version and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        """Spell as a network where it is one, else as `first-last`."""
        if self.size == 1:
            return str(self.first_address)
        bits = self.size.bit_length() - 1
        if self.size == 1 << bits and self.first % self.size == 0:
            return f"{self.first_address}/{BITS[self.version] - bits}"
        return f"{self.first_address}-{self.last_address}"


def address_at(version: int, number: int) -> IPAddress:
    """The address with this number."""
    return IPv4Address(number) if version == IPV4 else IPv6Address(number)


def key_of(address: IPAddress) -> bytes:
    """The address as it is stored: a byte 4 or 6, then the packed address; sorts by number on every database."""
    return bytes([address.version]) + address.packed


def address_of(key: bytes) -> IPAddress:
    """The address that is stored as *key*."""
    return address_at(key[0], int.from_bytes(key[1:], "big"))


def span_between(first: bytes, last: bytes) -> Span:
    """The span between two stored addresses."""
    return Span(first[0], int.from_bytes(first[1:], "big"), int.from_bytes(last[1:], "big"))


def block_at(first: bytes, prefix_length: int) -> Span:
    """The block of a prefix that begins at a stored address."""
    version, number = first[0], int.from_bytes(first[1:], "big")
    return Span(version, number, number + (1 << (BITS[version] - prefix_length)) - 1)


def span_of(network: IPNetwork) -> Span:
    """All addresses of a network."""
    return Span(network.version, int(network.network_address), int(network.broadcast_address))


def span_at(address: IPAddress) -> Span:
    """One address."""
    return Span(address.version, int(address), int(address))


def parse_address(text: str) -> IPAddress:
    """Read an address; raises `ValueError` with the reason."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        raise ValueError(f"expected an IP address, got {text[:60]!r}") from None
    if getattr(address, "scope_id", None):
        raise ValueError(f"an address with a zone has no place in a network: {text[:60]!r}")
    return address


def parse_network(text: str) -> IPNetwork:
    """Read a network such as `192.0.2.0/24`; one with host bits is refused, with the network it would be."""
    words = f"expected a network such as 192.0.2.0/24, got {text[:60]!r}"
    if "/" not in text:
        raise ValueError(words)
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(words) from None
    if getattr(network.network_address, "scope_id", None):
        raise ValueError(words)
    if str(network.network_address) != str(parse_address(text.split("/", maxsplit=1)[0])):
        raise ValueError(f"{text[:60]!r} has host bits set; the network is {network}")
    return network


def parse_range(text: str) -> Span:
    """Read `192.0.2.10-192.0.2.20`, a network, or one address."""
    if "/" in text:
        return span_of(parse_network(text))
    first_text, dash, last_text = text.partition("-")
    first = parse_address(first_text)
    last = parse_address(last_text) if dash else first
    if first.version != last.version:
        raise ValueError(f"{first} and {last} are of two families")
    span = Span(first.version, int(first), int(last))
    if span.size < 1:
        raise ValueError(f"{first} comes after {last}")
    return span


def service_addresses(network: IPNetwork) -> tuple[IPAddress, ...]:
    """What is never a host: network and broadcast address; for IPv6 the anycast address of the routers.

    Networks of one or two addresses have none (RFC 3021, RFC 6164).
    """
    if network.num_addresses <= 2:  # noqa: PLR2004
        return ()
    if network.version == IPV4:
        return network.network_address, network.broadcast_address
    return (network.network_address,)


def usable(network: IPNetwork, gateway: IPAddress | None, nested: Iterable[Span] = ()) -> list[Span]:
    """What a network can hand out: no service addresses, not the gateway, not what nested networks hold."""
    kept = [span_at(address) for address in service_addresses(network)]
    if gateway is not None and gateway in network:
        kept.append(span_at(gateway))
    return list(subtract([span_of(network)], [*kept, *nested]))


def subtract(spans: Iterable[Span], taken: Iterable[Span]) -> Iterator[Span]:
    """What is left of *spans*, in order; spans must not overlap each other, those taken may."""
    cuts = sorted(taken)
    at = 0
    for span in sorted(spans):
        start = span.first
        while at < len(cuts) and (cuts[at].version, cuts[at].last) < (span.version, span.first):
            at += 1
        for cut in cuts[at:]:
            if cut.version != span.version or cut.first > span.last:
                break
            if cut.first > start:
                yield Span(span.version, start, cut.first - 1)
            start = max(start, cut.last + 1)
        if start <= span.last:
            yield Span(span.version, start, span.last)


def count(spans: Iterable[Span]) -> int:
    """The number of addresses in spans that do not overlap."""
    return sum(span.size for span in spans)


def split(span: Span, block: Span) -> tuple[Span, ...]:
    """What is left of *span* without *block*, which lies in it: none, one or two pieces."""
    before = Span(span.version, span.first, block.first - 1)
    after = Span(span.version, block.last + 1, span.last)
    return tuple(piece for piece in (before, after) if piece.size > 0)


def lowest_block(
    spans: Iterable[Span], prefix_length: int, within: Sequence[Span] | None = None
) -> Span | None:
    """Return the lowest block of a prefix that lies wholly in one of *spans*, or None.

    With *within* it must lie in one of those as well. One address is the prefix /32 or /128.
    """
    best: Span | None = None
    for span in spans:
        for limit in within if within is not None else (span,):
            if not span.overlaps(limit):
                continue
            size = 1 << (BITS[span.version] - prefix_length)
            first = -(-max(span.first, limit.first) // size) * size
            block = Span(span.version, first, first + size - 1)
            if block.last <= min(span.last, limit.last) and (best is None or block < best):
                best = block
    return best
