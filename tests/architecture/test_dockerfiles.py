"""The images keep the rules that make them small, repeatable and harmless.

Not covered: that an engine builds them; tests/e2e/test_images.py carries out the steps.
"""

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.image_build import assignments, instructions
from tools.service_process import SERVICES
from tools.settings_page import HANDLER_FOLDERS

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["dependencies", "package", "runtime"]

services = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


def _file(service):
    return ROOT / "services" / service.name / "Dockerfile"


def _stages(service):
    """Return the instructions of each stage by its name."""
    stages = {}
    for instruction in instructions(_file(service)):
        if instruction.name == "FROM":
            current = stages.setdefault(instruction.value.partition(" AS ")[2], [])
        elif stages:
            current.append(instruction)
    return stages


def _values(stage, name):
    return [i.value for i in stage if i.name == name]


@services
def test_hadolint_has_nothing_to_say(service):
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, _file(service)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@services
def test_three_named_stages_end_in_a_clean_one(service):
    stages = _stages(service)
    assert [name for name in stages if name in STAGES] == STAGES
    copied = [i.value for i in stages["runtime"] if i.name == "COPY"]
    assert copied == ["--from=package /opt/draw /opt/draw"]


@services
def test_dependencies_come_from_the_service_s_own_lock_and_before_the_code(service):
    stage = _stages(service)["dependencies"]
    assert _values(stage, "COPY") == [
        "requirements-build.lock /build/",
        f"services/{service.name}/requirements.lock /build/dependencies.lock",
    ]
    for install in _values(stage, "RUN"):
        assert "--require-hashes" in install
        assert "--only-binary :all:" in install


@services
def test_only_shared_and_the_one_service_get_in_and_not_editable(service):
    stage = _stages(service)["package"]
    code = [value.split()[0] for value in _values(stage, "COPY") if "--from=assets" not in value]
    assert code == ["shared", f"services/{service.name}"]
    built = " ".join(_values(stage, "RUN"))
    assert "--no-build-isolation" in built
    assert "SETUPTOOLS_SCM_PRETEND_VERSION" in built
    assert not re.search(r"(^|\s)(-e|--editable)\s", built)


def test_the_page_s_libraries_come_from_npm_as_locked():
    stages = _stages(next(service for service in SERVICES if service.name == "api"))
    assert "npm ci" in _values(stages["assets"], "RUN")[0]
    [copied] = [v for v in _values(stages["package"], "COPY") if v.startswith("--from=assets")]
    build = runpy.run_path(str(ROOT / "services/api/web/build.py"))
    files = [word.removeprefix("/web/node_modules/") for word in copied.split()[1:-1]]
    assert files == list(build["SERVED"])
    target = copied.split()[-1].removeprefix("/build/").rstrip("/")
    assert ROOT / target == build["VENDOR"]


@services
def test_it_runs_as_nobody_in_exec_form_with_a_health_check(service):
    stage = _stages(service)["runtime"]
    order = [i.name for i in stage]
    assert _values(stage, "USER") == ["10001:10001"]
    assert order.index("USER") > max(n for n, name in enumerate(order) if name in {"RUN", "COPY"})
    assert _values(stage, "CMD") == [f'["python", "-m", "{service.module}"]']
    [health] = _values(stage, "HEALTHCHECK")
    assert "/livez" in health
    assert service.http_variable in health
    environment = assignments(" ".join(_values(stage, "ENV")))
    assert environment[service.http_variable] == str(service.http_port)


@services
def test_a_new_volume_belongs_to_the_user_that_the_service_runs_as(service):
    folders = ["/var/lib/draw", *([HANDLER_FOLDERS] if service.name == "qr-worker" else [])]
    [made] = [r for r in _values(_stages(service)["runtime"], "RUN") if "useradd" in r]
    assert made.endswith(f"install --directory --owner draw --group draw {' '.join(folders)}")


@services
def test_no_secret_is_built_in(service):
    for stage in _stages(service).values():
        for value in _values(stage, "ARG") + _values(stage, "ENV"):
            assert not re.search(r"PASSWORD|TOKEN|SECRET|_URL", value)


def _pins(lock):
    """Return names with versions; where one is needed may differ from service to service."""
    lines = (line for line in lock.splitlines() if line[:1].isalnum() and "==" in line)
    return {re.split(r"[ ;\\]", line)[0] for line in lines}


def _names(text):
    """Return the distributions that a lock pins."""
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, re.MULTILINE))


@services
def test_the_service_s_lock_pins_what_it_declares_at_the_suite_s_versions(service):
    folder = ROOT / "services" / service.name
    lock = (folder / "requirements.lock").read_text(encoding="utf-8")
    whole = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert _pins(lock) <= _pins(whole)
    for manifest in (folder / "pyproject.toml", ROOT / "shared" / "pyproject.toml"):
        declared = tomllib.loads(manifest.read_text(encoding="utf-8"))["project"]["dependencies"]
        names = {re.split(r"[\[<>=!~ ]", word)[0] for word in declared} - {"draw-shared"}
        assert names <= _names(lock)


def test_nothing_but_code_reaches_the_build():
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert rules[1] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {
        "!shared",
        "!services",
        "!requirements-build.lock",
    }
