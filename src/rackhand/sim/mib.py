"""What an SNMP agent shows: tables of objects whose cells are read from, and written to, live state."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from rackhand.sim import ber
from rackhand.sim.ber import Oid, Value

Row = TypeVar("Row")

Commit = Callable[[], None]


class ErrorStatus(IntEnum):
    """Error statuses of a response, RFC 3416 section 3."""

    NO_ERROR = 0
    TOO_BIG = 1
    GEN_ERR = 5
    NO_ACCESS = 6
    WRONG_TYPE = 7
    WRONG_LENGTH = 8
    WRONG_VALUE = 10
    NO_CREATION = 11
    INCONSISTENT_VALUE = 12
    NOT_WRITABLE = 17


class CannotSet(Exception):  # an answer, not an accident
    """The agent refuses a SET with *status*."""

    def __init__(self, status: ErrorStatus) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One object of a table. *read* gives the encoded value, None where the row has no such cell.

    *write* checks a new value (CannotSet) and returns what sets it: a SET is done as a whole or not at all.
    """

    read: Callable[[Row], bytes | None]
    write: Callable[[Row, Value], Commit] | None = None


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A conceptual table below *entry*. *rows* gives the rows that there are now, by their index.

    A group of scalars is a table of one row whose index is 0. A SET of *row_status* makes a row with *create*,
    which checks (CannotSet) and returns the row, not yet part of the device, and what adds it.
    """

    entry: Oid
    columns: Mapping[int, Column[Row]]
    rows: Callable[[], Mapping[Oid, Row]]
    row_status: int | None = None
    create: Callable[[Oid, Value], tuple[Row, Commit]] | None = None

    def snapshot(self) -> "Snapshot":
        """Return the table as it is during one request."""
        return _TableSnapshot(self)


class Snapshot(Protocol):
    """A table as it is during one request, whatever its rows are."""

    def get(self, oid: Oid) -> bytes:
        """Return the encoded value of *oid*, or which kind of nothing is there."""

    def following(self, oid: Oid) -> Iterator[tuple[Oid, bytes]]:
        """Yield the cells after *oid*, column by column."""

    def prepare(self, oid: Oid, value: Value) -> Commit:
        """Return what sets *oid* to *value*, or raise CannotSet."""

    def makes_row(self, oid: Oid) -> bool:
        """Say whether *oid* is a row status."""


class AnyTable(Protocol):
    """A table, whatever its rows are."""

    @property
    def entry(self) -> Oid:
        """What all its objects begin with."""

    def snapshot(self) -> Snapshot:
        """Return the table as it is during one request."""


class _TableSnapshot(Generic[Row]):
    def __init__(self, table: Table[Row]) -> None:
        self.table = table
        self.entry = table.entry
        self._rows: Mapping[Oid, Row] | None = None
        self._indexes: list[Oid] = []
        self._numbers = sorted(table.columns)

    def get(self, oid: Oid) -> bytes:
        cell = self._split(oid)
        if cell is None or cell[0] not in self.table.columns:
            return ber.NO_SUCH_OBJECT
        row = self._load().get(cell[1])
        found = None if row is None else self.table.columns[cell[0]].read(row)
        return ber.NO_SUCH_INSTANCE if found is None else found

    def following(self, oid: Oid) -> Iterator[tuple[Oid, bytes]]:
        after = oid[len(self.entry) :] if oid > self.entry else ()
        rows = self._load()
        first = after[0] if after else 0
        for number in self._numbers[bisect_left(self._numbers, first) :]:
            start = bisect_right(self._indexes, after[1:]) if number == first and after[1:] else 0
            read = self.table.columns[number].read
            for index in self._indexes[start:]:
                found = read(rows[index])
                if found is not None:
                    yield (*self.entry, number, *index), found

    def prepare(self, oid: Oid, value: Value) -> Commit:
        cell = self._split(oid)
        column = None if cell is None else self.table.columns.get(cell[0])
        if cell is None or column is None:
            raise CannotSet(ErrorStatus.NO_CREATION)
        if column.write is None:
            raise CannotSet(ErrorStatus.NOT_WRITABLE)
        row = self._load().get(cell[1])
        if row is not None:
            return column.write(row, value)
        if self.table.create is None or cell[0] != self.table.row_status:
            raise CannotSet(ErrorStatus.NO_CREATION)
        row, commit = self.table.create(cell[1], value)
        self._rows = {**self._load(), cell[1]: row}
        return commit

    def makes_row(self, oid: Oid) -> bool:
        cell = self._split(oid)
        return cell is not None and cell[0] == self.table.row_status

    def _split(self, oid: Oid) -> tuple[int, Oid] | None:
        size = len(self.entry)
        return (oid[size], oid[size + 1 :]) if len(oid) > size else None

    def _load(self) -> Mapping[Oid, Row]:
        if self._rows is None:
            self._rows = self.table.rows()
            self._indexes = sorted(self._rows)
        return self._rows


class View:
    """All tables as they are during one request."""

    def __init__(self, mib: "Mib") -> None:
        self._mib = mib
        self._snapshots: dict[int, Snapshot] = {}

    def get(self, oid: Oid) -> bytes:
        """Return the encoded value of *oid*, or which kind of nothing is there."""
        position = self._mib.position(oid)
        return ber.NO_SUCH_OBJECT if position is None else self._snapshot(position).get(oid)

    def following(self, oid: Oid) -> Iterator[tuple[Oid, bytes]]:
        """Yield object and encoded value of everything after *oid*, in order."""
        for position in range(self._mib.first_that_may_follow(oid), len(self._mib.tables)):
            yield from self._snapshot(position).following(oid)

    def prepare(self, oid: Oid, value: Value) -> Commit:
        """Return what sets *oid* to *value*, or raise CannotSet."""
        position = self._mib.position(oid)
        if position is None:
            raise CannotSet(ErrorStatus.NO_CREATION)
        return self._snapshot(position).prepare(oid, value)

    def makes_row(self, oid: Oid) -> bool:
        """Say whether a SET of *oid* may make a row: it goes before the other columns of that row."""
        position = self._mib.position(oid)
        return position is not None and self._snapshot(position).makes_row(oid)

    def _snapshot(self, position: int) -> Snapshot:
        if position not in self._snapshots:
            self._snapshots[position] = self._mib.tables[position].snapshot()
        return self._snapshots[position]


class Mib:
    """The tables of one agent. One that lies inside another's entry must come after all columns of that."""

    def __init__(self, tables: Iterable[AnyTable]) -> None:
        self.tables = sorted(tables, key=lambda table: table.entry)
        self._entries = [table.entry for table in self.tables]

    def position(self, oid: Oid) -> int | None:
        """Return which table *oid* is in."""
        found = bisect_right(self._entries, oid) - 1
        return found if found >= 0 and oid[: len(self._entries[found])] == self._entries[found] else None

    def first_that_may_follow(self, oid: Oid) -> int:
        """Return the first table that may hold something after *oid*."""
        found = self.position(oid)
        return bisect_right(self._entries, oid) if found is None else found
