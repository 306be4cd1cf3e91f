"""Shows messages that no consumer could process, and returns them to their queues."""

from collections.abc import Sequence

from draw_api.models.dead_letters import DeadLetter, DeadLetterQueue
from draw_api.ports.dead_letters import DeadLetterQueues, KnownQueueDepths
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import NotFound
from draw_shared.wording import message


class DeadLetterService:
    """Manages dead letters for administrators."""

    def __init__(self, box: DeadLetterQueues, depths: KnownQueueDepths, audit: AuditTrail) -> None:
        self._box = box
        self._depths = depths
        self._audit = audit

    def queues(self) -> list[DeadLetterQueue]:
        """Return every queue with the number of its messages."""
        depths = self._depths.queue_depths()
        return [
            DeadLetterQueue(name=name, messages=depths.get(name, 0)) for name in self._box.queues()
        ]

    def letters(self, queue: str) -> Sequence[DeadLetter]:
        """Return the messages in a queue; NotFound when it collects no dead letters."""
        self._require(queue)
        return self._box.look(queue)

    def replay(self, by: Principal, queue: str, key: str = "") -> int:
        """Put one message, or all, back into its queue; NotFound when it is gone."""
        self._require(queue)
        done = self._box.put_back(queue, key)
        if key and not done:
            raise NotFound(message("This message is not there any more."))
        self._audit.record(by, "dead-letter.replay", f"{queue} {key or 'all'}: {done}")
        return done

    def discard(self, by: Principal, queue: str, key: str) -> int:
        """Delete a message; NotFound when it is gone."""
        self._require(queue)
        done = self._box.discard(queue, key) if key else 0
        if not done:
            raise NotFound(message("This message is not there any more."))
        self._audit.record(by, "dead-letter.discard", f"{queue} {key}: {done}")
        return done

    def _require(self, queue: str) -> None:
        if queue not in self._box.queues():
            raise NotFound(message("There is no such dead-letter queue."))
