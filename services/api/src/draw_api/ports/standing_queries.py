"""Ports of the standing queries and their runs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from draw_api.models.paging import Page
from draw_api.models.standing_queries import (
    AskedNode,
    MissingStudy,
    NewStandingQuery,
    RunOutcome,
    ScheduledQuery,
    StandingQuery,
    StandingQueryRun,
    StudiesFound,
    UnfinishedRun,
)


class StandingQueryRepository(Protocol):
    """The rows of standing queries."""

    def moment(self) -> datetime:
        """Return what time it is: the database's, which all replicas share."""

    def number(self) -> int:
        """Return how many there are; nobody adds another one meanwhile."""

    def name_is_taken(self, name: str, except_id: int | None) -> bool:
        """Return whether another one has this name."""

    def all(self) -> Sequence[StandingQuery]:
        """Return every standing query, by name."""

    def one(self, standing_query_id: int) -> StandingQuery | None:
        """Return one standing query."""

    def add(self, new: NewStandingQuery, next_run_at: datetime | None, created_by: str) -> int:
        """Add a standing query and return its id."""

    def change(self, standing_query_id: int, values: Mapping[str, Any]) -> None:
        """Write these columns."""

    def remove(self, standing_query_id: int) -> None:
        """Delete a standing query with its runs."""

    def runs(
        self, standing_query_id: int, cursor: str | None, limit: int
    ) -> Page[StandingQueryRun]:
        """Return a page of its runs, the last first."""

    def nodes(self, node_ids: Collection[int]) -> Mapping[int, AskedNode]:
        """Return the nodes that exist, and what prevents queries to them."""


class StandingRunRepository(Protocol):
    """What the scheduler reads and writes; replicas pass over rows that another one holds."""

    def moment(self) -> datetime:
        """Return what time it is: the database's, which all replicas share."""

    def active(self) -> Sequence[ScheduledQuery]:
        """Return every standing query that waits for its next run."""

    def hold(self, standing_query_id: int, *, wait: bool) -> ScheduledQuery | None:
        """Lock a standing query; None if there is none or, without waiting, another one has it."""

    def set_next_run(self, standing_query_id: int, moment: datetime | None) -> None:
        """Write when it runs next."""

    def is_going(self, standing_query_id: int) -> datetime | None:
        """Return for when its unfinished run was scheduled."""

    def add_run(self, standing_query_id: int, scheduled_for: datetime, run_by: str) -> int | None:
        """Add a run and return its id; None if it has run then. Old runs are forgotten."""

    def unfinished(self) -> Sequence[int]:
        """Return the runs that have not ended, the oldest first."""

    def hold_run(self, run_id: int) -> UnfinishedRun | None:
        """Lock a run; None if it has ended or another one has it."""

    def write(self, run_id: int, outcome: RunOutcome) -> None:
        """Write what became of a run."""

    def found(self, query_id: UUID) -> StudiesFound:
        """Count the studies that a query found."""

    def missing(self, query_id: UUID, most: int) -> Sequence[MissingStudy]:
        """Return at most so many of the missing studies, the newest first.

        If several nodes have a study, the one that reports most instances of it.
        """
