"""`make run`: the whole suite on this machine, until Ctrl-C or SIGTERM.

The launcher starts PostgreSQL and RabbitMQ (given by URL, else private ones below `$DRAW_HOME`),
then runs the migration, then starts the five services as child processes. One thread starts them,
watches them, restarts those that crash and stops them in reverse order. Only PostgreSQL and
RabbitMQ, which are not needed any more by then, stop in parallel. The first signal stops everything
in order within ten seconds, a second one kills. If the launcher itself is killed, its children keep
running; the next launcher on the same folder ends them before it starts.
"""

import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from draw_dicomweb.models import ROOT as DICOMWEB_ROOT
from draw_shared.contracts.network_variables import NETWORK_VARIABLES
from draw_shared.contracts.server_config import ListeningPort
from draw_shared.contracts.validation_words import problems_of
from draw_shared.errors import DrawError
from tools.first_configuration import DicomAddress, first_configuration, prepare
from tools.first_user import FILE_VARIABLE, VARIABLE, PasswordRefused, create_first, sign_in_words
from tools.given import OWN_ROLES, given_secret, given_to_services, transaction_keys
from tools.home import MARK, Home, HomeInUse, HomeUnusable
from tools.local_postgres import StartFailed
from tools.processes import claim_port, free_port, port_is_free, why_not_bound
from tools.server_log import set_aside
from tools.service_process import SERVICES, ServiceProcess, own_variable

READY_TIMEOUT_SECONDS: Final = 120.0
DRAIN_SECONDS: Final = 5.0
KILL_SECONDS: Final = 6.5
BACKEND_STOP_TIMEOUT_SECONDS: Final = 3.0
WATCH_INTERVAL_SECONDS: Final = 0.25
MIN_RETRY_DELAY_SECONDS: Final = 1.0
MAX_RETRY_DELAY_SECONDS: Final = 30.0
CALM_SECONDS: Final = 60.0
LOG_CHECK_INTERVAL_SECONDS: Final = 5.0
CRASHES_BEFORE_READY: Final = 3
NO_PORT: Final = "listener: "
"""Prefix of the reason in the receiver's `/readyz` if it has no port."""
PORTS: Final = range(1, 65536)
KEPT_HERE: Final = frozenset((*NETWORK_VARIABLES.values(), VARIABLE, FILE_VARIABLE))
"""Settings that are written into the database, which then decides; no service receives them."""
ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not bound


class StopRequested(BaseException):
    """Ctrl-C or SIGTERM came."""


class CannotRun(Exception):
    """The suite cannot run here as things are; the text says what to do."""


@dataclass(slots=True)
class Watched:
    """A process that is restarted when it ends by itself."""

    name: str
    running: Callable[[], bool]
    start: Callable[[], None]
    began: float = field(default_factory=time.monotonic)
    crashes: int = 0
    again_at: float | None = None

    def look(self) -> None:
        """Restart the process if it has ended and its pause is over."""
        now = time.monotonic()
        if self.running():
            if self.crashes and now - self.began > CALM_SECONDS:
                self.crashes = 0
            return
        if self.again_at is None:
            pause = min(MIN_RETRY_DELAY_SECONDS * 2**self.crashes, MAX_RETRY_DELAY_SECONDS)
            self.crashes += 1
            self.again_at = now + pause
            say(f"{self.name} ended unexpectedly, starts again in {pause:.0f} s")
        elif now >= self.again_at:
            self.again_at, self.began = None, now
            try:
                self.start()
            except StartFailed as failure:
                say(str(failure))


