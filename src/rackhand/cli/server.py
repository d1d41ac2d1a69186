"""`rackhand server`: the stock, owners, power, and operations on whole machines."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

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

if TYPE_CHECKING:
    from rackhand.sdk import Call, Changed, Started, servers

server_app = typer.Typer(no_args_is_help=True, help="Servers of a product that runs somewhere.")
power_app = typer.Typer(no_args_is_help=True, help="Chassis power.")
server_app.add_typer(power_app, name="power")

Clearing = Literal["none", "fast", "full"]
Raid = Literal["none", "raid0", "raid1", "raid5", "raid6", "raid10"]
Soft = Annotated[bool, typer.Option("--soft", help="Ask the operating system first.")]
HardAfter = Annotated[
    int | None, typer.Option(min=1, max=1800, help="Seconds after which a soft one becomes hard.")
]
SshKey = Annotated[list[Path] | None, typer.Option(help="File with public keys for root; may be repeated.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the API; may be repeated.")]
Domain = Annotated[str | None, typer.Option(help="Host name.")]
Configuration = Annotated[str | None, typer.Option(help="Such as E-2146G-64Gb-2x1024NVMe.")]
RackNumber = Annotated[int | None, typer.Option("--rack", help="Number of the rack.")]
Unit = Annotated[int | None, typer.Option(help="Lowest unit in the rack.")]
Mac = Annotated[list[str] | None, typer.Option(help="MAC address of a network interface; may be repeated.")]
BmcDriver = Annotated[str, typer.Option(help="ipmi or redfish.")]
BmcHost = Annotated[str | None, typer.Option(help="Address of the BMC.")]
BmcUser = Annotated[str, typer.Option(help="Account on the BMC.")]
BmcPasswordStdin = Annotated[
    bool,
    typer.Option(
        "--bmc-password-stdin", help="Read its password from standard input; else RACKHAND_BMC_PASSWORD."
    ),
]


@server_app.command("list")
def list_servers(
    where: Where = "",
    orderby: OrderBy = "",
    limit: Limit = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """List servers."""
    with calling.connected(profile) as client:
        from rackhand.sdk import servers

        found = servers.find(where=where, orderby=orderby, limit=limit)
        calling.show_list(client, found, _columns(), as_json=as_json)


def _columns() -> "dict[str, Callable[[servers.Server], object]]":
    return {
        "id": lambda server: server.id,
        "name": lambda server: server.name,
        "status": lambda server: server.status if server.state != "suspended" else "suspended",
        "power": lambda server: server.power_status,
        "owner": lambda server: server.owner_email,
        "address": lambda server: server.addresses[0].name if server.addresses else "",
        "rack": lambda server: server.rack.name if server.rack else "",
        "unit": lambda server: server.unit,
        "configuration": lambda server: server.configuration,
        "doing": _doing,
    }


def _doing(server: "servers.Server") -> str:
    operation = server.operation
    if operation is None or operation.status in {"ok", "canceled"}:
        return ""
    return f"{operation.name} {operation.status}"


@server_app.command()
def show(server: ServerName, as_json: Json = False, profile: ProfileName = profiles.DEFAULT) -> None:
    """Show a server."""
    with calling.connected(profile) as client:
        from rackhand.sdk import servers

        found = calling.find_server(client, server)
        if as_json:
            calling.show_json(client.run(servers.get(found.id).raw()))
            return
        calling.show_object(_fields(found))


def _fields(server: "servers.Server") -> dict[str, object]:
    flags = ("is_new", "maintenance", "is_protected")
    return {
        "id": server.id,
        "name": server.name,
        "domain": server.domain,
        "status": server.status,
        "state": server.state,
        "flags": ", ".join(flag.removeprefix("is_") for flag in flags if getattr(server, flag)),
        "quarantine": server.quarantine_reason,
        "power": server.power_status,
        "power read at": server.power_status_at,
        "power problem": server.power_status_info,
        "owner": server.owner_email,
        "configuration": server.configuration,
        "system": server.os_template.name if server.os_template else "",
        "location": server.location.name if server.location else "",
        "rack": server.rack.name if server.rack else "",
        "unit": server.unit,
        "model": server.model,
        "serial": server.serial,
        "addresses": ", ".join(address.name for address in server.addresses),
        "interfaces": ", ".join(f"{nic.name} {nic.mac}".strip() for nic in server.nics),
        "disks": ", ".join(f"{disk.name} {disk.size_gb} GB {disk.kind}".strip() for disk in server.disks),
        "BMC": f"{server.bmc.driver} {server.bmc.host}" if server.bmc else "",
        "doing": _doing(server),
        "notes": server.notes,
    }


# --- the inventory


@server_app.command()
def add(
    name: str,
    domain: Domain = None,
    configuration: Configuration = None,
    rack: RackNumber = None,
    unit: Unit = None,
    mac: Mac = None,
    bmc_driver: BmcDriver = "ipmi",
    bmc_host: BmcHost = None,
    bmc_user: BmcUser = "",
    bmc_password_stdin: BmcPasswordStdin = False,
    in_service: Annotated[bool, typer.Option("--in-service", help="It is not new: it may be given.")] = False,
    settings: Set = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Add a server."""
    values = _given(domain=domain, configuration=configuration, rack_id=rack, unit=unit)
    values |= {"name": name, "is_new": not in_service, "nics": [{"mac": each} for each in mac or ()]}
    if bmc_host is not None:
        values["bmc"] = _bmc(bmc_driver, bmc_host, bmc_user, from_stdin=bmc_password_stdin)
    with calling.connected(profile) as client:
        from rackhand.sdk import servers

        new = cast("servers.NewServer", {**values, **calling.read_settings(settings or ())})
        document = client.run(servers.create(**new).raw())
        if as_json:
            calling.show_json(document)
        else:
            print(f"Server {document['id']} ({name}) was added.")


