"""Consumes a work queue in batches and acknowledges messages after they were handled.

Concurrency: the connection thread owns the connection and runs only short callbacks, so that
heartbeats go on. The worker thread collects batches and calls the handler, one batch at a time.
Acknowledgements return to the connection thread through pika's thread-safe callback.

`stop` first waits for the current batch and then closes the connection. If the process dies or
the connection breaks, nothing is lost: the broker delivers every unacknowledged message again, so
a handler may see a message twice.

The handler decides by its result:
- It returns nothing: the batch is done.
- It returns failures of single messages: Transient ones go to the next rung of the retry ladder,
  others to the dead-letter queue.
- It raises Transient: a resource that all messages need is away. The same batch is tried again
  after a pause; meanwhile no new batch begins.
- It raises anything else: each message is handled alone, so that one poisoned message does not
  fail the others.

The consumer splits messages that the publisher has joined: the handler sees each one separately,
and each one fails separately. It acknowledges the joined message once all its parts are handled.
"""

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.delivery_mode import DeliveryMode
from pika.spec import Basic, BasicProperties

from draw_shared.errors import Transient
from draw_shared.messaging import connection, topology
from draw_shared.messaging.topology import WorkQueue

log = structlog.get_logger()

ATTEMPT_HEADER: Final = "x-draw-attempt"
REASON_HEADER: Final = "x-draw-reason"
POLL_INTERVAL_SECONDS: Final = 1.0
IDENTIFIERS: Final = ("event_id", "association_id", "sop_instance_uid", "job_id")
MAX_IDENTIFIER_LENGTH: Final = 64
MAX_BATCH_MESSAGES: Final = 20
"""Limit for one batch, joined messages counted as one. It leaves work for other replicas and
bounds memory."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the handler sees it."""

    body: bytes
    """The message body; one line of the body if several messages were joined."""
    routing_key: str
    attempt: int
    """0 at first, then one more after each rung of the ladder."""
    tag: int
    """The broker's delivery tag; joined messages share one."""
    session: int


@dataclass(frozen=True, slots=True)
class Failure:
    """One message of a batch that could not be handled."""

    delivery: Delivery
    error: Exception


Handler = Callable[[Sequence[Delivery]], Sequence[Failure]]


