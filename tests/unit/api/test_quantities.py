"""Sizes and times as people type them; what may be a thousand or one is refused."""

import re

import pytest

from draw_api.handlers.web import languages
from draw_api.handlers.web.config import EXAMPLES
from draw_api.handlers.web.quantities import read_quantity


@pytest.fixture(params=["en", "de"])
def language(request):
    spoken = languages._spoken.set(None)
    languages.speak(request.param)
    yield request.param
    languages._spoken.reset(spoken)


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("8 GiB", 8 * 2**30), ("1,5 TB", 1_500_000_000_000), ("1.5 TB", 1_500_000_000_000),
        ("8589934592", 8589934592), ("-5", None), ("1e3", None), ("much", None), ("", None),
    ],
)  # fmt: skip
def test_sizes_are_read_in_every_language(language, typed, number):
    assert read_quantity(typed, "bytes") == number


@pytest.mark.parametrize(
    ("typed", "unit", "number"),
    [
        ("8\u00a0GiB", "bytes", 8 * 2**30), ("8\u202fGiB", "bytes", 8 * 2**30),
        ("\u00a02\u00a0min ", "seconds", 120), ("2\u00a0min 30\u00a0s", "seconds", 150),
        ("1 d 2 h", "seconds", 93_600), ("1h 30min", "seconds", 5400), ("90", "seconds", 90),
        ("30 s 2 min", "seconds", None), ("2 min 2 min", "seconds", None),
        ("2 min or 3 s", "seconds", None), ("2 min 3", "seconds", None), ("1 GB 2 MB", "gb", None),
        ("2 min 3 lightyears", "seconds", None),
    ],
)  # fmt: skip
def test_what_is_copied_from_a_page_is_read_again(language, typed, unit, number):
    assert read_quantity(typed, unit) == number


@pytest.mark.parametrize("unit", EXAMPLES)
def test_examples_of_what_to_write_are_read_as_the_language_writes_them(language, unit):
    told = languages.gettext(EXAMPLES[unit])
    examples = re.findall(r"\d[\d.,]* [A-Za-z]+", told)
    assert len(examples) == 2
    assert all(read_quantity(one, unit) is not None for one in examples)
    assert ("," if language == "en" else ".") not in "".join(examples)


def test_separators_of_thousands_are_no_decimals(language):
    ambiguous, decimal = ("1,000 GB", "1.250 GB") if language == "en" else ("1.000 GB", "1,250 GB")
    assert read_quantity(ambiguous, "bytes") is None
    assert read_quantity(decimal, "bytes") == 1_250_000_000
