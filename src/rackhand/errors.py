"""Errors that a caller of the product can cause and act on; `http/errors.py` maps each kind to a status and a code."""

from collections.abc import Mapping


class RackhandError(Exception):
    """Base of everything that is answered to a caller as a sentence."""

    def __init__(self, message: str, *, value: Mapping[str, object] | None = None) -> None:
        """Take the sentence and, where a program may want it, the details as *value*."""
        super().__init__(message)
        self.message = message
        self.value = value


class Invalid(RackhandError):
    """The request is malformed or asks for something that makes no sense."""


class UnknownProperty(Invalid):
    """A body holds a key that the call does not know (strict mode only)."""


class Unauthenticated(RackhandError):
    """No session, an expired one, or wrong credentials."""


class Forbidden(RackhandError):
    """The caller may not do this: the role lacks it, or the object is protected."""


class NotFound(RackhandError):
    """The object does not exist, or is not the caller's."""


class Conflict(RackhandError):
    """The object is in a state that does not allow this."""


class Busy(Conflict):
    """Another task holds the object."""

    def __init__(self, subject: str, task_id: int, task_name: str, status: str) -> None:
        """Name the running task, so that the caller can wait for it or abort it."""
        super().__init__(
            f"{subject} is busy: task {task_id} ({task_name}) is {status}. Wait for it or abort it.",
            value={"task": task_id, "name": task_name, "status": status},
        )


class KeyReused(RackhandError):
    """An idempotency key came again with another request."""


class TooLarge(RackhandError):
    """The request is larger than this product takes."""


class TooManyRequests(RackhandError):
    """The caller has to wait."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        """Say in seconds when asking again makes sense."""
        super().__init__(message, value={"retry_after": retry_after})
        self.retry_after = retry_after


class Unavailable(RackhandError):
    """Nothing was changed; asking again later may work."""
