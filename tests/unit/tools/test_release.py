"""A release dates the changelog, builds and tags, or changes nothing.

The packages are those of a small repository; that the suite's own can be built is seen where
images and environments are made of them.
"""

import datetime as dt
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools.release import ReleaseRefused, date_changelog, release

DAY = dt.date(2027, 3, 1)
UV = str(Path(sys.executable).with_name("uv"))
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- It receives.\n"
PACKAGE = """
[build-system]
requires = ["hatchling", "hatch-vcs"]
build-backend = "hatchling.build"
[project]
name = "small"
requires-python = ">=3.11"
dynamic = ["version"]
[tool.hatch.version]
source = "vcs"
raw-options = { root = ".." }
[tool.hatch.build.targets.wheel]
packages = ["small"]
"""


def git(folder, *words):
    return subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("dist/\n")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "shared" / "small").mkdir(parents=True)
    (tmp_path / "shared" / "pyproject.toml").write_text(PACKAGE)
    (tmp_path / "shared" / "small" / "__init__.py").write_text("")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "all")
    return tmp_path


def state(folder):
    return git(folder, "rev-parse", "HEAD"), git(folder, "tag"), git(folder, "status", "--short")


def test_a_release_builds_dates_commits_and_tags(repository):
    [wheel] = release(repository, "0.1.0", DAY, UV)
    assert wheel.name == "small-0.1.0-py3-none-any.whl"
    assert wheel.is_file()
    assert git(repository, "describe", "--exact-match").strip() == "v0.1.0"
    text = git(repository, "show", "v0.1.0:CHANGELOG.md")
    assert "## [Unreleased]\n\n## [0.1.0] - 2027-03-01\n\n### Added" in text


@pytest.mark.parametrize(
    ("version", "words"),
    [("1.0", "three numbers"), ("v1.0.0", "three numbers"), ("1.0.0rc1", "three numbers")],
)
def test_what_is_no_version_changes_nothing(repository, version, words):
    before = state(repository)
    with pytest.raises(ReleaseRefused, match=words):
        release(repository, version, DAY, UV)
    assert state(repository) == before


def test_a_tree_with_changes_is_not_released(repository):
    (repository / "new").write_text("")
    before = state(repository)
    with pytest.raises(ReleaseRefused, match="not committed"):
        release(repository, "0.1.0", DAY, UV)
    assert state(repository) == before


def test_what_cannot_be_built_gets_no_tag(repository):
    (repository / "shared" / "pyproject.toml").write_text("[project]\n")
    git(repository, "commit", "-q", "-a", "-m", "broken")
    before = state(repository)
    with pytest.raises(ReleaseRefused, match="shared cannot be built"):
        release(repository, "0.1.0", DAY, UV)
    assert state(repository) == before


def test_what_an_attempt_has_left_is_built_anew(repository):
    left = repository / "dist" / "0.1.0" / "small-0.1.0-py3-none-any.whl"
    left.parent.mkdir(parents=True)
    left.write_text("half of it")
    [wheel] = release(repository, "0.1.0", DAY, UV)
    assert wheel == left
    assert zipfile.is_zipfile(wheel)


def test_the_same_version_is_not_released_twice(repository):
    release(repository, "0.1.0", DAY, UV)
    before = state(repository)
    with pytest.raises(ReleaseRefused, match=r"v0\.1\.0 is there"):
        release(repository, "0.1.0", DAY, UV)
    with pytest.raises(ReleaseRefused, match="nothing under"):
        release(repository, "0.2.0", DAY, UV)
    assert state(repository) == before


def test_versions_go_up():
    text = CHANGELOG + "\n## [0.9.0] - 2027-01-01\n\n- Older.\n"
    assert "## [0.10.0] - 2027-03-01" in date_changelog(text, "0.10.0", DAY)
    with pytest.raises(ReleaseRefused, match=r"0\.8\.9 is not above 0\.9\.0"):
        date_changelog(text, "0.8.9", DAY)
