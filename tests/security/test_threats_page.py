"""The page of threats names tests that exist; that they show what they should is theirs."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.security

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "threats.md"
ROW = re.compile(r"^\|[^|]+\|[^|]+\|(?P<tests>[^|]+)\|$")
TEST = re.compile(r"`(?P<path>tests/[\w/]+\.py)(?:::(?P<name>\w+))?`")


def rows():
    """Return the rows of all tables, without headings."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [
        line for line in lines if line.startswith("|") and not line.startswith(("| tries", "| ---"))
    ]


@pytest.mark.parametrize("row", rows())
def test_every_threat_names_tests_that_exist(row):
    told = ROW.match(row)
    assert told, "a row has three cells: what is tried, what holds, which test shows it"
    tests = list(TEST.finditer(told["tests"]))
    assert tests, "no test shows it"
    for test in tests:
        path = ROOT / test["path"]
        assert path.is_file(), test["path"]
        name = test["name"]
        assert name is None or f"def {name}(" in path.read_text(encoding="utf-8")
