"""`rackhand template`: what can be installed."""

import typer

from rackhand.cli import calling, profiles
from rackhand.cli.calling import Json, Limit, OrderBy, ProfileName, Where

template_app = typer.Typer(no_args_is_help=True, help="Templates of operating systems.")


@template_app.command("list")
def list_templates(
    where: Where = "",
    orderby: OrderBy = "",
    limit: Limit = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """List what can be installed."""
    with calling.connected(profile) as client:
        from rackhand.sdk import templates

        columns = {
            "id": lambda template: template.id,
            "name": lambda template: template.name,
            "kind": lambda template: template.kind,
            "state": lambda template: template.state,
            "boots by": lambda template: template.boot_mode,
            "RAID": lambda template: ", ".join(template.raid_levels),
            "tags": lambda template: ", ".join(template.tags),
        }
        found = templates.find(where=where, orderby=orderby, limit=limit)
        calling.show_list(client, found, columns, as_json=as_json)
