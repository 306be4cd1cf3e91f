"""The language of the page: what the browser asks for, and what was said in English and kept."""

from datetime import date
from io import BytesIO

import pytest
from babel.messages.pofile import read_po

from draw_api.handlers.web import languages
from draw_api.handlers.web.words import count, day, size
from draw_shared.wording import message

CATALOGUE = """
msgid ""
msgstr ""
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

msgid "Yes"
msgstr "Ja"

msgid "%(num)s image"
msgid_plural "%(num)s images"
msgstr[0] "%(num)s Bild"
msgstr[1] "%(num)s Bilder"

msgctxt "said"
msgid "%(host)s does not answer on port %(port)s"
msgstr "%(host)s antwortet nicht auf Port %(port)s"

msgctxt "said"
msgid "the disk is full"
msgstr "die Platte ist voll"

msgctxt "said"
msgid "the node refused: %(reason)s"
msgstr "Knoten lehnt ab: %(reason)s"
"""


@pytest.fixture
def german(monkeypatch):
    """A German catalogue of a few texts, and somebody who reads it."""
    caches = (languages._translations, languages._forms, languages._said)
    made = read_po(BytesIO(CATALOGUE.encode()), locale="de")
    monkeypatch.setattr(languages, "catalogue", lambda _: made)
    for one in caches:
        one.cache_clear()
    spoken = languages._spoken.set(None)
    languages.speak("de")
    yield
    languages._spoken.reset(spoken)
    for one in caches:
        one.cache_clear()


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,de;q=0.9", "en"),
        ("fr,de;q=0.5,en;q=0.4", "de"),
        ("en;q=0.3, DE-ch ;q=0.7", "de"),
        ("de;q=0,fr", "en"),
        ("de;q=much,*", "en"),
        (",;q=,;;=1," + "x" * 5000, "en"),
    ],
)
def test_the_browser_is_answered_in_the_language_it_likes_best(asked, language):
    assert languages.preferred(asked) == language


def test_texts_plurals_and_numbers_follow_the_language(german):
    assert languages._("Yes") == "Ja"
    assert languages._("Not in the catalogue, %(name)s", name="A") == "Not in the catalogue, A"
    assert languages.ngettext("%(num)s image", "%(num)s images", 1) == "1 Bild"
    assert languages.ngettext("%(num)s image", "%(num)s images", 2) == "2 Bilder"
    assert count(1234567) == "1.234.567"
    assert size(1_234_000) == "1,2\N{NO-BREAK SPACE}MB"
    languages.speak("en")
    assert count(1234567) == "1,234,567"
    languages.speak("xx")
    assert languages.spoken_language() == "en"


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        (message("the disk is full"), "die Platte ist voll"),
        (
            message("%(host)s does not answer on port %(port)s", host="pacs", port=104),
            "pacs antwortet nicht auf Port 104",
        ),
        ("the node refused: the disk is full", "Knoten lehnt ab: die Platte ist voll"),
        ("the node refused: 100 %(strange)s\nline", "Knoten lehnt ab: 100 %(strange)s\nline"),
        ("in no catalogue", "in no catalogue"),
        ("the node refused: " + "x" * 1000, "the node refused: " + "x" * 1000),
        ("", ""),
        (None, ""),
    ],
)
def test_what_was_kept_in_english_is_shown_in_the_language(german, kept, shown):
    assert languages.said(kept) == shown


def test_dates_follow_the_language(german):
    assert day(date(2026, 3, 1)) == "01.03.2026"
    languages.speak("en")
    assert day(date(2026, 3, 1)) == "2026-03-01"
