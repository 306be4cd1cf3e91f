"""Objects that contradict what the index has; people in conflict are those of the archive."""

from typing import Protocol

from draw_api.models.conflicts import ConflictCriteria, ObjectConflict
from draw_api.models.paging import Page


class ConflictTable(Protocol):
    """What the index knows of objects in conflict."""

    def page(
        self, criteria: ConflictCriteria, cursor: str | None, limit: int
    ) -> Page[ObjectConflict]:
        """Return a page of conflicts, last recorded first."""


class Conflicts:
    """Finds objects that a person has to look at."""

    def __init__(self, table: ConflictTable) -> None:
        self._table = table

    def conflicts(
        self, criteria: ConflictCriteria, cursor: str | None, limit: int
    ) -> Page[ObjectConflict]:
        """Return a page of the conflicts that match; those of a kind may be on later pages."""
        return self._table.page(criteria, cursor, limit)
