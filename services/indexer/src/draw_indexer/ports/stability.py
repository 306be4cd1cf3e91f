"""Ports of the series and studies that become complete."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from draw_indexer.models import ClosedEntity, QuietEntity, SettledSeries


class StabilityRepository(Protocol):
    """Series and studies of the index."""

    def find_settled(self, settle_seconds: float) -> Sequence[SettledSeries]:
        """Return the open series that may be complete before their quiet period is over.

        `settle_seconds` is the settle time of senders that have none of their own.

        Raises:
            Transient: the database does not answer.
        """

    def find_quiet(
        self, quiet_seconds: float, settle_seconds: float
    ) -> tuple[datetime, Sequence[QuietEntity]]:
        """Return the database's time, and what has received nothing for so long by then.

        Raises:
            Transient: the database does not answer.
        """

    def close(
        self,
        quiet_seconds: float,
        settle_seconds: float,
        ended: Collection[int],
        quiet: Collection[QuietEntity],
    ) -> tuple[list[ClosedEntity], list[ClosedEntity]]:
        """Close what is complete; return the series and studies closed now.

        Complete is what `find_settled` has found, the ids in `ended`, and what `find_quiet` has
        found; all are judged again. A study is not complete while one of its series is open.

        Raises:
            Transient: the database does not answer; nothing is closed.
        """


class VolumeWatch(Protocol):
    """The objects on the storage volume that are not in the index yet."""

    def look(self) -> None:
        """Note which objects are not announced now."""

    def announced_since(self, moment: float) -> bool:
        """Return whether everything that was durable at this moment (monotonic) is announced."""

    def unannounced_studies(self) -> Collection[str] | None:
        """Return the studies of objects that are not announced; None if there are too many."""

    def find_unindexed(self, uids: Collection[str]) -> Collection[str] | None:
        """Return which of these series and studies have announced objects that are not indexed.

        An object that the index has, but not from this association, may be the first of many.

        None means that it cannot be told now: there are too many announcements, or they move.

        Raises:
            Transient: the database does not answer.
        """
