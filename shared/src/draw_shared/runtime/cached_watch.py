"""Watches something in the database that the storage volume keeps for when that is away."""

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
    """Reads each second, and at once when woken, and tells listeners what has changed.

    What was read last holds while the database is away.
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
        """Have `listener` called, on the watching thread, after each change."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Read once, if the database is there, then go on watching."""
        try:
            self.refresh()
        except Transient as error:
            self._log_start_without_database(error)
        self._periodic.start()

    def stop(self, deadline_seconds: float) -> None:
        """Stop watching."""
        self._periodic.stop(deadline_seconds)

    def wake(self) -> None:
        """Look now: somebody said that there is something else to read."""
        self._periodic.wake()

    @abstractmethod
    def refresh(self) -> None:
        """Read, and tell the listeners when it is something else.

        Raises:
            DatabaseUnavailable: what was read last, here or by who wrote the volume, holds.
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
            except Exception:  # noqa: BLE001 - logged under the name of who watches
                self._log_listener_failed()

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Have the volume keep what was read; where it does not take it, say so once."""
        try:
            yield
        except OSError as error:
            if not self._unwritten:
                self._log_not_kept(type(error).__name__)
            self._unwritten = True
        else:
            self._unwritten = False
