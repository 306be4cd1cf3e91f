"""A private RabbitMQ node from the installed `rabbitmq-server`, in a folder of its own.

The node shares nothing with other nodes on the machine. It even has its own port mapper (epmd),
which Erlang would otherwise start in the background and leave behind. Node and port mapper listen
on 127.0.0.1 only; the users' passwords lie in the folder (mode 0600). The user `draw` has all
permissions, and each service has a user with the permissions it needs.

A release of RabbitMQ reads data of the previous release but of no other. Data that the installed
release cannot read is set aside, never deleted, and the node begins empty.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

from draw_shared.messaging.rights import RIGHTS, definitions
from tools.local_postgres import StartFailed
from tools.processes import end, environment, find, free_port, group_members, wait_until

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 7.0
# Debian's /usr/sbin/rabbitmq-server changes to the system's user and folders: not for us.
DEBIAN_PROGRAM: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
MARK: Final = "DRAW_PRIVATE_RABBITMQ"
PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME: Final = 1
STARTING: Final = re.compile(r"Starting RabbitMQ (\d+\.\d+\.\d+)")


def program() -> Path | None:
    """Return the server's start script, if RabbitMQ is installed."""
    if DEBIAN_PROGRAM.is_file():
        return DEBIAN_PROGRAM
    found = shutil.which("rabbitmq-server")
    return Path(found) if found else None


def installed_release() -> str:
    """Return the release of the installed server, as 3.10.8, or "" where it does not tell."""
    script = program()
    plugins = script.resolve().parents[1] / "plugins" if script else Path()
    found = [path.name for path in plugins.glob("rabbit-[0-9]*")]
    return found[0].removeprefix("rabbit-").removesuffix(".ez") if found else ""


