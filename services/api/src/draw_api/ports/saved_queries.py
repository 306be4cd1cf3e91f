"""Port of the queries that users have saved."""

from typing import Protocol

from draw_api.models.paging import Page
from draw_api.models.queries import NewQuery
from draw_api.models.saved_queries import NewSavedQuery, SavedQuery


class SavedQueryRepository(Protocol):
    """The rows of saved queries."""

    def number_of(self, user_id: int) -> int:
        """Return how many queries the user has saved."""

    def save(self, user_id: int, saved: NewSavedQuery) -> int:
        """Add a query, or replace the user's own of that name; return its id."""

    def saved(self, user_id: int, cursor: str | None, limit: int) -> Page[SavedQuery]:
        """Return a page of the user's own and of shared queries, by name."""

    def one(self, saved_id: int, user_id: int) -> SavedQuery | None:
        """Return a query that is the user's own or shared."""

    def named(self, user_id: int, name: str) -> SavedQuery | None:
        """Return the user's own query of this name."""

    def asked(self, saved_id: int) -> NewQuery:
        """Return the query as it was saved."""

    def remove(self, saved_id: int) -> None:
        """Delete a saved query."""
