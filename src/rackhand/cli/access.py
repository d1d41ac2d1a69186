"""`rackhand login` and `rackhand logout`."""

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from rackhand.cli import profiles
from rackhand.cli.calling import Exit, ProfileName, answered, ask_secret, fail, open_client

if TYPE_CHECKING:
    from rackhand.sdk import Client

HERE = {"localhost", "127.0.0.1", "::1"}


def login(
    url: Annotated[
        str,
        typer.Argument(
            help="Such as https://rackhand.example.com; else that of last time.", envvar="RACKHAND_URL"
        ),
    ] = "",
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
    with answered():
        stranger = _stranger(profile, url, ca_file, insecure=insecure)
        if urlsplit(stranger.url).scheme == "http" and urlsplit(stranger.url).hostname not in HERE:
            print("Warning: without https everybody on the way can read the password.", file=sys.stderr)
        if token_stdin:
            token = sys.stdin.readline().strip()
        else:
            token = _sign_in(stranger, email, days, from_stdin=password_stdin)
        if not token or not token.isascii() or not token.isprintable():
            fail("That is no token.", Exit.USAGE)
        from rackhand.sdk import auth

        known = replace(stranger, token=token)
        with open_client(known) as client:
            account = client.run(auth.whoami())
        profiles.save(profile, replace(known, email=account.email))
    role = "administrator" if account.is_admin else "user"
    print(f"Signed in to {known.url} as {account.email} ({role}).")


def _stranger(name: str, url: str, ca_file: str, *, insecure: bool) -> profiles.Profile:
    """Where to sign in, and how: what is said, else what was said last time."""
    last = profiles.known(name)
    if last is not None and url in {"", last.url} and not ca_file and not insecure:
        return replace(last, token="")
    if not url:
        fail("Say where: rackhand login https://rackhand.example.com", Exit.USAGE)
    return profiles.Profile(
        url, "", ca_file=str(Path(ca_file).absolute()) if ca_file else "", insecure=insecure
    )


def _sign_in(stranger: profiles.Profile, email: str, days: int | None, *, from_stdin: bool) -> str:
    from rackhand.sdk import auth

    if not email:
        if not sys.stdin.isatty():
            fail("Say whose account: --email.", Exit.USAGE)
        email = typer.prompt("E-mail address", default=stranger.email or None)
    password = ask_secret("Password", variable="RACKHAND_PASSWORD", from_stdin=from_stdin)
    with open_client(stranger) as client:
        session = client.run(auth.sign_in(email, password))
    if days is None:
        return session.token
    with open_client(replace(stranger, token=session.token)) as client:
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
