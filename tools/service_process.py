"""Runs one of the five services as a child process: start, health checks, end."""

import http.client
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from draw_api.settings import ApiSettings
from draw_dicomweb.settings import DicomwebSettings
from draw_indexer.settings import IndexerSettings
from draw_qr_worker.settings import QrWorkerSettings
from draw_scp.settings import ScpSettings
from draw_shared.runtime.child_environment import variables
from draw_shared.runtime.settings import PREFIX, ServiceSettings
from tools.processes import end, group_members

PROBE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """The properties of a service before it runs."""

    name: str
    module: str
    settings: type[ServiceSettings]
    http_variable: str
    """Setting that names the port of /livez, /readyz and /metrics."""
    http_port: int
    niceness: int = 0
    """Its niceness; a nicer process gets less CPU when all cores are busy."""


ADDRESSES: Final = ("DATABASE_URL", "BROKER_URL")
"""Settings that may differ for each service."""
KEPT: Final = frozenset({"DRAW_HOME", "DRAW_SUITE"})
"""Variables by which the launcher finds the processes of a home."""
AFTER_RECEIVING: Final = 10
"""Niceness of all services but the receiver; acknowledged objects can wait in the spool folder."""

SERVICES: Final = (
    Service(
        "indexer", "draw_indexer", IndexerSettings, "DRAW_INDEXER_HTTP_PORT", 9102, AFTER_RECEIVING
    ),
    Service("qr-worker", "draw_qr_worker", QrWorkerSettings, "DRAW_QR_WORKER_HTTP_PORT", 9103),
    Service("api", "draw_api", ApiSettings, "DRAW_API_PORT", 8000),
    Service("dicomweb", "draw_dicomweb", DicomwebSettings, "DRAW_DICOMWEB_PORT", 8042),
    Service("scp", "draw_scp", ScpSettings, "DRAW_SCP_HTTP_PORT", 9101),
)
"""The services in starting order; the DICOM port opens last and closes first."""


def giving_way(niceness: int) -> list[str]:
    """Return the prefix that starts a command with this niceness under the same process id."""
    return ["nice", "-n", str(niceness)] if niceness and shutil.which("nice") else []


def own_variable(service: str, setting: str) -> str:
    """Return the variable that sets a value for one service only."""
    return f"{PREFIX}{service.upper().replace('-', '_')}_{setting}"


def own_environment(service: Service, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one service.

    Of the suite's settings it contains those that the service reads, and all with the service's
    own prefix, so that the service can refuse a misspelt one. `DRAW_<SERVICE>_DATABASE_URL` is the
    service's URL of the database, and `DRAW_<SERVICE>_BROKER_URL` that of the broker.
    """
    own = own_variable(service.name, "")
    read = variables(service.settings)
    told = {
        name: value
        for name, value in environment.items()
        if not name.startswith(PREFIX) or name in KEPT or name in read or name.startswith(own)
    }
    for address in ADDRESSES:
        for variable in (address, f"{address}_FILE"):
            as_this_one = told.pop(f"{own}{variable}", "")
            if as_this_one:
                told.pop(f"{PREFIX}{address}_FILE", None)
                told[f"{PREFIX}{variable}"] = as_this_one
    return told


class ServiceProcess:
    """A service that runs as our child process and writes its output to a file.

    Args:
        environment: that of the suite, with the service's HTTP port. Settings of other services
            are not passed on.
        log: the output is appended here; the running service rotates it (`DRAW_LOG_FILE`).
    """

    def __init__(self, service: Service, environment: Mapping[str, str], log: Path) -> None:
        self.service = service
        self.name = service.name
        self.log = log
        self.environment = {**own_environment(service, environment), "DRAW_LOG_FILE": str(log)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the service runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """The exit code after the service has ended."""
        return self._process.poll() if self._process else None

    @property
    def http_port(self) -> int:
        """Port of /livez, /readyz and /metrics."""
        return int(self.environment[self.service.http_variable])

    def running(self) -> bool:
        """Return whether it runs."""
        return self.pid is not None

    def start(self, *, under: Sequence[str] = ()) -> None:
        """Start the service without waiting until it is ready.

        `under` is the command prefix of a program that executes it under the same process id.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *giving_way(self.service.niceness),
                    *under,
                    sys.executable,
                    "-m",
                    self.service.module,
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C of a terminal must reach only the launcher, which stops us in order.
                start_new_session=True,
            )

    def ready(self) -> bool:
        """Return whether /readyz says so."""
        return self.pid is not None and self.answer("/readyz")[0] == HTTPStatus.OK

    def answer(self, path: str) -> tuple[int, str]:
        """Return status and body of a GET on its HTTP port; status 0 without an HTTP answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=PROBE_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def ask_to_stop(self) -> None:
        """Request the service to drain and return at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` and return whether the service has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill the service and its children at once, as kill -9 does."""
        if self._process is not None:
            group = self._process.pid
            self._process.kill()
            self._process.wait()
            end(group_members(group), 0)

    def last_words(self, lines: int = 12) -> str:
        """Return the end of its log."""
        if not self.log.is_file():
            return ""
        return "\n".join(
            self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        )
