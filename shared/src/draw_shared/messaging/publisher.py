"""Publishes messages with confirms, many in flight, and resumes when the broker comes back.

Concurrency: the publisher thread owns the connection and its event loop. Any thread may call
`publish`, which queues the message in memory and returns. The publisher thread calls `on_confirm`:
with True when the broker has the message on disk in a queue, with False when the broker refused
the message or could not route it. Callbacks must therefore be quick.

After a broken connection the publisher sends unconfirmed messages again, so a message may arrive
twice. No message is lost while the process lives; messages that are unconfirmed when the process
dies are lost here, so callers keep their own durable copy until the confirm (the spool).

Joinable messages that wait together travel as one message, one line each, because the cost per
message at broker and consumers is higher than the cost of its content.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Final
from uuid import uuid4

import pika
import structlog
from pika.adapters.select_connection import SelectConnection
from pika.channel import Channel
from pika.delivery_mode import DeliveryMode
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from draw_shared.contracts.envelope import Message
from draw_shared.errors import Transient
from draw_shared.messaging import connection, topology

log = structlog.get_logger()

MAX_WAITING_MESSAGES: Final = 20_000
MAX_JOINED_MESSAGES: Final = 50
JOIN_DELAY_SECONDS: Final = 0.01
"""How long a joinable message waits for others."""

Confirmed = Callable[[bool], None]


def _ignore_confirm(_: bool) -> None:  # noqa: FBT001 - the shape of a confirm callback
    """Ignore the confirm; for wake-ups, which may be lost."""


class BrokerSilent(Transient):
    """The broker does not confirm announcements."""


@dataclass(frozen=True, slots=True)
class _Outgoing:
    exchange: str
    routing_key: str
    body: bytes
    joinable: bool
    on_confirm: Confirmed


@dataclass(frozen=True, slots=True)
class _Sent:
    """One message on the wire, made of one or more joined messages."""

    message_id: str
    parts: list[_Outgoing]


class Publisher:
    """Publishes the messages of one process."""

    name = "publisher"

    def __init__(self, url: str, *, client: str) -> None:
        self._url = url
        self._client = client
        self._waiting: deque[_Outgoing] = deque()
        self._unconfirmed: dict[int, _Sent] = {}
        self._returned: set[str] = set()
        self._prefix, self._number = uuid4().hex, count()
        self._next_tag = 1
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._connection: SelectConnection | None = None
        self._channel: Channel | None = None
        self._pump_requested = threading.Event()
        self._pause = connection.Pause(self._stopping)

    @property
    def connected(self) -> bool:
        """Whether messages can be sent now."""
        return self._channel is not None

    @property
    def pending(self) -> int:
        """How many messages wait or are unconfirmed; 0 when all are confirmed."""
        return len(self._waiting) + len(self._unconfirmed)

    def start(self) -> None:
        """Connect in the background."""
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Publish the waiting messages if the broker is connected, then close."""
        deadline = threading.Event()
        waited = 0.0
        while self.connected and self.pending and waited < deadline_seconds / 2:
            deadline.wait(0.02)
            waited += 0.02
        self._stopping.set()
        self._on_loop(self._close)
        self._thread.join(deadline_seconds / 2)

    def publish(
        self,
        message: Message,
        on_confirm: Confirmed = _ignore_confirm,
        *,
        exchange: str = topology.EVENTS,
    ) -> None:
        """Queue a message; `on_confirm` is called exactly once: now if refused, else later."""
        if len(self._waiting) >= MAX_WAITING_MESSAGES:
            on_confirm(False)
            return
        body = message.to_bytes()
        key = message.routing_key
        self._waiting.append(_Outgoing(exchange, key, body, message.joinable, on_confirm))
        if not self._pump_requested.is_set():
            self._pump_requested.set()
            self._on_loop(self._pump_soon)

    # Everything below runs on the publisher thread, except _on_loop.

    def _on_loop(self, action: Callable[[], None]) -> None:
        current = self._connection
        if current is not None:
            current.ioloop.add_callback_threadsafe(action)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._declare()
                self._connection = SelectConnection(
                    connection.parameters(self._url, f"{self._client} publisher"),
                    on_open_callback=self._opened,
                    on_open_error_callback=self._not_opened,
                    on_close_callback=self._closed,
                )
                self._connection.ioloop.start()
            except connection.BrokerUnavailable as error:
                log.warning("broker.unavailable", error=str(error))
            except Exception:
                log.exception("publisher.failed")
            self._take_back()
            if not self._stopping.is_set():
                self._pause.wait()

    def _declare(self) -> None:
        made = connection.connect(self._url, f"{self._client} topology")
        try:
            topology.complete(made)
        except connection.CONNECTION_FAILURES as error:
            raise connection.BrokerUnavailable(str(error)[:200]) from error
        finally:
            if made.is_open:
                made.close()

    def _opened(self, opened: pika.connection.Connection) -> None:
        opened.channel(on_open_callback=self._channel_opened)

    def _not_opened(self, failed: pika.connection.Connection, _error: object) -> None:
        failed.ioloop.stop()  # type: ignore[attr-defined]  # SelectConnection has one

    def _closed(self, closed: pika.connection.Connection, reason: BaseException) -> None:
        if not self._stopping.is_set():
            log.warning("broker.connection_lost", error=type(reason).__name__)
        self._channel = None
        closed.ioloop.stop()  # type: ignore[attr-defined]  # SelectConnection has one

    def _channel_opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._message_returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready(channel))

    def _channel_closed(self, channel: Channel, reason: BaseException) -> None:
        if not self._stopping.is_set():
            log.warning("broker.channel_closed", error=str(reason)[:200])
        self._channel = None
        if channel.connection.is_open:
            channel.connection.close()

    def _ready(self, channel: Channel) -> None:
        self._channel = channel
        self._next_tag = 1
        self._pause.reset()
        log.info("broker.connected")
        self._pump()

    def _pump_soon(self) -> None:
        joinable = bool(self._waiting) and self._waiting[0].joinable
        if self._connection is not None and joinable and len(self._waiting) < MAX_JOINED_MESSAGES:
            self._connection.ioloop.call_later(JOIN_DELAY_SECONDS, self._pump)
        else:
            self._pump()

    def _pump(self) -> None:
        self._pump_requested.clear()
        channel = self._channel
        while channel is not None and channel.is_open and self._waiting:
            parts = self._take_next()
            outgoing = parts[0]
            sent = _Sent(f"{self._prefix}{next(self._number):x}", parts)
            self._unconfirmed[self._next_tag] = sent
            self._next_tag += 1
            channel.basic_publish(
                outgoing.exchange,
                outgoing.routing_key,
                b"\n".join([part.body for part in parts]),
                BasicProperties(
                    content_type="application/json" if len(parts) == 1 else "application/x-ndjson",
                    delivery_mode=DeliveryMode.Persistent,
                    message_id=sent.message_id,
                ),
                # A wake-up may have no listeners; an event without a queue is a failure.
                mandatory=outgoing.exchange not in topology.UNHEARD,
            )

    def _take_next(self) -> list[_Outgoing]:
        """Take the next message, with the joinable ones of its kind that wait behind it."""
        first = self._waiting.popleft()
        parts = [first]
        while (
            first.joinable
            and len(parts) < MAX_JOINED_MESSAGES
            and self._waiting
            and self._waiting[0].routing_key == first.routing_key
            and self._waiting[0].exchange == first.exchange
        ):
            parts.append(self._waiting.popleft())
        return parts

    def _message_returned(
        self, _channel: Channel, _method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        # The broker returns a message before it confirms it.
        self._returned.add(str(properties.message_id))

    def _confirmed(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        tag = frame.method.delivery_tag
        good = isinstance(frame.method, Basic.Ack)
        if not frame.method.multiple:
            self._settle(tag, good=good)
            return
        # The dict is in publishing order, which is the order of tags.
        for each in list(takewhile(lambda t: t <= tag, self._unconfirmed)):
            self._settle(each, good=good)

    def _settle(self, tag: int, *, good: bool) -> None:
        sent = self._unconfirmed.pop(tag, None)
        if sent is None:
            return
        if sent.message_id in self._returned:
            self._returned.discard(sent.message_id)
            good = False
        key = sent.parts[0].routing_key
        if not good:
            log.warning("message.not_confirmed", routing_key=key)
        for part in sent.parts:
            try:
                part.on_confirm(good)
            except Exception:
                log.exception("message.confirm_callback_failed", routing_key=key)

    def _take_back(self) -> None:
        """Put unconfirmed messages back in front of the waiting ones, in their old order."""
        self._connection = self._channel = None
        self._returned.clear()
        for tag in sorted(self._unconfirmed, reverse=True):
            self._waiting.extendleft(reversed(self._unconfirmed[tag].parts))
        self._unconfirmed.clear()

    def _close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
