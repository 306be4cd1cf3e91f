"""Telling other processes that a row they poll for has changed."""

from typing import Protocol

from draw_shared.contracts.envelope import Command


class WakeUps(Protocol):
    """Takes messages that are sent once the transaction is committed.

    A message may be lost while the broker is down: what it points at is found by polling.
    """

    def after_commit(self, message: Command) -> None:
        """Send `message` if and when the transaction is committed."""
