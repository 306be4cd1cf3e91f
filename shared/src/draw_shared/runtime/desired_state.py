"""Knows whether operators want this replica to run, and when they want it to restart.

The desired state is a row of `service_controls` for all replicas of a service or for one replica;
the row for one replica wins. It is read every second, and at once after a wake-up. While the
database is down, the last state stays in force. A file on the storage volume can keep the state
for all replicas of the service; then it survives a restart and reaches a replica that has never
seen the database. If that file exists but is unreadable, it may say stop, so the replica waits for
the database.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import text
from typing_extensions import override

from draw_shared.db.session import Database
from draw_shared.errors import Transient
from draw_shared.runtime.cached_watch import CachedWatch
from draw_shared.runtime.lifecycle import State
from draw_shared.storage.file_replacement import replace_file
from draw_shared.wording import message

log = structlog.get_logger()

RUNNING: Final = "running"
LOST: Final = message(
    "what operators want cannot be read from the storage volume, nor from the database"
)
ALL: Final = ""
"""Stands for every replica, where a replica is named."""

READ: Final = text(
    """
    SELECT replica, desired_state, restart_generation, updated_at
    FROM service_controls WHERE service = :service
    """
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The desired state of this replica."""

    running: bool
    restarts: int = 0
    """How many restarts were requested since this process started watching."""


class DesiredState(CachedWatch[Wanted]):
    """Holds the desired state and notifies listeners when it changes.

    Args:
        file: file on the storage volume, for all replicas of the service.
        auto_start: called until it returns True or False. False holds this replica back until an
            operator starts it. None means that the setting is not known yet, and holds it back.
    """

    name = "desired-state"

    def __init__(
        self,
        database: Database,
        *,
        service: str,
        replica: str,
        file: Path | None = None,
        auto_start: Callable[[], bool | None] = lambda: True,
    ) -> None:
        super().__init__(database, Wanted(running=True))
        self._service = service
        self._replica = replica
        self._file = file
        self._auto_start = auto_start
        self._word = Wanted(running=True)
        self._restarts_before: int | None = None
        self._told_before: datetime | None = None
        self._told = False
        self._starts_by_itself: bool | None = None
        self._lost = False

    @property
    def wanted(self) -> Wanted:
        """The desired state now."""
        return self._current

    @property
    def decided(self) -> bool:
        """Whether it is known yet if this replica is to run."""
        return self._starts_by_itself is not None and not self._lost

    @property
    def trouble(self) -> str:
        """Why the desired state is unknown; empty if it is known."""
        return LOST if self._lost else ""

    def shown(self, state: State, *, busy: bool = False) -> str:
        """Return the state to display; a process that is not to run is `stopped`."""
        if state is not State.READY or self._current.running:
            return str(state)
        return str(State.DRAINING if busy else State.STOPPED)

    @override
    def start(self) -> None:
        kept = self._kept()
        self._lost = kept is None
        self._word = self._current = Wanted(running=kept is not None and self._running(kept))
        super().start()

    @override
    def refresh(self) -> None:
        try:
            self._read()
        finally:
            # The auto-start setting may have become known meanwhile.
            self._settle()

    def _read(self) -> None:
        with self._database.session() as session:
            rows = session.connection().execute(READ, {"service": self._service}).all()
        words = {row.replica: row.desired_state for row in rows}
        ours = [row for row in rows if row.replica in {ALL, self._replica}]
        restarts = sum(row.restart_generation for row in ours)
        told_at = max((row.updated_at for row in ours), default=None)
        with self._lock:
            if self._restarts_before is None:
                self._restarts_before, self._told_before = restarts, told_at
            self._told = self._told or told_at != self._told_before
            self._word = Wanted(self._running(words), restarts - self._restarts_before)
            self._lost = False
        self._keep(words)

    def _running(self, words: Mapping[str, str]) -> bool:
        return words.get(self._replica, words.get(ALL, RUNNING)) == RUNNING

    def _settle(self) -> None:
        with self._lock:
            starts = self._starts_by_itself
            if starts is None:
                starts = self._auto_start()
            held_back = not self._told and not starts
            wanted = Wanted(self._word.running and not held_back, self._word.restarts)
            news = wanted != self._current
            self._current = wanted
            # Set last: a reader that sees a decision must also see the desired state.
            self._starts_by_itself = starts
        if not news:
            return
        log.info("desired_state.changed", running=wanted.running, restarts=wanted.restarts)
        self._tell()

    def _kept(self) -> dict[str, str] | None:
        """Return the states kept on the volume; None if the file is unreadable."""
        if self._file is None:
            return {}
        try:
            held = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except (ValueError, OSError):
            return None
        return held if isinstance(held, dict) else None

    def _keep(self, words: dict[str, str]) -> None:
        if self._file is None or words == self._kept():
            return
        with self._keeping():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._file, self._replica, json.dumps(words).encode())

    @override
    def _log_start_without_database(self, error: Transient) -> None:
        log.warning("desired_state.database_unavailable", error=str(error))
        if self._lost:
            log.error("desired_state.unknown", reason=LOST)

    @override
    def _log_listener_failed(self) -> None:
        log.exception("desired_state.listener_failed")  # noqa: LOG004 - called in one

    @override
    def _log_not_kept(self, reason: str) -> None:
        log.warning("desired_state.not_kept", error=reason)
