"""Operations on the wire; the only place for their odd spellings (api-facts 5.4)."""

from typing import Annotated

from pydantic import AfterValidator, Field

from rackhand.deploy.model import Erasure
from rackhand.deploy.wipe_disks import Clear
from rackhand.http import words
from rackhand.http.wire import Body, BodyId, wire_time


def _clear(word: str) -> Clear:
    known = words.CLEAR_HDD.get(word.strip().lower())
    if known is None:
        raise ValueError(f"expected none, fast or full, got {word[:40]!r}")
    return Clear(known)


ClearWord = Annotated[str, AfterValidator(_clear)]


class DiagBody(Body):
    """What a diagnosis does besides looking."""

    setup_ipmi: bool = Field(default=False, examples=[False])
    ipmi_pool: BodyId = Field(0, examples=[0])
    os_template_id: BodyId = Field(0, examples=[0])
    clear_hdd: ClearWord = Field("none", examples=["none"], validate_default=True)


class ClearBody(Body):
    """How the disks are cleared: `none`, `fast` (their ends, which is no erasure) or `full` (proven)."""

    clear_hdd: ClearWord = Field(examples=["none"])


def erasure_row(erasure: Erasure) -> dict[str, object]:
    """A wipe that was done; `certificate` says whether there is one to fetch."""
    return {
        "id": erasure.id,
        "server": erasure.server_id,
        "task": erasure.task_id,
        "level": erasure.level,
        "is_proven": erasure.is_proven,
        "certificate": erasure.signature is not None,
        "disks": erasure.document.get("disks", []),
        "created_at": wire_time(erasure.created_at),
    }
