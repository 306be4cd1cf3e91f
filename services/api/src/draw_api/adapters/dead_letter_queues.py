"""Adapts the broker's dead-letter queues to the port of the use case."""

from collections.abc import Sequence
from dataclasses import asdict

from typing_extensions import override

from draw_api.models.dead_letters import DeadLetter
from draw_api.ports.dead_letters import DeadLetterQueues
from draw_shared.messaging.dead_letters import QUEUES, DeadLetters


class RabbitDeadLetterQueues(DeadLetterQueues):
    """Lists, returns and deletes the messages of dead-letter queues."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    @override
    def queues(self) -> Sequence[str]:
        return QUEUES

    @override
    def look(self, queue: str) -> Sequence[DeadLetter]:
        return [DeadLetter(**asdict(letter)) for letter in self._letters.look(queue)]

    @override
    def put_back(self, queue: str, key: str) -> int:
        return self._letters.put_back(queue, key)

    @override
    def discard(self, queue: str, key: str) -> int:
        return self._letters.discard(queue, key)
