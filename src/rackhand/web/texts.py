"""Words on the page in the viewer's language, and how moments, sizes and rates are written."""

import gettext as catalogues
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from pathlib import Path

LANGUAGES = {"en": "English", "ru": "Русский"}
_CATALOGUES = Path(__file__).parent / "locale"
NOTHING = "\N{EN DASH}"  # where there is nothing to show
_language: ContextVar[str] = ContextVar("console language", default="en")


@cache
def _catalogue(language: str) -> catalogues.NullTranslations:
    return catalogues.translation("console", _CATALOGUES, [language], fallback=True)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Translate into *language* inside of the block."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def gettext(message: str) -> str:
    """*message* in the viewer's language."""
    return _catalogue(_language.get()).gettext(message) if message else ""


def ngettext(singular: str, plural: str, number: int) -> str:
    """The form that goes with *number*, in the viewer's language."""
    return _catalogue(_language.get()).ngettext(singular, plural, number)


def marked(message: str) -> str:
    """Mark a text that is translated later, where it is shown."""
    return message


def language_of(chosen: str, accepted: str) -> str:
    """The language that somebody chose, else the first one of `Accept-Language` that there is."""
    if chosen in LANGUAGES:
        return chosen
    wishes = []
    for part in accepted.split(",")[:20]:
        name, _, weight = part.partition(";q=")
        try:
            wishes.append((-float(weight or 1), name.strip().lower().partition("-")[0]))
        except ValueError:
            continue
    return next((name for _, name in sorted(wishes, key=lambda wish: wish[0]) if name in LANGUAGES), "en")


def octets(number: int | None) -> str:
    """A volume: `1.4 TB`; units of 1000, as traffic is sold."""
    return NOTHING if number is None else _scaled(number, ("B", "kB", "MB", "GB", "TB", "PB"))


def rate(number: int | None) -> str:
    """A rate given in bit/s: `940 Mbit/s`."""
    return NOTHING if number is None else _scaled(number, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"))


def _scaled(number: float, units: tuple[str, ...]) -> str:
    at = 0
    while number >= 1000 and at < len(units) - 1:  # noqa: PLR2004
        number, at = number / 1000, at + 1
    return f"{number:.0f} {units[at]}" if at == 0 or number >= 100 else f"{number:.1f} {units[at]}"  # noqa: PLR2004


def speed(mbit: int | None) -> str:
    """The speed of a link: `25 Gbit/s`."""
    return rate(mbit * 1_000_000).replace(".0 ", " ") if mbit else NOTHING


def duration(seconds: float) -> str:
    """How long something takes: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    if days:
        parts = [(days, gettext("d")), (hours, gettext("h"))]
    elif hours:
        parts = [(hours, gettext("h")), (minutes, gettext("min"))]
    elif minutes:
        parts = [(minutes, gettext("min")), (whole % 60 if minutes < 5 else 0, gettext("s"))]  # noqa: PLR2004
    else:
        return f"{whole} {gettext('s')}"
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def utc(moment: datetime) -> str:
    """A moment as it is shown until the browser has put it into its own zone."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
