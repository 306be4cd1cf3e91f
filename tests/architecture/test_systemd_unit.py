"""The unit for one machine is one that systemd takes, and keeps the service within bounds.

Not covered: that systemd runs it, which needs a machine of its own.
"""

import subprocess

import pytest

from support.service_finder import ROOT
from tools.settings_page import HANDLER_FOLDERS, settings

UNIT = ROOT / "deploy" / "systemd" / "draw-dicom.service"
HIGHEST_EXPOSURE = 20
"""Tenths of systemd's 0 (nothing is open) to 10."""

pytestmark = pytest.mark.needs("systemd-analyze")


def _analyze(*words):
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_systemd_finds_nothing_wrong(tmp_path):
    here = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    # Where it is installed there are these programs; here they are elsewhere.
    here.write_text(text.replace("/opt/draw-dicom", str(ROOT)), encoding="utf-8")
    done = _analyze("verify", "--recursive-errors=no", "--man=no", str(here))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_may_do_little_else_than_its_work():
    threshold = f"--threshold={HIGHEST_EXPOSURE}"
    done = _analyze("security", "--offline=true", threshold, str(UNIT))
    assert done.returncode == 0, done.stdout


def test_it_names_only_settings_that_there_are():
    known = {"DRAW_HOME", *(setting.variable for setting in settings())}
    given = [
        line.partition("=")[2].partition("=")[0]
        for line in UNIT.read_text(encoding="utf-8").splitlines()
        if line.startswith("Environment=")
    ]
    assert given
    assert set(given) <= known


def test_it_may_write_the_folders_of_other_programs_if_there_are_any():
    assert f"\nReadWritePaths=-{HANDLER_FOLDERS}\n" in UNIT.read_text(encoding="utf-8")
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert f"sudo install -d -o draw -g draw -m 770 {HANDLER_FOLDERS}/" in page


def test_the_page_installs_it_where_it_says():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert f"{UNIT.relative_to(ROOT)} /etc/systemd/system/" in page
