"""A table with every kind of field, a related table, and rows for both."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle

from sqlalchemy import ForeignKey, Integer, LargeBinary, exists
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rackhand.db import UtcDateTime
from rackhand.http.where import Field, FieldKind, Fields


class WireBase(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012


class Thing(WireBase):
    __tablename__ = "wire_thing"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int | None] = mapped_column(Integer)
    ratio: Mapped[float | None]
    name: Mapped[str | None]
    flag: Mapped[bool | None]
    at: Mapped[datetime | None]
    ip: Mapped[str | None]
    ip_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    status: Mapped[str | None]
    power: Mapped[str | None]


class Tag(WireBase):
    __tablename__ = "wire_tag"

    id: Mapped[int] = mapped_column(primary_key=True)
    thing_id: Mapped[int] = mapped_column(ForeignKey("wire_thing.id"), index=True)
    name: Mapped[str | None]


STATUS_WORDS = {"created": "queued", "running": ("running", "waiting"), "fail": "failed", "failed": "failed"}
POWER_WORDS = {"on": "on", "off": "off", "unknown": None}
FIELDS: Fields = {
    "id": Field(Thing.id, FieldKind.INTEGER),
    "number": Field(Thing.number, FieldKind.INTEGER),
    "ratio": Field(Thing.ratio, FieldKind.NUMBER),
    "name": Field(Thing.name, FieldKind.TEXT),
    "flag": Field(Thing.flag, FieldKind.BOOLEAN),
    "is_named": Field(Thing.name.is_not(None), FieldKind.BOOLEAN),
    "at": Field(Thing.at, FieldKind.TIME),
    "ip.ip": Field(Thing.ip_key, FieldKind.ADDRESS, text=Thing.ip),
    "ip_key": Field(Thing.ip_key, FieldKind.ADDRESS),
    "ip_text": Field(Thing.ip, FieldKind.ADDRESS),
    "status": Field(Thing.status, FieldKind.TEXT, words=STATUS_WORDS),
    "power": Field(Thing.power, FieldKind.TEXT, words=POWER_WORDS),
    "tag.name": Field(
        Tag.name,
        FieldKind.TEXT,
        through=lambda condition: exists().where(Tag.thing_id == Thing.id, condition).correlate(Thing),
    ),
}


@dataclass(frozen=True)
class Given:
    """One row and its tags."""

    id: int
    number: int | None
    ratio: float | None
    name: str | None
    flag: bool | None
    at: datetime | None
    ip: str | None
    status: str | None
    power: str | None
    tags: tuple[str | None, ...]


NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)
NUMBERS = cycle([None, 0, 1, -1, 5, 55, 2**31 - 1, -(2**31)])
RATIOS = cycle([None, 0.0, 1.5, -2.25, 100.0, 5.0, 1e9])
NAMES = cycle(
    [
        None,
        "",
        "a",
        "A",
        "Ab",
        "aB%",
        "a_b",
        "%",
        "_",
        "!",
        "\\",
        "'",
        '"',
        "яЯ",
        "Я",
        "a\nb",
        "ab ab",
        "true",
        "5",
        "z",
        "null",
    ]
)
FLAGS = cycle([None, True, False])
TIMES = cycle(
    [None, NOON, NOON + timedelta(microseconds=1), NOON + timedelta(seconds=1), NOON - timedelta(days=400)]
)
ADDRESSES = cycle([None, "10.0.0.9", "10.0.0.10", "192.0.2.1", "2001:db8::1", "2001:db8::10", "0.0.0.1"])
STATUSES = cycle([None, "queued", "running", "waiting", "failed", "succeeded"])
POWERS = cycle([None, "on", "off"])
TAGS: Iterator[tuple[str | None, ...]] = cycle(
    [(), ("a",), ("A", "b"), (None,), (None, "a"), ("",), ("Ab", "aB%")]
)
ROWS = [
    Given(
        number + 1,
        next(NUMBERS),
        next(RATIOS),
        next(NAMES),
        next(FLAGS),
        next(TIMES),
        next(ADDRESSES),
        next(STATUSES),
        next(POWERS),
        next(TAGS),
    )
    for number in range(211)
]
