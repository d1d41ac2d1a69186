"""Tasks: what runs and what ran, every step with what it waits for, and the button that stops one."""

from starlette.responses import Response

from rackhand.errors import Invalid
from rackhand.events import queries as events
from rackhand.http.lists import ListParams
from rackhand.tasks import api as tasks_api
from rackhand.tasks import queries
from rackhand.tasks.model import Task
from rackhand.web.listing import Filter, Listing
from rackhand.web.page import Page
from rackhand.web.routing import SIGNED_IN, change, show
from rackhand.web.texts import gettext
from rackhand.web.words import OPERATIONS

TEXTS = ("name", "subject.name", "requested_by", "error")
SORTS = ("id", "name", "subject.name", "status", "requested_by", "created_at", "finished_at")
SHOWN_EVENTS = 100


async def show_tasks(page: Page) -> Response:
    """The table; to a customer those of its servers."""
    states = {
        "active": "status IN ('created', 'running')",
        "done": "status EQ 'complete'",
        "failed": "status EQ 'fail'",
        "cancelled": "status EQ 'canceled'",
    }
    words = [
        ("active", gettext("Running")),
        ("failed", gettext("Failed")),
        ("done", gettext("Done")),
        ("cancelled", gettext("Cancelled")),
    ]
    filters = [
        Filter("status", gettext("State"), words, "status EQ {}", states),
        Filter("name", gettext("Operation"), [(name, gettext(text)) for name, text in OPERATIONS.items()],
               "name EQ {}"),
        Filter("server", gettext("Server"), (), "subject.kind EQ 'server' AND subject.id EQ {}"),
    ]  # fmt: skip
    listing = Listing(page, TEXTS, SORTS, filters, order="-id")
    try:
        found = await queries.page(page.session, listing.params, visible_to=page.user)
        problem = ""
    except Invalid as refused:
        found, problem = None, refused.message
    return page.render(
        "tasks/list.html",
        status=400 if problem else None,
        listing=listing,
        rows=found.rows if found else [],
        size=found.size if found else 0,
        problem=problem,
        is_live=bool(found and any(task.is_active for task in found.rows)),
    )


async def show_task(page: Page, id: int) -> Response:
    """One task; a page that is open asks for it again and again while it runs."""
    task = await queries.by_id(page.session, id, visible_to=page.user)
    scope = None if page.user.is_admin else page.user.id
    history = await events.page(
        page.session,
        ListParams(where=f"task EQ {id}", orderby="id", limit=str(SHOWN_EVENTS)),
        owner_id=scope,
    )
    return page.render(
        "tasks/one.html",
        task=task,
        normal=await queries.normal_durations(page.session, [task]),
        events=history.rows,
        may_cancel=may_cancel(page, task),
        result=task.memo.get("result"),
    )


def may_cancel(page: Page, task: Task) -> bool:
    """Whether the viewer may stop the task, which is still to be stopped."""
    is_theirs = page.user.is_admin or task.requested_by_id == page.user.id
    return is_theirs and task.is_active and task.cancel_requested_at is None


async def cancel(page: Page, id: int) -> Response:
    """Ask a task to stop."""
    await tasks_api.abort_task(
        id=id, session=page.session, viewer=page.user, actor=page.actor, engine=page.services.engine
    )
    return page.go(f"/tasks/{id}", "cancelling")


ROUTES = (
    show("/tasks", show_tasks, SIGNED_IN),
    show("/tasks/{id:int}", show_task, SIGNED_IN),
    change("/tasks/{id:int}/cancel", cancel, show_task, SIGNED_IN),
)
