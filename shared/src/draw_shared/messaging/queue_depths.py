"""How many messages wait in each queue of the suite, as the broker last reported."""

from collections.abc import Mapping
from typing import Final

import pika

from draw_shared.messaging import connection, topology
from draw_shared.messaging.topology import Collecting, WorkQueue


def queue_names() -> tuple[str, ...]:
    """Return every queue that operators or workers empty, in the order of the topology."""
    names: dict[str, None] = {}
    for part in topology.TOPOLOGY:
        if isinstance(part, WorkQueue):
            rungs = (part.rung(number) for number in range(1, len(part.ladder_seconds) + 1))
            names |= dict.fromkeys((part.name, part.dead, *rungs))
        elif isinstance(part, Collecting):
            names[part.name] = None
    return tuple(names)


QUEUES: Final = queue_names()


class QueueDepths:
    """Asks the broker on request and keeps the answer; only one thread may use it."""

    def __init__(self, url: str, *, client: str) -> None:
        self._url = url
        self._client = client
        self._connection: pika.BlockingConnection | None = None
        self._seen: Mapping[str, int] = {}

    @property
    def seen(self) -> Mapping[str, int]:
        """Waiting messages by queue; empty while the broker does not answer."""
        return self._seen

    def look(self) -> None:
        """Ask the broker for the depths.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        try:
            self._seen = self._ask()
        except connection.CONNECTION_FAILURES as error:
            self.close()
            raise connection.BrokerUnavailable(type(error).__name__) from error
        except connection.BrokerUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        made, self._connection, self._seen = self._connection, None, {}
        if made is not None and made.is_open:
            made.close()

    def _ask(self) -> Mapping[str, int]:
        if self._connection is None or not self._connection.is_open:
            self._connection = connection.connect(self._url, f"{self._client} depths")
            topology.complete(self._connection).close()
        channel = self._connection.channel()
        found = {
            name: channel.queue_declare(name, passive=True).method.message_count for name in QUEUES
        }
        channel.close()
        return found
