"""Under which addresses, and on which interface, a system of a server is reached."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.deploy.cloud_init import NetworkAddress
from rackhand.ipam.queries import addresses_of
from rackhand.servers.model import Server
from rackhand.switches.service import data_ports

ADDRESS_BITS = {4: 32, 6: 128}


async def main_addresses(session: AsyncSession, server_id: int) -> list[NetworkAddress]:
    """The main IPv4 address of a server, and its first IPv6 address, with their gateways; prefixes are none."""
    found: dict[int, NetworkAddress] = {}
    for row in (await addresses_of(session, [server_id])).get(server_id, ()):
        if row.prefix_length == ADDRESS_BITS[row.version]:
            found.setdefault(row.version, NetworkAddress(f"{row.name}/{row.mask}", row.gateway or ""))
    return [found[version] for version in sorted(found)]


async def main_mac(session: AsyncSession, server: Server, *, linked: Collection[str] = ()) -> str:
    """The interface of the main address: the first that is cabled by the record and has a link, as far as is known."""
    by_id = {nic.id: nic.mac for nic in server.nics}
    ports = await data_ports(session, server.id)
    cabled = [by_id.get(port.connection.nic_id or 0) for port in ports if port.connection]
    ordered = [mac for mac in (*cabled, *by_id.values()) if mac]
    return next((mac for mac in ordered if mac in linked), ordered[0])
