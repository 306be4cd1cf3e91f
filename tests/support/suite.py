"""Runs the real services as processes, with ports, database, vhost and storage of their own."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
from sqlalchemy import Engine, create_engine, make_url, text

from draw_dicomweb.models import ROOT
from draw_shared.db.session import sqlalchemy_url
from support import service_finder
from support.waiting import wait_until
from tools.first_configuration import prepare
from tools.processes import free_port
from tools.service_process import SERVICES, ServiceProcess, own_variable

ADMIN_PASSWORD = "correct horse battery staple"
ROLE_PASSWORD = "a-role-of-the-tests"
READY_SECONDS = 90.0
STOP_SECONDS = 15.0
ON_DEMAND = frozenset({"dicomweb"})
"""Services that are started only by name: few tests need them, and each start costs its time."""
IN_FORCE = "draw_service_config_version"
AE_TITLE = "DRAW_SCP"


class NotReady(Exception):
    """A service did not get ready; the text has the end of its log."""


class Suite:
    """The five services, each started, killed and stopped by its name.

    Args:
        folder: holds the storage volume and the logs.
        environment: further settings, for all services.
    """

    def __init__(self, folder: Path, database_url: str, broker_url: str, **environment: str):
        self.folder = folder
        self.storage = folder / "storage"
        self.storage.mkdir(parents=True, exist_ok=True)
        self.database_url = database_url
        self.broker_url = broker_url
        self.dicom_port = free_port()
        self.broker_urls: dict[str, str] = {}
        """By service, the broker as its own user reaches it; default: as this test run knows."""
        self.addresses: dict[str, str] = {}
        """By variable, where each service connects as a user of its own; once it is seeded."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRAW_")}
        self.environment = {
            **inherited,
            "DRAW_HOME": str(folder),
            "DRAW_STORAGE_ROOT": str(self.storage),
            "DRAW_DATABASE_URL": database_url,
            "DRAW_BROKER_URL": broker_url,
            "DRAW_SCP_PORT": str(self.dicom_port),
            "DRAW_SCP_LOOPBACK_READS": "true",
            "DRAW_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "PYTHONUNBUFFERED": "1",
            **{service.http_variable: str(free_port()) for service in SERVICES},
            **environment,
        }
        # Kept open: who waits for a row looks fifty times a second. After an outage it is another.
        self._engine = create_engine(sqlalchemy_url(database_url), pool_pre_ping=True)
        self.services = {
            service.name: ServiceProcess(
                service, self.environment, folder / "logs" / f"{service.name}.log"
            )
            for service in SERVICES
        }

    def seed(self) -> None:
        """Migrate the database and give it the configuration with everything on.

        Services that start from now on have roles of their own.
        """
        urls = service_urls(self.database_url)
        prepare(
            self.database_url,
            self.environment,
            self.storage,
            admin_url=self.database_url,
            service_urls=urls,
        )
        brokers = self.broker_urls or service_finder.own_users(self.broker_url)
        for address, known in (("DATABASE_URL", urls), ("BROKER_URL", brokers)):
            self.addresses |= {own_variable(name, address): url for name, url in known.items()}
            for process in self.services.values():
                if process.service.name in known:
                    process.environment[f"DRAW_{address}"] = known[process.service.name]

    def start(self, *names: str) -> None:
        """Start these services, or all but those on demand, and wait until they are ready."""
        usual = [name for name in self.services if name not in ON_DEMAND]
        chosen = [self.services[name] for name in names or usual]
        for process in chosen:
            process.start()
        for process in chosen:
            self.wait_ready(process.name)

    def wait_ready(self, name: str, seconds: float = READY_SECONDS) -> None:
        """Return once /readyz of this service says so."""
        process = self.services[name]
        wait_until(lambda: process.ready() or not process.running(), seconds)
        if not process.ready():
            reason = process.answer("/readyz")[1].strip() or f"exit code {process.exit_code}"
            raise NotReady(f"{name}: {reason}\n{process.last_words(30)}")

    def kill(self, name: str) -> None:
        """End this service as kill -9 does."""
        self.services[name].kill()

    def stop(self, name: str) -> int | None:
        """Drain this service and return its exit code."""
        process = self.services[name]
        process.ask_to_stop()
        if not process.wait(STOP_SECONDS):
            process.kill()
        return process.exit_code

    def end(self) -> None:
        """Stop all that run, together."""
        for process in self.services.values():
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.services.values():
            if not process.wait(deadline - time.monotonic()):
                process.kill()
        self._engine.dispose()

    def log(self, name: str) -> str:
        """Return what this service has written."""
        log = self.services[name].log
        # One that starts on demand may not have.
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    @property
    def web_url(self) -> str:
        """Where the API listens."""
        return f"http://127.0.0.1:{self.services['api'].http_port}"

    @property
    def dicomweb_url(self) -> str:
        """Where DICOMweb begins, once its service is started."""
        return f"http://127.0.0.1:{self.services['dicomweb'].http_port}{ROOT}"

    def rows(self, statement: str, **values) -> list[dict]:
        """Return what a query finds in the suite's database."""
        return rows_in(self._engine, statement, values)

    def execute(self, statements: str) -> None:
        """Run SQL in the suite's database, as a test that watches it from inside needs."""
        with self._engine.begin() as connection:
            connection.execute(text(statements))

    def wait_for_rows(self, count: int, statement: str, seconds: float, **values) -> list[dict]:
        """Return the rows once there are `count`, or as many as there are after `seconds`."""
        found: list[dict] = []

        def enough() -> bool:
            found[:] = self.rows(statement, **values)
            return len(found) >= count

        wait_until(enough, seconds)
        return found


