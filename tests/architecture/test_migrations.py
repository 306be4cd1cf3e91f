"""Migrations are one chain: each has a number of its own and follows the one before."""

import re
from pathlib import Path

import draw_shared.db.migrations

VERSIONS = sorted(Path(draw_shared.db.migrations.__path__[0], "versions").glob("[0-9]*.py"))


def _said(path, name):
    return re.search(rf"^{name} = (.*)$", path.read_text("utf-8"), re.MULTILINE)[1].strip('"')


def test_each_migration_follows_the_one_before():
    numbers = [_said(path, "revision") for path in VERSIONS]
    assert numbers == [f"{n:04d}" for n in range(1, len(VERSIONS) + 1)]
    assert [path.name.partition("_")[0] for path in VERSIONS] == numbers
    assert [_said(path, "down_revision") for path in VERSIONS] == ["None", *numbers[:-1]]
