"""A call as a value: what is sent, and how the answer is read. A client runs it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Literal, Self, TypeVar
from urllib.parse import quote as quote_url

from rackhand.sdk.rows import Json, Row, read_row

Answer_co = TypeVar("Answer_co", covariant=True)
ALL_ROWS = 2**31 - 1  # `limit=offset,count` has no way to leave the count out


@dataclass(frozen=True)
class Call(Generic[Answer_co]):
    """One request, and the type of its answer. Making it sends nothing."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    read: Callable[[Json], Answer_co] = field(repr=False)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = field(default=None, repr=False)  # passwords are in some
    needs_token: bool = True

    def parameters(self) -> Mapping[str, str]:
        """The query of the URL."""
        return self.query

    def raw(self) -> "Call[Any]":
        """The same call, answering the JSON as it came."""
        return Call(self.method, self.path, _as_it_came, self.parameters(), self.body, self.needs_token)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Rows of a list; `size` counts all that match, and `last_notify` is the number of the newest event."""

    rows: tuple[Row, ...]
    size: int
    last_notify: int = 0


@dataclass(frozen=True)
class Listing(Call[Page[Row]]):
    """A call for rows, in pages when it is gone through with `each`. None: no limit."""

    offset: int = 0
    limit: int | None = None
    page_size: int | None = None

    def parameters(self) -> Mapping[str, str]:
        """The query of the URL."""
        count = min((each for each in (self.limit, self.page_size) if each is not None), default=None)
        if count is None and not self.offset:
            return self.query
        return {**self.query, "limit": f"{self.offset},{ALL_ROWS if count is None else count}"}

    def in_pages(self, size: int) -> Self:
        """The first of its pages."""
        return replace(self, page_size=size)

    def after(self, page: Page[Row]) -> Self | None:
        """The next page, or None when *page* was the last one."""
        count = len(page.rows)
        left = None if self.limit is None else self.limit - count
        if not count or left == 0 or self.offset + count >= page.size:
            return None
        return replace(self, offset=self.offset + count, limit=left)


@dataclass(frozen=True)
class Done:
    """Something was done; `id` is the number of the object."""

    id: int


@dataclass(frozen=True)
class Started:
    """Something goes on as a task; `id` is the number of the object."""

    id: int
    task: int


@dataclass(frozen=True)
class Changed:
    """Something was done; `task` is there when something else goes on."""

    id: int
    task: int | None = None


def quote(value: str | float | None) -> str:
    """Write *value* as `where` takes it: `f"name EQ {quote(name)}"`."""
    if isinstance(value, str):
        return "'{}'".format(value.replace("\\", "\\\\").replace("'", "\\'"))
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- what the modules of resources make their calls with


def path_of(*parts: str | int) -> str:
    """Join parts of a path; each is one segment, whatever is in it, but the first."""
    first, *rest = parts
    return "/".join([str(first), *(quote_url(str(part), safe="@") for part in rest)])


def listing(
    path: str, kind: type[Row], *, where: str, orderby: str, limit: int | None, offset: int
) -> Listing[Row]:
    """List rows."""
    query = {name: value for name, value in (("where", where), ("orderby", orderby)) if value}
    return Listing("GET", path, partial(_read_page, kind), query, offset=offset, limit=limit)


def getting(path: str, kind: type[Row]) -> Call[Row]:
    """Read one object."""
    return Call("GET", path, partial(read_row, kind))


def posting(
    path: str, kind: type[Row], body: Mapping[str, object] | None = None, *, dry_run: bool = False
) -> Call[Row]:
    """Send something; keys without a value are left out of the body."""
    return Call("POST", path, partial(read_row, kind), _dry(dry_run), dict(body or {}))


def deleting(path: str, kind: type[Row], body: Mapping[str, object] | None = None) -> Call[Row]:
    """Delete something."""
    return Call("DELETE", path, partial(read_row, kind), {}, body or None)


def given(**values: object) -> dict[str, object]:
    """The arguments that have a value."""
    return {name: value for name, value in values.items() if value is not None}


def _dry(dry_run: bool) -> Mapping[str, str]:  # noqa: FBT001  # named where it is called from outside
    return {"dry_run": "true"} if dry_run else {}


def _as_it_came(document: Json) -> Any:
    return document


def _read_page(kind: type[Row], document: Json) -> Page[Row]:
    page = read_row(_Envelope, document)
    return Page(tuple(read_row(kind, row) for row in page.list), page.size, page.last_notify)


@dataclass(frozen=True)
class _Envelope:
    list: tuple[Any, ...]
    size: int
    last_notify: int = 0
