"""The words to declare an operation: a literal list of named steps."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from rackhand.db import Database
from rackhand.hardware.door import Doors
from rackhand.settings import Settings
from rackhand.vault import Vault


class Subject:
    """What a task works on: columns that its table must have.

    `owner_id` is who may see its tasks, `location_id` whose workers run them; how long steps take is compared among
    equal `model`s. `last_task_id` is kept in the row, so that lists show the last task without a search.
    """

    id: Mapped[int]
    name: Mapped[str]
    owner_id: Mapped[int | None]
    location_id: Mapped[int]
    model: Mapped[str]
    last_task_id: Mapped[int | None]


S = TypeVar("S", bound=Subject)


class NoParams(BaseModel):
    """An operation that takes nothing."""


@dataclass(frozen=True)
class Done:
    """The step is finished; `message` says what was found when it had nothing to do."""

    message: str = ""


@dataclass(frozen=True)
class Wait:
    """The step waits for the world: it is called again at a signal, every `every`, and last at its deadline.

    Nothing is held meanwhile, neither a worker nor a transaction.
    """

    reason: str
    every: timedelta = timedelta(seconds=30)


class StepFailed(Exception):
    """A step gives up for good; the words are for the operator."""


@dataclass(frozen=True)
class Tools:
    """What steps work with."""

    db: Database
    vault: Vault
    doors: Doors
    settings: Settings


@dataclass
class StepContext:
    """What a step knows of its task; *task_ends_at* is when the operation's bound is over.

    `memo` is kept between the calls of all steps of a task and must hold no secret. What is put into it during a call
    is stored when the call returns; `remember` stores it at once, before something that must not happen twice.
    """

    tools: Tools
    task_id: int
    task_uuid: str
    step: str
    attempt: int
    params: Any
    deadline_at: datetime
    signals: Mapping[str, Any]
    memo: dict[str, Any]
    write_memo: Callable[[dict[str, Any]], Awaitable[None]] = field(repr=False)
    write_progress: Callable[[int | None, str], Awaitable[None]] = field(repr=False)
    task_ends_at: datetime | None = None

    async def remember(self, **values: object) -> None:
        """Store *values* in the memo now; they survive a crash that follows."""
        self.memo.update(values)
        await self.write_memo(self.memo)

    async def progress(self, percent: int | None, message: str) -> None:
        """Tell how far the step is; shown at once."""
        await self.write_progress(percent, message)


StepFunction = Callable[[StepContext, Any], Awaitable[Done | Wait]]
UndoFunction = Callable[[StepContext, Any], Awaitable[None]]


@dataclass(frozen=True)
class Step:
    """One step: `run` looks first, then acts, for it may run twice, also at the same moment on two workers.

    A device that does not answer is asked again until `deadline`; a `Wait` ends there too. After a final failure `undo`
    takes a step back that was begun; it is safe to repeat and finds nothing to do where `run` never came to act.
    """

    run: StepFunction
    undo: UndoFunction | None = None
    deadline: timedelta = timedelta(minutes=2)
    undo_deadline: timedelta = timedelta(minutes=5)
    cancellable: bool = True

    @property
    def name(self) -> str:
        """The function's name: kept in the task's row, so it must outlive upgrades."""
        return self.run.__name__


@dataclass(frozen=True)
class Operation(Generic[S]):
    """A named list of steps on one kind of subject.

    *bound* is how long a task may go forward in all; no step waits beyond that, whatever its own deadline is.
    """

    name: str
    title: str
    subject_kind: str
    load: Callable[[AsyncSession, int], Awaitable[S | None]]
    steps: tuple[Step, ...]
    params: type[BaseModel] = NoParams
    bound: Callable[[Any, Settings], timedelta] | None = None

    def __post_init__(self) -> None:
        """Step names are keys."""
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError(f"Operation {self.name} names a step twice.")

    def step(self, name: str) -> Step | None:
        """The step called *name*, if this version still has it."""
        return next((step for step in self.steps if step.name == name), None)
