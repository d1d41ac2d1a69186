"""Every error a caller can see: its HTTP status, its code, its words. The only place where they meet."""

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException

from rackhand import errors
from rackhand.http.codes import Code
from rackhand.http.edge import error_response

log = structlog.get_logger()

# Smallest kinds first: the first one that fits answers. The published codes are in api-facts 2.3.
ANSWERS: tuple[tuple[type[errors.RackhandError], int, Code], ...] = (
    (errors.Busy, 409, Code.BUSY),
    (errors.Conflict, 409, Code.CONFLICT),
    (errors.NotFound, 404, Code.NOT_FOUND),
    (errors.Forbidden, 403, Code.FORBIDDEN),
    (errors.Unauthenticated, 401, Code.UNAUTHENTICATED),
    (errors.TooManyRequests, 429, Code.TOO_MANY),
    (errors.KeyReused, 422, Code.UNPROCESSABLE),
    (errors.TooLarge, 413, Code.TOO_LARGE),
    (errors.Unavailable, 503, Code.UNAVAILABLE),
    (errors.UnknownProperty, 400, Code.UNKNOWN_PROPERTY),
    (errors.Invalid, 400, Code.BAD_REQUEST),
)
UNEXPECTED_PROPERTY = "unexpected_property"


def install(app: FastAPI) -> None:
    """Answer every error with the envelope."""
    app.add_exception_handler(errors.RackhandError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_invalid_body)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(OperationalError, _answer_database_down)
    app.add_exception_handler(NoConnection, _answer_database_down)


async def _answer_ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.RackhandError)  # noqa: S101  # registered for this type
    status, code = next((status, code) for kind, status, code in ANSWERS if isinstance(error, kind))
    headers = {}
    if isinstance(error, errors.TooManyRequests):
        headers["retry-after"] = str(error.retry_after)
    return error_response(status, code, error.message, error.value, headers)


async def _answer_invalid_body(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this type
    problems = error.errors()
    words = []
    for problem in problems[:5]:
        where, *path = [str(part) for part in problem["loc"]]
        message = (
            "not JSON" if problem["type"] == "json_invalid" else problem["msg"].removeprefix("Value error, ")
        )
        words.append(f"{where} {'.'.join(path)}: {message}" if path else f"{where}: {message}")
    strange = any(problem["type"] == UNEXPECTED_PROPERTY for problem in problems)
    code = Code.UNKNOWN_PROPERTY if strange else Code.BAD_REQUEST
    return error_response(400, code, "; ".join(words))


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type
    headers = dict(error.headers or {})
    if error.status_code == 404:  # noqa: PLR2004  # only the router raises these
        message = f"There is no function {request.method} {request.url.path}. See /swagger/."
        return error_response(404, Code.UNKNOWN_FUNCTION, message, None, headers)
    if error.status_code == 405:  # noqa: PLR2004
        message = f"{request.url.path} does not take {request.method}."
        return error_response(405, Code.METHOD, message, None, headers)
    return error_response(error.status_code, Code.BAD_REQUEST, str(error.detail), None, headers)


async def _answer_database_down(_request: Request, error: Exception) -> Response:
    # The transaction was rolled back, so nothing has changed: the one case for which clients retry a 503.
    log.warning("database unavailable", error=str(error))
    message = "The database does not answer. Nothing was changed; try again."
    return error_response(503, Code.UNAVAILABLE, message, None, {"retry-after": "2"})
