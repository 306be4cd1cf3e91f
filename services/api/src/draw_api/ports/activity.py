"""Port of the received objects per minute and of the forecast of the disk."""

from typing import Protocol

from draw_api.models.activity import Throughput
from draw_api.models.paging import Page
from draw_api.models.webhooks import Change


class ReceptionRepository(Protocol):
    """What the transaction log and the index say about the past."""

    def throughput(self) -> Throughput:
        """Return the last hour by minutes and the last month by days."""

    def changes(self, kind: str, cursor: str | None, limit: int) -> Page[Change]:
        """Return a page of the change feed, last first; an empty kind means all."""
