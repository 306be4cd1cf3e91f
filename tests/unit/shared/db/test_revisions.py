"""Which schemas this release serves; the database is not asked here."""

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from draw_shared.db.revisions import (
    OLDEST_SERVED,
    VERSIONS,
    head_revision,
    is_later,
    why_not_served,
)

LATER = f"{int(head_revision()) + 2:04d}"
BETWEEN = f"{int(head_revision()) + 1:04d}"
BEFORE = f"{int(OLDEST_SERVED) - 1:04d}"


@pytest.mark.parametrize("found", [OLDEST_SERVED, head_revision()])
def test_its_own_range_is_served_whatever_the_schema_says(found):
    assert why_not_served(found, None) == ""
    assert not is_later(found)


@pytest.mark.parametrize("compatible_from", [BEFORE, OLDEST_SERVED, head_revision()])
def test_a_later_schema_is_served_when_it_says_so(compatible_from):
    assert why_not_served(LATER, compatible_from) == ""
    assert is_later(LATER)


@pytest.mark.parametrize(
    ("found", "compatible_from", "words"),
    [
        (None, None, "no schema yet"),
        (BEFORE, BEFORE, f"needs {OLDEST_SERVED} or later: run `draw-admin migrate`"),
        (LATER, BETWEEN, f"releases from {BETWEEN} on; this release is {head_revision()}"),
        (LATER, LATER, f"releases from {LATER} on"),
        (LATER, None, "later releases only"),
        ("ae1027a6acf", None, "belongs to something else"),
    ],
)
def test_what_is_not_served_is_one_sentence(found, compatible_from, words):
    said = why_not_served(found, compatible_from)
    assert words in said
    assert "\n" not in said


def test_the_newest_revision_is_the_one_head_that_alembic_finds():
    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent))
    assert ScriptDirectory.from_config(config).get_heads() == [head_revision()]
