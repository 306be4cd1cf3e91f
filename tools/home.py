"""`$DRAW_HOME`: the folder of one suite on this machine, used by one launcher at a time."""

import fcntl
import json
import os
import secrets
import signal
from pathlib import Path
from typing import TextIO

from tools.local_postgres import LocalPostgres
from tools.local_rabbitmq import LocalRabbitmq
from tools.processes import end, environment, find

MARK = "DRAW_SUITE"
"""Environment variable of our children that names the home they belong to."""


class HomeInUse(Exception):
    """Another launcher works in this folder."""


class HomeUnusable(Exception):
    """We may not write where a home is to be; the text says where and why."""


class Home:
    """Paths of one suite, and what is held in them.

    Raises:
        HomeInUse: by the launcher that the text names.
        HomeUnusable: it cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
        except OSError as error:
            raise HomeUnusable(f"{error.filename or self.folder}: {error.strerror}") from error
        self.postgres = LocalPostgres(self.folder / "postgres")
        self.rabbitmq = LocalRabbitmq(self.folder / "rabbitmq")

    def log(self, service: str) -> Path:
        """Return the file of a service's output."""
        return self.folder / "logs" / f"{service}.log"

    @property
    def storage(self) -> Path:
        """The storage volume unless another is given."""
        return self.folder / "storage"

    @property
    def password_file(self) -> Path:
        """Where the first user's password is kept when we made it."""
        return self.folder / "admin-password"

    def make_password(self) -> None:
        """Make the first user's password, for its owner's eyes only, unless there is one."""
        if not self.password_file.is_file():
            descriptor = os.open(self.password_file, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(secrets.token_urlsafe(15) + "\n")

    def show_running(self, addresses: dict[str, str]) -> None:
        """Let `make shell` and `make demo` find the suite that runs here; has passwords in it."""
        fresh = self._running_file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(addresses), encoding="utf-8")
        fresh.rename(self._running_file)

    @property
    def _running_file(self) -> Path:
        return running_file(self.folder)

    def stop_leftovers(self, seconds: float) -> None:
        """Stop whatever an earlier launcher that was killed has left running."""
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
        """Let another launcher work here."""
        self._running_file.unlink(missing_ok=True)
        self._lock.close()

    def _services(self) -> list[int]:
        mark = f"{MARK}={self.folder}"
        return find(lambda pid: mark in environment(pid))

    def _locked(self) -> TextIO:
        # The lock goes with its process, also when that is killed; the text in it may be stale.
        lock = (self.folder / "launcher.lock").open("a+", encoding="utf-8")
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


def running_file(folder: Path) -> Path:
    """Return the file with the addresses of the suite that runs in a home."""
    return folder.expanduser().resolve() / "running.json"


def running(folder: Path) -> dict[str, str] | None:
    """Return settings with the addresses of the suite that runs in a home, None when none does."""
    file, lock = running_file(folder), folder.expanduser().resolve() / "launcher.lock"
    if not (file.is_file() and lock.is_file()):
        return None
    with lock.open(encoding="utf-8") as probe:
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            told: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
            return told
    # Left by a launcher that was killed.
    return None
