"""What a Redfish service says when it does not do something: messages of DMTF's Base registry."""

from dataclasses import dataclass
from typing import Final

from starlette.responses import JSONResponse

from rackhand.sim.bmc import Reason


@dataclass(frozen=True)
class Message:
    """A message of the Base registry 1.19 with the HTTP status that goes with it."""

    status: int
    key: str
    text: str
    resolution: str = "None."
    severity: str = "Critical"


UNAUTHENTICATED: Final = Message(
    401, "NoValidSession", "There is no valid session established with the implementation."
)
LOCKED: Final = Message(
    403, "ResourceAtUriUnauthorized", "The account is locked.", "Wait, or ask an administrator."
)
NO_PRIVILEGE: Final = Message(
    403, "InsufficientPrivilege", "There are insufficient privileges for the account to do this."
)
NOT_FOUND: Final = Message(404, "ResourceMissingAtURI", "The resource at the URI was not found.")
NOT_ALLOWED: Final = Message(405, "OperationNotAllowed", "The HTTP method is not allowed on this resource.")
MALFORMED: Final = Message(400, "MalformedJSON", "The request body is malformed JSON.")
NOT_AN_OBJECT: Final = Message(400, "UnrecognizedRequestBody", "The request body must be a JSON object.")
CHANGED: Final = Message(
    412, "PreconditionFailed", "The ETag does not match the present state of the resource."
)
NO_SLOT: Final = Message(
    503, "SessionLimitExceeded", "The session limit has been reached.", "Close another session and try again."
)
REFUSALS: Final = {
    Reason.BUSY: Message(
        503, "ServiceTemporarilyUnavailable", "The service is busy while the system is in POST."
    ),
    Reason.REFUSED: Message(400, "ActionNotSupported", "The action is not supported by the resource."),
    # iDRAC 9 answers 409 when the server is in the wanted state already.
    Reason.WRONG_STATE: Message(
        409, "ResourceInUse", "The action cannot be done in the present power state."
    ),
}


class Failure(Exception):  # an answer, not an accident
    """The request is answered with *message*."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.text)
        self.message = message


def bad_property(name: str) -> Message:
    """Say that a property has a value that it cannot have."""
    return Message(400, "PropertyValueNotInList", f"The value of the property {name} is not acceptable.")


def missing_property(name: str) -> Message:
    """Say that a property is wanted."""
    return Message(400, "PropertyMissing", f"The property {name} is required and was not in the request.")


def unknown_property(name: str) -> Message:
    """Say that a property is not known here."""
    return Message(400, "PropertyUnknown", f"The property {name} is not in the list of valid properties.")


def read_only_property(name: str) -> Message:
    """Say that a property cannot be written."""
    return Message(400, "PropertyNotWritable", f"The property {name} is read only.")


def response(message: Message, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the answer that carries *message*."""
    message_id = f"Base.1.19.{message.key}"
    extended = {
        "@odata.type": "#Message.v1_2_0.Message",
        "MessageId": message_id,
        "Message": message.text,
        "MessageArgs": [],
        "MessageSeverity": message.severity,
        "Severity": message.severity,
        "Resolution": message.resolution,
    }
    body = {"error": {"code": message_id, "message": message.text, "@Message.ExtendedInfo": [extended]}}
    if message.status == 503:  # noqa: PLR2004  # HTTP
        headers = {**(headers or {}), "Retry-After": "5"}
    return JSONResponse(body, message.status, headers)
