"""Starts and stops several components in parallel, as one component."""

import threading
from collections.abc import Callable, Sequence

from draw_shared.runtime.lifecycle import Component


class ComponentGroup:
    """Starts and stops its parts in parallel, so that they share one deadline.

    If a part fails to start, the group fails to start; `stop` then stops the other parts.
    """

    def __init__(self, name: str, parts: Sequence[Component]) -> None:
        self.name = name
        self._parts = tuple(parts)

    def start(self) -> None:
        """Return when all parts have started."""
        failures = _run_parallel([part.start for part in self._parts], None)
        if failures:
            raise failures[0]

    def stop(self, deadline_seconds: float) -> None:
        """Return when all parts have stopped, or at the deadline."""
        _run_parallel(
            [_stop_action(part, deadline_seconds) for part in self._parts], deadline_seconds
        )


def _stop_action(part: Component, deadline_seconds: float) -> Callable[[], None]:
    return lambda: part.stop(deadline_seconds)


def _run_parallel(
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