class Consumer:
    """Feeds one handler from one work queue.

    Args:
        failed: called with `retry` or `dead` and the body of each message that is put aside,
            before the message appears in another queue.
    """

    def __init__(
        self,
        url: str,
        work: WorkQueue,
        handler: Handler,
        *,
        client: str,
        batch: int = 1,
        wait_seconds: float = 0.1,
        failed: Callable[[str, bytes], None] = lambda *_: None,
    ) -> None:
        self.name = f"consumer {work.name}"
        self._url = url
        self._work = work
        self._handler = handler
        self._client = client
        self._batch = batch
        self._wait = wait_seconds
        self._failed = failed
        self._together = min(batch, MAX_BATCH_MESSAGES)
        self._arrived: queue.SimpleQueue[list[Delivery]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._closing = threading.Event()
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._session = 0
        self._receiver = threading.Thread(target=self._receive, name=self.name, daemon=True)
        self._worker = threading.Thread(target=self._work_on, name=f"{self.name} work", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether messages can arrive now."""
        return self._channel is not None

    def start(self) -> None:
        """Start both threads; they consume as soon as the broker answers."""
        self._receiver.start()
        self._worker.start()

    def stop(self, deadline_seconds: float) -> None:
        """Wait for the current batch, then close the connection."""
        self._stopping.set()
        self._worker.join(deadline_seconds * 0.8)
        self._closing.set()
        self._receiver.join(deadline_seconds * 0.2 + POLL_INTERVAL_SECONDS)

    # The connection thread

    def _receive(self) -> None:
        pause = connection.Pause(self._closing)
        while not self._closing.is_set():
            try:
                self._consume(pause)
            except connection.BrokerUnavailable as error:
                log.warning("broker.unavailable", error=str(error), queue=self._work.name)
            except connection.CONNECTION_FAILURES as error:
                log.warning(
                    "broker.connection_lost", error=type(error).__name__, queue=self._work.name
                )
            except Exception:
                log.exception("consumer.failed", queue=self._work.name)
            self._channel = None
            if not self._closing.is_set():
                pause.wait()

    def _consume(self, pause: connection.Pause) -> None:
        made = connection.connect(self._url, f"{self._client} {self.name}")
        try:
            channel = topology.complete(made)
            # Bindings cannot be verified passively, so they are declared each time.
            self._work.declare(channel)
            channel.confirm_delivery()
            channel.basic_qos(prefetch_count=2 * self._together)
            # A cancel is the only sign that the queue was deleted.
            cancelled = threading.Event()
            channel.add_on_cancel_callback(lambda _: cancelled.set())
            self._session += 1
            session = self._session
            channel.basic_consume(
                self._work.name,
                lambda _c, method, properties, body: self._take(method, properties, body, session),
            )
            self._connection, self._channel = made, channel
            pause.reset()
            log.info("consumer.started", queue=self._work.name)
            while not self._closing.is_set() and not cancelled.is_set():
                made.process_data_events(time_limit=POLL_INTERVAL_SECONDS)
            if cancelled.is_set():
                log.warning("consumer.queue_deleted", queue=self._work.name)
        finally:
            self._connection = self._channel = None
            if made.is_open:
                made.close()

    def _take(
        self, method: Basic.Deliver, properties: BasicProperties, body: bytes, session: int
    ) -> None:
        header = (properties.headers or {}).get(ATTEMPT_HEADER, 0)
        attempt = header if isinstance(header, int) else 0
        key, tag = method.routing_key or "", method.delivery_tag or 0
        lines = body.split(b"\n")
        self._arrived.put([Delivery(line, key, attempt, tag, session) for line in lines])

    def _on_connection(self, action: Callable[[BlockingChannel], None], session: int) -> None:
        """Run `action` on the connection thread, unless the connection has changed since."""
        current = self._connection

        def run() -> None:
            if self._channel is not None and self._session == session:
                action(self._channel)

        if current is not None and self._session == session:
            try:
                current.add_callback_threadsafe(run)
            except connection.CONNECTION_FAILURES:
                # The message stays unacknowledged, so the broker delivers it again.
                log.info("consumer.acknowledgement_lost", queue=self._work.name)

    # The worker thread

    def _work_on(self) -> None:
        while not self._stopping.is_set():
            batch = self._collect()
            if batch:
                self._handle(batch)

    def _collect(self) -> list[Delivery]:
        try:
            batch = list(self._arrived.get(timeout=POLL_INTERVAL_SECONDS))
        except queue.Empty:
            return []
        deadline = time.monotonic() + self._wait
        together = 1
        while len(batch) < self._batch and together < self._together:
            left = deadline - time.monotonic()
            try:
                batch += self._arrived.get(timeout=max(left, 0))
            except queue.Empty:
                break
            together += 1
        # The new connection delivers the messages of an earlier one again.
        return [delivery for delivery in batch if delivery.session == self._session]

    def _handle(self, batch: list[Delivery]) -> None:
        failures = self._failures(batch)
        if failures is not None:
            self._settle(batch, failures)

    def _failures(self, batch: list[Delivery]) -> Sequence[Failure] | None:
        """Handle a batch and return its failures; None when a stop comes first."""
        pause = connection.Pause(self._stopping)
        while not self._stopping.is_set():
            try:
                return self._handler(batch)
            except Transient as error:
                log.warning("consumer.waiting", queue=self._work.name, error=str(error))
                pause.wait()
            except Exception as error:
                if len(batch) == 1:
                    log.exception("consumer.message_failed", queue=self._work.name)
                    return [Failure(batch[0], error)]
                log.warning("consumer.batch_split", queue=self._work.name)
                return self._failures_alone(batch)
        return None

    def _failures_alone(self, batch: Sequence[Delivery]) -> Sequence[Failure] | None:
        found: list[Failure] = []
        for delivery in batch:
            failures = self._failures([delivery])
            if failures is None:
                return None
            found += failures
        return found

    def _settle(self, batch: Sequence[Delivery], failures: Sequence[Failure]) -> None:
        for failure in failures:
            self._put_aside(failure)
        # All deliveries up to this tag belong to this batch or an earlier one.
        last = max(delivery.tag for delivery in batch)
        self._on_connection(lambda c: c.basic_ack(last, multiple=True), batch[0].session)

    def _put_aside(self, failure: Failure) -> None:
        delivery, error = failure.delivery, failure.error
        rung = delivery.attempt + 1
        again = isinstance(error, Transient) and rung <= len(self._work.ladder_seconds)
        target = self._work.rung(rung) if again else self._work.dead
        properties = BasicProperties(
            content_type="application/json",
            delivery_mode=DeliveryMode.Persistent,
            headers={
                ATTEMPT_HEADER: rung,
                REASON_HEADER: f"{type(error).__name__}: {error}"[:200],
                "x-draw-queue": self._work.name,
                "x-draw-routing-key": delivery.routing_key,
            },
        )

        def copy(channel: BlockingChannel) -> None:
            # Confirmed before the original is acknowledged, so a crash cannot lose the message.
            channel.basic_publish("", target, delivery.body, properties, mandatory=True)

        self._failed("retry" if again else "dead", delivery.body)
        log.warning(
            "message.put_aside",
            queue=target,
            attempt=rung,
            error=type(error).__name__,
            **identifiers(delivery.body),
        )
        self._on_connection(copy, delivery.session)


def identifiers(body: bytes) -> dict[str, str]:
    """Return the identifiers in a message, as far as the message can be read."""
    try:
        held = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(held, dict):
        return {}
    found = {name: held.get(name) for name in IDENTIFIERS}
    return {
        name: value[:MAX_IDENTIFIER_LENGTH]
        for name, value in found.items()
        if isinstance(value, str)
    }
