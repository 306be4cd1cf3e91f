"""Components of one kind that start and stop side by side, as one."""

import threading
from collections.abc import Callable, Sequence

from draw_shared.runtime.lifecycle import Component


class ComponentGroup:
    """Starts and stops its parts at the same time, so that they share one deadline.

    A part that fails to start fails the whole; the others are stopped by `stop`.
    """

    def __init__(self, name: str, parts: Sequence[Component]) -> None:
        self.name = name
        self._parts = tuple(parts)

    def start(self) -> None:
        """Return when all have started."""
        failures = _side_by_side([part.start for part in self._parts], None)
        if failures:
            raise failures[0]

    def stop(self, deadline_seconds: float) -> None:
        """Return when all have ended, or at the deadline."""
        _side_by_side([_stopping(part, deadline_seconds) for part in self._parts], deadline_seconds)


def _stopping(part: Component, deadline_seconds: float) -> Callable[[], None]:
    return lambda: part.stop(deadline_seconds)


def _side_by_side(
    actions: Sequence[Callable[[], None]], deadline_seconds: float | None
) -> list[Exception]:
    failures: list[Exception] = []

    def attempt(action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - carried to the caller's thread
            failures.append(error)

    threads = [threading.Thread(target=attempt, args=(a,), daemon=True) for a in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(deadline_seconds)
    return failures
