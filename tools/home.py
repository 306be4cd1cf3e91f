"""`$DRAW_HOME`: the folder of one suite on this machine, used by one launcher at a time."""

import fcntl
import os
import secrets
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from tools.local_postgres import LocalPostgres
from tools.local_rabbitmq import LocalRabbitmq
from tools.processes import end, environment, find

MARK = "DRAW_SUITE"
"""Environment variable of our children that names the home they belong to."""


class HomeInUse(Exception):
    """Another launcher works in this folder."""


class Home:
    """Paths of one suite, and what is held in them.

    Raises:
        HomeInUse: by the launcher that the text names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._locked()
        self.postgres = LocalPostgres(self.folder / "postgres")
        self.rabbitmq = LocalRabbitmq(self.folder / "rabbitmq")

    def log(self, service: str) -> Path:
        """Return the file of a service's output."""
        return self.folder / "logs" / f"{service}.log"

    @property
    def storage(self) -> Path:
        """The storage volume unless another is given."""
        return self.folder / "storage"

    def admin_password(self, given: Mapping[str, str]) -> tuple[dict[str, str], str]:
        """Return the setting that hands over the first user's password, and where it is found."""
        if "DRAW_ADMIN_PASSWORD" in given:
            return {}, "in DRAW_ADMIN_PASSWORD"
        if "DRAW_ADMIN_PASSWORD_FILE" in given:
            return {}, f"in {given['DRAW_ADMIN_PASSWORD_FILE']}"
        path = self.folder / "admin-password"
        if not path.is_file():
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(secrets.token_urlsafe(15) + "\n")
        return {"DRAW_ADMIN_PASSWORD_FILE": str(path)}, f"in {path}"

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
