"""The consumers of one indexer as one component: started once the schema is known to fit."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol


class Part(Protocol):
    """A consumer or a reader."""

    def start(self) -> None:
        """Begin."""

    def stop(self, deadline_seconds: float) -> None:
        """End within the time given."""


class Consumers:
    """Consumes while it is allowed to; paused, messages wait in their queues."""

    name = "consumers"

    def __init__(self, make: Callable[[], Sequence[Part]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._running: Sequence[Part] = ()
        self._stopped = False

    @property
    def running(self) -> bool:
        """Whether messages are taken."""
        return bool(self._running)

    def start(self) -> None:
        """Consuming begins with `resume`, when the database is known to be usable."""

    def resume(self) -> None:
        """Begin to consume, unless that is so or the process is stopping."""
        with self._lock:
            if self._running or self._stopped:
                return
            self._running = self._make()
            for part in self._running:
                part.start()

    def pause(self, deadline_seconds: float) -> None:
        """Let the batches under way end, and take nothing new."""
        with self._lock:
            parts, self._running = self._running, ()
            _stop(parts, deadline_seconds)

    def stop(self, deadline_seconds: float) -> None:
        """End for good."""
        self._stopped = True
        self.pause(deadline_seconds)


def _stop(parts: Sequence[Part], deadline_seconds: float) -> None:
    deadline = time.monotonic() + deadline_seconds
    threads = [
        threading.Thread(target=part.stop, args=(deadline_seconds,), daemon=True) for part in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.1, deadline - time.monotonic()))
