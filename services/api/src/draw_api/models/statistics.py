"""Received images by day, sender, modality and SOP class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from pydantic import Field

from draw_api.models.paging import Answer

FAILED_BUCKET: Final = -1
"""The bucket of C-STOREs that failed; a negative one has no store time."""
FIRST_BOUND_SECONDS: Final = 0.001
BUCKETS_PER_DOUBLING: Final = 2


@dataclass(frozen=True, slots=True)
class StoreCount:
    """C-STOREs of one kind of which storing took about the same time."""

    bucket: int
    objects: int
    size_bytes: int


class StoreSums(Answer):
    """Sums over C-STOREs."""

    received: int = Field(description="answered with success or a warning")
    failed: int = Field(description="answered with a failure, or broken off")
    size_bytes: int = Field(description="of those that were received")
    p50_seconds: float | None = Field(
        description="half of the received were stored within this time, within about 20 %"
    )
    p95_seconds: float | None = Field(
        description="95 % of the received were stored within this time, within about 20 %"
    )


class DayStatistics(StoreSums):
    """What was received on one day (UTC)."""

    day: date


class SenderStatistics(StoreSums):
    """What one calling AE title has sent."""

    calling_ae: str


class ModalityStatistics(StoreSums):
    """What was received of one modality, as the SOP classes tell it."""

    modality: str = Field(examples=["CT"])


class SopClassStatistics(StoreSums):
    """What was received of one SOP class."""

    sop_class_uid: str
    modality: str


class StatisticsRow(StoreSums):
    """What one sender has sent of one SOP class on one day."""

    day: date
    calling_ae: str
    modality: str
    sop_class_uid: str


class Statistics(Answer):
    """Received images of a span of days; days and senders without any are left out."""

    first_day: date
    last_day: date
    counting: bool = Field(
        description="days from before there were statistics are still being counted"
    )
    total: StoreSums
    days: list[DayStatistics]
    senders: list[SenderStatistics] = Field(description="most images first, at most 200")
    senders_left_out: int = Field(description="senders beyond those; the totals include them")
    modalities: list[ModalityStatistics]
    sop_classes: list[SopClassStatistics]


@dataclass(frozen=True, slots=True)
class StatisticsCriteria:
    """What to add up."""

    first_day: date
    last_day: date
    calling_ae: str = ""
    """Empty means any."""
    sop_class_uids: Sequence[str] | None = None
    """None means any."""


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """The counts of a span of days, by each of its sides."""

    days: Mapping[date, Sequence[StoreCount]]
    senders: Mapping[str, Sequence[StoreCount]]
    sop_classes: Mapping[str, Sequence[StoreCount]]
