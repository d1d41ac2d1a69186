"""Templates: the environment, its filters, and the words for what the database spells in code."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rackhand.db import utcnow
from rackhand.web import texts
from rackhand.web.assets import asset_url
from rackhand.web.words import BADGES, Badge, operation_title, step_title


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        auto_reload=False,
    )
    environment.install_gettext_callables(texts.gettext, texts.ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.filters.update(
        when=when,
        ago=ago,
        octets=texts.octets,
        rate=texts.rate,
        speed=texts.speed,
        duration=texts.duration,
        operation=operation_title,
        step=step_title,
        badge=badge,
        slice2=lambda row: row[:2],
        pair=lambda word, blank: (word, word or blank),
    )
    environment.globals.update(asset=asset_url, icon=icon, languages=texts.LANGUAGES, now=utcnow)
    return environment


def render(template: str, **context: object) -> str:
    """Fill in a template."""
    return _environment().get_template(template).render(**context)


def icon(name: str, classes: str = "") -> Markup:
    """A picture beside words; it says nothing by itself, so readers of the page aloud skip it."""
    return Markup(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>'
    ).format(classes, asset_url("vendor/icons.svg"), name)


def when(moment: datetime | None) -> str | Markup:
    """A moment; the browser writes it in the viewer's zone."""
    return _time(moment, "moment")


def ago(moment: datetime | None) -> str | Markup:
    """How long ago, or how far ahead, a moment is; the browser keeps it true."""
    return _time(moment, "relative")


def _time(moment: datetime | None, kind: str) -> str | Markup:
    if moment is None:
        return texts.NOTHING
    moment = moment.astimezone(UTC)
    shown = texts.utc(moment)
    return Markup('<time datetime="{}" data-time="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="seconds").replace("+00:00", "Z"), kind, shown, shown
    )


def badge(word: str, kind: str) -> Markup:
    """A state as word, colour and picture: never as colour alone."""
    known: Mapping[str, Badge] = BADGES[kind]
    found = known.get(word, Badge(word, "secondary", "circle-dot"))
    return Markup('<span class="badge bg-{}-lt">{} {}</span>').format(
        found.colour, icon(found.icon), texts.gettext(found.text)
    )
