"""What the verbs that call a server share: options, the client, exit codes, tables, waiting for tasks."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from rackhand.cli import profiles

if TYPE_CHECKING:  # the processes of the server need not wait for them
    from rackhand.sdk import Call, Changed, Client, Listing, Page, Started, servers, tasks

Row = TypeVar("Row")


class Exit(IntEnum):
    """How a verb ends; the numbers are promised in docs/cli.md."""

    FINE = 0
    REFUSED = 1
    USAGE = 2
    NOT_SIGNED_IN = 3
    NOT_FOUND = 4
    BUSY = 5
    TASK_FAILED = 6
    NOT_REACHABLE = 7
    TIMED_OUT = 8
    INTERRUPTED = 130


ProfileName = Annotated[str, typer.Option("--profile", help="Which sign-in.", envvar="RACKHAND_PROFILE")]
Json = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay until the task is over.")]
Timeout = Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most, with --wait.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Where = Annotated[str, typer.Option(help="Filter, such as: name CP '%srv-1%'")]
OrderBy = Annotated[str, typer.Option("--orderby", help="Such as: -id, or: name desc,id")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many.")]
ServerName = Annotated[str, typer.Argument(metavar="SERVER", help="Number or name.")]


@dataclass(frozen=True)
class Asked:
    """The options of a verb that starts a task."""

    profile: str
    as_json: bool
    wait: bool
    timeout: float | None
    yes: bool = True


def fail(message: str, code: Exit) -> NoReturn:
    """End the verb with a sentence."""
    print(_printable(message), file=sys.stderr)
    raise typer.Exit(code)


def exit_code(error: Exception) -> Exit:
    """How a verb ends that met *error*."""
    from rackhand import sdk

    codes: tuple[tuple[type[Exception], Exit], ...] = (  # smallest kinds first
        (sdk.NotSignedIn, Exit.NOT_SIGNED_IN),
        (sdk.Forbidden, Exit.NOT_SIGNED_IN),
        (sdk.NotFound, Exit.NOT_FOUND),
        (sdk.Conflict, Exit.BUSY),
        (sdk.Unavailable, Exit.NOT_REACHABLE),
        (sdk.NotReachable, Exit.NOT_REACHABLE),
        (sdk.UnexpectedAnswer, Exit.NOT_REACHABLE),
        (sdk.TaskFailed, Exit.TASK_FAILED),
        (sdk.TimedOut, Exit.TIMED_OUT),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), Exit.REFUSED)


@contextlib.contextmanager
def answered() -> "Iterator[None]":
    """Turn what goes wrong inside into a sentence and an exit code."""
    from rackhand import sdk

    try:
        yield
    except profiles.NoProfile as error:
        fail(str(error), Exit.NOT_SIGNED_IN)
    except sdk.RackhandError as error:
        fail(str(error), exit_code(error))


@contextlib.contextmanager
def connected(profile: str) -> "Iterator[Client]":
    """Give a client that is signed in."""
    from rackhand.sdk import NotSignedIn

    with answered(), open_client(profiles.load(profile)) as client:
        try:
            yield client
        except NotSignedIn as error:
            fail(f"{error} Sign in with: rackhand login", Exit.NOT_SIGNED_IN)


def open_client(profile: profiles.Profile) -> "Client":
    """A client for a profile."""
    import ssl

    from rackhand.sdk import Client

    verify: bool | ssl.SSLContext = not profile.insecure
    try:
        if profile.ca_file and not profile.insecure:
            verify = ssl.create_default_context(cafile=profile.ca_file)
        return Client(profile.url, token=profile.token, verify=verify)
    except (ValueError, OSError) as error:
        fail(str(error), Exit.USAGE)


# --- what is typed


def ask_secret(question: str, *, variable: str, from_stdin: bool) -> str:
    """Read a secret: from standard input when that is asked for, from the environment, or by a question."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if given := os.environ.get(variable):
        return given
    if not sys.stdin.isatty():
        fail(f"No {question.lower()}: set {variable}, or give it on standard input.", Exit.USAGE)
    secret: str = typer.prompt(question, hide_input=True)
    return secret


def make_sure(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be taken back; ends the verb on no."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Nobody is here to ask: say --yes.", Exit.USAGE)
    if not typer.confirm(_printable(question), err=True):
        fail("Nothing was done.", Exit.USAGE)


def read_keys(files: Iterable[Path]) -> list[str]:
    """The public keys in *files*, one a line."""
    keys = []
    for file in files:
        try:
            lines = file.read_text().splitlines()
        except OSError as error:
            fail(f"{file}: {error.strerror}.", Exit.USAGE)
        except UnicodeDecodeError:
            fail(f"{file}: that is no text.", Exit.USAGE)
        keys += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return keys


def read_settings(words: Iterable[str]) -> dict[str, Any]:
    """`key=value` words; a value is JSON when it reads as such, else text."""
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            fail(f"Expected --set KEY=VALUE, got {word!r}.", Exit.USAGE)
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return values


# --- objects by their names


