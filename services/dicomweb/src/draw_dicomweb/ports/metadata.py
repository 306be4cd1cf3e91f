"""Ports of metadata: what is kept of a series, and how it is read from the files."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from draw_dicomweb.models import ArchivedObject, SeriesState, UidPath


class MetadataRepository(Protocol):
    """Documents of series, as they were when they were made."""

    def states(self, named: UidPath) -> Sequence[SeriesState]:
        """Return what each series of a study, or one of them, consists of now."""

    def document(self, series_pk: int) -> bytes | None:
        """Return the kept document of a series, compressed, or None if there is none."""

    def keep(self, series_pk: int, state: str, document: bytes) -> None:
        """Keep the document of a series that was in this state."""

    def newest_change(self) -> int:
        """Return the sequence number of the newest change of the feed."""

    def completed_after(self, sequence: int, most: int) -> Sequence[tuple[int, UidPath]]:
        """Return the series that became complete after a change, by their own changes."""


class MetadataReader(Protocol):
    """Reads the metadata of objects from their files."""

    def document(self, objects: Iterable[ArchivedObject]) -> bytes:
        """Return the metadata of objects as a JSON array (PS3.18 F.2).

        An object whose file is gone or cannot be read has the elements that the index knows.
        """
