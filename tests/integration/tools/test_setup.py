"""`tools/setup.sh mend` takes away a .venv that cannot be used, and only one that we have made.

Installing is not covered here: `.ci/run` does it on a bare machine, and
tests/e2e/bare_machine.sh on several.
"""

import shutil
import subprocess
import sys

import pytest

from support.service_finder import ROOT

pytestmark = pytest.mark.integration


@pytest.fixture
def tree(tmp_path):
    """A tree with the script and a complete .venv that make has made."""
    tree = tmp_path / "tree"
    (tree / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "setup.sh", tree / "tools")
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", ".venv"], cwd=tree, check=True)
    script = tree / ".venv" / "bin" / "draw-admin"
    script.write_text(f"#!{tree}/.venv/bin/python\n")
    (tree / ".venv" / ".run").touch()
    return tree


def _mend(tree):
    return subprocess.run(
        ["tools/setup.sh", "mend"], cwd=tree, capture_output=True, text=True, check=False
    )


def _interrupted(tree):
    (tree / ".venv" / ".unfinished").touch()
    return tree, "interrupted"


def _other_python(tree):
    (lib,) = (tree / ".venv" / "lib").iterdir()
    lib.rename(lib.with_name("python3.1"))
    return tree, "another Python"


def _no_python(tree):
    for link in (tree / ".venv" / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/nowhere/python")
    return tree, "not there any more"


def _moved(tree):
    return tree.rename(tree.with_name("moved")), "another folder"


def _copied(tree):
    return shutil.copytree(tree, tree.with_name("copy"), symlinks=True), "another folder"


BROKEN = (_interrupted, _other_python, _no_python, _moved, _copied)


def test_what_can_be_used_stays(tree):
    done = _mend(tree)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tree / ".venv" / ".run").exists()


def test_it_does_so_through_a_symbolic_link_too(tree):
    link = tree.with_name("link")
    link.symlink_to(tree)
    assert _mend(link).stdout == ""
    assert (tree / ".venv" / ".run").exists()


@pytest.mark.parametrize("broken", BROKEN)
def test_what_cannot_be_used_goes_with_one_sentence(tree, broken):
    now, why = broken(tree)
    done = _mend(now)
    assert (done.returncode, done.stderr) == (0, "")
    assert why in done.stdout
    assert done.stdout.count("\n") == 1
    assert not (now / ".venv").exists()


@pytest.mark.parametrize("broken", BROKEN[1:])
def test_what_make_has_not_made_is_left_alone(tree, broken):
    now, why = broken(tree)
    (now / ".venv" / ".run").unlink()
    done = _mend(now)
    assert done.returncode == 1
    assert why in done.stderr
    assert (now / ".venv").exists()
