"""Reads the sums of received images from PostgreSQL; a trigger of the log keeps them."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.statistics import StatisticsCriteria, StoreCount, StoreCounts
from draw_api.ports.statistics import StatisticsRepository

MATCHING: Final = """
    (:calling_ae = '' OR calling_ae = :calling_ae)
        AND (CAST(:sop_class_uids AS text[]) IS NULL OR sop_class_uid = ANY(:sop_class_uids))
"""
COUNTS: Final = text(
    f"""
    SELECT day, calling_ae, sop_class_uid, bucket, sum(objects)::bigint, sum(size_bytes)::bigint
    FROM store_statistics
    WHERE day BETWEEN :first_day AND :last_day AND {MATCHING}
    GROUP BY GROUPING SETS ((day, bucket), (calling_ae, bucket), (sop_class_uid, bucket))
    """  # noqa: S608 - our own words
)
COUNTS_OF_DAY: Final = text(
    f"""
    SELECT calling_ae, sop_class_uid, bucket, objects, size_bytes FROM store_statistics
    WHERE day = :day AND {MATCHING}
    ORDER BY calling_ae, sop_class_uid, bucket
    """  # noqa: S608 - our own words
)
SOP_CLASSES: Final = text("SELECT DISTINCT sop_class_uid FROM store_statistics")
COUNTING: Final = text("SELECT EXISTS (SELECT FROM store_statistics_backlog)")


class PostgresStatisticsRepository(StatisticsRepository):
    """The table `store_statistics`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def counts(self, criteria: StatisticsCriteria) -> StoreCounts:
        days: dict[date, list[StoreCount]] = {}
        senders: dict[str, list[StoreCount]] = {}
        sop_classes: dict[str, list[StoreCount]] = {}
        span = {"first_day": criteria.first_day, "last_day": criteria.last_day}
        rows = self._connection.execute(COUNTS, span | _asked(criteria))
        for day, sender, sop_class, *found in rows:
            count = StoreCount(*found)
            if day is not None:
                days.setdefault(day, []).append(count)
            elif sender is not None:
                senders.setdefault(sender, []).append(count)
            else:
                sop_classes.setdefault(sop_class, []).append(count)
        return StoreCounts(days, senders, sop_classes)

    @override
    def counts_of_day(
        self, day: date, criteria: StatisticsCriteria
    ) -> Sequence[tuple[str, str, StoreCount]]:
        rows = self._connection.execute(COUNTS_OF_DAY, {"day": day} | _asked(criteria))
        return [(sender, sop_class, StoreCount(*found)) for sender, sop_class, *found in rows]

    @override
    def sop_classes(self) -> Sequence[str]:
        return self._connection.execute(SOP_CLASSES).scalars().all()

    @override
    def counting(self) -> bool:
        return bool(self._connection.execute(COUNTING).scalar())


def _asked(criteria: StatisticsCriteria) -> dict[str, Any]:
    uids = criteria.sop_class_uids
    return {
        "calling_ae": criteria.calling_ae,
        "sop_class_uids": None if uids is None else list(uids),
    }
