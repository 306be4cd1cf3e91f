"""Port of the list of objects whose UIDs are used twice."""

from typing import Protocol

from draw_api.models.conflicts import ConflictCriteria, ObjectConflict
from draw_api.models.paging import Page


class ConflictRepository(Protocol):
    """What the index knows of objects in conflict."""

    def page(
        self, criteria: ConflictCriteria, cursor: str | None, limit: int
    ) -> Page[ObjectConflict]:
        """Return a page of conflicts, last recorded first."""
