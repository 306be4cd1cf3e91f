"""A language whose texts are the English ones in brackets: what has no brackets is untranslated."""

import re
from contextlib import contextmanager
from html.parser import HTMLParser

from babel.messages.catalog import Catalog

from draw_api.handlers.web import languages
from tools.catalogues import source_texts

OPEN, CLOSE = "⟦⟧"
BRACKETS = re.compile(f"{OPEN}[^{OPEN}{CLOSE}]*{CLOSE}")
DATA = frozenset({"bdi", "code", "pre", "script", "style", "svg", "time", "textarea"})
"""Elements that hold values, not texts of ours."""
SPOKEN_ATTRIBUTES = ("aria-label", "title", "placeholder", "alt")
VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "col", "path", "source", "wbr"})
WORD = re.compile(r"[A-Za-z]*[a-z]{3,}")


def bracketed(text):
    """Return the text as the language says it."""
    return f"{OPEN}{text}{CLOSE}"


@contextmanager
def spoken():
    """Have German be this language."""
    made = Catalog(locale="de")
    for entry in source_texts():
        if entry.id:
            several = isinstance(entry.id, tuple)
            said = tuple(map(bracketed, entry.id)) if several else bracketed(entry.id)
            made.add(entry.id, said, context=entry.context)
    kept, languages.catalogue = languages.catalogue, lambda _: made
    caches = (languages._translations, languages._forms, languages._said)
    try:
        for one in caches:
            one.cache_clear()
        yield
    finally:
        languages.catalogue = kept
        for one in caches:
            one.cache_clear()


class Untranslated(HTMLParser):
    """Collects the words of a page that are in no brackets, and the addresses it leads to."""

    def __init__(self, values):
        super().__init__()
        self._values = values
        self._open = []
        self.found = []
        self.links = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in VOID:
            self._open.append(tag if "lang" not in given or tag == "html" else "code")
        if tag == "a" and given.get("href", "").startswith("/"):
            self.links.append(given["href"])
        if not self._in_data():
            for name in SPOKEN_ATTRIBUTES:
                self._judge(given.get(name) or "")

    def handle_endtag(self, tag):
        if tag not in VOID and self._open:
            self._open.pop()

    def handle_data(self, data):
        if not self._in_data():
            self._judge(data)

    def _in_data(self):
        return any(tag in DATA for tag in self._open)

    def _judge(self, text):
        left = text
        while BRACKETS.search(left):
            left = BRACKETS.sub(" ", left)
        for value in self._values:
            left = left.replace(value, " ")
        if WORD.search(left):
            self.found.append(" ".join(text.split())[:160])