class LocalRabbitmq:
    """One RabbitMQ node whose data lies in `folder`.

    Args:
        folder: created if missing; used by this node only.
        management: also serve the management interface, on `management_port`.
    """

    node = "draw@localhost"
    """Its name among Erlang's nodes."""

    def __init__(self, folder: Path, *, management: bool = False) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "rabbitmq.log"
        self.port = 0
        self.management_port = 0
        self.set_aside = ""
        """What the last start has set aside and why, as a sentence; empty if nothing."""
        self._management = management
        self._data = self.folder / "data"
        self._release_file = self.folder / "release"
        self._password_file = self.folder / "password"
        self._ports = {"dist": 0, "epmd": 0}
        self._node: subprocess.Popen[bytes] | None = None
        self._port_mapper: subprocess.Popen[bytes] | None = None

    def url(self, vhost: str = "%2F") -> str:
        """Return the URL of one of its virtual hosts."""
        return f"amqp://draw:{self.password}@127.0.0.1:{self.port}/{vhost}"

    def service_urls(self, vhost: str = "%2F") -> dict[str, str]:
        """Return the URL of a virtual host for each service's own user."""
        return {
            service: f"amqp://{name}:{password}@127.0.0.1:{self.port}/{vhost}"
            for service, (name, password) in self._users().items()
        }

    @property
    def management_url(self) -> str:
        """URL of the management interface, with user and password."""
        return f"http://draw:{self.password}@127.0.0.1:{self.management_port}"

    @property
    def password(self) -> str:
        """Password of the user `draw`."""
        return self._password_file.read_text(encoding="utf-8")

    @property
    def pid(self) -> int | None:
        """The node's process id while it runs."""
        return self._node.pid if self._node and self._node.poll() is None else None

    def running(self) -> bool:
        """Return whether it runs."""
        return self.pid is not None

    def start(self) -> None:
        """Run until `stop`, on the ports of the last start if there was one.

        Raises:
            StartFailed: RabbitMQ is not installed, or the log's last lines say why.
        """
        self.begin()
        self.wait_ready()

    def begin(self) -> None:
        """Start the node and return at once; the caller may do other work meanwhile.

        Raises:
            StartFailed: RabbitMQ is not installed.
        """
        script = program()
        if script is None:
            raise StartFailed(
                "RabbitMQ is not installed: install it (Debian, Ubuntu: "
                "apt-get install rabbitmq-server) or set DRAW_BROKER_URL"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.stop_leftovers()
        self._configure()
        self._port_mapper = self._started_port_mapper()
        self._node = self._run([str(script)])

    def _started_port_mapper(self) -> subprocess.Popen[bytes] | None:
        return self._run(["epmd", "-address", "127.0.0.1", "-port", str(self._ports["epmd"])])

    def wait_ready(self) -> None:
        """Return once it answers, be it without the data of another release.

        Raises:
            StartFailed: the log's last lines say why it does not.
        """
        if not self._came_up():
            self.kill()
            if not self._set_aside_of_another_release():
                raise StartFailed(f"RabbitMQ did not start:\n{self._last_words()}")
            self.begin()
            self.wait_ready()
            return
        self._release_file.write_text(installed_release(), encoding="utf-8")

    def _came_up(self) -> bool:
        wait_until(lambda: self._answers() or not self.running(), START_SECONDS)
        return self.running() and self._answers()

    def _set_aside_of_another_release(self) -> bool:
        """Set aside data that another release has written; return False if there is none."""
        written, installed = self._written_by(), installed_release()
        if not self._data.is_dir() or not written or written == installed:
            return False
        aside = self.folder / f"data-of-{written}"
        number = 1
        while aside.exists():
            number += 1
            aside = self.folder / f"data-of-{written}-{number}"
        self._data.rename(aside)
        self._release_file.unlink(missing_ok=True)
        self.set_aside = (
            f"RabbitMQ {installed} cannot read what {written} has written: that lies in {aside} "
            "now, and the broker begins empty"
        )
        return True

    def _written_by(self) -> str:
        """Return the release that the data was last started with; "" when nothing tells."""
        if self._release_file.is_file():
            return self._release_file.read_text(encoding="utf-8").strip()
        # Homes of a release that kept no record.
        earlier = self.log.with_name(f"{self.log.name}.1")
        texts = [
            path.read_text(encoding="utf-8", errors="replace")
            for path in (earlier, self.log)
            if path.is_file()
        ]
        known = [told for told in STARTING.findall("".join(texts)) if told != installed_release()]
        return known[-1] if known else ""

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End orderly."""
        if self._node is not None:
            end([self._node.pid], seconds)
        self.kill()

    def kill(self) -> None:
        """End at once, as a crash would."""
        for process in (self._node, self._port_mapper):
            if process is not None:
                end(group_members(process.pid), 0, first=signal.SIGKILL)
                process.wait()
        self._node = self._port_mapper = None
        self.stop_leftovers(0)

    def stop_leftovers(self, seconds: float = STOP_SECONDS) -> None:
        """Stop the processes that another launcher left running on this folder."""
        mark = f"{MARK}={self.folder}"
        end(find(lambda pid: mark in environment(pid)), seconds)

    def _configure(self) -> None:
        for file in (self._password_file, *map(self._password_of, RIGHTS)):
            if not file.is_file():
                self._keep(file.name, secrets.token_urlsafe(24))
        self.port = self.port or free_port()
        if self._management:
            self.management_port = self.management_port or free_port()
        self._ports = {name: port or free_port() for name, port in self._ports.items()}
        self._keep("rabbitmq.conf", "\n".join(self._settings()) + "\n")
        self._keep("definitions.json", definitions(("draw", self.password), self._users()))
        plugins = ", ".join(self._plugins())
        (self.folder / "enabled_plugins").write_text(f"[{plugins}].\n", encoding="utf-8")

    def _keep(self, name: str, text: str) -> None:
        """Write a file that only its owner can read."""
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")

    def _password_of(self, service: str) -> Path:
        return self.folder / f"password-of-{service}"

    def _users(self) -> dict[str, tuple[str, str]]:
        """Return the name and the password of each service's user."""
        return {
            service: (
                f"draw_{service.replace('-', '_')}",
                self._password_of(service).read_text(encoding="utf-8"),
            )
            for service in RIGHTS
        }

    def _plugins(self) -> list[str]:
        return ["rabbitmq_management"] if self._management else []

    def _settings(self) -> list[str]:
        """Return the lines of rabbitmq.conf."""
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            # At each start, so that the users are there also when the data is lost.
            f"load_definitions = {self.folder / 'definitions.json'}",
            "disk_free_limit.absolute = 200MB",
        ]
        if self._management:
            lines += [
                "management.tcp.ip = 127.0.0.1",
                f"management.tcp.port = {self.management_port}",
            ]
        return lines

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "DRAW_", "ERL_"))
        }
        return inherited | {
            MARK: str(self.folder),
            # Erlang keeps its cookie in the home folder.
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self._ports["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._ports["dist"]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-kernel inet_dist_use_interface {127,0,0,1}"),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
        }

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
                connection.sendall(PROTOCOL_HEADER)
                answer = connection.recv(1)
        except OSError:
            return False
        return answer == bytes([METHOD_FRAME])

    def _last_words(self) -> str:
        log = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(log.splitlines()[-15:])
