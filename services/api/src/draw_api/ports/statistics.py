"""Port of the sums of received images."""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

from draw_api.models.statistics import StatisticsCriteria, StoreCount, StoreCounts


class StatisticsRepository(Protocol):
    """The sums that the transaction log keeps."""

    def counts(self, criteria: StatisticsCriteria) -> StoreCounts:
        """Return the counts by day, by sender and by SOP class."""

    def counts_of_day(
        self, day: date, criteria: StatisticsCriteria
    ) -> Sequence[tuple[str, str, StoreCount]]:
        """Return the counts of one day with sender and SOP class, ordered by these."""

    def sop_classes(self) -> Sequence[str]:
        """Return the SOP classes that were ever received."""

    def counting(self) -> bool:
        """Return whether days from before there were statistics are still to be counted."""
