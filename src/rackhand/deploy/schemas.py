"""Operations on the wire; the only place for their odd spellings (api-facts 5.4)."""

from typing import Annotated

from pydantic import AfterValidator, Field

from rackhand.http import words
from rackhand.http.wire import Body, BodyId


def _clear(word: str) -> str:
    known = words.CLEAR_HDD.get(word.strip().lower())
    if known is None:
        raise ValueError(f"expected none, fast or full, got {word[:40]!r}")
    return known


Clear = Annotated[str, AfterValidator(_clear)]


class DiagBody(Body):
    """What a diagnosis does besides looking."""

    setup_ipmi: bool = Field(default=False, examples=[False])
    ipmi_pool: BodyId = Field(0, examples=[0])
    os_template_id: BodyId = Field(0, examples=[0])
    clear_hdd: Clear = Field("none", examples=["none"])
