"""Consumes a work queue in batches; messages are acknowledged after they were handled.

Concurrency: one thread owns the connection and does nothing long on it, so heartbeats go
on; a second thread collects batches and calls the handler; acknowledgements cross back
through the connection's thread-safe callback. `stop` first lets the batch under way end,
then closes the connection; what was delivered and not handled is delivered again.

The handler decides by what it returns or raises:
- nothing: the batch is done;
- failures for single messages: Transient ones climb the retry ladder, others go to the
  dead-letter queue;
- it raises Transient: something everybody needs is away; the same batch is tried again
  after a pause, and nothing new is fetched meanwhile;
- it raises anything else: each message is handled alone, so that one poisoned message
  does not take the others with it.

Messages that the publisher has joined come apart here: a handler sees each by itself, and
each fails by itself. The broker is told once all that travelled together is handled.
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
"""What one batch takes from the broker at most, joined messages counted as one: another
replica should find something to do, and memory is bounded."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the handler sees it."""

    body: bytes
    """A line of what came, if several travelled together."""
    routing_key: str
    attempt: int
    """0 for the first time, then one more after each rung of the ladder."""
    tag: int
    """The broker's name for what came; the same for all that travelled together."""
    session: int


@dataclass(frozen=True, slots=True)
class Failure:
    """One message of a batch could not be handled."""

    delivery: Delivery
    error: Exception


Handler = Callable[[Sequence[Delivery]], Sequence[Failure]]


class Consumer:
    """Feeds one handler from one work queue.

    Args:
        failed: told of each message that is put aside whether it is a `retry` or `dead`, and
            the message, before it can be seen in another queue.
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
        """Whether messages can come now."""
        return self._channel is not None

    def start(self) -> None:
        """Begin to consume, as soon as the broker is there."""
        self._receiver.start()
        self._worker.start()

    def stop(self, deadline_seconds: float) -> None:
        """Let the batch under way end, then close."""
        self._stopping.set()
        self._worker.join(deadline_seconds * 0.8)
        self._closing.set()
        self._receiver.join(deadline_seconds * 0.2 + POLL_INTERVAL_SECONDS)

    # The connection's thread

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
            # Its bindings cannot be looked at.
            self._work.declare(channel)
            channel.confirm_delivery()
            channel.basic_qos(prefetch_count=2 * self._together)
            # Of a queue that somebody deletes nothing comes any more, and nothing else is said.
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
        told = (properties.headers or {}).get(ATTEMPT_HEADER, 0)
        attempt = told if isinstance(told, int) else 0
        key, tag = method.routing_key or "", method.delivery_tag or 0
        lines = body.split(b"\n")
        self._arrived.put([Delivery(line, key, attempt, tag, session) for line in lines])

    def _on_connection(self, action: Callable[[BlockingChannel], None], session: int) -> None:
        """Have `action` run on the connection's thread, unless it is another connection by now."""
        current = self._connection

        def run() -> None:
            if self._channel is not None and self._session == session:
                action(self._channel)

        if current is not None and self._session == session:
            try:
                current.add_callback_threadsafe(run)
            except connection.CONNECTION_FAILURES:
                # Not acknowledged: the broker delivers the message again.
                log.info("consumer.acknowledgement_lost", queue=self._work.name)

    # The worker's thread

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
        # What an earlier connection delivered is delivered again by the new one.
        return [delivery for delivery in batch if delivery.session == self._session]

    def _handle(self, batch: list[Delivery]) -> None:
        failures = self._failures(batch)
        if failures is not None:
            self._settle(batch, failures)

    def _failures(self, batch: list[Delivery]) -> Sequence[Failure] | None:
        """Have a batch handled and return what failed; None when we stop before it is done."""
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
        # Everything up to here came in this batch or an earlier one.
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
            # Confirmed before the original is acknowledged: it is never in neither queue.
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
    """Return what names the subject of a message, as far as the message can be read."""
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
