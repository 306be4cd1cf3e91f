"""How many messages announce objects that the index does not have yet."""

from collections.abc import Mapping
from typing import Final

from draw_shared.messaging.queue_depths import QueueDepths
from draw_shared.messaging.topology import INSTANCE_STORED_WORK

LATER: Final = tuple(
    map(INSTANCE_STORED_WORK.rung, range(1, len(INSTANCE_STORED_WORK.ladder_seconds) + 1))
)
"""Queues in which announcements wait for being tried again."""
ANNOUNCEMENTS: Final = (INSTANCE_STORED_WORK.name, *LATER)
"""Queues whose messages announce objects that the index does not have yet."""


def unindexed(depths: Mapping[str, int]) -> int:
    """Return how many such messages wait, by the depths of all queues."""
    return sum(depths.get(name, 0) for name in ANNOUNCEMENTS)


class AnnouncementBacklog:
    """Asks the broker now and then, with a connection for each time."""

    def __init__(self, url: str, *, client: str) -> None:
        self._depths = QueueDepths(url, client=client)

    def number(self) -> int:
        """Return how many such messages wait now.

        Raises:
            BrokerUnavailable: it does not answer.
        """
        try:
            self._depths.look()
            return unindexed(self._depths.seen)
        finally:
            # Seldom asked: a connection that nobody serves would miss its heartbeats.
            self._depths.close()
