"""Tables: what the URL asks of a list, and the list's `where`, `orderby` and `limit` that come of it."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rackhand.http.lists import ListParams
from rackhand.ipam import allocation
from rackhand.ipam.allocation import Span
from rackhand.web.page import Page

SIZES = (25, 50, 100, 250)
MAX_PAGE = 10**7
IPV4_BEGUN = re.compile(r"\d{1,3}\.(?:\d{1,3}(?:\.\d{1,3}(?:\.\d{1,3})?)?)?\.?", re.ASCII)
IPV6_BEGUN = re.compile(r"[0-9a-f]{3,4}(?::[0-9a-f]{1,4}){0,6}:?", re.ASCII | re.IGNORECASE)
MAC_PART = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){1,5}[:-]?")


@dataclass(frozen=True)
class Filter:
    """A choice above a table: *clauses* are filters by the word that stands in the URL."""

    name: str
    label: str
    options: Sequence[tuple[str, str]]  # the word, and what a person reads
    clause: str  # `status EQ {}`, where {} is the quoted word
    special: Mapping[str, str] = field(default_factory=dict)  # words with a filter of their own

    def where(self, word: str) -> str:
        """The filter for a chosen word."""
        return self.special.get(word) or self.clause.format(quoted(word))


@dataclass(frozen=True)
class Listing:
    """How a table is asked for; *texts* are the fields that the free text looks into."""

    page: Page
    texts: Sequence[str]
    sorts: Sequence[str]
    filters: Sequence[Filter] = ()
    order: str = ""
    addresses: Sequence[
        str
    ] = ()  # fields to look into when the text is an IP address, or the beginning of one
    macs: Sequence[str] = ()  # the same for MAC addresses

    @property
    def text(self) -> str:
        """What is searched for."""
        return self.page.query.get("q", "").strip()[:200]

    @property
    def sort(self) -> str:
        """The column in order, with `-` before it when it is descending."""
        asked = self.page.query.get("sort", "")
        return asked if asked.removeprefix("-") in self.sorts else self.order

    @property
    def size(self) -> int:
        """Rows on a page."""
        asked = self.page.query.get("size", "")
        return int(asked) if asked.isdigit() and asked.isascii() and int(asked) in SIZES else SIZES[1]

    @property
    def number(self) -> int:
        """The page, counted from 1."""
        asked = self.page.query.get("page", "")
        return max(1, min(int(asked[:9]), MAX_PAGE)) if asked.isascii() and asked.isdigit() else 1

    def chosen(self, name: str) -> str:
        """The word that stands in the URL for a filter."""
        return self.page.query.get(name, "")

    @property
    def is_filtered(self) -> bool:
        """Whether anything narrows the list down."""
        return bool(
            self.text or self.page.query.get("where", "").strip() or any(map(self.chosen, self._names))
        )

    @property
    def _names(self) -> list[str]:
        return [each.name for each in self.filters]

    @property
    def where(self) -> str:
        """The list's filter, all of it."""
        parts = []
        if self.text:
            parts.append(self._text_clause())
        parts += [each.where(word) for each in self.filters if (word := self.chosen(each.name))]
        if own := self.page.query.get("where", "").strip():
            parts.append(own)
        return " AND ".join(f"({part})" for part in parts)

    def _text_clause(self) -> str:
        """What the text may mean: part of an address or of a MAC address by its form, else words or a number."""
        span = span_of(self.text) if self.addresses else None
        if span is not None:
            return " OR ".join(
                f"{name} GE {quoted(str(span.first_address))} AND {name} LE {quoted(str(span.last_address))}"
                for name in self.addresses
            )
        if self.macs and MAC_PART.fullmatch(self.text.lower()):
            text = self.text.lower().replace("-", ":")
            return " OR ".join(f"{name} CP {containing(text)}" for name in self.macs)
        clauses = [f"{name} CP {containing(self.text)}" for name in self.texts]
        if self.text.isascii() and self.text.isdigit() and len(self.text) < 19:  # noqa: PLR2004  # 64 bit
            clauses.append(f"id EQ {self.text}")
        return " OR ".join(clauses)

    @property
    def params(self) -> ListParams:
        """What the queries take."""
        return ListParams(self.where, self.sort, f"{(self.number - 1) * self.size},{self.size}")

    @property
    def query(self) -> str:
        """The filter and the order as they stand in the address, without the page."""
        return self.page.url(page=None, size=None).removeprefix(self.page.request.url.path)

    def sort_url(self, name: str) -> str:
        """The address that orders by a column, the other way round when it is in order already."""
        return self.page.url(sort=f"-{name}" if self.sort == name else name, page=None)

    def direction(self, name: str) -> str:
        """For `aria-sort`."""
        return {name: "ascending", f"-{name}": "descending"}.get(self.sort, "none")


def quoted(text: str) -> str:
    """A text of the filter language; a backslash makes the next character plain."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def containing(text: str) -> str:
    """A pattern for CP: whatever has *text* in it; the wildcards in *text* stand for themselves."""
    plain = "".join(f"\\{letter}" if letter in "\\'%_" else letter for letter in text)
    return f"'%{plain}%'"


def span_of(text: str) -> Span | None:
    """The addresses that begin so: `10.0.3`, `10.0.3.7`, `10.0.0.0/8`, `2001:db8::`; None for anything else."""
    if (begun := IPV4_BEGUN.fullmatch(text)) is not None:
        octets = begun[0].rstrip(".").split(".")
        text = ".".join([*octets, *["0"] * (4 - len(octets))]) + f"/{8 * len(octets)}"
    elif ":" in text and (groups := IPV6_BEGUN.fullmatch(text)) is not None:
        parts = groups[0].rstrip(":").split(":")
        text = ":".join(parts) + f"::/{16 * len(parts)}"
    elif ":" not in text and "." not in text:
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return allocation.span_of(network)