def find_server(client: "Client", name: str) -> "servers.Server":
    """A server by number or name."""
    from rackhand.sdk import quote, servers

    if name.isdigit():
        return client.run(servers.get(int(name)))
    return _only(client.run(servers.find(where=f"name EQ {quote(name)}", limit=10)), "server", name)


def find_template(client: "Client", name: str) -> int:
    """The number of a template."""
    from rackhand.sdk import quote, templates

    if name.isdigit():
        return int(name)
    return _only(client.run(templates.find(where=f"name EQ {quote(name)}", limit=10)), "template", name).id


def find_user(client: "Client", name: str) -> int:
    """The number of an account."""
    from rackhand.sdk import quote, users

    if name.isdigit():
        return int(name)
    return _only(client.run(users.find(where=f"email EQ {quote(name)}", limit=10)), "account", name).id


def find_address(client: "Client", server: int, name: str) -> int:
    """The number of an address of a server."""
    from rackhand.sdk import addresses, quote

    if name.isdigit():
        return int(name)
    found = client.run(addresses.of_server(server, where=f"name EQ {quote(name)}", limit=10))
    return _only(found, "address", name).id


def _only(page: "Page[Row]", kind: str, name: str) -> Row:
    from rackhand.sdk import NotFound

    if not page.rows:
        raise NotFound(f"There is no {kind} {name}.", status=404)
    if len(page.rows) > 1:
        numbers = ", ".join(str(getattr(row, "id", "?")) for row in page.rows)
        fail(f"Several are called {name}: say the number ({numbers}).", Exit.USAGE)
    return page.rows[0]


# --- what is shown


def show_json(document: object) -> None:
    """Print JSON as the API gave it."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def show_list(
    client: "Client",
    listing: "Listing[Row]",
    columns: Mapping[str, Callable[[Row], object]],
    *,
    as_json: bool,
) -> None:
    """Print rows as a table, or the answer as it came."""
    document = client.run(listing.raw())
    if as_json:
        show_json(document)
        return
    page = listing.read(document)
    show_table(columns, page.rows)
    if len(page.rows) < page.size:
        print(f"{len(page.rows)} of {page.size}", file=sys.stderr)


def show_table(columns: Mapping[str, Callable[[Row], object]], rows: Iterable[Row]) -> None:
    """Print a table; lines are cut for a terminal only."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in columns:
        table.add_column(title, overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(text(column(row)) for column in columns.values()))
    width = None if sys.stdout.isatty() else 10_000
    Console(markup=False, highlight=False, emoji=False, width=width).print(table)


def show_object(fields: Mapping[str, object]) -> None:
    """Print the fields of an object that have a value, one a line."""
    shown = {title: text(value) for title, value in fields.items() if value not in (None, "", (), [])}
    width = max(map(len, shown), default=0)
    for title, value in shown.items():
        print(f"{title.ljust(width)}  {value}")


def text(value: object) -> str:
    """A value in a cell; what would steer a terminal is taken out."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return _printable(str(value))


def _printable(words: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in words)


# --- tasks


def start(
    client: "Client", call: "Call[Started] | Call[Changed]", asked: Asked, *, words: str = "Done."
) -> None:
    """Run a call that starts a task, say so, and stay until its end when that is asked for."""
    document = client.run(call.raw())
    task = document.get("task")
    if task is None or not asked.wait:
        if asked.as_json:
            show_json(document)
        else:
            print(words if task is None else f"Task {task} started: rackhand task wait {task}")
        return
    watch(client, task, asked)


def watch(client: "Client", task: int, asked: Asked) -> None:
    """Stay until the end of a task, with its steps on standard error."""
    from rackhand import sdk

    try:
        with _progress() as progress:
            ended = client.wait(task, timeout=asked.timeout, progress=progress)
    except KeyboardInterrupt:
        fail(f"Task {task} goes on: rackhand task wait {task}", Exit.INTERRUPTED)
    except (sdk.TaskFailed, sdk.TimedOut):
        if asked.as_json:
            show_json(client.run(sdk.tasks.get(task).raw()))
        raise
    if asked.as_json:
        show_json(client.run(sdk.tasks.get(task).raw()))
    else:
        print(f"Task {task} ({ended.name}) is complete.")


def step_line(task: "tasks.Task") -> str:
    """Where a task is, and what it waits for."""
    step = task.current_step
    reason = task.waiting.reason if task.waiting else ""
    name = step.name if step else ""
    said = (step.message if step else "") or (reason if reason != name else "")
    return text(f"{name}: {said}" if name and said else name or said or task.state)


@contextlib.contextmanager
def _progress() -> "Iterator[Callable[[tasks.Task], object]]":
    """A bar on a terminal, else a line for each change."""
    if not sys.stderr.isatty():
        last = ""

        def tell(task: "tasks.Task") -> None:
            nonlocal last
            line = step_line(task)
            if line != last and not task.is_over:
                print(f"Task {task.id} ({task.name}): {line}", file=sys.stderr)
            last = line

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.fields[title]}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[line]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("", total=1.0, title="", line="")
        yield lambda task: bar.update(
            row, completed=task.done_share, title=f"Task {task.id} ({task.name})", line=step_line(task)
        )
