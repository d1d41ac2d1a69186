"""Routes of tasks; `vm/v3/task` is the shape that clients of the sister product poll (api-facts 4)."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from rackhand.errors import Forbidden, NotFound
from rackhand.events.queries import last_notify
from rackhand.events.service import Actor
from rackhand.http.lists import ListParams, list_params
from rackhand.http.transaction import Session, TransactionRoute
from rackhand.http.wire import Body, ListAnswer, ObjectId, TaskAck, json_response, list_response
from rackhand.tasks import queries
from rackhand.tasks.engine import Engine
from rackhand.tasks.model import Task
from rackhand.tasks.schemas import task_row
from rackhand.users.auth import CurrentActor, CurrentUser
from rackhand.users.model import User

router = APIRouter(tags=["tasks"], route_class=TransactionRoute)


async def current_engine(request: Request) -> Engine:
    """The engine of this process."""
    engine: Engine = request.app.state.services.engine
    return engine


CurrentEngine = Annotated[Engine, Depends(current_engine)]


@router.get("/dci/v3/task", response_model=ListAnswer)
@router.get("/vm/v3/task", response_model=ListAnswer)
async def list_tasks(
    session: Session, viewer: CurrentUser, params: Annotated[ListParams, Depends(list_params)]
) -> Response:
    """List tasks with their steps; a user sees those of its own servers."""
    page = await queries.page(session, params, visible_to=viewer)
    normal = await queries.normal_durations(session, page.rows)
    return list_response(
        [task_row(task, normal) for task in page.rows], page.size, await last_notify(session)
    )


@router.get("/dci/v3/task/{id}", response_model=dict[str, Any])
@router.get("/vm/v3/task/{id}", response_model=dict[str, Any])
async def get_task(id: ObjectId, session: Session, viewer: CurrentUser) -> Response:
    """Show a task: every step, its times and its words; `task` repeats the state for clients that expect it wrapped."""
    task = await queries.by_id(session, id, visible_to=viewer)
    row = task_row(task, await queries.normal_durations(session, [task]))
    output = task.error or "; ".join(step.message for step in task.steps if step.message)
    return json_response({**row, "task": {"status": row["status"], "output": output}})


@router.post("/dci/v3/task/{id}/abort")
@router.post("/vm/v3/task/{id}/abort")
async def abort_task(
    id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    _body: Body | None = None,
) -> TaskAck:
    """Stop a task: what it did is taken back, as far as it can be. Safe to repeat while it runs."""
    task = await queries.by_id(session, id, visible_to=viewer)
    await _abort(session, task, viewer, actor, engine)
    return TaskAck(id=task.id, task=task.id)


@router.post("/dci/v3/server/{id}/operation/{task_id}/cancel")
async def cancel_operation(
    id: ObjectId,
    task_id: ObjectId,
    session: Session,
    viewer: CurrentUser,
    actor: CurrentActor,
    engine: CurrentEngine,
    _body: Body | None = None,
) -> TaskAck:
    """Stop the running operation of a server; the same as `task/{id}/abort`."""
    task = await queries.by_id(session, task_id, visible_to=viewer)
    if (task.subject_kind, task.subject_id) != ("server", id):
        raise NotFound(f"Server {id} has no task {task_id}.")
    await _abort(session, task, viewer, actor, engine)
    return TaskAck(id=id, task=task.id)


async def _abort(session: AsyncSession, task: Task, viewer: User, actor: Actor, engine: Engine) -> None:
    if not viewer.is_admin and task.requested_by_id != viewer.id:
        raise Forbidden(f"Task {task.id} was not requested by you.")
    await engine.cancel(session, task, actor=actor)
