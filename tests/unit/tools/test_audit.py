"""What is known of the locked packages is asked for, and what the suite consists of is told.

Not covered: what OSV and the registry answer now.
"""

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools import audit, sbom

pytestmark = pytest.mark.security


def test_offline_nothing_counts_as_audited_and_nothing_fails(monkeypatch, capsys):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setattr(audit, "NPM_LOCKS", ())
    assert audit.main() == 0
    assert "NOT AUDITED" in capsys.readouterr().out


def test_what_is_found_fails_unless_it_is_accepted(monkeypatch, tmp_path):
    advisory = {"name": "small", "range": "<2", "url": "https://example.org/GHSA-1"}
    told = {"vulnerabilities": {"small": {"via": [advisory, "other"]}}}
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(told)}\nEND\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(audit, "python_findings", lambda _: [])
    assert audit.main() == 1
    monkeypatch.setattr(audit, "accepted", lambda: {"GHSA-1": "never reached"})
    assert audit.main() == 0


def test_the_bill_of_materials_is_valid_and_has_every_pinned_package():
    text = sbom.text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    names = {one["name"] for one in json.loads(text)["components"]}
    lock = (sbom.ROOT / sbom.PYTHON_LOCK).read_text()
    assert {line.split("==")[0] for line in lock.splitlines() if "==" in line} <= names
    assert {"draw-scp", "htmx.org", "uplot"} <= names
    assert "axe-core" not in names
