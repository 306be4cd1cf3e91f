"""The images of receiver and API, built step by step from their Dockerfiles, and started.

Not covered: the base image itself and an engine's build; the images of the other services
differ in names and ports only (tests/architecture/test_dockerfiles.py holds them to it).
"""

import signal
import time
from pathlib import Path

import pytest

from support import image_build
from support.image_build import ImageBuild, asked, started
from tools.processes import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
VERSION = "7.8.9"
SECONDS = 20


def _built(service, folder):
    if not image_build.possible():
        pytest.skip("mount namespaces are not allowed here")
    return ImageBuild(ROOT / f"services/{service}/Dockerfile", ROOT, folder, VERSION=VERSION).run()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The last stage of the receiver's image."""
    return _built("scp", tmp_path_factory.mktemp("image"))


def test_the_image_has_the_service_and_nothing_it_does_not_declare(image):
    code = (
        "import importlib.util as i, importlib.metadata as m, draw_scp, draw_shared\n"
        "print(draw_scp.__file__, draw_shared.__file__, m.version('draw-scp'))\n"
        "print([n for n in ('draw_api', 'draw_indexer', 'fastapi', 'pytest', 'pip', 'hatchling')"
        " if i.find_spec(n)])"
    )
    lines = asked(image, ["python", "-c", code]).stdout.splitlines()
    site = "/opt/draw/lib/python3"
    service, shared, version = lines[0].split()
    assert service.startswith(site)
    assert shared.startswith(site)
    assert version == VERSION
    assert lines[1] == "[]"


def test_nobody_may_write_outside_the_storage(image):
    paths = ["/opt/draw/x", "/etc/x", "/x", "/var/lib/x", image.environment["DRAW_STORAGE_ROOT"]]
    code = f"import os; print(os.getuid(), [os.access(os.path.dirname(p), 2) for p in {paths}])"
    assert asked(image, ["python", "-c", code]).stdout.strip() == f"10001 {[False] * 5}"
    code = "import os; print(os.access(os.environ['DRAW_STORAGE_ROOT'], os.W_OK))"
    assert asked(image, ["python", "-c", code]).stdout.strip() == "True"


def test_it_starts_says_that_it_is_healthy_and_drains_on_sigterm(image):
    given = {
        "DRAW_SCP_HTTP_PORT": str(free_port()),
        "DRAW_SCP_PORT": str(free_port()),
        "DRAW_SCP_HOST": "127.0.0.1",
        # Neither answers: a receiver starts and receives without them.
        "DRAW_DATABASE_URL": f"postgresql://draw@127.0.0.1:{free_port()}/draw",
        "DRAW_BROKER_URL": f"amqp://127.0.0.1:{free_port()}/",
    }
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


def test_the_api_s_image_has_the_page_with_its_libraries_and_the_migrations(tmp_path):
    image = _built("api", tmp_path)
    code = (
        "import draw_api, draw_shared, pathlib as p\n"
        "page = p.Path(draw_api.__file__).parent\n"
        "print(*sorted(f.name for f in (page / 'static/vendor').iterdir()))\n"
        "print(bool(list(page.rglob('*.jinja'))))\n"
        "print(bool(list(p.Path(draw_shared.__file__).parent.glob('db/migrations/versions/0001*'))))"
    )
    lines = asked(image, ["python", "-c", code]).stdout.splitlines()
    assert lines == ["htmx.min.js uPlot.iife.min.js uPlot.min.css", "True", "True"]
