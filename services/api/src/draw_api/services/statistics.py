"""Adds up received images, and estimates how long storing them took."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import groupby
from typing import Any, Final

from draw_api.models.statistics import (
    BUCKETS_PER_DOUBLING,
    FAILED_BUCKET,
    FIRST_BOUND_SECONDS,
    DayStatistics,
    ModalityStatistics,
    SenderStatistics,
    SopClassStatistics,
    Statistics,
    StatisticsCriteria,
    StatisticsRow,
    StoreCount,
    StoreSums,
)
from draw_api.ports.statistics import StatisticsRepository
from draw_api.services.sop_class_modalities import modality_of
from draw_shared.contracts.failures import FieldProblem, Invalid
from draw_shared.wording import message

MAX_DAYS: Final = 400
MAX_SENDERS: Final = 200


class StatisticsService:
    """Shows what was received."""

    def __init__(self, sums: StatisticsRepository) -> None:
        self._sums = sums

    def statistics(self, criteria: StatisticsCriteria) -> Statistics:
        """Return the sums of a span of days.

        Raises:
            Invalid: the span is empty or too long.
        """
        require_span(criteria)
        counts = self._sums.counts(criteria)
        by_modality: dict[str, list[StoreCount]] = {}
        for uid, of_class in counts.sop_classes.items():
            by_modality.setdefault(modality_of(uid), []).extend(of_class)
        senders = _most_first(counts.senders)
        everything = [count for of_day in counts.days.values() for count in of_day]
        return Statistics(
            first_day=criteria.first_day,
            last_day=criteria.last_day,
            counting=self._sums.counting(),
            total=StoreSums(**sums_of(everything)),
            days=[
                DayStatistics(day=day, **sums_of(counts.days[day])) for day in sorted(counts.days)
            ],
            senders=[
                SenderStatistics(calling_ae=name, **sums_of(found))
                for name, found in senders[:MAX_SENDERS]
            ],
            senders_left_out=max(0, len(senders) - MAX_SENDERS),
            modalities=[
                ModalityStatistics(modality=name, **sums_of(found))
                for name, found in _most_first(by_modality)
            ],
            sop_classes=[
                SopClassStatistics(sop_class_uid=uid, modality=modality_of(uid), **sums_of(found))
                for uid, found in _most_first(counts.sop_classes)
            ],
        )

    def sop_classes_of(self, modality: str) -> list[str]:
        """Return the received SOP classes of a modality."""
        return [uid for uid in self._sums.sop_classes() if modality_of(uid) == modality]

    def modalities(self) -> list[str]:
        """Return the modalities that were ever received."""
        return sorted({modality_of(uid) for uid in self._sums.sop_classes()})

    def rows_of(self, day: date, criteria: StatisticsCriteria) -> Iterator[StatisticsRow]:
        """Yield the sums of one day by sender and SOP class."""
        found = self._sums.counts_of_day(day, criteria)
        for (sender, uid), rows in groupby(found, key=lambda row: (row[0], row[1])):
            yield StatisticsRow(
                day=day,
                calling_ae=sender,
                modality=modality_of(uid),
                sop_class_uid=uid,
                **sums_of([count for _, _, count in rows]),
            )


def require_span(criteria: StatisticsCriteria) -> None:
    """Return if statistics can be made of this span.

    Raises:
        Invalid: it is empty or too long.
    """
    length = (criteria.last_day - criteria.first_day).days + 1
    if length < 1:
        raise Invalid([FieldProblem("last_day", message("must not be before the first day"))])
    if length > MAX_DAYS:
        words = message("must be at most %(days)s days after the first day", days=MAX_DAYS)
        raise Invalid([FieldProblem("last_day", words)])


def days_of(criteria: StatisticsCriteria) -> Iterator[date]:
    """Yield each day of a span, the first one first."""
    for number in range((criteria.last_day - criteria.first_day).days + 1):
        yield criteria.first_day + timedelta(days=number)


def sums_of(counts: Iterable[StoreCount]) -> dict[str, Any]:
    """Return the fields of `StoreSums` for these counts."""
    received = failed = size = 0
    by_bucket: dict[int, int] = {}
    for count in counts:
        if count.bucket == FAILED_BUCKET:
            failed += count.objects
            continue
        received += count.objects
        size += count.size_bytes
        if count.bucket >= 0:
            by_bucket[count.bucket] = by_bucket.get(count.bucket, 0) + count.objects
    return {
        "received": received,
        "failed": failed,
        "size_bytes": size,
        "p50_seconds": percentile(by_bucket, 0.5),
        "p95_seconds": percentile(by_bucket, 0.95),
    }


def percentile(by_bucket: Mapping[int, int], share: float) -> float | None:
    """Return the time within which this share was stored, as evenly spread within its bucket."""
    total = sum(by_bucket.values())
    if not total:
        return None
    left = share * total
    bucket = 0
    for bucket in sorted(by_bucket):
        if by_bucket[bucket] >= left:
            break
        left -= by_bucket[bucket]
    low = bound_of(bucket - 1) if bucket else 0.0
    part = min(1.0, left / by_bucket[bucket])
    return round(low + part * (bound_of(bucket) - low), 6)


def bound_of(bucket: int) -> float:
    """Return the longest time of a bucket in seconds."""
    return float(FIRST_BOUND_SECONDS * 2 ** (bucket / BUCKETS_PER_DOUBLING))


def _most_first(
    found: Mapping[str, Sequence[StoreCount]],
) -> list[tuple[str, Sequence[StoreCount]]]:
    return sorted(
        found.items(), key=lambda item: (-sum(count.objects for count in item[1]), item[0])
    )
