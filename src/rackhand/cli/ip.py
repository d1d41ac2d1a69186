"""`rackhand ip`: addresses of servers."""

from typing import Annotated, Literal

import typer

from rackhand.cli import calling, profiles
from rackhand.cli.calling import (
    Asked,
    Json,
    Limit,
    OrderBy,
    ProfileName,
    ServerName,
    Timeout,
    Wait,
    Where,
    Yes,
)

ip_app = typer.Typer(no_args_is_help=True, help="Addresses.")


@ip_app.command("list")
def list_addresses(
    server: Annotated[str | None, typer.Argument(metavar="[SERVER]", help="Number or name.")] = None,
    where: Where = "",
    orderby: OrderBy = "",
    limit: Limit = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """List addresses that are not free: all, or those of a server."""
    with calling.connected(profile) as client:
        from rackhand.sdk import addresses

        columns = {
            "id": lambda address: address.id,
            "address": lambda address: address.name,
            "status": lambda address: address.status,
            "server": lambda address: address.server,
            "main": lambda address: address.is_main,
            "domain": lambda address: address.domain,
            "network": lambda address: address.network,
            "gateway": lambda address: address.gateway,
        }
        found = (
            addresses.find(where=where, orderby=orderby, limit=limit)
            if server is None
            else addresses.of_server(
                calling.find_server(client, server).id, where=where, orderby=orderby, limit=limit
            )
        )
        calling.show_list(client, found, columns, as_json=as_json)


@ip_app.command("add")
def add_address(
    server: ServerName,
    address: Annotated[str | None, typer.Option(help="This one; else the next that is free.")] = None,
    network: Annotated[int | None, typer.Option(help="Number of a network to take it from.")] = None,
    pool: Annotated[int | None, typer.Option(help="Number of a pool to take it from.")] = None,
    family: Annotated[Literal["ipv4", "ipv6"] | None, typer.Option(help="Which kind.")] = None,
    prefix: Annotated[int | None, typer.Option(help="A whole prefix of this length.")] = None,
    domain: Annotated[str | None, typer.Option(help="Host name.")] = None,
    main: Annotated[bool, typer.Option("--main", help="The one that an installation uses.")] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Give a server an address."""
    with calling.connected(profile) as client:
        from rackhand.sdk import addresses

        call = addresses.add(
            calling.find_server(client, server).id,
            name=address,
            network=network,
            pool=pool,
            family=family,
            prefix=prefix,
            domain=domain,
            make_main=main,
        )
        calling.start(client, call, Asked(profile, as_json, wait, timeout))


@ip_app.command("remove")
def remove_address(
    server: ServerName,
    address: Annotated[str, typer.Argument(help="The address, or its number.")],
    quarantine_hours: Annotated[
        int | None, typer.Option(min=0, help="How long nobody else gets it; 24 unless said otherwise.")
    ] = None,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Take an address from a server."""
    with calling.connected(profile) as client:
        from rackhand.sdk import addresses

        found = calling.find_server(client, server)
        number = calling.find_address(client, found.id, address)
        calling.make_sure(f"Take {address} from server {found.id} ({found.name})?", yes=yes)
        call = addresses.remove(found.id, number, quarantine_hours=quarantine_hours)
        calling.start(client, call, Asked(profile, as_json, wait, timeout))
