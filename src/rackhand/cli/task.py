"""`rackhand task`: what goes on, and what came of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from rackhand.cli import calling, profiles
from rackhand.cli.calling import Asked, Json, Limit, OrderBy, ProfileName, Timeout, Where, Yes

if TYPE_CHECKING:
    from rackhand.sdk import tasks

task_app = typer.Typer(no_args_is_help=True, help="Tasks of a product that runs somewhere.")

TaskNumber = Annotated[int, typer.Argument(metavar="TASK", min=1, help="Number of the task.")]


@task_app.command("list")
def list_tasks(
    where: Where = "",
    orderby: OrderBy = "-id",
    limit: Limit = 20,
    active: Annotated[bool, typer.Option("--active", help="Only those that are not over.")] = False,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """List tasks, the newest first."""
    if active:
        where = f"({where}) AND finished_at IS null" if where else "finished_at IS null"
    with calling.connected(profile) as client:
        from rackhand.sdk import tasks

        columns = {
            "id": lambda task: task.id,
            "name": lambda task: task.name,
            "of": lambda task: task.subject.name or f"{task.subject.kind} {task.subject.id}",
            "status": lambda task: task.status,
            "asked for by": lambda task: task.requested_by,
            "created at": lambda task: task.created_at,
            "now": lambda task: task.error if task.is_over else calling.step_line(task),
        }
        found = tasks.find(where=where, orderby=orderby, limit=limit)
        calling.show_list(client, found, columns, as_json=as_json)


@task_app.command("show")
def show_task(task: TaskNumber, as_json: Json = False, profile: ProfileName = profiles.DEFAULT) -> None:
    """Show a task with its steps."""
    with calling.connected(profile) as client:
        from rackhand.sdk import tasks

        call = tasks.get(task)
        document = client.run(call.raw())
        if as_json:
            calling.show_json(document)
            return
        _print_task(call.read(document))


def _print_task(task: "tasks.Task") -> None:
    waiting = task.waiting
    calling.show_object(
        {
            "task": task.id,
            "name": task.name,
            "of": f"{task.subject.kind} {task.subject.id} ({task.subject.name})",
            "status": task.status,
            "asked for by": task.requested_by,
            "created at": task.created_at,
            "finished at": task.finished_at,
            "waits for": waiting.reason if waiting else None,
            "until": waiting.until if waiting else None,
            "normally": f"{waiting.normally.median_seconds:g} s" if waiting and waiting.normally else None,
            "error": task.error,
        }
    )
    print()
    calling.show_table(
        {
            "step": lambda step: step.name,
            "status": lambda step: step.status,
            "tries": lambda step: step.attempts,
            "finished at": lambda step: step.finished_at,
            "message": lambda step: step.message,
        },
        task.steps,
    )


@task_app.command("wait")
def wait_for_task(
    task: TaskNumber,
    timeout: Timeout = None,
    as_json: Json = False,
    profile: ProfileName = profiles.DEFAULT,
) -> None:
    """Stay until a task is over; exit code 6 when it did not end well."""
    with calling.connected(profile) as client:
        calling.watch(client, task, Asked(profile, as_json, wait=True, timeout=timeout))


@task_app.command("cancel")
def cancel_task(
    task: TaskNumber, yes: Yes = False, as_json: Json = False, profile: ProfileName = profiles.DEFAULT
) -> None:
    """Stop a task: what it did is taken back, as far as it can be."""
    with calling.connected(profile) as client:
        from rackhand.sdk import tasks

        found = client.run(tasks.get(task))
        calling.make_sure(f"Stop task {task} ({found.name} of {found.subject.name})?", yes=yes)
        document = client.run(tasks.cancel(task).raw())
        if as_json:
            calling.show_json(document)
        else:
            print(f"Task {task} was asked to stop: rackhand task wait {task}")
