"""How much was received when, for charts."""

from typing import Protocol

from draw_api.models.activity import Throughput


class ReceptionHistory(Protocol):
    """What the transaction log and the index say about the past."""

    def throughput(self) -> Throughput:
        """Return the last hour by minutes and the last month by days."""


class Activity:
    """Shows how much came in lately."""

    def __init__(self, history: ReceptionHistory) -> None:
        self._history = history

    def throughput(self) -> Throughput:
        """Return the last hour by minutes and the last month by days."""
        return self._history.throughput()
