"""A component that repeats one action on its own thread."""

import threading
from collections.abc import Callable

import structlog

from draw_shared.errors import Transient

log = structlog.get_logger()


class Periodic:
    """Calls `action` at once and then every `interval_seconds`, one call at a time.

    A Transient failure is logged once until the next success, any other failure each time.
    Neither ends the thread.
    """

    def __init__(self, name: str, action: Callable[[], None], *, interval_seconds: float) -> None:
        self.name = name
        self._action = action
        self._interval = interval_seconds
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._failing = False

    def start(self) -> None:
        """Start the thread, which calls the action at once."""
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Wait for a running call, at most until the deadline."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(deadline_seconds)

    def wake(self) -> None:
        """Make the next call now."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._action()
            except Transient as error:
                if not self._failing:
                    log.warning("periodic.waiting", task=self.name, error=str(error))
                self._failing = True
            except Exception:
                log.exception("periodic.failed", task=self.name)
            else:
                self._failing = False
            self._wake.wait(self._interval)
            self._wake.clear()
