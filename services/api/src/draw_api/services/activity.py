"""Received objects over time, for charts."""

from collections.abc import Callable, Sequence
from typing import Final

from draw_api.models.activity import LastDay, LastReceived, Throughput
from draw_api.models.paging import Page
from draw_api.models.storage import Forecast
from draw_api.models.webhooks import Change
from draw_api.ports.activity import ReceptionRepository

MAX_MODALITIES: Final = 12


class ActivityService:
    """Shows how much was received lately."""

    def __init__(self, history: ReceptionRepository, outlook: Callable[[], Forecast]) -> None:
        self._history = history
        self._outlook = outlook

    def throughput(self) -> Throughput:
        """Return the last hour by minutes and the last month by days."""
        return self._history.throughput()

    def last_day(self) -> LastDay:
        """Return the transactions of the last 24 hours in numbers."""
        return self._history.last_day()

    def last_received(self) -> Sequence[LastReceived]:
        """Return the modalities of which something arrived last, newest first."""
        return self._history.last_received(MAX_MODALITIES)

    def forecast(self) -> Forecast:
        """Return when the storage will be full, at most a minute old, because the sums are slow."""
        return self._outlook()

    def changes(self, kind: str, cursor: str | None, limit: int) -> Page[Change]:
        """Return a page of the change feed, last first; an empty kind means all."""
        return self._history.changes(kind, cursor, limit)
