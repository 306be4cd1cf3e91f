"""Port of the list of objects that contradict the index."""

from typing import Protocol

from draw_api.models.conflicts import ConflictCriteria, ObjectConflict
from draw_api.models.paging import Page


class ConflictRepository(Protocol):
    """The conflicts in the index."""

    def page(
        self, criteria: ConflictCriteria, cursor: str | None, limit: int
    ) -> Page[ObjectConflict]:
        """Return a page of conflicts, last recorded first."""
