"""Sends wake-ups after the commit; one that is lost is made up for by polling."""

from typing import Protocol

import structlog

from draw_shared.contracts.envelope import Command, Message
from draw_shared.errors import DrawError

log = structlog.get_logger()


class Publisher(Protocol):
    """Hands messages to the broker, in the background."""

    def publish(self, message: Message) -> object:
        """Take a message to be sent as soon as possible."""


class CollectedWakeUps:
    """The wake-ups of one transaction."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._messages: list[Command] = []

    def after_commit(self, message: Command) -> None:
        """Send `message` if and when the transaction is committed."""
        self._messages.append(message)

    def send(self) -> None:
        """Send what was collected."""
        for message in self._messages:
            try:
                self._publisher.publish(message)
            except DrawError as error:
                log.warning("wakeup.lost", message=message.routing_key, error=type(error).__name__)