class Launcher:
    """One run of the suite in one home."""

    def __init__(self, home: Home, given: Mapping[str, str]) -> None:
        self._home = home
        self._given = given
        self._services: list[ServiceProcess] = []
        self._watched: list[Watched] = []
        self._claims: list[socket.socket] = []
        self._look_at_logs = 0.0

    def run(self) -> NoReturn:
        """Start everything, print the ready line, and watch until a signal comes."""
        self._home.stop_leftovers(DRAIN_SECONDS)
        storage = self._given.get("DRAW_STORAGE_ROOT") or str(self._home.storage)
        Path(storage).mkdir(parents=True, exist_ok=True)
        wanted = first_configuration(self._given).network
        if self._given.get("DRAW_SCP_PORT"):
            self._claim_dicom_port(wanted.host, wanted.port)
        ports = self._free_ports()
        # The slowest comes first: it gets ready beside the rest, and the services wait for it.
        broker_url, broker_urls = self._begin_rabbitmq()
        database_url, service_urls = self._postgres()
        dicom = prepare(database_url, self._given, Path(storage), service_urls=service_urls)
        wanted_ports = {one.port for one in dicom.ports}
        if not self._given.get("DRAW_SCP_PORT") and dicom.port in wanted_ports:
            self._claim_dicom_port(dicom.host, dicom.port)
        create_first(self._home, self._given, database_url)
        keys = transaction_keys(self._home, self._given)
        environment = {
            **{k: v for k, v in os.environ.items() if k not in KEPT_HERE},
            "DRAW_STOP_SECONDS": str(DRAIN_SECONDS),
            "DRAW_SCP_LOOPBACK_READS": "true",
            **{k: v for k, v in self._given.items() if k not in KEPT_HERE},
            **ports,
            **keys,
            MARK: str(self._home.folder),
            "DRAW_HOME": str(self._home.folder),
            "DRAW_STORAGE_ROOT": storage,
            "DRAW_DATABASE_URL": database_url,
            **{own_variable(service, "DATABASE_URL"): url for service, url in service_urls.items()},
            "DRAW_BROKER_URL": broker_url,
            **{own_variable(service, "BROKER_URL"): url for service, url in broker_urls.items()},
            "PYTHONUNBUFFERED": "1",
        }
        for service in SERVICES:
            process = ServiceProcess(service, environment, self._home.log(service.name))
            self._services.append(process)
            process.start()
            self._watch(process.name, process.running, process.start)
        self._wait_for_rabbitmq()
        self._wait_until_ready()
        self._home.show_running(
            {
                **ports,
                **keys,
                "DRAW_STORAGE_ROOT": storage,
                "DRAW_DATABASE_URL": database_url,
                "DRAW_BROKER_URL": broker_url,
            }
        )
        say(self._ready_line(dicom, ports, sign_in_words(self._home, self._given, database_url)))
        while True:
            self._look_after()

    def stop(self) -> None:
        """Drain the services, edge first, then end PostgreSQL and RabbitMQ."""
        deadline = time.monotonic() + KILL_SECONDS
        for process in reversed(self._services):
            process.ask_to_stop()
        for process in reversed(self._services):
            if not process.wait(deadline - time.monotonic()):
                say(f"{process.name} did not stop in time and was killed")
                process.kill()
        # In parallel: each may need all of its time, and the whole stop has ten seconds.
        broker = threading.Thread(
            target=self._home.rabbitmq.stop, args=(BACKEND_STOP_TIMEOUT_SECONDS,)
        )
        broker.start()
        self._home.postgres.stop(BACKEND_STOP_TIMEOUT_SECONDS)
        broker.join()
        self._home.kill_everything()
        for claim in self._claims:
            claim.close()

    def _look_after(self) -> None:
        for watched in self._watched:
            watched.look()
        now = time.monotonic()
        if now >= self._look_at_logs:
            self._look_at_logs = now + LOG_CHECK_INTERVAL_SECONDS
            for server in (self._home.postgres, self._home.rabbitmq):
                set_aside(server.log)
        time.sleep(WATCH_INTERVAL_SECONDS)

    def _watch(self, name: str, running: Callable[[], bool], start: Callable[[], None]) -> None:
        self._watched.append(Watched(name, running, start))

    def _postgres(self) -> tuple[str, dict[str, str]]:
        """Return the database URL of the owner, and those of the services."""
        given = given_secret(self._given, "DRAW_DATABASE_URL")
        if given:
            own = given_to_services(self._given, "DATABASE_URL")
            alike = "" if own else f"; all services share its role ({OWN_ROLES})"
            say(f"PostgreSQL: as given in DRAW_DATABASE_URL{alike}")
            return given, own
        self._home.start_postgres()
        postgres = self._home.postgres
        self._watch("PostgreSQL", postgres.running, postgres.start)
        say(f"PostgreSQL: private, port {postgres.port}, in {postgres.folder}")
        return self._home.owner_url, self._home.service_urls()

    def _begin_rabbitmq(self) -> tuple[str, dict[str, str]]:
        """Return the broker URL of the administrator, and those of the services."""
        given = given_secret(self._given, "DRAW_BROKER_URL")
        if given:
            own = given_to_services(self._given, "BROKER_URL")
            alike = "" if own else f"; all services share its user ({OWN_ROLES})"
            say(f"RabbitMQ: as given in DRAW_BROKER_URL{alike}")
            return given, own
        self._home.rabbitmq.begin()
        return self._home.rabbitmq.url(), self._home.rabbitmq.service_urls()

    def _wait_for_rabbitmq(self) -> None:
        rabbitmq = self._home.rabbitmq
        if rabbitmq.port:
            rabbitmq.wait_ready()
            self._watch("RabbitMQ", rabbitmq.running, rabbitmq.start)
            if rabbitmq.set_aside:
                # Releases before `announced/` kept no record of what the broker had.
                say(
                    f"{rabbitmq.set_aside}; what it held is announced again within a minute, "
                    "what a release before this one announced by "
                    "make shell RUN='draw-admin reconcile --repair'"
                )
            say(f"RabbitMQ: private, port {rabbitmq.port}, in {rabbitmq.folder}")

    def _free_ports(self) -> dict[str, str]:
        """Return the HTTP ports: requested ones must be free, the others are chosen."""
        ports = {}
        for service in SERVICES:
            variable = service.http_variable
            asked = self._given.get(variable)
            port = _port(variable, asked) if asked else service.http_port
            if asked or variable == "DRAW_API_PORT":
                self._claim("127.0.0.1", port, variable)
            elif not self._claimed(port):
                port = free_port()
            ports[variable] = str(port)
        return ports

    def _claimed(self, port: int) -> bool:
        claim = claim_port(port) if port_is_free("127.0.0.1", port) else None
        if claim is not None:
            self._claims.append(claim)
        return claim is not None

    def _claim_dicom_port(self, host: str, port: int) -> None:
        self._claim(host, port, "DRAW_SCP_PORT")

    def _claim(self, host: str, port: int, variable: str) -> None:
        error = why_not_bound(host, port)
        if error is not None:
            raise CannotRun(_cannot_listen(error, host, port, variable))
        claim = claim_port(port)
        if claim is None:
            raise CannotRun(_in_use(port, variable))
        self._claims.append(claim)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        waiting = list(self._services)
        while waiting:
            self._look_after()
            waiting = [one for one in waiting if not one.ready() and not _no_port(one)]
            crashed = [w.name for w in self._watched if w.crashes >= CRASHES_BEFORE_READY]
            for process in waiting:
                if process.name in crashed or time.monotonic() > deadline:
                    reason = process.answer("/readyz")[1].strip() or "it does not answer"
                    raise CannotRun(
                        f"{process.name} is not ready ({reason}); "
                        f"the end of {process.log}:\n{process.last_words()}"
                    )

    def _ready_line(self, dicom: DicomAddress, ports: Mapping[str, str], sign_in: str) -> str:
        host = _reached(dicom.host)
        bound = [one for one in dicom.ports if not port_is_free(dicom.host, one.port)]
        told = f"DICOM {dicom.ae_title} {_places(dicom.ports, bound, host)}"
        without_port = [why for why in map(_no_port, self._services) if why]
        if without_port:
            told = f"no DICOM, the receiver {dicom.ae_title} is {without_port[0]}"
        elif not bound:
            told = f"no DICOM, the receiver {dicom.ae_title} is stopped (page, Dashboard: Start)"
        web = _reached(self._given.get("DRAW_API_HOST", ""))
        dicomweb = _reached(self._given.get("DRAW_DICOMWEB_HOST", ""))
        return (
            f"ready: {told}, web http://{web}:{ports['DRAW_API_PORT']}, {sign_in}, "
            f"dicomweb http://{dicomweb}:{ports['DRAW_DICOMWEB_PORT']}{DICOMWEB_ROOT}"
        )


