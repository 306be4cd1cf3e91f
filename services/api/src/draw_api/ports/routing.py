"""Port of routing: the versions of its document."""

from collections.abc import Mapping
from typing import Any, Protocol

from draw_api.models.paging import Page
from draw_api.models.routing import StoredRoutingVersion


class RoutingRepository(Protocol):
    """The rows of the versions."""

    def newest(self) -> StoredRoutingVersion | None:
        """Return the version in force; None if nobody has written rules yet."""

    def version(self, number: int) -> StoredRoutingVersion | None:
        """Return one version."""

    def page(
        self, cursor: str | None, limit: int
    ) -> Page[tuple[StoredRoutingVersion, dict[str, Any] | None]]:
        """Return a page of versions, newest first, each with the previous document."""

    def add(self, number: int, document: Mapping[str, Any], by: str, comment: str) -> bool:
        """Add a version; return False if another caller has taken the number."""
