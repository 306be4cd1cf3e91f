"""Port of the versions of a document: the configuration, or the rules of routing."""

from collections.abc import Mapping
from typing import Any, Protocol

from draw_api.models.config import StoredVersion
from draw_api.models.paging import Page


class DocumentRepository(Protocol):
    """The rows of the versions."""

    def newest(self) -> StoredVersion | None:
        """Return the version in force; None if nobody has written one yet."""

    def version(self, number: int) -> StoredVersion | None:
        """Return one version."""

    def page(
        self, cursor: str | None, limit: int
    ) -> Page[tuple[StoredVersion, dict[str, Any] | None]]:
        """Return a page of versions, newest first, each with the previous document."""

    def add(self, number: int, document: Mapping[str, Any], by: str, comment: str) -> bool:
        """Add a version; return False if another caller has taken the number."""
