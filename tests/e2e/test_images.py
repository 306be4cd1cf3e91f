"""The four images, built step by step from their Dockerfiles, and started.

Not covered: the base image itself and an engine's build.
"""

import re
import signal
import time
from pathlib import Path

import pytest

from support import image_build
from support.image_build import asked, started
from tools.processes import free_port
from tools.service_process import SERVICES

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
VERSION = "7.8.9"
SECONDS = 40

services = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The last stage of each service's image."""
    if not image_build.possible():
        pytest.skip("mount namespaces are not allowed here")
    folder = tmp_path_factory.mktemp("images")
    names = [service.name for service in SERVICES]
    return image_build.build_all(names, ROOT, folder, VERSION=VERSION)


@pytest.fixture
def image(images, service):
    """The image of the service that a test is about."""
    return images[service.name]


@services
def test_the_image_has_the_service_and_nothing_it_does_not_declare(image, service):
    code = (
        "import importlib.metadata as m, os, draw_shared, pydicom\n"
        f"import {service.module} as s\n"
        f"print(s.__file__, draw_shared.__file__, m.version('draw-{service.name}'))\n"
        "print(*(d.metadata['Name'] for d in m.distributions()))\n"
        "print(*(os.path.exists(each.__cached__) for each in (s, draw_shared, pydicom)))\n"
    )
    lines = asked(image, ["python", "-c", code]).stdout.splitlines()
    site = "/opt/draw/lib/python3"
    found, shared, version = lines[0].split()
    assert found.startswith(site)
    assert shared.startswith(site)
    assert version == VERSION
    lock = (ROOT / "services" / service.name / "requirements.lock").read_text(encoding="utf-8")
    declared = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    installed = {re.sub(r"[-_.]+", "-", name).lower() for name in lines[1].split()}
    ours = {"draw-shared", f"draw-{service.name}"}
    assert ours <= installed <= declared | ours
    assert lines[2].split() == ["True"] * 3, "compiled when it was built"


@services
def test_nobody_may_write_outside_the_storage(image):
    paths = ["/opt/draw/x", "/etc/x", "/x", "/var/lib/x", image.environment["DRAW_STORAGE_ROOT"]]
    code = f"import os; print(os.getuid(), [os.access(os.path.dirname(p), 2) for p in {paths}])"
    assert asked(image, ["python", "-c", code]).stdout.strip() == f"10001 {[False] * 5}"
    code = "import os; print(os.access(os.environ['DRAW_STORAGE_ROOT'], os.W_OK))"
    assert asked(image, ["python", "-c", code]).stdout.strip() == "True"


@services
def test_it_starts_says_that_it_lives_and_drains_on_sigterm(image, service):
    given = {
        service.http_variable: str(free_port()),
        # Neither answers: a service starts without them, and waits.
        "DRAW_DATABASE_URL": f"postgresql://draw@127.0.0.1:{free_port()}/draw",
        "DRAW_BROKER_URL": f"amqp://127.0.0.1:{free_port()}/",
    }
    if service.name == "scp":
        given |= {"DRAW_SCP_PORT": str(free_port()), "DRAW_SCP_HOST": "127.0.0.1"}
    process = started(image, image.command, **given)
    try:
        deadline = time.monotonic() + SECONDS
        while asked(image, image.health, **given).returncode and time.monotonic() < deadline:
            time.sleep(0.2)
        assert asked(image, image.health, **given).returncode == 0
        # The namespace's shell has become the service: the exec form passes the signal on.
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert '"event": "service.stopped"' in said


def test_the_api_s_image_has_the_page_with_its_libraries_and_the_migrations(images):
    code = (
        "import draw_api, draw_shared, pathlib as p\n"
        "page = p.Path(draw_api.__file__).parent\n"
        "print(*sorted(f.name for f in (page / 'static/vendor').iterdir()))\n"
        "print(bool(list(page.rglob('*.jinja'))))\n"
        "print(bool(list(p.Path(draw_shared.__file__).parent.glob('db/migrations/versions/0001*'))))"
    )
    lines = asked(images["api"], ["python", "-c", code]).stdout.splitlines()
    assert lines == ["htmx.min.js uPlot.iife.min.js uPlot.min.css", "True", "True"]
