"""The drivers in one table."""

from collections.abc import Callable, Mapping

from rackhand.dns import powerdns, rfc2136
from rackhand.dns.interfaces import NameServer, PtrChange
from rackhand.hardware.drivers import Driver

DNS_DRIVERS: Mapping[str, Driver[NameServer]] = {
    "powerdns": Driver(
        title="PowerDNS (HTTP API)", port=8081, connect=powerdns.PowerDns, settings=powerdns.PowerDnsSettings
    ),
    "rfc2136": Driver(
        title="Dynamic updates (RFC 2136)", port=53, connect=rfc2136.Rfc2136, settings=rfc2136.Rfc2136Settings
    ),
}
# What each would send, for a dry run: nothing is asked for it.
COMMANDS: Mapping[str, Callable[[PtrChange], list[str]]] = {
    "powerdns": powerdns.commands,
    "rfc2136": rfc2136.commands,
}
