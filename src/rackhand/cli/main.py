"""`rackhand`: one verb per process, and the few things that are done without the API."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import typer

import rackhand
from rackhand import logs
from rackhand.cli.access import login, logout
from rackhand.cli.certificate import certificate_app
from rackhand.cli.events import events
from rackhand.cli.image import image_app
from rackhand.cli.ip import ip_app
from rackhand.cli.rack import CONTROL_PORT, rack_app
from rackhand.cli.server import server_app
from rackhand.cli.task import task_app
from rackhand.cli.template import template_app
from rackhand.settings import Settings, load

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Manager of rented bare-metal servers."
)
user_app = typer.Typer(no_args_is_help=True, help="Accounts, when nobody can sign in yet or any more.")
key_app = typer.Typer(no_args_is_help=True, help="The key ring that encrypts secrets at rest.")
db_app = typer.Typer(no_args_is_help=True, help="The database.")
app.add_typer(user_app, name="user")
app.add_typer(key_app, name="key")
app.add_typer(db_app, name="db")
app.add_typer(rack_app, name="rack")
app.add_typer(image_app, name="image")
app.add_typer(certificate_app, name="certificate")
# What calls a product that runs somewhere, through its API.
app.command()(login)
app.command()(logout)
app.add_typer(server_app, name="server")
app.add_typer(task_app, name="task")
app.add_typer(ip_app, name="ip")
app.add_typer(template_app, name="template")
app.command()(events)

Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings.", envvar="RACKHAND_CONFIG")
]
Data = Annotated[Path | None, typer.Option("--data", help="Directory of database, keys and images.")]


def _settings(config: Path | None, data: Path | None, **more: object) -> Settings:
    os.umask(0o077)  # databases and keys are for this account alone
    settings = load(config, data=data, **more)
    logs.configure(settings.log_level, as_json=settings.log_json)
    return settings


def _run(main: Coroutine[object, object, None]) -> None:
    """Run until done or asked to stop."""

    async def cancellable() -> None:
        task = asyncio.ensure_future(main)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(cancellable())


@app.command()
def version() -> None:
    """Print the version."""
    print(rackhand.__version__)


@app.command()
def serve(
    config: Config = None,
    data: Data = None,
    listen: Annotated[str | None, typer.Option(help="host:port, plain HTTP.")] = None,
    worker: Annotated[bool, typer.Option(help="Run operations in this process.")] = True,
    poll: Annotated[bool, typer.Option(help="Read power states in this process.")] = True,
) -> None:
    """Serve the API, and by default run operations and polls as well."""
    from rackhand.app import serve as run

    asyncio.run(run(_settings(config, data, listen=listen), runs_tasks=worker, polls=poll))


@app.command()
def worker(
    config: Config = None,
    data: Data = None,
    location: Annotated[str | None, typer.Option(help="Name of the location; all when absent.")] = None,
) -> None:
    """Run the operations and polls of a location."""
    from rackhand.app import work

    _run(work(_settings(config, data, location=location)))


@app.command()
def boot(
    config: Config = None,
    data: Data = None,
    listen: Annotated[
        str | None, typer.Option(help="host:port in the provisioning network, plain HTTP.")
    ] = None,
    location: Annotated[str | None, typer.Option(help="Name of the location; all when absent.")] = None,
) -> None:
    """Serve machines that boot from the network: DHCP, scripts, kernels, ramdisks, and the agents on them."""
    from rackhand.app import boot as run

    _run(run(_settings(config, data, boot_listen=listen, location=location)))


@app.command()
def demo(
    config: Config = None,
    data: Data = None,
    listen: Annotated[str | None, typer.Option(help="host:port, plain HTTP.")] = None,
    machines: Annotated[int, typer.Option(min=8, max=200, help="Number of virtual machines.")] = 12,
    reset: Annotated[bool, typer.Option(help="Forget the last demo first.")] = False,
    real: Annotated[
        bool, typer.Option("--real", help="With QEMU machines that really boot; needs root.")
    ] = False,
) -> None:
    """Start a virtual rack, the whole product and sample data."""
    from rackhand.cli.demo import run_demo

    directory = data or Path(os.environ.get("RACKHAND_DATA") or ("var/demo-real" if real else "var/demo"))
    settings = _settings(
        config, directory, listen=listen, poll_interval=float(os.environ.get("RACKHAND_POLL_INTERVAL", "30"))
    )
    if real:
        from rackhand.cli.real import run_real_demo

        asyncio.run(run_real_demo(settings, reset=reset))
        return
    if "RACKHAND_BOOT_LISTEN" not in os.environ:  # next to the API and the rack's control API
        host, port = settings.listen_address
        settings = settings.model_copy(update={"boot_listen": f"{host}:{port + 2 if port else 0}"})
    asyncio.run(run_demo(settings, machines=machines, reset=reset))


@rack_app.callback(invoke_without_command=True)
def rack(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Directory of the machines' state and log.")] = Path("var/rack"),
    machines: Annotated[int, typer.Option(min=1, max=2000)] = 12,
    base_port: Annotated[int, typer.Option(min=0, max=65000, help="First port of the BMCs.")] = 8700,
    control_port: Annotated[int, typer.Option(min=0, max=65535)] = CONTROL_PORT,
    time_scale: Annotated[float, typer.Option(min=0.1, max=1000)] = 10.0,
    real_boot: Annotated[
        bool,
        typer.Option("--real-boot", help="QEMU machines on Linux bridges, which really boot; needs root."),
    ] = False,
) -> None:
    """Run a virtual rack, or with a verb look at and change one that runs."""
    if context.invoked_subcommand is not None:
        return
    from rackhand.sim.demo import demo_rack
    from rackhand.sim.rack import serve_rack

    logs.configure("info", as_json=False)
    data.mkdir(parents=True, exist_ok=True)
    if real_boot:
        from rackhand.cli.real import run_real_rack

        _run(run_real_rack(data, machines=machines, base_port=base_port, control_port=control_port))
        return
    _run(
        serve_rack(
            demo_rack(machines, base_port=base_port, control_port=control_port, time_scale=time_scale),
            data / "rack.json",
        )
    )


def _database(config: Path | None, data: Path | None) -> "tuple[Settings, object]":
    from rackhand.db import Database

    settings = _settings(config, data)
    return settings, Database(settings.database)


@user_app.command("create")
def create_user(
    email: str,
    admin: Annotated[bool, typer.Option(help="Make it an administrator.")] = False,
    password_stdin: Annotated[bool, typer.Option(help="Read the password from standard input.")] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Add an account; without --password-stdin a password is made up and printed once."""
    from rackhand.cli import accounts

    password = sys.stdin.readline().rstrip("\n") if password_stdin else secrets.token_urlsafe(12)
    asyncio.run(accounts.create(_settings(config, data), email, password=password, is_admin=admin))
    if not password_stdin:
        print(f"Password of {email}: {password}")


