"""Ports of comparing the files of the storage with the index."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from draw_api.models.upkeep import Differences, FoundFile, LostRows


class StoredFiles(Protocol):
    """The objects on the storage volume."""

    def found(self) -> Iterator[FoundFile]:
        """Yield every file of an object; files that vanish meanwhile are left out."""

    def exists(self, path: str) -> bool:
        """Return whether a file is there now."""


class IndexAuditRepository(Protocol):
    """The index, for comparison with a list of files."""

    def compare(self, files: Iterable[FoundFile]) -> Differences:
        """Return how index and files differ; recent arrivals may be among the differences."""

    def hold(self) -> None:
        """Wait until nobody writes the index, and keep writers out until this transaction ends."""

    def forget_rows(self, rows: Sequence[tuple[str, str]], by: str) -> LostRows:
        """Delete current objects, by UID and path, and update the counts."""

    def forget_conflicts(self, conflicts: Sequence[tuple[int, str]]) -> None:
        """Wait until nobody writes the index; delete records of conflicts, by number and path."""
