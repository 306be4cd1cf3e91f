"""Lists objects that contradict the index; ambiguous patients are in the archive."""

from draw_api.models.conflicts import ConflictCriteria, ObjectConflict
from draw_api.models.paging import Page
from draw_api.ports.conflicts import ConflictRepository


class ConflictService:
    """Finds objects that a person has to examine."""

    def __init__(self, table: ConflictRepository) -> None:
        self._table = table

    def conflicts(
        self, criteria: ConflictCriteria, cursor: str | None, limit: int
    ) -> Page[ObjectConflict]:
        """Return a page of matching conflicts; those of one kind may be on later pages."""
        return self._table.page(criteria, cursor, limit)
