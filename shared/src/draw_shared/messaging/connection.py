"""Connects to the broker: parameters, one blocking connection, pauses between attempts."""

import random
import threading
from typing import Final

import pika
from pika.exceptions import AMQPError

from draw_shared.errors import Transient

HEARTBEAT_INTERVAL_SECONDS: Final = 20
BLOCKED_TIMEOUT_SECONDS: Final = 300
CONNECT_TIMEOUT_SECONDS: Final = 5
MIN_RETRY_DELAY_SECONDS: Final = 0.2
MAX_RETRY_DELAY_SECONDS: Final = 5.0

CONNECTION_FAILURES: Final = (AMQPError, OSError)
"""Exceptions of pika when the broker is away, goes away or refuses."""


class BrokerUnavailable(Transient):
    """RabbitMQ does not answer."""


def parameters(url: str, name: str) -> pika.URLParameters:
    """Return connection parameters for `url`; the broker displays `name`."""
    found = pika.URLParameters(url)
    found.heartbeat = HEARTBEAT_INTERVAL_SECONDS
    found.blocked_connection_timeout = BLOCKED_TIMEOUT_SECONDS
    found.socket_timeout = CONNECT_TIMEOUT_SECONDS
    found.stack_timeout = CONNECT_TIMEOUT_SECONDS + 5
    found.connection_attempts = 1
    found.client_properties = {"connection_name": name}
    return found


def connect(url: str, name: str) -> pika.BlockingConnection:
    """Return a connection that only the calling thread may use.

    Raises:
        BrokerUnavailable: the broker is away or refuses.
    """
    try:
        return pika.BlockingConnection(parameters(url, name))
    except CONNECTION_FAILURES as error:
        raise BrokerUnavailable(type(error).__name__) from error


class Pause:
    """Waits longer after each consecutive failure, with jitter; a stop ends the wait early."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._seconds = MIN_RETRY_DELAY_SECONDS

    def wait(self) -> None:
        """Wait once."""
        self._stopping.wait(self._seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter only
        self._seconds = min(self._seconds * 2, MAX_RETRY_DELAY_SECONDS)

    def reset(self) -> None:
        """Return to short waits after a success."""
        self._seconds = MIN_RETRY_DELAY_SECONDS
