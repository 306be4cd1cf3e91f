"""Knows whether operators want this replica to work, and when they want it to begin anew.

What is wanted is a row of `service_controls` for all replicas of a service or for one; the
one wins. It is read each second, and at once when somebody says that it has changed. With
the database down, what was read last stays wanted, also over a restart where it is cached
in a file.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import text

from draw_shared.db.session import Database
from draw_shared.errors import Transient
from draw_shared.runtime.lifecycle import State
from draw_shared.runtime.periodic import Periodic

log = structlog.get_logger()

INTERVAL_SECONDS: Final = 1.0
RUNNING: Final = "running"

READ: Final = text(
    """
    SELECT coalesce(max(desired_state) FILTER (WHERE replica = :replica),
            max(desired_state), :running) AS desired_state,
        coalesce(sum(restart_generation), 0)::bigint AS restarts, max(updated_at) AS told_at
    FROM service_controls WHERE service = :service AND replica IN ('', :replica)
    """
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of this replica now."""

    running: bool
    restarts: int = 0
    """How often it was told to restart since this process knows."""


class DesiredState:
    """Holds what is wanted and tells listeners when it changes.

    Args:
        auto_start: asked until it says so; False holds this replica back until it is told
            something, None does while it is not known.
    """

    name = "desired-state"

    def __init__(
        self,
        database: Database,
        *,
        service: str,
        replica: str,
        cache: Path | None = None,
        auto_start: Callable[[], bool | None] = lambda: True,
    ) -> None:
        self._database = database
        self._identity = {"service": service, "replica": replica, "running": RUNNING}
        self._cache = cache
        self._auto_start = auto_start
        self._listeners: list[Callable[[Wanted], None]] = []
        self._lock = threading.Lock()
        self._word = Wanted(running=True)
        self._wanted = Wanted(running=True)
        self._restarts_before: int | None = None
        self._told_before: datetime | None = None
        self._told = False
        self._starts_by_itself: bool | None = None
        self._periodic = Periodic(self.name, self.refresh, interval_seconds=INTERVAL_SECONDS)

    @property
    def wanted(self) -> Wanted:
        """What is wanted now."""
        return self._wanted

    def shown(self, state: State, *, busy: bool = False) -> str:
        """Return the state to show of a process: one that shall not work is `stopped`."""
        if state is not State.READY or self._wanted.running:
            return str(state)
        return str(State.DRAINING if busy else State.STOPPED)

    def on_change(self, listener: Callable[[Wanted], None]) -> None:
        """Have `listener` called, on the watching thread, after each change."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Read once, if the database is there, then go on watching."""
        self._word = self._wanted = Wanted(running=self._cached())
        try:
            self.refresh()
        except Transient as error:
            log.warning("desired_state.database_unavailable", error=str(error))
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Stop watching."""
        self._periodic.stop(deadline_seconds)

    def wake(self) -> None:
        """Look now: somebody said that something else is wanted."""
        self._periodic.wake()

    def refresh(self) -> None:
        """Read what is wanted and tell the listeners when it is something else.

        Raises:
            DatabaseUnavailable: what was wanted stays wanted.
        """
        try:
            self._read()
        finally:
            # Whether it starts by itself may have become known meanwhile.
            self._settle()

    def _read(self) -> None:
        with self._database.session() as session:
            row = session.connection().execute(READ, self._identity).one()
        with self._lock:
            if self._restarts_before is None:
                self._restarts_before, self._told_before = row.restarts, row.told_at
            self._told = self._told or row.told_at != self._told_before
            word = Wanted(row.desired_state == RUNNING, row.restarts - self._restarts_before)
            news = word != self._word
            self._word = word
        if news:
            self._write_cache(word)

    def _settle(self) -> None:
        with self._lock:
            if self._starts_by_itself is None:
                self._starts_by_itself = self._auto_start()
            held_back = not self._told and not self._starts_by_itself
            wanted = Wanted(self._word.running and not held_back, self._word.restarts)
            if wanted == self._wanted:
                return
            self._wanted = wanted
        log.info("desired_state.changed", running=wanted.running, restarts=wanted.restarts)
        for listener in self._listeners:
            try:
                listener(wanted)
            except Exception:
                log.exception("desired_state.listener_failed")

    def _cached(self) -> bool:
        if self._cache is None or not self._cache.is_file():
            return True
        try:
            return json.loads(self._cache.read_text(encoding="utf-8"))["running"] is not False
        except (ValueError, KeyError, TypeError, OSError):
            return True

    def _write_cache(self, wanted: Wanted) -> None:
        if self._cache is None:
            return
        fresh = self._cache.with_suffix(".new")
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps({"running": wanted.running}), encoding="utf-8")
            fresh.replace(self._cache)
        except OSError as error:
            log.warning("desired_state.cache_not_written", error=type(error).__name__)
