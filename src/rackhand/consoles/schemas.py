"""Wire types of consoles."""

import base64
import binascii
from typing import Any

from pydantic import BaseModel, Field

from rackhand.consoles.recording import Line, Recorded
from rackhand.errors import Invalid, TooLarge
from rackhand.http.wire import Body, wire_time

MAX_INPUT_BYTES = 4096


class InputBody(Body):
    """What is typed: bytes in base64, at most 4096 of them."""

    data: str = Field("", examples=["cm9vdA0="])


class InputAnswer(BaseModel):
    """How many bytes were typed."""

    id: int = Field(examples=[12])
    size: int = Field(examples=[5])


class ConsoleAnswer(BaseModel):
    """The state of a console: `closed`, `connecting` or `open`; `other_process` when another one has it."""

    id: int = Field(examples=[12])
    state: str = Field(examples=["open"])
    is_supported: bool = Field(examples=[True])
    why: str = Field(examples=[""], description="Why there is no console, when it is not supported.")
    may_type: bool = Field(examples=[True])
    viewers: int = Field(examples=[2])
    opened_at: str | None = Field(examples=["2026-11-25 12:00:00"])
    ends_at: str | None = Field(examples=["2026-11-25 13:00:00"])


class RecordingAnswer(BaseModel):
    """The text of a recording, line by line, without colours and movements of the cursor."""

    id: int = Field(examples=[12])
    name: str = Field(examples=["20261125T120000000Z"])
    lines: list[dict[str, str | None]] = Field(
        examples=[[{"at": "2026-11-25 12:00:07", "text": "node-001 login:"}]]
    )


def decode_input(text: str) -> bytes:
    """The bytes that are typed; raises `Invalid` and `TooLarge`."""
    if len(text) > MAX_INPUT_BYTES * 4 // 3 + 4:
        raise TooLarge(f"At most {MAX_INPUT_BYTES} bytes are typed at once.")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("data: expected bytes in base64.") from error
    if not data:
        raise Invalid("data: there is nothing to type.")
    return data


def line_row(line: Line) -> dict[str, str | None]:
    """A line of a recording on the wire."""
    return {"at": wire_time(line.at), "text": line.text}


def recording_row(found: Recorded, lines: list[Line] | None = None) -> dict[str, Any]:
    """A recording on the wire; *lines* are those that a search has found in it."""
    row: dict[str, Any] = {
        "name": found.name,
        "started_at": wire_time(found.started_at),
        "ended_at": wire_time(found.ended_at),
        "size_bytes": found.size_bytes,
        "owner": found.owner_id,
    }
    return row if lines is None else row | {"lines": [line_row(line) for line in lines]}
