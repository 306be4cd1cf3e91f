"""Sizes and times as people type them; what may be a thousand or one is refused."""

import pytest

from draw_api.handlers.web import languages
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


def test_separators_of_thousands_are_no_decimals(language):
    ambiguous, decimal = ("1,000 GB", "1.250 GB") if language == "en" else ("1.000 GB", "1,250 GB")
    assert read_quantity(ambiguous, "bytes") is None
    assert read_quantity(decimal, "bytes") == 1_250_000_000
