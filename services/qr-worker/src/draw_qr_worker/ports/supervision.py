"""Ports of one execution: asking whether it must stop, and interrupting its waits."""

from collections.abc import Callable
from typing import Protocol


class Supervision(Protocol):
    """Tells a long operation whether to continue."""

    def ended(self) -> bool:
        """Return whether the execution must stop."""

    def check(self) -> None:
        """Return if the execution may continue.

        Raises:
            Cancelled | Interrupted | LostLease: the execution must stop.
        """

    def pause(self, seconds: float) -> None:
        """Wait; raise like `check` as soon as the execution must stop."""


class InterruptibleSupervision(Supervision, Protocol):
    """An execution whose end can interrupt a wait."""

    def on_end(self, interrupt: Callable[[], None]) -> None:
        """Call `interrupt` when the execution must stop, on the thread that stops it.

        Operations with long waits use it to end them.
        """
