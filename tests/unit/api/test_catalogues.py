"""The catalogues of the page have every text of the code, translated in full.

Whether a translation is a good one, a test cannot say.
"""

import re
from collections import Counter

import pytest

from draw_api.handlers.web.languages import CATALOGUES, catalogue
from tools.catalogues import TRANSLATED, forms_of, source_texts, written

VALUE = re.compile(r"%(?:\(\w+\)s|%)?")
TAG = re.compile(r"<[^>]*>")


@pytest.fixture(scope="module")
def texts():
    return source_texts()


@pytest.fixture(scope="module", params=TRANSLATED)
def language(request):
    return request.param


def entries(found):
    return {(entry.context, entry.id): entry for entry in found if entry.id}


def test_every_text_is_translated_and_none_is_left_over(language, texts):
    known = entries(catalogue(language))
    assert entries(texts).keys() - known.keys() == set(), "run `make catalogues`, then translate"
    assert known.keys() - entries(texts).keys() == set(), "run `make catalogues`"
    empty = [entry.id for entry in known.values() if not all(forms_of(entry))]
    assert empty == []
    assert [entry.id for entry in known.values() if entry.fuzzy] == []


def test_a_text_about_a_number_has_all_plural_forms(language):
    found = catalogue(language)
    wrong = [
        entry.id
        for entry in entries(found).values()
        if len(forms_of(entry)) != (found.num_plurals if entry.pluralizable else 1)
    ]
    assert wrong == []


def test_translations_have_the_values_the_markup_and_the_blanks_of_their_texts(language):
    wrong = []
    for (_, text), entry in entries(catalogue(language)).items():
        sources = text if isinstance(text, tuple) else (text,)
        for number, translation in enumerate(forms_of(entry)):
            source = sources[min(number, len(sources) - 1)]
            same = all(
                Counter(form.findall(source)) == Counter(form.findall(translation))
                for form in (VALUE, TAG)
            )
            ends = len(source) - len(source.lstrip()), len(source) - len(source.rstrip())
            own = len(translation) - len(translation.lstrip())
            if not same or ends != (own, len(translation) - len(translation.rstrip())):
                wrong.append((source, translation))
    assert wrong == []


def test_the_file_is_what_the_tool_writes(language, texts):
    file, _ = written(language, texts)
    assert file.decode() == (CATALOGUES / f"{language}.po").read_text(encoding="utf-8")
