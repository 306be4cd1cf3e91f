"""Speaks the visitor's language: texts from the catalogues, and the forms of numbers and dates.

The code has English texts, and a catalogue for each other language in GNU gettext's format. A user
may choose a language; otherwise the browser's `Accept-Language` (RFC 9110 12.5.4) decides.
"""

import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Final

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from draw_api.models.languages import LANGUAGES, SOURCE_LANGUAGE

CATALOGUES: Final = Path(__file__).resolve().parents[2] / "catalogues"
SAID: Final = "said"
"""The context in the catalogues of what `draw_shared.wording.message` says."""
PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s|%%")
JOINTS: Final = (
    re.compile(r"(.+)(; )(.+)", re.DOTALL),
    re.compile(r"(.+)( \([0-9]/[0-9]/[0-9]\))()"),
    re.compile(r"(.+?)(: )(.+)", re.DOTALL),
)
"""What stands between texts that were said one after the other."""
MAX_JOINTS: Final = 12
"""Texts with more of them are a peer's or a visitor's: their parts are not looked for."""
MAX_HEADER_LENGTH: Final = 1000
MAX_SAID_LENGTH: Final = 1000
"""Longer texts are not looked for: each form is tried on them."""
TEXTS_REMEMBERED: Final = 4096


@dataclass(slots=True)
class _Spoken:
    """The language of one request; the route's thread may change it for all that follows."""

    language: str = SOURCE_LANGUAGE


_spoken: ContextVar[_Spoken | None] = ContextVar("spoken", default=None)


class Languages:
    """ASGI middleware that finds out which language the browser asks for."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            asked = Headers(scope=scope).get("accept-language", "")
            _spoken.set(_Spoken(preferred(asked)))
        await self._application(scope, receive, send)


def preferred(asked: str) -> str:
    """Return the language of ours that an `Accept-Language` header likes best."""
    ranked: list[tuple[float, int, str]] = []
    for position, part in enumerate(asked[:MAX_HEADER_LENGTH].split(",")):
        tag, _, parameters = part.partition(";")
        language = tag.strip().partition("-")[0].lower()
        weight = parameters.strip().removeprefix("q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and quality > 0:
            ranked.append((-quality, position, language))
    return min(ranked)[2] if ranked else SOURCE_LANGUAGE


def speak(language: str) -> None:
    """Speak a language for the rest of this request; an unknown one changes nothing."""
    spoken = _spoken.get()
    if language not in LANGUAGES:
        return
    if spoken is None:
        _spoken.set(_Spoken(language))
    else:
        spoken.language = language


def spoken_language() -> str:
    """Return the language of this request."""
    spoken = _spoken.get()
    return spoken.language if spoken else SOURCE_LANGUAGE


def spoken_locale() -> Locale:
    """Return the rules for numbers and dates of this request's language."""
    return Locale.parse(spoken_language())


def gettext(text: str, /) -> str:
    """Return a text of the catalogue in the visitor's language."""
    return _translations(spoken_language()).gettext(text) if text else ""


def ngettext_plain(one: str, several: str, number: int, /) -> str:
    """Return the text for a number of things in the visitor's language, without its values."""
    return _translations(spoken_language()).ngettext(one, several, number)


def _(text: str, /, **values: object) -> str:
    """Return a text in the visitor's language with its values filled in, `%(name)s` by `name`."""
    translated = gettext(text)
    return translated % values if values else translated


def ngettext(one: str, several: str, number: int, /, **values: object) -> str:
    """Return the text for a number of things; `%(num)s` is the number, others as given."""
    return ngettext_plain(one, several, number) % {"num": number, **values}


def N_(text: str, /) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a constant for the catalogues; whoever shows it translates it."""
    return text


def said(text: str | None) -> str:
    """Return in the visitor's language what was said in English and kept, as the error of a job.

    Texts with values are recognized by their form; a text that is in no catalogue stays as it is.
    """
    if not text:
        return ""
    return _said(spoken_language(), str(text))


@lru_cache(TEXTS_REMEMBERED)
def _said(language: str, text: str) -> str:
    # The catalogue's own head is found under the empty text.
    if language == SOURCE_LANGUAGE or not text or len(text) > MAX_SAID_LENGTH:
        return text
    translations = _translations(language)
    for found in (str(translations.pgettext(SAID, text)), str(translations.gettext(text))):
        if found != text:
            return found
    for form, source in _forms(language):
        match = form.fullmatch(text)
        if match:
            values = {name: _said(language, value) for name, value in match.groupdict().items()}
            return str(translations.pgettext(SAID, source)) % values
    return _said_in_parts(language, text)


def _said_in_parts(language: str, text: str) -> str:
    if text.count("; ") + text.count(": ") > MAX_JOINTS:
        return text
    for joint in JOINTS:
        parts = joint.fullmatch(text)
        if parts:
            return _said(language, parts[1]) + parts[2] + _said(language, parts[3])
    return text


def catalogue(language: str) -> Catalog:
    """Return the catalogue of a language as its translators wrote it."""
    with (CATALOGUES / f"{language}.po").open("rb") as source:
        return read_po(source, locale=language)


@cache
def _translations(language: str) -> NullTranslations:
    if language == SOURCE_LANGUAGE:
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, catalogue(language))
    compiled.seek(0)
    return Translations(compiled)


@cache
def _forms(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return the texts with values as patterns, those with most text of their own first."""
    sources = [
        entry.id
        for entry in catalogue(language)
        if entry.context == SAID and isinstance(entry.id, str) and PLACEHOLDER.search(entry.id)
    ]
    sources.sort(key=lambda source: len(PLACEHOLDER.sub("", source)), reverse=True)
    return tuple((re.compile("".join(_pattern(source)), re.DOTALL), source) for source in sources)


def _pattern(source: str) -> Iterator[str]:
    """Yield the parts of the pattern that recognizes a text, whatever its values are."""
    end, named = 0, set[str]()
    for value in PLACEHOLDER.finditer(source):
        yield re.escape(source[end : value.start()])
        name, end = value[1], value.end()
        if name is None:
            yield "%"
        elif name in named:
            yield f"(?P={name})"
        else:
            named.add(name)
            yield f"(?P<{name}>.+?)"
    yield re.escape(source[end:])