@user_app.command("password")
def set_password(
    email: str,
    password_stdin: Annotated[bool, typer.Option(help="Read the password from standard input.")] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Set the password of an account; its sessions end."""
    from rackhand.cli import accounts

    password = sys.stdin.readline().rstrip("\n") if password_stdin else secrets.token_urlsafe(12)
    asyncio.run(accounts.set_password(_settings(config, data), email, password=password))
    if not password_stdin:
        print(f"Password of {email}: {password}")


@user_app.command("list")
def list_users(config: Config = None, data: Data = None) -> None:
    """List accounts."""
    from rackhand.cli import accounts

    asyncio.run(accounts.list_all(_settings(config, data)))


@key_app.command("rotate")
def rotate_key(config: Config = None, data: Data = None) -> None:
    """Make a new key and seal all secrets with it; all processes must be stopped."""
    from rackhand.cli import keys

    asyncio.run(keys.rotate(_settings(config, data)))


@db_app.command("migrate")
def migrate(config: Config = None, data: Data = None) -> None:
    """Bring the schema to this version; `serve` does that by itself."""
    from rackhand.db import Database

    async def run() -> None:
        db = Database(_settings(config, data).database)
        await db.migrate()
        await db.dispose()

    asyncio.run(run())
    print("The schema is up to date.")


@app.command("settings")
def show_settings() -> None:
    """Print the reference of all settings in Markdown (docs/settings.md)."""
    from rackhand.cli.reference import settings_reference

    print(settings_reference(), end="")


@app.command("openapi")
def show_openapi() -> None:
    """Print the description of the API as JSON."""
    from rackhand.cli.reference import openapi

    print(asyncio.run(openapi()))
