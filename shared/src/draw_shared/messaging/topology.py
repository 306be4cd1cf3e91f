"""Exchanges and queues of the suite, as data (RabbitMQ 3.10 and 4.x).

Work queues are quorum queues. A message to be retried goes to the next rung of its queue's
ladder, with the number of its attempts in a header. A rung is a queue without consumers whose
messages return to the work queue when their delay is over. A message that cannot be handled goes
to the consumer's dead-letter queue. Redelivery counts decide nothing; the delivery limit is
explicit because its default differs between broker versions.

A passive check needs no permission, a declaration does. Every process therefore checks first and
declares only missing parts, if its user may (`messaging.rights`): the indexer the shared
exchanges and its own queues, the worker its own queues. The others wait for the exchanges.
"""

from dataclasses import dataclass
from typing import Any, Final

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosedByBroker

from draw_shared.messaging.connection import BrokerUnavailable
from draw_shared.wording import message

EVENTS: Final = "draw.events"
CONTROL: Final = "draw.control"
NOTICES: Final = "draw.notices"
"""Events that the change feed contains as well (series and studies become stable). An interested
consumer binds its own queue; without one the messages are dropped."""
UNHEARD: Final = frozenset((CONTROL, NOTICES))
"""Exchanges on which a message without a listener is not a failure."""
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
    """The service that declares an exchange has not connected to this broker yet."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One durable exchange; unroutable messages go to its alternate."""

    name: str
    kind: str
    alternate: str = ""

    def look(self, channel: BlockingChannel) -> None:
        """Return if it exists; otherwise the channel closes."""
        channel.exchange_declare(self.name, passive=True)

    def declare(self, channel: BlockingChannel) -> None:
        """Create the exchange, or verify its arguments if it exists."""
        arguments = {"alternate-exchange": self.alternate} if self.alternate else None
        channel.exchange_declare(self.name, self.kind, durable=True, arguments=arguments)


@dataclass(frozen=True, slots=True)
class Collecting:
    """A queue that keeps all messages of an exchange for operators to inspect."""

    name: str
    source: str = ""

    def look(self, channel: BlockingChannel) -> None:
        """Return if it exists; otherwise the channel closes."""
        channel.queue_declare(self.name, passive=True)

    def declare(self, channel: BlockingChannel) -> None:
        """Create the queue and its binding."""
        # Each inspection counts as a delivery; by default RabbitMQ 4 drops a message after 20.
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
        """Return if all parts exist; otherwise the channel closes."""
        for name in (self.dead, self.name, *map(self.rung, range(1, len(self.ladder_seconds) + 1))):
            channel.queue_declare(name, passive=True)

    def declare(self, channel: BlockingChannel) -> None:
        """Create the queue, its bindings, its ladder and its dead-letter queue."""
        Collecting(self.dead).declare(channel)
        channel.queue_declare(self.name, durable=True, arguments=_return_to_arguments(self.dead))
        for pattern in self.binds:
            channel.queue_bind(self.name, EVENTS, pattern)
        for number, seconds in enumerate(self.ladder_seconds, start=1):
            arguments = {
                **_return_to_arguments(self.name),
                "x-message-ttl": int(seconds * 1000),
            }
            channel.queue_declare(self.rung(number), durable=True, arguments=arguments)


def _return_to_arguments(queue: str) -> dict[str, Any]:
    """Return the arguments of a quorum queue that moves its dead letters to `queue` safely."""
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
    """Create all missing parts; a repeated call changes nothing."""
    for part in TOPOLOGY:
        part.declare(channel)


def complete(made: BlockingConnection) -> BlockingChannel:
    """Create the missing parts that this user may create, and return a channel.

    A queue of another service may still be missing; a publisher then gets its message returned.

    Raises:
        NotThereYet: an exchange is missing, and this user may not create it.
    """
    channel = made.channel()
    for part in TOPOLOGY:
        try:
            part.look(channel)
        except ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            channel = _create(made, part)
    return channel


def _create(made: BlockingConnection, part: Part) -> BlockingChannel:
    channel = made.channel()
    try:
        part.declare(channel)
    except ChannelClosedByBroker as error:
        if error.reply_code not in {NOT_FOUND, ACCESS_REFUSED}:
            raise
        if isinstance(part, Exchange):
            raise NotThereYet(
                message("%(part)s is not there yet, and others make it", part=part.name)
            ) from error
        return made.channel()
    return channel
