"""Port of the messages that tell other processes about a changed row."""

from typing import Protocol

from draw_shared.contracts.envelope import Command


class WakeUps(Protocol):
    """Collects messages that are sent once the transaction is committed.

    A message may be lost while the broker is down; its receivers then find the change by polling.
    """

    def after_commit(self, message: Command) -> None:
        """Send `message` if and when the transaction is committed."""
