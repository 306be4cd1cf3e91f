"""Ports of the series and studies that become complete."""

from collections.abc import Collection, Sequence
from typing import Protocol

from draw_indexer.models import ClosedEntity, SettledSeries


class StabilityRepository(Protocol):
    """Series and studies of the index."""

    def find_settled(self, settle_seconds: float) -> Sequence[SettledSeries]:
        """Return the open series that may be complete before their quiet period is over.

        `settle_seconds` is the settle time of senders that have none of their own.

        Raises:
            Transient: the database does not answer.
        """

    def close(
        self, quiet_seconds: float, settle_seconds: float, ended: Collection[int]
    ) -> tuple[list[ClosedEntity], list[ClosedEntity]]:
        """Close what is complete; return the series and studies closed now.

        Complete is what has received nothing for `quiet_seconds`, and what `find_settled` has
        found: the ids in `ended`, which are judged again.

        Raises:
            Transient: the database does not answer; nothing is closed.
        """


class VolumeWatch(Protocol):
    """The objects on the storage volume that are not in the index yet."""

    def look(self) -> None:
        """Note which objects are not announced now."""

    def announced_since(self, moment: float) -> bool:
        """Return whether everything that was durable at this moment (monotonic) is announced."""

    def find_unindexed(self, series: Collection[str]) -> Collection[str] | None:
        """Return which of these series have announced objects that are not indexed.

        An object that the index has, but not from this association, may be the first of many.

        None means that it cannot be told now: there are too many announcements, or they move.

        Raises:
            Transient: the database does not answer.
        """
