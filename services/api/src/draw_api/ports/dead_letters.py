"""Ports of the messages that a service could not process."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from draw_api.models.dead_letters import DeadLetter


class DeadLetterQueues(Protocol):
    """The dead-letter queues of the broker."""

    def queues(self) -> Sequence[str]:
        """Return the names of the queues."""

    def look(self, queue: str) -> Sequence[DeadLetter]:
        """Return the messages of a queue, up to a limit, and leave them there."""

    def put_back(self, queue: str, key: str) -> int:
        """Put one message, or all for an empty key, back into the queue where it failed."""

    def discard(self, queue: str, key: str) -> int:
        """Delete one message."""


class KnownQueueDepths(Protocol):
    """What the broker last reported."""

    def queue_depths(self) -> Mapping[str, int]:
        """Return the number of waiting messages by queue; empty when the broker does not answer."""
