"""Receives the wake-ups that go to every replica on `draw.control`.

One thread owns the connection and its queue, which is exclusive and vanishes with the
connection. That thread calls the listeners one after the other, so they must be quick: a
wake-up only says that polling now is worthwhile. Wake-ups sent while the broker is away are
lost, so every listener also polls.
"""

import threading
from collections.abc import Callable
from typing import Final

import pika
import structlog
from pydantic import ValidationError

from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.messaging import connection, topology

log = structlog.get_logger()

POLL_INTERVAL_SECONDS: Final = 0.5

Listener = Callable[[ControlV1], None]


class ControlListener:
    """Calls the listeners of a subject for each wake-up of that subject."""

    name = "control"

    def __init__(self, url: str, *, client: str) -> None:
        self._url = url
        self._client = client
        self._listeners: list[tuple[ControlSubject, Listener]] = []
        self._connected = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @property
    def connected(self) -> bool:
        """Whether wake-ups can be received now."""
        return self._connected

    def on(self, subject: ControlSubject, listener: Listener) -> None:
        """Register `listener` for wake-ups of `subject`; call this before `start`."""
        self._listeners.append((subject, listener))

    def start(self) -> None:
        """Start the thread; it listens as soon as the broker answers."""
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Stop listening."""
        self._stopping.set()
        self._thread.join(deadline_seconds)

    def _run(self) -> None:
        pause = connection.Pause(self._stopping)
        while not self._stopping.is_set():
            try:
                self._listen(pause)
            except connection.BrokerUnavailable as error:
                log.warning("broker.unavailable", error=str(error), listener=self.name)
            except connection.CONNECTION_FAILURES as error:
                log.warning(
                    "broker.connection_lost", error=type(error).__name__, listener=self.name
                )
            except Exception:
                log.exception("control.failed")
            if not self._stopping.is_set():
                pause.wait()

    def _listen(self, pause: connection.Pause) -> None:
        made = connection.connect(self._url, f"{self._client} {self.name}")
        try:
            self._subscribe(made)
            self._connected = True
            pause.reset()
            while not self._stopping.is_set():
                made.process_data_events(time_limit=POLL_INTERVAL_SECONDS)
        finally:
            self._connected = False
            if made.is_open:
                made.close()

    def _subscribe(self, made: pika.BlockingConnection) -> None:
        channel = topology.complete(made)
        queue = channel.queue_declare("", exclusive=True, auto_delete=True).method.queue
        channel.queue_bind(queue, topology.CONTROL)
        channel.basic_consume(
            queue, lambda _channel, _method, _properties, body: self._hear(body), auto_ack=True
        )

    def _hear(self, body: bytes) -> None:
        try:
            message = ControlV1.from_bytes(body)
        except ValidationError:
            # A newer release may send subjects that this one does not know.
            log.warning("control.not_understood")
            return
        for subject, listener in self._listeners:
            if subject is message.subject:
                self._call(listener, message)

    def _call(self, listener: Listener, message: ControlV1) -> None:
        try:
            listener(message)
        except Exception:
            log.exception("control.listener_failed", subject=str(message.subject))
