"""What can go wrong, as exceptions: the server refused, it was not reached, or a task did not end well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rackhand.sdk.tasks import Step, Task

BUSY_CODE = 2423  # the one 409 with a task to wait for


class RackhandError(Exception):
    """Base of all errors of this client; its text is a sentence for a person."""


class NotReachable(RackhandError):
    """There was no answer, also not to the same request sent again; `__cause__` is the last error of the connection.

    A POST or DELETE may have worked all the same: sent again with the same key it is not done twice.
    """


class UnexpectedAnswer(RackhandError):
    """The answer is none of this API: the URL is that of something else, or a proxy answered."""


class Refused(RackhandError):
    """The server answered with an error: its HTTP status, its code, its words, and details where there are some."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: int = 0,
        value: Mapping[str, object] | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.value: Mapping[str, object] = value or {}
        self.request_id = request_id


class Invalid(Refused):
    """The request is malformed or asks for something that makes no sense."""


class NotSignedIn(Refused):
    """No token, an ended session, or wrong credentials."""


class Forbidden(Refused):
    """The role lacks it, or the object is protected."""


class NotFound(Refused):
    """There is no such object, or it is somebody else's."""


class Conflict(Refused):
    """The object is in a state that does not allow this."""


class Busy(Conflict):
    """Another task holds the object."""

    @property
    def task(self) -> int | None:
        """The number of that task."""
        number = self.value.get("task")
        return number if isinstance(number, int) else None


class KeyReused(Refused):
    """The idempotency key was used for another request."""


class TooManyRequests(Refused):
    """Signing in was refused too often."""

    @property
    def retry_after(self) -> float | None:
        """Seconds after which asking again makes sense."""
        seconds = self.value.get("retry_after")
        return float(seconds) if isinstance(seconds, int | float) else None


class ServerFault(Refused):
    """A bug of the server; `request_id` finds it in the server's log."""


class Unavailable(Refused):
    """The server could not answer now, also not to the same request sent again; nothing was changed."""


class TaskFailed(RackhandError):
    """A task ended badly: `step` is where, `words` is what the server says about it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.step: Step | None = task.failed_step
        self.words: str = task.error or (self.step.message if self.step else "") or "no reason is given"
        where = f" at {self.step.name}" if self.step else ""
        super().__init__(f"Task {task.id} ({task.name}) {self._ended}{where}: {self.words}")

    _ended = "failed"


class TaskCancelled(TaskFailed):
    """A task was stopped before its end."""

    _ended = "was cancelled"


class TimedOut(RackhandError):
    """A task was not over in time; it goes on, and `task` is how it was seen last."""

    def __init__(self, task: Task, seconds: float) -> None:
        self.task = task
        waiting = f" It waits for: {task.waiting.reason}." if task.waiting else ""
        super().__init__(
            f"Task {task.id} ({task.name}) is still {task.state} after {seconds:g} seconds.{waiting}"
        )


BY_STATUS: Mapping[int, type[Refused]] = {
    400: Invalid,
    401: NotSignedIn,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: KeyReused,
    429: TooManyRequests,
    500: ServerFault,
    503: Unavailable,
}


def refusal(
    status: int, code: int, message: str, value: Mapping[str, object] | None, request_id: str
) -> Refused:
    """Make the smallest error that is true of an answer."""
    kind = Busy if code == BUSY_CODE else BY_STATUS.get(status, Refused)
    return kind(message, status=status, code=code, value=value, request_id=request_id)
