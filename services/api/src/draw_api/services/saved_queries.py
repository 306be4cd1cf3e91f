"""Saves queries under names, and runs them again."""

from pydantic import ValidationError

from draw_api.models.paging import Page
from draw_api.models.queries import Query
from draw_api.models.saved_queries import MAX_SAVED, NewSavedQuery, SavedQuery
from draw_api.ports.saved_queries import SavedQueryRepository
from draw_api.services.queries import QueryService
from draw_shared.access.audit import AuditTrail
from draw_shared.access.permissions import Permission, may
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, Forbidden, Invalid, NotFound
from draw_shared.contracts.validation_words import problems_of
from draw_shared.wording import message


class SavedQueryService:
    """Manages the queries that users have saved, each for its owner and, if shared, for all."""

    def __init__(
        self, table: SavedQueryRepository, queries: QueryService, audit: AuditTrail
    ) -> None:
        self._table = table
        self._queries = queries
        self._audit = audit

    def save(self, by: Principal, saved: NewSavedQuery) -> SavedQuery:
        """Save a query; the user's own of that name is replaced.

        Raises:
            Conflict: the user has saved too many.
        """
        another = self.own(by, saved.name) is None
        if another and self._table.number_of(by.user_id) >= MAX_SAVED:
            raise Conflict(
                message(
                    "Nobody may save more than %(max_saved)s queries; delete one first.",
                    max_saved=MAX_SAVED,
                )
            )
        saved_id = self._table.save(by.user_id, saved)
        # Its name and keys may name a patient, so they stay out of the log.
        self._audit.record(by, "saved-query.save", str(saved_id))
        return self.one(by, saved_id)

    def saved(self, by: Principal, cursor: str | None, limit: int) -> Page[SavedQuery]:
        """Return a page of the user's own and of shared queries, by name."""
        return self._table.saved(by.user_id, cursor, limit)

    def own(self, by: Principal, name: str) -> SavedQuery | None:
        """Return the user's own query of this name; None if there is none."""
        return self._table.named(by.user_id, name)

    def one(self, by: Principal, saved_id: int) -> SavedQuery:
        """Return one saved query; NotFound when there is none that the user may run."""
        found = self._table.one(saved_id, by.user_id)
        if found is None:
            raise NotFound(message("There is no such saved query."))
        return found

    def to_schedule(self, by: Principal, saved_id: int) -> SavedQuery:
        """Return a saved query that is to be asked regularly; NotFound as for `one`."""
        return self.one(by, saved_id)

    def run(self, by: Principal, saved_id: int) -> Query:
        """Send a saved query now; a span of days is counted back from today.

        Raises:
            NotFound: there is none that the user may run.
            Invalid: a node can no longer be asked, or a key is no longer accepted.
        """
        self.one(by, saved_id)
        try:
            asked = self._table.asked(saved_id)
        except ValidationError as error:
            raise Invalid(problems_of(error.errors())) from error
        return self._queries.ask(by, asked.model_copy(update={"max_age_seconds": 0}))[0]

    def remove(self, by: Principal, saved_id: int) -> None:
        """Delete a saved query.

        Raises:
            NotFound: there is none that the user may run.
            Forbidden: it is somebody else's, and the user may not delete those.
        """
        own = self.one(by, saved_id).owner == by.name
        if not own and not may(by, Permission.REMOVE_ALL_SAVED_QUERIES):
            raise Forbidden(
                message("Only its owner or an administrator may delete this saved query.")
            )
        self._table.remove(saved_id)
        self._audit.record(by, "saved-query.delete", str(saved_id))
