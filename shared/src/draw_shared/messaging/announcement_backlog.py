"""Counts the messages that announce objects not yet indexed."""

from collections.abc import Mapping
from typing import Final

from draw_shared.messaging.queue_depths import QueueDepths
from draw_shared.messaging.topology import INSTANCE_STORED_WORK

LATER: Final = tuple(
    map(INSTANCE_STORED_WORK.rung, range(1, len(INSTANCE_STORED_WORK.ladder_seconds) + 1))
)
"""Queues in which announcements wait for their next attempt."""
ANNOUNCEMENTS: Final = (INSTANCE_STORED_WORK.name, *LATER)
"""Queues whose messages announce objects not yet indexed."""


def unindexed(depths: Mapping[str, int]) -> int:
    """Return how many announcements wait, given the depths of all queues."""
    return sum(depths.get(name, 0) for name in ANNOUNCEMENTS)


class AnnouncementBacklog:
    """Asks the broker for the backlog, with a new connection for each call."""

    def __init__(self, url: str, *, client: str) -> None:
        self._depths = QueueDepths(url, client=client)

    def number(self) -> int:
        """Return how many announcements wait now.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        try:
            self._depths.look()
            return unindexed(self._depths.seen)
        finally:
            # Calls are rare, and an idle connection would miss its heartbeats.
            self._depths.close()
