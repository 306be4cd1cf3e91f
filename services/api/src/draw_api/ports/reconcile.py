"""Ports of comparing the files of the storage with the index."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from draw_api.models.upkeep import Differences, FoundFile


class StoredFiles(Protocol):
    """The objects on the storage volume."""

    def found(self) -> Iterator[FoundFile]:
        """Yield every file of an object; what vanishes meanwhile is left out."""

    def exists(self, path: str) -> bool:
        """Return whether a file is there now."""


class IndexAuditRepository(Protocol):
    """The index, beside a list of files."""

    def compare(self, files: Iterable[FoundFile]) -> Differences:
        """Return how index and files differ; what came meanwhile may be among it."""

    def hold(self) -> None:
        """Wait until nobody writes the index; nobody does then, to the end of this transaction."""

    def forget_rows(self, rows: Sequence[tuple[str, str]]) -> int:
        """Delete current objects, by UID and path, and count anew."""

    def forget_conflicts(self, conflicts: Sequence[tuple[int, str]]) -> None:
        """Delete records of conflicts, by number and path; waits until nobody writes the index."""
