"""What every body on the wire shares: times, ids, acknowledgements, lists."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

import msgspec
from fastapi import Path, Response
from fastapi.responses import StreamingResponse
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

MAX_ID = 2**63 - 1
PIECE = 256 * 1024
ObjectId = Annotated[int, Path(ge=0, le=MAX_ID, description="Number of the object")]
BodyId = Annotated[int, Field(ge=0, le=MAX_ID)]

strict_properties: ContextVar[bool] = ContextVar("strict_properties", default=False)

_encoder = msgspec.json.Encoder(enc_hook=str)


class Body(BaseModel):
    """Body of a request; unknown keys are ignored, or refused in strict mode (api-facts 2.3)."""

    model_config = ConfigDict(extra="ignore", str_max_length=65536, populate_by_name=True)

    @model_validator(mode="wrap")
    @classmethod
    def refuse_unknown_properties(cls, data: Any, handler: ModelWrapValidatorHandler["Body"]) -> "Body":
        """In strict mode, name the first key that the call does not know."""
        if strict_properties.get() and isinstance(data, dict):
            known = _names_of(cls)
            for name in data:
                if name not in known:
                    raise PydanticCustomError(
                        "unexpected_property", "unexpected property {name}", {"name": name}
                    )
        return handler(data)


@cache
def _names_of(body: type[Body]) -> frozenset[str]:
    """All spellings of all keys."""
    names = set(body.model_fields)
    for field in body.model_fields.values():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        names.update(choice for choice in choices if isinstance(choice, str))
    return frozenset(names)


class IdAnswer(BaseModel):
    """Acknowledgement of something that is done: the number of the object."""

    id: int = Field(examples=[12])


class TaskAck(BaseModel):
    """Acknowledgement of something that goes on: the object and the task to watch (`GET dci/v3/task/{task}`)."""

    id: int = Field(examples=[12])
    task: int = Field(examples=[481])


class ListAnswer(BaseModel):
    """A page of rows; `size` counts all matching rows, `last_notify` grows with every change in the system."""

    list: list[dict[str, Any]]
    size: int = Field(examples=[1])
    last_notify: int = Field(examples=[1024])


def wire_time(moment: datetime | None) -> str | None:
    """`YYYY-MM-DD HH:MM:SS` in UTC, the platform's format."""
    return None if moment is None else moment.astimezone(UTC).isoformat(" ", "seconds")[:19]


def json_response(
    content: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer by the fast encoder."""
    return Response(_encoder.encode(content), status, headers, "application/json")


def stored_json(text: str | None) -> msgspec.Raw | None:
    """JSON that the database gave as text: it goes into an answer as it is."""
    return None if text is None else msgspec.Raw(text.encode())


def list_response(rows: Iterable[Mapping[str, object]], size: int, last_notify: int) -> Response:
    """A list as the API gives it; an empty one is `[]`.

    An iterator of more than `PIECE` bytes is encoded while it is being sent, so that an export never stands in memory
    as a whole and others are answered in between.
    """
    pieces = _pieces_of_list(rows, b'],"size":%d,"last_notify":%d}' % (size, last_notify))
    if not isinstance(rows, Iterator):
        return Response(b"".join(pieces), 200, None, "application/json")
    first = next(pieces)
    second = next(pieces, None)
    if second is None:
        return Response(first, 200, None, "application/json")
    return StreamingResponse(_send_pieces(first, second, pieces), 200, None, "application/json")


def _pieces_of_list(rows: Iterable[Mapping[str, object]], end: bytes) -> Iterator[bytes]:
    piece = bytearray(b'{"list":[')
    separator = b""
    for row in rows:
        piece += separator
        _encoder.encode_into(row, piece, -1)
        separator = b","
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    piece += end
    yield bytes(piece)


async def _send_pieces(*begun: bytes | Iterator[bytes]) -> AsyncIterator[bytes]:
    for each in begun:
        for piece in [each] if isinstance(each, bytes) else each:
            yield piece
            await asyncio.sleep(0)  # a fast reader never makes the server wait, and others would
