"""Port of the received objects per minute and of the change feed."""

from typing import Protocol

from draw_api.models.activity import Throughput
from draw_api.models.paging import Page
from draw_api.models.webhooks import Change


class ReceptionRepository(Protocol):
    """Reads the transaction log and the index."""

    def throughput(self) -> Throughput:
        """Return the last hour by minutes and the last month by days."""

    def changes(self, kind: str, cursor: str | None, limit: int) -> Page[Change]:
        """Return a page of the change feed, last first; an empty kind means all."""
