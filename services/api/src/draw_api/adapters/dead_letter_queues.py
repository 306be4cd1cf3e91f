"""The broker's dead-letter queues, as the use case asks for them."""

from collections.abc import Sequence
from dataclasses import asdict

from draw_api.models.dead_letters import DeadLetter
from draw_shared.messaging.dead_letters import QUEUES, DeadLetters


class RabbitDeadLetterQueues:
    """Looks into, empties and refills dead-letter queues."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    def queues(self) -> Sequence[str]:
        """Return the names of the queues."""
        return QUEUES

    def look(self, queue: str) -> Sequence[DeadLetter]:
        """Return the messages of a queue, up to a limit, and leave them there."""
        return [DeadLetter(**asdict(letter)) for letter in self._letters.look(queue)]

    def put_back(self, queue: str, key: str) -> int:
        """Put one message, or all for an empty key, back to where they failed."""
        return self._letters.put_back(queue, key)

    def discard(self, queue: str, key: str) -> int:
        """Throw one message away."""
        return self._letters.discard(queue, key)
