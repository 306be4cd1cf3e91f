"""Watches a value in the database and caches it on the storage volume for outages."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from draw_shared.db.session import Database
from draw_shared.errors import Transient
from draw_shared.runtime.periodic import Periodic

INTERVAL_SECONDS: Final = 1.0

Value = TypeVar("Value")


class CachedWatch(ABC, Generic[Value]):
    """Reads a value every second, or at once when woken, and notifies listeners of changes.

    The last value stays in force while the database is away.
    """

    name: str

    def __init__(self, database: Database, current: Value) -> None:
        self._database = database
        self._current = current
        self._lock = threading.Lock()
        self._unwritten = False
        self._listeners: list[Callable[[Value], None]] = []
        self._periodic = Periodic(self.name, self.refresh, interval_seconds=INTERVAL_SECONDS)

    def on_change(self, listener: Callable[[Value], None]) -> None:
        """Register `listener`, which the watching thread calls after each change."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Read once if the database answers, then start the watching thread."""
        try:
            self.refresh()
        except Transient as error:
            self._log_start_without_database(error)
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Stop watching."""
        self._periodic.stop(deadline_seconds)

    def wake(self) -> None:
        """Read now, because a wake-up announced a change."""
        self._periodic.wake()

    @abstractmethod
    def refresh(self) -> None:
        """Read the value and notify the listeners if it has changed.

        Raises:
            DatabaseUnavailable: the last value, from here or from the volume, stays in force.
        """

    @abstractmethod
    def _log_start_without_database(self, error: Transient) -> None: ...

    @abstractmethod
    def _log_listener_failed(self) -> None: ...

    @abstractmethod
    def _log_not_kept(self, reason: str) -> None: ...

    def _tell(self) -> None:
        for listener in self._listeners:
            try:
                listener(self._current)
            except Exception:  # noqa: BLE001 - the subclass logs it under its own event
                self._log_listener_failed()

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Write the value to the volume in the block; a failure is logged once."""
        try:
            yield
        except OSError as error:
            if not self._unwritten:
                self._log_not_kept(type(error).__name__)
            self._unwritten = True
        else:
            self._unwritten = False
