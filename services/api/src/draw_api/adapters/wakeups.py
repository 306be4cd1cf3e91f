"""Sends wake-ups after the commit; polling makes up for a lost one."""

import structlog
from typing_extensions import override

from draw_api.ports.wakeups import WakeUps
from draw_shared.contracts.control import ControlV1
from draw_shared.contracts.envelope import Command
from draw_shared.errors import DrawError
from draw_shared.messaging import topology
from draw_shared.messaging.publisher import Publisher

log = structlog.get_logger()


class CollectedWakeUps(WakeUps):
    """The wake-ups of one transaction."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._messages: list[Command] = []

    @override
    def after_commit(self, message: Command) -> None:
        self._messages.append(message)

    def send(self) -> None:
        """Send the collected wake-ups."""
        for message in self._messages:
            try:
                self._publisher.publish(message, exchange=_exchange(message))
            except DrawError as error:
                log.warning("wakeup.lost", message=message.routing_key, error=type(error).__name__)


def _exchange(message: Command) -> str:
    """Return where a wake-up goes: to every replica, or to a free one."""
    return topology.CONTROL if isinstance(message, ControlV1) else topology.EVENTS
