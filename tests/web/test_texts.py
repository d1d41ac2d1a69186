"""Words in other languages: complete, compiled, and with the same places for values."""

import gettext
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from rackhand.users import signin
from rackhand.web import texts, words
from rackhand.web.words import BADGES
from tests.conftest import Api
from tests.web.conftest import Browser, text_of

WEB = Path(texts.__file__).parent
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
OPTIONS = {"templates/**.html": {"extensions": "jinja2.ext.i18n", "newstyle_gettext": "true",
                                 "trim_blocks": "true", "lstrip_blocks": "true"}}  # fmt: skip
KEYWORDS = {"gettext": None, "_": None, "marked": None, "ngettext": (1, 2)}
LANGUAGES = sorted(set(texts.LANGUAGES) - {"en"})


def catalogue_of(language: str) -> Catalog:
    with (WEB / "locale" / language / "LC_MESSAGES" / "console.po").open("rb") as file:
        return read_po(file, locale=language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    catalogue = catalogue_of(language)
    found = list(extract_from_dir(str(WEB), METHODS, OPTIONS, KEYWORDS))
    assert len(found) > 500
    for name, line, message, *_ in found:
        entry = catalogue.get(message)
        assert entry is not None, f"{name}:{line}: {message!r} is in no catalogue: run `make texts`"
        strings = [entry.string] if isinstance(entry.string, str) else list(entry.string or ())
        assert all(strings), f"{name}:{line}: {message!r} is not translated"
        places = {tuple(sorted(set(re.findall(r"%\(\w+\)s", text)))) for text in (message, *strings)
                  if isinstance(text, str)}  # fmt: skip
        assert len(places - {()}) <= 1, (message, strings)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_what_was_written(language: str) -> None:
    compiled = gettext.translation("console", WEB / "locale", [language])
    for message in catalogue_of(language):
        if message.id and isinstance(message.id, str):
            assert compiled.gettext(message.id) == message.string


def test_what_other_slices_say_is_spelt_as_they_say_it() -> None:
    assert signin.REFUSED in words.SENTENCES


def test_words_of_states_have_pictures_that_there_are() -> None:
    sprite = (WEB / "static" / "vendor" / "icons.svg").read_text()
    for badges in BADGES.values():
        for badge in badges.values():
            assert f'<symbol id="{badge.icon}"' in sprite, badge
    for template in (WEB / "templates").rglob("*.html"):
        for name in re.findall(r'icon\("([a-z0-9-]+)"', template.read_text()):
            assert f'<symbol id="{name}"' in sprite, (template.name, name)


def test_numbers_are_written_as_people_read_them() -> None:
    assert [texts.octets(number) for number in (0, 999, 1000, 1_440_000_000_000)] == [
        "0 B", "999 B", "1.0 kB", "1.4 TB",
    ]  # fmt: skip
    assert texts.rate(940_000_000) == "940 Mbit/s"
    assert [texts.speed(number) for number in (100, 1000, 25_000)] == ["100 Mbit/s", "1 Gbit/s", "25 Gbit/s"]
    assert [texts.duration(seconds) for seconds in (0.4, 45, 130, 720, 12_000, 187_200)] == [
        "0 s", "45 s", "2 min 10 s", "12 min", "3 h 20 min", "2 d 4 h",
    ]  # fmt: skip


async def test_pages_are_russian_for_those_who_read_it(admin: Api, operator: Browser) -> None:
    await admin.post("/dci/v3/server", {"name": "srv-1"})
    await operator.post("/preference", {"language": "ru"})
    assert "1 строка" in text_of(await operator.open("/servers"))
    page = text_of(await operator.open("/servers/1"))
    assert "нельзя ни установить, ни проверить" in page
    page = text_of(await operator.refused("/login", {"email": "x", "password": "y"}, status=401))
    assert "Неверный адрес эл. почты или пароль." in page