def service_urls(database_url: str) -> dict[str, str]:
    """Return, by service, a database as the service's own role reaches it."""
    return {
        service.name: as_role(database_url, f"draw_test_{service.name.replace('-', '_')}")
        for service in SERVICES
    }


def as_role(database_url: str, role: str, password: str = ROLE_PASSWORD) -> str:
    """Return the URL of a database for another role."""
    url = make_url(database_url).set(username=role, password=password)
    return url.render_as_string(hide_password=False)


def rows(database_url: str, statement: str, **values) -> list[dict]:
    """Return what a query finds in a database."""
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        return rows_in(engine, statement, values)
    finally:
        engine.dispose()


def rows_in(engine: Engine, statement: str, values: dict) -> list[dict]:
    """Return what a query finds over a connection that may be kept."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(statement), values).mappings()]


@contextmanager
def signed_in(web_url: str, name: str = "admin", password: str = ADMIN_PASSWORD):
    """Yield an HTTP client with a session of this user."""
    with httpx.Client(base_url=web_url, timeout=60) as client:
        answer = client.post("/api/v1/session", json={"name": name, "password": password})
        answer.raise_for_status()
        client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        yield client


def set_config(suite: Suite, **sections: dict) -> None:
    """Change fields of the configuration, as the administrator that `suite.admin` is."""
    tag = suite.admin.get("/api/v1/config").headers["ETag"]
    answer = suite.admin.patch("/api/v1/config", json=sections, headers={"If-Match": tag})
    answer.raise_for_status()


def set_receiver_config(suite: Suite, **sections: dict) -> None:
    """Change fields of the configuration, and return once the receiver goes by them."""
    set_config(suite, **sections)
    version = float(suite.admin.get("/api/v1/config").json()["version"])
    assert wait_until(lambda: _version_in_force(suite) == version, 60)


def _version_in_force(suite: Suite) -> float:
    lines = suite.services["scp"].answer("/metrics")[1].splitlines()
    return max((float(line.split()[-1]) for line in lines if line.startswith(IN_FORCE)), default=0)


def draw_admin(suite: Suite, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess:
    """Run `draw-admin` beside the suite's services."""
    return subprocess.run(
        [sys.executable, "-m", "draw_api.admin", *words],
        env=suite.environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def all_pages(client: httpx.Client, path: str, **parameters) -> list[dict]:
    """Return the items of every page of a listing."""
    found = []
    cursor = None
    while True:
        asked = parameters | ({"cursor": cursor} if cursor else {})
        page = client.get(path, params=asked).raise_for_status().json()
        found += page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return found


def listens(port: int) -> bool:
    """Return whether somebody listens on a local port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
