"""Exchanges and queues of the suite, as data (RabbitMQ 3.10 and 4.x).

Work queues are quorum queues. A message that shall be tried again goes, with a count of
its attempts in a header, to the next rung of its queue's ladder: a queue without
consumers whose messages return to the work queue when their time is over. What cannot be
handled goes to the consumer's dead-letter queue. Redelivery counts decide nothing; the
delivery limit is explicit because its default differs between broker versions.

To look whether something is there needs no right, to make it does. So whoever connects looks, and
makes what is missing if its user may: by `messaging.rights` the indexer what belongs to all and
its own queues, the worker its own. The others wait for the exchanges.
"""

from dataclasses import dataclass
from typing import Any, Final

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosedByBroker

from draw_shared.messaging.connection import BrokerUnavailable

EVENTS: Final = "draw.events"
CONTROL: Final = "draw.control"
NOTICES: Final = "draw.notices"
"""Events that the change feed has anyway (series and studies becoming stable): whoever wants to
be told binds a queue of his own; without one they vanish."""
UNHEARD: Final = frozenset((CONTROL, NOTICES))
"""Exchanges on which a message without a listener is no failure."""
UNROUTABLE: Final = "draw.unroutable"

INSTANCE_STORED: Final = "indexer.instance-stored"
TRANSACTIONS: Final = "indexer.transactions"
JOB_READY: Final = "qr-worker.job-ready"

NOT_FOUND: Final = 404
ACCESS_REFUSED: Final = 403
DELIVERY_LIMIT: Final = 1000
MAX_LOOKS: Final = 1_000_000
RETRY_DELAYS_SECONDS: Final = (5, 30, 120, 600)


class NotThereYet(BrokerUnavailable):
    """Whose part it is to make something has not been here since the broker is."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One durable exchange; what it cannot route goes to the alternate."""

    name: str
    kind: str
    alternate: str = ""

    def look(self, channel: BlockingChannel) -> None:
        """Return when it is there; the channel closes when not."""
        channel.exchange_declare(self.name, passive=True)

    def declare(self, channel: BlockingChannel) -> None:
        """Make the exchange, or check that it is as described."""
        arguments = {"alternate-exchange": self.alternate} if self.alternate else None
        channel.exchange_declare(self.name, self.kind, durable=True, arguments=arguments)


@dataclass(frozen=True, slots=True)
class Collecting:
    """A queue that keeps everything an exchange sends it, for people to look at."""

    name: str
    source: str = ""

    def look(self, channel: BlockingChannel) -> None:
        """Return when it is there; the channel closes when not."""
        channel.queue_declare(self.name, passive=True)

    def declare(self, channel: BlockingChannel) -> None:
        """Make the queue and its binding."""
        # Looking at a message counts as a delivery, and RabbitMQ 4 drops it after 20 by default.
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": MAX_LOOKS}
        channel.queue_declare(self.name, durable=True, arguments=arguments)
        if self.source:
            channel.queue_bind(self.name, self.source, "#")


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A queue that one service's replicas share, with its retry ladder and dead letters."""

    name: str
    binds: tuple[str, ...]
    dead: str
    ladder_seconds: tuple[float, ...] = RETRY_DELAYS_SECONDS

    def rung(self, number: int) -> str:
        """Return the name of a rung of the ladder, counted from 1."""
        return f"{self.name}.retry.{number}"

    def look(self, channel: BlockingChannel) -> None:
        """Return when all of it is there; the channel closes when not."""
        for name in (self.dead, self.name, *map(self.rung, range(1, len(self.ladder_seconds) + 1))):
            channel.queue_declare(name, passive=True)

    def declare(self, channel: BlockingChannel) -> None:
        """Make the queue, its bindings, its ladder and its dead-letter queue."""
        Collecting(self.dead).declare(channel)
        channel.queue_declare(self.name, durable=True, arguments=_returning_to(self.dead))
        for pattern in self.binds:
            channel.queue_bind(self.name, EVENTS, pattern)
        for number, seconds in enumerate(self.ladder_seconds, start=1):
            arguments = {
                **_returning_to(self.name),
                "x-message-ttl": int(seconds * 1000),
            }
            channel.queue_declare(self.rung(number), durable=True, arguments=arguments)


def _returning_to(queue: str) -> dict[str, Any]:
    """Return the arguments of a quorum queue whose dead letters reach `queue` without loss."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


INSTANCE_STORED_WORK: Final = WorkQueue(INSTANCE_STORED, ("instance.stored.*",), "indexer.dead")
TRANSACTIONS_WORK: Final = WorkQueue(TRANSACTIONS, ("transactions.recorded.*",), "indexer.dead")
JOB_READY_WORK: Final = WorkQueue(JOB_READY, ("job.ready.*",), "qr-worker.dead")

Part = Exchange | Collecting | WorkQueue

TOPOLOGY: Final[tuple[Part, ...]] = (
    Exchange(UNROUTABLE, "fanout"),
    Collecting(UNROUTABLE, UNROUTABLE),
    Exchange(EVENTS, "topic", alternate=UNROUTABLE),
    Exchange(CONTROL, "fanout"),
    Exchange(NOTICES, "topic"),
    INSTANCE_STORED_WORK,
    TRANSACTIONS_WORK,
    JOB_READY_WORK,
)


def declare(channel: BlockingChannel) -> None:
    """Make everything that is not there yet; repeating it changes nothing."""
    for part in TOPOLOGY:
        part.declare(channel)


def complete(made: BlockingConnection) -> BlockingChannel:
    """Return a channel of a broker on which all is there that this user may make.

    A queue that others read may be missing until they come; who publishes learns by it that the
    message is not taken.

    Raises:
        NotThereYet: an exchange is missing, and this user may not make it.
    """
    channel = made.channel()
    for part in TOPOLOGY:
        try:
            part.look(channel)
        except ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            channel = _making(made, part)
    return channel


def _making(made: BlockingConnection, part: Part) -> BlockingChannel:
    channel = made.channel()
    try:
        part.declare(channel)
    except ChannelClosedByBroker as error:
        if error.reply_code not in {NOT_FOUND, ACCESS_REFUSED}:
            raise
        if isinstance(part, Exchange):
            raise NotThereYet(f"{part.name} is not there yet, and others make it") from error
        return made.channel()
    return channel
