"""Ports of the configuration: its versions, and the storage volume."""

from collections.abc import Mapping
from typing import Any, Protocol

from draw_api.models.config import StoredVersion
from draw_api.models.paging import Page


class ConfigRepository(Protocol):
    """The rows of the versions."""

    def newest(self) -> StoredVersion | None:
        """Return the version in force."""

    def version(self, number: int) -> StoredVersion | None:
        """Return one version."""

    def page(
        self, cursor: str | None, limit: int
    ) -> Page[tuple[StoredVersion, dict[str, Any] | None]]:
        """Return a page of versions, newest first, each with the previous document."""

    def add(self, number: int, document: Mapping[str, Any], by: str, comment: str) -> bool:
        """Add a version; return False if another caller has taken the number."""


class StorageVolume(Protocol):
    """The volume on which objects are stored."""

    def overlaps(self, folder: str) -> bool:
        """Return whether a folder is the storage root, is inside it or contains it."""
