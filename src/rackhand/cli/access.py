"""`rackhand login` and `rackhand logout`."""

import os
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from rackhand.cli import profiles
from rackhand.cli.calling import Exit, ProfileName, answered, ask_secret, fail, open_client

if TYPE_CHECKING:
    from rackhand.sdk import Client

HERE = {"localhost", "127.0.0.1", "::1"}


def login(
    url: Annotated[str, typer.Argument(help="Such as https://rackhand.example.com", envvar="RACKHAND_URL")],
    email: Annotated[str, typer.Option(help="Whose account.", envvar="RACKHAND_EMAIL")] = "",
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin", help="Read the password from standard input; else RACKHAND_PASSWORD."
        ),
    ] = False,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read a token from standard input instead of signing in.")
    ] = False,
    days: Annotated[
        int | None,
        typer.Option(
            min=1, max=3650, help="Keep a token for so many days, not a session that ends when unused."
        ),
    ] = None,
    ca_file: Annotated[str, typer.Option(help="Certificates to trust, in PEM.")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Trust any certificate.")] = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Sign in, and keep the token for the other verbs."""
    if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in HERE:
        print("Warning: without https everybody on the way can read the password.", file=sys.stderr)
    ca_file = os.path.abspath(ca_file) if ca_file else ""  # noqa: PTH100  # nothing is asked of the file yet
    stranger = profiles.Profile(url, "", "", ca_file, insecure)
    with answered():
        token = (
            sys.stdin.readline().strip() if token_stdin else _sign_in(stranger, email, password_stdin, days)
        )
        if not token.isascii() or not token.isprintable() or not token:
            fail("That is no token.", Exit.USAGE)
        known = profiles.Profile(url, token, "", ca_file, insecure)
        from rackhand.sdk import auth

        with open_client(known) as client:
            account = client.run(auth.whoami())
        profiles.save(profile, profiles.Profile(url, token, account.email, ca_file, insecure))
    role = "administrator" if account.is_admin else "user"
    print(f"Signed in to {url} as {account.email} ({role}).")


def _sign_in(stranger: profiles.Profile, email: str, password_stdin: bool, days: int | None) -> str:  # noqa: FBT001
    from rackhand.sdk import auth

    if not email:
        if not sys.stdin.isatty():
            fail("Say whose account: --email.", Exit.USAGE)
        email = typer.prompt("E-mail address")
    password = ask_secret("Password", variable="RACKHAND_PASSWORD", from_stdin=password_stdin)
    with open_client(stranger) as client:
        session = client.run(auth.sign_in(email, password))
    if days is None:
        return session.token
    signed_in = profiles.Profile(stranger.url, session.token, "", stranger.ca_file, stranger.insecure)
    with open_client(signed_in) as client:
        return _lasting_token(client, session.token, days)


def _lasting_token(client: "Client", session: str, days: int) -> str:
    from rackhand.sdk import auth

    until = datetime.now(UTC) + timedelta(days=days)
    made = client.run(auth.create_token(description="rackhand login", expires_at=until))
    client.run(auth.sign_out(session))
    return made.token


def logout(profile: ProfileName = profiles.DEFAULT) -> None:
    """Revoke the token and forget it; it is forgotten also when the server cannot be reached."""
    from rackhand.sdk import NotSignedIn, auth

    with answered():
        known = profiles.load(profile)
        profiles.forget(profile)
        with open_client(known) as client:
            try:
                client.run(auth.sign_out(known.token))
            except NotSignedIn:
                print("The session had ended already.")
                return
    print(f"Signed out of {known.url}.")
