"""The tree keeps its own rules: import contracts, generated pages, size of modules."""

import re
import subprocess
import sys
from pathlib import Path

from tools import generate_docs

ROOT = Path(__file__).resolve().parents[2]
LONGEST_MODULE = 600
LONGER = {
    "shared/src/draw_shared/db/tables.py": "every table, shape only: one place to look",
    "shared/src/draw_shared/db/migrations/versions/0001_first_schema.py": "the whole first schema",
}


def test_import_contracts_hold():
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stdout


def test_generated_pages_are_what_the_code_says():
    assert generate_docs.differing() == []


def _modules():
    for folder in ("shared/src", "services", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            if str(path.relative_to(ROOT)) not in LONGER:
                yield path


def test_no_module_is_longer_than_600_lines():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _modules()}
    assert {path: number for path, number in lines.items() if number > LONGEST_MODULE} == {}


def test_no_module_has_a_name_that_says_nothing():
    vague = {"utils", "helpers", "common", "manager", "base", "misc"}
    assert [path for path in _modules() if path.stem in vague] == []


def test_every_exception_still_exists_and_is_needed():
    for name in LONGER:
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) > LONGEST_MODULE


def test_the_install_page_asks_git_as_root_whose_the_programs_are():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    asked = re.findall(r"^(sudo )?git (describe|pull|checkout|clone)\b", page, re.MULTILINE)
    assert {word for _, word in asked} == {"describe", "pull", "checkout", "clone"}
    assert all(root for root, _ in asked), "git refuses to read a repository of another user"


def test_the_walk_through_a_feature_names_files_that_exist():
    page = (ROOT / "docs" / "adding-a-feature.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./-]+/[\w./-]*)`", page))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
