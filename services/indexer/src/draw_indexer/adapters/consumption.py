"""Runs one indexer's consumers as one component that operators can stop and start."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from draw_indexer.adapters.component_group import ComponentGroup
from draw_shared.messaging.consumer import Consumer
from draw_shared.runtime.desired_state import Wanted

PAUSE_TIMEOUT_SECONDS: Final = 10.0


class Consumption:
    """Consumes while operators want it to; otherwise messages wait in their queues.

    Args:
        make: returns new consumers, because a consumer that has ended cannot start again.
    """

    name = "consumers"

    def __init__(
        self, make: Callable[[], Sequence[Consumer]], wanted: Callable[[], Wanted]
    ) -> None:
        self._make = make
        self._wanted = wanted
        self._lock = threading.Lock()
        self._consumers: Sequence[Consumer] = ()
        self._open = False
        self._restarts = 0

    @property
    def running(self) -> bool:
        """Whether this process consumes, or will as soon as the broker answers."""
        return bool(self._consumers)

    @property
    def connected(self) -> bool:
        """Whether every consumer can receive messages now."""
        return self.running and all(consumer.connected for consumer in self._consumers)

    def start(self) -> None:
        """Begin to do what operators want."""
        self._open = True
        self.follow(self._wanted())

    def follow(self, wanted: Wanted) -> None:
        """Consume, stop or restart, as operators want now."""
        with self._lock:
            if not wanted.running or wanted.restarts != self._restarts:
                self._pause(PAUSE_TIMEOUT_SECONDS)
            self._restarts = wanted.restarts
            if wanted.running and self._open and not self._consumers:
                self._consumers = self._make()
                ComponentGroup(self.name, self._consumers).start()

    def stop(self, deadline_seconds: float) -> None:
        """Let the current batches finish, then stop for good."""
        self._open = False
        with self._lock:
            self._pause(deadline_seconds)

    def _pause(self, deadline_seconds: float) -> None:
        consumers, self._consumers = self._consumers, ()
        ComponentGroup(self.name, consumers).stop(deadline_seconds)
