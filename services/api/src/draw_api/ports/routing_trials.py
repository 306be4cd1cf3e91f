"""Ports of trials of rules and of batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from draw_api.models.paging import Page
from draw_api.models.routing_trials import BatchOrder, RoutingBatch
from draw_shared.routing.batches import ArchiveStep, BatchCriteria


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion of a series, and what the rules of then said about it."""

    sequence: int
    series_instance_uid: str
    study_instance_uid: str
    occurred_at: datetime
    applied: Sequence[str]
    destinations: Sequence[str]


@dataclass(frozen=True, slots=True)
class AppliedCounts:
    """How often each rule was applied."""

    by_rule: Mapping[str, int]
    whole: bool
    """Whether all decisions were counted, and not only the newest."""


class CompletionHistory(Protocol):
    """What became complete."""

    def completions(self, before: int | None, since: datetime, most: int) -> list[Completion]:
        """Return completions before a change of the feed, newest first; fewer than most: all."""

    def applied(self, since: datetime, most: int) -> AppliedCounts:
        """Return how often each rule was applied, by the newest decisions, at most so many."""


class RoutingBatchRepository(Protocol):
    """Batches, and the series that one would look at."""

    def last_series(self) -> int:
        """Return the id of the newest series."""

    def step(self, criteria: BatchCriteria, after: int, until: int) -> ArchiveStep:
        """Return the next series that meet criteria."""

    def add(self, order: BatchOrder, routing_version: int, by: str) -> RoutingBatch:
        """Add a batch over all series that there are."""

    def one(self, batch_id: UUID) -> RoutingBatch | None:
        """Return a batch."""

    def page(self, cursor: str | None, limit: int) -> Page[RoutingBatch]:
        """Return a page of batches, newest first."""

    def cancel(self, batch_id: UUID) -> bool:
        """Cancel a batch; return False if it is not running."""
