"""Port of the received objects, of the last day in numbers, and of the change feed."""

from collections.abc import Sequence
from typing import Protocol

from draw_api.models.activity import LastDay, LastReceived, Throughput
from draw_api.models.paging import Page
from draw_api.models.webhooks import Change


class ReceptionRepository(Protocol):
    """Reads the transaction log and the index."""

    def throughput(self) -> Throughput:
        """Return the last hour by minutes and the last month by days."""

    def last_day(self) -> LastDay:
        """Return the transactions of the last 24 hours in numbers."""

    def last_received(self, limit: int) -> Sequence[LastReceived]:
        """Return the modalities of which something arrived last, newest first."""

    def changes(self, kind: str, cursor: str | None, limit: int) -> Page[Change]:
        """Return a page of the change feed, last first; an empty kind means all."""
