"""The tree keeps its own rules: import contracts, generated pages, size of modules."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tools import generate_docs

ROOT = Path(__file__).resolve().parents[2]
MAX_MODULE_LINES = 600
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


PACKAGES = (
    "shared", "services/scp", "services/indexer", "services/qr-worker", "services/dicomweb",
    "services/api",
)  # fmt: skip
PLANTED = {
    "Services stand on shared": ("shared", "draw_shared/errors.py", "draw_scp.settings"),
    "Every service must have": ("services/scp", "draw_scp/adapters/__init__.py", "draw_scp.app"),
    "Routes, handlers and use cases": (
        "services/api",
        "draw_api/handlers/rest/__init__.py",
        "draw_api.adapters.zip_stream",
    ),
    "Shared must have floors": ("shared", "draw_shared/contracts/job.py", "draw_shared.db.tables"),
    "The rooms of DICOM": (
        "shared",
        "draw_shared/dicom/encoding/vrs.py",
        "draw_shared.dicom.network.wire",
    ),
    "Encoding and associations": (
        "shared",
        "draw_shared/dicom/network/limits.py",
        "draw_shared.contracts.replicas",
    ),
    "Contracts and use cases": ("services/indexer", "draw_indexer/services/__init__.py", "psycopg"),
    "DICOM rules": ("shared", "draw_shared/dicom/encoding/uids.py", "pika"),
    "REST and web": ("services/api", "draw_api/handlers/web/__init__.py", "draw_api.handlers.rest"),
}
"""By the beginning of a contract's name, an import that breaks it: where it stands, and of what."""


CALLERS = [
    (f"services/{service}", f"draw_{service.replace('-', '_')}.{floor}")
    for service in ("scp", "indexer", "qr-worker", "dicomweb", "api")
    for floor in ("handlers", "services")
]
"""Packages that must know ports, and no adapters."""


def test_every_import_contract_can_be_broken(tmp_path):
    copies = {}
    for place in PACKAGES:
        copies[place] = tmp_path / place
        shutil.copytree(
            ROOT / place / "src", copies[place], ignore=shutil.ignore_patterns("__pycache__")
        )
    for place, module, imported in PLANTED.values():
        with (copies[place] / module).open("a", encoding="utf-8") as file:
            file.write(f"\nimport {imported}\n")
    for place, package in CALLERS:
        with (copies[place] / package.replace(".", "/") / "__init__.py").open("a") as file:
            file.write(f"\nimport {package.partition('.')[0]}.adapters\n")
    shutil.copy(ROOT / ".importlinter", tmp_path)
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join(map(str, copies.values())), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    broken = [line for line in done.stdout.splitlines() if line.endswith(" BROKEN")]
    missed = {name for name in PLANTED if not any(line.startswith(name) for line in broken)}
    assert (missed, len(broken)) == (set(), len(PLANTED)), done.stdout + done.stderr
    for _, package in CALLERS:
        adapters = f"{package.partition('.')[0]}.adapters"
        assert f"{package} is not allowed to import {adapters}" in done.stdout


def test_generated_pages_are_what_the_code_says():
    assert generate_docs.differing() == []


def _modules():
    for folder in ("shared/src", "services", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            if str(path.relative_to(ROOT)) not in LONGER:
                yield path


def test_no_module_is_longer_than_600_lines():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _modules()}
    assert {path: number for path, number in lines.items() if number > MAX_MODULE_LINES} == {}


def test_no_module_has_a_name_that_says_nothing():
    vague = {"utils", "helpers", "common", "manager", "base", "misc"}
    assert [path for path in _modules() if path.stem in vague] == []


def test_no_class_name_stands_for_two_things():
    found = Counter(
        node.name
        for folder in ("shared/src", *(f"{place}/src" for place in PACKAGES[1:]))
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert len(found) > 1000
    assert [name for name, number in found.items() if number > 1] == []


def test_a_port_is_documented_once():
    doubled = [
        f"{path}: {method.name}"
        for place in PACKAGES[1:]
        for path in (ROOT / place / "src").rglob("adapters/*.py")
        for made in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(made, ast.ClassDef)
        for method in made.body
        if isinstance(method, ast.FunctionDef)
        and any(isinstance(d, ast.Name) and d.id == "override" for d in method.decorator_list)
        and ast.get_docstring(method)
    ]
    assert doubled == []


def test_no_limit_or_time_is_named_in_two_ways():
    named = re.compile(
        r"^(MOST|LONGEST|LARGEST|LEAST|SMALLEST|SHORTEST|HIGHEST)_?\w+", re.MULTILINE
    )
    found = {path: named.findall(path.read_text(encoding="utf-8")) for path in _modules()}
    assert {path: names for path, names in found.items() if names} == {}


def test_every_exception_still_exists_and_is_needed():
    for name in LONGER:
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) > MAX_MODULE_LINES


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
