"""What is said in English outside the page is found again, whatever its values are."""

import ast
import re
from itertools import count

import pytest
from babel.messages.catalog import Catalog

from draw_api.handlers.web import languages
from draw_api.handlers.web.languages import PLACEHOLDER, SAID, said
from draw_shared.contracts import failures
from draw_shared.contracts.failures import FieldProblem
from draw_shared.wording import message
from support.pseudo_language import bracketed
from tools.catalogues import SOURCES, source_texts

WORD = re.compile("[A-Za-z]{2,}")
MAX_VALUES = 7
REFUSALS = {
    *(name for name, kind in vars(failures).items() if isinstance(kind, type)),
    "InvalidJob",
    "NothingThere",
    "NotSupported",
    "PeerAborted",
    "Unreachable",
    "wrong",
}
HOSTILE = ("; " * 480, ": " * 480, "a, " * 320, "of " * 320, "\n" * 990, "%(name)s " * 90)


@pytest.fixture(scope="module")
def forms():
    """Return each text that is said outside the page."""
    found = sorted({str(entry.id) for entry in source_texts() if entry.context == SAID})
    assert len(found) > 500
    return found


@pytest.fixture(scope="module")
def spoken(forms):
    """Have German be the English texts in brackets."""
    made = Catalog(locale="de")
    for form in forms:
        made.add(form, bracketed(form), context=SAID)
    kept, languages.catalogue = languages.catalogue, lambda _: made
    caches = (languages._translations, languages._forms, languages._said)
    for one in caches:
        one.cache_clear()
    before = languages._spoken.set(None)
    languages.speak("de")
    yield
    languages._spoken.reset(before)
    languages.catalogue = kept
    for one in caches:
        one.cache_clear()


def names_in(form):
    return list(dict.fromkeys(found[1] for found in PLACEHOLDER.finditer(form) if found[1]))


def test_each_text_with_values_has_words_of_its_own(forms):
    bare = [
        form
        for form in forms
        if names_in(form) and len(WORD.findall(PLACEHOLDER.sub(" ", form))) < 2
    ]
    assert bare == []


def test_no_text_has_too_many_values_or_one_without_name(forms):
    assert [form for form in forms if len(names_in(form)) > MAX_VALUES] == []
    with_values = [PLACEHOLDER.sub("", form) for form in forms if names_in(form)]
    assert [left for left in with_values if "%" in left or "{" in left] == []


def test_every_text_is_found_again_with_its_values(forms, spoken):
    wrong = {}
    numbers = count(2000)
    for form in forms:
        values = {name: f"Q{next(numbers)}" for name in names_in(form)}
        kept = message(form, **values)
        if said(kept) != message(bracketed(form), **values):
            wrong[form] = said(kept)
    assert wrong == {}


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        (
            "3 of 5 did not arrive; the node said: Out of resources (0xA700)",
            "⟦3 of 5 did not arrive⟧; ⟦the node said: ⟦Out of resources (0xA700)⟧⟧",
        ),
        ("the address is not allowed (1/1/1)", "⟦the address is not allowed⟧ (1/1/1)"),
        (
            "aborted by peer: something else; certificate SCANNER",
            "⟦aborted by peer⟧: something else; certificate SCANNER",
        ),
        (
            "the node broke the protocol: PDU type 0x2F is unknown",
            "⟦the node broke the protocol: ⟦PDU type 0x2F is unknown⟧⟧",
        ),
        ("nobody: says; this", "nobody: says; this"),
    ],
)
def test_sentences_beside_each_other_are_found_one_by_one(spoken, kept, shown):
    assert said(kept) == shown


@pytest.mark.parametrize("kept", HOSTILE, ids=lambda text: text[:6])
def test_what_nobody_of_ours_said_stays_as_it_is(spoken, kept):
    assert said(kept) == kept


NAMES_FIRST = {FieldProblem.__name__, "wrong"}


def words_of_refusals(path):
    """Yield the texts with which a module refuses something and that no catalogue will have."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            given = call.args[1:] if call.func.id in NAMES_FIRST else call.args
            for text in given if call.func.id in REFUSALS else ():
                if isinstance(text, ast.Constant | ast.JoinedStr) and " " in ast.unparse(text):
                    yield f"{path.name}:{text.lineno} {ast.unparse(text)}"


def test_what_the_api_refuses_is_said_by_message():
    places = (
        "draw_api/services",
        "draw_api/models",
        "draw_api/handlers/rest",
        "draw_shared/contracts",
        "draw_qr_worker",
        "draw_indexer/services",
        "draw_scp/services",
    )
    paths = [path for root in SOURCES for place in places for path in root.glob(f"{place}/**/*.py")]
    assert len(paths) > 100
    assert [text for path in paths for text in words_of_refusals(path)] == []
