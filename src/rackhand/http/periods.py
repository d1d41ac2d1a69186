"""Times that reports are asked for: a period that ends now, or a free range."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from fastapi import Query

from rackhand.errors import Invalid

LATEST_YEAR = 2200
LONGEST = timedelta(days=732)
LENGTHS = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
    "year": timedelta(days=366),
}


class Period(StrEnum):
    """A time that ends now; `month_to_date` begins with the running month."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    MONTH_TO_DATE = "month_to_date"


Moment = Annotated[
    str,
    Query(
        description="`YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS` (UTC) or Unix time", examples=["2026-11-01 00:00:00"]
    ),
]


def parse_moment(text: str, name: str) -> int:
    """Unix time of a moment as a caller writes it; raises `Invalid`."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 10:  # noqa: PLR2004  # until the year 2286
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace("T", " ").removesuffix("Z"))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{name}: expected a time such as 2026-11-01 00:00:00, got {text[:40]!r}.") from error
    if not 1970 < moment.year < LATEST_YEAR:  # noqa: PLR2004
        raise Invalid(f"{name}: {text[:40]} is out of range.")
    return int(moment.timestamp())


def range_of(period: Period, begin: str, end: str, *, now: datetime) -> tuple[int, int]:
    """Begin and end in Unix time; a given *begin* or *end* counts more than *period*. Raises `Invalid`."""
    last = parse_moment(end, "to") if end else int(now.timestamp())
    if begin:
        first = parse_moment(begin, "from")
    elif period is Period.MONTH_TO_DATE:
        first = int(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp())
        last = last if end else max(last, first + 1)
    else:
        first = last - int(LENGTHS[period].total_seconds())
    if first >= last:
        raise Invalid("from: must be before `to`.")
    if last - first > LONGEST.total_seconds():
        raise Invalid("from: two years are the longest time that can be asked for at once.")
    return first, last
