"""Names in reverse zones: of networks, of addresses, and what they may point to. Pure."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

SUFFIXES = {4: "in-addr.arpa", 6: "ip6.arpa"}
LABEL_BITS = {4: 8, 6: 4}
CLASSLESS_PREFIX = 24
MAX_NAME, MAX_LABEL = 253, 63
# Host names are letters, digits and hyphens (RFC 1123); underscores are found in the wild, and servers take them.
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")


def host_name(text: str) -> str:
    """The name that a PTR record may point to, in lower case and without the final dot; raises `ValueError`."""
    name = text.strip().removesuffix(".").lower()
    try:
        name = name.encode("idna").decode() if not name.isascii() else name
    except UnicodeError as error:
        raise ValueError(f"{text[:80]!r} is no host name") from error
    labels = name.split(".")
    is_good = len(name) <= MAX_NAME and all(
        len(label) <= MAX_LABEL and LABEL.fullmatch(label) for label in labels
    )
    if not is_good:
        raise ValueError(f"{text[:80]!r} is no host name")
    return name


def zone_name(text: str) -> str:
    """The name of a reverse zone in lower case and without the final dot; raises `ValueError`."""
    name = text.strip().removesuffix(".").lower()
    if len(name) > MAX_NAME or not name.endswith(tuple(f".{suffix}" for suffix in SUFFIXES.values())):
        raise ValueError(f"{text[:80]!r} is no reverse zone, such as 2.0.192.in-addr.arpa")
    return name


def network_of_zone(name: str) -> IPNetwork | None:
    """The network whose reverse zone is *name*; None for a zone of RFC 2317, whose first label is a free choice."""
    version = 6 if name.endswith(SUFFIXES[6]) else 4
    labels = name.removesuffix(f".{SUFFIXES[version]}").split(".")[::-1]
    bits = len(labels) * LABEL_BITS[version]
    try:
        if version == 4:  # noqa: PLR2004
            octets = [*map(_octet, labels), 0, 0, 0]
            return ip_network((bytes(octets[:4]), bits)) if len(labels) <= 4 else None  # noqa: PLR2004
        digits = "".join(labels)
        if len(digits) != len(labels):
            return None
        return ip_network((int(digits.ljust(32, "0"), 16), bits))
    except ValueError:
        return None


def _octet(label: str) -> int:
    number = int(label) if label.isascii() and label.isdigit() else -1
    if not 0 <= number <= 255 or str(number) != label:  # noqa: PLR2004
        raise ValueError(f"{label!r} is no octet")
    return number


def covered_network(zone: str, given: IPNetwork | None) -> IPNetwork:
    """The network that *zone* answers for: *given*, which must fit its name, or what its name says.

    A zone of RFC 2317 must be told: `0/26.2.0.192.in-addr.arpa` is whatever its owner says. Raises `ValueError`.
    """
    own = network_of_zone(zone)
    if own is not None:
        if given is None or given == own:
            return own
        if given.version == own.version and given.subnet_of(own):  # type: ignore[arg-type]  # one version
            return given
        raise ValueError(f"zone {zone} is that of {own}, which does not hold {given}")
    around = network_of_zone(zone.partition(".")[2])
    if around is None or around.version != 4 or around.prefixlen != CLASSLESS_PREFIX:  # noqa: PLR2004
        raise ValueError(f"{zone!r} is no reverse zone of a network, nor one of RFC 2317 below that of a /24")
    if given is None:
        raise ValueError(f"{zone} is a zone of RFC 2317: say which network it answers for")
    if given.version != 4 or given.prefixlen <= CLASSLESS_PREFIX or not given.subnet_of(around):  # noqa: PLR2004
        raise ValueError(f"zone {zone} cannot answer for {given}, which is no part of {around}")
    return given


def record_name(zone: str, address: IPAddress) -> str:
    """The name in *zone* at which the PTR record of *address* stands."""
    if network_of_zone(zone) is None:
        return f"{address.packed[-1]}.{zone}"
    return address.reverse_pointer
