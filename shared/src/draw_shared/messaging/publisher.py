"""Publishes messages with confirms, many in flight, and goes on when the broker comes back.

Concurrency: one thread owns the connection and its event loop. `publish` may be called
from any thread; it hands the message over and returns. `on_confirm` is called on the
publisher's thread, with True when the broker has the message on disk in a queue, with
False when it was refused or could not be routed. Messages that a broken connection left
unconfirmed are published again: a message may arrive twice, and none is lost while this
process lives. Joinable messages that wait together travel as one, a line each: thousands a
second cost broker and consumers more than what they say.
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
from draw_shared.messaging import connection, topology

log = structlog.get_logger()

MAX_WAITING_MESSAGES: Final = 20_000
MAX_JOINED_MESSAGES: Final = 50
JOIN_DELAY_SECONDS: Final = 0.01
"""How long a joinable message waits for others to travel with."""

Confirmed = Callable[[bool], None]


def _nobody(_: bool) -> None:  # noqa: FBT001 - the shape of a confirm callback
    """For messages that are only wake-ups: nobody minds whether they arrive."""


@dataclass(frozen=True, slots=True)
class _Outgoing:
    exchange: str
    routing_key: str
    body: bytes
    joinable: bool
    on_confirm: Confirmed


@dataclass(frozen=True, slots=True)
class _Sent:
    """What travels as one message."""

    message_id: str
    parts: list[_Outgoing]


class Publisher:
    """The process's way to the broker."""

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
        self._pump_asked = threading.Event()
        self._pause = connection.Pause(self._stopping)

    @property
    def connected(self) -> bool:
        """Whether messages can leave now."""
        return self._channel is not None

    @property
    def pending(self) -> int:
        """How much is handed over and not confirmed; 0 when all is."""
        return len(self._waiting) + len(self._unconfirmed)

    def start(self) -> None:
        """Connect in the background."""
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Publish what is waiting if the broker is there, then close."""
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
        on_confirm: Confirmed = _nobody,
        *,
        exchange: str = topology.EVENTS,
    ) -> None:
        """Hand a message over; `on_confirm` is called exactly once, later, on another thread."""
        if len(self._waiting) >= MAX_WAITING_MESSAGES:
            on_confirm(False)
            return
        body = message.to_bytes()
        key = message.routing_key
        self._waiting.append(_Outgoing(exchange, key, body, message.joinable, on_confirm))
        if not self._pump_asked.is_set():
            self._pump_asked.set()
            self._on_loop(self._pump_soon)

    # Everything below runs on the publisher's thread, except _on_loop.

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
        self._pump_asked.clear()
        channel = self._channel
        while channel is not None and channel.is_open and self._waiting:
            parts = self._joined()
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
                # A wake-up without listeners is no failure; an event without a queue is.
                mandatory=outgoing.exchange not in topology.UNHEARD,
            )

    def _joined(self) -> list[_Outgoing]:
        """Take what goes next: one message, or several of one kind that wait together."""
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
        # In the order of their tags, as they were published.
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
        """Put what was not confirmed in front of what waits, in its old order."""
        self._connection = self._channel = None
        self._returned.clear()
        for tag in sorted(self._unconfirmed, reverse=True):
            self._waiting.extendleft(reversed(self._unconfirmed[tag].parts))
        self._unconfirmed.clear()

    def _close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
