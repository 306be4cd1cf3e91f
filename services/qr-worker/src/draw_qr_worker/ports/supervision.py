"""Ports of one execution: what tells it to stop, and what can interrupt its waits."""

from collections.abc import Callable
from typing import Protocol


class Supervision(Protocol):
    """Tells a long operation whether it shall go on."""

    def ended(self) -> bool:
        """Return whether the execution shall stop."""

    def check(self) -> None:
        """Return while the execution shall go on.

        Raises:
            Cancelled | Interrupted | LostLease: it shall not.
        """

    def pause(self, seconds: float) -> None:
        """Wait, or raise like `check` as soon as the execution shall stop."""


class InterruptibleSupervision(Supervision, Protocol):
    """An execution whose end can interrupt a wait."""

    def on_end(self, interrupt: Callable[[], None]) -> None:
        """Have `interrupt` called when the execution shall stop, on whatever thread says so.

        For operations whose waits are long: it ends them.
        """
