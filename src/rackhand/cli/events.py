"""`rackhand events`: what happened, and what happens."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from rackhand.cli import calling, profiles
from rackhand.cli.calling import Json, ProfileName, Where

if TYPE_CHECKING:
    from rackhand.sdk.events import Event


def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay, and print events as they happen.")
    ] = False,
    since: Annotated[int | None, typer.Option(min=0, help="Begin after this event.")] = None,
    where: Where = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Show what happened, and with --follow what happens; then --json prints one event a line."""
    if follow and where:
        calling.fail("--follow takes no --where.", calling.Exit.USAGE)
    with calling.connected(profile) as client:
        from rackhand.sdk.events import find

        if follow:
            try:
                for event in client.follow(since=since):
                    print(_as_json(event) if as_json else _as_line(event), flush=True)
            except KeyboardInterrupt:
                return
        if since is not None:
            where = f"({where}) AND id GT {since}" if where else f"id GT {since}"
        found = find(where=where, orderby="-id", limit=limit)
        document = client.run(found.raw())
        if as_json:
            calling.show_json(document)
            return
        for event in reversed(found.read(document).rows):
            print(_as_line(event))


def _as_line(event: "Event") -> str:
    who = event.actor.email or ""
    return f"{event.id:>7}  {calling.text(event.at)}  {calling.text(who):<24}  {calling.text(event.message)}"


def _as_json(event: "Event") -> str:
    return json.dumps({**dataclasses.asdict(event), "at": calling.text(event.at)}, ensure_ascii=False)
