"""Names in reverse zones."""

from ipaddress import ip_address, ip_network

import pytest

from rackhand.dns import names


@pytest.mark.parametrize(
    ("zone", "network"),
    [
        ("2.0.192.in-addr.arpa", "192.0.2.0/24"),
        ("0.192.in-addr.arpa", "192.0.0.0/16"),
        ("10.in-addr.arpa", "10.0.0.0/8"),
        ("8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8::/32"),
        ("1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8:1::/48"),
    ],
)
def test_a_zone_says_which_network_it_answers_for(zone: str, network: str) -> None:
    assert names.covered_network(names.zone_name(f"{zone.upper()}."), None) == ip_network(network)


@pytest.mark.parametrize(
    ("zone", "given", "words"),
    [
        ("0/26.2.0.192.in-addr.arpa", None, "say which network"),
        ("0/26.2.0.192.in-addr.arpa", "192.0.3.0/26", "is no part of 192.0.2.0/24"),
        ("0/26.2.0.192.in-addr.arpa", "192.0.2.0/24", "cannot answer for"),
        ("2.0.192.in-addr.arpa", "192.0.3.0/25", "does not hold 192.0.3.0/25"),
        ("2.0.192.in-addr.arpa", "2001:db8::/32", "does not hold"),
        ("x.0.192.in-addr.arpa", None, "is no reverse zone of a network"),
        ("300.0.192.in-addr.arpa", "192.0.2.0/24", "is no reverse zone of a network"),
        ("02.0.192.in-addr.arpa", None, "is no reverse zone of a network"),
        ("bd.0.1.0.0.2.ip6.arpa", None, "is no reverse zone of a network"),
    ],
)
def test_a_zone_that_does_not_fit_is_refused(zone: str, given: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        names.covered_network(names.zone_name(zone), ip_network(given) if given else None)


def test_records_stand_under_the_address_or_in_a_zone_of_rfc_2317_under_its_last_octet() -> None:
    assert names.record_name("0.192.in-addr.arpa", ip_address("192.0.2.7")) == "7.2.0.192.in-addr.arpa"
    zone = "64-26.2.0.192.in-addr.arpa"
    assert names.covered_network(zone, ip_network("192.0.2.64/26")) == ip_network("192.0.2.64/26")
    assert names.record_name(zone, ip_address("192.0.2.70")) == "70.64-26.2.0.192.in-addr.arpa"
    assert names.record_name("8.b.d.0.1.0.0.2.ip6.arpa", ip_address("2001:db8::f")).startswith("f.0.0.0.")


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "-a.example.com", "a b", "x" * 64, "a." * 130, "*.example.com"]
)
def test_what_is_no_host_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no host name"):
        names.host_name(text)


def test_host_names_have_one_spelling() -> None:
    assert names.host_name(" Srv-1.Example.COM. ") == "srv-1.example.com"
    assert names.host_name("domain_name") == "domain_name"
    assert names.host_name("b\u00fccher.example.com") == "xn--bcher-kva.example.com"


@pytest.mark.parametrize("text", ["example.com", "in-addr.arpa", "2.0.192.in-addr.arpa.example.com"])
def test_only_reverse_zones_are_zones_here(text: str) -> None:
    with pytest.raises(ValueError, match="is no reverse zone"):
        names.zone_name(text)