@server_app.command()
def edit(
    server: ServerName,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    domain: Domain = None,
    configuration: Configuration = None,
    rack: RackNumber = None,
    unit: Unit = None,
    notes: Annotated[str | None, typer.Option(help="What is to be known of it.")] = None,
    in_service: Annotated[bool | None, typer.Option("--in-service/--new", help="May it be given.")] = None,
    maintenance: Annotated[bool | None, typer.Option(help="Out of stock for maintenance.")] = None,
    protected: Annotated[bool | None, typer.Option(help="Safe from power off, reset, deletion.")] = None,
    mac: Mac = None,
    bmc_driver: BmcDriver = "ipmi",
    bmc_host: BmcHost = None,
    bmc_user: BmcUser = "",
    bmc_password_stdin: BmcPasswordStdin = False,
    settings: Set = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Change a server; --mac replaces the whole list of interfaces."""
    values = _given(name=name, domain=domain, configuration=configuration, rack_id=rack, unit=unit)
    values |= _given(notes=notes, maintenance=maintenance, is_protected=protected)
    values |= _given(is_new=None if in_service is None else not in_service)
    if mac is not None:
        values["nics"] = [{"mac": each} for each in mac]
    values |= calling.read_settings(settings or ())
    if bmc_host is not None:
        values["bmc"] = _bmc(bmc_driver, bmc_host, bmc_user, from_stdin=bmc_password_stdin)
    if not values:
        calling.fail("Say what to change; see --help.", calling.Exit.USAGE)
    with calling.connected(profile) as client:
        from rackhand.sdk import servers

        found = calling.find_server(client, server)
        document = client.run(servers.edit(found.id, **cast("servers.ServerChanges", values)).raw())
        if as_json:
            calling.show_json(document)
        else:
            print(f"Server {found.id} ({found.name}) was changed: {', '.join(values)}.")


def _given(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _bmc(driver: str, host: str, user: str, *, from_stdin: bool) -> dict[str, object]:
    password = calling.ask_secret(
        "Password of the BMC", variable="RACKHAND_BMC_PASSWORD", from_stdin=from_stdin
    )
    return {"driver": driver, "host": host, "user": user, "password": password}


@server_app.command()
def delete(
    server: ServerName, yes: Yes = False, as_json: Json = False, profile: ProfileName = profiles.DEFAULT
) -> None:
    """Delete a server that nobody owns."""
    with calling.connected(profile) as client:
        from rackhand.sdk import servers

        found = calling.find_server(client, server)
        calling.make_sure(f"Delete server {found.id} ({found.name})?", yes=yes)
        document = client.run(servers.delete(found.id).raw())
        if as_json:
            calling.show_json(document)
        else:
            print(f"Server {found.id} ({found.name}) was deleted.")


# --- who has it


@server_app.command()
def give(
    server: ServerName,
    user: Annotated[str, typer.Argument(help="Number or e-mail address of an account.")],
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Give a server to an account."""
    with calling.connected(profile) as client:
        from rackhand.sdk import servers

        found, owner = calling.find_server(client, server), calling.find_user(client, user)
        document = client.run(servers.give(found.id, owner).raw())
        if as_json:
            calling.show_json(document)
        else:
            print(f"Server {found.id} ({found.name}) was given to {user}.")


@server_app.command("release", help="The same as take.")
@server_app.command("take")
def take(
    server: ServerName,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Take a server back from its owner; its disks are wiped as its location says."""

    def call(id: int) -> "Call[Changed]":
        from rackhand.sdk import servers

        return servers.take(id)

    _operate(
        server, call, Asked(profile, as_json, wait, timeout, yes), "Take {} from its owner, and wipe it?"
    )


@server_app.command()
def suspend(
    server: ServerName,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Cut a server off: its data ports go down, the machine keeps running."""

    def call(id: int) -> "Call[Started]":
        from rackhand.sdk import servers

        return servers.suspend(id)

    _operate(server, call, Asked(profile, as_json, wait, timeout, yes), "Cut {} off the network?")


@server_app.command()
def resume(
    server: ServerName,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Let a server in again: its data ports go up."""

    def call(id: int) -> "Call[Started]":
        from rackhand.sdk import servers

        return servers.resume(id)

    _operate(server, call, Asked(profile, as_json, wait, timeout))


# --- power


@power_app.command("on")
def power_on(
    server: ServerName,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Switch a server on."""

    def call(id: int) -> "Call[Started]":
        from rackhand.sdk import servers

        return servers.power_on(id)

    _operate(server, call, Asked(profile, as_json, wait, timeout))


@power_app.command("off")
def power_off(
    server: ServerName,
    soft: Soft = False,
    hard_after: HardAfter = None,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Switch a server off: at once, or softly first."""

    def call(id: int) -> "Call[Started]":
        from rackhand.sdk import servers

        return servers.power_off(id, soft=soft, hard_after=hard_after)

    _operate(server, call, Asked(profile, as_json, wait, timeout, yes), "Switch {} off?")


@power_app.command("reset")
def power_reset(
    server: ServerName,
    soft: Soft = False,
    hard_after: HardAfter = None,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Switch a server off and on again; one that is off is switched on."""

    def call(id: int) -> "Call[Started]":
        from rackhand.sdk import servers

        return servers.power_reset(id, soft=soft, hard_after=hard_after)

    _operate(server, call, Asked(profile, as_json, wait, timeout, yes), "Switch {} off and on?")


# --- operations on the whole machine


@server_app.command()
def install(
    server: ServerName,
    template: Annotated[str, typer.Argument(help="Number or name of a template.")],
    ssh_key: SshKey = None,
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin", help="Read root's password from standard input; without keys asked for."
        ),
    ] = False,
    raid: Annotated[Raid | None, typer.Option(help="Software RAID over the disks.")] = None,
    domain: Domain = None,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Install an operating system; what the disks hold is lost."""
    keys = calling.read_keys(ssh_key or ())
    with calling.connected(profile) as client:
        from rackhand.sdk import servers

        found, number = calling.find_server(client, server), calling.find_template(client, template)
        question = f"Install {template} on server {found.id} ({found.name})? What its disks hold is lost."
        calling.make_sure(question, yes=yes)
        password = None
        if password_stdin or not keys:
            password = calling.ask_secret(
                "Password for root", variable="RACKHAND_SYSTEM_PASSWORD", from_stdin=password_stdin
            )
        call = servers.install(found.id, number, password=password, ssh_keys=keys, raid=raid, domain=domain)
        calling.start(client, call, Asked(profile, as_json, wait, timeout))


@server_app.command()
def rescue(
    server: ServerName,
    stop: Annotated[bool, typer.Option("--stop", help="Back to its disk.")] = False,
    ssh_key: SshKey = None,
    hours: Annotated[float | None, typer.Option(help="How long at most.")] = None,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Start a server into rescue; without keys a password is made up and printed, this once."""
    keys, asked = calling.read_keys(ssh_key or ()), Asked(profile, as_json, wait, timeout)
    with calling.connected(profile) as client:
        from rackhand.sdk import servers

        found = calling.find_server(client, server)
        calling.make_sure(f"Restart server {found.id} ({found.name})?", yes=yes)
        if stop:
            calling.start(client, servers.end_rescue(found.id), asked)
            return
        started = client.run(servers.rescue(found.id, ssh_keys=keys, hours=hours).raw())
        if as_json and not wait:
            calling.show_json(started)
            return
        if "password" in started:  # it is in no other answer, so it is not lost whatever comes of the task
            out = sys.stderr if as_json else sys.stdout
            print(f"Password of root: {started['password']}", file=out, flush=True)
        if wait:
            calling.watch(client, started["task"], asked)
        else:
            print(f"Task {started['task']} started: rackhand task wait {started['task']}")


@server_app.command()
def diagnose(
    server: ServerName,
    clear: Annotated[Clearing, typer.Option(help="Clear the disks as well.")] = "none",
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """See what is in a server; it is switched off and on for that."""

    def call(id: int) -> "Call[Started]":
        from rackhand.sdk import servers

        return servers.diagnose(id, clear=clear)

    lost = "" if clear == "none" else " What its disks hold is lost."
    _operate(server, call, Asked(profile, as_json, wait, timeout, yes), f"Restart {{}}?{lost}")


@server_app.command()
def wipe(
    server: ServerName,
    clear: Annotated[
        Clearing,
        typer.Option(help="full is proven by reading back; fast clears the ends, which is no erasure."),
    ] = "full",
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Wipe all disks of a server."""

    def call(id: int) -> "Call[Started]":
        from rackhand.sdk import servers

        return servers.wipe(id, clear=clear)

    _operate(server, call, Asked(profile, as_json, wait, timeout, yes), "Wipe all disks of {}?")


def _operate(
    server: str, call: "Callable[[int], Call[Started] | Call[Changed]]", asked: Asked, question: str = ""
) -> None:
    """Start an operation on a server, after a *question* when there is one."""
    with calling.connected(asked.profile) as client:
        found = calling.find_server(client, server)
        if question:
            calling.make_sure(question.format(f"server {found.id} ({found.name})"), yes=asked.yes)
        calling.start(client, call(found.id), asked)
