"""Reads, requeues and discards messages that no consumer could handle.

`look` takes messages without acknowledging them and returns them by closing the channel.
`put_back` publishes with a confirm before it acknowledges the dead letter. A crash between the
two duplicates the message and never loses it; every consumer tolerates duplicates. Each call
opens its own connection on the calling thread.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel
from pika.delivery_mode import DeliveryMode

from draw_shared.messaging import connection, topology
from draw_shared.messaging.consumer import REASON_HEADER
from draw_shared.messaging.topology import Collecting, WorkQueue
from draw_shared.wording import message

QUEUE_HEADER: Final = "x-draw-queue"
ROUTING_KEY_HEADER: Final = "x-draw-routing-key"
MAX_LETTERS: Final = 500
MAX_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class DeadLetterMessage:
    """One message that waits for an operator."""

    key: str
    """Identifies the message while it waits; derived from its body."""
    queue: str
    consumer_queue: str
    """The work queue in which the message failed; empty if it was unroutable."""
    routing_key: str
    reason: str
    body: str
    size_bytes: int


def queues() -> tuple[str, ...]:
    """Return the queues that collect unhandled messages."""
    names: dict[str, None] = {}
    for part in topology.TOPOLOGY:
        if isinstance(part, WorkQueue):
            names[part.dead] = None
        elif isinstance(part, Collecting):
            names[part.name] = None
    return tuple(names)


QUEUES: Final = queues()
WORK_QUEUES: Final = frozenset(p.name for p in topology.TOPOLOGY if isinstance(p, WorkQueue))


class DeadLetters:
    """The dead-letter queues of one broker."""

    def __init__(self, url: str, *, client: str) -> None:
        self._url = url
        self._client = client

    def look(self, queue: str, most: int = MAX_LETTERS) -> list[DeadLetterMessage]:
        """Return the messages of a queue, oldest first, and leave them there.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        with self._channel() as channel:
            return [letter for letter, _ in _take(channel, queue, most)]

    def put_back(self, queue: str, key: str = "") -> int:
        """Return one message, or all, to the queue where it failed; return their number.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        return self._settle(queue, key, _publish_again)

    def discard(self, queue: str, key: str) -> int:
        """Discard one message; return how many were discarded.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        return self._settle(queue, key, lambda _channel, _letter, _body: None)

    def _settle(
        self,
        queue: str,
        key: str,
        action: Callable[[BlockingChannel, DeadLetterMessage, bytes], None],
    ) -> int:
        settled = 0
        with self._channel() as channel:
            waiting = channel.queue_declare(queue, passive=True).method.message_count
            for letter, (tag, body) in _take(channel, queue, waiting):
                if key in {"", letter.key}:
                    action(channel, letter, body)
                    channel.basic_ack(tag)
                    settled += 1
        return settled

    @contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        made = connection.connect(self._url, f"{self._client} dead letters")
        try:
            channel = topology.complete(made)
            channel.confirm_delivery()
            yield channel
        except connection.CONNECTION_FAILURES as error:
            raise connection.BrokerUnavailable(type(error).__name__) from error
        finally:
            if made.is_open:
                made.close()


def _take(
    channel: BlockingChannel, queue: str, most: int
) -> Iterator[tuple[DeadLetterMessage, tuple[int, bytes]]]:
    for _ in range(most):
        method, properties, body = channel.basic_get(queue)
        if method is None or properties is None or body is None:
            return
        letter = _letter(queue, method.routing_key or "", properties, body)
        yield letter, (method.delivery_tag or 0, body)


def _letter(
    queue: str, routing_key: str, properties: BasicProperties, body: bytes
) -> DeadLetterMessage:
    headers = properties.headers or {}
    return DeadLetterMessage(
        key=hashlib.sha256(body).hexdigest()[:24],
        queue=queue,
        consumer_queue=str(headers.get(QUEUE_HEADER, "")),
        routing_key=str(headers.get(ROUTING_KEY_HEADER, routing_key)),
        reason=str(headers.get(REASON_HEADER, message("no queue wanted it")))[:400],
        body=body[:MAX_BODY_BYTES].decode("utf-8", "replace"),
        size_bytes=len(body),
    )


def _publish_again(channel: BlockingChannel, letter: DeadLetterMessage, body: bytes) -> None:
    fresh = BasicProperties(content_type="application/json", delivery_mode=DeliveryMode.Persistent)
    if letter.consumer_queue in WORK_QUEUES:
        channel.basic_publish("", letter.consumer_queue, body, fresh, mandatory=True)
    else:
        channel.basic_publish(topology.EVENTS, letter.routing_key, body, fresh, mandatory=True)
