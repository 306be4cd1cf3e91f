"""Ports of routing: the versions of its document, and the facts about what was received."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from draw_api.models.config import StoredVersion
from draw_api.models.paging import Page
from draw_shared.routing.facts import RoutingFacts
from draw_shared.routing.subjects import ConditionSubject


class RoutingRepository(Protocol):
    """The rows of the versions."""

    def newest(self) -> StoredVersion | None:
        """Return the version in force; None if nobody has written rules yet."""

    def version(self, number: int) -> StoredVersion | None:
        """Return one version."""

    def page(
        self, cursor: str | None, limit: int
    ) -> Page[tuple[StoredVersion, dict[str, Any] | None]]:
        """Return a page of versions, newest first, each with the previous document."""

    def add(self, number: int, document: Mapping[str, Any], by: str, comment: str) -> bool:
        """Add a version; return False if another caller has taken the number."""


class RoutingFactsSource(Protocol):
    """What the archive knows about series."""

    def series(
        self, series_instance_uid: str, wanted: Iterable[ConditionSubject]
    ) -> tuple[str, RoutingFacts] | None:
        """Return the study of a series, and the facts about it; None if there is none."""
