"""Port of the queries for a list of studies, with one row for each line of the list."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from draw_api.models.batch_queries import (
    AskedLine,
    BatchLine,
    BatchQuery,
    BatchQueryWithSums,
    StudySource,
)
from draw_api.models.paging import Page


class BatchQueryRepository(Protocol):
    """The rows of batch queries, their jobs and their answers."""

    def node_states(self, node_ids: Collection[int]) -> Mapping[int, str]:
        """Return for each existing node what prevents a query to it, empty if nothing."""

    def add(
        self,
        columns: Sequence[str],
        lines: Sequence[AskedLine],
        node_ids: Sequence[int],
        created_by: str,
    ) -> tuple[UUID, Sequence[UUID]]:
        """Add a list with a job for each node; return its id and those of the jobs."""

    def batch_queries(self, cursor: str | None, limit: int) -> Page[BatchQuery]:
        """Return a page of lists, the latest first."""

    def batch_query(self, batch_query_id: UUID) -> BatchQueryWithSums | None:
        """Return one list with its progress."""

    def lines(
        self,
        batch_query_id: UUID,
        *,
        node_id: int | None,
        state: str | None,
        here: str | None,
        cursor: str | None,
        limit: int,
    ) -> Page[BatchLine]:
        """Return a page of the nodes' answers, in the order of the list."""

    def asked(self, batch_query_id: UUID) -> Sequence[AskedLine]:
        """Return the questions."""

    def sources(self, batch_query_id: UUID) -> Sequence[StudySource]:
        """Return what can be retrieved and is not completely here, in the order of the list."""

    def found(self, batch_query_id: UUID) -> Mapping[tuple[int, str], Mapping[str, Any]]:
        """Return the attributes of every study found, by node and Study Instance UID."""

    def cancel(self, batch_query_id: UUID) -> str | None:
        """Cancel the list; return its previous state."""

    def remove(self, batch_query_id: UUID) -> None:
        """Delete a list with its answers."""
