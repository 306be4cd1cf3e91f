"""`$DRAW_HOME`: the folder of one suite on this machine, used by one launcher at a time."""

import fcntl
import json
import os
import secrets
import signal
from pathlib import Path
from typing import Final, TextIO

from draw_shared.db import roles
from tools.local_postgres import LocalPostgres
from tools.local_rabbitmq import LocalRabbitmq
from tools.processes import end, environment, find

DATABASE: Final = "draw"
OWNER: Final = "draw_owner"
"""The role that owns and migrates the tables, also used by `make shell`."""
ROLES: Final = {
    service: f"draw_{service.replace('-', '_')}"
    for service in ("scp", "indexer", "qr-worker", "dicomweb", "api")
}
MARK = "DRAW_SUITE"
"""Environment variable that tells the home of a child process."""


class HomeInUse(Exception):
    """Another launcher works in this folder."""


class HomeUnusable(Exception):
    """The home cannot be created or written; the text says where and why."""


class Home:
    """The paths of one suite, and its private servers and secrets.

    Raises:
        HomeInUse: the launcher that the text names uses the home.
        HomeUnusable: the home cannot be created or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        try:
            made = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            # A folder from before the first launcher belongs to the user.
            if made or self._lock_file.exists():
                self.folder.chmod(0o700)
            self._lock = self._locked()
        except OSError as error:
            raise HomeUnusable(f"{error.filename or self.folder}: {error.strerror}") from error
        self.postgres = LocalPostgres(self.folder / "postgres")
        self.rabbitmq = LocalRabbitmq(self.folder / "rabbitmq")

    @property
    def owner_url(self) -> str:
        """URL of the private database for the role that owns the tables."""
        return self.postgres.url_as(OWNER, DATABASE)

    def service_urls(self) -> dict[str, str]:
        """URL of the private database for each service."""
        return {service: self.postgres.url_as(role, DATABASE) for service, role in ROLES.items()}

    def start_postgres(self) -> None:
        """Start the private PostgreSQL with the suite's database and roles.

        Raises:
            StartFailed: the log's last lines say why.
        """
        self.postgres.start()
        self.postgres.create_database(DATABASE)
        urls = self.service_urls()
        roles.establish(self.postgres.url(DATABASE), self.owner_url, tuple(urls.values()))

    def log(self, service: str) -> Path:
        """Return the file of a service's output."""
        return self.folder / "logs" / f"{service}.log"

    @property
    def storage(self) -> Path:
        """The default folder of the storage volume."""
        return self.folder / "storage"

    @property
    def password_file(self) -> Path:
        """The file of the first user's password, if it was generated."""
        return self.folder / "admin-password"

    @property
    def transaction_keys_file(self) -> Path:
        """The file of the transaction log's key, if it was generated."""
        return self.folder / "transaction-keys"

    def make_password(self) -> None:
        """Generate the first user's password, readable by its owner only, unless it exists."""
        _keep_secret(self.password_file, secrets.token_urlsafe(15))

    def make_transaction_keys(self) -> None:
        """Generate a key for the transaction log, readable by its owner only, unless it exists."""
        _keep_secret(self.transaction_keys_file, secrets.token_hex(32))

    def show_running(self, addresses: dict[str, str]) -> None:
        """Write the addresses, with passwords, by which `make shell` and `make demo` find us."""
        fresh = self._running_file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(addresses), encoding="utf-8")
        fresh.rename(self._running_file)

    @property
    def _running_file(self) -> Path:
        return running_file(self.folder)

    @property
    def _lock_file(self) -> Path:
        return self.folder / "launcher.lock"

    def stop_leftovers(self, seconds: float) -> None:
        """Stop the processes that a killed launcher has left running."""
        end(self._services(), seconds)
        self.postgres.stop_leftovers()
        self.rabbitmq.stop_leftovers(seconds)

    def kill_everything(self) -> None:
        """End every process of this home at once."""
        end(self._services(), 0, first=signal.SIGKILL)
        self.rabbitmq.kill()
        self.postgres.kill()
        self.postgres.stop_leftovers()

    def release(self) -> None:
        """Release the home for other launchers."""
        self._running_file.unlink(missing_ok=True)
        self._lock.close()

    def _services(self) -> list[int]:
        mark = f"{MARK}={self.folder}"
        return find(lambda pid: mark in environment(pid))

    def _locked(self) -> TextIO:
        # The lock ends with its process, even if that is killed; the text in it may be stale.
        lock = self._lock_file.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise HomeInUse(f"{self.folder} is in use by process {holder}") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock


def _keep_secret(path: Path, secret: str) -> None:
    if not path.is_file():
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secret + "\n")


def running_file(folder: Path) -> Path:
    """Return the file with the addresses of the suite that runs in a home."""
    return folder.expanduser().resolve() / "running.json"


def running(folder: Path) -> dict[str, str] | None:
    """Return settings with the addresses of the suite running in a home; None without one."""
    file, lock = running_file(folder), folder.expanduser().resolve() / "launcher.lock"
    if not (file.is_file() and lock.is_file()):
        return None
    with lock.open(encoding="utf-8") as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            told: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
            return told
    # A killed launcher has left the file.
    return None
