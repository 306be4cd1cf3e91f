"""Port of the C-FIND jobs and of the matches that remote nodes returned."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from draw_api.models.paging import Page
from draw_api.models.queries import (
    ChosenMatch,
    NewQuery,
    Query,
    QueryCriteria,
    QueryMatch,
    QueryOrigin,
)


class QueryRepository(Protocol):
    """The rows of queries, their jobs and their results."""

    def node_states(self, node_ids: Collection[int]) -> Mapping[int, str]:
        """Return for each existing node what prevents a query to it, empty if nothing."""

    def fresh(self, fingerprint: str, max_age_seconds: int) -> UUID | None:
        """Return the same query if it is recent and its answer is complete or under way."""

    def add(
        self,
        query: NewQuery,
        fingerprint: str,
        created_by: str,
        opened_from: QueryOrigin | None = None,
    ) -> tuple[UUID, Sequence[UUID]]:
        """Add a query with a job for each node; return its id and those of the jobs."""

    def queries(self, criteria: QueryCriteria, cursor: str | None, limit: int) -> Page[Query]:
        """Return a page of those queries, the latest first."""

    def query(self, query_id: UUID) -> Query | None:
        """Return one query."""

    def asked(self, query_id: UUID) -> NewQuery:
        """Return the parameters of a query."""

    def matches(
        self,
        query_id: UUID,
        *,
        node_id: int | None,
        search: str,
        sort: str,
        cursor: str | None,
        limit: int,
    ) -> Page[QueryMatch]:
        """Return a page of matches; `sort` is a keyword, with a minus for descending."""

    def chosen(self, query_id: UUID, ids: Sequence[int]) -> Sequence[ChosenMatch]:
        """Return those of the matches that exist, in the order in which they came."""

    def cancel(self, query_id: UUID) -> str | None:
        """Cancel the query; return its previous state."""

    def remove(self, query_id: UUID) -> None:
        """Delete a query with its results."""