def _reached(host: str) -> str:
    """Return the address by which this machine reaches who listens at `host`."""
    return "127.0.0.1" if host in ANY_ADDRESS else host


def _places(wanted: Sequence[ListeningPort], bound: Sequence[ListeningPort], host: str) -> str:
    """Return the addresses on which associations are accepted now, and those still closed."""

    def words(ports: Iterable[ListeningPort]) -> str:
        return " and ".join(f"{'with TLS ' if p.tls else ''}at {host}:{p.port}" for p in ports)

    missing = [one for one in wanted if one not in bound]
    return f"{words(bound)}, not {words(missing)} (page, Dashboard)" if missing else words(bound)


def _no_port(process: ServiceProcess) -> str:
    """Return why an otherwise ready receiver cannot listen; the operator repairs it on the page."""
    return process.answer("/readyz")[1].strip().partition(NO_PORT)[2]


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def _port(variable: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) in PORTS):
        raise CannotRun(f"{variable} is {text}: a port is a number from 1 to 65535")
    return int(text)


def _cannot_listen(error: OSError, host: str, port: int, variable: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return _in_use(port, variable)
    if error.errno == errno.EACCES:
        return (
            f"port {port} is for root or the capability CAP_NET_BIND_SERVICE: choose one above "
            f"1023, as in {variable}={free_port()} make run"
        )
    return f"nobody can listen at {host}:{port}: {error.strerror}"


def _wrong_settings(error: ValidationError) -> str:
    return "; ".join(
        f"{NETWORK_VARIABLES.get(problem.field, problem.field)} {problem.message}"
        for problem in problems_of(error.errors())
    )


def _in_use(port: int, variable: str) -> str:
    return (
        f"port {port} is in use by another program: stop it, or choose another port, "
        f"as in {variable}={free_port()} make run"
    )


def _on_first_signal(_number: int, _frame: FrameType | None) -> None:
    raise StopRequested


def _force(home: Home) -> Callable[[int, FrameType | None], None]:
    def on_further_signal(_number: int, _frame: FrameType | None) -> None:
        home.kill_everything()
        os._exit(1)

    return on_further_signal


def _handle_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def main(given: Mapping[str, str]) -> int:
    """Run the suite and return the exit code."""
    # The home has objects, logs, databases and passwords, which belong to this user alone.
    os.umask(0o077)
    try:
        home = Home(Path(given.get("DRAW_HOME") or "var"))
    except HomeInUse as reason:
        say(f"cannot run: {reason}; stop it, or set another DRAW_HOME")
        return 1
    except HomeUnusable as reason:
        say(f"cannot run: {reason}; set another DRAW_HOME, or let this user write there")
        return 1
    launcher = Launcher(home, given)
    _handle_signals(_on_first_signal)
    code = 0
    try:
        launcher.run()
    except StopRequested:
        say("stopping")
    except ValidationError as reason:
        say(f"cannot run: {_wrong_settings(reason)}")
        code = 1
    except OSError as reason:
        say(f"cannot run: {reason.filename or 'this machine'}: {reason.strerror or reason}")
        code = 1
    except (CannotRun, PasswordRefused, StartFailed, DrawError, SQLAlchemyError) as reason:
        say(f"cannot run: {reason}")
        code = 1
    finally:
        _handle_signals(_force(home))
        launcher.stop()
        home.release()
    say("stopped")
    return code


if __name__ == "__main__":
    sys.exit(main({name: os.environ[name] for name in os.environ if name.startswith("DRAW_")}))
